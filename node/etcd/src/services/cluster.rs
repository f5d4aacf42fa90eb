//! The Cluster service: who is there. Membership belongs to the operator; nothing is changed here.

use standby_interface::{MemberInfo, Replication};
use tonic::{Request, Response, Status};

use super::node::{Node, not_offered};
use crate::pb::etcdserverpb::cluster_server::Cluster;
use crate::pb::etcdserverpb::{
    Member, MemberAddRequest, MemberAddResponse, MemberListRequest, MemberListResponse,
    MemberPromoteRequest, MemberPromoteResponse, MemberRemoveRequest, MemberRemoveResponse,
    MemberUpdateRequest, MemberUpdateResponse,
};
use crate::state::Outcome;

/// etcdserverpb.Cluster
pub struct ClusterService<R> {
    node: Node<R>,
}

impl<R> Clone for ClusterService<R> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
        }
    }
}

impl<R: Replication<Outcome>> ClusterService<R> {
    /// The service of this node.
    pub fn new(node: Node<R>) -> Self {
        Self { node }
    }
}

/// The primary is the one full member, with the address that follows the primary, so that clients
/// which take their endpoints from this list stay with it. All others are learners.
fn member<R: Replication<Outcome>>(node: &Node<R>, info: MemberInfo) -> Member {
    let id = node.member_id_in_list(&info);
    let MemberInfo {
        name,
        volume: _,
        primary,
        peer_url,
        client_url,
    } = info;
    let urls = |url: String| {
        if url.is_empty() {
            Vec::new()
        } else {
            vec![url]
        }
    };
    Member {
        id,
        name,
        peer_ur_ls: urls(peer_url),
        client_ur_ls: urls(client_url),
        is_learner: !primary,
    }
}

const BY_OPERATOR: &str = "the operator decides on members: change the StandbyCluster";

#[tonic::async_trait]
impl<R: Replication<Outcome>> Cluster for ClusterService<R> {
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        self.node.check_leader(request.metadata())?;
        if request.into_inner().linearizable {
            self.node.check_primary()?;
            self.node.barrier().await?;
        }
        let members = self.node.replication().status().members;
        let members = members
            .into_iter()
            .map(|info| member(&self.node, info))
            .collect();
        let header = Some(self.node.current_header());
        Ok(Response::new(MemberListResponse { header, members }))
    }

    async fn member_add(
        &self,
        _: Request<MemberAddRequest>,
    ) -> Result<Response<MemberAddResponse>, Status> {
        Err(not_offered("MemberAdd", BY_OPERATOR))
    }

    async fn member_remove(
        &self,
        _: Request<MemberRemoveRequest>,
    ) -> Result<Response<MemberRemoveResponse>, Status> {
        Err(not_offered("MemberRemove", BY_OPERATOR))
    }

    async fn member_update(
        &self,
        _: Request<MemberUpdateRequest>,
    ) -> Result<Response<MemberUpdateResponse>, Status> {
        Err(not_offered("MemberUpdate", BY_OPERATOR))
    }

    async fn member_promote(
        &self,
        _: Request<MemberPromoteRequest>,
    ) -> Result<Response<MemberPromoteResponse>, Status> {
        Err(not_offered("MemberPromote", BY_OPERATOR))
    }
}

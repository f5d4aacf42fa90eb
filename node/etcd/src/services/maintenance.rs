//! The Maintenance service: the state of this node. What belongs to the operator is refused with a
//! sentence that says where to go.

use std::pin::Pin;

use futures::Stream;
use standby_interface::{Refusal, Replication};
use tonic::{Request, Response, Status};

use super::node::{Node, not_offered};
use crate::error::EtcdError;
use crate::http::{ETCD_CLUSTER_VERSION, ETCD_VERSION};
use crate::pb::etcdserverpb::alarm_request::AlarmAction;
use crate::pb::etcdserverpb::maintenance_server::Maintenance;
use crate::pb::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse,
    DowngradeInfo, DowngradeRequest, DowngradeResponse, HashKvRequest, HashKvResponse, HashRequest,
    HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest, SnapshotResponse,
    StatusRequest, StatusResponse,
};
use crate::state::Outcome;

/// etcdserverpb.Maintenance
pub struct MaintenanceService<R> {
    node: Node<R>,
}

impl<R> Clone for MaintenanceService<R> {
    fn clone(&self) -> Self {
        Self {
            node: self.node.clone(),
        }
    }
}

impl<R: Replication<Outcome>> MaintenanceService<R> {
    /// The service of this node.
    pub fn new(node: Node<R>) -> Self {
        Self { node }
    }
}

impl<R: Replication<Outcome>> Node<R> {
    /// Whether writes are refused for want of space: etcd's NOSPACE alarm, which here ends by itself
    /// once there is space again.
    pub fn is_out_of_space(&self) -> bool {
        self.replication().status().disk_full || self.check_quota(1).is_err()
    }
}

type Blobs = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<R: Replication<Outcome>> Maintenance for MaintenanceService<R> {
    type SnapshotStream = Blobs;

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let role = self.node.role();
        let status = self.node.replication().status();
        let view = self.node.view();
        let header = self.node.current_header();
        let leader = role
            .primary
            .as_ref()
            .filter(|_| role.primary_alive)
            .map_or(0, |primary| self.node.member_id_of(primary));
        let mut errors = Vec::new();
        if leader == 0 {
            errors.push(EtcdError::NoLeader.to_string());
        }
        if self.node.is_out_of_space() {
            errors.push(format!("memberID:{} alarm:NOSPACE ", header.member_id));
        }
        let size = i64::try_from(view.disk_bytes()).unwrap_or(i64::MAX);
        let quota = self
            .node
            .quota_bytes()
            .map_or(0, |b| i64::try_from(b).unwrap_or(i64::MAX));
        Ok(Response::new(StatusResponse {
            header: Some(header),
            version: ETCD_VERSION.to_owned(),
            db_size: size,
            leader,
            raft_index: status.last.index.0,
            raft_term: role.epoch.0,
            raft_applied_index: view.applied().index.0,
            errors,
            db_size_in_use: size,
            is_learner: !role.role.is_primary(),
            storage_version: ETCD_CLUSTER_VERSION.to_owned(),
            db_size_quota: quota,
            downgrade_info: Some(DowngradeInfo::default()),
        }))
    }

    /// What this node has to say of itself: `etcdctl endpoint health` asks it.
    async fn alarm(
        &self,
        request: Request<AlarmRequest>,
    ) -> Result<Response<AlarmResponse>, Status> {
        let request = request.into_inner();
        if request.action() != AlarmAction::Get {
            return Err(not_offered(
                "Alarm ACTIVATE or DEACTIVATE",
                "NOSPACE is raised while there is no space, and ends by itself",
            ));
        }
        let header = self.node.current_header();
        let wanted = matches!(request.alarm(), AlarmType::None | AlarmType::Nospace);
        let alarms = (wanted && self.node.is_out_of_space()).then(|| AlarmMember {
            member_id: header.member_id,
            alarm: AlarmType::Nospace.into(),
        });
        Ok(Response::new(AlarmResponse {
            header: Some(header),
            alarms: alarms.into_iter().collect(),
        }))
    }

    async fn defragment(
        &self,
        _: Request<DefragmentRequest>,
    ) -> Result<Response<DefragmentResponse>, Status> {
        Err(not_offered(
            "Defragment",
            "space is reclaimed by itself after a compaction",
        ))
    }

    async fn hash(&self, _: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        Err(not_offered(
            "Hash",
            "compare nodes by their applied index in Status",
        ))
    }

    async fn hash_kv(&self, _: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        Err(not_offered(
            "HashKV",
            "compare nodes by their applied index in Status",
        ))
    }

    async fn snapshot(
        &self,
        _: Request<SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(not_offered(
            "Snapshot",
            "read all keys with a Range at one revision",
        ))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderResponse>, Status> {
        if self.node.check_primary().is_err() {
            return Err(EtcdError::NotLeader.into());
        }
        let target = request.into_inner().target_id;
        let members = self.node.replication().status().members;
        let target = members
            .into_iter()
            .find(|info| self.node.member_id_in_list(info) == target)
            .ok_or(EtcdError::BadLeaderTransferee)?;
        let moved = self.node.replication().move_primary(target.name).await;
        moved.map_err(|refusal| match refusal {
            Refusal::Timeout { .. } => EtcdError::TimeoutLeaderTransfer,
            Refusal::NotPrimary => EtcdError::NotLeader,
            other => other.into(),
        })?;
        Ok(Response::new(MoveLeaderResponse { header: None }))
    }

    async fn downgrade(
        &self,
        _: Request<DowngradeRequest>,
    ) -> Result<Response<DowngradeResponse>, Status> {
        Err(not_offered(
            "Downgrade",
            "set the image in the StandbyCluster",
        ))
    }
}

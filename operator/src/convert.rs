//! From a node's report on the wire to what the core knows. A report that lacks a required part is
//! an error that says which.

use standby_control::{ConvertError, v1};
use standby_core::{ClusterId, Epoch, Index, Micros, NodeId, Position, View};
use standby_operator_core::observe::{
    LinkState, NodeReport, NodeRole, Peer, PrimaryLink, WriteStall,
};

/// A report that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It does not say who reports.
    #[error("report: node is missing")]
    NoNode,
    /// A part is wrong.
    #[error("report: {0}")]
    Part(#[from] ConvertError),
}

/// Converts a report that arrived at `at` from the pod object `pod_uid`.
pub fn report(report: v1::Report, pod_uid: &str, at: Micros) -> Result<NodeReport, ReportError> {
    let role = match report.role() {
        v1::Role::Unspecified => NodeRole::Unassigned,
        v1::Role::Follower => NodeRole::Follower,
        v1::Role::Primary => NodeRole::Primary,
        v1::Role::Restarted => NodeRole::Restarted,
        v1::Role::SteppedDown => NodeRole::SteppedDown,
    };
    Ok(NodeReport {
        at,
        pod_uid: pod_uid.to_owned(),
        node: report.node.ok_or(ReportError::NoNode)?.try_into()?,
        cluster_id: ClusterId(report.cluster_id),
        run: report.run,
        role,
        // As it is recorded: what was given up stands beside the view object.
        view: report
            .view
            .map(|view| View::try_from(view).map(View::without_loss))
            .transpose()?,
        last: Position::new(Epoch(report.log_last_epoch), Index(report.log_last_index)),
        durable: Index(report.durable_index),
        commit: Index(report.commit_index),
        applied: Index(report.applied_index),
        serving: report.serving,
        drained: report.drained,
        wants_handover: report.wants_handover,
        peers: report
            .peers
            .into_iter()
            .map(peer)
            .collect::<Result<_, _>>()?,
        link: report.primary_link.as_ref().map(link),
        stall: report.write_stall.map(stall).transpose()?,
        doubt: report.doubt,
        doubts_primary: report.doubts_primary,
        wants_switchover_to: Some(report.wants_switchover_to).filter(|to| !to.is_empty()),
        disk_total_bytes: report.disk_total_bytes,
        disk_free_bytes: report.disk_free_bytes,
        disk_full: report.disk_full,
        version: report.version,
    })
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a suspicion level is a small number"
)]
fn peer(peer: v1::PeerReport) -> Result<Peer, ReportError> {
    Ok(Peer {
        node: peer.node.ok_or(ReportError::NoNode)?.try_into()?,
        connected: peer.connected,
        durable: Index(peer.durable_index),
        silent: Micros::from_millis(peer.silent_ms),
        phi: peer.phi_milli as f64 / 1_000.0,
        awaited: peer.awaited,
        complete: peer.complete,
        in_snapshot: peer.in_snapshot,
    })
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a suspicion level is a small number"
)]
fn link(link: &v1::PrimaryLink) -> PrimaryLink {
    PrimaryLink {
        state: match link.state() {
            v1::LinkState::Unspecified => LinkState::Unknown,
            v1::LinkState::Up => LinkState::Up,
            v1::LinkState::Silent => LinkState::Silent,
            v1::LinkState::Refused => LinkState::Refused,
            v1::LinkState::NotPrimary => LinkState::NotPrimary,
        },
        silent: Micros::from_millis(link.silent_ms),
        phi: link.phi_milli as f64 / 1_000.0,
        commits_stuck: Micros::from_millis(link.commits_stuck_ms),
    }
}

fn stall(stall: v1::WriteStall) -> Result<WriteStall, ReportError> {
    let nodes: Result<Vec<NodeId>, ConvertError> =
        stall.nodes.into_iter().map(TryInto::try_into).collect();
    Ok(WriteStall {
        waiting: Micros::from_millis(stall.waiting_ms),
        local_disk: stall.local_disk,
        nodes: nodes?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_without_a_node_is_refused_by_name() {
        let error = report(v1::Report::default(), "pod", Micros(0)).expect_err("no node");
        assert_eq!(error.to_string(), "report: node is missing");
    }

    #[test]
    fn milli_phi_and_milliseconds_are_converted() {
        let node = v1::NodeId {
            name: "db-1".into(),
            volume: "00ff".into(),
        };
        let link = v1::PrimaryLink {
            state: v1::LinkState::Silent.into(),
            silent_ms: 1_700,
            phi_milli: 8_500,
            commits_stuck_ms: 0,
        };
        let wire = v1::Report {
            node: Some(node),
            primary_link: Some(link),
            ..v1::Report::default()
        };
        let link = report(wire, "pod", Micros(0))
            .expect("whole")
            .link
            .expect("a link");
        assert_eq!(link.state, LinkState::Silent);
        assert_eq!(link.silent, Micros::from_millis(1_700));
        assert!((link.phi - 8.5).abs() < f64::EPSILON);
    }

    #[test]
    fn what_is_built_for_a_node_is_what_the_node_listens_to() {
        use standby_operator_core::build::{limits, pki};
        let built = [
            limits::PORT_CLIENT,
            limits::PORT_PEER,
            limits::PORT_CONTROL,
            limits::PORT_PROBE,
        ];
        let served = [
            standby_control::CLIENT_PORT,
            standby_control::PEER_PORT,
            standby_control::CONTROL_PORT,
            standby_control::PROBE_PORT,
        ];
        assert_eq!(built, served);
        assert_eq!(pki::SAN_OPERATOR, standby_control::OPERATOR_IDENTITY);
    }
}

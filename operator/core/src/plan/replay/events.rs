//! What people and fate do to the simulated cluster.

use standby_core::Micros;

use super::{Host, Sim};
use crate::policy::Window;

impl Sim {
    pub(super) fn template(&mut self, word: &str) {
        word.clone_into(&mut self.cluster.upkeep.built_from);
    }

    pub(super) fn scale(&mut self, instances: u32) {
        self.cluster.wanted = (1..=instances)
            .map(|serial| format!("db-{serial}"))
            .collect();
        self.cluster.may_go_alone = instances == 1;
    }

    /// Planned moves may happen now, or not for long.
    pub(super) fn window(&mut self, open: bool) {
        let never = Window::new("0 0 29 2 *", "UTC", 1).expect("a window");
        self.cluster.policy.windows = if open { Vec::new() } else { vec![never] };
    }

    pub(super) fn order_restart(&mut self, names: &[&str]) {
        let order = |name: &&str| ((*name).to_owned(), self.pods[*name].uid.clone());
        self.cluster.orders.restart = names.iter().map(order).collect();
    }

    pub(super) fn delete_pod(&mut self, name: &str) {
        let now = self.now;
        if let Some(pod) = self.pods.get_mut(name) {
            pod.deleting.get_or_insert(now);
        }
    }

    pub(super) fn delete_claim(&mut self, name: &str) {
        if let Some(claim) = self.claims.get_mut(name) {
            claim.deleting = true;
        }
    }

    /// The volume of a node is no more; whoever still uses it does not notice.
    pub(super) fn lose_volume(&mut self, name: &str) {
        if let Some(claim) = self.claims.get_mut(name) {
            claim.lost = true;
        }
    }

    pub(super) fn crash(&mut self, name: &str) {
        if let Some(pod) = self.pods.get_mut(name) {
            pod.process = None;
        }
    }

    /// The volume is put back to what it was before it had stored any view, while the process is down.
    pub(super) fn put_back(&mut self, name: &str) {
        self.crash(name);
        let volume = self.claims.get(name).and_then(|claim| claim.volume.clone());
        let volume = volume.and_then(|volume| self.volumes.get_mut(&volume));
        volume.expect("it has one").adopted = None;
    }

    /// What this node sends does not arrive at the primary any more.
    pub(super) fn mute(&mut self, name: &str) {
        self.unheard.insert(name.to_owned(), self.now);
    }

    pub(super) fn host(&mut self, name: &str, state: fn(Micros) -> Host) {
        let now = self.now;
        let state = state(now);
        if matches!(state, Host::Away(_) | Host::Gone(_)) {
            for pod in self.pods.values_mut() {
                if pod.host.as_deref() == Some(name) {
                    pod.process = None;
                }
            }
        }
        self.hosts.insert(name.to_owned(), state);
    }

    /// The host a node's pod is on.
    pub(super) fn host_of(&self, name: &str) -> String {
        self.pods[name].host.clone().expect("it runs")
    }

    pub(super) fn primary(&self) -> String {
        self.recorded
            .as_ref()
            .expect("it has a view")
            .primary
            .name
            .clone()
    }
}

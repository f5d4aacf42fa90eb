//! The control plane: which host is ready, whose pods are evicted, and the scheduler.

use crate::time::{SECOND, Time};
use crate::world::{Event, World};

/// A host that the control plane has not heard of for so long is not ready.
const NOT_READY_AFTER: Time = 40 * SECOND;
/// Pods of a host that has not been ready for so long are deleted.
const EVICT_AFTER: Time = 300 * SECOND;
/// How often the control plane looks at its hosts.
const HOST_CHECK_EVERY: Time = 5 * SECOND;

impl World {
    /// The node controller: who is ready, whose pods are evicted, whose pods are collected.
    pub(crate) fn host_check(&mut self) {
        self.schedule(HOST_CHECK_EVERY, Event::HostCheck);
        if !self.api.up {
            return;
        }
        let mut changed = false;
        for host in 0..self.hosts.all.len() {
            if self.hears_api(host) {
                self.hosts.all[host].heard = self.now;
            }
            let silent = self.now - self.hosts.all[host].heard;
            let lost = self.hosts.all[host].lost;
            changed |= self.api.host_status(host, silent < NOT_READY_AFTER, !lost);
            if silent >= EVICT_AFTER {
                changed |= self.api.evict(host, self.now);
            }
        }
        if changed {
            self.objects_changed();
        }
        self.schedule_pods();
    }

    /// The scheduler: gives pods hosts.
    pub(crate) fn schedule_pods(&mut self) {
        if !self.api.up {
            return;
        }
        let mut placed = false;
        for name in self.api.unscheduled() {
            let bound = self
                .api
                .objects
                .claims
                .get(&name)
                .and_then(|claim| claim.host);
            let fit = |host: usize, api: &crate::api::Api| {
                api.host_ready(host) && bound.is_none_or(|only| only == host)
            };
            let mut best: Option<(usize, usize)> = None;
            for host in 0..self.hosts.all.len() {
                if !fit(host, &self.api) {
                    continue;
                }
                let here = self.api.pods_on(host);
                if best.is_none_or(|(least, _)| here < least) {
                    best = Some((here, host));
                }
            }
            if let Some((_, host)) = best {
                self.api.bind_pod(&name, host);
                placed = true;
            }
        }
        if placed {
            self.objects_changed();
        }
    }
}

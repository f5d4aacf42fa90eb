//! What watches and lists bring to caches: late, twice, overtaken, or for a while nothing.

use std::rc::Rc;

use super::{Api, Objects};
use crate::operator::CacheUpdate;
use crate::time::{MS, SECOND};
use crate::world::{Event, World};

/// News that a watch brings a second time, later, in a thousand.
const WATCH_EVENTS_TWICE: u64 = 20;

impl World {
    /// Watches bring nothing any more, and whoever lists sees what they showed last.
    pub fn watches_stick(&mut self) {
        self.api.watches_stuck = true;
        if self.api.stale.is_none() {
            self.api.stale = Some(self.api.everything());
        }
    }

    /// Watches and lists are current again.
    pub fn watches_flow(&mut self) {
        self.api.watches_stuck = false;
        if self.api.stale.take().is_none() {
            return;
        }
        // Whoever listed meanwhile is told what it missed.
        for which in 0..self.operators.len() {
            let run = self.operators[which].run;
            for update in self.api.everything() {
                let lag = self.rng.between(MS, self.profile.watch_lag);
                self.schedule(lag, Event::Cache(which, run, Box::new(update)));
            }
        }
    }

    /// Objects changed: kubelets look, and caches hear of it, late.
    pub fn objects_changed(&mut self) {
        for volume in self.api.finished_claims() {
            self.destroy_volume(volume);
        }
        let pods_moved = self
            .api
            .told
            .as_ref()
            .is_none_or(|told| !Rc::ptr_eq(&told.pods, &self.api.objects.pods));
        if pods_moved {
            self.pods_changed();
        }
        let updates = self.api.updates();
        for update in updates {
            for which in 0..self.operators.len() {
                let run = self.operators[which].run;
                let lag = self.rng.between(MS, self.profile.watch_lag);
                self.schedule(lag, Event::Cache(which, run, Box::new(update.clone())));
                if self.faults.active && self.rng.permille(WATCH_EVENTS_TWICE) {
                    self.report.fault("watch event twice");
                    let again = lag + self.rng.below(5 * SECOND);
                    self.schedule(again, Event::Cache(which, run, Box::new(update.clone())));
                }
            }
        }
    }
}

impl Api {
    /// What changed since watchers were told last.
    fn updates(&mut self) -> Vec<CacheUpdate> {
        let now = &self.objects;
        let told = self.told.as_ref();
        let mut updates = Vec::new();
        self.news += 1;
        let news = self.news;
        if told.is_none_or(|told| !Rc::ptr_eq(&told.pods, &now.pods)) {
            updates.push(CacheUpdate::Pods(news, now.pods.clone()));
        }
        if told.is_none_or(|told| !Rc::ptr_eq(&told.claims, &now.claims)) {
            updates.push(CacheUpdate::Claims(news, now.claims.clone()));
        }
        if told.is_none_or(|told| !Rc::ptr_eq(&told.hosts, &now.hosts)) {
            updates.push(CacheUpdate::Hosts(news, now.hosts.clone()));
        }
        if told.is_none_or(|told| !Rc::ptr_eq(&told.cluster, &now.cluster)) {
            updates.push(CacheUpdate::Cluster(news, now.cluster.clone()));
        }
        let epoch = |objects: &Objects| objects.view.as_ref().map(|view| view.spec.epoch);
        if told.is_none_or(|told| epoch(told) != epoch(now)) {
            updates.push(CacheUpdate::View(news, epoch(now)));
        }
        if told.is_none_or(|told| told.slice_version() != now.slice_version()) {
            updates.push(CacheUpdate::Slice(news, now.slice_version()));
        }
        self.told = Some(self.objects.clone());
        updates
    }

    /// Everything as whoever lists is shown it.
    #[must_use]
    pub fn listed(&self) -> [CacheUpdate; 6] {
        self.stale.clone().unwrap_or_else(|| self.everything())
    }

    /// Everything, for a cache that begins.
    #[must_use]
    pub fn everything(&self) -> [CacheUpdate; 6] {
        let (now, news) = (&self.objects, self.news);
        let epoch = now.view.as_ref().map(|view| view.spec.epoch);
        [
            CacheUpdate::Pods(news, now.pods.clone()),
            CacheUpdate::Claims(news, now.claims.clone()),
            CacheUpdate::Hosts(news, now.hosts.clone()),
            CacheUpdate::Cluster(news, now.cluster.clone()),
            CacheUpdate::View(news, epoch),
            CacheUpdate::Slice(news, now.slice_version()),
        ]
    }
}

//! Volumes and the API server's store: lost, put back to an earlier copy, damaged.

use standby_core::{NodeId, View};

use crate::disk::Durable;
use crate::time::{SECOND, Time};
use crate::world::{ProcRef, World};

/// Operators act on what they saw, for so long. A second volume is lost only after that.
const BETWEEN_VOLUMES: Time = 2 * SECOND;

impl World {
    /// Whether this volume may be lost now: of those that hold everything one must stay.
    pub(super) fn may_lose(&self, at: usize) -> bool {
        let Some(view) = self.lived_by(self.api.newest()) else {
            return false;
        };
        if self.now < self.faults.volume_at + BETWEEN_VOLUMES {
            return false;
        }
        if !view.complete.contains(&self.volumes[at].node) {
            return true;
        }
        // Whoever may go on alone promises nothing when the only complete volume is lost.
        !self.profile.available && self.sound_copies(view) >= 2
    }

    /// The latest of a recorded view and those that nodes have adopted: where the store was put back, nodes
    /// live by a later view than it holds.
    fn lived_by<'a>(&'a self, recorded: Option<&'a View>) -> Option<&'a View> {
        let adopted = self.volumes.iter().filter(|volume| !volume.gone);
        let adopted = adopted.filter_map(|volume| volume.durable.view.as_ref());
        let known = recorded.into_iter().chain(adopted);
        known.max_by_key(|view| view.epoch)
    }

    /// How many nodes that hold everything in this view have a volume that is whole.
    fn sound_copies(&self, view: &View) -> usize {
        let sound = |node: &&NodeId| {
            let mut volumes = self.volumes.iter();
            volumes.any(|volume| volume.node == **node && volume.sound())
        };
        view.complete.iter().filter(sound).count()
    }

    /// Whether a whole copy is left in the view that nodes live by once this one is recorded again.
    fn has_sound_copy(&self, recorded: Option<&View>) -> bool {
        let view = self.lived_by(recorded);
        view.is_none_or(|view| self.sound_copies(view) >= 1)
    }

    /// The disk under a node is replaced by an empty one.
    pub(super) fn lose_volume(&mut self, proc: ProcRef, at: usize, name: &str) {
        self.note(|| format!("the volume of {name} is lost"));
        self.report.volumes_lost += 1;
        self.process_ends(proc, "its volume is gone");
        self.renew_volume(at);
    }

    /// Volumes are copied, put back to an earlier copy, or damaged.
    pub(super) fn fault_of_a_volume(&mut self) {
        match self.rng.below(10) {
            0..3 => {
                for volume in &mut self.volumes {
                    if volume.sound() {
                        volume.backup = Some(Box::new(volume.durable.clone()));
                    }
                }
            }
            3..7 => self.roll_back(),
            _ => self.damage(),
        }
    }

    /// The volume of a synchronous node is put back to an earlier state, while its primary lives, who
    /// remembers what it acknowledged (V11).
    fn roll_back(&mut self) {
        let (Some(standby), Some(leader)) = (self.standby(), self.leader()) else {
            return;
        };
        let (Some(process), Some(primary)) = (self.proc(standby), self.proc(leader)) else {
            return;
        };
        let at = process.volume;
        let volume = &self.volumes[at];
        let behind = volume
            .backup
            .as_ref()
            .is_some_and(|backup| backup.log.last().index < primary.replica.commit());
        let able = primary.replica.serves() && primary.paused_until <= self.now;
        // Who is about to be taken away will soon remember nothing.
        let pod = self.api.objects.pods.get(&primary.node.name);
        let stays = pod.is_some_and(|pod| pod.uid == primary.pod_uid && pod.deleting.is_none());
        if !(behind && able && stays && volume.sound() && self.may_lose(at)) {
            return;
        }
        self.tell_fault("volume rolled back");
        self.faults.volume_at = self.now;
        self.faults.calm_until = self.now + 8 * SECOND;
        self.calm();
        self.process_ends(standby, "its volume is put back");
        let volume = &mut self.volumes[at];
        if let Some(backup) = volume.backup.take() {
            volume.durable = *backup;
            volume.spoiled = true;
        }
        self.start_soon(at);
    }

    /// The primary's process ends, its volume is put back to an earlier copy, and it starts again.
    pub(crate) fn put_back(&mut self, leader: ProcRef, copy: Durable) {
        let Some(at) = self.proc(leader).map(|process| process.volume) else {
            return;
        };
        self.tell_fault("volume of the primary rolled back");
        self.faults.volume_at = self.now;
        self.process_ends(leader, "its volume is put back");
        let volume = &mut self.volumes[at];
        volume.durable = copy;
        volume.spoiled = true;
        self.start_soon(at);
    }

    /// Sectors of the log turn out to be damaged at the next start.
    fn damage(&mut self) {
        let Some(proc) = self.victim() else { return };
        let Some(at) = self.proc(proc).map(|process| process.volume) else {
            return;
        };
        if !self.may_lose(at) || !self.volumes[at].sound() {
            return;
        }
        let kind = if self.rng.permille(500) {
            "bit flip"
        } else {
            "misdirected write"
        };
        self.tell_fault(kind);
        self.faults.volume_at = self.now;
        self.process_ends(proc, "its log is damaged");
        let volume = &mut self.volumes[at];
        let len = volume.durable.log.entries.len();
        if len == 0 {
            return;
        }
        let keep = self.rng.index(len);
        volume.durable.log.entries.truncate(keep);
        let last = volume.durable.log.last();
        if volume.durable.applied.index > last.index {
            // What the state shows was committed; the log goes on behind it.
            volume.durable.log.base = volume.durable.applied;
            volume.durable.log.entries.clear();
        }
        volume.spoiled = true;
        volume.damage = Some(format!("{kind} in entry {}", keep + 1));
    }

    /// A volume that was put back has since been given everything again.
    pub fn look_at_spoiled(&mut self) {
        let Some(position) = self.history.acknowledged else {
            return;
        };
        for volume in &mut self.volumes {
            let log = &volume.durable.log;
            let whole = log.epoch_at(position.index) == Some(position.epoch);
            if volume.spoiled && volume.damage.is_none() && whole {
                volume.spoiled = false;
            }
        }
    }

    /// The API server's store is put back to an earlier state, or the view object is lost (V10). The
    /// nodes must be reachable: which view they live by can only be learnt from them.
    pub(super) fn restore_the_api(&mut self) {
        let copy = self.api.backup.is_none() || self.rng.permille(400);
        if copy {
            self.api.backup = Some(self.api.objects.clone());
            return;
        }
        let whole = self.api.newest().is_some_and(|view| {
            view.complete.iter().all(|node| {
                let mut running = self.running();
                running.any(|(_, process)| process.node == *node)
            })
        });
        if !whole || self.running().count() < self.wanted() || self.api.objects.view.is_none() {
            return;
        }
        let Some(backup) = self.api.backup.take() else {
            return;
        };
        // Nodes may not have heard of the view that is undone: then the one before must have a whole copy left.
        let undone = backup.view.as_ref().map(|object| &object.spec);
        let undone = undone.and_then(|spec| View::try_from(spec).ok());
        if !self.has_sound_copy(undone.as_ref()) {
            return;
        }
        let lost = backup.view.is_none() || self.rng.permille(200);
        let versions_too = self.rng.permille(500);
        self.tell_fault(if lost {
            "view object lost"
        } else {
            "API server restored"
        });
        self.faults.calm_until = self.now + 15 * SECOND;
        self.calm();
        self.api.restore(&backup, lost, versions_too);
        self.objects_changed();
    }
}

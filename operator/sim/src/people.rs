//! People: they order promotions where the operator waits for them, delete pods, change their minds.

use std::rc::Rc;

use standby_operator_core::plan::Phase;

use crate::time::SECOND;
use crate::world::{Event, World};

impl World {
    /// How many nodes are wanted.
    #[must_use]
    pub fn wanted(&self) -> usize {
        usize::try_from(self.api.objects.cluster.spec.instances).unwrap_or(0)
    }

    /// People look at the cluster now and then.
    pub(crate) fn people_act(&mut self) {
        let after = self.rng.between(SECOND, 8 * SECOND);
        self.schedule(after, Event::People);
        if !self.api.up {
            return;
        }
        let phase = self.operators.iter().filter(|operator| operator.leading).find_map(|operator| {
            operator.actor.as_ref()?.phase.as_ref().map(|(phase, ..)| *phase)
        });
        if phase == Some(Phase::AwaitingPerson) {
            self.order_promotion();
        }
    }

    fn order_promotion(&mut self) {
        let Some(view) = self.api.newest().cloned() else {
            return;
        };
        let able: Vec<String> = self
            .running()
            .filter(|(_, process)| view.complete.contains(&process.node))
            .map(|(_, process)| process.node.name.clone())
            .collect();
        if able.is_empty() {
            return;
        }
        let node = &able[self.rng.index(able.len())];
        let order = format!("{node}@{}", view.epoch);
        self.annotate(standby_api::names::ANNOTATION_PROMOTE, &order);
    }

    /// Somebody annotates the cluster's resource.
    pub fn annotate(&mut self, name: &str, value: &str) {
        self.note(|| format!("people: {name}={value}"));
        let cluster = Rc::make_mut(&mut self.api.objects.cluster);
        let all = cluster.metadata.annotations.get_or_insert_default();
        all.insert(name.to_owned(), value.to_owned());
        self.objects_changed();
    }

    /// Somebody deletes a pod.
    pub fn people_delete_pod(&mut self, name: &str, uid: &str) {
        let ask = crate::api::Ask::DeletePod(name.to_owned(), uid.to_owned(), false);
        self.by_hand(ask);
    }
}

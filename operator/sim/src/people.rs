//! People: they order promotions where the operator waits for them, delete pods, change their minds.

use std::rc::Rc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use standby_api::{StandbyClusterSpec, names};
use standby_operator_core::plan::Phase;

use crate::time::SECOND;
use crate::world::{Event, World};

impl World {
    /// How many nodes are wanted.
    #[must_use]
    pub fn wanted(&self) -> usize {
        usize::try_from(self.api.objects.cluster.spec.instances).unwrap_or(0)
    }

    /// Whether volumes outlive the cluster.
    #[must_use]
    pub fn retains(&self) -> bool {
        self.api.objects.cluster.spec.storage.deletion_policy == standby_api::Deletion::Retain
    }

    /// How the cluster stands, as the leading operator sees it.
    #[must_use]
    pub fn phase(&self) -> Option<Phase> {
        let operator = &self.operators[self.leading_operator()?];
        let seen = operator.actor.as_ref()?.phase.as_ref();
        seen.map(|(phase, ..)| *phase)
    }

    /// People look at the cluster now and then.
    pub(crate) fn people_act(&mut self) {
        let after = self.rng.between(SECOND, 8 * SECOND);
        self.schedule(after, Event::People);
        if !self.api.up {
            return;
        }
        let phase = self.phase();
        if phase == Some(Phase::AwaitingPerson) && self.rng.permille(500) {
            return self.order_promotion();
        }
        if self.api.objects.cluster.spec.hibernated && self.rng.permille(250) {
            return self.sleeps(false);
        }
        // Somebody cannot be asked and never will be: only people can say so (V10).
        let unasked = phase == Some(Phase::RecoveryBlocked) && !self.faults.active;
        if unasked && !self.acting && self.rng.permille(700) {
            return self.consent_to_recovery();
        }
        let people = self.profile.people;
        if self.faults.active && self.rng.permille(people) {
            self.change_minds();
        }
    }

    /// Somebody orders something.
    fn change_minds(&mut self) {
        let epoch = self.api.newest().map_or(0, |view| view.epoch.0);
        match self.rng.below(14) {
            12.. => self.sleeps(true),
            0..3 => {
                let node = match self.rng.below(10) {
                    0..4 => self.some_replica(),
                    4..7 => self.some_pod(),
                    _ => None,
                };
                let node = node.unwrap_or_else(|| "any".into());
                self.report.fault("order: switchover");
                self.annotate(names::ANNOTATION_SWITCHOVER, &format!("{node}@{epoch}"));
            }
            3..5 => {
                let pods: Vec<String> = self
                    .api
                    .objects
                    .pods
                    .iter()
                    .map(|(name, pod)| format!("{name}@{}", pod.uid))
                    .collect();
                self.report.fault("order: restart");
                self.annotate(names::ANNOTATION_RESTART, &pods.join(","));
            }
            5..7 => {
                let Some(pod) = self.some_pod() else { return };
                self.report.fault("order: fence");
                self.annotate(names::ANNOTATION_FENCE, &pod);
            }
            7..8 => self.withdraw(names::ANNOTATION_FENCE),
            8 => {
                self.report.fault("order: pause");
                self.annotate(names::ANNOTATION_PAUSED, "true");
            }
            9 => self.withdraw(names::ANNOTATION_PAUSED),
            _ => self.scale(),
        }
    }

    /// People put the cluster to sleep, or wake it.
    pub(crate) fn sleeps(&mut self, sleeps: bool) {
        if self.api.objects.cluster.spec.hibernated == sleeps {
            return;
        }
        if sleeps {
            self.report.fault("order: hibernate");
        }
        self.note(|| format!("people: hibernated {sleeps}"));
        self.change_spec(|spec| spec.hibernated = sleeps);
    }

    fn change_spec(&mut self, change: impl FnOnce(&mut StandbyClusterSpec)) {
        let cluster = Rc::make_mut(&mut self.api.objects.cluster);
        change(&mut cluster.spec);
        let generation = cluster.metadata.generation.unwrap_or(1);
        cluster.metadata.generation = Some(generation + 1);
        self.objects_changed();
    }

    /// A node that is not complete: making it primary takes a step more.
    fn some_replica(&self) -> Option<String> {
        let view = self.api.newest()?;
        let names = self.running().map(|(_, process)| &process.node);
        let mut replicas = names.filter(|node| !view.complete.contains(node));
        replicas.next().map(|node| node.name.clone())
    }

    fn some_pod(&mut self) -> Option<String> {
        let pods: Vec<String> = self.api.objects.pods.keys().cloned().collect();
        (!pods.is_empty()).then(|| pods[self.rng.index(pods.len())].clone())
    }

    fn scale(&mut self) {
        let is = self.wanted();
        // A single copy is another promise, and stays what it was.
        if is < 2 {
            return;
        }
        let to = if self.rng.permille(500) {
            is + 1
        } else {
            is - 1
        };
        let to = to.clamp(2, 5);
        if to == is {
            return;
        }
        self.report.fault(if to > is {
            "order: scale up"
        } else {
            "order: scale down"
        });
        self.note(|| format!("people: instances {is} to {to}"));
        let to = i32::try_from(to).expect("small");
        self.change_spec(|spec| spec.instances = to);
    }

    /// People take back what keeps the cluster from being whole.
    pub fn people_relent(&mut self) {
        self.withdraw(names::ANNOTATION_FENCE);
        self.withdraw(names::ANNOTATION_PAUSED);
        self.sleeps(false);
    }

    pub(crate) fn withdraw(&mut self, name: &str) {
        let there = self.api.objects.cluster.metadata.annotations.as_ref();
        if !there.is_some_and(|all| all.contains_key(name)) {
            return;
        }
        self.note(|| format!("people: without {name}"));
        let cluster = Rc::make_mut(&mut self.api.objects.cluster);
        if let Some(all) = &mut cluster.metadata.annotations {
            all.remove(name);
        }
        self.objects_changed();
    }

    /// People delete the cluster's resource.
    pub fn people_delete_the_cluster(&mut self) {
        self.note(|| "people delete the cluster".into());
        let cluster = Rc::make_mut(&mut self.api.objects.cluster);
        let now = jiff::Timestamp::from_second(1_700_000_000).expect("a time of this century");
        cluster.metadata.deletion_timestamp = Some(Time(now));
        self.objects_changed();
    }

    fn consent_to_recovery(&mut self) {
        let adopted = self
            .running()
            .filter_map(|(_, process)| process.replica.view());
        let Some(epoch) = adopted.map(|view| view.epoch.0).max() else {
            return;
        };
        let consent = serde_json::json!({
            "cluster": "apps/db", "epoch": epoch, "by": "people", "why": "a volume is gone for good",
        });
        self.report.fault("order: accept recovery");
        self.annotate(names::ANNOTATION_ACCEPT_RECOVERY, &consent.to_string());
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
        self.annotate(names::ANNOTATION_PROMOTE, &order);
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

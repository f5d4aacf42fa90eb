//! The leader's actor, as `operator/src/actor` runs it: observe, plan, carry out the hot part, hand the
//! rest to the work beside. Where the product waits for the API server, the actor here stands in a
//! [`Wait`] and takes nothing in until the answer comes. Recording views and telling of them stand beside.

mod record;
mod tell;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use standby_api::StandbyCluster;
use standby_core::{Epoch, Micros, View};
use standby_operator_core::memory::Memory;
use standby_operator_core::observe::{Observation, Recorded};
use standby_operator_core::plan::{Action, Phase, Plan, plan};
use standby_operator_core::validate::{Settings, ValidatedCluster, validate};

use super::OperatorEvent;
use super::observe::FirstSeen;
use super::stream::NodeStream;
use crate::api::{Ask, Purpose, Response, Target};
use crate::time::{MS, SECOND, Time};
use crate::world::World;

/// A call on the hot path.
const HOT: Time = 2 * SECOND;
/// A view that the cache does not show is looked for live this often.
const MISSING_VIEW_LOOK: Micros = Micros::from_millis(5_000);
/// While nodes report a higher epoch, the view is read live this often.
const AHEAD_LOOK: Micros = Micros::from_millis(500);
/// Views recorded within one turn.
const RECORDS_PER_TURN_MAX: u32 = 4;
/// The first pause after a failed turn, in milliseconds.
const RETRY_MIN_MS: u64 = 200;
/// The longest such pause on the hot path, in milliseconds.
const HOT_RETRY_MAX_MS: u64 = 1_000;
/// Objects are applied anew this often.
const APPLY_EVERY: Micros = Micros::from_millis(300_000);

/// What a turn waits for.
#[derive(Debug)]
enum Wait {
    /// Nothing: no turn is under way.
    Idle,
    /// The live view, before planning.
    Prepare,
    /// The live view, before recording what was planned.
    Compare(Box<(Observation, Plan)>),
    /// The record.
    Record(Box<(Observation, Plan)>),
    /// The live view, since something else was recorded.
    Again,
}

/// A lane's pause after failures.
#[derive(Debug, Default)]
pub struct Retry {
    failures: u32,
    not_before: Micros,
}

impl Retry {
    /// Takes in an outcome.
    pub fn note(&mut self, done: bool, now: Micros, max_ms: u64) {
        if done {
            self.failures = 0;
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let pause = RETRY_MIN_MS.saturating_mul(1 << (self.failures - 1).min(10));
        self.not_before = now.plus(Micros::from_millis(pause.min(max_ms)));
    }

    /// Whether to try.
    #[must_use]
    pub fn may(&self, now: Micros) -> bool {
        self.failures == 0 || now >= self.not_before
    }

    fn wait(&self, now: Micros) -> Option<Micros> {
        (self.failures > 0).then(|| self.not_before.since(now).plus(Micros::from_millis(1)))
    }
}

/// The leader's work on the cluster.
#[derive(Debug)]
pub struct Actor {
    /// Streams by pod.
    pub streams: BTreeMap<String, NodeStream>,
    /// Streams to begin once the actor is back in its place.
    pub new_streams: Vec<(String, (String, u32), Micros)>,
    /// When things were first seen.
    pub seen: FirstSeen,
    /// The planner's memory.
    pub memory: Memory,
    /// What is recorded, as far as is known.
    pub recorded: Recorded,
    /// The specification in force.
    pub cluster: Option<Rc<ValidatedCluster>>,
    /// The resource it came from.
    pub object: Option<Rc<StandbyCluster>>,
    looked: Option<Micros>,
    /// The view object's version as it was read live or written last: a change based on it is refused
    /// if anything has changed since.
    held: Option<(View, u64)>,
    wait: Wait,
    rounds: u32,
    failures: u32,
    woken: bool,
    stamp: u64,
    /// The last plan's phase and reason, and since when it stands there.
    pub phase: Option<(Phase, String, Time)>,
    announced: Option<(Target, Micros)>,
    announcing: Option<Target>,
    announce_retry: Retry,
    slice_version: Option<u64>,
    /// Work under way beside.
    pub work: VecDeque<Action>,
    /// Some is.
    pub busy: bool,
    /// After failures of it.
    pub work_retry: Retry,
    /// Something of it failed.
    pub work_failed: bool,
}

impl Actor {
    /// Knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            streams: BTreeMap::new(),
            new_streams: Vec::new(),
            seen: FirstSeen::default(),
            memory: Memory::default(),
            recorded: Recorded::Unknown,
            cluster: None,
            object: None,
            looked: None,
            held: None,
            wait: Wait::Idle,
            rounds: 0,
            failures: 0,
            woken: false,
            stamp: 0,
            phase: None,
            announced: None,
            announcing: None,
            announce_retry: Retry::default(),
            slice_version: None,
            work: VecDeque::new(),
            busy: false,
            work_retry: Retry::default(),
            work_failed: false,
        }
    }

    /// One line.
    #[must_use]
    pub fn describe(&self) -> String {
        format!(
            "{:?}, waits {:?}, work {:?}",
            self.phase, self.wait, self.work
        )
    }

    fn epoch(&self) -> Epoch {
        match &self.recorded {
            Recorded::View(view) => view.epoch,
            Recorded::Unknown | Recorded::Absent => Epoch(0),
        }
    }

    fn reported_above(&self, epoch: Epoch) -> bool {
        self.streams
            .values()
            .filter_map(|stream| stream.report.as_ref())
            .any(|report| report.epoch() > epoch)
    }

    fn is_stale(&self, cached: Option<i64>, now: Micros) -> bool {
        let due = |every: Micros| self.looked.is_none_or(|at| now.since(at) >= every);
        match (&self.recorded, cached) {
            (Recorded::Unknown, _) | (Recorded::Absent, Some(_)) => true,
            (Recorded::View(view), Some(epoch))
                if u64::try_from(epoch).is_ok_and(|epoch| epoch > view.epoch.0) =>
            {
                true
            }
            (Recorded::View(view), _) if self.reported_above(view.epoch) => due(AHEAD_LOOK),
            (Recorded::View(_), None) => due(MISSING_VIEW_LOOK),
            // The cache may be behind; or something older was put back.
            (Recorded::View(view), Some(epoch))
                if u64::try_from(epoch).is_ok_and(|epoch| epoch < view.epoch.0) =>
            {
                due(MISSING_VIEW_LOOK)
            }
            (Recorded::View(_), Some(_)) | (Recorded::Absent, None) => false,
        }
    }
}

impl Default for Actor {
    fn default() -> Self {
        Self::new()
    }
}

fn settings() -> Settings {
    Settings {
        node_image: "standby-node".into(),
        operator_namespace: "operators".into(),
        version: "0".into(),
    }
}

impl World {
    /// Something may have changed: the actor looks soon.
    pub fn wake(&mut self, which: usize) {
        let Some(actor) = &mut self.operators[which].actor else {
            return;
        };
        if actor.woken {
            return;
        }
        actor.woken = true;
        if matches!(actor.wait, Wait::Idle) {
            let work = self.rng.between(50, 400);
            self.plan_turn(which, work);
        }
    }

    fn plan_turn(&mut self, which: usize, after: Time) {
        let Some(actor) = &mut self.operators[which].actor else {
            return;
        };
        actor.stamp += 1;
        let stamp = actor.stamp;
        self.operator_later(which, after, OperatorEvent::Turn(stamp));
    }

    pub(super) fn actor_turn(&mut self, which: usize, stamp: u64) {
        let now = self.operator_now(which);
        let operator = &mut self.operators[which];
        let cached = operator.cache.view.1;
        let object = operator.cache.cluster.1.clone();
        let Some(actor) = &mut operator.actor else {
            return;
        };
        if actor.stamp != stamp || !matches!(actor.wait, Wait::Idle) {
            return;
        }
        actor.woken = false;
        if !operator.listed {
            return;
        }
        let Some(object) = object else { return };
        let known = actor
            .object
            .as_ref()
            .is_some_and(|known| Rc::ptr_eq(known, &object));
        if !known {
            let identity = actor.cluster.as_ref().map(|cluster| cluster.id.clone());
            if let Ok(cluster) = validate(&object, &settings(), identity) {
                actor.cluster = Some(Rc::new(cluster));
            }
            actor.object = Some(object);
        }
        actor.rounds = 0;
        if actor.is_stale(cached, now) {
            actor.wait = Wait::Prepare;
            self.call(which, Purpose::Prepare, Ask::ReadView, HOT);
            return;
        }
        self.drive(which, false);
    }

    /// Observes, plans and carries out the hot part.
    fn drive(&mut self, which: usize, failed: bool) {
        let now = self.operator_now(which);
        let Some(mut actor) = self.operators[which].actor.take() else {
            return;
        };
        actor.rounds += 1;
        let Some(observation) = self.observe(which, &mut actor) else {
            self.operators[which].actor = Some(actor);
            self.plan_turn(which, SECOND);
            return;
        };
        actor.memory.observe(&observation, now);
        let plan = plan(&observation, &mut actor.memory, now);
        self.report.plans += 1;
        self.saw_phase(which, &mut actor, &plan);
        let new = std::mem::take(&mut actor.new_streams);
        let again = actor.rounds <= RECORDS_PER_TURN_MAX && !failed;
        self.operators[which].actor = Some(actor);
        for (pod, target, ping) in new {
            self.stream_starts(which, &pod, target, ping);
        }
        self.order(which, &observation, &plan);
        self.announce(which, &plan);
        if again && let Some((next, _)) = plan.view_to_record() {
            self.note(|| format!("operator {which} plans {next}: {}", plan.why));
            let planned = Box::new((observation, plan));
            let Some(actor) = &mut self.operators[which].actor else {
                return;
            };
            // What was read or written last spares the read before the write.
            if let Some(held) = actor.held.take() {
                return self.compare(which, planned, Some(held));
            }
            actor.wait = Wait::Compare(planned);
            self.call(which, Purpose::Compare, Ask::ReadView, HOT);
            return;
        }
        self.turn_ends(which, &observation, &plan, failed);
    }

    fn saw_phase(&mut self, which: usize, actor: &mut Actor, plan: &Plan) {
        let before = actor.phase.as_ref().map(|(phase, ..)| *phase);
        self.report.coverage.saw(before, plan.phase);
        if before != Some(plan.phase) {
            let now = self.now;
            self.note(|| format!("operator {which}: {}: {}", plan.phase, plan.why));
            actor.phase = Some((plan.phase, plan.why.clone(), now));
            self.phase_begins(plan.phase);
        } else if let Some((_, why, _)) = &mut actor.phase {
            why.clone_from(&plan.why);
        }
        if plan.why.is_empty() {
            self.broken("reason", format!("{} without a reason", plan.phase));
        }
    }

    pub(super) fn actor_answered(&mut self, which: usize, purpose: Purpose, answer: Response) {
        let now = self.operator_now(which);
        let Some(actor) = &mut self.operators[which].actor else {
            return;
        };
        let wait = std::mem::replace(&mut actor.wait, Wait::Idle);
        match (purpose, wait, answer) {
            (Purpose::Prepare, Wait::Prepare, Response::View(found)) => {
                actor.held.clone_from(&found);
                actor.recorded = found.map_or(Recorded::Absent, |(view, _)| Recorded::View(view));
                actor.looked = Some(now);
                self.drive(which, false);
            }
            (Purpose::Prepare, Wait::Prepare, _) => self.turn_failed(which),
            (Purpose::Compare, Wait::Compare(planned), Response::View(found)) => {
                self.compare(which, planned, found);
            }
            (Purpose::Record, Wait::Record(planned), Response::Written(version)) => {
                let (next, basis) = planned.1.view_to_record().expect("it was planned");
                let next = next.clone();
                if basis.is_recovery() {
                    // The Service's slice was put back too.
                    actor.announced = None;
                }
                actor.memory.view_recorded(&next, now);
                actor.held = Some((next.clone(), version));
                actor.recorded = Recorded::View(next);
                actor.looked = Some(now);
                self.drive(which, false);
            }
            (Purpose::Record, Wait::Record(_), Response::Conflict | Response::NotFound) => {
                self.superseded(which);
            }
            (Purpose::Record, Wait::Record(planned), Response::Invalid(why)) => {
                // The rules of views caught what the planner should not have planned.
                let plan = planned.1.to_string();
                self.broken(
                    "rules",
                    format!("the API server refuses a view: {why}\n{plan}"),
                );
            }
            (Purpose::Compare, Wait::Compare(_), _)
            | (Purpose::Record, Wait::Record(_), _)
            | (Purpose::Again, Wait::Again, Response::Timeout | Response::Unavailable) => {
                actor.recorded = Recorded::Unknown;
                self.drive(which, true);
            }
            (Purpose::Again, Wait::Again, Response::View(found)) => {
                actor.held.clone_from(&found);
                actor.recorded = found.map_or(Recorded::Absent, |(view, _)| Recorded::View(view));
                self.drive(which, false);
            }
            (_, wait, _) => actor.wait = wait,
        }
    }

    fn turn_failed(&mut self, which: usize) {
        let Some(actor) = &mut self.operators[which].actor else {
            return;
        };
        actor.failures = actor.failures.saturating_add(1);
        let doubled = RETRY_MIN_MS.saturating_mul(1 << actor.failures.min(10));
        let pause = doubled.min(HOT_RETRY_MAX_MS) * MS;
        self.next_turn(which, pause);
    }

    fn next_turn(&mut self, which: usize, after: Time) {
        let woken = self.operators[which]
            .actor
            .as_ref()
            .is_some_and(|actor| actor.woken);
        self.plan_turn(which, if woken { 50 } else { after });
    }

    fn turn_ends(&mut self, which: usize, observation: &Observation, plan: &Plan, failed: bool) {
        self.beside(which, plan);
        if failed {
            return self.turn_failed(which);
        }
        let now = self.operator_now(which);
        let Some(actor) = &mut self.operators[which].actor else {
            return;
        };
        actor.failures = 0;
        let thresholds = &observation.cluster.thresholds;
        let work = actor.work_retry.wait(now).filter(|_| !actor.busy);
        let announce = actor
            .announce_retry
            .wait(now)
            .filter(|_| actor.announcing.is_none());
        let wait = actor
            .streams
            .values()
            .filter_map(|stream| stream.lost_at(now, thresholds))
            .map(|at| at.since(now).plus(Micros::from_millis(1)))
            .chain(work)
            .chain(announce)
            .fold(plan.requeue_after, Micros::min);
        let wait = wait.0.max(MS);
        self.next_turn(which, wait);
    }

    /// The epoch the operator believes to be recorded.
    #[must_use]
    pub fn believed_epoch(&self, which: usize) -> Epoch {
        self.operators[which]
            .actor
            .as_ref()
            .map_or(Epoch(0), |actor| actor.epoch())
    }
}

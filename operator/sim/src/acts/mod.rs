//! Acts: rare things that take several steps in order, which chance would hardly ever put together. At
//! most one is played in a run, between two storms, and the cluster must heal from it by itself.

mod accepted_loss;
mod nobody_directs;
mod old_primary_lives;
mod older_view;
mod primary_put_back;

pub(crate) use old_primary_lives::stays;
use standby_operator_core::plan::Phase;

use crate::time::{MS, Time};
use crate::world::{Event, ProcRef, World};

/// How often the stage is looked at.
const LOOK_EVERY: Time = 5 * MS;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The API server and every operator are away for long (V9).
    NobodyDirects,
    /// A fenced primary gives up, and a person consents to promoting a node that is not complete.
    AcceptedLoss,
    /// The API server's store is put back to a view of the middle of a failover, while an operator takes
    /// over and nodes that know better are not heard (V10).
    OlderView,
    /// The primary's pod is removed by force, and its process goes on (V5).
    OldPrimaryLives,
    /// The primary's volume is put back to an earlier state, while an operator takes over that hears nobody
    /// else (V6, V11).
    PrimaryPutBack,
}

impl Act {
    /// The act of a run, if there is one.
    #[must_use]
    pub fn draw(world: &mut World) -> Option<Self> {
        match world.rng.below(100) {
            0..8 => Some(Self::NobodyDirects),
            8..18 => Some(Self::AcceptedLoss),
            18..30 => Some(Self::OlderView),
            _ => None,
        }
    }

    /// Plays it, if the stage is set.
    pub fn play(self, world: &mut World) {
        let Some(cast) = Cast::find(world) else {
            return;
        };
        world.note(|| format!("act: {self:?}"));
        world.acting = true;
        match self {
            Self::NobodyDirects => nobody_directs::play(world),
            Self::AcceptedLoss => accepted_loss::play(world, &cast),
            Self::OlderView => older_view::play(world, &cast),
            Self::OldPrimaryLives => old_primary_lives::play(world, &cast),
            Self::PrimaryPutBack => primary_put_back::play(world, &cast),
        }
        world.calm();
        world.people_relent();
        world.clients.parted = None;
        world.clients_go_on();
        world.acting = false;
    }
}

/// Who plays.
struct Cast {
    primary: ProcRef,
    standby: ProcRef,
    /// Everybody else, at least one.
    others: Vec<ProcRef>,
}

impl Cast {
    /// A healthy cluster of three or more in which nothing is under way.
    fn find(world: &World) -> Option<Self> {
        let quiet = world.phase() == Some(Phase::Healthy)
            && world.running().count() == world.wanted()
            && world.api.objects.pods.len() == world.wanted()
            && world
                .api
                .objects
                .pods
                .values()
                .all(|pod| pod.deleting.is_none());
        let (primary, standby) = (world.leader()?, world.standby()?);
        let running = world.running().map(|(proc, _)| proc);
        let others: Vec<ProcRef> = running
            .filter(|proc| *proc != primary && *proc != standby)
            .collect();
        (quiet && !others.is_empty()).then_some(Self {
            primary,
            standby,
            others,
        })
    }
}

/// Lets things happen until `done`, for at most `limit`; whether it is.
fn until(world: &mut World, limit: Time, done: impl Fn(&World) -> bool) -> bool {
    let end = world.now + limit;
    while world.now < end {
        if done(world) {
            return true;
        }
        world.run_until(world.now + LOOK_EVERY);
    }
    done(world)
}

impl World {
    /// SIGSTOP, or SIGCONT.
    fn stop(&mut self, proc: ProcRef, stopped: bool) {
        let now = self.now;
        if let Some(process) = self.proc_mut(proc) {
            process.paused_until = if stopped { Time::MAX } else { now };
        }
        if stopped {
            self.report.fault("long pause");
        } else {
            self.wake_up();
        }
    }

    /// Clients ask again.
    fn clients_go_on(&mut self) {
        if !std::mem::take(&mut self.clients.stopped) {
            return;
        }
        for client in 0..self.profile.clients {
            self.schedule(MS, Event::Client(client));
        }
    }
}

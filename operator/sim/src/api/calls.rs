//! What is asked of the API server and what it answers: compare-and-swap, the rules of views, calls and
//! answers that get lost, writes that arrive after their caller gave up.

use standby_api::{ConsentKind, StandbyViewSpec, view::check_change};
use standby_core::View;

use super::{Claim, Losses, Pod, Target, ViewObject};
use crate::invariants;
use crate::time::{MS, SECOND, Time};
use crate::world::{Event, World};

/// A view to record.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The view.
    pub spec: StandbyViewSpec,
    /// Every loss that stands beside it.
    pub losses: Losses,
    /// It ends a planned move of the primary's role.
    pub planned_move: bool,
}

/// Something asked of the API server.
#[derive(Clone, Debug)]
pub enum Ask {
    /// Read the view live.
    ReadView,
    /// Record a view over the version that was read (none: it is created), with what stands beside it.
    WriteView(Option<u64>, Box<Recording>),
    /// Read the lease.
    ReadLease,
    /// Write the lease over the version that was read.
    WriteLease(Option<u64>, String),
    /// Apply a claim.
    CreateClaim(String, bool, u64),
    /// Ask for a larger volume.
    GrowClaim(String, u64),
    /// Let a claim go with the cluster, or outlive it.
    OwnClaim(String, bool),
    /// Create a pod.
    CreatePod(String, String),
    /// Delete exactly this pod.
    DeletePod(String, String, bool),
    /// Delete exactly this claim.
    DeleteClaim(String, String),
    /// Write a pod's role.
    LabelPod(String, String),
    /// Let go of the cluster and its view.
    Release,
    /// Write the read-write slice, over a version if one is known.
    WriteSlice(Target, Option<u64>),
}

/// What a caller wants an answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Election: a look.
    Look,
    /// Election: a write, sent at this time on the caller's clock.
    Elect(standby_core::Micros),
    /// The live view, before planning.
    Prepare,
    /// The live view, before recording.
    Compare,
    /// Recording.
    Record,
    /// The live view, after something else was recorded.
    Again,
    /// The read-write slice.
    Announce,
    /// The live view, before a claim is deleted.
    Spare,
    /// Work beside.
    Work,
}

/// A call whose answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// The operator.
    pub which: usize,
    /// Its run.
    pub run: u64,
    /// What for.
    pub purpose: Purpose,
    /// Since when.
    pub sent: Time,
}

/// Calls that arrive twice, in a thousand: the first answer is lost, and somebody on the way asks again.
const CALLS_TWICE: u64 = 3;
/// The number of a call whose answer is lost.
const NOBODY_WAITS: u64 = 0;

/// A call on its way.
#[derive(Clone, Debug)]
pub struct Call {
    /// The operator.
    pub which: usize,
    /// Its run.
    pub run: u64,
    /// What for.
    pub purpose: Purpose,
    /// What.
    pub ask: Ask,
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Response {
    /// The view.
    View(Option<(View, u64)>),
    /// The lease.
    Lease(Option<(String, u64)>),
    /// Done, with the new version.
    Written(u64),
    /// The version differs, or the object is there, or it is another.
    Conflict,
    /// There is no such object.
    NotFound,
    /// A rule forbids it.
    Invalid(String),
    /// The server refuses to serve.
    Unavailable,
    /// No answer in time.
    Timeout,
}

impl World {
    /// Calls the API server; gives up after `limit`.
    pub fn call(&mut self, which: usize, purpose: Purpose, ask: Ask, limit: Time) {
        self.api.next_call += 1;
        let id = self.api.next_call;
        let (run, host) = (self.operators[which].run, self.operators[which].host);
        let pending = Pending {
            which,
            run,
            purpose,
            sent: self.now,
        };
        self.api.calls.insert(id, pending);
        self.schedule(limit, Event::ApiTimeout(id));
        let site = self.api_site();
        if self.net.cuts(host, site) || self.net.loses(host, site, &mut self.rng) {
            return;
        }
        let slow = self.api.slow;
        let late = if slow > 0 { self.rng.below(slow) } else { 0 };
        let mut after = self.net.latency(host, site, &mut self.rng) + late;
        let call = Call {
            which,
            run,
            purpose,
            ask,
        };
        if self.faults.active && self.rng.permille(CALLS_TWICE) {
            self.report.fault("call arrives twice");
            self.schedule(
                after,
                Event::ApiArrives(NOBODY_WAITS, Box::new(call.clone())),
            );
            after += self.rng.below(SECOND);
        }
        self.schedule(after, Event::ApiArrives(id, Box::new(call)));
    }

    /// A call arrives, whether anybody still waits for it or not.
    pub(crate) fn api_arrives(&mut self, id: u64, call: Call) {
        let response = if self.api.up {
            self.execute(call.which, call.ask)
        } else if self.api.hung {
            return;
        } else {
            Response::Unavailable
        };
        let (host, site) = (self.operators[call.which].host, self.api_site());
        if self.net.cuts(site, host) || self.net.loses(site, host, &mut self.rng) {
            return;
        }
        let work = self.rng.between(MS, 6 * MS);
        let after = work + self.net.latency(site, host, &mut self.rng);
        self.schedule(after, Event::ApiAnswers(id, Box::new(response)));
    }

    /// An answer, or the end of patience, reaches the caller.
    pub(crate) fn api_answers(&mut self, id: u64, response: Response) {
        let Some(call) = self.api.calls.remove(&id) else {
            return;
        };
        let Pending {
            which,
            run,
            purpose,
            sent,
        } = call;
        // The connection broke when the server ended: what became of the call is not known.
        let broken = sent <= self.api.ended && self.api.ended > 0;
        let response = if broken {
            Response::Unavailable
        } else {
            response
        };
        if self.operators[which].up && self.operators[which].run == run {
            self.answered_operator(which, purpose, response);
        }
    }

    pub(super) fn execute(&mut self, which: usize, ask: Ask) -> Response {
        let response = match ask {
            Ask::ReadView => {
                let object = self.api.objects.view.as_ref().map(|object| object.version);
                return Response::View(self.api.recorded().zip(object));
            }
            Ask::ReadLease => return Response::Lease(self.api.objects.lease.clone()),
            Ask::WriteView(over, recording) => self.write_view(which, over, *recording),
            Ask::WriteLease(over, holder) => {
                if self.api.objects.lease.as_ref().map(|(_, version)| *version) != over {
                    return Response::Conflict;
                }
                let version = self.api.bump();
                self.api.objects.lease = Some((holder, version));
                return Response::Written(version);
            }
            Ask::WriteSlice(target, over) => self.write_slice(target, over),
            Ask::CreateClaim(..) | Ask::GrowClaim(..) | Ask::OwnClaim(..) => self.change_claim(ask),
            Ask::CreatePod(name, built_from) => {
                if self.api.objects.pods.contains_key(&name) {
                    return Response::Conflict;
                }
                let uid = self.api.uid("pod");
                let pod = Pod {
                    uid,
                    built_from: Some(built_from),
                    ..Pod::default()
                };
                self.api.pods().insert(name, pod);
                let after = self.rng.between(10 * MS, 200 * MS);
                self.schedule(after, Event::Schedule);
                Response::Written(self.api.bump())
            }
            Ask::Release => {
                self.api.objects.view = None;
                self.api.released = true;
                Response::Written(self.api.bump())
            }
            Ask::DeletePod(name, uid, force) => self.delete_pod(&name, &uid, force),
            Ask::DeleteClaim(name, uid) => self.delete_claim(&name, &uid),
            Ask::LabelPod(name, role) => match self.api.pods().get_mut(&name) {
                None => Response::NotFound,
                Some(pod) => {
                    pod.role = Some(role);
                    Response::Written(self.api.bump())
                }
            },
        };
        self.objects_changed();
        response
    }

    pub(super) fn change_claim(&mut self, ask: Ask) -> Response {
        match ask {
            Ask::CreateClaim(name, owned, bytes) => {
                if !self.api.objects.claims.contains_key(&name) {
                    let uid = self.api.uid("claim");
                    let claim = Claim {
                        uid,
                        owned,
                        bytes,
                        ..Claim::default()
                    };
                    self.api.claims().insert(name, claim);
                }
                Response::Written(self.api.bump())
            }
            Ask::GrowClaim(name, bytes) => match self.api.claims().get_mut(&name) {
                None => Response::NotFound,
                Some(claim) => {
                    claim.bytes = bytes;
                    Response::Written(self.api.bump())
                }
            },
            Ask::OwnClaim(name, own) => match self.api.claims().get_mut(&name) {
                None => Response::NotFound,
                Some(claim) => {
                    claim.owned = own;
                    Response::Written(self.api.bump())
                }
            },
            _ => Response::NotFound,
        }
    }

    /// Somebody asks with kubectl.
    pub fn by_hand(&mut self, ask: Ask) {
        let _ = self.execute(usize::MAX, ask);
    }

    pub(super) fn write_view(
        &mut self,
        which: usize,
        over: Option<u64>,
        recording: Recording,
    ) -> Response {
        let Recording {
            spec,
            losses,
            planned_move,
        } = recording;
        let known = self.api.objects.view.as_ref();
        if known.map(|object| object.version) != over {
            return Response::Conflict;
        }
        if let Err(error) = check_change(known.map(|object| &object.spec), &spec) {
            return Response::Invalid(error.to_string());
        }
        let view = View::try_from(&spec).expect("check_change read it");
        let consent = spec.consent.as_ref().map(|consent| consent.kind);
        invariants::views_are_safe::check(self, which, &view, consent);
        self.note(|| format!("operator {which} records {view}"));
        self.report.views += 1;
        let before = self.api.recorded();
        if consent == Some(ConsentKind::Recovery) {
            invariants::recovery_goes_above_all::check(self, &view);
        }
        if let Some(before) = before.as_ref().filter(|_| planned_move) {
            invariants::planned_move_stops_first::check(self, before, &view);
        }
        if before.is_none_or(|before| before.primary != view.primary) {
            self.report.promotions += 1;
        }
        self.api.losses = losses;
        let version = self.api.bump();
        self.api.objects.view = Some(ViewObject { spec, version });
        let now = self.now;
        let earlier = self.api.views.insert(view.epoch, (view.clone(), now));
        let earlier = earlier.map(|(earlier, _)| earlier);
        self.api
            .given_up
            .extend(earlier.filter(|earlier| *earlier != view));
        invariants::complete_has_everything::check(self);
        Response::Written(version)
    }

    pub(super) fn write_slice(&mut self, target: Target, over: Option<u64>) -> Response {
        if over.is_some() && over != self.api.objects.slice_version() {
            return Response::Conflict;
        }
        self.note(|| format!("the read-write slice is {target:?}"));
        let version = self.api.bump();
        self.api.objects.slice = Some((target, version));
        let after = self.rng.between(10 * MS, 60 * MS);
        self.schedule(after, Event::ServiceChanged);
        Response::Written(version)
    }

    pub(super) fn delete_pod(&mut self, name: &str, uid: &str, force: bool) -> Response {
        match self.api.objects.pods.get(name) {
            None => return Response::NotFound,
            Some(pod) if pod.uid != uid => return Response::Conflict,
            Some(_) => {}
        }
        let now = self.now;
        let unplaced = self.api.objects.pods[name].host.is_none();
        if force || unplaced {
            self.api.pods().remove(name);
        } else if let Some(pod) = self.api.pods().get_mut(name) {
            pod.deleting.get_or_insert(now);
        }
        self.pods_changed();
        Response::Written(self.api.bump())
    }

    /// Deletes a claim; its volume goes once no pod uses it.
    pub fn delete_claim(&mut self, name: &str, uid: &str) -> Response {
        match self.api.objects.claims.get(name) {
            None => return Response::NotFound,
            Some(claim) if claim.uid != uid => return Response::Conflict,
            Some(_) => {}
        }
        if let Some(claim) = self.api.claims().get_mut(name) {
            claim.deleting = true;
        }
        Response::Written(self.api.bump())
    }
}

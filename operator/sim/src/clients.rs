//! Clients: each does one thing after the other at whichever node the read-write Service leads to, also
//! at one that only believes itself primary. What they are told is held against what must be true.

use bytes::Bytes;
use standby_etcd::pb::etcdserverpb::RangeResponse;
use standby_etcd::state::Outcome;

use crate::acts::stays;
use crate::history::Told;
use crate::time::{MS, SECOND, Time};
use crate::world::{Event, ProcRef, World};

/// Keys that clients use.
pub const KEYS: usize = 6;
/// How long a client waits for an answer.
const PATIENCE: Time = 5 * SECOND;
/// The pause after a refused connection.
const RECONNECT: Time = 150 * MS;

/// Who asked, and which of its questions it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The client.
    pub client: usize,
    /// The question.
    pub op: u64,
}

impl Asker {
    /// Nobody waits for an answer.
    pub const NOBODY: Self = Self {
        client: usize::MAX,
        op: 0,
    };
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Write a key.
    Put {
        /// The key.
        key: Bytes,
        /// Never written before.
        value: u64,
        /// Attached to this lease, or 0.
        lease: i64,
    },
    /// Delete a key.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Write a key if it was last written at a revision, else read it.
    Swap {
        /// The key.
        key: Bytes,
        /// That revision.
        was: i64,
        /// Never written before.
        value: u64,
    },
    /// Forget revisions before this one.
    Compact {
        /// The first one kept.
        revision: i64,
    },
    /// Grant a lease.
    Grant {
        /// Its number.
        id: i64,
        /// Its time, in seconds.
        ttl: i64,
    },
    /// End a lease.
    Revoke {
        /// Its number.
        id: i64,
    },
    /// Keep a lease alive.
    KeepAlive {
        /// Its number.
        id: i64,
    },
    /// Read keys.
    Range {
        /// The first.
        key: Bytes,
        /// The end; empty: one key.
        end: Bytes,
        /// Whatever the node has will do.
        serializable: bool,
    },
}

/// A question on its way.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub asker: Asker,
    /// What.
    pub what: What,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// This node is not the primary: nothing was done.
    NotPrimary,
    /// Nothing was done, for another reason.
    Refused,
    /// Whether it was done is not known.
    Unknown,
}

/// What came of a question.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "boxed in its event")]
pub enum Reply {
    /// Written, with this outcome.
    Written(Outcome),
    /// Read.
    Range(RangeResponse),
    /// Kept alive for so many seconds, or gone (0).
    Renewed(i64),
    /// Not.
    Failed(Failure),
}

/// A reply on its way.
#[derive(Clone, Debug)]
pub struct Answer {
    /// To whom.
    pub asker: Asker,
    /// By which process.
    pub from: ProcRef,
    /// What.
    pub reply: Reply,
}

#[derive(Clone, Debug)]
struct Pending {
    op: u64,
    what: What,
    invoked: Time,
    floor: i64,
}

#[derive(Clone, Debug, Default)]
struct Client {
    connected: Option<ProcRef>,
    pending: Option<Pending>,
    lease: Option<(i64, i64)>,
    /// When the key was last written, as this client knows.
    known: [i64; KEYS],
}

/// All clients.
#[derive(Debug)]
pub struct Clients {
    all: Vec<Client>,
    next_op: u64,
    /// Where the read-write Service leads, as their hosts see it.
    pub service: Option<u32>,
    /// They ask nothing more.
    pub stopped: bool,
    /// Half of them stay where they are and only read; the others come anew for each question, and do
    /// not go to this address.
    pub parted: Option<u32>,
}

impl Clients {
    /// So many.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self {
            all: vec![Client::default(); count],
            next_op: 0,
            service: None,
            stopped: false,
            parted: None,
        }
    }
}

/// A key.
#[must_use]
pub fn key(at: usize) -> Bytes {
    Bytes::from(format!("k{at}"))
}

fn key_number(key: &Bytes) -> usize {
    usize::from(key.last().copied().unwrap_or(b'0') - b'0')
}

impl World {
    /// One client asks one thing, if it has somebody to ask.
    pub(crate) fn client_acts(&mut self, which: usize) {
        if self.clients.stopped || self.clients.all[which].pending.is_some() {
            return;
        }
        let connected = self.clients.all[which].connected;
        let Some(to) = connected.filter(|proc| self.proc(*proc).is_some()) else {
            return self.client_connects(which);
        };
        let what = self.draw_question(which);
        self.ask(which, to, what);
    }

    fn client_connects(&mut self, which: usize) {
        let site = self.client_site();
        let avoided = self.clients.parted.filter(|_| !stays(which));
        let service = self.clients.service.filter(|ip| Some(*ip) != avoided);
        let found = service.and_then(|ip| {
            let proc = self.running().find(|(_, process)| process.ip == ip);
            proc.map(|(proc, process)| (proc, process.host))
        });
        let reached = found.filter(|(_, host)| self.net.reaches(site, *host));
        self.clients.all[which].connected = reached.map(|(proc, _)| proc);
        let after = match (reached, avoided) {
            (Some(_), _) => MS,
            (None, Some(_)) => 5 * MS,
            (None, None) => RECONNECT + self.rng.below(RECONNECT),
        };
        self.schedule(after, Event::Client(which));
    }

    fn draw_question(&mut self, which: usize) -> What {
        let at = self.rng.index(KEYS);
        if self.clients.parted.is_some() && stays(which) {
            return What::Range {
                key: key(at),
                end: Bytes::new(),
                serializable: false,
            };
        }
        let value = self.clients.next_op + 1;
        let client = &self.clients.all[which];
        let (lease, known) = (client.lease, client.known[at]);
        match self.rng.below(100) {
            0..34 => What::Put {
                key: key(at),
                value,
                lease: 0,
            },
            34..46 => What::Swap {
                key: key(at),
                was: known,
                value,
            },
            46..50 => What::Delete { key: key(at) },
            50..80 => What::Range {
                key: key(at),
                end: Bytes::new(),
                serializable: false,
            },
            80..88 => What::Range {
                key: key(0),
                end: Bytes::from_static(b"l"),
                serializable: self.rng.permille(300),
            },
            88..97 => match lease {
                None => What::Grant {
                    id: i64::try_from(value).expect("small"),
                    ttl: i64::try_from(self.rng.between(2, 8)).expect("small"),
                },
                Some((id, _)) if self.rng.permille(100) => What::Revoke { id },
                Some((id, _)) if self.rng.permille(300) => What::Put {
                    key: key(at),
                    value,
                    lease: id,
                },
                Some((id, _)) => What::KeepAlive { id },
            },
            97 => What::Compact {
                revision: (self.history.floor - 200).max(1),
            },
            _ => What::Put {
                key: key(at),
                value,
                lease: lease.map_or(0, |(id, _)| id),
            },
        }
    }

    fn ask(&mut self, which: usize, to: ProcRef, what: What) {
        self.clients.next_op += 1;
        let op = self.clients.next_op;
        let floor = self.history.floor;
        self.history.invoked(op, floor);
        self.report.asked += 1;
        let asker = Asker { client: which, op };
        // What any node has will do: any node is asked.
        let serializable = matches!(
            what,
            What::Range {
                serializable: true,
                ..
            }
        );
        let to = if serializable {
            self.any_node().unwrap_or(to)
        } else {
            to
        };
        self.clients.all[which].pending = Some(Pending {
            op,
            what: what.clone(),
            invoked: self.now,
            floor,
        });
        self.schedule(PATIENCE, Event::GivesUp(which, op));
        let site = self.client_site();
        let Some(host) = self.proc(to).map(|process| process.host) else {
            return;
        };
        if self.net.cuts(site, host) {
            return;
        }
        let after = self.net.latency(site, host, &mut self.rng);
        let request = Request { asker, what };
        self.schedule(after, Event::Asked(to, Box::new(request)));
    }

    /// Some node that runs.
    pub fn any_node(&mut self) -> Option<ProcRef> {
        let running: Vec<ProcRef> = self.running().map(|(proc, _)| proc).collect();
        (!running.is_empty()).then(|| running[self.rng.index(running.len())])
    }

    /// A node answers.
    pub fn answer(&mut self, from: ProcRef, asker: Asker, reply: Reply) {
        if asker == Asker::NOBODY {
            return;
        }
        let site = self.client_site();
        let Some(host) = self.proc(from).map(|process| process.host) else {
            return;
        };
        if self.net.cuts(host, site) {
            return;
        }
        let after = self.net.latency(host, site, &mut self.rng);
        let answer = Answer { asker, from, reply };
        self.schedule(after, Event::Answered(Box::new(answer)));
    }

    /// The process that was asked is gone; its host says so.
    pub fn reset(&mut self, from: ProcRef, asker: Asker) {
        let answer = Answer {
            asker,
            from,
            reply: Reply::Failed(Failure::Unknown),
        };
        let after = self.rng.between(MS, 5 * MS);
        self.schedule(after, Event::Answered(Box::new(answer)));
    }

    /// A process ended and its host lives: its clients learn it.
    pub fn reset_clients(&mut self, proc: ProcRef) {
        for which in 0..self.clients.all.len() {
            let client = &mut self.clients.all[which];
            if client.connected != Some(proc) {
                continue;
            }
            client.connected = None;
            if let Some(op) = client.pending.as_ref().map(|pending| pending.op) {
                self.reset(proc, Asker { client: which, op });
            }
        }
    }

    /// A node leads no more, and closes its clients' connections.
    pub fn clients_cut_off(&mut self, proc: ProcRef) {
        self.reset_clients(proc);
    }

    /// A client has waited long enough.
    pub(crate) fn client_gives_up(&mut self, which: usize, op: u64) {
        let client = &mut self.clients.all[which];
        if client
            .pending
            .as_ref()
            .is_none_or(|pending| pending.op != op)
        {
            return;
        }
        client.pending = None;
        client.connected = None;
        client.lease = None;
        self.report.gave_up += 1;
        self.schedule(RECONNECT, Event::Client(which));
    }

    /// An answer arrives at a client.
    pub(crate) fn answered(&mut self, answer: &Answer) {
        let which = answer.asker.client;
        let client = &mut self.clients.all[which];
        let op = client.pending.as_ref().map(|pending| pending.op);
        if op != Some(answer.asker.op) {
            return;
        }
        let pending = client.pending.take().expect("looked at above");
        let mut after = self
            .rng
            .between(self.profile.think / 4, self.profile.think * 2);
        if self.clients.parted.is_some() {
            after = self.rng.between(MS, 8 * MS);
            if !stays(which) {
                self.clients.all[which].connected = None;
            }
        }
        if let Reply::Failed(failure) = answer.reply {
            self.clients.all[which].connected = None;
            if failure == Failure::Unknown {
                self.clients.all[which].lease = None;
            }
            self.report.refused += 1;
            self.schedule(RECONNECT, Event::Client(which));
            return;
        }
        self.schedule(after, Event::Client(which));
        self.take_in(which, &pending, &answer.reply);
    }

    fn take_in(&mut self, which: usize, pending: &Pending, reply: &Reply) {
        self.report.answered += 1;
        let tolerant = self.profile.wild_clocks;
        let told = match reply {
            Reply::Written(outcome) => {
                self.report.acknowledged += 1;
                self.note_written(which, pending, outcome);
                self.history.written(pending.op, pending.floor, outcome)
            }
            Reply::Range(response) => {
                self.report.reads += 1;
                if let What::Range {
                    key,
                    end,
                    serializable,
                } = &pending.what
                {
                    let floor = if *serializable { 0 } else { pending.floor };
                    if end.is_empty() {
                        let seen = response.kvs.first().map_or(0, |kv| kv.mod_revision);
                        self.clients.all[which].known[key_number(key)] = seen;
                    }
                    self.history.read(key, end, floor, *serializable, response)
                } else {
                    Told::Fine
                }
            }
            Reply::Renewed(ttl) => {
                if let What::KeepAlive { id } = pending.what {
                    if *ttl == 0 {
                        self.clients.all[which].lease = None;
                    } else {
                        self.history.renewed(id, pending.invoked, *ttl);
                    }
                }
                Told::Fine
            }
            Reply::Failed(_) => Told::Fine,
        };
        match told {
            Told::Fine => {}
            // Leases rest on clocks that part by no more than was said.
            Told::Stale(_) if tolerant => self.report.stale_with_wild_clocks += 1,
            Told::Stale(what) => {
                let text = format!("stale answer to client {which}: {what} ({pending:?})");
                self.broken("V5", text);
            }
            Told::Wrong(what) => {
                let text = format!("client {which}: {what} ({pending:?})");
                self.broken("linearizable", text);
            }
        }
    }

    fn note_written(&mut self, which: usize, pending: &Pending, outcome: &Outcome) {
        let client = &mut self.clients.all[which];
        match (&pending.what, outcome) {
            (What::Grant { id, ttl }, Outcome::GrantLease(Ok(_))) => {
                client.lease = Some((*id, *ttl));
                self.history.renewed(*id, pending.invoked, *ttl);
            }
            (What::Revoke { .. }, _) => client.lease = None,
            (What::Put { lease, .. }, Outcome::Put(Err(_))) if *lease != 0 => client.lease = None,
            (What::Put { key, .. }, Outcome::Put(Ok(response))) => {
                let revision = response.header.as_ref().map_or(0, |header| header.revision);
                client.known[key_number(key)] = revision;
            }
            _ => {}
        }
    }
}

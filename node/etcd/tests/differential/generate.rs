//! Random steps. They keep to few keys, so that they meet, and are wrong now and then, so that
//! refusals are compared too.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use super::op::{Compare, Delete, OWN_LEASES, Op, Put, Range, Txn, TxnOp, Watch};

const KEYS: [&str; 14] = [
    "a", "a/1", "a/2", "a/3", "b", "b/1", "b/2", "c", "d", "d\0", "e", "\0", "zz", "k/1",
];
const VALUES: [&str; 6] = ["", "1", "2", "3", "ten", "v\u{ff}"];
/// Nested transactions go this deep.
const NESTING: u32 = 3;
/// Watch streams of a run.
pub const STREAMS: usize = 3;

/// Makes the steps of one run.
pub struct Generator {
    rng: StdRng,
    /// The newest revision seen in an answer.
    pub revision: i64,
    own_leases: i64,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            revision: 1,
            own_leases: 0,
        }
    }

    pub fn next(&mut self) -> Op {
        match self.rng.random_range(0..100) {
            0..24 => Op::Put(self.put()),
            24..34 => Op::Delete(self.delete()),
            34..52 => Op::Range(self.range()),
            52..55 => Op::RangeStream(self.range()),
            55..73 => Op::Txn(self.whole_txn()),
            73..75 => self.compact(),
            75..78 => self.grant(),
            78..80 => Op::Revoke {
                lease: self.lease(),
            },
            80..82 => Op::KeepAlive {
                lease: self.lease(),
            },
            82..85 => Op::TimeToLive {
                lease: self.lease(),
                keys: self.chance(50),
            },
            85 => Op::Leases,
            86..93 => Op::Watch {
                stream: self.stream(),
                watch: self.watch(),
            },
            93..97 => Op::CancelWatch {
                stream: self.stream(),
                watch_id: self.watch_id(),
            },
            _ => Op::Progress {
                stream: self.stream(),
            },
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of.choose(&mut self.rng)
            .expect("a choice is never empty")
            .clone()
    }

    fn key(&mut self) -> String {
        if self.chance(2) {
            String::new()
        } else {
            self.one(&KEYS).to_owned()
        }
    }

    fn end(&mut self) -> String {
        match self.rng.random_range(0..10) {
            0..4 => String::new(),
            4..6 => "\0".to_owned(),
            6 => "b".to_owned(),
            7 => "z".to_owned(),
            _ => self.key(),
        }
    }

    /// Mostly one that can be read, sometimes an old or a future one.
    fn past(&mut self) -> i64 {
        match self.rng.random_range(0..20) {
            0..10 => 0,
            10..16 => self
                .rng
                .random_range((self.revision - 20).max(0)..=self.revision),
            16 => self.revision + self.rng.random_range(1..4),
            17 => -1,
            _ => self.rng.random_range(0..=self.revision),
        }
    }

    fn lease(&mut self) -> i64 {
        match self.rng.random_range(0..10) {
            0 => 77,
            1..4 if self.own_leases > 0 => OWN_LEASES + self.rng.random_range(0..self.own_leases),
            _ => self.rng.random_range(1..7),
        }
    }

    fn put(&mut self) -> Put {
        let ignore_value = self.chance(6);
        let ignore_lease = self.chance(6);
        let value = if ignore_value && !self.chance(10) {
            ""
        } else {
            self.one(&VALUES)
        };
        let leased = if ignore_lease {
            self.chance(10)
        } else {
            self.chance(25)
        };
        Put {
            key: self.key(),
            value: value.to_owned(),
            lease: if leased { self.lease() } else { 0 },
            prev_kv: self.chance(40),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete(&mut self) -> Delete {
        Delete {
            key: self.key(),
            end: self.end(),
            prev_kv: self.chance(40),
        }
    }

    fn range(&mut self) -> Range {
        let mut range = Range {
            key: self.key(),
            end: self.end(),
            ..Range::default()
        };
        range.revision = self.past();
        range.serializable = self.chance(30);
        if self.chance(40) {
            range.limit = self.rng.random_range(-1..5);
        }
        if self.chance(40) {
            range.order = self.rng.random_range(0..3);
            range.target = self.rng.random_range(0..5);
        }
        if self.chance(2) {
            range.order = self.one(&[3, 9, -1]);
        }
        if self.chance(2) {
            range.target = self.one(&[5, 9, -1]);
        }
        range.keys_only = self.chance(20);
        range.count_only = self.chance(15);
        if self.chance(25) {
            let bound = self.rng.random_range(0..=self.revision + 1);
            match self.rng.random_range(0..4) {
                0 => range.mod_from = bound,
                1 => range.mod_to = bound,
                2 => range.create_from = bound,
                _ => range.create_to = bound,
            }
        }
        range
    }

    fn compare(&mut self) -> Compare {
        let target = if self.chance(2) {
            9
        } else {
            self.rng.random_range(0..5)
        };
        let result = if self.chance(2) {
            9
        } else {
            self.rng.random_range(0..4)
        };
        let end = if self.chance(20) {
            self.end()
        } else {
            String::new()
        };
        let mut compare = Compare {
            key: self.key(),
            end,
            result,
            target,
            ..Compare::default()
        };
        if self.chance(4) {
            return compare;
        }
        if target == 3 || self.chance(3) {
            compare.value = Some(self.one(&VALUES).to_owned());
        } else {
            compare.number = Some(match target {
                0 => self.rng.random_range(0..4),
                4 => self.one(&[0, 1, 2, 3]),
                _ => self.one(&[0, 1, self.revision - 3, self.revision]),
            });
        }
        compare
    }

    fn whole_txn(&mut self) -> Txn {
        let mut txn = self.txn(NESTING);
        if has_unbounded_delete(&txn) {
            // etcd 3.7.3 does not see that such a deletion meets a put. If that put keeps the value or
            // the lease of what is by then deleted, the whole server panics.
            keep_nothing(&mut txn);
        }
        txn
    }

    fn txn(&mut self, depth: u32) -> Txn {
        let compares = self.one(&[0, 1, 1, 1, 2]);
        Txn {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: self.txn_ops(depth),
            failure: self.txn_ops(depth),
        }
    }

    fn txn_ops(&mut self, depth: u32) -> Vec<TxnOp> {
        let count = if self.chance(1) {
            129
        } else {
            self.one(&[0, 1, 1, 2, 3, 4])
        };
        (0..count).map(|_| self.txn_op(depth)).collect()
    }

    fn txn_op(&mut self, depth: u32) -> TxnOp {
        match self.rng.random_range(0..100) {
            0..20 => TxnOp::Delete(self.delete()),
            20..47 => TxnOp::Range(self.range()),
            47..59 if depth > 0 => TxnOp::Txn(self.txn(depth - 1)),
            59..61 => TxnOp::Empty,
            _ => TxnOp::Put(self.put()),
        }
    }

    fn compact(&mut self) -> Op {
        let revision = match self.rng.random_range(0..10) {
            0 => self.revision + 5,
            1 => self.revision,
            2 => 0,
            3 => -1,
            _ => self
                .rng
                .random_range((self.revision - 60).max(0)..=self.revision),
        };
        Op::Compact {
            revision,
            physical: self.chance(50),
        }
    }

    fn grant(&mut self) -> Op {
        let ttl_s = self.one(&[600, 601, 9_000_000_000, 9_000_000_001, 700]);
        let lease = if self.chance(40) {
            0
        } else {
            self.rng.random_range(1..7)
        };
        if lease == 0 && ttl_s <= 9_000_000_000 {
            self.own_leases += 1;
        }
        Op::Grant { ttl_s, lease }
    }

    fn stream(&mut self) -> usize {
        self.rng.random_range(0..STREAMS)
    }

    fn watch_id(&mut self) -> i64 {
        self.rng.random_range(0..8)
    }

    fn watch(&mut self) -> Watch {
        let mut watch = Watch {
            key: self.key(),
            end: self.end(),
            ..Watch::default()
        };
        watch.start = match self.rng.random_range(0..10) {
            0..4 => 0,
            4 => self.revision + self.rng.random_range(1..6),
            5 => -1,
            _ => self
                .rng
                .random_range((self.revision - 50).max(0)..=self.revision),
        };
        if self.chance(30) {
            watch.id = self.watch_id();
        }
        if self.chance(25) {
            watch.filters = vec![self.rng.random_range(0..2)];
        }
        watch.prev_kv = self.chance(50);
        watch.fragment = self.chance(20);
        watch
    }
}

fn has_unbounded_delete(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        TxnOp::Delete(delete) => delete.end == "\0",
        TxnOp::Txn(nested) => has_unbounded_delete(nested),
        _ => false,
    })
}

fn keep_nothing(txn: &mut Txn) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match op {
            TxnOp::Put(put) => {
                put.ignore_value = false;
                put.ignore_lease = false;
            }
            TxnOp::Txn(nested) => keep_nothing(nested),
            _ => {}
        }
    }
}

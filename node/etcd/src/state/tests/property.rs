//! Random commands in random groups, with restarts and snapshots in between, against the model.

use proptest::prelude::*;
use proptest::sample::select;

use super::model::Model;
use super::*;
use crate::watch::{History, Want};

const KEYS: [&str; 5] = ["a", "b", "ba", "c", "d"];
const ENDS: [&str; 6] = ["", "", "\0", "b", "c", "z"];
const VALUES: [&str; 3] = ["", "1", "2"];

fn key() -> impl Strategy<Value = &'static str> {
    select(&KEYS[..])
}

fn end() -> impl Strategy<Value = &'static str> {
    select(&ENDS[..])
}

fn puts() -> impl Strategy<Value = PutRequest> {
    let flags = (
        any::<bool>(),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
    );
    (key(), select(&VALUES[..]), 0_i64..3, flags).prop_map(
        |(key, value, lease, (prev_kv, ignore_value, ignore_lease))| PutRequest {
            prev_kv,
            ignore_value,
            ignore_lease,
            lease: if ignore_lease { 0 } else { lease },
            ..put(key, if ignore_value { "" } else { value })
        },
    )
}

fn deletes() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), end(), any::<bool>()).prop_map(|(key, end, prev_kv)| DeleteRangeRequest {
        prev_kv,
        ..delete(key, end)
    })
}

fn ranges() -> impl Strategy<Value = RangeRequest> {
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let filters = (select(&[0_i64, 0, 3, 6][..]), select(&[0_i64, 0, 4, 8][..]));
    let sort = (0..3_i32, 0..5_i32);
    let cut = (0_i64..4, select(&[0_i64, 0, 0, 1, 2, 5, 9, 30][..]));
    (key(), end(), cut, sort, flags, filters).prop_map(
        |(
            key,
            end,
            (limit, revision),
            (sort_order, sort_target),
            (keys_only, count_only),
            filters,
        )| {
            RangeRequest {
                limit,
                revision,
                sort_order,
                sort_target,
                keys_only,
                count_only,
                min_mod_revision: filters.0,
                max_create_revision: filters.1,
                ..range(key, end)
            }
        },
    )
}

fn compares() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        (0_i64..4).prop_map(|n| (CompareTarget::Version, TargetUnion::Version(n))),
        (0_i64..9).prop_map(|n| (CompareTarget::Create, TargetUnion::CreateRevision(n))),
        (0_i64..9).prop_map(|n| (CompareTarget::Mod, TargetUnion::ModRevision(n))),
        (0_i64..3).prop_map(|n| (CompareTarget::Lease, TargetUnion::Lease(n))),
        select(&VALUES[..]).prop_map(|v| (CompareTarget::Value, TargetUnion::Value(bytes(v)))),
    ];
    (key(), end(), 0..4_i32, target).prop_map(|(key, end, result, (target, union))| Compare {
        result,
        range_end: bytes(end),
        ..compare(key, target, CompareResult::Equal, union)
    })
}

/// Transactions, without the rule on keys changed twice: what is run must be sound without it.
fn txns() -> impl Strategy<Value = TxnRequest> {
    let leaf = prop_oneof![
        4 => puts().prop_map(Request::RequestPut),
        2 => deletes().prop_map(Request::RequestDeleteRange),
        2 => ranges().prop_map(Request::RequestRange),
    ];
    let ops = move |op: BoxedStrategy<Request>| prop::collection::vec(op.prop_map(super::op), 0..4);
    let txn = move |op: BoxedStrategy<Request>| {
        (
            prop::collection::vec(compares(), 0..3),
            ops(op.clone()),
            ops(op),
        )
            .prop_map(|(compare, success, failure)| TxnRequest {
                compare,
                success,
                failure,
            })
    };
    let leaf = leaf.boxed();
    let inner = prop_oneof![
        4 => leaf.clone(),
        1 => txn(leaf).prop_map(Request::RequestTxn),
    ];
    txn(inner.boxed())
}

fn keeps(request: &TxnRequest) -> bool {
    request
        .success
        .iter()
        .chain(&request.failure)
        .any(|op| match &op.request {
            Some(Request::RequestPut(put)) => put.ignore_value || put.ignore_lease,
            Some(Request::RequestTxn(nested)) => keeps(nested),
            _ => false,
        })
}

pub fn commands() -> impl Strategy<Value = Command> {
    prop_oneof![
        6 => puts().prop_map(Command::from),
        2 => deletes().prop_map(Command::from),
        4 => txns().prop_map(Command::from),
        1 => (-1_i64..40).prop_map(command::compact),
        1 => (1_i64..3).prop_map(|id| command::grant_lease(id, 5)),
        1 => (1_i64..3).prop_map(command::revoke_lease),
        1 => Just(command::sweep()),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    /// These commands become one group.
    Group(Vec<Command>),
    /// The process ends and comes back.
    Restart,
    /// The state moves to another node by a snapshot.
    Move,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => prop::collection::vec(commands(), 1..5).prop_map(Step::Group),
        1 => Just(Step::Restart),
        1 => Just(Step::Move),
    ];
    prop::collection::vec(step, 1..20)
}

fn move_elsewhere(from: &Machine) -> Machine {
    let mut to = Machine::new();
    let mut source = from.state.snapshot().unwrap();
    to.state.begin_restore().unwrap();
    while let Some(piece) = source.next_chunk().unwrap() {
        to.state.restore_chunk(piece).unwrap();
    }
    to.state.finish_restore(source.position()).unwrap();
    to
}

/// What changed from the model's map at one revision to the next is what history tells.
fn check_history(m: &Machine, model: &Model) {
    let from = model.compacted.max(1) + 1;
    let all = |_: &Bytes| Want::WithPrevious;
    let told = m
        .state
        .view()
        .read(from, i64::MAX, &all, usize::MAX)
        .unwrap()
        .revisions;
    let told: Vec<i64> = told.iter().map(|events| events.revision).collect();
    assert_eq!(told, (from..=model.revision()).collect::<Vec<_>>());
    for revision in from..=model.revision() {
        let chunk = m
            .state
            .view()
            .read(revision, revision, &all, usize::MAX)
            .unwrap();
        let mut map = model.map(revision - 1).clone();
        for event in &chunk.revisions[0].events {
            let kv = event.kv.clone().unwrap();
            let before = model.map(revision - 1).get(&kv.key);
            assert_eq!(event.prev_kv.as_ref(), before, "before revision {revision}");
            if kv.version == 0 {
                map.remove(&kv.key);
            } else {
                map.insert(kv.key.clone(), kv);
            }
        }
        assert_eq!(&map, model.map(revision));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_state_answers_as_the_model(
        steps in steps(),
        reads in prop::collection::vec(ranges(), 8),
    ) {
        let mut m = Machine::new();
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Group(commands) => {
                    // A key to keep something of may be gone by an earlier operation of the same
                    // transaction, which the rule on keys changed twice keeps out.
                    let commands: Vec<Command> = commands
                        .into_iter()
                        .filter(|command| !matches!(command, Command::Txn(t) if keeps(t)))
                        .collect();
                    let entries: Vec<Entry> =
                        (0..).zip(commands.iter().cloned()).map(|(n, c)| m.entry(n, c)).collect();
                    let outcomes = m.state.apply(&entries).unwrap();
                    for (command, outcome) in commands.iter().zip(outcomes) {
                        prop_assert_eq!(&outcome, &model.run(command), "{:?}", command);
                    }
                }
                Step::Restart => m.reopen(),
                Step::Move => m = move_elsewhere(&m),
            }
            prop_assert_eq!(m.revision(), model.revision());
            for read in &reads {
                prop_assert_eq!(m.range(read), model.range(read), "{:?}", read);
            }
        }
        check_history(&m, &model);
    }
}

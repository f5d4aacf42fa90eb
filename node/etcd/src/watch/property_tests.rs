//! Whatever happens, every watcher sees exactly the filtered history from its start: in order, once,
//! whole revisions.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::queue::Said;
use super::testing::World;
use crate::pb::etcdserverpb::WatchCreateRequest;
use crate::pb::etcdserverpb::watch_create_request::FilterType;
use crate::pb::mvccpb::event::EventType;

#[derive(Clone, Debug)]
enum Step {
    Apply {
        changes: Vec<(u8, bool)>,
        heard: bool,
    },
    Create {
        key: u8,
        span: u8,
        back: i64,
        filter: Option<bool>,
    },
    Cancel(i64),
    Take(usize),
    Read(usize),
    Compact(i64),
    Progress,
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (vec((0u8..6, any::<bool>()), 1..4), prop::bool::weighted(0.8))
            .prop_map(|(changes, heard)| Step::Apply { changes, heard }),
        3 => (0u8..6, 0u8..6, -3i64..20, any::<Option<bool>>())
            .prop_map(|(key, span, back, filter)| Step::Create { key, span, back, filter }),
        1 => (0i64..8).prop_map(Step::Cancel),
        4 => (0usize..6).prop_map(Step::Take),
        3 => (1usize..6).prop_map(Step::Read),
        1 => (0i64..10).prop_map(Step::Compact),
        1 => Just(Step::Progress),
        1 => Just(Step::Tick),
    ]
}

/// What a test knows of one watch.
struct Expected {
    request: WatchCreateRequest,
    /// First revision that is for it.
    from: i64,
    /// What came: revision, key, whether it was a put.
    seen: Vec<(i64, String, bool)>,
    /// Up to here everything must have come.
    told: i64,
    over: bool,
    compacted: bool,
}

impl Expected {
    fn wants(&self, key: &str, is_put: bool) -> bool {
        let end = std::str::from_utf8(&self.request.range_end).unwrap();
        let first = std::str::from_utf8(&self.request.key).unwrap();
        let inside = match end {
            "" => key == first,
            "\0" => key >= first,
            end => key >= first && key < end,
        };
        let filter = if is_put {
            FilterType::Noput
        } else {
            FilterType::Nodelete
        };
        inside && !self.request.filters.contains(&filter.into())
    }
}

struct Trial {
    world: World,
    /// By creation; the last of an id is the one that the id now names.
    watches: Vec<Expected>,
    names: BTreeMap<i64, usize>,
    asked: Vec<WatchCreateRequest>,
}

impl Trial {
    fn new() -> Self {
        Self {
            world: World::new(),
            watches: Vec::new(),
            names: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    fn take(&mut self) -> Result<bool, TestCaseError> {
        let Some(item) = self.world.core.take(self.world.stream) else {
            return Ok(false);
        };
        match &item.said {
            Said::Created => {
                let request = self.asked.remove(0);
                let start = request.start_revision;
                let from = if start == 0 { item.revision + 1 } else { start };
                self.names.insert(item.watch_id, self.watches.len());
                let (seen, told) = (Vec::new(), from - 1);
                self.watches.push(Expected {
                    request,
                    from,
                    seen,
                    told,
                    over: false,
                    compacted: false,
                });
            }
            Said::Refused(_) => drop(self.asked.remove(0)),
            Said::Canceled => self.watches[self.names[&item.watch_id]].over = true,
            Said::Compacted(_) => {
                self.watches[self.names[&item.watch_id]].compacted = true;
            }
            Said::Progress if item.watch_id == -1 => {
                for at in self.names.values() {
                    let watch = &mut self.watches[*at];
                    if watch.over || watch.compacted {
                        continue;
                    }
                    watch.told = watch.told.max(item.revision);
                }
            }
            Said::Progress => self.watches[self.names[&item.watch_id]].told = item.revision,
            Said::Events(_, events) => {
                let watch = &mut self.watches[self.names[&item.watch_id]];
                prop_assert!(!watch.over && !watch.compacted, "events after the end");
                for event in events {
                    let kv = event.kv.as_ref().unwrap();
                    prop_assert!(kv.mod_revision > watch.told, "told before that it had come");
                    let key = String::from_utf8(kv.key.to_vec()).unwrap();
                    watch
                        .seen
                        .push((kv.mod_revision, key, event.r#type == EventType::Put as i32));
                }
                // A response holds whole revisions: nothing of these comes again.
                watch.told = item.revision;
            }
        }
        Ok(true)
    }

    fn create(&mut self, key: u8, span: u8, back: i64, filter: Option<bool>) {
        let revision = self.world.core.revision();
        let range_end = match span {
            0 => String::new(),
            1 => "\0".to_owned(),
            span => name(key.saturating_add(span)),
        };
        let start_revision = if back == 0 {
            0
        } else {
            (revision - back).max(0)
        };
        let filters = filter
            .map(|puts| {
                if puts {
                    FilterType::Noput
                } else {
                    FilterType::Nodelete
                }
                .into()
            })
            .into_iter()
            .collect();
        let request = WatchCreateRequest {
            key: name(key).into(),
            range_end: range_end.into(),
            start_revision,
            filters,
            progress_notify: back % 2 == 0,
            ..WatchCreateRequest::default()
        };
        self.asked.push(request.clone());
        self.world.create_as(&request);
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Apply { changes, heard } => {
                let mut keys: Vec<String> = changes
                    .iter()
                    .map(|(key, is_put)| {
                        if *is_put {
                            name(*key)
                        } else {
                            format!("-{}", name(*key))
                        }
                    })
                    .collect();
                keys.sort_by_key(|key| key.trim_start_matches('-').to_owned());
                keys.dedup_by_key(|key| key.trim_start_matches('-').to_owned());
                if heard {
                    self.world.apply(&keys.join(" "));
                } else {
                    self.world.apply_unheard(&keys.join(" "));
                }
            }
            Step::Create {
                key,
                span,
                back,
                filter,
            } => self.create(key, span, back, filter),
            Step::Cancel(watch_id) => self.world.core.cancel(self.world.stream, watch_id),
            Step::Take(items) => {
                for _ in 0..items {
                    self.take()?;
                }
            }
            Step::Read(limit) => drop(self.world.read(limit)),
            Step::Compact(back) => {
                let at = self.world.core.revision() - back;
                self.world.history.compacted = self.world.history.compacted.max(at);
            }
            Step::Progress => self.world.core.progress(self.world.stream),
            Step::Tick => self.world.core.tick(self.world.stream),
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), TestCaseError> {
        loop {
            while self.take()? {}
            if !self.world.read(3) {
                break;
            }
        }
        for watch in &self.watches {
            let all: Vec<(i64, String, bool)> = self
                .world
                .history
                .revisions
                .iter()
                .filter(|past| past.revision >= watch.from)
                .flat_map(|past| past.events.iter().map(|event| (past.revision, event)))
                .map(|(revision, event)| {
                    let key = event.kv.as_ref().unwrap().key.to_vec();
                    let is_put = event.r#type == EventType::Put as i32;
                    (revision, String::from_utf8(key).unwrap(), is_put)
                })
                .filter(|(_, key, is_put)| watch.wants(key, *is_put))
                .collect();
            if watch.over || watch.compacted {
                prop_assert!(all.starts_with(&watch.seen), "{:?} of {all:?}", watch.seen);
            } else {
                prop_assert_eq!(&watch.seen, &all);
            }
            let promised = all.iter().filter(|event| event.0 <= watch.told).count();
            prop_assert!(
                watch.seen.len() >= promised,
                "progress promised more than came"
            );
        }
        Ok(())
    }
}

fn name(key: u8) -> String {
    char::from(b'a' + key).to_string()
}

proptest! {
    #[test]
    fn every_watcher_sees_the_filtered_history_from_its_start(steps in vec(step(), 0..80)) {
        let mut trial = Trial::new();
        for step in steps {
            trial.step(step)?;
        }
        trial.finish()?;
    }
}

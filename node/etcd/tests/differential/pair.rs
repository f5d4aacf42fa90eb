//! Both servers side by side: performs each step on both and compares all that comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use standby_etcd::pb::etcdserverpb::watch_request::RequestUnion;
use standby_etcd::pb::etcdserverpb::{WatchCancelRequest, WatchProgressRequest};

use super::op::{Op, Put, Watch};
use super::system::{Answer, System};
use super::watching::{Log, MARKER, MARKER_WATCH, Stream, WAIT_LIMIT};

/// etcd brings late watchers up to date ten times a second; until then it answers no request for
/// progress.
const PROGRESS_AGAIN: Duration = Duration::from_millis(50);
const PROGRESS_ATTEMPTS: u32 = 100;

/// A difference between the two.
#[derive(Debug)]
pub struct Difference(pub String);

/// Watches of one stream by id: those that a cancel would be answered for.
type Watches = BTreeMap<i64, Watch>;

pub struct Pair {
    real: System,
    ours: System,
    watches: Vec<Watches>,
    /// Whether the n-th watch of (stream, id) asked for `prev_kv`.
    asked: BTreeMap<(usize, i64), Vec<bool>>,
    /// How many creates and cancels of each stream were to be answered.
    controls: Vec<usize>,
    pub revision: i64,
    compacted: i64,
    /// Revisions of events whose `prev_kv` etcd may have failed to read.
    unreadable: BTreeSet<i64>,
    /// A stream of etcd's that tells when its late watchers are up to date.
    probe: Stream,
    /// A watch that begins in the past was created since the probe was asked.
    late: bool,
}

impl Pair {
    pub async fn connect(real: &str, ours: &str, streams: usize) -> Self {
        let mut real = System::connect(real, streams).await;
        let probe = real.open_stream().await;
        let ours = System::connect(ours, streams).await;
        let asked = (0..streams)
            .map(|stream| ((stream, MARKER_WATCH), vec![false]))
            .collect();
        Self {
            real,
            ours,
            watches: vec![Watches::new(); streams],
            asked,
            // The marker's.
            controls: vec![1; streams],
            revision: 1,
            compacted: 0,
            unreadable: BTreeSet::new(),
            probe,
            late: false,
        }
    }

    /// Performs one step.
    pub async fn step(&mut self, op: &Op) -> Result<(), Difference> {
        match op {
            Op::Watch { stream, watch } => self.create(*stream, watch).await,
            Op::CancelWatch { stream, watch_id } => {
                self.settle().await?;
                self.cancel(*stream, *watch_id).await
            }
            Op::Progress { stream } => {
                self.settle().await?;
                self.progress(*stream).await
            }
            Op::Compact { revision, .. } => {
                self.settle().await?;
                let answer = self.both(op).await?;
                if answer.revision != 0 {
                    self.compacted = *revision;
                }
                Ok(())
            }
            _ => self.both(op).await.map(drop),
        }
    }

    async fn both(&mut self, op: &Op) -> Result<Answer, Difference> {
        let real = self.real.perform(op).await;
        let ours = self.ours.perform(op).await;
        if real != ours {
            return Err(Difference(format!(
                "etcd answers\n{}\nbut we answer\n{}",
                real.text, ours.text
            )));
        }
        self.revision = self.revision.max(real.revision);
        Ok(real)
    }

    async fn create(&mut self, stream: usize, watch: &Watch) -> Result<(), Difference> {
        for system in [&self.real, &self.ours] {
            system.streams[stream]
                .send(RequestUnion::CreateRequest(watch.request()))
                .await;
        }
        self.next_control(stream).await?;
        self.late |= watch.start != 0;
        let log = self.real.streams[stream].log.borrow();
        let control = log.controls.last().expect("one just came");
        if !control.canceled {
            // Late watchers read versions that a compaction may have taken from etcd.
            if watch.prev_kv && watch.start != 0 && watch.start <= self.compacted + 1 {
                self.unreadable.extend(watch.start..=self.compacted);
            }
            self.asked
                .entry((stream, control.watch_id))
                .or_default()
                .push(watch.prev_kv);
            self.watches[stream].insert(control.watch_id, watch.clone());
        }
        Ok(())
    }

    async fn cancel(&mut self, stream: usize, watch_id: i64) -> Result<(), Difference> {
        let request = WatchCancelRequest { watch_id };
        for system in [&self.real, &self.ours] {
            system.streams[stream]
                .send(RequestUnion::CancelRequest(request))
                .await;
        }
        if self.watches[stream].remove(&watch_id).is_some() {
            self.next_control(stream).await?;
        }
        // Otherwise nobody answers, which the next comparison of all answers shows.
        Ok(())
    }

    /// Waits for one more answer to a create or a cancel on both, and compares all there are.
    async fn next_control(&mut self, stream: usize) -> Result<(), Difference> {
        self.controls[stream] += 1;
        let expected = self.controls[stream];
        for system in [&mut self.real, &mut self.ours] {
            let stream = &mut system.streams[stream];
            stream
                .until("an answer", |log| log.controls.len() >= expected)
                .await;
        }
        self.compare_controls(stream)
    }

    fn compare_controls(&self, stream: usize) -> Result<(), Difference> {
        let real = self.real.streams[stream].log.borrow().controls.clone();
        let ours = self.ours.streams[stream].log.borrow().controls.clone();
        if real == ours {
            return Ok(());
        }
        let (real, ours) = (real.last(), ours.last());
        Err(Difference(format!(
            "stream {stream}: etcd says\n{real:#?}\nbut we say\n{ours:#?}"
        )))
    }

    /// Asks both for progress until etcd, and we, answer, or checks that neither does.
    async fn progress(&mut self, stream: usize) -> Result<(), Difference> {
        let ended = self.has_ended(stream);
        let begun = self.watches[stream]
            .values()
            .all(|watch| watch.start <= self.revision);
        if ended {
            // etcd then never answers again on this stream; we do.
            return Ok(());
        }
        let revision = self.revision;
        for system in [&mut self.real, &mut self.ours] {
            let open = &mut system.streams[stream];
            let had = open.log.borrow().progress.len();
            let mut answered = false;
            for _ in 0..PROGRESS_ATTEMPTS {
                let request = RequestUnion::ProgressRequest(WatchProgressRequest {});
                open.send(request).await;
                answered = open
                    .try_until(PROGRESS_AGAIN, |log| log.progress.len() > had)
                    .await;
                if answered || !begun {
                    break;
                }
            }
            let last = open.log.borrow().progress.last().copied();
            if answered != begun || (begun && last != Some((-1, revision))) {
                return Err(Difference(format!(
                    "stream {stream}: progress expected: {begun}, at {revision}; the last is {last:?}"
                )));
            }
        }
        Ok(())
    }

    /// Whether a compaction ended a watch of the stream which nobody cancelled.
    fn has_ended(&self, stream: usize) -> bool {
        let log = self.real.streams[stream].log.borrow();
        let last = |id: &i64| log.watches.get(id).and_then(|all| all.last());
        self.watches[stream]
            .keys()
            .any(|id| last(id).is_some_and(|seen| seen.compacted.is_some()))
    }

    /// Waits until everything came on both, and compares it.
    pub async fn settle(&mut self) -> Result<(), Difference> {
        let marker = Put {
            key: MARKER.to_owned(),
            ..Put::default()
        };
        let revision = self.both(&Op::Put(marker)).await?.revision;
        if std::mem::take(&mut self.late) {
            self.until_synced(revision).await;
        }
        for stream in 0..self.watches.len() {
            for system in [&mut self.real, &mut self.ours] {
                system.streams[stream].until_marker(revision).await;
            }
            self.until_equal(stream).await?;
        }
        Ok(())
    }

    /// Waits until etcd has looked at every watch that begins in the past: it does so for all of them
    /// at once, so one more of them tells.
    async fn until_synced(&mut self, revision: i64) {
        let probe = &mut self.probe;
        let had = probe.log.borrow().controls.len();
        let watch = Watch {
            key: MARKER.to_owned(),
            start: revision,
            ..Watch::default()
        };
        probe
            .send(RequestUnion::CreateRequest(watch.request()))
            .await;
        probe
            .until("the probe's watch", |log| log.controls.len() > had)
            .await;
        let watch_id = probe.log.borrow().controls[had].watch_id;
        let has_events = |log: &Log| {
            log.watches[&watch_id]
                .last()
                .is_some_and(|seen| !seen.events.is_empty())
        };
        probe.until("the probe's event", has_events).await;
        probe
            .send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }))
            .await;
        probe
            .until("the probe's end", |log| log.controls.len() > had + 1)
            .await;
    }

    async fn until_equal(&mut self, stream: usize) -> Result<(), Difference> {
        let deadline = tokio::time::Instant::now() + WAIT_LIMIT;
        loop {
            let real = self.real.streams[stream].log.borrow_and_update().clone();
            let ours = self.ours.streams[stream].log.borrow_and_update().clone();
            let wrong = wrong(&real).or(wrong(&ours));
            if let Some(wrong) = wrong {
                return Err(Difference(format!("stream {stream}: {wrong}")));
            }
            self.compare_controls(stream)?;
            let difference = self.first_difference(stream);
            let Some(difference) = difference else {
                return Ok(());
            };
            let [real, ours] =
                [&mut self.real, &mut self.ours].map(|system| &mut system.streams[stream].log);
            let changed = async {
                tokio::select! { _ = real.changed() => {} _ = ours.changed() => {} }
            };
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(Difference(difference));
            }
        }
    }

    fn first_difference(&self, stream: usize) -> Option<String> {
        for ((at, watch_id), asked) in &self.asked {
            if *at != stream {
                continue;
            }
            for (nth, prev_kv) in asked.iter().enumerate() {
                let [real, ours] = [&self.real, &self.ours].map(|system| {
                    system.normal_events(stream, *watch_id, nth, *prev_kv, &self.unreadable)
                });
                let same = real
                    .iter()
                    .zip(&ours)
                    .take_while(|(real, ours)| real == ours)
                    .count();
                if real != ours {
                    return Some(format!(
                        "stream {stream}, watch {watch_id} ({nth}): of {} events etcd sends as number \
                         {same}\n{:#?}\nbut we send, of {},\n{:#?}",
                        real.len(),
                        real.get(same),
                        ours.len(),
                        ours.get(same)
                    ));
                }
            }
        }
        None
    }
}

fn wrong(log: &Log) -> Option<String> {
    log.wrong.first().cloned().or_else(|| log.ended.clone())
}

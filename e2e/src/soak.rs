//! `soak`: random faults on the local cluster for as long as one likes, round after round, each with a
//! fresh cluster, a judged history, and a Ready end without a person.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde::Serialize;

use crate::audit::Verdict;
use crate::bench::save;
use crate::cluster::Cluster;
use crate::error::{Result, ensure};
use crate::faults;
use crate::harm::{ALL, Harm};
use crate::limits::CLUSTER_READY_TIMEOUT;
use crate::product;
use crate::progress::Progress;
use crate::scene::Scene;
use crate::workload::Load;

/// What to do.
pub struct Options {
    /// The number of the local Kubernetes.
    pub number: u8,
    /// How long.
    pub minutes: u64,
    /// The seed of the choices; the machine's timing is not in it.
    pub seed: u64,
    /// Where the figures go.
    pub json: Option<PathBuf>,
}

/// What came out.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    seed: u64,
    minutes: f64,
    rounds: usize,
    faults: BTreeMap<String, usize>,
    /// The longest time writers waited after each fault, in milliseconds.
    longest_gap_ms: BTreeMap<String, f64>,
    failovers: usize,
    acknowledged: usize,
    in_doubt: usize,
    reads: usize,
    watch_events: usize,
    /// Rounds whose history is not clean: something was lost, stale, doubled or missed.
    violations: usize,
    /// Rounds that did not end Ready by themselves.
    stuck: usize,
    problems: Vec<String>,
}

/// How many faults are done to one cluster, one after another.
const FAULTS_A_ROUND: usize = 4;
/// How long a fault lasts at most.
const LASTS_MAX: Duration = Duration::from_secs(8);
/// How often a fault comes while the one before lasts.
const TOGETHER: f64 = 0.3;

/// Soaks the product in faults.
pub async fn run(options: &Options) -> Result<()> {
    let progress = Progress::new();
    let cluster = Cluster::attach_or_up(options.number, &progress).await?;
    product::install(&cluster, 2, &progress).await?;
    let mut random = StdRng::seed_from_u64(options.seed);
    let begun = Instant::now();
    let end = begun + Duration::from_secs(options.minutes * 60);
    let mut figures = Figures {
        seed: options.seed,
        ..Figures::default()
    };
    while Instant::now() < end {
        figures.rounds += 1;
        let name = format!("soak-{}", figures.rounds);
        let namespace = cluster.api.namespace(&name).await?;
        if let Err(error) = Box::pin(round(&cluster, &name, &mut random, &mut figures)).await {
            figures.stuck += 1;
            progress.say(&cluster.api.story_of(&name).await);
            figures.problems.push(format!("{name}: {error}"));
        }
        faults::heal(&cluster).await?;
        product::scale_operator(&cluster, 2).await?;
        namespace.remove().await?;
        figures.minutes = begun.elapsed().as_secs_f64() / 60.0;
        tell(&progress, &figures, options.json.as_deref())?;
    }
    ensure(figures.violations == 0 && figures.stuck == 0, || {
        figures.problems.join("\n")
    })
}

fn tell(progress: &Progress, figures: &Figures, json: Option<&Path>) -> Result<()> {
    progress.say(&format!(
        "{:.0} min, {} rounds, {} faults, {} failovers, {} acknowledged, {} violations, {} stuck",
        figures.minutes,
        figures.rounds,
        figures.faults.values().sum::<usize>(),
        figures.failovers,
        figures.acknowledged,
        figures.violations,
        figures.stuck,
    ));
    save(figures, json)
}

async fn round(
    cluster: &Cluster,
    name: &str,
    random: &mut StdRng,
    figures: &mut Figures,
) -> Result<()> {
    let mut scene = Scene::open(cluster, name).await?;
    let mut lasting = Vec::new();
    for number in 0..FAULTS_A_ROUND {
        let harm = *ALL.choose(random).expect("there are faults to choose from");
        eprintln!("       {name}: {}", harm.name());
        scene.strike();
        let struck = match harm.strike(&scene.product).await {
            Ok(faults) => {
                lasting.extend(faults);
                *figures.faults.entry(harm.name()).or_default() += 1;
                tokio::time::sleep(random.random_range(Duration::ZERO..LASTS_MAX)).await;
                true
            }
            // Whoever it was meant for may have no process or role just now, or the API server be away.
            Err(error) if number > 0 => {
                eprintln!("       {} could not be done: {error}", harm.name());
                false
            }
            Err(error) => return Err(error),
        };
        if random.random_bool(TOGETHER) && number + 1 < FAULTS_A_ROUND {
            continue;
        }
        lasting.clear();
        faults::heal(cluster).await?;
        scene.product.ready(CLUSTER_READY_TIMEOUT).await?;
        scene.load.more(1).await?;
        if struck {
            note_gap(&scene, harm, figures);
        }
    }
    figures.failovers += scene.product.status().await?.failovers.len();
    let product_name = scene.product.namespace.clone();
    let record = scene.end().await?;
    let verdict = crate::audit::judge(&record, &product_name).await?;
    eprintln!("       {verdict}");
    add(figures, name, verdict);
    Ok(())
}

fn note_gap(scene: &Scene<'_>, harm: Harm, figures: &mut Figures) {
    let gap = scene.load.longest_gap(scene.struck_us());
    let gap_ms = gap.map_or(0.0, |gap| gap.millis());
    let longest = figures.longest_gap_ms.entry(harm.name()).or_default();
    *longest = longest.max(gap_ms);
}

fn add(figures: &mut Figures, name: &str, verdict: Verdict) {
    figures.acknowledged += verdict.acknowledged;
    figures.in_doubt += verdict.in_doubt;
    figures.reads += verdict.reads;
    figures.watch_events += verdict.watch_events;
    if !verdict.clean {
        figures.violations += 1;
        let problems = verdict.problems.unwrap_or_default().join("; ");
        figures.problems.push(format!("{name}: {problems}"));
    }
}

//! Runs the stories: one after another, on one local Kubernetes, each in a namespace of its own.
//! A story that fails shows its pods, events and logs, and what it broke is healed for the next.

mod stories {
    pub mod adopt;
    pub mod api_server_away;
    pub mod api_store_restored;
    pub mod bad_resources;
    pub mod bits_flipped;
    pub mod clock_jump;
    pub mod delete;
    pub mod disk_full;
    pub mod drain;
    pub mod everything_restarts;
    pub mod fence;
    pub mod frozen_standby;
    pub mod frozen_volume;
    pub mod hibernate;
    pub mod install;
    pub mod jitter_and_pauses;
    pub mod judge_can_fail;
    pub mod leader_and_primary_gone;
    pub mod local_kubernetes;
    pub mod manual_mode;
    pub mod one_after_another;
    pub mod one_way_partition;
    pub mod operator_away;
    pub mod operator_cut_from_primary;
    pub mod pause;
    pub mod plugin;
    pub mod pod_deleted;
    pub mod pod_ip_reuse;
    pub mod primary_and_standby_gone;
    pub mod primary_host_gone;
    pub mod primary_isolated;
    pub mod primary_killed;
    pub mod primary_stopped;
    pub mod promote_with_loss;
    pub mod replica_killed;
    pub mod rolling_restart;
    pub mod scale;
    pub mod slow_disk;
    pub mod stale_leader;
    pub mod standby_cut_from_primary;
    pub mod standby_host_gone;
    pub mod standby_killed;
    pub mod switchover;
    pub mod switchover_without_api;
    pub mod two_faults;
    pub mod two_nodes;
    pub mod unacknowledged_tail;
    pub mod unsafe_view;
    pub mod view_deleted;
    pub mod volume_foreign;
    pub mod volume_lost;
    pub mod volume_rolled_back;
    pub mod writers_and_checker;
    pub mod writes_from_everywhere;
}

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use futures::future::BoxFuture;
use standby_e2e::cluster::Cluster;
use standby_e2e::error::Result;
use standby_e2e::product::{self, OPERATOR_NAMESPACE};
use standby_e2e::progress::Progress;
use standby_e2e::{faults, limits};

/// What a story gets.
pub struct Stage {
    /// The local Kubernetes.
    pub cluster: Cluster,
    /// The namespace made for this story.
    pub namespace: String,
    /// Whether the operator runs.
    pub installed: bool,
}

/// How many operators run.
const OPERATORS: u8 = 2;

type Story = for<'a> fn(&'a Stage) -> BoxFuture<'a, Result<()>>;

macro_rules! stories {
    ($($module:ident),* $(,)?) => {
        &[$((stringify!($module), |stage| Box::pin(stories::$module::run(stage)))),*]
    };
}

/// Those that need no product come first.
const BEFORE_INSTALL: &[(&str, Story)] =
    stories![writers_and_checker, judge_can_fail, local_kubernetes];

/// What every run tells, the harmless ones first, the hard ones last.
const CORE: &[(&str, Story)] = stories![
    install,
    bad_resources,
    unsafe_view,
    writes_from_everywhere,
    primary_killed,
    standby_killed,
    unacknowledged_tail,
    operator_away,
    api_server_away,
    switchover,
    pod_deleted,
    primary_stopped,
    frozen_volume,
    operator_cut_from_primary,
    standby_cut_from_primary,
    one_way_partition,
    stale_leader,
    primary_host_gone,
    leader_and_primary_gone,
    delete,
];

/// What is told besides when all failures are asked for.
const REST: &[(&str, Story)] = stories![
    primary_isolated,
    two_faults,
    replica_killed,
    standby_host_gone,
    slow_disk,
    frozen_standby,
    disk_full,
    volume_lost,
    volume_rolled_back,
    bits_flipped,
    volume_foreign,
    view_deleted,
    one_after_another,
    two_nodes,
    jitter_and_pauses,
    clock_jump,
    primary_and_standby_gone,
    everything_restarts,
    pod_ip_reuse,
    switchover_without_api,
    plugin,
    scale,
    rolling_restart,
    drain,
    hibernate,
    adopt,
    fence,
    pause,
    manual_mode,
    promote_with_loss,
    api_store_restored,
];

/// Runs the stories on a local Kubernetes.
#[derive(Parser)]
struct Arguments {
    /// Tell every story of a failure, not only the core.
    #[arg(long)]
    all_failures: bool,
    /// Go on after a story that failed.
    #[arg(long)]
    keep_going: bool,
    /// Only stories whose name contains this, of all.
    #[arg(long)]
    only: Option<String>,
    /// Use the local Kubernetes that is up already, and leave it up.
    #[arg(long)]
    keep: bool,
    /// The number of the local Kubernetes; not the demo's.
    #[arg(long, default_value_t = 9)]
    number: u8,
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut tally = Tally::default();
    let outcome = run_all(&arguments, &mut tally).await;
    if let Err(error) = &outcome {
        eprintln!("the stage itself failed: {error}");
    }
    if !arguments.keep {
        match Cluster::down(arguments.number).await {
            Ok(()) => {}
            Err(error) => tally
                .failed
                .push(format!("taking the local Kubernetes down: {error}")),
        }
    }
    for failure in &tally.failed {
        eprintln!("FAILED {failure}");
    }
    eprintln!("{} passed, {} failed", tally.passed, tally.failed.len());
    if outcome.is_ok() && tally.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn run_all(arguments: &Arguments, tally: &mut Tally) -> Result<()> {
    let progress = Progress::new();
    let cluster = if arguments.keep {
        Cluster::attach_or_up(arguments.number, &progress).await?
    } else {
        Cluster::up(arguments.number, &progress).await?
    };
    let mut stage = Stage {
        cluster,
        namespace: String::new(),
        installed: false,
    };
    let wanted = |name: &str| {
        arguments
            .only
            .as_ref()
            .is_none_or(|only| name.contains(only))
    };
    let goes_on = |tally: &Tally| arguments.keep_going || tally.failed.is_empty();
    for (name, story) in BEFORE_INSTALL.iter().filter(|(name, _)| wanted(name)) {
        if goes_on(tally) {
            tell(&mut stage, name, *story, tally).await?;
        }
    }
    let rest = arguments.all_failures || arguments.only.is_some();
    let after: Vec<_> = CORE
        .iter()
        .chain(REST.iter().filter(|_| rest))
        .filter(|(name, _)| wanted(name))
        .collect();
    if after.is_empty() || !goes_on(tally) {
        return Ok(());
    }
    product::install(&stage.cluster, OPERATORS, &progress).await?;
    stage.installed = true;
    for (name, story) in after {
        if goes_on(tally) {
            tell(&mut stage, name, *story, tally).await?;
        }
    }
    Ok(())
}

/// Runs one story and cleans up after it.
async fn tell(stage: &mut Stage, name: &str, story: Story, tally: &mut Tally) -> Result<()> {
    let begun = Instant::now();
    stage.namespace = format!("e2e-{}", name.replace('_', "-"));
    let namespace = stage.cluster.api.namespace(&stage.namespace).await?;
    let outcome = match tokio::time::timeout(limits::STORY_TIMEOUT, story(stage)).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "did not end within {} s",
            limits::STORY_TIMEOUT.as_secs()
        )),
    };
    let seconds = begun.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => {
            eprintln!("ok     {name} ({seconds:.1} s)");
            tally.passed += 1;
        }
        Err(error) => {
            eprintln!("FAILED {name} ({seconds:.1} s): {error}");
            eprintln!("{}", stage.cluster.api.story_of(&stage.namespace).await);
            eprintln!("{}", stage.cluster.api.story_of(OPERATOR_NAMESPACE).await);
            tally.failed.push(format!("{name}: {error}"));
        }
    }
    faults::heal(&stage.cluster).await?;
    if stage.installed {
        // Without an operator nothing of this story would go away.
        product::scale_operator(&stage.cluster, OPERATORS).await?;
    }
    if let Err(error) = namespace.remove().await {
        tally
            .failed
            .push(format!("{name} left something behind: {error}"));
    }
    Ok(())
}

//! The project's commands. It checks the machine, then runs cargo or the harness in `e2e`.
//!
//! It has no logic of its own: what the harness does stands in `e2e`.

mod machine;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};

/// The project's commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring up a local Kubernetes with three hosts, anew.
    Up(Rest),
    /// Remove everything that `up` and `demo` made.
    Down(Rest),
    /// Show the product at work: install, write, kill the primary, lose nothing.
    Demo(Rest),
    /// Build the images, and load them if the local Kubernetes is up.
    Images(Rest),
    /// Measure: failover, detection, etcd, log, footprint or operator.
    Bench(Rest),
    /// Random faults on the local Kubernetes for some minutes, with every history judged.
    Soak(Rest),
    /// Write the custom resource definitions to `crds/`, or compare them.
    Crds(Rest),
    /// Build the plugin for kubectl as one static binary, and say where it lies.
    Plugin {
        /// Copy it to this folder, which should be in PATH.
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
    },
    /// Explore the model of the view protocol, with every lost message and every restart.
    Model(Rest),
    /// Simulate the whole system: --hours N [--seed S] [--json FILE].
    Sim(Rest),
    /// Run every test.
    Test(Test),
}

/// What is handed on to the harness; `--help` there explains it.
#[derive(Args)]
#[command(disable_help_flag = true)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(Args)]
struct Test {
    /// Leave out what needs the local Kubernetes (and root).
    #[arg(long)]
    no_cluster: bool,
    /// On the local Kubernetes, tell every story of a failure, not only the core.
    #[arg(long)]
    all_failures: bool,
    /// Go on after a test that failed, and name all of them at the end.
    #[arg(long)]
    keep_going: bool,
    /// Of the tests on the local Kubernetes, only those whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Up(rest) => harness("up", &rest.arguments, true),
        Task::Down(rest) => harness("down", &rest.arguments, true),
        Task::Demo(rest) => harness("demo", &rest.arguments, true),
        Task::Images(rest) => harness("images", &rest.arguments, false),
        Task::Bench(rest) => harness("bench", &rest.arguments, true),
        Task::Soak(rest) => harness("soak", &rest.arguments, true),
        Task::Crds(rest) => harness("crds", &rest.arguments, false),
        Task::Plugin { to } => plugin(to.as_deref()),
        Task::Model(rest) => model(&rest.arguments),
        Task::Sim(rest) => simulate(&rest.arguments),
        Task::Test(test) => all_tests(&test),
    }
}

/// Builds the harness and hands the command on to it.
fn harness(task: &str, arguments: &[String], on_hosts: bool) -> Result<()> {
    let help = arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h");
    machine::prepare(on_hosts && !help)?;
    // The load generator lies beside the harness, which starts it inside hosts.
    cargo(&["build", "--quiet", "--package", "standby-e2e", "--bins"])?;
    let run = [
        "run",
        "--quiet",
        "--package",
        "standby-e2e",
        "--bin",
        "standby-e2e",
        "--",
        task,
    ];
    let rest = arguments.iter().map(String::as_str);
    cargo(&run.into_iter().chain(rest).collect::<Vec<_>>())
}

/// Hands the command on to the simulation.
fn simulate(arguments: &[String]) -> Result<()> {
    let profile = if is_long(arguments) { "long" } else { "dev" };
    let run = [
        "run",
        "--quiet",
        "--profile",
        profile,
        "--package",
        "standby-system-sim",
        "--",
    ];
    let rest = arguments.iter().map(String::as_str);
    cargo(&run.into_iter().chain(rest).collect::<Vec<_>>())
}

/// Whether so many hours are to be simulated that a slow build, which runs faster, pays.
fn is_long(arguments: &[String]) -> bool {
    const LONG_HOURS: f64 = 500.0;
    let after = arguments
        .iter()
        .skip_while(|word| *word != "--hours")
        .nth(1);
    let joined = arguments
        .iter()
        .find_map(|word| word.strip_prefix("--hours="));
    let hours = joined.or(after.map(String::as_str));
    hours
        .and_then(|hours| hours.parse().ok())
        .is_some_and(|hours: f64| hours >= LONG_HOURS)
}

/// Builds the plugin for this machine's architecture.
fn plugin(to: Option<&Path>) -> Result<()> {
    const BINARY: &str = "kubectl-standby";
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let variable = target.to_uppercase().replace('-', "_");
    // For the target only: build scripts and macros stay dynamic.
    let flags = (
        format!("CARGO_TARGET_{variable}_RUSTFLAGS"),
        "-C target-feature=+crt-static",
    );
    let build = [
        "build",
        "--release",
        "--locked",
        "--package",
        "standby-kubectl",
        "--target",
        &target,
    ];
    cargo_with(&build, &[(&flags.0, flags.1)])?;
    let folder = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder));
    let mut binary = folder.join(&target).join("release").join(BINARY);
    if let Some(to) = to {
        let copy = to.join(BINARY);
        std::fs::copy(&binary, &copy)
            .with_context(|| format!("cannot copy the plugin to {}", copy.display()))?;
        binary = copy;
    }
    eprintln!(
        "{}\nIn a folder of PATH kubectl finds it: `kubectl standby status`",
        binary.display()
    );
    Ok(())
}

/// Builds the model and hands the command on to it.
fn model(arguments: &[String]) -> Result<()> {
    let run = ["run", "--quiet", "--package", "standby-model", "--"];
    let rest = arguments.iter().map(String::as_str);
    cargo(&run.into_iter().chain(rest).collect::<Vec<_>>())
}

fn all_tests(test: &Test) -> Result<()> {
    if test.no_cluster {
        machine::check_go()?;
    }
    machine::prepare(!test.no_cluster)?;
    let keep_going: &[&str] = if test.keep_going {
        &["--no-fail-fast"]
    } else {
        &[]
    };
    let units = ["test", "--workspace", "--exclude", "standby-e2e"];
    let harness = ["test", "--package", "standby-e2e", "--lib"];
    let mut steps: Vec<(&str, Vec<&str>)> = vec![
        ("formatting", vec!["fmt", "--all", "--check"]),
        (
            "lints",
            vec![
                "clippy",
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ],
        ),
        (
            "unit, property and simulation tests",
            [&units[..], keep_going].concat(),
        ),
        ("tests of the harness", [&harness[..], keep_going].concat()),
    ];
    if !test.no_cluster {
        // Starts the load generator, which cargo builds only when it is asked to.
        steps.push((
            "building the harness",
            vec!["build", "--package", "standby-e2e", "--bins"],
        ));
        let mut stories = vec![
            "test",
            "--package",
            "standby-e2e",
            "--test",
            "stories",
            "--",
        ];
        if test.all_failures {
            stories.push("--all-failures");
        }
        if test.keep_going {
            stories.push("--keep-going");
        }
        if let Some(only) = &test.only {
            stories.extend(["--only", only]);
        }
        steps.push(("tests on a local Kubernetes", stories));
    }
    let mut failed = Vec::new();
    let count = steps.len();
    for (number, (title, arguments)) in steps.into_iter().enumerate() {
        eprintln!("[{} of {count}] {title}", number + 1);
        match cargo(&arguments) {
            Ok(()) => {}
            Err(_) if test.keep_going => failed.push(title),
            Err(error) => return Err(error.context(format!("{title} failed"))),
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("failed: {}", failed.join("; "))
    }
}

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_with(arguments, &[])
}

/// Runs cargo with environment variables beside its own.
fn cargo_with(arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let status = Command::new(&cargo)
        .current_dir(root())
        .args(arguments)
        .envs(variables.iter().copied())
        .status()
        .with_context(|| format!("cannot start {}", cargo.display()))?;
    if status.success() {
        Ok(())
    } else {
        bail!("`cargo {}` ended with {status}", arguments.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::is_long;

    #[test]
    fn many_simulated_hours_are_worth_a_slow_build() {
        let long = |words: &str| {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            is_long(&words)
        };
        assert!(long("--hours 5000 --json sim.json"));
        assert!(long("--json sim.json --hours=500"));
        assert!(!long("--hours 499"));
        assert!(!long("--seed 5000 --runs 1"));
        assert!(!long("--hours many"));
    }
}

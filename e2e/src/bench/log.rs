//! `bench log`: the commit log against bare appends with fdatasync. The measurement stands beside the
//! log itself; this builds it for speed and runs it.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::error::{Error, Result};
use crate::parts::{cache_folder, repository};

/// Runs it; its own words say what came out.
pub async fn run(json: Option<&Path>) -> Result<()> {
    // Next to the cache: on a disk, and none of the clone's folders.
    let folder = cache_folder();
    std::fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    let mut command = Command::new("cargo");
    command
        .args(["run", "--quiet", "--release", "--package", "standby-store"])
        .args(["--example", "log_bench", "--", "--dir"])
        .arg(&folder)
        .current_dir(repository())
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(file) = json {
        let file = std::path::absolute(file).map_err(Error::file("find", file))?;
        command.arg("--json").arg(file);
    }
    let start = |source| Error::Start {
        program: "cargo run".into(),
        source,
    };
    let status = command.status().await.map_err(start)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::Wrong(format!(
        "the log's measurement ended with {status}"
    )))
}

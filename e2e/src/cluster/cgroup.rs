//! The cgroups of hosts and of the control plane, for both versions of the kernel's interface. They
//! limit pods, and they are the list of everything that must be killed at the end.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::command::until;
use crate::error::{Error, Result};
use crate::limits::GONE_TIMEOUT;

const ROOT: &str = "/sys/fs/cgroup";
/// The version 1 hierarchies that the kubelet and runc use.
const CONTROLLERS: &[&str] = &[
    "cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd",
];

/// Whether the machine has the unified hierarchy only.
pub fn is_unified() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The folders of the cgroup `name` in every hierarchy that the machine has.
fn folders(name: &str) -> Vec<PathBuf> {
    if is_unified() {
        return vec![Path::new(ROOT).join(name)];
    }
    CONTROLLERS
        .iter()
        .map(|controller| Path::new(ROOT).join(controller))
        .filter(|folder| folder.exists())
        .map(|folder| folder.join(name))
        .collect()
}

/// Makes the cgroup `name` (with `/` between levels) ready for processes, and returns the files
/// into which a process writes its id to move there.
pub fn make(name: &str) -> Result<Vec<PathBuf>> {
    if is_unified() {
        let controllers = Path::new(ROOT).join("cgroup.controllers");
        let names = std::fs::read_to_string(&controllers)
            .map_err(Error::file("read", &controllers))?
            .split_whitespace()
            .map(|name| format!("+{name}"))
            .collect::<Vec<_>>()
            .join(" ");
        let mut level = PathBuf::from(ROOT);
        for part in name.split('/') {
            // Refused where a controller cannot be handed down; the kubelet then says which.
            let _ = std::fs::write(level.join("cgroup.subtree_control"), &names);
            level.push(part);
            std::fs::create_dir_all(&level).map_err(Error::file("make", &level))?;
        }
    } else {
        for folder in folders(name) {
            std::fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
        }
        fill_cpuset(name)?;
    }
    Ok(folders(name)
        .into_iter()
        .map(|folder| folder.join("cgroup.procs"))
        .collect())
}

/// A version 1 cpuset is unusable until every level names its processors and memory.
fn fill_cpuset(name: &str) -> Result<()> {
    let mut level = Path::new(ROOT).join("cpuset");
    if !level.exists() {
        return Ok(());
    }
    for part in name.split('/') {
        let parent = level.clone();
        level.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let from = parent.join(file);
            let value = std::fs::read(&from).map_err(Error::file("read", &from))?;
            let to = level.join(file);
            std::fs::write(&to, value).map_err(Error::file("write", &to))?;
        }
    }
    Ok(())
}

/// The hierarchy that lists processes.
fn listing(name: &str) -> PathBuf {
    let root = Path::new(ROOT);
    if is_unified() {
        root.join(name)
    } else {
        root.join("pids").join(name)
    }
}

/// The processes in the cgroup and everything below it, as the machine numbers them.
pub fn processes(name: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for folder in tree(&listing(name)) {
        // A folder may vanish while it is read: then it has no processes.
        let text = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        found.extend(
            text.lines()
                .filter_map(|line| line.trim().parse::<i32>().ok()),
        );
    }
    found
}

/// The folder of a container below the cgroup of its host, in the hierarchy `controller` of
/// version 1, or the only one of version 2.
pub fn of_container(host_cgroup: &str, controller: &str, container_id: &str) -> Option<PathBuf> {
    let root = Path::new(ROOT);
    let top = if is_unified() {
        root.to_owned()
    } else {
        root.join(controller)
    };
    tree(&top.join(host_cgroup))
        .into_iter()
        .find(|folder| folder.ends_with(container_id))
}

/// The processes of one container.
pub fn container_processes(host_cgroup: &str, container_id: &str) -> Vec<i32> {
    of_container(host_cgroup, "pids", container_id)
        .and_then(|folder| std::fs::read_to_string(folder.join("cgroup.procs")).ok())
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}

/// A folder and everything below it, the top first.
fn tree(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![top.to_owned()];
    while let Some(folder) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        found.push(folder.clone());
        open.extend(
            entries
                .filter_map(std::result::Result::ok)
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    found
}

/// Sends a signal to a process; one that is already gone is no error.
pub fn signal(process: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(process) {
        let _ = kill_process(pid, signal);
    }
}

/// Kills everything in the cgroup and waits until nothing is left.
pub async fn kill(name: &str) -> Result<()> {
    until(
        &format!("the processes of {name} to end"),
        GONE_TIMEOUT,
        async || {
            let left = processes(name);
            for process in &left {
                signal(*process, Signal::KILL);
            }
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("still there: {left:?}"))
            }
        },
    )
    .await
}

/// Removes the cgroup and everything below it, once it has no processes.
pub async fn remove(name: &str) -> Result<()> {
    let mut tops = folders(name);
    // runc makes its own here where version 2 is mounted beside version 1.
    tops.push(Path::new(ROOT).join("unified").join(name));
    until(
        &format!("the cgroups of {name} to go"),
        GONE_TIMEOUT,
        async || {
            for top in &tops {
                for folder in tree(top).into_iter().rev() {
                    let _ = std::fs::remove_dir(folder);
                }
            }
            match tops.iter().find(|top| top.exists()) {
                None => Ok(()),
                Some(left) => Err(format!("{} is still there", left.display())),
            }
        },
    )
    .await
}

/// The names of all top cgroups that begin with `prefix`.
pub fn with_prefix(prefix: &str) -> Vec<String> {
    let mut names: Vec<String> = ["", "pids", "systemd", "unified", "memory"]
        .iter()
        .filter_map(|sub| std::fs::read_dir(Path::new(ROOT).join(sub)).ok())
        .flatten()
        .filter_map(std::result::Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

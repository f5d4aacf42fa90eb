//! What this machine must have, and installing what it lacks. It never changes anything a package
//! manager does not own.

use std::path::Path;

use tokio::process::Command;

use crate::command;
use crate::error::{Error, Result};
use crate::limits::BUILD_TIMEOUT;
use crate::progress::Progress;

/// Where a program or file comes from in Debian and its kin.
const NEEDED: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("mkfs.ext4", "e2fsprogs"),
    ("fsfreeze", "util-linux"),
    ("losetup", "mount"),
    ("mount", "mount"),
    ("nsenter", "util-linux"),
    ("setsid", "util-linux"),
    ("bash", "bash"),
    ("sysctl", "procps"),
    ("gcc", "gcc"),
    ("pkg-config", "pkg-config"),
    ("/usr/include/seccomp.h", "libseccomp-dev"),
];

/// Checks the machine and installs packages where that is possible.
pub async fn prepare(progress: &Progress) -> Result<()> {
    let mut lacking = Vec::new();
    if !cfg!(target_os = "linux") {
        lacking.push("Linux (hosts are Linux network namespaces)".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        lacking.push("root (namespaces, mounts and cgroups need it): run this with sudo".to_owned());
    }
    match command::run("go", &["env", "GOVERSION"]).await {
        Ok(version) if recent_go(version.trim()) => {}
        Ok(version) => lacking.push(format!("Go 1.26 or later (found {})", version.trim())),
        Err(_) => lacking.push("Go 1.26 or later in PATH (https://go.dev/dl)".to_owned()),
    }
    if command::run("cargo", &["--version"]).await.is_err() {
        lacking.push("cargo in PATH (https://rustup.rs)".to_owned());
    }
    if !lacking.is_empty() {
        return Err(Error::Machine(lacking.join("; ")));
    }
    let packages = missing_packages();
    if !packages.is_empty() {
        install(&packages, progress).await?;
        let still = missing_packages();
        if !still.is_empty() {
            return Err(Error::Machine(format!("the packages {}", still.join(", "))));
        }
    }
    // Built in on many kernels, and then there is no module to load; the sysctl decides later.
    let _ = command::run("modprobe", &["br_netfilter"]).await;
    let _ = command::run("modprobe", &["loop"]).await;
    Ok(())
}

fn recent_go(version: &str) -> bool {
    let mut numbers = version.trim_start_matches("go").split('.');
    let major = numbers.next().and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let minor = numbers.next().and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    (major, minor) >= (1, 26)
}

fn missing_packages() -> Vec<&'static str> {
    let mut packages: Vec<_> = NEEDED
        .iter()
        .filter(|(what, _)| !is_there(what))
        .map(|(_, package)| *package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn is_there(what: &str) -> bool {
    if what.starts_with('/') {
        return Path::new(what).exists();
    }
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|folder| Path::new(folder).join(what).exists())
}

async fn install(packages: &[&str], progress: &Progress) -> Result<()> {
    let list = packages.join(" ");
    if !is_there("apt-get") {
        return Err(Error::Machine(format!("the packages {list} (as Debian names them)")));
    }
    let step = progress.step(&format!("installing {list}"));
    for arguments in [&["update", "-qq"][..], &[&["install", "-y", "-qq"], packages].concat()] {
        let mut apt = Command::new("apt-get");
        apt.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command::output(apt, BUILD_TIMEOUT).await?;
    }
    step.done();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::recent_go;

    #[test]
    fn an_old_or_unreadable_go_is_not_taken() {
        assert!(recent_go("go1.26.8"));
        assert!(recent_go("go1.27"));
        assert!(!recent_go("go1.25.9"));
        assert!(!recent_go("devel"));
    }
}

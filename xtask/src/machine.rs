//! What this machine must have, and installing what it lacks. It never changes anything a package
//! manager does not own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Where a program or file comes from in Debian and its kin; needed to compile. What has no path lies in a
/// folder of PATH, or beside one.
const TO_BUILD: &[(&str, &str)] = &[
    ("cc", "gcc"),
    ("/usr/include/stdio.h", "libc6-dev"),
    // The nodes' memory allocator is C, with a makefile.
    ("make", "make"),
    // The etcd client that the tests use compiles etcd's protocol files.
    ("protoc", "protobuf-compiler"),
    // Which includes the files that come with protoc, in a package of its own that is only recommended.
    (
        "../include/google/protobuf/descriptor.proto",
        "libprotobuf-dev",
    ),
];

/// The same, needed for hosts on this machine.
const FOR_HOSTS: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("conntrack", "conntrack"),
    ("fsfreeze", "util-linux"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("losetup", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("pkg-config", "pkg-config"),
    ("setsid", "util-linux"),
    ("sysctl", "procps"),
    ("/usr/include/seccomp.h", "libseccomp-dev"),
];

/// The oldest Go that builds Kubernetes.
const GO: (u32, u32) = (1, 26);

/// Checks the machine and installs packages where that is possible.
pub fn prepare(hosts: bool) -> Result<()> {
    let mut needed = TO_BUILD.to_vec();
    if hosts {
        needed.extend(FOR_HOSTS);
        check_hosts()?;
    }
    let packages = missing(&needed);
    if !packages.is_empty() {
        install(&packages)?;
        let still = missing(&needed);
        if !still.is_empty() {
            bail!("still missing after installing them: {}", still.join(", "));
        }
    }
    if hosts {
        for module in ["br_netfilter", "loop", "overlay"] {
            // Built in on many kernels: then there is no module to load, and this may fail.
            let _ = Command::new("modprobe").args(["--quiet", module]).output();
        }
    }
    Ok(())
}

/// What no package manager can give.
fn check_hosts() -> Result<()> {
    let mut lacking = Vec::new();
    if !cfg!(target_os = "linux") {
        lacking.push("Linux: hosts are Linux namespaces".to_owned());
    }
    if user_id() != Some(0) {
        lacking.push("root: namespaces, mounts and cgroups need it (sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask ...)".to_owned());
    }
    lacking.extend(go_lacks());
    if lacking.is_empty() {
        Ok(())
    } else {
        bail!("this machine lacks {}", lacking.join("; "))
    }
}

/// Refuses a machine whose Go is missing or too old: a real etcd, to compare with, is built from Go modules.
pub fn check_go() -> Result<()> {
    match go_lacks() {
        None => Ok(()),
        Some(lack) => bail!("this machine lacks {lack}"),
    }
}

fn go_lacks() -> Option<String> {
    let (major, minor) = GO;
    match said("go", &["env", "GOVERSION"]) {
        Some(version) if is_recent(&version) => None,
        Some(version) => Some(format!("Go {major}.{minor} or later: found {version}")),
        None => Some(format!(
            "Go {major}.{minor} or later in PATH: see https://go.dev/dl"
        )),
    }
}

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn user_id() -> Option<u32> {
    said("id", &["-u"])?.parse().ok()
}

fn is_recent(version: &str) -> bool {
    let mut numbers = version
        .trim_start_matches("go")
        .split('.')
        .map(str::parse::<u32>);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (next(), next()) >= GO
}

fn missing(needed: &[(&str, &'static str)]) -> Vec<&'static str> {
    let absent = needed.iter().filter(|(what, _)| !is_there(what));
    let mut packages: Vec<_> = absent.map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn is_there(what: &str) -> bool {
    if what.starts_with('/') {
        return Path::new(what).exists();
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin", "/sbin"]);
    folders
        .into_iter()
        .any(|folder| Path::new(folder).join(what).exists())
}

fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !is_there("apt-get") || user_id() != Some(0) {
        bail!("this machine lacks the packages {list} (as Debian names them): install them");
    }
    eprintln!("installing {list} ...");
    let install = [
        &["install", "-y", "-qq", "--no-install-recommends"],
        packages,
    ]
    .concat();
    for arguments in [&["update", "-qq"][..], &install] {
        let output = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .output()
            .context("cannot start apt-get")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("`apt-get {}` failed: {why}", arguments.join(" "));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_recent;

    #[test]
    fn an_old_or_unreadable_go_is_not_taken() {
        assert!(is_recent("go1.26.8"));
        assert!(is_recent("go1.27"));
        assert!(is_recent("go2.0"));
        assert!(!is_recent("go1.25.9"));
        assert!(!is_recent("devel"));
    }
}

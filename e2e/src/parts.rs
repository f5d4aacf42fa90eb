//! The programs that come from Go modules: Kubernetes, etcd, containerd and the rest. Each is built
//! once per version into the user's cache folder and found there by every clone.
//!
//! Never fetches a finished binary: everything is built from the pinned modules in `e2e/go`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::progress::Progress;

/// One Go module of `e2e/go` and the programs it gives.
pub struct Part {
    /// The folder below `e2e/go`.
    pub folder: &'static str,
    /// What a person calls it.
    pub title: &'static str,
    programs: &'static [(&'static str, &'static str)],
    /// Other names the first program is started under.
    links: &'static [&'static str],
    cgo: bool,
    tags: &'static str,
    ldflags: &'static str,
}

const STRIPPED: &str = "-s -w";
const KUBE_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.1 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37";
const CONTAINERD_FLAGS: &str =
    "-s -w -X github.com/containerd/containerd/v2/version.Version=v2.4.2";

/// Everything that is built, the small ones first so that a mistake shows early.
pub const PARTS: &[Part] = &[
    Part {
        folder: "pause",
        title: "pause",
        programs: &[("pause", ".")],
        ..PLAIN
    },
    Part {
        folder: "runc",
        title: "runc 1.5.2",
        programs: &[("runc", "github.com/opencontainers/runc")],
        cgo: true,
        tags: "seccomp urfave_cli_no_docs netgo osusergo",
        ldflags: "-s -w -extldflags -static",
        ..PLAIN
    },
    Part {
        folder: "cni",
        title: "CNI plugins 1.9.1",
        programs: &[
            (
                "bridge",
                "github.com/containernetworking/plugins/plugins/main/bridge",
            ),
            (
                "loopback",
                "github.com/containernetworking/plugins/plugins/main/loopback",
            ),
            (
                "host-local",
                "github.com/containernetworking/plugins/plugins/ipam/host-local",
            ),
        ],
        ..PLAIN
    },
    Part {
        folder: "etcd",
        title: "etcd 3.7.3",
        programs: &[
            ("etcd", "go.etcd.io/etcd/server/v3"),
            ("etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
        ],
        ..PLAIN
    },
    Part {
        folder: "containerd",
        title: "containerd 2.4.2",
        programs: &[
            (
                "containerd",
                "github.com/containerd/containerd/v2/cmd/containerd",
            ),
            (
                "containerd-shim-runc-v2",
                "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            ),
            ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
        ],
        tags: "no_btrfs no_devmapper no_zfs",
        ldflags: CONTAINERD_FLAGS,
        ..PLAIN
    },
    Part {
        folder: "kube",
        title: "Kubernetes 1.37.1",
        programs: &[("kube", ".")],
        links: &[
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
            "kubectl",
        ],
        ldflags: KUBE_FLAGS,
        ..PLAIN
    },
    Part {
        folder: "provisioner",
        title: "volume provisioner",
        programs: &[("provisioner", ".")],
        ..PLAIN
    },
    Part {
        folder: "coredns",
        title: "CoreDNS 1.15.0",
        programs: &[("coredns", ".")],
        ..PLAIN
    },
    Part {
        folder: "helm",
        title: "Helm 4.3.1",
        programs: &[("helm", "helm.sh/helm/v4/cmd/helm")],
        ..PLAIN
    },
];

/// etcd's own load generator, needed by `bench etcd` only.
pub const BENCHMARK: Part = Part {
    folder: "benchmark",
    title: "etcd's benchmark",
    programs: &[("benchmark", "go.etcd.io/etcd/v3/tools/benchmark")],
    ..PLAIN
};

/// The judge of histories, needed by the stories and by `soak`.
pub const JUDGE: Part = Part {
    folder: "judge",
    title: "judge of histories",
    programs: &[("judge", ".")],
    ..PLAIN
};

const PLAIN: Part = Part {
    folder: "",
    title: "",
    programs: &[],
    links: &[],
    cgo: false,
    tags: "",
    ldflags: STRIPPED,
};

/// Where the built programs are.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    folders: Vec<PathBuf>,
}

impl Programs {
    /// The path of a program.
    ///
    /// # Panics
    /// When no part gives a program of that name: a mistake in the harness itself.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|path| path.exists())
            .unwrap_or_else(|| panic!("no part gives the program `{name}`"))
    }

    /// The same as text, for configuration files and arguments.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// The folder a program lies in.
    ///
    /// # Panics
    /// As [`Programs::path`].
    pub fn folder_of(&self, name: &str) -> PathBuf {
        self.path(name)
            .parent()
            .expect("a program lies in a folder")
            .to_owned()
    }
}

/// `~/.cache/standby`, where everything lies that other clones can use again.
pub fn cache_folder() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    let caches = std::env::var_os("XDG_CACHE_HOME");
    caches
        .map_or_else(|| home().join(".cache"), PathBuf::from)
        .join("standby")
}

/// The root of this clone.
///
/// # Panics
/// Never: this crate lies in the workspace.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("e2e lies in the workspace")
        .to_owned()
}

/// Builds what the cache does not have of [`PARTS`] and returns where all of it is.
pub fn build_all(progress: &Progress) -> Result<Programs> {
    let go = go_version()?;
    let mut programs = Programs::default();
    let missing = PARTS
        .iter()
        .filter(|part| part.cached(&go).is_ok_and(|found| found.is_none()));
    let total = missing.count();
    let mut number = 0;
    for part in PARTS {
        if part.cached(&go)?.is_none() {
            number += 1;
        }
        programs
            .folders
            .push(part.build(&go, &format!("{number} of {total}: "), progress)?);
    }
    Ok(programs)
}

/// Builds what the cache does not have of the parts in those folders.
pub fn build_some(folders: &[&str], progress: &Progress) -> Result<Programs> {
    let go = go_version()?;
    let mut programs = Programs::default();
    for part in PARTS.iter().filter(|part| folders.contains(&part.folder)) {
        programs.folders.push(part.build(&go, "", progress)?);
    }
    Ok(programs)
}

/// Builds etcd's load generator if the cache does not have it, and etcd.
pub fn build_benchmark(progress: &Progress) -> Result<Programs> {
    let go = go_version()?;
    let mut programs = Programs::default();
    for part in PARTS
        .iter()
        .filter(|part| part.folder == "etcd")
        .chain([&BENCHMARK])
    {
        programs.folders.push(part.build(&go, "", progress)?);
    }
    Ok(programs)
}

/// Builds the judge of histories if the cache does not have it.
pub fn build_judge(progress: &Progress) -> Result<Programs> {
    let folder = JUDGE.build(&go_version()?, "", progress)?;
    Ok(Programs {
        folders: vec![folder],
    })
}

/// Finds the programs in the cache without building any.
pub fn find_all() -> Result<Programs> {
    let go = go_version()?;
    let mut programs = Programs::default();
    for part in PARTS {
        let folder = part.cached(&go)?.ok_or_else(|| {
            Error::Wrong(format!(
                "{} is not built yet: run `cargo xtask up` first",
                part.title
            ))
        })?;
        programs.folders.push(folder);
    }
    Ok(programs)
}

fn go_version() -> Result<String> {
    let output = Command::new("go")
        .arg("version")
        .output()
        .map_err(|source| Error::Start {
            program: "go version".into(),
            source,
        })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Part {
    fn source(&self) -> PathBuf {
        repository().join("e2e/go").join(self.folder)
    }

    /// The cache folder for exactly these sources, flags and compiler.
    fn target(&self, go: &str) -> Result<PathBuf> {
        let source = self.source();
        let mut names = std::fs::read_dir(&source)
            .map_err(Error::file("read", &source))?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(Error::file("read", &source))?;
        names.sort();
        let mut hash = Sha256::new();
        for name in names {
            let path = source.join(&name);
            hash.update(name.as_encoded_bytes());
            hash.update(std::fs::read(&path).map_err(Error::file("read", &path))?);
        }
        for text in [
            self.tags,
            self.ldflags,
            go,
            if self.cgo { "cgo" } else { "" },
        ] {
            hash.update(text.as_bytes());
            hash.update([0]);
        }
        let name = format!("{}-{}", self.folder, &hex(&hash.finalize())[..16]);
        Ok(cache_folder().join("bin").join(name))
    }

    fn cached(&self, go: &str) -> Result<Option<PathBuf>> {
        Ok(Some(self.target(go)?).filter(|folder| folder.exists()))
    }

    fn build(&self, go: &str, which: &str, progress: &Progress) -> Result<PathBuf> {
        let target = self.target(go)?;
        if target.exists() {
            return Ok(target);
        }
        let bin = target.parent().expect("the target lies in a folder");
        std::fs::create_dir_all(bin).map_err(Error::file("make", bin))?;
        // Two clones may build at once: each in a folder of its own, the first rename wins.
        let unfinished = bin.join(format!(".{}-{}", self.folder, std::process::id()));
        std::fs::create_dir_all(&unfinished).map_err(Error::file("make", &unfinished))?;
        for (name, package) in self.programs {
            self.compile(&unfinished.join(name), name, package, which, progress)?;
        }
        for link in self.links {
            let path = unfinished.join(link);
            std::os::unix::fs::symlink(self.programs[0].0, &path)
                .map_err(Error::file("link", &path))?;
        }
        if std::fs::rename(&unfinished, &target).is_err() && !target.exists() {
            return Err(Error::Wrong(format!("cannot name {}", target.display())));
        }
        // Ignored: left over only when another clone was first.
        let _ = std::fs::remove_dir_all(&unfinished);
        Ok(target)
    }

    fn go(&self) -> Command {
        let mut command = Command::new("go");
        command
            .current_dir(self.source())
            .env("CGO_ENABLED", if self.cgo { "1" } else { "0" })
            .env("GOFLAGS", "-buildvcs=false")
            .env("GOWORK", "off");
        command
    }

    fn compile(
        &self,
        output: &Path,
        name: &str,
        package: &str,
        which: &str,
        progress: &Progress,
    ) -> Result<()> {
        let bar = progress.counted(&format!("building {which}{} ({name})", self.title));
        bar.set_message("fetching modules");
        let listed = self
            .go()
            .args(["list", "-deps", "-tags", self.tags, package])
            .output()
            .map_err(|source| Error::Start {
                program: "go list".into(),
                source,
            })?;
        bar.set_length(
            u64::try_from(listed.stdout.lines().count())
                .unwrap_or(1)
                .max(1),
        );
        bar.set_message("compiling");
        let mut command = self.go();
        command.args([
            "build",
            "-v",
            "-trimpath",
            "-tags",
            self.tags,
            "-ldflags",
            self.ldflags,
        ]);
        command.arg("-o").arg(output).arg(package);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| Error::Start {
                program: "go build".into(),
                source,
            })?;
        // `-v` names each package once it is compiled; everything else is an error to be shown.
        let mut complaints = String::new();
        let stderr = child.stderr.take().expect("standard error is piped");
        for line in BufReader::new(stderr)
            .lines()
            .map_while(std::result::Result::ok)
        {
            if line.contains(' ') {
                complaints.push_str(&line);
                complaints.push('\n');
            } else {
                bar.inc(1);
            }
        }
        let status = child.wait().map_err(|source| Error::Start {
            program: "go build".into(),
            source,
        })?;
        bar.done();
        if status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            command: format!("go build {package} (in {})", self.source().display()),
            status: status.to_string(),
            stderr: complaints,
        })
    }
}

/// Bytes as lower-case hexadecimal digits.
///
/// # Panics
/// Never: half a byte is always a digit.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        text.push(char::from_digit(u32::from(byte >> 4), 16).expect("a nibble is a digit"));
        text.push(char::from_digit(u32::from(byte & 15), 16).expect("a nibble is a digit"));
        text
    })
}

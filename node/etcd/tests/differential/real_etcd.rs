//! The real etcd: built once from its Go module into the user's cache, started fresh for each run.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use standby_etcd::pb::etcdserverpb::RangeRequest;
use standby_etcd::pb::etcdserverpb::kv_client::KvClient;
use tempfile::TempDir;

/// Names a built etcd 3.7.3 to use instead of building one.
const BINARY_VARIABLE: &str = "STANDBY_ETCD_BINARY";
/// What the right version says first.
const VERSION_LINE: &str = "etcd Version: 3.7.3\n";
const START_LIMIT: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// A running etcd; it ends with this.
pub struct RealEtcd {
    child: Child,
    pub url: String,
    _data: TempDir,
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl RealEtcd {
    /// Starts one with an empty store on ports of its own.
    pub async fn start() -> Self {
        // Tests of one process share it: the first builds, the others wait.
        static BINARY: OnceLock<PathBuf> = OnceLock::new();
        let binary = BINARY.get_or_init(binary);
        let data = in_memory_dir();
        let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
        let child = Command::new(binary)
            .args(["--name", "real", "--data-dir"])
            .arg(data.path().join("data"))
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args(["--initial-cluster", &format!("real={peer}")])
            .args(["--unsafe-no-fsync", "--log-level", "error"])
            .stdin(Stdio::null())
            .spawn()
            .expect("etcd starts");
        let etcd = Self {
            child,
            url: client,
            _data: data,
        };
        etcd.until_ready().await;
        etcd
    }

    async fn until_ready(&self) {
        let begun = Instant::now();
        loop {
            if let Ok(mut kv) = KvClient::connect(self.url.clone()).await
                && kv
                    .range(RangeRequest {
                        key: "a".into(),
                        ..RangeRequest::default()
                    })
                    .await
                    .is_ok()
            {
                return;
            }
            assert!(
                begun.elapsed() < START_LIMIT,
                "etcd at {} did not become ready",
                self.url
            );
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

/// The comparison needs no disk.
fn in_memory_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary folder")
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on the loopback address")
    });
    listeners.map(|listener| {
        listener
            .local_addr()
            .expect("a bound socket has an address")
            .port()
    })
}

/// etcd's binary, built if it is not in the cache yet.
fn binary() -> PathBuf {
    if let Some(binary) = std::env::var_os(BINARY_VARIABLE) {
        return binary.into();
    }
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("differential/go");
    let mut hasher = DefaultHasher::new();
    for file in ["go.mod", "go.sum", "main.go"] {
        std::fs::read(module.join(file))
            .expect("the Go module is complete")
            .hash(&mut hasher);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .expect("HOME or XDG_CACHE_HOME says where the cache is");
    let folder = cache.join("standby/bin");
    if let Some(binary) = built_by_others(&folder) {
        return binary;
    }
    let binary = folder.join(format!("etcd-differential-{:016x}", hasher.finish()));
    if binary.exists() {
        return binary;
    }
    std::fs::create_dir_all(&folder).expect("the cache folder can be made");
    // Built beside and renamed: another run may build at the same time.
    let building = folder.join(format!("building-{}", std::process::id()));
    let status = Command::new("go")
        .args(["build", "-trimpath", "-o"])
        .arg(&building)
        .arg(".")
        .current_dir(&module)
        .env("CGO_ENABLED", "0")
        .status()
        .expect("the Go toolchain is installed");
    assert!(
        status.success(),
        "etcd could not be built in {}",
        module.display()
    );
    std::fs::rename(&building, &binary).expect("the built etcd can be moved to its place");
    binary
}

/// An etcd of the right version that the end-to-end tests have built.
fn built_by_others(folder: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    folders.map(|folder| folder.join("etcd")).find(|binary| {
        let output = Command::new(binary).arg("--version").output();
        output.is_ok_and(|output| output.stdout.starts_with(VERSION_LINE.as_bytes()))
    })
}

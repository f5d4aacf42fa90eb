//! One node's process, its ports and its volume.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use standby_core::ClusterId;

/// A node's process; killed when this is dropped.
pub struct NodeProcess {
    name: String,
    data_dir: PathBuf,
    log_file: PathBuf,
    cluster_id: ClusterId,
    ports: [u16; 3],
    /// Certificates, and what clients must show; none: no TLS.
    tls: Option<(PathBuf, &'static str)>,
    flags: Vec<String>,
    child: Option<Child>,
}

/// The ports that nodes get: below those that the system gives to connections (32768 by default), which
/// could take one between two runs of its node.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// A port that nobody listens on, and that this process has given to nobody.
fn free_port() -> anyhow::Result<u16> {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let count = PORTS.end - PORTS.start;
    // Test programs that run at the same time begin at different places.
    let first = std::process::id().wrapping_mul(97) % count;
    for _ in 0..count {
        let offset = (first + GIVEN.fetch_add(1, Ordering::Relaxed)) % count;
        let port = u16::try_from(PORTS.start + offset)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port from {} to {} is free", PORTS.start, PORTS.end)
}

/// How long a process may take to stop: a thread in a system call ends that first.
const STOP_WAIT_MS: u64 = 5_000;

/// By the state in `/proc/PID/task/TID/stat`, which stands behind the name in parentheses (proc(5)).
fn all_threads_stopped(pid: u32) -> anyhow::Result<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
        if !state.is_some_and(|state| state.starts_with('T')) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl NodeProcess {
    /// A node that is not started yet, with free ports, a volume under `dir` and its log under `logs`.
    pub fn new(
        name: &str,
        dir: &Path,
        logs: &Path,
        cluster_id: &ClusterId,
    ) -> anyhow::Result<Self> {
        let ports = [free_port()?, free_port()?, free_port()?];
        Ok(Self {
            name: name.to_owned(),
            data_dir: dir.join(name),
            log_file: logs.join(format!("{name}.log")),
            cluster_id: cluster_id.clone(),
            ports,
            tls: None,
            flags: Vec::new(),
            child: None,
        })
    }

    /// Starts with the certificates in `dir` and this value of `--client-tls`.
    #[must_use]
    pub fn with_tls(mut self, dir: PathBuf, clients: &'static str) -> Self {
        self.tls = Some((dir, clients));
        self
    }

    /// What its client port speaks, by the value of `--client-tls`; none where nothing has TLS.
    #[must_use]
    pub fn client_tls(&self) -> Option<&'static str> {
        self.tls.as_ref().map(|(_, clients)| *clients)
    }

    /// Starts with these flags too.
    #[must_use]
    pub fn with_flags(mut self, flags: &[&str]) -> Self {
        self.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        self
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The volume.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The client port's address.
    #[must_use]
    pub fn client_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// The peer port's address.
    #[must_use]
    pub fn peer_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// The control port's address.
    #[must_use]
    pub fn control_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[2])
    }

    /// The process, if it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts the process.
    pub fn start(&mut self, binary: &Path) -> anyhow::Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log_file)?;
        let mut command = Command::new(binary);
        match &self.tls {
            Some((dir, clients)) => command
                .arg("--tls-dir")
                .arg(dir)
                .args(["--client-tls", clients]),
            None => command.arg("--insecure-loopback"),
        };
        let child = command
            .args(["--name", &self.name, "--cluster-id", &self.cluster_id.0])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(["--client-listen", &self.client_address()])
            .args(["--peer-listen", &self.peer_address()])
            .args(["--control-listen", &self.control_address()])
            .args(["--probe-listen", "127.0.0.1:0"])
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Ends the process with SIGKILL and waits for its end.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self.pid().context("the process does not run")?;
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid.to_string()])
            .status()?;
        anyhow::ensure!(status.success(), "kill -{name} {pid} failed");
        Ok(())
    }

    /// Stops the process (SIGSTOP); when this returns none of its threads runs. The signal alone comes
    /// back earlier: on a busy machine threads go on for milliseconds, and answer what they are asked.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.signal("STOP")?;
        let pid = self.pid().context("the process does not run")?;
        for _ in 0..STOP_WAIT_MS {
            if all_threads_stopped(pid)? {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        anyhow::bail!("{pid} does not stop within {STOP_WAIT_MS} ms")
    }

    /// Whether the process still runs.
    pub fn runs(&mut self) -> anyhow::Result<bool> {
        let child = self.child.as_mut().context("the process was not started")?;
        Ok(child.try_wait()?.is_none())
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self) -> anyhow::Result<std::process::ExitStatus> {
        let mut child = self.child.take().context("the process does not run")?;
        Ok(child.wait()?)
    }

    /// Everything that its runs have said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log_file).unwrap_or_default()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            eprintln!("{}: {error}", self.name);
        }
    }
}

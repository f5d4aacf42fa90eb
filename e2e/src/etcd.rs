//! Real etcd as a plain process on loopback: to test the writers and the checker against something
//! known, and to compare with.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::command::{run, until};
use crate::error::{Error, Result};
use crate::limits::{API_READY_TIMEOUT, GONE_TIMEOUT};
use crate::parts::Programs;

/// One member. Dropping it kills its process.
pub struct Member {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    /// Its client URL.
    pub url: String,
}

/// Starts a cluster of that many members with data and logs below `folder`.
pub async fn start(programs: &Programs, folder: &Path, count: usize) -> Result<Vec<Member>> {
    let ports = free_ports(2 * count)?;
    let peers: Vec<String> = (0..count)
        .map(|i| format!("m{i}=http://127.0.0.1:{}", ports[count + i]))
        .collect();
    let peers = peers.join(",");
    let mut members: Vec<Member> = (0..count)
        .map(|i| {
            let url = format!("http://127.0.0.1:{}", ports[i]);
            let peer = format!("http://127.0.0.1:{}", ports[count + i]);
            let data = folder.join(format!("m{i}"));
            Member {
                program: programs.path("etcd"),
                arguments: vec![
                    format!("--name=m{i}"),
                    format!("--data-dir={}", data.display()),
                    format!("--listen-client-urls={url}"),
                    format!("--advertise-client-urls={url}"),
                    format!("--listen-peer-urls={peer}"),
                    format!("--initial-advertise-peer-urls={peer}"),
                    format!("--initial-cluster={peers}"),
                    "--log-level=warn".to_owned(),
                ],
                log: folder.join(format!("m{i}.log")),
                child: None,
                url,
            }
        })
        .collect();
    for member in &mut members {
        member.start()?;
    }
    let ctl = programs.text("etcdctl");
    let urls: Vec<&str> = members.iter().map(|member| member.url.as_str()).collect();
    let endpoints = format!("--endpoints={}", urls.join(","));
    until("etcd to answer", API_READY_TIMEOUT, async || {
        let health = run(&ctl, &[&endpoints, "endpoint", "health"]).await;
        health.map(drop).map_err(|error| error.to_string())
    })
    .await?;
    Ok(members)
}

impl Member {
    /// Starts its process.
    pub fn start(&mut self) -> Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log);
        let log = log.map_err(Error::file("open", &self.log))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Start {
                program: "etcd".to_owned(),
                source,
            })?;
        self.child = Some(child);
        Ok(())
    }

    /// Kills its process by SIGKILL and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        tokio::time::timeout(GONE_TIMEOUT, child.kill())
            .await
            .map_err(|_| Error::Wrong("etcd does not end".to_owned()))?
            .map_err(Error::file("kill", &self.program))
    }
}

/// Ports that nobody listens on now.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: std::io::Result<Vec<_>> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect();
    let listeners = listeners.map_err(Error::file("listen on", "127.0.0.1"))?;
    let ports: std::io::Result<Vec<_>> = listeners
        .iter()
        .map(|one| one.local_addr().map(|address| address.port()))
        .collect();
    ports.map_err(Error::file("listen on", "127.0.0.1"))
}

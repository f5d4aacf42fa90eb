//! The store of the Kubernetes API, put back to what it was a while ago, as after a disaster.

use std::path::PathBuf;

use crate::cluster::Cluster;
use crate::cluster::control_plane::Program;
use crate::command::run;
use crate::error::Result;

/// The API's store as it was at one moment.
pub struct StoreBackup {
    copy: PathBuf,
}

/// Copies the store aside. The API server has no store for a moment, and waits.
pub async fn back_up_store(cluster: &Cluster) -> Result<StoreBackup> {
    let layout = cluster.layout;
    let data = layout.control().join("etcd");
    let copy = layout.control().join("etcd-backup");
    Program::Etcd.stop(layout).await?;
    let (from, to) = (data.to_string_lossy(), copy.to_string_lossy());
    let gone = run("rm", &["-rf", to.as_ref()]).await;
    let copied = run("cp", &["--archive", from.as_ref(), to.as_ref()]).await;
    Program::Etcd.start(layout, &cluster.programs)?;
    gone?;
    copied?;
    cluster.start_program(Program::ApiServer).await?;
    Ok(StoreBackup { copy })
}

impl StoreBackup {
    /// Puts the store back, with a new start of everything that keeps what it read in memory.
    pub async fn restore(self, cluster: &Cluster) -> Result<()> {
        let layout = cluster.layout;
        for program in [
            Program::Controllers,
            Program::Scheduler,
            Program::ApiServer,
            Program::Etcd,
        ] {
            program.kill(layout).await?;
        }
        let data = layout.control().join("etcd");
        let (from, to) = (self.copy.to_string_lossy(), data.to_string_lossy());
        run("rm", &["-rf", to.as_ref()]).await?;
        run("mv", &[from.as_ref(), to.as_ref()]).await?;
        Program::Etcd.start(layout, &cluster.programs)?;
        cluster.start_program(Program::ApiServer).await
    }
}

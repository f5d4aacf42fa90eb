//! Disks that hang, are slow, are full, are lost, or are as they were a while ago.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;

use super::{Fault, container_id, host_of, powered};
use crate::cluster::Cluster;
use crate::cluster::cgroup;
use crate::cluster::host::Host;
use crate::cluster::layout::{HOSTS, Layout};
use crate::command::run;
use crate::error::{Error, Result};

/// Freezes the filesystem of a claim: writes and syncs hang and their processes cannot be killed.
pub async fn freeze(cluster: &Cluster, pod: &Pod, claim: &PersistentVolumeClaim) -> Result<Fault> {
    let host = host_of(cluster, pod)?;
    let path = volume_path(host, claim)?.to_string_lossy().into_owned();
    let init = powered(host)?.to_string();
    let words = ["nsenter", "--target", &init, "--mount", "fsfreeze"];
    run(words[0], &[&words[1..], &["--freeze", &path]].concat()).await?;
    let undo = [&words[..], &["--unfreeze", &path]].concat();
    Ok(Fault::by_command(
        undo.into_iter().map(String::from).collect(),
    ))
}

/// Slows the direct and synchronous writes of a container to its volume.
pub fn throttle(
    cluster: &Cluster,
    (pod, container): (&Pod, &str),
    claim: &PersistentVolumeClaim,
    bytes_per_second: u64,
) -> Result<Fault> {
    let host = host_of(cluster, pod)?;
    let id = container_id(pod, container)?;
    let seen = seen_from_here(host, claim)?;
    let device = std::fs::metadata(&seen)
        .map_err(Error::file("look at", &seen))?
        .dev();
    let device = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let folder = cgroup::of_container(&host.node(), "blkio", &id)
        .ok_or_else(|| Error::Wrong(format!("{} has no cgroup for its disk", pod.name_any())))?;
    let (file, on, off) = if cgroup::is_unified() {
        (
            "io.max",
            format!("{device} wbps={bytes_per_second}"),
            format!("{device} wbps=max"),
        )
    } else {
        let file = "blkio.throttle.write_bps_device";
        (
            file,
            format!("{device} {bytes_per_second}"),
            format!("{device} 0"),
        )
    };
    let file = folder.join(file);
    std::fs::write(&file, on).map_err(Error::file("write", &file))?;
    Ok(Fault::new(move || {
        // The container may be gone, and its cgroup with it.
        let _ = std::fs::write(&file, off);
    }))
}

/// The file that takes the room away; below the mount point, so it vanishes with the volume.
const FILLER: &str = "filler";

/// A piece of room that nobody can use any more, in bytes: a block.
const LEAST_PIECE_BYTES: u64 = 4096;

/// Takes all the room of a claim's volume, while its node goes on writing and takes of it too.
pub fn fill(cluster: &Cluster, pod: &Pod, claim: &PersistentVolumeClaim) -> Result<Fault> {
    let folder = seen_from_here(host_of(cluster, pod)?, claim)?;
    let room = rustix::fs::statvfs(&folder)
        .map_err(|error| Error::file("look at", &folder)(error.into()))?;
    let path = folder.join(FILLER);
    let filler = std::fs::File::create(&path).map_err(Error::file("make", &path))?;
    let (mut taken, mut piece) = (0, room.f_bavail * room.f_frsize);
    while piece >= LEAST_PIECE_BYTES {
        let whole = rustix::fs::FallocateFlags::empty();
        match rustix::fs::fallocate(&filler, whole, taken, piece) {
            Ok(()) => taken += piece,
            Err(rustix::io::Errno::NOSPC) => piece /= 2,
            Err(error) => return Err(Error::file("fill", &path)(error.into())),
        }
    }
    Ok(Fault::new(move || {
        // The host may have lost its power, or the volume may be gone.
        let _ = std::fs::remove_file(path);
    }))
}

/// A volume as it was at one moment.
pub struct Copied {
    host: Host,
    image: PathBuf,
    copy: PathBuf,
}

/// Copies the volume of a claim aside, as a snapshot of the storage would.
pub async fn copy_volume(
    cluster: &Cluster,
    pod: &Pod,
    claim: &PersistentVolumeClaim,
) -> Result<Copied> {
    let host = host_of(cluster, pod)?;
    let image = volume_path(host, claim)?.with_extension("img");
    let copy = image.with_extension("copy");
    let frozen = freeze(cluster, pod, claim).await?;
    let copied = run("cp", &copy_words(&image, &copy)).await;
    frozen.undo();
    copied?;
    Ok(Copied { host, image, copy })
}

fn copy_words(from: &Path, to: &Path) -> [String; 3] {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    ["--sparse=always".to_owned(), text(from), text(to)]
}

impl Copied {
    /// Puts the copy in the volume's place. The host is without power meanwhile.
    pub async fn put_back(self) -> Result<()> {
        self.host.power_off().await?;
        std::fs::rename(&self.copy, &self.image).map_err(Error::file("put back", &self.image))?;
        self.host.power_on().await
    }

    /// Gives another node the copy for its volume. That node's host is without power meanwhile.
    pub async fn put_into(
        self,
        cluster: &Cluster,
        pod: &Pod,
        claim: &PersistentVolumeClaim,
    ) -> Result<()> {
        let host = host_of(cluster, pod)?;
        let image = volume_path(host, claim)?.with_extension("img");
        host.power_off().await?;
        std::fs::rename(&self.copy, &image).map_err(Error::file("replace", &image))?;
        host.power_on().await
    }
}

/// Makes the volume of a claim as empty as a new one. The host is without power meanwhile.
pub async fn lose_volume(
    cluster: &Cluster,
    pod: &Pod,
    claim: &PersistentVolumeClaim,
) -> Result<()> {
    let host = host_of(cluster, pod)?;
    let image = volume_path(host, claim)?.with_extension("img");
    host.power_off().await?;
    let shown = image.to_string_lossy();
    run("mkfs.ext4", &["-q", "-F", "-m", "0", &shown]).await?;
    host.power_on().await
}

/// Turns bits around in the middle of what a node's log holds. The host is without power meanwhile.
pub async fn flip_bits(cluster: &Cluster, pod: &Pod, claim: &PersistentVolumeClaim) -> Result<()> {
    let host = host_of(cluster, pod)?;
    let image = volume_path(host, claim)?.with_extension("img");
    let folder = image.with_extension("looked-at");
    host.power_off().await?;
    std::fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    let (image, shown) = (image.to_string_lossy(), folder.to_string_lossy());
    run("mount", &["-o", "loop", &image, &shown]).await?;
    let flipped = flip_in(&folder);
    run("umount", &[shown.as_ref()]).await?;
    std::fs::remove_dir(&folder).map_err(Error::file("remove", &folder))?;
    flipped?;
    host.power_on().await
}

fn flip_in(volume: &Path) -> Result<()> {
    let mut segments = Vec::new();
    let mut open = vec![volume.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).map_err(Error::file("read", &folder))?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "segment") {
                segments.push(path);
            }
        }
    }
    segments.sort();
    let file = segments
        .first()
        .ok_or_else(|| Error::Wrong(format!("no log below {}", volume.display())))?;
    let mut bytes = std::fs::read(file).map_err(Error::file("read", file))?;
    // A segment is filled with zeros ahead.
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    for byte in bytes.iter_mut().skip(used / 2).take(FLIPPED_BYTES) {
        *byte = !*byte;
    }
    std::fs::write(file, bytes).map_err(Error::file("write", file))
}

/// How many bytes in a row are damaged.
const FLIPPED_BYTES: usize = 16;

/// The folder of a claim's volume, by the way the machine sees it.
fn seen_from_here(host: Host, claim: &PersistentVolumeClaim) -> Result<PathBuf> {
    let inside = volume_path(host, claim)?;
    let inside = inside.strip_prefix("/").unwrap_or(&inside);
    Ok(PathBuf::from(format!("/proc/{}/root", powered(host)?)).join(inside))
}

/// Thaws every volume of every host that has power. A frozen one would keep its processes, and so
/// the host, from ending.
pub async fn thaw_all(layout: Layout) -> Result<()> {
    for name in HOSTS {
        thaw(Host { layout, name }).await?;
    }
    Ok(())
}

/// Thaws every volume of one host.
pub async fn thaw(host: Host) -> Result<()> {
    let Some(init) = host.init() else {
        return Ok(());
    };
    let folder = host.folder().join("volumes");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Ok(());
    };
    for entry in entries.filter_map(std::result::Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            let init = init.to_string();
            let path = path.to_string_lossy();
            // Refused for what is not frozen, which is what is wanted.
            let _ = run(
                "nsenter",
                &["-t", &init, "-m", "fsfreeze", "--unfreeze", &path],
            )
            .await;
        }
    }
    Ok(())
}

fn volume_path(host: Host, claim: &PersistentVolumeClaim) -> Result<PathBuf> {
    let volume = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref());
    let volume =
        volume.ok_or_else(|| Error::Wrong(format!("{} has no volume", claim.name_any())))?;
    Ok(host.folder().join("volumes").join(volume))
}

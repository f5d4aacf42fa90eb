//! Makes container images without a container engine: one static binary, one layer, one archive in
//! the OCI layout, ready for import.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::error::{Error, Result};
use crate::parts::{Programs, cache_folder, hex, repository};
use crate::plugin;
use crate::progress::Progress;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// When this environment variable is set, binaries that are there are taken as they are: for work on
/// the harness itself.
const PREBUILT: &str = "STANDBY_PREBUILT";
/// Nobody in particular, as a number: a pod that asks for `runAsNonRoot` needs one.
const NOBODY: &str = "65532:65532";

/// One image: a binary and its name.
pub struct Image<'a> {
    /// The full name with its tag.
    pub name: &'a str,
    /// The binary on this machine.
    pub binary: &'a Path,
    /// Its path in the image, from the root.
    pub path: &'a str,
    /// User and group.
    pub user: &'a str,
}

/// The two images of the product, and the one that makes load, as archives below the cache folder. The
/// plugin for kubectl is compiled with them: it goes into no image.
pub async fn build(progress: &Progress) -> Result<Vec<PathBuf>> {
    let packages = [
        "standby-operator",
        "standby-node",
        "standby-e2e",
        "standby-kubectl",
    ];
    let binaries = ["standby-operator", "standby-node", "standby-workload"];
    compile(
        &packages,
        &[&binaries[..], &[plugin::BINARY]].concat(),
        progress,
    )
    .await?;
    let folder = cache_folder().join("images");
    std::fs::create_dir_all(&folder).map_err(Error::file("make", &folder))?;
    binaries
        .iter()
        .map(|name| {
            let image = Image {
                name: &format!("docker.io/library/{name}:dev"),
                binary: &compiled(name),
                path: name,
                user: NOBODY,
            };
            // Two clones may work at once; what one loads must be what it built.
            let archive = folder.join(format!("{name}-{}.tar", digest_of_file(image.binary)?));
            if !archive.exists() {
                write(&image, &archive)?;
            }
            Ok(archive)
        })
        .collect()
}

/// The image of every pod's first process.
pub fn pause(programs: &Programs, folder: &Path) -> Result<PathBuf> {
    let binary = programs.path("pause");
    let name = "docker.io/local/pause:1";
    let archive = folder.join("pause.tar");
    write(
        &Image {
            name,
            binary: &binary,
            path: "pause",
            user: NOBODY,
        },
        &archive,
    )?;
    Ok(archive)
}

/// The image of cluster DNS. It opens port 53, so it runs as root.
pub fn dns(programs: &Programs, folder: &Path) -> Result<PathBuf> {
    let binary = programs.path("coredns");
    let name = "docker.io/local/coredns:1";
    let archive = folder.join("coredns.tar");
    write(
        &Image {
            name,
            binary: &binary,
            path: "coredns",
            user: "0:0",
        },
        &archive,
    )?;
    Ok(archive)
}

/// Where [`compile`] puts a binary.
pub fn compiled(binary: &str) -> PathBuf {
    target().join(TARGET).join("release").join(binary)
}

/// All clones share it, so that dependencies are compiled once.
fn target() -> PathBuf {
    cache_folder().join("target")
}

/// Compiles static release binaries.
///
/// # Panics
/// Never: the standard error it reads is piped.
pub async fn compile(packages: &[&str], binaries: &[&str], progress: &Progress) -> Result<()> {
    let all_there = binaries.iter().all(|binary| compiled(binary).exists());
    if std::env::var_os(PREBUILT).is_some() && all_there {
        progress.say(&format!(
            "{PREBUILT} is set: taking the binaries as they are"
        ));
        return Ok(());
    }
    let step = progress.step(&format!("compiling {}", binaries.join(", ")));
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--locked", "--target", TARGET]);
    command.args(packages.iter().flat_map(|package| ["-p", package]));
    command.args(binaries.iter().flat_map(|binary| ["--bin", binary]));
    command
        .current_dir(repository())
        .env("CARGO_TARGET_DIR", target())
        // For the target only: build scripts and macros stay dynamic.
        .env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C target-feature=+crt-static",
        )
        .env_remove("RUSTFLAGS")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let start = |source| Error::Start {
        program: "cargo build".into(),
        source,
    };
    let mut child = command.spawn().map_err(start)?;
    let mut lines = BufReader::new(child.stderr.take().expect("standard error is piped")).lines();
    let mut said = Vec::new();
    while let Ok(Some(line)) = lines.next_line().await {
        step.set_message(line.trim());
        said.push(line);
    }
    let status = child.wait().await.map_err(start)?;
    if !status.success() {
        let tail = said.split_off(said.len().saturating_sub(crate::limits::LOG_TAIL_LINES));
        return Err(Error::Failed {
            command: "cargo build --release".to_owned(),
            status: status.to_string(),
            stderr: tail.join("\n"),
        });
    }
    step.done();
    Ok(())
}

/// Writes an image as an archive in the OCI layout.
pub fn write(image: &Image<'_>, archive: &Path) -> Result<()> {
    let layer = layer(image)?;
    let layer_digest = hex(&Sha256::digest(&layer));
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": image.user,
            "Entrypoint": [format!("/{}", image.path)],
            "Env": ["PATH=/"],
            "WorkingDir": "/",
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": described(CONFIG_TYPE, &config),
        "layers": [described(LAYER_TYPE, &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = described(MANIFEST_TYPE, &manifest);
    entry["annotations"] = json!({
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": image.name.rsplit(':').next(),
    });
    let index = json!({"schemaVersion": 2, "manifests": [entry]});

    let unfinished = archive.with_extension(format!("{}.new", std::process::id()));
    let file = File::create(&unfinished).map_err(Error::file("make", &unfinished))?;
    let mut files = tar::Builder::new(BufWriter::new(file));
    let mut add = |name: &str, bytes: &[u8]| {
        append(&mut files, name, bytes, 0o644).map_err(Error::file("write", &unfinished))
    };
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    add("index.json", index.to_string().as_bytes())?;
    for blob in [&manifest, &config, &layer] {
        add(
            &format!("blobs/sha256/{}", hex(&Sha256::digest(blob))),
            blob,
        )?;
    }
    files
        .into_inner()
        .and_then(|mut writer| writer.flush())
        .map_err(Error::file("write", &unfinished))?;
    std::fs::rename(&unfinished, archive).map_err(Error::file("name", archive))
}

/// The one layer: the binary and nothing else.
fn layer(image: &Image<'_>) -> Result<Vec<u8>> {
    let binary = std::fs::read(image.binary).map_err(Error::file("read", image.binary))?;
    let mut files = tar::Builder::new(Vec::with_capacity(binary.len() + 4096));
    append(&mut files, image.path, &binary, 0o755)
        .and_then(|()| files.into_inner())
        .map_err(Error::file("pack", image.binary))
}

fn append<W: Write>(
    files: &mut tar::Builder<W>,
    name: &str,
    bytes: &[u8],
    mode: u32,
) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    // The same binary gives the same image, whenever it is packed.
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    files.append_data(&mut header, name, bytes)
}

fn described(media_type: &str, bytes: &[u8]) -> Value {
    json!({
        "mediaType": media_type,
        "digest": format!("sha256:{}", hex(&Sha256::digest(bytes))),
        "size": bytes.len(),
    })
}

fn digest_of_file(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(Error::file("read", path))?;
    Ok(hex(&Sha256::digest(bytes))[..16].to_owned())
}

//! The wall clock of one process jumps. All hosts share one kernel, and so one clock: what jumps is what
//! the process is told. A program asks the kernel's own code in its memory (the vDSO) for the time; there
//! the answer is changed. Everything else of the machine keeps its time.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use object::read::elf::ElfFile64;
use object::{Object, ObjectSymbol};
use rustix::process::Signal;

use super::{Fault, container_processes};
use crate::cluster::{Cluster, cgroup};
use crate::error::{Error, Result};

/// What a program calls to be told the time.
const CLOCK_FUNCTION: &str = "__vdso_clock_gettime";
/// The time since boot and other clocks keep their time: only clock 0 is the wall clock.
///
/// ```text
/// mov eax, 228 (clock_gettime) ; syscall ; test edi, edi ; jne end
/// add qword [rsi], SECONDS     ; end: ret
/// ```
const BEFORE_SECONDS: [u8; 14] = [
    0xb8, 0xe4, 0, 0, 0, 0x0f, 0x05, 0x85, 0xff, 0x75, 0x07, 0x48, 0x81, 0x06,
];
/// `ret`.
const AFTER_SECONDS: u8 = 0xc3;

/// Puts the wall clock of a container's processes that many seconds ahead (or back).
pub fn jump_clock(cluster: &Cluster, pod: &Pod, container: &str, seconds: i32) -> Result<Fault> {
    let mut code = BEFORE_SECONDS.to_vec();
    code.extend(seconds.to_le_bytes());
    code.push(AFTER_SECONDS);
    let offset = function_offset()?;
    let mut undo = Vec::new();
    for process in container_processes(cluster, pod, container)? {
        let Some(vdso) = vdso_of(process)? else {
            continue;
        };
        let memory = memory_of(process)?;
        let mut before = vec![0; code.len()];
        let path = format!("/proc/{process}/mem");
        memory
            .read_exact_at(&mut before, vdso + offset)
            .map_err(Error::file("read", &path))?;
        replace(process, &memory, vdso + offset, &code)?;
        undo.push((process, vdso + offset, before));
    }
    Ok(Fault::new(move || {
        for (process, at, before) in undo {
            // The process may be gone, and its memory with it.
            if let Ok(memory) = memory_of(process) {
                let _ = replace(process, &memory, at, &before);
            }
        }
    }))
}

fn memory_of(process: i32) -> Result<File> {
    let path = PathBuf::from(format!("/proc/{process}/mem"));
    let opened = OpenOptions::new().read(true).write(true).open(&path);
    opened.map_err(Error::file("open", path))
}

/// The process is stopped meanwhile, so that nobody runs half of the old code and half of the new.
fn replace(process: i32, memory: &File, at: u64, code: &[u8]) -> Result<()> {
    cgroup::signal(process, Signal::STOP);
    let written = memory.write_all_at(code, at);
    cgroup::signal(process, Signal::CONT);
    written.map_err(Error::file("write", format!("/proc/{process}/mem")))
}

/// Where the kernel's code begins in a process; one that ended has none.
fn vdso_of(process: i32) -> Result<Option<u64>> {
    Ok(vdso_range(&format!("/proc/{process}/maps"))?.map(|(begin, _)| begin))
}

fn vdso_range(path: &str) -> Result<Option<(u64, u64)>> {
    let text = std::fs::read_to_string(path).map_err(Error::file("read", path))?;
    let line = text.lines().find(|line| line.ends_with("[vdso]"));
    let range = line.and_then(|line| line.split_whitespace().next()?.split_once('-'));
    Ok(range.and_then(|(begin, end)| {
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some((number(begin)?, number(end)?))
    }))
}

/// The kernel gives every process the same code: ours says where the function is.
fn function_offset() -> Result<u64> {
    let (begin, end) = vdso_range("/proc/self/maps")?
        .ok_or_else(|| Error::Machine("a kernel with a vDSO".to_owned()))?;
    let path = "/proc/self/mem";
    let memory = File::open(path).map_err(Error::file("open", path))?;
    let mut image = vec![0; usize::try_from(end - begin).unwrap_or(0)];
    memory
        .read_exact_at(&mut image, begin)
        .map_err(Error::file("read", path))?;
    let wrong = |error: object::Error| Error::Wrong(format!("the vDSO: {error}"));
    let file: ElfFile64 = ElfFile64::parse(image.as_slice()).map_err(wrong)?;
    file.dynamic_symbols()
        .find(|symbol| symbol.name() == Ok(CLOCK_FUNCTION))
        .map(|symbol| symbol.address())
        .ok_or_else(|| Error::Machine(format!("a vDSO with {CLOCK_FUNCTION}")))
}

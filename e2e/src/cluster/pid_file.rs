//! Remembers which process was started, across runs of the harness. A process is known by its id and by
//! when it started, so another that was given the same id is not taken for it. Never guesses from names
//! or cgroups: while a process becomes another program it has neither for a moment.

use std::path::PathBuf;

use procfs::process::{Process, Stat};

use crate::error::{Error, Result};

/// A file that names a process.
pub struct PidFile(pub PathBuf);

impl PidFile {
    /// Names a process that was just started.
    pub fn write(&self, process: u32) -> Result<()> {
        let stat = i32::try_from(process).ok().and_then(stat);
        let Some(stat) = stat else {
            return Err(Error::Wrong(format!("process {process} ended at once")));
        };
        let text = format!("{process} {}", stat.starttime);
        std::fs::write(&self.0, text).map_err(Error::file("write", &self.0))
    }

    /// The process, if it lives.
    pub fn living(&self) -> Option<i32> {
        let text = std::fs::read_to_string(&self.0).ok()?;
        let (process, started) = text.trim().split_once(' ')?;
        let process = process.parse().ok()?;
        let stat = stat(process)?;
        let ended = matches!(stat.state, 'Z' | 'X');
        (!ended && stat.starttime.to_string() == started).then_some(process)
    }
}

fn stat(process: i32) -> Option<Stat> {
    Process::new(process).ok()?.stat().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::PidFile;

    #[test]
    fn a_process_lives_until_it_is_killed_and_no_other_is_taken_for_it() {
        let path = std::env::temp_dir().join(format!("pid-file-{}", std::process::id()));
        let file = PidFile(path.clone());
        assert_eq!(file.living(), None);
        let mut child = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::null())
            .spawn()
            .expect("it starts");
        file.write(child.id()).expect("it can be written");
        let process = i32::try_from(child.id()).expect("small");
        assert_eq!(file.living(), Some(process));
        std::fs::write(&path, format!("{process} 1")).expect("it can be written");
        assert_eq!(file.living(), None, "it started at another time");
        file.write(child.id()).expect("it can be written");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        assert_eq!(file.living(), None);
        assert!(
            file.write(child.id()).is_err(),
            "nothing can be said of one that ended"
        );
        std::fs::remove_file(path).expect("it was written");
    }
}

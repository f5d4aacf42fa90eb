//! What the operator asked the API server for, counted from the API server's audit log.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use serde::Deserialize;

use crate::error::{Error, Result};

/// How often each thing was asked for: `patch endpointslices` and so on.
pub type Requests = BTreeMap<String, u32>;

/// Reads an audit log piece by piece.
pub struct Audit {
    file: PathBuf,
    user: String,
    read: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    user: User,
    object_ref: Option<Object>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct Object {
    resource: Option<String>,
    subresource: Option<String>,
}

impl Event {
    /// A watch goes on for long: it counts when it begins. Everything else when it is answered.
    fn name(&self) -> Option<String> {
        let counts = match self.verb.as_str() {
            "watch" => "ResponseStarted",
            _ => "ResponseComplete",
        };
        if self.stage != counts {
            return None;
        }
        let object = self.object_ref.as_ref();
        let resource = object.and_then(|it| it.resource.as_deref()).unwrap_or("-");
        Some(match object.and_then(|it| it.subresource.as_deref()) {
            Some(sub) => format!("{} {resource}/{sub}", self.verb),
            None => format!("{} {resource}", self.verb),
        })
    }
}

impl Audit {
    /// Of the requests of that user, from now on.
    pub fn new(file: PathBuf, user: String) -> Self {
        Self {
            file,
            user,
            read: 0,
        }
    }

    /// What was asked for since the last call.
    pub fn take(&mut self) -> Result<Requests> {
        let mut log = std::fs::File::open(&self.file).map_err(Error::file("open", &self.file))?;
        log.seek(SeekFrom::Start(self.read))
            .map_err(Error::file("read", &self.file))?;
        let mut log = BufReader::new(log);
        let mut requests = Requests::new();
        let mut line = String::new();
        loop {
            line.clear();
            let length = log
                .read_line(&mut line)
                .map_err(Error::file("read", &self.file))?;
            // A line that is just being written is read the next time.
            if !line.ends_with('\n') {
                return Ok(requests);
            }
            self.read += length as u64;
            let event: Event = serde_json::from_str(&line)?;
            if event.user.username != self.user {
                continue;
            }
            if let Some(name) = event.name() {
                *requests.entry(name).or_default() += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(user: &str, stage: &str, verb: &str, resource: &str) -> String {
        format!(
            "{{\"stage\":\"{stage}\",\"verb\":\"{verb}\",\"user\":{{\"username\":\"{user}\"}},\
             \"objectRef\":{{\"resource\":\"{resource}\"}}}}\n"
        )
    }

    #[test]
    fn requests_are_counted_once_and_only_those_of_the_user() {
        let file = std::env::temp_dir().join(format!("standby-audit-{}", std::process::id()));
        let text = [
            line("op", "ResponseComplete", "get", "secrets"),
            line("op", "ResponseStarted", "watch", "pods"),
            line("op", "ResponseComplete", "watch", "pods"),
            line("else", "ResponseComplete", "get", "secrets"),
        ];
        std::fs::write(&file, text.concat() + "{\"stage\":").expect("a file");
        let mut audit = Audit::new(file.clone(), "op".to_owned());
        let first = audit.take().expect("readable");
        assert_eq!(first.len(), 2);
        assert_eq!((first["get secrets"], first["watch pods"]), (1, 1));
        assert_eq!(audit.take().expect("readable"), Requests::new());
        std::fs::remove_file(&file).expect("it is there");
    }
}

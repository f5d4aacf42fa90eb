//! The highest view of each cluster that this process, or one before it in the same pod, has ever seen
//! recorded, whether it led or not. It outlives an API server whose store is put back to an earlier state
//! (V10), where everything that is written down goes back together. Never says what is recorded now.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use standby_api::StandbyViewSpec;
use standby_core::View;
use tracing::warn;

use crate::context::Key;

/// The views; copies share them.
#[derive(Clone, Debug, Default)]
pub struct Remembered(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    views: HashMap<Key, View>,
    /// Where they are kept for the next process: one file a cluster, in a folder for its namespace.
    folder: Option<PathBuf>,
}

impl Remembered {
    /// What a process before this one left in `folder`. What cannot be read there is not known.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        let views = load(folder).unwrap_or_else(|error| {
            warn!(folder = %folder.display(), %error, "what was remembered cannot be read");
            HashMap::new()
        });
        Self(Arc::new(Mutex::new(Known {
            views,
            folder: Some(folder.to_owned()),
        })))
    }

    /// A view was seen recorded. One of another identity takes the place of an earlier cluster's.
    pub fn saw(&self, key: &Key, view: View) {
        let mut all = self.0.lock();
        let known = all.views.get(key);
        if known.is_none_or(|known| view.supersedes(known)) {
            all.keep(key, &view);
            all.views.insert(key.clone(), view);
        }
    }

    /// The highest view.
    #[must_use]
    pub fn highest(&self, key: &Key) -> Option<View> {
        self.0.lock().views.get(key).cloned()
    }

    /// The cluster is gone.
    pub fn forget(&self, key: &Key) {
        let mut all = self.0.lock();
        all.views.remove(key);
        if let Some(folder) = &all.folder {
            // What is left only costs room: a cluster of the same name has another identity.
            let _ = fs::remove_file(file(folder, key));
        }
    }
}

impl Known {
    /// Best effort: this process knows it anyway. In the chart the folder is in memory, so nothing hangs.
    fn keep(&self, key: &Key, view: &View) {
        let Some(folder) = &self.folder else { return };
        let path = file(folder, key);
        if let Err(error) = write(&path, view) {
            warn!(file = %path.display(), %error, "a view is not remembered beyond this process");
        }
    }
}

fn file(folder: &Path, key: &Key) -> PathBuf {
    folder
        .join(&key.namespace)
        .join(format!("{}.json", key.name))
}

/// A process that ends in the middle leaves the file as it was.
fn write(path: &Path, view: &View) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let next = path.with_extension("next");
    fs::write(&next, serde_json::to_vec(&StandbyViewSpec::from(view))?)?;
    fs::rename(&next, path)
}

fn load(folder: &Path) -> io::Result<HashMap<Key, View>> {
    fs::create_dir_all(folder)?;
    let mut views = HashMap::new();
    for namespace in fs::read_dir(folder)? {
        let namespace = namespace?;
        if !namespace.file_type()?.is_dir() {
            continue;
        }
        for file in fs::read_dir(namespace.path())? {
            let path = file?.path();
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let key = Key {
                namespace: namespace.file_name().to_string_lossy().into_owned(),
                name: name.into_owned(),
            };
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
                && let Some(view) = read(&path)
            {
                views.insert(key, view);
            }
        }
    }
    Ok(views)
}

fn read(path: &Path) -> Option<View> {
    let spec: StandbyViewSpec = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    View::try_from(&spec).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use standby_core::{ClusterId, NodeId};

    fn node() -> NodeId {
        NodeId::new("db-1", "00000000000000a1")
    }

    fn first(id: &str) -> View {
        View::first(ClusterId(id.into()), node())
    }

    fn key() -> Key {
        Key {
            namespace: "shop".into(),
            name: "db".into(),
        }
    }

    #[test]
    fn an_older_view_changes_nothing_and_another_clusters_does() {
        let views = Remembered::default();
        let later = first("c1").promote(node());
        views.saw(&key(), later.clone());
        views.saw(&key(), first("c1"));
        assert_eq!(views.highest(&key()), Some(later));
        views.saw(&key(), first("c2"));
        assert_eq!(views.highest(&key()), Some(first("c2")));
        views.forget(&key());
        assert_eq!(views.highest(&key()), None);
    }

    #[test]
    fn the_next_process_of_the_same_pod_knows_what_this_one_saw() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("views");
        let later = first("c1").promote(node());
        let views = Remembered::in_folder(&place);
        views.saw(&key(), first("c1"));
        views.saw(&key(), later.clone());
        drop(views);
        let next = Remembered::in_folder(&place);
        assert_eq!(next.highest(&key()), Some(later));
        next.forget(&key());
        assert_eq!(Remembered::in_folder(&place).highest(&key()), None);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_nothing_to_remember() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = file(folder.path(), &key());
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, "half a vi").expect("written");
        assert_eq!(Remembered::in_folder(folder.path()).highest(&key()), None);
    }
}

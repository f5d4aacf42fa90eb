//! Whether the read-write slice is still what this operator wrote. Never writes it.

/// The read-write slice as this operator wrote it last.
#[derive(Debug, Default)]
pub(super) struct WrittenSlice {
    /// Its version.
    pub version: Option<String>,
    /// The cache has shown it since.
    shown: bool,
}

impl WrittenSlice {
    /// It was written, and this is its version; none: that is not known.
    pub fn written(&mut self, version: Option<String>) {
        *self = Self {
            version,
            shown: false,
        };
    }

    /// Whether somebody else wrote it since, or took it away. The next write then goes over that. The cache may
    /// be behind; versions of one kind of object grow (as Kubernetes promises from 1.35 on).
    pub fn is_overwritten(&mut self, stands: Option<String>) -> bool {
        let number = |version: &Option<String>| version.as_ref()?.parse::<u64>().ok();
        let Some(ours) = number(&self.version) else {
            return false;
        };
        let overwritten = match number(&stands) {
            Some(theirs) => theirs > ours,
            None => self.shown,
        };
        self.shown = stands == self.version;
        if overwritten {
            self.written(stands);
        }
        overwritten
    }
}

#[cfg(test)]
mod tests {
    use super::WrittenSlice;

    fn written(version: &str) -> WrittenSlice {
        let mut slice = WrittenSlice::default();
        slice.written(Some(version.into()));
        slice
    }

    #[test]
    fn a_later_write_of_somebody_else_is_noticed_once_and_written_over() {
        let mut slice = written("99");
        assert!(!slice.is_overwritten(Some("99".into())));
        assert!(slice.is_overwritten(Some("100".into())));
        assert_eq!(slice.version.as_deref(), Some("100"));
        assert!(!slice.is_overwritten(Some("100".into())));
    }

    #[test]
    fn a_cache_that_is_behind_says_nothing() {
        let mut slice = written("100");
        assert!(!slice.is_overwritten(None));
        assert!(!slice.is_overwritten(Some("99".into())));
        assert!(!slice.is_overwritten(Some("100".into())));
        // Before anything was written there is nothing to compare with.
        assert!(!WrittenSlice::default().is_overwritten(Some("7".into())));
    }

    #[test]
    fn a_slice_that_was_taken_away_is_made_again() {
        let mut slice = written("100");
        assert!(!slice.is_overwritten(Some("100".into())));
        assert!(slice.is_overwritten(None));
        assert_eq!(slice.version, None);
        assert!(!slice.is_overwritten(None));
    }
}

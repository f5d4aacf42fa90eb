//! The names and numbers that nodes, operator and tests share.
//!
//! This module never gives meaning to a number beyond its order: epochs and indexes only grow.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The number of a view. Every change of view, also one that keeps the primary, takes the next
/// number (V3, V4). Zero: no view was ever adopted.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// The number of an entry of the commit log, dense from 1. Zero: before the first entry.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Index(pub u64);

/// A point on this process's monotonic clock, or a span of it, in microseconds. Never comparable
/// between processes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

impl Epoch {
    /// The epoch that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Index {
    /// The index that follows this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Micros {
    /// A span of so many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000)
    }

    /// The span or point in whole milliseconds, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// This point, `span` later. Stays at the end of time instead of wrapping.
    #[must_use]
    pub const fn plus(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span since `earlier`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The random identity of one `StandbyCluster`, made once (V10). At most 40 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub String);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The random identity of one volume, made when the volume is first used. 16 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VolumeId(pub String);

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node: its pod's name **and** the identity of its volume, so that an empty disk under an old
/// name is a different node. Written `name/volume`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// The pod's name.
    pub name: String,
    /// The identity of the volume the pod runs on.
    pub volume: VolumeId,
}

impl NodeId {
    /// A node by its pod's name and its volume's identity.
    pub fn new(name: impl Into<String>, volume: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            volume: VolumeId(volume.into()),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.volume)
    }
}

/// A node's name that is not of the form `name/volume`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {given:?} is not of the form name/volume")]
pub struct ParseNodeIdError {
    given: String,
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((name, volume)) if !name.is_empty() && !volume.is_empty() => {
                Ok(Self::new(name, volume))
            }
            _ => Err(ParseNodeIdError {
                given: text.to_owned(),
            }),
        }
    }
}

impl Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_written_and_read_as_name_and_volume() {
        let node = NodeId::new("db-1", "00ff");
        assert_eq!(node.to_string(), "db-1/00ff");
        assert_eq!("db-1/00ff".parse(), Ok(node));
    }

    #[test]
    fn a_name_without_a_volume_is_no_node() {
        for text in ["db-1", "db-1/", "/00ff", ""] {
            assert!(text.parse::<NodeId>().is_err(), "{text}");
        }
    }
}

//! A condition, and who has been told of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Who has been told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    pub mail: bool,
    pub hook: bool,
}

impl Told {
    /// Whether everybody has been told.
    pub fn all(&self) -> bool {
        self.mail && self.hook
    }
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    pub key: String,
    pub summary: String,
    pub since: Timestamp,
    #[serde(default)]
    pub fields: BTreeMap<String, String>,
    #[serde(default)]
    pub told: Told,
    #[serde(default)]
    pub end: Option<End>,
    /// How many deliveries have failed in a row.
    #[serde(default)]
    pub failures: u32,
    /// When the next one is due; `None`: nothing is to be told.
    #[serde(default)]
    pub next: Option<Timestamp>,
}

/// Its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub summary: String,
    pub at: Timestamp,
    #[serde(default)]
    pub told: Told,
    /// Somebody is being told, or was when the one who tells was killed.
    #[serde(default)]
    pub tried: bool,
}

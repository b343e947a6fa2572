//! A condition, and who has been told of it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
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
    /// Why the last delivery failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When the next delivery is due; `None`: nothing is to be told.
    #[serde(default)]
    pub next: Option<Timestamp>,
}

/// The longest pause before somebody is told again.
pub const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// After so many deliveries in a row that failed, within seven hours, nobody is told any more.
pub const MOST_FAILURES: u32 = 12;

impl Alert {
    /// Whether a mail about it has not arrived.
    pub fn lacks_mail(&self) -> bool {
        match &self.end {
            Some(end) => self.told.mail && !end.told.mail,
            None => !self.told.mail,
        }
    }

    /// When the next delivery is due; at once if that is further away than any pause, for then the
    /// clock was set back.
    pub fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let next = self.next?;
        Some(if next > now + LONGEST_PAUSE {
            now
        } else {
            next
        })
    }
}

/// The end of a condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub summary: String,
    pub at: Timestamp,
    #[serde(default)]
    pub told: Told,
    /// Somebody is being told of the end, or was when the program that tells was killed.
    #[serde(default)]
    pub tried: bool,
}

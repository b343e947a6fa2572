//! `spawn/pending.json`: an array of the spawned polecats that wait for their first words; an empty
//! one is written `null`. Each file in `daemon/spawn/new` has one such element.
//!
//! `[{"rig":"gastown","polecat":"nux","session":"gt-gastown-nux","issue":"gt-1",
//!   "spawned_at":"2025-12-28T10:14:00Z","mail_id":"gt-msg7"}]`

use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::json::{self, nullable, time};
use crate::agent::{AddressError, Agent, Role};

/// The file, below the town's root.
pub const FILE: &str = "spawn/pending.json";

/// A spawned polecat. Every text is as its writer left it: check before use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pending {
    /// The rig.
    #[serde(deserialize_with = "nullable")]
    pub rig: String,
    /// The polecat's name.
    #[serde(deserialize_with = "nullable")]
    pub polecat: String,
    /// The tmux session that its writer expects.
    #[serde(deserialize_with = "nullable")]
    pub session: String,
    /// What it is to work on.
    #[serde(deserialize_with = "nullable")]
    pub issue: String,
    /// When it was spawned.
    #[serde(with = "time")]
    pub spawned_at: Option<Timestamp>,
    /// The mail that told of it.
    #[serde(deserialize_with = "nullable")]
    pub mail_id: String,
}

impl Pending {
    /// The agent.
    ///
    /// # Errors
    /// Rig or polecat are not valid names.
    pub fn agent(&self) -> Result<Agent, AddressError> {
        Agent::new(Role::Polecat, Some(&self.rig), Some(&self.polecat))
    }
}

/// Reads one element.
///
/// # Errors
/// The text is not the JSON of a pending spawn.
pub fn parse(text: &str) -> Result<Pending> {
    json::parse(text)
}

/// Reads the array, each element as it was written: a bad one does not hide the others.
///
/// # Errors
/// The text is neither an array nor `null`.
pub fn parse_list(text: &str) -> Result<Vec<Box<RawValue>>> {
    let list: Option<Vec<Box<RawValue>>> = serde_json::from_str(text)?;
    Ok(list.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_what_it_does_not_understand() {
        let list = parse_list(r#"[{"rig":"a","polecat":"x","n":1.50}, 7, {"rig":[]}]"#).unwrap();
        let read: Vec<_> = list.iter().map(|raw| parse(raw.get())).collect();
        let first = read[0].as_ref().unwrap();
        assert_eq!(first.agent().unwrap().to_string(), "a/polecats/x");
        assert!(read[1].is_err() && read[2].is_err());
        assert_eq!(list[0].get(), r#"{"rig":"a","polecat":"x","n":1.50}"#);
    }

    #[test]
    fn empty_is_null() {
        for text in ["null", "[]", " null\n"] {
            assert!(parse_list(text).unwrap().is_empty(), "{text}");
        }
        for text in ["", "{}", "[", "1"] {
            assert!(parse_list(text).is_err(), "{text}");
        }
    }

    #[test]
    fn elements() {
        let text = r#"{"rig":"gastown","polecat":"nux","session":"gt-gastown-nux",
            "issue":null,"spawned_at":"2025-12-28T10:14:00Z"}"#;
        let pending = parse(text).unwrap();
        assert_eq!((pending.issue.as_str(), pending.mail_id.as_str()), ("", ""));
        assert_eq!(
            parse(&serde_json::to_string(&pending).unwrap()).unwrap(),
            pending
        );
        for (rig, polecat) in [("", "x"), ("a", ""), ("../a", "x"), ("a", "crew")] {
            let pending = Pending {
                rig: rig.into(),
                polecat: polecat.into(),
                ..Pending::default()
            };
            assert!(pending.agent().is_err(), "{rig} {polecat}");
        }
    }
}

//! `daemon/activity.json`: the last `gt` command. Written by every `gt` command of older eras.
//!
//! `{"last_command":"gt sling","timestamp":"2025-12-28T10:15:02.331Z"}`

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

use super::Town;
use super::json::{self, nullable, time};
use crate::files;

/// The file, below the town's root.
pub const FILE: &str = "daemon/activity.json";

/// The commands that we run ourselves, or that tmux runs every few seconds for its status line.
const SELF_MADE: &[&str] = &["gt status-line", "gt mail inbox", "gt mail delete"];

/// The last command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Activity {
    /// The command, as `gt` writes it, without arguments in most eras.
    #[serde(default, deserialize_with = "nullable")]
    pub last_command: String,
    /// When it was run.
    #[serde(default, with = "time")]
    pub timestamp: Option<Timestamp>,
}

impl Activity {
    /// When somebody last did something; `None` when this was none of their doing.
    pub fn honest(&self) -> Option<Timestamp> {
        let command = self.last_command.trim();
        let ours = SELF_MADE.iter().any(|own| {
            command
                .strip_prefix(own)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        self.timestamp.filter(|_| !ours)
    }
}

/// Reads the file.
///
/// # Errors
/// The text is not the JSON of an activity.
pub fn parse(text: &str) -> Result<Activity> {
    json::parse(text)
}

/// The last activity, `None` when there is no file.
///
/// # Errors
/// The file is there and cannot be used, named.
pub fn load(town: &Town) -> Result<Option<Activity>> {
    let path = town.path(FILE);
    files::read(&path)?
        .map(|text| parse(&text))
        .transpose()
        .with_context(|| format!("Cannot use '{}'", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_cause_is_not_activity() {
        for (command, honest) in [
            ("gt sling", true),
            ("gt mail inboxes", true),
            ("", true),
            ("gt mail inbox", false),
            ("gt mail inbox --identity deacon/ --json", false),
            ("gt status-line", false),
        ] {
            let text =
                format!(r#"{{"last_command":"{command}","timestamp":"2025-12-28T10:15:02.331Z"}}"#);
            assert_eq!(
                parse(&text).unwrap().honest().is_some(),
                honest,
                "{command}"
            );
        }
        let zero = r#"{"last_command":"gt sling","timestamp":"0001-01-01T00:00:00Z"}"#;
        assert_eq!(parse(zero).unwrap().honest(), None);
        assert_eq!(parse("{}").unwrap().honest(), None);
        assert!(parse("").is_err());
        assert!(parse(r#"{"timestamp":"now"}"#).is_err());
    }
}

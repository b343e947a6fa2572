//! Signs that somebody works: `daemon/activity.json`, the last `gt` command, written by every `gt`
//! command of older eras, and the feed of events of later ones. What our own calls of `gt` write
//! there is no sign.
//!
//! `{"last_command":"gt sling","timestamp":"2025-12-28T10:15:02.331Z"}`

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

use super::Town;
use super::json::{self, nullable, time};
use crate::files;
use crate::systemd::runtime_dir;

/// The file, below the town's root.
pub const FILE: &str = "daemon/activity.json";

/// The feed of events, below the town's root: a line for each thing that was done.
pub const EVENTS: &str = ".events.jsonl";

/// What our own last call left of both files, in the user's runtime directory.
const OWN: &str = "gastown-own-acts";

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

/// Runs one of our own calls of `gt`, and notes what it writes as ours.
pub fn by_us<T>(root: &Path, call: impl FnOnce() -> T) -> T {
    let files = || [FILE, EVENTS].map(|file| stamp(&root.join(file)));
    let (before, event) = (files(), last_event(root));
    let done = call();
    let after = files();
    if after != before
        && let Some(dir) = runtime_dir()
    {
        let event = event.map(|time| time.to_string()).unwrap_or_default();
        let text = format!("{}\n{}\n{event}\n", after[0], after[1]);
        if let Err(e) = std::fs::write(dir.join(OWN), text) {
            log::debug!("Failed to note a call of our own: {e}");
        }
    }
    done
}

/// Whether `file`, one of the two, is as our own last call left it, and the last event before it.
fn own(root: &Path, file: &str) -> Option<Option<Timestamp>> {
    let text = std::fs::read_to_string(runtime_dir()?.join(OWN)).ok()?;
    let mut lines = text.lines();
    let (activity, events) = (lines.next()?, lines.next()?);
    let ours = if file == FILE { activity } else { events };
    (ours == stamp(&root.join(file))).then(|| lines.next().and_then(|time| time.parse().ok()))
}

/// When somebody last did something that is in the feed.
pub fn last_event(root: &Path) -> Option<Timestamp> {
    if let Some(before) = own(root, EVENTS) {
        return before;
    }
    modified(&root.join(EVENTS))
}

/// When a file was last written; `None`: it is not there.
pub fn modified(path: &Path) -> Option<Timestamp> {
    let modified = path.metadata().ok()?.modified().ok()?;
    Timestamp::try_from(modified).ok()
}

/// Whether what `daemon/activity.json` says may be somebody's doing. What cannot be read may.
pub fn is_somebodys(town: &Town) -> bool {
    let said = load(town).map_or(true, |said| {
        said.is_some_and(|said| said.honest().is_some())
    });
    said && own(town.root(), FILE).is_none()
}

/// What tells whether a file has changed: its identity, size and time; empty without a file.
pub fn stamp(path: &Path) -> String {
    let stamp = path.symlink_metadata().map(|m| {
        let time = (m.mtime(), m.mtime_nsec());
        format!("{} {} {}.{:09}", m.ino(), m.size(), time.0, time.1)
    });
    stamp.unwrap_or_default()
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

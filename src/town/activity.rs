//! Signs that somebody works: `daemon/activity.json` with the last command, which every command of
//! an older `gt` writes, and the feed of events of a newer `gt`. What our own calls of `gt` write
//! there does not count.
//!
//! `{"last_command":"gt sling","timestamp":"2025-12-28T10:15:02.331Z"}`

use std::path::Path;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::Town;
use super::json::{self, nullable, time};
use crate::files;
use crate::systemd::runtime_dir;

/// The file, below the town's root.
pub const FILE: &str = "daemon/activity.json";

/// The feed of events, below the town's root: one line for each event.
pub const EVENTS: &str = ".events.jsonl";

/// The note of our own last call of `gt`, in the user's runtime directory. Three lines: the
/// [`stamp`] of each of both files after the call, and the time of the last event before it.
const OWN: &str = "gastown-own-acts";

/// Stands there instead of each stamp while a call is under way.
const UNDER_WAY: &str = "under way";

/// No call takes longer than this.
const CALL_LIMIT: SignedDuration = SignedDuration::from_secs(60);

/// The commands that we run ourselves, or that tmux runs every few seconds for its status line.
const SELF_MADE: &[&str] = &["gt status-line", "gt mail inbox", "gt mail delete"];

/// The last command.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Activity {
    /// The command as `gt` writes it, in most releases without arguments.
    #[serde(default, deserialize_with = "nullable")]
    pub last_command: String,
    /// When it was run.
    #[serde(default, with = "time")]
    pub timestamp: Option<Timestamp>,
}

impl Activity {
    /// When the command was run; `None` for one that we, or tmux, run by ourselves.
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

/// Runs one of our own calls of `gt`, and notes that what it writes is not somebody's work. The
/// note is made before the call, since a tick may look while `gt` has written and not yet ended.
pub fn by_us<T>(root: &Path, call: impl FnOnce() -> T) -> T {
    match runtime_dir() {
        Some(dir) => noted(&dir.join(OWN), root, call),
        None => call(),
    }
}

fn noted<T>(note: &Path, root: &Path, call: impl FnOnce() -> T) -> T {
    let files = || [FILE, EVENTS].map(|file| stamp(&root.join(file)));
    let write = |text: &str| {
        if let Err(e) = files::replace(note, text.as_bytes()) {
            log::debug!("Failed to note a call of our own: {e:#}");
        }
    };
    let earlier = read(note).unwrap_or_default();
    let before = files();
    let event = event_before(note, root).map(|time| time.to_string());
    let event = event.unwrap_or_default();
    write(&format!("{UNDER_WAY}\n{UNDER_WAY}\n{event}\n"));
    let done = call();
    match files() {
        after if after == before => write(&earlier),
        [activity, events] => write(&format!("{activity}\n{events}\n{event}\n")),
    }
    done
}

fn read(note: &Path) -> Option<String> {
    files::read_untrusted(note, files::ENTRY_LIMIT).ok()?
}

/// The time of the last event before our own last call, if `file` is still as that call left it or
/// the call is under way; `None`: somebody else has written `file` since.
fn own(note: &Path, root: &Path, file: &str) -> Option<Option<Timestamp>> {
    let text = read(note)?;
    let mut lines = text.lines();
    let (activity, events) = (lines.next()?, lines.next()?);
    let ours = match file {
        FILE => activity,
        _ => events,
    };
    let is_ours = match ours {
        // An old note means that our program was killed during the call.
        UNDER_WAY => {
            let age = modified(note).map(|begun| Timestamp::now().duration_since(begun));
            age.is_some_and(|age| age < CALL_LIMIT)
        }
        ours => ours == stamp(&root.join(file)),
    };
    is_ours.then(|| lines.next().and_then(|time| time.parse().ok()))
}

/// When somebody last did something, by the feed of events.
pub fn last_event(root: &Path) -> Option<Timestamp> {
    match runtime_dir() {
        Some(dir) => event_before(&dir.join(OWN), root),
        None => modified(&root.join(EVENTS)),
    }
}

fn event_before(note: &Path, root: &Path) -> Option<Timestamp> {
    own(note, root, EVENTS).unwrap_or_else(|| modified(&root.join(EVENTS)))
}

/// When a file was last written; `None`: it is not there.
pub fn modified(path: &Path) -> Option<Timestamp> {
    let modified = path.metadata().ok()?.modified().ok()?;
    Timestamp::try_from(modified).ok()
}

/// Whether the command in `daemon/activity.json` may be somebody's; a file that cannot be read may
/// have one.
pub fn is_somebodys(town: &Town) -> bool {
    let said = load(town).map_or(true, |said| {
        said.is_some_and(|said| said.honest().is_some())
    });
    let note = runtime_dir().map(|dir| dir.join(OWN));
    said && note.is_none_or(|note| own(&note, town.root(), FILE).is_none())
}

/// The [`files::stamp`] of a file; empty when there is no file.
pub fn stamp(path: &Path) -> String {
    let meta = path.symlink_metadata();
    meta.map(|meta| files::stamp(&meta)).unwrap_or_default()
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
/// The file is there and cannot be used; the error names it.
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
    fn what_a_call_of_ours_writes_into_the_feed_is_not_activity_while_it_runs_nor_later() {
        let dir = tempfile::tempdir().unwrap();
        let (root, note) = (dir.path().join("gt"), dir.path().join("note"));
        std::fs::create_dir(&root).unwrap();
        let feed = root.join(EVENTS);
        let write = |ago: i64| {
            std::fs::write(&feed, format!("{ago}")).unwrap();
            let at = Timestamp::now() - SignedDuration::from_secs(ago);
            let file = std::fs::File::options().write(true).open(&feed).unwrap();
            file.set_modified(at.into()).unwrap();
        };
        let last = || event_before(&note, &root);
        write(1000);
        let honest = last();
        assert!(honest.is_some());
        noted(&note, &root, || {
            assert_eq!(last(), honest);
            write(100);
            assert_eq!(last(), honest);
        });
        assert_eq!(last(), honest);
        // A call that writes nothing changes nothing.
        noted(&note, &root, || {});
        assert_eq!(last(), honest);
        write(50);
        assert!(last() > honest);
        // A program that was killed during its call hides the activity of others only for a short time.
        let text = format!("{UNDER_WAY}\n{UNDER_WAY}\n\n");
        std::fs::write(&note, text).unwrap();
        assert_eq!(last(), None);
        let file = std::fs::File::options().write(true).open(&note).unwrap();
        file.set_modified((Timestamp::now() - CALL_LIMIT).into())
            .unwrap();
        assert!(last() > honest);
    }

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

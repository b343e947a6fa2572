//! Conditions on disk: a file each, changed under a lock.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};

use super::condition::{Alert, End, LONGEST_PAUSE, MOST_FAILURES, Told};
use crate::digest::digest;
use crate::systemd::runtime_dir;
use crate::town::Town;
use crate::{files, journal};

/// Where the conditions are, below the town's root.
const DIR: &str = "daemon/alerts";

/// Where new conditions are kept while the town cannot be written, below the runtime directory.
const SPARE: &str = "gastown/spare-alerts";

/// How long somebody else may be changing a condition.
const LOCK_LIMIT: Duration = Duration::from_secs(2);

/// The longest summary or field of an alert, in characters: it quotes files of others, and the alert
/// must fit into a file that is read.
const LONGEST: usize = 2000;

/// The most alerts that are looked at.
pub const MOST: usize = 1000;

pub fn dir(town: &Town) -> PathBuf {
    town.path(DIR)
}

/// The directories of conditions: that in the town, and that in the user's runtime directory, for the
/// time when the town cannot be written.
pub fn dirs(town: &Town) -> Vec<PathBuf> {
    let spare = runtime_dir().map(|dir| dir.join(SPARE));
    [dir(town)].into_iter().chain(spare).collect()
}

/// The conditions of all these directories.
pub fn of_all(dirs: &[PathBuf]) -> Vec<(PathBuf, Alert)> {
    dirs.iter().flat_map(|dir| all(dir)).collect()
}

/// Begins a condition in the first directory that can be written.
pub fn begin_in(
    dirs: &[PathBuf],
    key: &str,
    summary: &str,
    fields: &[(&str, &str)],
    now: Timestamp,
) -> Result<bool> {
    let holds = |(_, alert): &(PathBuf, Alert)| alert.key == key && alert.end.is_none();
    if of_all(dirs).iter().any(holds) {
        return Ok(false);
    }
    let mut failed = Ok(false);
    for dir in dirs {
        match begin(dir, key, summary, fields, now) {
            Err(e) if failed.is_ok() => failed = Err(e),
            Err(_) => {}
            begun => {
                if let Err(e) = failed {
                    log::warn!("{e:#}; the alert is kept in '{}'", dir.display());
                }
                return begun;
            }
        }
    }
    failed
}

/// Ends a condition wherever it was written down.
pub fn end_in(dirs: &[PathBuf], key: &str, summary: &str, now: Timestamp) -> Result<bool> {
    let is_it = |(_, alert): &(PathBuf, Alert)| alert.key == key && alert.end.is_none();
    let mut ended = false;
    for dir in dirs {
        if all(dir).iter().any(is_it) {
            ended |= end(dir, key, summary, now)?;
        }
    }
    Ok(ended)
}

/// Names a file after a key, readably, for any key.
fn path(dir: &Path, key: &str) -> PathBuf {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "._-@".contains(*c);
    let name: String = key.chars().filter(is_plain).take(80).collect();
    dir.join(format!("{name}{}.json", digest(key, 4)))
}

fn load(path: &Path) -> Option<Alert> {
    let text = files::read_untrusted(path, files::ENTRY_LIMIT).ok()??;
    // Junk says nothing: a condition that still holds is written down anew.
    serde_json::from_str(&text).ok()
}

fn save(path: &Path, alert: &Alert) -> Result<()> {
    files::write(path, &serde_json::to_vec_pretty(alert)?)
}

pub fn all(dir: &Path) -> Vec<(PathBuf, Alert)> {
    let names = files::names(dir, 2 * MOST).unwrap_or_default();
    let paths = names.iter().map(|name| dir.join(name));
    let is_alert = |path: &PathBuf| path.extension().is_some_and(|e| e == "json");
    let mut all: Vec<_> = paths
        .filter(is_alert)
        .take(MOST)
        .filter_map(|path| Some((load(&path)?, path)))
        .map(|(alert, path)| (path, alert))
        .collect();
    all.sort_by_key(|(_, alert)| alert.since);
    all
}

/// Changes to conditions are short, so whoever comes second waits.
fn lock(dir: &Path) -> Result<File> {
    files::lock(&dir.join(".lock"), LOCK_LIMIT)?
        .with_context(|| format!("Failed to lock '{}': somebody else holds it", dir.display()))
}

pub fn begin(
    dir: &Path,
    key: &str,
    summary: &str,
    fields: &[(&str, &str)],
    now: Timestamp,
) -> Result<bool> {
    let _lock = lock(dir)?;
    let path = path(dir, key);
    let before = load(&path);
    if before.as_ref().is_some_and(|alert| alert.end.is_none()) {
        return Ok(false);
    }
    let (since, told) = match before {
        Some(alert) => heard(&alert, now),
        None => (now, Told::default()),
    };
    let summary = clean(summary);
    let alert = Alert {
        key: key.into(),
        summary: summary.clone(),
        since,
        fields: fields
            .iter()
            .map(|(k, v)| (k.to_string(), clean(v)))
            .collect(),
        told,
        end: None,
        failures: 0,
        failure: None,
        next: Some(now),
    };
    // Whoever delivers the alert has to write it once more, see `trying`. On a disk without room for
    // that it would never be delivered, so it is written twice here; if that fails, it is kept elsewhere.
    if let Err(e) = save(&path, &alert).and_then(|()| save(&path, &alert)) {
        let _ = files::remove(&path);
        return Err(e);
    }
    tell_journal(&alert, journal::ALERT_BEGAN, log::Level::Warn, &summary);
    Ok(true)
}

/// What a stranger wrote, such as it can be told: neither an argument nor a variable can have a zero
/// byte.
fn clean(text: &str) -> String {
    text.replace('\0', "").chars().take(LONGEST).collect()
}

/// For a condition that begins again before everybody has been told of its last end: since when it
/// holds, and who need not be told. Whoever was not told of the end still believes that it holds. If
/// somebody is perhaps being told of the end just now, everybody is told of the new beginning.
fn heard(before: &Alert, now: Timestamp) -> (Timestamp, Told) {
    match &before.end {
        Some(end) if end.tried => (now, Told::default()),
        Some(end) if end.told == Told::default() => (before.since, before.told.clone()),
        Some(end) => (now, and_not(&before.told, &end.told)),
        None => (before.since, before.told.clone()),
    }
}

/// Writes down that somebody is about to be told of an alert as it was read; `false`: it has changed.
///
/// # Errors
/// The alert cannot be written. Nobody is told then: we could not note that, and would tell it again
/// and again.
pub fn trying(dir: &Path, path: &Path, alert: &Alert) -> Result<bool> {
    let _lock = lock(dir)?;
    let Some(mut current) = load(path).filter(|current| current == alert) else {
        return Ok(false);
    };
    if let Some(end) = &mut current.end {
        end.tried = true;
    }
    save(path, &current)?;
    Ok(true)
}

/// Who has been told of the one and not of the other.
fn and_not(told: &Told, but: &Told) -> Told {
    Told {
        mail: told.mail && !but.mail,
        hook: told.hook && !but.hook,
    }
}

pub fn end(dir: &Path, key: &str, summary: &str, now: Timestamp) -> Result<bool> {
    let _lock = lock(dir)?;
    let path = path(dir, key);
    let Some(mut alert) = load(&path).filter(|alert| alert.end.is_none()) else {
        return Ok(false);
    };
    alert.end = Some(End {
        summary: summary.into(),
        at: now,
        told: Told::default(),
        tried: false,
    });
    (alert.failures, alert.next) = (0, Some(now));
    save(&path, &alert)?;
    tell_journal(&alert, journal::ALERT_ENDED, log::Level::Info, summary);
    Ok(true)
}

fn tell_journal(alert: &Alert, id: &str, level: log::Level, summary: &str) {
    let mut fields = vec![("message_id", id), ("gt_alert", alert.key.as_str())];
    fields.extend(alert.fields.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    log::logger().log(
        &log::Record::builder()
            .level(level)
            .target("gastown::alert")
            .args(format_args!("{summary}"))
            .key_values(&fields.as_slice())
            .build(),
    );
}

/// Writes down what has been told, into the condition as it is by now.
pub fn settle(dir: &Path, path: &Path, before: &Alert, told: Alert) -> Result<()> {
    let _lock = lock(dir)?;
    let Some(mut current) = load(path).filter(|c| c.since == before.since) else {
        return Ok(());
    };
    let is_same_end = current.end.as_ref().map(|e| e.at) == told.end.as_ref().map(|e| e.at);
    current.told = told.told;
    if let (Some(end), Some(told), true) = (&mut current.end, told.end, is_same_end) {
        end.told = told.told;
        end.tried = false;
    }
    let over = current.end.as_ref().is_some_and(|end| end.told.all());
    if current.told.all() && over {
        files::remove(path)?;
        return Ok(());
    }
    let done = match &current.end {
        Some(end) => end.told.all(),
        None => current.told.all(),
    };
    current.failure = told.failure.filter(|_| !done);
    if done {
        (current.failures, current.next) = (0, None);
    } else if !is_same_end {
        current.next = Some(Timestamp::now());
    } else {
        let pause = SignedDuration::from_mins(1 << current.failures.min(6));
        current.failures = current.failures.saturating_add(1);
        let is_last = current.failures >= MOST_FAILURES;
        current.next = (!is_last).then(|| Timestamp::now() + pause.min(LONGEST_PAUSE));
        if is_last {
            let why = current.failure.as_deref().unwrap_or("nobody could be told");
            log::warn!(
                "Not everybody is told of '{}', for the last of {MOST_FAILURES} tries failed: {why}",
                current.key
            );
            if current.end.is_some() {
                files::remove(path)?;
                return Ok(());
            }
        }
    }
    save(path, &current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Untold;
    use crate::alert::{open, pause, summaries, untold};
    use std::fs;

    fn at(minute: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
    }

    fn next(town: &Town) -> Option<Timestamp> {
        crate::alert::next(&[dir(town)], Timestamp::now())
    }

    #[test]
    fn a_condition_begins_once_and_ends_once() {
        let root = tempfile::tempdir().unwrap();
        let town = Town::at(root.path(), None).unwrap();
        assert!(!end(&dir(&town), "k", "no", at(0)).unwrap());
        assert!(
            begin(
                &dir(&town),
                "k",
                "it broke",
                &[("GT_AGENT", "deacon")],
                at(1)
            )
            .unwrap()
        );
        assert!(!begin(&dir(&town), "k", "it broke again", &[], at(2)).unwrap());
        assert_eq!(summaries(&town)["k"], "it broke");
        assert_eq!(next(&town), Some(at(1)));
        assert!(end(&dir(&town), "k", "mended", at(3)).unwrap());
        assert!(!end(&dir(&town), "k", "mended", at(4)).unwrap());
        assert!(open(&town).is_empty());
        // The end has not been told, so the condition is kept until it is.
        assert_eq!(next(&town), Some(at(3)));
    }

    #[test]
    fn a_clock_that_was_set_back_delays_nobody() {
        let root = tempfile::tempdir().unwrap();
        let town = Town::at(root.path(), None).unwrap();
        begin(&dir(&town), "k", "it broke", &[], at(600)).unwrap();
        let (_, alert) = all(&dir(&town)).remove(0);
        for (now, due) in [(1, 1), (541, 600), (700, 600)] {
            assert_eq!(alert.due(at(now)), Some(at(due)), "{now}");
        }
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let root = tempfile::tempdir().unwrap();
        let town = Town::at(root.path(), None).unwrap();
        let both = Told {
            mail: true,
            hook: true,
        };
        begin(&dir(&town), "k", "it broke", &[], at(1)).unwrap();
        let (path, alert) = all(&dir(&town)).remove(0);
        let mut half = alert.clone();
        half.told.hook = true;
        settle(&dir(&town), &path, &alert, half).unwrap();
        let (_, alert) = all(&dir(&town)).remove(0);
        assert!(alert.told.hook && !alert.told.mail && alert.failures == 1);
        assert!(alert.next.is_some_and(|next| next > Timestamp::now()));

        // It ends while somebody is being told of its beginning.
        let mut told = alert.clone();
        told.told = both.clone();
        end(&dir(&town), "k", "mended", at(5)).unwrap();
        settle(&dir(&town), &path, &alert, told).unwrap();
        let (_, alert) = all(&dir(&town)).remove(0);
        assert!(alert.told.all() && alert.next.is_some_and(|next| next <= Timestamp::now()));

        // It begins again before anybody heard of the end: for them it never ended.
        begin(&dir(&town), "k", "it broke", &[], at(6)).unwrap();
        let (_, alert) = all(&dir(&town)).remove(0);
        assert!(alert.told.all() && alert.end.is_none());
        end(&dir(&town), "k", "mended", at(7)).unwrap();
        let (path, alert) = all(&dir(&town)).remove(0);
        let mut told = alert.clone();
        told.end.as_mut().unwrap().told = both;
        settle(&dir(&town), &path, &alert, told).unwrap();
        assert!(all(&dir(&town)).is_empty() && next(&town).is_none());
    }

    #[test]
    fn what_nobody_takes_is_given_up() {
        let root = tempfile::tempdir().unwrap();
        let town = Town::at(root.path(), None).unwrap();
        let dir = dir(&town);
        begin(&dir, "k", "it broke", &[], at(1)).unwrap();
        let fail = || {
            let (path, alert) = all(&dir).remove(0);
            let mut told = alert.clone();
            told.failure = Some("no mail".into());
            settle(&dir, &path, &alert, told).unwrap();
        };
        // It is tried again a minute later at first, then ever more rarely.
        let minutes = || {
            let pause = pause(std::slice::from_ref(&dir), Timestamp::now())?;
            Some(pause.as_secs().div_ceil(60))
        };
        assert_eq!(minutes(), Some(1));
        fail();
        assert_eq!((untold(&town), minutes()), (None, Some(1)));
        let no_mail = || {
            Some(Untold {
                count: 1,
                why: "no mail".into(),
                by_mail: true,
            })
        };
        for n in 2..MOST_FAILURES {
            fail();
            assert_eq!(untold(&town), no_mail());
            assert_eq!(minutes(), Some(60.min(1 << (n - 1))), "after {n} tries");
        }
        fail();
        assert_eq!(untold(&town), no_mail());
        assert_eq!((next(&town), minutes()), (None, None));
        // It still holds, and its end is tried to be told too.
        assert_eq!(summaries(&town)["k"], "it broke");
        end(&dir, "k", "mended", at(2)).unwrap();
        assert_eq!(next(&town), Some(at(2)));
        for _ in 0..MOST_FAILURES {
            fail();
        }
        assert!(all(&dir).is_empty());
    }

    #[test]
    fn what_the_town_cannot_keep_is_kept_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["town", "spare"].map(|name| root.path().join(name));
        // A file in its place: not even root can make a directory there.
        fs::write(&dirs[0], "").unwrap();
        assert!(begin_in(&dirs, "k", "the disk is full", &[], at(1)).unwrap());
        assert_eq!(all(&dirs[1]).len(), 1);
        fs::remove_file(&dirs[0]).unwrap();
        assert!(!begin_in(&dirs, "k", "the disk is full", &[], at(2)).unwrap());
        assert!(begin_in(&dirs, "j", "x", &[], at(2)).unwrap());
        assert_eq!(all(&dirs[0]).len(), 1);
        for key in ["k", "j"] {
            assert!(end_in(&dirs, key, "over", at(3)).unwrap());
            assert!(!end_in(&dirs, key, "over", at(4)).unwrap());
        }
        assert!(of_all(&dirs).iter().all(|(_, alert)| alert.end.is_some()));
    }

    #[test]
    fn one_that_begins_while_its_end_is_told_is_told_anew() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        let both = Told {
            mail: true,
            hook: true,
        };
        let one = || all(dir).remove(0);
        begin(dir, "k", "it broke", &[], at(1)).unwrap();
        let (path, alert) = one();
        let mut told = alert.clone();
        told.told = both.clone();
        settle(dir, &path, &alert, told).unwrap();
        end(dir, "k", "mended", at(2)).unwrap();
        let (_, ended) = one();
        assert!(trying(dir, &path, &ended).unwrap());
        // It begins again while the hook runs that tells of the end, or after that was killed.
        begin(dir, "k", "it broke", &[], at(3)).unwrap();
        assert!(!trying(dir, &path, &ended).unwrap());
        let mut told = ended.clone();
        told.end.as_mut().unwrap().told = both;
        settle(dir, &path, &ended, told).unwrap();
        let (_, alert) = one();
        assert_eq!((alert.told, alert.next), (Told::default(), Some(at(3))));
    }

    #[test]
    fn what_is_told_can_be_an_argument() {
        let root = tempfile::tempdir().unwrap();
        begin(root.path(), "k", "a\0b", &[("GT_ISSUE", "\0gt-1")], at(1)).unwrap();
        let (_, alert) = all(root.path()).remove(0);
        assert_eq!(
            (alert.summary.as_str(), alert.fields["GT_ISSUE"].as_str()),
            ("ab", "gt-1")
        );
    }

    #[test]
    fn however_much_it_quotes_it_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let long = "\u{1b}".repeat(100_000);
        let fields = [("GT_REASON", long.as_str()), ("GT_ISSUE", &long)];
        let begun = |at| begin(root.path(), "k", &long, &fields, at).unwrap();
        assert!(begun(at(1)) && !begun(at(2)));
        assert_eq!(all(root.path()).len(), 1);
    }

    #[test]
    fn nobody_is_told_of_what_is_not_so_any_more() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        begin(dir, "k", "it broke", &[], at(1)).unwrap();
        let (path, begun) = all(dir).remove(0);
        assert!(trying(dir, &path, &begun).unwrap());
        end(dir, "k", "mended", at(2)).unwrap();
        assert!(!trying(dir, &path, &begun).unwrap());
    }

    #[test]
    fn odd_keys_and_junk() {
        let root = tempfile::tempdir().unwrap();
        let town = Town::at(root.path(), None).unwrap();
        for key in [
            "../../x",
            "",
            &"y".repeat(500),
            "unit-gt-agent@a\\x2db-witness.service",
        ] {
            assert!(begin(&dir(&town), key, "x", &[], at(1)).unwrap(), "{key}");
            assert!(!begin(&dir(&town), key, "x", &[], at(1)).unwrap(), "{key}");
            fs::write(path(&dir(&town), key), "junk").unwrap();
            assert!(begin(&dir(&town), key, "x", &[], at(1)).unwrap(), "{key}");
        }
        assert_eq!(open(&town).len(), 4);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}

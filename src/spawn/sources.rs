//! Where spawns come from besides the spool: `spawn/pending.json` and mail. Each becomes a file of
//! the spool, under a name made of what it says, so that one that comes back is known.
//!
//! Other programs write `pending.json` without a lock: they read it, and write all of it again.
//! So it is never written while it may have entries. It is taken away by renaming it, and what
//! was taken is read again until no program can have it open any more: a writer that opened it
//! before the rename writes into the file that we hold, a later one finds no file and begins a new list.
//! Entries that such a writer brings back from what it had read are those of known names.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde_json::value::{RawValue, to_raw_value};

use super::{DONE, SPOOL};
use crate::digest::digest;
use crate::files;
use crate::spool::{self, Spool};
use crate::tools::mail::Mail;
use crate::town::pending::{self, Pending};

/// How the name of a file of pending spawns begins that we have taken away; a number follows.
const TAKEN: &str = ".gastown-taken-";

/// A file that has not changed for so long has no writer any more.
const STEADY: Duration = Duration::from_secs(3);

/// The same for one that does not parse: its writer may be slow.
const BROKEN: Duration = Duration::from_secs(10);

/// For so long a writer of `pending.json` may bring back what we have taken from it.
const BROUGHT_BACK: SignedDuration = SignedDuration::from_secs(30);

/// How the subject of a mail that tells of a spawn begins; rig and polecat follow, with a slash between.
const SUBJECT: &str = "POLECAT_STARTED ";

/// What was found in `pending.json`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// New entries of the spool.
    pub spawns: usize,
    /// Something must be read again soon.
    pub unsteady: bool,
}

/// Takes over what `spawn/pending.json` has.
///
/// # Errors
/// A file cannot be read, moved or written; nothing is lost.
pub fn take_pending(root: &Path, spool: &Spool) -> Result<Found> {
    let file = root.join(pending::FILE);
    let dir = file.parent().unwrap_or(root);
    let mut found = Found::default();
    for taken in taken_files(dir)? {
        collect(&taken, spool, &mut found)?;
    }
    // The path unit does not see what is written while we run, so what has just been written is
    // looked at once more.
    found.unsteady |= age(&file).is_some_and(|age| age < STEADY);
    let list = match files::read_untrusted(&file, files::CONFIG_LIMIT) {
        Ok(None) => return Ok(found),
        Ok(Some(text)) => pending::parse_list(&text).map_err(|e| format!("it cannot be read: {e}")),
        Err(e) if files::may_pass(&e) => {
            return Err(e).with_context(|| format!("Failed to read '{}'", file.display()));
        }
        Err(e) => Err(format!("it {e}")),
    };
    match list {
        Ok(list) if list.is_empty() => {}
        Ok(_) => {
            let nanos = Timestamp::now().as_nanosecond();
            let taken = dir.join(format!("{TAKEN}{nanos}"));
            match fs::rename(&file, &taken) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
                Err(e) => {
                    return Err(e).with_context(|| format!("Failed to take '{}'", file.display()));
                }
            }
            // An empty list, for programs that expect the file. A list that somebody has written
            // meanwhile is not replaced.
            files::create(&file, b"null\n")?;
            collect(&taken, spool, &mut found)?;
        }
        Err(_) if age(&file).is_some_and(|age| age < BROKEN) => found.unsteady = true,
        Err(reason) => set_aside(&file, &reason, spool)?,
    }
    Ok(found)
}

/// Whether `spawn/pending.json` has anything to be taken over; yes where that is not known.
pub fn has_pending(root: &Path) -> bool {
    let file = root.join(pending::FILE);
    let is_empty = match files::read_untrusted(&file, files::CONFIG_LIMIT) {
        Ok(None) => true,
        Ok(Some(text)) => pending::parse_list(&text).is_ok_and(|list| list.is_empty()),
        Err(_) => false,
    };
    !is_empty || taken_files(file.parent().unwrap_or(root)).map_or(true, |taken| !taken.is_empty())
}

fn taken_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let failed = || format!("Failed to list '{}'", dir.display());
    let list = match fs::read_dir(dir) {
        Ok(list) => list,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(failed),
    };
    let mut taken = Vec::new();
    for entry in list {
        let entry = entry.with_context(failed)?;
        if entry.file_name().to_string_lossy().starts_with(TAKEN) {
            taken.push(entry.path());
        }
    }
    taken.sort();
    Ok(taken)
}

/// Puts what a taken file has into the spool, and removes it when it is certain that this is all.
fn collect(taken: &Path, spool: &Spool, found: &mut Found) -> Result<()> {
    // Asked before the file is read: what is written meanwhile makes the file younger.
    let age = age(taken);
    let list = files::read_untrusted(taken, files::CONFIG_LIMIT)
        .and_then(|text| pending::parse_list(&text.unwrap_or_default()));
    match list {
        Ok(list) => {
            for raw in list {
                found.spawns += usize::from(put(spool, &stem(&raw), &raw, true)?);
            }
            match age {
                Some(age) if age >= STEADY => drop(files::remove(taken)?),
                Some(_) => found.unsteady = true,
                None => {
                    from_now_on(taken)?;
                    found.unsteady = true;
                }
            }
        }
        Err(e) if files::may_pass(&e) => {
            return Err(e).with_context(|| format!("Failed to read '{}'", taken.display()));
        }
        Err(_) if age.is_some_and(|age| age < BROKEN) => found.unsteady = true,
        Err(e) => set_aside(taken, &format!("it cannot be read: {e}"), spool)?,
    }
    Ok(())
}

/// How long ago a file changed; `None` when that is not known, or in the future.
fn age(path: &Path) -> Option<Duration> {
    let changed = path.symlink_metadata().and_then(|m| m.modified()).ok()?;
    SystemTime::now().duration_since(changed).ok()
}

/// Gives a file whose time is in the future the present one, so that it can grow old.
fn from_now_on(path: &Path) -> Result<()> {
    fs::File::open(path)
        .and_then(|file| file.set_modified(SystemTime::now()))
        .with_context(|| format!("Failed to set the time of '{}'", path.display()))
}

fn set_aside(path: &Path, reason: &str, spool: &Spool) -> Result<()> {
    let entry = spool::Entry {
        name: pending::FILE.into(),
        path: path.to_path_buf(),
        text: Err(reason.to_string()),
        unread: false,
    };
    let Some(to) = spool.fail(&entry, &format!("{}: {reason}", pending::FILE))? else {
        return Ok(());
    };
    log::warn!(
        "'{}' is kept as '{}': {reason}; what it has must be spawned again",
        path.display(),
        to.display()
    );
    Ok(())
}

/// The stem of a spawn's file: the mail's, if a mail told of the spawn, so that both are one; else
/// one made of what the spawn says.
fn stem(raw: &RawValue) -> String {
    match pending::parse(raw.get()) {
        Ok(spawn) if !spawn.mail_id.is_empty() => format!("mail-{}", spawn.mail_id),
        Ok(spawn) => {
            let text = serde_json::to_string(&spawn).unwrap_or_default();
            format!("pending-{}", digest(text, 8))
        }
        Err(_) => format!("pending-{}", digest(raw.get(), 8)),
    }
}

/// Puts a spawn into the spool unless it is, or was, there; tells whether it is new. A spawn that
/// failed a while ago and is asked for `again` is new: a writer that had read it before it was
/// taken would have written it back sooner.
fn put(spool: &Spool, stem: &str, raw: &RawValue, again: bool) -> Result<bool> {
    let name = spool::file_name(stem);
    for state in ["new", "cur", DONE] {
        if files::is_there(&spool.dir(state).join(&name))? {
            log::debug!("Spawn '{name}' is known already, ignoring it");
            return Ok(false);
        }
    }
    let failed = spool.dir("failed").join(&name);
    if files::is_there(&failed)? {
        let meta = failed.symlink_metadata().context("Failed to read a time")?;
        // Renaming a file into `failed/` changes this time.
        let failed_at = Timestamp::new(meta.ctime(), 0).unwrap_or_default();
        if !again || failed_at > Timestamp::now() - BROUGHT_BACK {
            log::debug!("Spawn '{name}' has failed already, ignoring it");
            return Ok(false);
        }
        log::info!("Spawn '{name}' failed, and is tried again because it was asked for again");
    }
    spool.put(stem, &raw).map(|_| true)
}

/// Takes over the mails that tell of a spawn, and gives them, to be deleted. A mail that comes again
/// makes no second spawn.
///
/// # Errors
/// The spool cannot be written.
pub fn take_mails(root: &Path, inbox: &[Mail]) -> Result<Vec<Mail>> {
    let spool = Spool::open(&root.join(SPOOL))?;
    let mut taken = Vec::new();
    for mail in inbox {
        if let Some(spawn) = parse_mail(mail) {
            let stem = format!("mail-{}", mail.id);
            put(&spool, &stem, &to_raw_value(&spawn)?, false)?;
            taken.push(mail.clone());
        }
    }
    Ok(taken)
}

/// Reads a mail that tells of a spawn; `None` for every other.
pub fn parse_mail(mail: &Mail) -> Option<Pending> {
    let (rig, polecat) = mail.subject.strip_prefix(SUBJECT)?.split_once('/')?;
    let value = |key: &str| {
        let lines = mail.body.lines().rev();
        let mut values = lines.filter_map(|line| line.trim().strip_prefix(key));
        values.next().unwrap_or_default().trim().to_string()
    };
    Some(Pending {
        rig: rig.trim().into(),
        polecat: polecat.trim().into(),
        session: value("Session:"),
        issue: value("Issue:"),
        spawned_at: mail.timestamp,
        mail_id: mail.id.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lab {
        dir: tempfile::TempDir,
        spool: Spool,
    }

    impl Lab {
        fn new() -> Lab {
            let dir = tempfile::tempdir().unwrap();
            let spool = Spool::open(&dir.path().join(SPOOL)).unwrap();
            fs::create_dir_all(dir.path().join("spawn")).unwrap();
            Lab { dir, spool }
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join(pending::FILE)
        }

        fn write(&self, text: &str) {
            fs::write(self.file(), text).unwrap();
        }

        fn take(&self) -> (usize, bool) {
            let found = take_pending(self.dir.path(), &self.spool).unwrap();
            (found.spawns, found.unsteady)
        }

        fn taken(&self) -> Vec<PathBuf> {
            taken_files(&self.dir.path().join("spawn")).unwrap()
        }

        fn grow_old(&self, path: &Path) {
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - 2 * BROKEN).unwrap();
        }
    }

    const ONE: &str = r#"{"rig":"a","polecat":"x","session":"gt-a-x","issue":"i-1"}"#;
    const TWO: &str = r#"{"rig":"a","polecat":"y","session":"gt-a-y","mail_id":"m-1"}"#;

    #[test]
    fn the_list_is_taken_whole_and_once() {
        let lab = Lab::new();
        assert_eq!(lab.take(), (0, false));
        for empty in ["null", "[]"] {
            // What has just been written may be written again.
            lab.write(empty);
            assert_eq!(lab.take(), (0, true));
            lab.grow_old(&lab.file());
            assert_eq!(lab.take(), (0, false));
            assert_eq!(fs::read_to_string(lab.file()).unwrap(), empty);
        }
        lab.write(&format!("[{ONE},{TWO},{ONE},7]"));
        assert_eq!(lab.take(), (3, true));
        assert_eq!(fs::read_to_string(lab.file()).unwrap(), "null\n");
        assert_eq!(lab.take(), (0, true));
        lab.grow_old(&lab.taken()[0]);
        lab.grow_old(&lab.file());
        assert_eq!(lab.take(), (0, false));
        assert!(lab.taken().is_empty());
        let names: Vec<_> = lab
            .spool
            .claim(9)
            .unwrap()
            .entries
            .into_iter()
            .map(|e| e.name)
            .collect();
        assert_eq!(names.len(), 3);
        assert_eq!(names[0], "mail-m-1.json");
    }

    #[test]
    fn a_writer_that_had_read_before_brings_back_nothing() {
        let lab = Lab::new();
        lab.write(&format!("[{ONE}]"));
        assert_eq!(lab.take(), (1, true));
        for entry in lab.spool.claim(9).unwrap().entries {
            fs::create_dir_all(lab.spool.dir(DONE)).unwrap();
            fs::rename(&entry.path, lab.spool.dir(DONE).join(&entry.name)).unwrap();
        }
        lab.write(&format!("[{ONE},{TWO}]"));
        assert_eq!(lab.take(), (1, true));
    }

    #[test]
    fn a_writer_that_holds_the_file_is_waited_for() {
        use std::io::Write;
        let lab = Lab::new();
        lab.write(&format!("[{ONE}]"));
        let mut held = fs::File::options().write(true).open(lab.file()).unwrap();
        assert_eq!(lab.take(), (1, true));
        held.set_len(0).unwrap();
        assert_eq!(lab.take(), (0, true));
        held.write_all(format!("[{ONE},{TWO}]").as_bytes()).unwrap();
        assert_eq!(lab.take(), (1, true));
    }

    #[test]
    fn a_torn_list_is_given_time_and_a_broken_one_is_kept() {
        let lab = Lab::new();
        lab.write("[{\"rig\":");
        assert_eq!(lab.take(), (0, true));
        assert!(lab.file().exists());
        lab.grow_old(&lab.file());
        assert_eq!(lab.take(), (0, false));
        assert!(!lab.file().exists());
        assert_eq!(lab.spool.counts().unwrap().failed, 1);

        std::os::unix::fs::symlink("/etc/passwd", lab.file()).unwrap();
        lab.take();
        assert!(lab.spool.claim(9).unwrap().entries.is_empty());
    }

    #[test]
    fn mails() {
        let mail = |subject: &str, body: &str| Mail {
            id: "m-1".into(),
            subject: subject.into(),
            body: body.into(),
            ..Mail::default()
        };
        for (subject, body, want) in [
            (
                "POLECAT_STARTED gastown/furiosa",
                "Issue: gt-abc1\nSession: gt-gastown-furiosa",
                Some(("gastown", "furiosa", "gt-gastown-furiosa", "gt-abc1")),
            ),
            (
                "POLECAT_STARTED a/b/c ",
                "  Session:  one \nSession: two\n\n",
                Some(("a", "b/c", "two", "")),
            ),
            ("POLECAT_STARTED a", "Session: x", None),
            ("polecat_started a/b", "Session: x", None),
            ("POLECAT_STARTED  a/b", "", Some(("a", "b", "", ""))),
            ("Re: POLECAT_STARTED a/b", "", None),
        ] {
            let got = parse_mail(&mail(subject, body));
            let want = want.map(|(rig, polecat, session, issue)| Pending {
                rig: rig.into(),
                polecat: polecat.into(),
                session: session.into(),
                issue: issue.into(),
                spawned_at: None,
                mail_id: "m-1".into(),
            });
            assert_eq!(got, want, "{subject}");
        }
    }
}

//! A spool: a directory whose files are work to be done, each exactly once.
//!
//! Producers put a file into `new/` by renaming it; a claim moves it to `cur/`; one that could not
//! be done goes to `failed/`, with a `.reason` file beside it, and a `.dismissed` one when somebody
//! has seen to it or nobody need. A file is always in one of the three, so a crash at any moment loses
//! nothing. Path units start a job while `new/` is not empty, so a claim takes everything out of that.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use serde::Serialize;

use crate::digest::digest;
use crate::{agent, files};

/// The spools' directories below the town's root; entries in them are executed.
pub const SPOOLS: [&str; 6] = [
    "daemon/lifecycle/new",
    "daemon/lifecycle/cur",
    "daemon/lifecycle/failed",
    "daemon/spawn/new",
    "daemon/spawn/cur",
    "daemon/spawn/failed",
];

/// How many entries are claimed at once, at most.
pub const CLAIM_LIMIT: usize = 1000;

/// The ending of the file that says why an entry failed.
const REASON: &str = ".reason";

/// The ending of the file that says that nobody need see to a failed entry any more.
const DISMISSED: &str = ".dismissed";

/// A hidden file that is older than this was left by a producer that died.
const STAGED_LIMIT: Duration = Duration::from_secs(3600);

/// The longest stem that [`Spool::put`] uses as it is, in bytes.
const STEM_MAX: usize = 100;

/// The longest name of a file in `cur/` and `failed/`, in bytes: the kernel allows 255, and
/// [`DISMISSED`] is put behind it.
const NAME_MAX: usize = 240;

/// The length to which a longer name is cut, in bytes, without number and `.json`.
const NAME_CUT: usize = 200;

/// How many numbers from 1 on are tried for a file whose name is taken.
const NAMES_TRIED: u128 = 100;

/// With more entries than this, `failed/` is tidied.
pub const FAILED_MAX: usize = 10_000;

/// How many entries of `failed/` are left then.
const FAILED_KEPT: usize = 9_000;

/// A spool in a directory.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
}

/// A claimed file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The file's name in `cur/`, fit to be shown.
    pub name: String,
    /// Where the file is.
    pub path: PathBuf,
    /// What the file says, or why it cannot be read.
    pub text: Result<String, String>,
    /// It cannot be read just now, as on a sick disk, and is not refused for that.
    pub unread: bool,
}

/// What a claim has found.
#[derive(Debug)]
pub struct Claimed {
    /// The entries to work on.
    pub entries: Vec<Entry>,
    /// Entries in `cur/` that can perhaps be read later: no path unit starts the job again for them.
    pub unread: Vec<Entry>,
    /// Why something stays in `new/`, such as a directory that another user made.
    pub stuck: Option<anyhow::Error>,
}

/// How many files there are in each directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Not yet claimed.
    pub new: usize,
    /// Claimed, not done.
    pub cur: usize,
    /// Given up, and not dismissed.
    pub failed: usize,
}

impl Spool {
    /// The spool in `dir`, to look at; nothing is made.
    pub fn at(dir: &Path) -> Spool {
        let dir = dir.to_path_buf();
        Spool { dir }
    }

    /// The spool in `dir`, which is made where it is missing.
    ///
    /// # Errors
    /// A directory cannot be made.
    pub fn open(dir: &Path) -> Result<Spool> {
        for part in ["new", "cur", "failed"] {
            files::make_dir(&dir.join(part))?;
        }
        Ok(Spool::at(dir))
    }

    /// The directory of one state: `new`, `cur` or `failed`.
    pub fn dir(&self, state: &str) -> PathBuf {
        self.dir.join(state)
    }

    /// Moves up to `limit` files from `new/` to `cur/`, the oldest name first. Returns up to `limit` of
    /// all that are in `cur/` and can be read, leftovers of earlier runs among them. A file that cannot
    /// be moved, or read, keeps no other from being claimed.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn claim(&self, limit: usize) -> Result<Claimed> {
        self.claim_others(limit, |_| false)
    }

    /// As [`Spool::claim`], but leaves out the files of `cur/` that are `known`.
    ///
    /// # Errors
    /// As for [`Spool::claim`].
    pub fn claim_others(&self, limit: usize, known: impl Fn(&Path) -> bool) -> Result<Claimed> {
        let new = self.dir("new");
        let (staged, ready): (Vec<_>, Vec<_>) = names(&new)?.into_iter().partition(is_staged);
        for name in staged {
            sweep(&new.join(name));
        }
        let mut stuck = None;
        let mut moved = 0;
        for name in ready {
            if moved == limit {
                break;
            }
            match self.shift(&new.join(name), "cur") {
                Ok(_) => moved += 1,
                Err(e) => stuck = stuck.or(Some(e)),
            }
        }
        let (entries, unread) = readable(self.those("cur", |path| !known(path))?, limit);
        Ok(Claimed {
            entries,
            unread,
            stuck,
        })
    }

    /// The files of one state, by name, with what they say; each is read when its turn comes.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn entries(&self, state: &str) -> Result<impl Iterator<Item = Entry>> {
        self.those(state, |_| true)
    }

    /// As [`Spool::entries`], but only the files for which `is_one` is true; no other is read.
    fn those(
        &self,
        state: &str,
        is_one: impl Fn(&Path) -> bool,
    ) -> Result<impl Iterator<Item = Entry>> {
        let dir = self.dir(state);
        let names = work(state, names(&dir)?).into_iter();
        let paths = names.map(move |name| (dir.join(&name), name));
        let some = paths.filter(move |(path, _)| is_one(path));
        Ok(some.filter_map(|(path, name)| entry(path, &name)))
    }

    /// How many files of one state there are, and the last of them by name; no other is read.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn last(&self, state: &str) -> Result<(usize, Option<Entry>)> {
        let dir = self.dir(state);
        let names = work(state, names(&dir)?);
        let last = names.last().and_then(|name| entry(dir.join(name), name));
        Ok((names.len(), last))
    }

    /// The names of all files of one state, as [`Entry`] has them.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn shown(&self, state: &str) -> Result<Vec<String>> {
        let names = names(&self.dir(state))?;
        Ok(names.iter().map(|name| shown(name)).collect())
    }

    /// Puts a file into `new/`, unless one of that name is in `new/` or `cur/`. `stem` may be any
    /// text, see [`file_name`].
    ///
    /// # Errors
    /// The file cannot be written, or it is not known whether it is there.
    pub fn put(&self, stem: &str, value: &impl Serialize) -> Result<PathBuf> {
        let text = serde_json::to_string_pretty(value).context("Failed to write an entry")?;
        let name = file_name(stem);
        let claimed = self.dir("cur").join(&name);
        if files::is_there(&claimed)? {
            return Ok(claimed);
        }
        let path = self.dir("new").join(&name);
        files::create(&path, text.as_bytes())?;
        Ok(path)
    }

    /// Removes an entry that has been executed.
    ///
    /// # Errors
    /// The file exists and cannot be removed.
    pub fn done(&self, entry: &Entry) -> Result<()> {
        files::remove(&entry.path).map(drop)
    }

    /// Removes entries that have been executed, in one go.
    ///
    /// # Errors
    /// A file exists and cannot be removed.
    pub fn done_all<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) -> Result<()> {
        for entry in entries {
            match fs::remove_file(&entry.path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(e)
                        .with_context(|| format!("Failed to remove '{}'", entry.path.display()));
                }
                _ => {}
            }
        }
        files::sync_dir(&self.dir("cur")).context("Failed to sync the spool")
    }

    /// Whether anything visible waits in `new/`.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn has_new(&self) -> Result<bool> {
        Ok(!names(&self.dir("new"))?.iter().all(is_staged))
    }

    /// Whether there is anything to do, claimed or not; yes if that is not known.
    pub fn has_work(&self) -> bool {
        let is_empty =
            |state| names(&self.dir(state)).is_ok_and(|names| names.iter().all(is_staged));
        !["new", "cur"].into_iter().all(is_empty)
    }

    /// Moves an entry to `failed/`, with the reason beside it, and gives its new path; `None`:
    /// somebody has taken the entry away.
    ///
    /// # Errors
    /// The reason cannot be written or the file cannot be moved; then it is where it was.
    pub fn fail(&self, entry: &Entry, reason: &str) -> Result<Option<PathBuf>> {
        // The reason first: whoever finds the entry in `failed/` finds why, even if we end in between.
        let text = format!("{reason}\n");
        let explain = |path: &Path| {
            // Somebody may have taken out an earlier file of this name by hand, and left its mark.
            files::remove(&beside(path, DISMISSED))?;
            files::write(&beside(path, REASON), text.as_bytes())
        };
        let path = self.shift_after(&entry.path, "failed", explain)?;
        for state in ["failed", "cur"] {
            files::sync_dir(&self.dir(state)).context("Failed to sync the spool")?;
        }
        Ok(path)
    }

    /// Why an entry of `failed/` could not be done; `None`: that is not known.
    pub fn reason(&self, entry: &Path) -> Option<String> {
        let text = files::read_untrusted(&beside(entry, REASON), files::ENTRY_LIMIT);
        Some(text.ok()??.trim().to_string())
    }

    /// Notes that somebody has seen to an entry of `failed/`: it stays there, and no longer counts.
    ///
    /// # Errors
    /// The mark cannot be made.
    pub fn dismiss(&self, path: &Path) -> Result<()> {
        let is_long = path.file_name().is_some_and(|name| name.len() > NAME_MAX);
        let path = match is_long {
            true => &self.shift(path, "failed")?.unwrap_or_default(),
            false => path,
        };
        let (from, to) = (beside(path, REASON), beside(path, DISMISSED));
        match fs::rename(&from, &to) {
            // Somebody else may dismiss it too: the reason stays.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => files::create(&to, b"").map(drop),
            result => result
                .and_then(|()| files::sync_dir(&self.dir("failed")))
                .with_context(|| format!("Failed to dismiss '{}'", path.display())),
        }
    }

    /// Notes that nobody need see to an entry of `failed/`: it stays there, with its reason, and
    /// does not count.
    ///
    /// # Errors
    /// The mark cannot be made.
    pub fn excuse(&self, path: &Path) -> Result<()> {
        files::write(&beside(path, DISMISSED), b"")
    }

    /// Bounds `failed/`: if it has more than [`FAILED_MAX`] entries, the oldest are removed,
    /// dismissed ones first. The journal has the reason for each.
    ///
    /// # Errors
    /// The directory cannot be read, or a file cannot be removed.
    pub fn tidy(&self) -> Result<()> {
        let all = names(&self.dir("failed"))?;
        let open: HashSet<OsString> = work("failed", all.clone()).into_iter().collect();
        let is_word = |name: &OsString| {
            let ends = |what: &str| name.as_bytes().ends_with(what.as_bytes());
            ends(REASON) || ends(DISMISSED)
        };
        let entries = all.into_iter().filter(|n| !is_word(n) && !is_staged(n));
        let mut entries: Vec<PathBuf> = entries.map(|n| self.dir("failed").join(n)).collect();
        if entries.len() <= FAILED_MAX {
            return Ok(());
        }
        entries.sort_by_cached_key(|path| {
            let is_open = path.file_name().is_some_and(|name| open.contains(name));
            let refused = path.symlink_metadata().map(|m| (m.ctime(), m.ctime_nsec()));
            (is_open, refused.unwrap_or_default())
        });
        let extra = entries.len() - FAILED_KEPT;
        for path in &entries[..extra] {
            let removed = match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
                _ => fs::remove_file(path),
            };
            removed.with_context(|| format!("Failed to remove '{}'", path.display()))?;
            for word in [REASON, DISMISSED] {
                let _ = fs::remove_file(beside(path, word));
            }
        }
        log::warn!(
            "'{}' had more than {FAILED_MAX} entries, so the {extra} oldest were removed; \
             'journalctl --user -t gt-lifecycle -t gt-spawn-trigger' has the reason for each",
            self.dir("failed").display()
        );
        Ok(())
    }

    /// How many files there are in each directory.
    ///
    /// # Errors
    /// A directory cannot be read.
    pub fn counts(&self) -> Result<Counts> {
        let count = |state: &str| anyhow::Ok(work(state, names(&self.dir(state))?).len());
        Ok(Counts {
            new: count("new")?,
            cur: count("cur")?,
            failed: count("failed")?,
        })
    }

    /// Moves a file to the directory of a state, under another name if its own is taken there or
    /// too long; `None` when it is gone.
    fn shift(&self, from: &Path, state: &str) -> Result<Option<PathBuf>> {
        self.shift_after(from, state, |_| Ok(()))
    }

    /// As [`Spool::shift`], after `prepare` has been called with the new path.
    fn shift_after(
        &self,
        from: &Path,
        state: &str,
        prepare: impl Fn(&Path) -> Result<()>,
    ) -> Result<Option<PathBuf>> {
        if !files::is_there(from)? {
            return Ok(None);
        }
        let name = from.file_name().unwrap_or_default().as_bytes();
        // With a dot in front it would count as an unfinished file, and nobody would see it.
        let name = OsStr::from_bytes(name.strip_prefix(b".").unwrap_or(name));
        // Should all the small numbers be taken, the time is a number that no file has.
        let unique = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let numbers = (0..NAMES_TRIED).chain([unique.as_nanos()]);
        for to in numbers.map(|n| self.dir(state).join(numbered(name, n))) {
            if files::is_there(&to)? {
                continue;
            }
            prepare(&to)?;
            match rename_new(from, &to) {
                Ok(()) => return Ok(Some(to)),
                Err(Errno::EEXIST) => {}
                Err(Errno::ENOENT) => return Ok(None),
                Err(e) => {
                    return Err(anyhow!(
                        "Failed to move '{}' to '{}': {e}",
                        from.display(),
                        to.display()
                    ));
                }
            }
        }
        Err(anyhow!(
            "Too many files in '{}' are called '{}'; remove some",
            self.dir(state).display(),
            name.display()
        ))
    }
}

/// Renames a file, unless another has the new name already.
fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        // NFS, eCryptfs and older ZFS cannot do that in one step.
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => rename_in_two_steps(from, to),
        result => result,
    }
}

/// As [`rename_new`], for file systems without a call for it. Only the holder of the spool's lock
/// makes files in `cur/` and `failed/`, so nothing comes between the look and the move.
fn rename_in_two_steps(from: &Path, to: &Path) -> Result<(), Errno> {
    let errno = |e: std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or_default());
    match to.symlink_metadata() {
        Ok(_) => Err(Errno::EEXIST),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => fs::rename(from, to).map_err(errno),
        Err(e) => Err(errno(e)),
    }
}

/// The first entries that can be read, at most `limit`, and those before them that cannot be read
/// now.
fn readable(all: impl Iterator<Item = Entry>, limit: usize) -> (Vec<Entry>, Vec<Entry>) {
    let (mut entries, mut unread) = (Vec::new(), Vec::new());
    for entry in all {
        if entry.unread {
            unread.push(entry);
            continue;
        }
        entries.push(entry);
        if entries.len() == limit {
            break;
        }
    }
    (entries, unread)
}

/// A file and what it says; `None`: somebody else has finished it.
fn entry(path: PathBuf, name: &OsStr) -> Option<Entry> {
    let read = files::read_untrusted(&path, files::ENTRY_LIMIT);
    let unread = read.as_ref().is_err_and(files::may_pass);
    let text = match read {
        Ok(text) => Ok(text?),
        Err(e) if unread => Err(format!("Failed to read '{}': {e:#}", path.display())),
        Err(e) => Err(format!("it {e}")),
    };
    Some(Entry {
        name: shown(name),
        path,
        text,
        unread,
    })
}

/// The name that [`Spool::put`] gives to a stem.
pub fn file_name(stem: &str) -> String {
    format!("{}.json", fit(stem))
}

/// The file beside `path` that says `what` of it: [`REASON`] or [`DISMISSED`].
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut beside = path.to_path_buf().into_os_string();
    beside.push(what);
    beside.into()
}

/// The files that are work: not staged by a producer, not one that says something of another file,
/// not dismissed.
fn work(state: &str, names: Vec<OsString>) -> Vec<OsString> {
    let all: HashSet<OsString> = names.iter().cloned().collect();
    let is_work = |name: &OsString| {
        let bytes = name.as_bytes();
        if is_staged(name) {
            return false;
        }
        let says = |what: &str| all.contains(beside(Path::new(name), what).as_os_str());
        let is_word = |what: &str| bytes.ends_with(what.as_bytes());
        state != "failed" || !(is_word(REASON) || is_word(DISMISSED) || says(DISMISSED))
    };
    names.into_iter().filter(is_work).collect()
}

/// Whether a producer still writes the file: then its name begins with a dot.
fn is_staged(name: &OsString) -> bool {
    name.as_bytes().starts_with(b".")
}

/// A name fit to be shown.
fn shown(name: &OsStr) -> String {
    name.to_string_lossy().escape_debug().to_string()
}

/// The names in a directory, sorted; none if it is missing.
fn names(dir: &Path) -> Result<Vec<OsString>> {
    let failed = || format!("Failed to list '{}'", dir.display());
    let list = match fs::read_dir(dir) {
        Ok(list) => list,
        // If it is a link that leads to nothing, it is not known what was there.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !files::is_dir(dir)? => {
            return Ok(Vec::new());
        }
        Err(e) => return Err(e).with_context(failed),
    };
    let mut names = Vec::new();
    for entry in list {
        names.push(entry.with_context(failed)?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Removes the hidden file of a producer that died; a younger one may still be written.
fn sweep(path: &Path) {
    let age = || {
        let changed = path.symlink_metadata().and_then(|m| m.modified()).ok()?;
        SystemTime::now().duration_since(changed).ok()
    };
    if age().is_some_and(|age| age > STAGED_LIMIT) {
        // This removes no directories, which are not from producers and wake no path unit.
        let _ = fs::remove_file(path);
    }
}

/// `a.json`, `a.1.json`, `a.2.json`, ...; long names are cut, so that an ending fits behind them.
fn numbered(name: &OsStr, n: u128) -> OsString {
    let bytes = name.as_bytes();
    if n == 0 && bytes.len() <= NAME_MAX {
        return name.to_os_string();
    }
    let (stem, end) = match bytes.strip_suffix(b".json") {
        Some(stem) => (stem, ".json"),
        None => (bytes, ""),
    };
    let mut numbered = stem[..stem.len().min(NAME_CUT)].to_vec();
    if n > 0 {
        numbered.extend(format!(".{n}").bytes());
    }
    numbered.extend(end.bytes());
    OsString::from_vec(numbered)
}

/// The stem itself if it is fit for a file's name; else the fit part of it and a digest.
fn fit(stem: &str) -> String {
    if agent::is_valid_name(stem) || (stem.len() <= STEM_MAX && is_plain(stem)) {
        return stem.to_string();
    }
    let plain = |c: &char| c.is_ascii_alphanumeric() || "_-".contains(*c);
    let kept: String = stem.chars().filter(plain).take(STEM_MAX / 2).collect();
    format!("x{kept}-{}", digest(stem, 8))
}

fn is_plain(stem: &str) -> bool {
    stem.starts_with(|c: char| c.is_ascii_alphanumeric())
        && stem
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool() -> (tempfile::TempDir, Spool) {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(&dir.path().join("daemon/x")).unwrap();
        (dir, spool)
    }

    fn drop_file(spool: &Spool, name: &str, text: &str) {
        fs::write(spool.dir("new").join(name), text).unwrap();
    }

    fn listed(spool: &Spool, state: &str) -> Vec<String> {
        let names = names(&spool.dir(state)).unwrap();
        names
            .iter()
            .map(|n| n.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn everything_visible_is_claimed_and_leftovers_come_again() {
        let (_dir, spool) = spool();
        drop_file(&spool, "b.json", "2");
        drop_file(&spool, "a.json", "1");
        drop_file(&spool, ".tmp-c", "3");
        drop_file(&spool, "odd\nname", "\u{1b}");
        fs::create_dir(spool.dir("new").join("d.json")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", spool.dir("new").join("e.json")).unwrap();
        for _ in 0..2 {
            let got = spool.claim(CLAIM_LIMIT).unwrap().entries;
            let got: Vec<_> = got
                .iter()
                .map(|e| (e.name.as_str(), e.text.as_deref()))
                .collect();
            assert_eq!(
                got[..4],
                [
                    ("a.json", Ok("1")),
                    ("b.json", Ok("2")),
                    ("d.json", Err(&"it is not a regular file".to_string())),
                    ("e.json", Err(&"it is a symbolic link".to_string())),
                ]
            );
            assert_eq!(got[4].0, "odd\\nname");
            assert_eq!(listed(&spool, "new"), [".tmp-c"]);
        }
        let counts = Counts {
            new: 0,
            cur: 5,
            failed: 0,
        };
        assert_eq!(spool.counts().unwrap(), counts);
    }

    #[test]
    fn done_and_failed() {
        let (_dir, spool) = spool();
        for round in 0..3 {
            drop_file(&spool, "a.json", "bad");
            drop_file(&spool, "b.json", "good");
            let entries = spool.claim(CLAIM_LIMIT).unwrap().entries;
            let to = spool.fail(&entries[0], "it is bad").unwrap().unwrap();
            spool.done(&entries[1]).unwrap();
            spool.done(&entries[1]).unwrap();
            let want = ["a.json", "a.1.json", "a.2.json"][round];
            assert_eq!(to, spool.dir("failed").join(want));
        }
        assert_eq!(
            spool.counts().unwrap(),
            Counts {
                new: 0,
                cur: 0,
                failed: 3
            }
        );
        let reason = fs::read_to_string(spool.dir("failed").join("a.2.json.reason")).unwrap();
        assert_eq!(reason, "it is bad\n");
    }

    #[test]
    fn what_is_dismissed_is_kept_and_counts_no_more() {
        let (_dir, spool) = spool();
        let fail = || {
            drop_file(&spool, "a.json", "bad");
            let entries = spool.claim(CLAIM_LIMIT).unwrap().entries;
            spool.fail(&entries[0], "it is bad").unwrap().unwrap()
        };
        let first = fail();
        let open = || spool.entries("failed").unwrap();
        let entries: Vec<Entry> = open().collect();
        assert_eq!(spool.reason(&entries[0].path).as_deref(), Some("it is bad"));
        spool.dismiss(&first).unwrap();
        spool.dismiss(&first).unwrap();
        let said = fs::read_to_string(beside(&first, DISMISSED)).unwrap();
        assert_eq!(said, "it is bad\n");
        assert_eq!(spool.counts().unwrap().failed, 0);
        assert_eq!(open().count(), 0);
        assert_eq!(listed(&spool, "failed"), ["a.json", "a.json.dismissed"]);
        assert_eq!(fail(), spool.dir("failed").join("a.1.json"));
        // The first is taken out by hand, and its name comes again.
        fs::remove_file(&first).unwrap();
        assert_eq!(fail(), first);
        assert_eq!(spool.counts().unwrap().failed, 2);
    }

    #[test]
    fn one_that_is_gone_is_not_put_aside_and_one_that_was_hidden_is_seen() {
        let (_dir, spool) = spool();
        drop_file(&spool, "a.json", "bad");
        let gone = spool.claim(CLAIM_LIMIT).unwrap().entries.remove(0);
        fs::remove_file(&gone.path).unwrap();
        assert_eq!(spool.fail(&gone, "it is bad").unwrap(), None);
        assert_eq!(spool.counts().unwrap(), Counts::default());
        drop_file(&spool, ".hidden-7", "bad");
        let hidden = Entry {
            path: spool.dir("new").join(".hidden-7"),
            ..gone
        };
        let path = spool.fail(&hidden, "it is bad").unwrap();
        assert_eq!(path, Some(spool.dir("failed").join("hidden-7")));
        assert_eq!(spool.counts().unwrap().failed, 1);
    }

    #[test]
    fn what_is_excused_keeps_its_reason_and_counts_not() {
        let (_dir, spool) = spool();
        let fail = |name: &str| {
            drop_file(&spool, name, "late");
            let entries = spool.claim(CLAIM_LIMIT).unwrap().entries;
            spool.fail(&entries[0], "it is late").unwrap().unwrap()
        };
        let first = fail("a.json");
        spool.excuse(&first).unwrap();
        assert_eq!(spool.reason(&first).as_deref(), Some("it is late"));
        assert_eq!(spool.last("failed").unwrap().0, 0);
        // The next file of that name is another request.
        fs::remove_file(&first).unwrap();
        assert_eq!(fail("a.json"), first);
        fail("b.json");
        let (count, last) = spool.last("failed").unwrap();
        assert_eq!((count, last.unwrap().name.as_str()), (2, "b.json"));
    }

    #[test]
    fn a_spool_that_leads_nowhere_is_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::at(&dir.path().join("daemon/x"));
        assert_eq!(spool.counts().unwrap(), Counts::default());
        fs::create_dir(dir.path().join("daemon")).unwrap();
        std::os::unix::fs::symlink("/nowhere", dir.path().join("daemon/x")).unwrap();
        assert!(spool.counts().is_err() && spool.last("failed").is_err());
    }

    #[test]
    fn a_name_that_is_claimed_already_loses_neither() {
        let (_dir, spool) = spool();
        for text in ["1", "2", "3"] {
            drop_file(&spool, "a.json", text);
            spool.claim(CLAIM_LIMIT).unwrap();
        }
        let texts: Vec<_> = spool.claim(CLAIM_LIMIT).unwrap().entries;
        let texts: Vec<_> = texts.iter().map(|e| e.text.clone().unwrap()).collect();
        assert_eq!(texts, ["2", "3", "1"]);
    }

    #[test]
    fn put_is_idempotent_while_the_entry_lives() {
        let (_dir, spool) = spool();
        let path = spool.put("mail-1", &1).unwrap();
        assert_eq!(path, spool.dir("new").join("mail-1.json"));
        spool.put("mail-1", &2).unwrap();
        let entries = spool.claim(CLAIM_LIMIT).unwrap().entries;
        assert_eq!(spool.put("mail-1", &3).unwrap(), entries[0].path);
        assert_eq!(entries[0].text.as_deref(), Ok("1"));
        assert_eq!(spool.claim(CLAIM_LIMIT).unwrap().entries.len(), 1);
    }

    #[test]
    fn any_stem_gives_a_plain_name() {
        assert_eq!(fit("mail-gt-msg7"), "mail-gt-msg7");
        for stem in [
            "",
            ".",
            "..",
            "../../x",
            "a/b",
            "-x",
            "a\nb",
            &"y".repeat(300),
        ] {
            let name = fit(stem);
            assert!(is_plain(&name) && name.len() < STEM_MAX, "{stem:?} {name}");
        }
        assert_ne!(fit("a/b"), fit("a:b"));
    }

    #[test]
    fn old_leftovers_of_producers_are_swept() {
        let (_dir, spool) = spool();
        drop_file(&spool, ".tmp-old", "");
        drop_file(&spool, ".tmp-young", "");
        let old = SystemTime::now() - 2 * STAGED_LIMIT;
        let file = fs::File::options()
            .write(true)
            .open(spool.dir("new").join(".tmp-old"));
        file.unwrap().set_modified(old).unwrap();
        assert!(spool.claim(CLAIM_LIMIT).unwrap().entries.is_empty());
        assert_eq!(listed(&spool, "new"), [".tmp-young"]);
    }

    #[test]
    fn what_is_not_work_blocks_nothing() {
        let (_dir, spool) = spool();
        for n in 0..1100 {
            drop_file(&spool, &format!(".tmp-{n}"), "");
        }
        drop_file(&spool, "z.json", "1");
        let entries = spool.claim(CLAIM_LIMIT).unwrap().entries;
        assert_eq!(entries.len(), 1);
        assert_eq!(spool.counts().unwrap().new, 0);
    }

    #[test]
    fn the_longest_names_are_refused_and_dismissed() {
        let (_dir, spool) = spool();
        let long = ["a", "b"].map(|end| format!("{}{end}.json", "y".repeat(249)));
        long.iter().for_each(|name| drop_file(&spool, name, "bad"));
        let entries = spool.claim(CLAIM_LIMIT).unwrap().entries;
        assert_eq!(entries.len(), 2);
        for entry in &entries {
            let path = spool.fail(entry, "it is bad").unwrap().unwrap();
            assert_eq!(path.extension(), Some(OsStr::new("json")));
            assert!(beside(&path, REASON).exists());
        }
        assert_eq!(spool.counts().unwrap().failed, 2);
        // An entry that an older version has left.
        fs::write(spool.dir("failed").join(&long[0]), "bad").unwrap();
        for entry in spool.entries("failed").unwrap() {
            spool.dismiss(&entry.path).unwrap();
        }
        assert_eq!(spool.counts().unwrap().failed, 0);
    }

    #[test]
    fn any_number_of_refusals_of_one_name() {
        let (_dir, spool) = spool();
        let mut paths = HashSet::new();
        for _ in 0..NAMES_TRIED + 20 {
            drop_file(&spool, "a.json", "bad");
            let entries = spool.claim(CLAIM_LIMIT).unwrap().entries;
            paths.insert(spool.fail(&entries[0], "it is bad").unwrap().unwrap());
        }
        assert_eq!(paths.len() as u128, NAMES_TRIED + 20);
        assert_eq!(spool.counts().unwrap().failed, paths.len());
    }

    #[test]
    fn failed_is_bounded_and_what_was_seen_to_goes_first() {
        let (_dir, spool) = spool();
        let failed = spool.dir("failed");
        for n in 0..=FAILED_MAX {
            fs::write(failed.join(format!("{n}.json")), "").unwrap();
        }
        for n in 5000..6000 {
            fs::write(failed.join(format!("{n}.json.dismissed")), "").unwrap();
        }
        spool.tidy().unwrap();
        assert_eq!(spool.counts().unwrap().failed, FAILED_KEPT);
        assert!(!failed.join("5000.json.dismissed").exists());
        assert!(!failed.join("0.json").exists() && failed.join("10000.json").exists());
        spool.tidy().unwrap();
        assert_eq!(spool.counts().unwrap().failed, FAILED_KEPT);
    }

    #[test]
    fn a_move_in_two_steps_replaces_nothing() {
        let (_dir, spool) = spool();
        drop_file(&spool, "a", "1");
        drop_file(&spool, "b", "2");
        let [a, b, c] = ["a", "b", "c"].map(|name| spool.dir("new").join(name));
        assert_eq!(rename_in_two_steps(&a, &b), Err(Errno::EEXIST));
        assert_eq!(rename_in_two_steps(&a, &c), Ok(()));
        assert_eq!(rename_in_two_steps(&a, &a), Err(Errno::ENOENT));
        assert_eq!(fs::read_to_string(&b).unwrap(), "2");
        assert_eq!(fs::read_to_string(&c).unwrap(), "1");
    }

    #[test]
    fn what_cannot_be_read_hides_nothing_behind_it() {
        let entry = |n: usize| Entry {
            name: n.to_string(),
            path: PathBuf::new(),
            text: Err(String::new()),
            unread: n < 5,
        };
        let (entries, unread) = readable((0..9).map(entry), 2);
        assert_eq!((entries[0].name.as_str(), entries.len()), ("5", 2));
        assert_eq!(unread.len(), 5);

        let (_dir, spool) = spool();
        for n in 0..5 {
            drop_file(&spool, &format!("{n}.json"), "");
        }
        let known = |path: &Path| path.file_name().is_some_and(|name| name < "4");
        let claimed = spool.claim_others(2, known).unwrap();
        assert_eq!(claimed.entries.len(), 0);
        let claimed = spool.claim_others(3, known).unwrap();
        assert_eq!(claimed.entries[0].name, "4.json");
    }

    #[test]
    fn a_claim_is_bounded() {
        let (_dir, spool) = spool();
        for n in 0..7 {
            drop_file(&spool, &format!("{n}.json"), "");
        }
        assert_eq!(spool.claim(5).unwrap().entries.len(), 5);
        assert_eq!(
            spool.counts().unwrap(),
            Counts {
                new: 2,
                cur: 5,
                failed: 0
            }
        );
    }
}

//! Careful reads and durable writes of small files.
//!
//! Files of the town are written by agents and by other programs, so a read
//! never blocks on a FIFO and never takes more than its limit; where a stranger
//! may have put the file, it follows no symbolic link either. A write is complete and on disk, or it
//! did not happen.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::time::{ClockId, clock_gettime};
use rustix::fs::Access;

/// The largest configuration or state file that is read, in bytes.
pub const CONFIG_LIMIT: u64 = 4 << 20;

/// The largest spool entry that is read, in bytes.
pub const ENTRY_LIMIT: u64 = 64 << 10;

/// A disk with less room than this counts as full, in bytes: a block or two of any file system.
const LEAST: u64 = 8 << 10;

/// How many names a [`listing`] may have. So many, of any length, come in one system call, so that
/// no file is missed because it is replaced meanwhile.
const LISTED: usize = 100;

/// More than the kernel's files about one process or control group have, in bytes.
const SMALL: usize = 16384;

/// The longest text that is read as TOML, in bytes: its parser takes up to 140 times as much memory.
pub const TOML_LIMIT: usize = 128 << 10;

/// How often [`lock`] looks whether the lock is free.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// What the name of a file begins with while it is written. Path units and readers of spools do not
/// look at names with a dot in front.
pub const TEMPORARY: &str = ".tmp-gastown-";

/// How many letters and digits follow [`TEMPORARY`].
const TEMPORARY_END: usize = 6;

/// A temporary file that has not changed for so long has no writer any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The same for a file from before the boot: its writer is gone, and the minute is for a clock that
/// was set since.
const BEFORE_BOOT: Duration = Duration::from_secs(60);

/// The mode of new files: only for the user, since they may hold keys, mails and agents' screens.
const PRIVATE: u32 = 0o600;

/// The right of the user to read a file.
const OWN_READ: u32 = 0o400;

/// The mode of new directories.
const PRIVATE_DIR: u32 = 0o700;

/// The most files and directories that [`make_private`] looks at, and how deep.
const WALK: usize = 50_000;
const WALK_DEPTH: usize = 4;

/// Reads a configuration or state file of at most [`CONFIG_LIMIT`] bytes.
/// `Ok(None)` when there is no such file.
///
/// # Errors
/// The file is unreadable, too large, not UTF-8, no regular file, or a link to nothing; or what
/// should be its directory is none.
pub fn read(path: &Path) -> Result<Option<String>> {
    // O_NONBLOCK: opening a FIFO would wait for its writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path);
    match file {
        Ok(file) => contents(file, CONFIG_LIMIT)
            .with_context(|| format!("Failed to read '{}'", path.display()))
            .map(Some),
        // A link to nothing is not missing but broken; so is a file in the place of the directory.
        Err(e) if e.kind() == io::ErrorKind::NotFound && !leads_nowhere(path) => Ok(None),
        Err(e) => Err(anyhow!("Failed to open '{}': {e}", path.display())),
    }
}

/// Reads a small file of the kernel's in one read; `None`: the file has gone, or is not small.
pub fn small_file(path: impl AsRef<Path>) -> Option<String> {
    small(File::open(path).ok()?)
}

/// As [`small_file`], for an open file.
pub fn small(mut file: File) -> Option<String> {
    let mut text = [0; SMALL];
    let length = file.read(&mut text).ok()?;
    (length < SMALL).then(|| String::from_utf8_lossy(&text[..length]).into_owned())
}

/// Reads a file of our own by `parse`; a missing one gives the default. The inner error: the file
/// is broken. It does not parse, is no text, no file, or larger than any that we write; or it is on
/// a bad block of its disk, since jobs must go on until a person has seen to that.
///
/// # Errors
/// The file cannot be read for another reason.
pub fn look_at_own<T: Default>(
    path: &Path,
    parse: impl Fn(&str) -> Result<T>,
) -> Result<Result<T>> {
    match read(path) {
        Ok(None) => Ok(Ok(T::default())),
        Ok(Some(text)) => Ok(parse(&text)),
        Err(e) if is_broken(&e) || is_sick(&e) => Ok(Err(e)),
        Err(e) => Err(e),
    }
}

/// As [`look_at_own`], but a broken file is moved to `aside`, and gives the default too.
///
/// # Errors
/// The file cannot be read, or cannot be moved.
pub fn read_own<T: Default>(
    path: &Path,
    aside: &Path,
    parse: impl Fn(&str) -> Result<T>,
) -> Result<T> {
    let parsed = look_at_own(path, parse)?;
    let Err(e) = parsed else { return parsed };
    fs::rename(path, aside).with_context(|| format!("Failed to put '{}' aside", path.display()))?;
    log::warn!(
        "'{}' is broken, so it is kept as '{}': {e:#}",
        path.display(),
        aside.display()
    );
    Ok(T::default())
}

fn is_broken(e: &anyhow::Error) -> bool {
    let kind = e.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::InvalidData)
}

/// Whether the disk gave no answer.
fn is_sick(e: &anyhow::Error) -> bool {
    let errno = e
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error);
    errno == Some(Errno::EIO as i32)
}

/// Whether a read may work later: it failed by no fault of the file, its kind or its mode, as on a
/// sick disk.
pub fn may_pass(e: &anyhow::Error) -> bool {
    e.is::<io::Error>() && !is_broken(e)
}

/// Whether opening a file gives this error again as long as nobody changes the file.
fn is_lasting(e: &io::Error) -> bool {
    let lasting = [Errno::EACCES, Errno::EPERM, Errno::ENXIO, Errno::ENODEV];
    let errno = e.raw_os_error().map(Errno::from_raw);
    errno.is_some_and(|errno| lasting.contains(&errno))
}

/// The inode, size and time of a file's content, by which a change is seen.
pub fn stamp(meta: &fs::Metadata) -> String {
    let time = (meta.mtime(), meta.mtime_nsec());
    format!("{} {} {}.{:09}", meta.ino(), meta.size(), time.0, time.1)
}

/// Reads a file that a stranger may have put there: regular, owned by us, not a
/// link, at most `limit` bytes. `Ok(None)` when there is no such file.
///
/// # Errors
/// Says which of these rules the file breaks, in words fit for a person; or it cannot be read, see
/// [`may_pass`].
pub fn read_untrusted(path: &Path, limit: u64) -> Result<Option<String>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
    {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.raw_os_error() == Some(Errno::ELOOP as i32) => bail!("is a symbolic link"),
        Err(e) if is_lasting(&e) => bail!("cannot be opened: {e}"),
        Err(e) => return Err(e).context("cannot be opened"),
    };
    if file.metadata()?.uid() != nix::unistd::geteuid().as_raw() {
        bail!("belongs to another user");
    }
    contents(file, limit).map(Some)
}

fn contents(file: File, limit: u64) -> Result<String> {
    let broken = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why).into());
    if !file.metadata()?.is_file() {
        return broken("is not a regular file".into());
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return broken(format!("is larger than {limit} bytes"));
    }
    String::from_utf8(bytes).or_else(|_| broken("is not UTF-8 text".into()))
}

/// The metadata of a file, or of the link itself if it is one; `Ok(None)`: there certainly is no
/// file.
///
/// # Errors
/// The directory, which the error names, cannot be looked into.
pub fn metadata(path: &Path) -> Result<Option<fs::Metadata>> {
    match path.symlink_metadata() {
        Ok(found) => Ok(Some(found)),
        Err(e) if is_absent(&e) && !path.parent().is_some_and(leads_nowhere) => Ok(None),
        Err(e) => Err(anyhow!(
            "Failed to look into '{}': {e}",
            path.parent().unwrap_or(path).display()
        )),
    }
}

/// The names in a directory that is no link, sorted; of many only the first `most` that the kernel
/// gives. No names when there is no such directory.
///
/// # Errors
/// The directory cannot be read, or is something else.
pub fn names(dir: &Path, most: usize) -> Result<Vec<OsString>> {
    let failed = || format!("Failed to list '{}'", dir.display());
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
        .open(dir);
    // From here on the open directory is read, for somebody may put a link in the place of its
    // name.
    let opened = match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound && !leads_nowhere(dir) => {
            return Ok(Vec::new());
        }
        opened => opened.with_context(failed)?,
    };
    let list = fs::read_dir(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    let names = list.with_context(failed)?.take(most);
    let names: io::Result<Vec<OsString>> = names.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names.with_context(failed)?;
    names.sort();
    Ok(names)
}

/// The names in a directory, which may be a link, so that nobody need look for each; empty when
/// there certainly is no directory. `None`: it cannot be read, or has more than [`LISTED`] names.
pub fn listing(dir: &Path) -> Option<BTreeSet<OsString>> {
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(e) => return (is_absent(&e) && !leads_nowhere(dir)).then(BTreeSet::new),
    };
    let names: io::Result<BTreeSet<OsString>> = entries
        .take(LISTED + 1)
        .map(|entry| Ok(entry?.file_name()))
        .collect();
    names.ok().filter(|names| names.len() <= LISTED)
}

/// The path of a directory, and the device and inode that it had.
type Root = (PathBuf, Option<(u64, u64)>);

/// See [`keep_to`].
static ROOT: Mutex<Option<Root>> = Mutex::new(None);

/// Has [`make_dir`] make nothing below `root` once another directory, or none, has that name: then
/// the town has been moved, or its disk is away, and what we made there would be taken for a town.
pub fn keep_to(root: &Path) {
    if let Ok(mut kept) = ROOT.lock() {
        *kept = Some((root.to_path_buf(), identity(root)));
    }
}

fn identity(dir: &Path) -> Option<(u64, u64)> {
    let found = dir.metadata().ok()?;
    Some((found.dev(), found.ino()))
}

/// Makes a directory, and those above it that are missing, for the user alone.
///
/// # Errors
/// A directory cannot be made, or something else has its name; or see [`keep_to`].
pub fn make_dir(dir: &Path) -> Result<()> {
    let failed = || format!("Failed to make directory '{}'", dir.display());
    if dir.is_dir() {
        return Ok(());
    }
    if let Ok(kept) = ROOT.lock()
        && let Some((root, was)) = &*kept
        && dir.starts_with(root)
        && (was.is_none() || identity(root) != *was)
    {
        bail!(
            "{}: '{}' has been moved away, or its disk is not there; try again once it is back",
            failed(),
            root.display()
        );
    }
    let made = DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIR)
        .create(dir);
    made.with_context(failed)
}

/// Whether others may read or enter a directory of ours.
pub fn is_open_to_others(dir: &Path) -> bool {
    let found = dir.symlink_metadata();
    found.is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o077 != 0)
}

/// Takes the rights of all other users from a directory of ours and everything in it, except links
/// and what belongs to other users.
///
/// # Errors
/// The directory, or the mode of something in it, cannot be read or changed.
pub fn make_private(dir: &Path) -> Result<()> {
    let mut left = WALK;
    take_from_others(dir, 0, &mut left)
}

fn take_from_others(path: &Path, depth: usize, left: &mut usize) -> Result<()> {
    let Some(found) = metadata(path)? else {
        return Ok(());
    };
    *left = left.saturating_sub(1);
    let is_ours = found.uid() == nix::unistd::geteuid().as_raw();
    let (is_dir, mode) = (found.is_dir(), found.permissions().mode());
    if !is_ours || !(is_dir || found.is_file()) || *left == 0 {
        return Ok(());
    }
    if mode & 0o077 != 0 {
        let mode = fs::Permissions::from_mode(mode & 0o700);
        fs::set_permissions(path, mode)
            .with_context(|| format!("Failed to change the mode of '{}'", path.display()))?;
    }
    if is_dir && depth < WALK_DEPTH {
        for name in names(path, *left)? {
            take_from_others(&path.join(name), depth + 1, left)?;
        }
    }
    Ok(())
}

/// Whether anything has this name.
///
/// # Errors
/// As of [`metadata`].
pub fn is_there(path: &Path) -> Result<bool> {
    metadata(path).map(|found| found.is_some())
}

/// A file system to which nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// The file system's device number.
    pub disk: u64,
    /// Why nothing can be written, in words.
    pub what: &'static str,
    /// The command that shows it.
    pub command: &'static str,
}

/// The file system of a directory, if nothing can be written to it; `None`: something can, or that
/// is not known.
pub fn full(dir: &Path) -> Option<Full> {
    let disk = dir.metadata().ok()?.dev();
    let room = rustix::fs::statvfs(dir).ok()?;
    // statvfs does not tell of a read-only mount or subvolume.
    let is_read_only = rustix::fs::access(dir, Access::WRITE_OK) == Err(rustix::io::Errno::ROFS);
    // A file system that does not say how large it is does not say how full it is.
    let free = match room.f_blocks {
        0 => u64::MAX,
        _ => room.f_bavail.saturating_mul(room.f_frsize),
    };
    let (what, command) = why_full(is_read_only, free, room.f_files, room.f_favail)?;
    Some(Full {
        disk,
        what,
        command,
    })
}

/// Why a file system is full. (On some, which have no fixed number of files, both numbers of files
/// are 0.)
fn why_full(
    is_read_only: bool,
    free: u64,
    files: u64,
    free_files: u64,
) -> Option<(&'static str, &'static str)> {
    match () {
        () if is_read_only => Some(("it is read-only", "findmnt -T")),
        () if free < LEAST => Some(("the disk is full", "df -h")),
        () if files > 0 && free_files == 0 => Some(("the disk has no room for a file", "df -i")),
        () => None,
    }
}

/// Whether two paths lead to one directory or file.
pub fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    one == other || real(one).is_some_and(|one| Some(one) == real(other))
}

/// Whether a path is a directory, or a link to one.
///
/// # Errors
/// As of [`metadata`].
pub fn is_dir(path: &Path) -> Result<bool> {
    match path.metadata() {
        Ok(found) => Ok(found.is_dir()),
        Err(e) if is_absent(&e) && !leads_nowhere(path) => Ok(false),
        Err(e) => Err(anyhow!("Failed to look into '{}': {e}", path.display())),
    }
}

/// Whether a file, or a directory above it, is a link to nothing. What it leads to may be back
/// soon, as when its disk is mounted.
fn leads_nowhere(path: &Path) -> bool {
    broken_link(path).is_some()
}

/// The link to nothing that a path is, or leads through.
pub fn broken_link(path: &Path) -> Option<&Path> {
    for path in path.ancestors() {
        // This path exists, so nothing above it is a link to nothing.
        if let Ok(found) = path.symlink_metadata() {
            return (found.is_symlink() && !path.exists()).then_some(path);
        }
    }
    None
}

fn is_absent(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Replaces `path` by `content`, atomically and durably: temporary file in the
/// same directory, fsync, rename, fsync of the directory. The mode of an
/// existing file is kept, but that the user may read it; a new one is for the user alone. Missing
/// parent directories are made.
///
/// # Errors
/// Any step failed; then the old file is as it was.
pub fn write(path: &Path, content: &[u8]) -> Result<()> {
    write_inner(path, content, false, PRIVATE)
}

/// Replaces `path` by `content`, atomically but not durably: for what is worthless after a crash.
///
/// # Errors
/// Any step failed; then the old file is as it was.
pub fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let failed = || format!("Failed to write '{}'", path.display());
    let dir = path.parent().unwrap_or(Path::new("/"));
    make_dir(dir)?;
    let file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(dir);
    let mut file = file.with_context(failed)?;
    file.write_all(content).with_context(failed)?;
    file.persist(path).with_context(failed).map(drop)
}

/// Like [`write()`], for a file that a person wants to show to others: a new one gets mode 0644.
///
/// # Errors
/// As of [`write()`].
pub fn export(path: &Path, content: &[u8]) -> Result<()> {
    write_inner(path, content, false, 0o644)
}

/// Like [`write()`], but fails when `path` exists already, and tells so by
/// `Ok(false)`: exactly one of several writers wins.
///
/// # Errors
/// Any step failed for another reason than that the file exists.
pub fn create(path: &Path, content: &[u8]) -> Result<bool> {
    match write_inner(path, content, true, PRIVATE) {
        Ok(()) => Ok(true),
        Err(e) if e.chain().any(exists) => Ok(false),
        Err(e) => Err(e),
    }
}

fn exists(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::AlreadyExists)
}

fn write_inner(path: &Path, content: &[u8], new: bool, mode: u32) -> Result<()> {
    let failed = || format!("Failed to write '{}'", path.display());
    let dir = path.parent().with_context(failed)?;
    make_dir(dir)?;
    // What we write we must be able to read again.
    let mode = fs::metadata(path).map_or(mode, |m| m.permissions().mode() & 0o777 | OWN_READ);
    let mut temp = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .rand_bytes(TEMPORARY_END)
        .tempfile_in(dir)
        .with_context(failed)?;
    temp.write_all(content).with_context(failed)?;
    let file = temp.as_file();
    file.set_permissions(fs::Permissions::from_mode(mode))
        .with_context(failed)?;
    file.sync_all().with_context(failed)?;
    if new {
        temp.persist_noclobber(path).map_err(|e| e.error)
    } else {
        temp.persist(path).map_err(|e| e.error)
    }
    .with_context(failed)?;
    sync_dir(dir).with_context(failed)
}

/// Removes the temporary files that interrupted writes, as by a power cut, have left in a directory
/// and `depth` levels below it. Nothing else is touched, and no link is followed.
pub fn sweep(dir: &Path, depth: usize) {
    let boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::MAX, Duration::from);
    let limit = ABANDONED.min(boot.saturating_add(BEFORE_BOOT));
    let mut left = WALK;
    if dir.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        sweep_below(dir, depth, limit, &mut left);
    }
}

fn sweep_below(dir: &Path, depth: usize, limit: Duration, left: &mut usize) {
    // What cannot be read is left alone.
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir && depth > 0 {
            sweep_below(&entry.path(), depth - 1, limit, left);
        } else if is_temporary(&entry.file_name()) && is_abandoned(&entry, limit) {
            let path = entry.path();
            match fs::remove_file(&path) {
                Ok(()) => log::info!(
                    "Removed '{}', which a write that was cut off has left",
                    path.display()
                ),
                Err(e) => log::debug!("Failed to remove '{}', ignoring: {e}", path.display()),
            }
        }
    }
}

fn is_temporary(name: &OsStr) -> bool {
    let end = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY));
    end.is_some_and(|end| {
        end.len() == TEMPORARY_END && end.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

fn is_abandoned(entry: &fs::DirEntry, limit: Duration) -> bool {
    let us = nix::unistd::geteuid().as_raw();
    entry.metadata().is_ok_and(|found| {
        let age = found
            .modified()
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        found.is_file() && found.uid() == us && age.is_some_and(|age| age > limit)
    })
}

/// Makes renames and removals in `dir` durable.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes a file durably; a file that is not there is no error. Tells whether it was there.
///
/// # Errors
/// The file exists and cannot be removed.
pub fn remove(path: &Path) -> Result<bool> {
    let failed = || format!("Failed to remove '{}'", path.display());
    match fs::remove_file(path) {
        Ok(()) => {
            if let Some(dir) = path.parent() {
                sync_dir(dir).with_context(failed)?;
            }
            Ok(true)
        }
        Err(e) if is_absent(&e) => Ok(false),
        // A read-only file system gives its error also for a file that does not exist.
        Err(_) if matches!(is_there(path), Ok(false)) => Ok(false),
        Err(e) => Err(e).with_context(failed),
    }
}

/// Locks a file, which is made if it is missing and keeps its content and times. Dropping the value
/// ends the lock. `None`: somebody else has held the lock for all of `limit`.
///
/// # Errors
/// The file cannot be made or locked.
pub fn lock(path: &Path, limit: Duration) -> Result<Option<File>> {
    let failed = || format!("Failed to lock '{}'", path.display());
    make_dir(path.parent().with_context(failed)?)?;
    let mut options = File::options();
    // O_NONBLOCK: opening a FIFO would wait for its reader.
    let options = options.create(true).append(true).mode(PRIVATE);
    let file = options.custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    locked(file.with_context(failed)?, limit).with_context(failed)
}

/// As [`lock`], for those who go on when nothing can be written: an existing file can be locked on
/// a read-only file system too.
///
/// # Errors
/// As [`lock`].
pub fn lock_to_read(path: &Path, limit: Duration) -> Result<Option<File>> {
    let is_read_only = |e: &anyhow::Error| {
        let cause = e.root_cause().downcast_ref::<io::Error>();
        cause.is_some_and(|e| e.kind() == io::ErrorKind::ReadOnlyFilesystem)
    };
    match lock(path, limit) {
        Err(e) if is_read_only(&e) => {
            let mut options = File::options();
            let options = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
            let Ok(file) = options.open(path) else {
                return Err(e);
            };
            let failed = || format!("Failed to lock '{}'", path.display());
            locked(file, limit).with_context(failed)
        }
        done => done,
    }
}

/// The file with its lock.
fn locked(file: File, limit: Duration) -> io::Result<Option<File>> {
    let deadline = Instant::now() + limit;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_POLL);
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No other test of this process loads a town by its environment.
    #[test]
    fn nothing_is_made_in_the_place_of_a_town_that_has_been_moved() {
        let dir = tempfile::tempdir().unwrap();
        let (root, away) = (dir.path().join("gt"), dir.path().join("away"));
        let file = root.join("daemon/last-good/x");
        fs::create_dir(&root).unwrap();
        keep_to(&root);
        write(&file, b"").unwrap();
        fs::rename(&root, &away).unwrap();
        assert!(write(&file, b"").is_err() && !root.exists());
        // The mount point of a disk that is away.
        fs::create_dir(&root).unwrap();
        assert!(write(&file, b"").is_err() && !root.join("daemon").exists());
        assert!(make_dir(&dir.path().join("other")).is_ok());
        fs::remove_dir(&root).unwrap();
        fs::rename(&away, &root).unwrap();
        fs::remove_dir_all(root.join("daemon")).unwrap();
        write(&file, b"").unwrap();
    }

    #[test]
    fn one_holds_a_lock_and_the_file_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/lock");
        let first = lock(&path, Duration::ZERO).unwrap();
        assert!(first.is_some());
        fs::write(&path, "x").unwrap();
        let begin = Instant::now();
        let limit = Duration::from_millis(50);
        assert!(lock(&path, limit).unwrap().is_none());
        assert!(begin.elapsed() >= limit);
        drop(first);
        // A process that another test is about to start has it for a moment longer.
        let limit = Duration::from_secs(10);
        assert!(lock(&path, limit).unwrap().is_some());
        assert_eq!(fs::read(&path).unwrap(), b"x");
        assert!(lock(&path.join("below"), Duration::ZERO).is_err());
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(lock(&fifo, Duration::ZERO).is_err());
    }

    #[test]
    fn write_keeps_the_mode_and_replaces_the_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/state.json");
        write(&path, b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        for (before, after) in [(0, 0o400), (0o200, 0o600), (0o444, 0o444), (0o644, 0o644)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(before)).unwrap();
            write(&path, b"three").unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, after, "{before:o}");
        }
    }

    #[test]
    fn create_lets_one_writer_win() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        assert!(create(&path, b"first").unwrap());
        assert!(!create(&path, b"second").unwrap());
        assert_eq!(read(&path).unwrap().as_deref(), Some("first"));
    }

    #[test]
    fn untrusted_reads_refuse_what_is_not_a_plain_file() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        fs::write(&plain, "12345").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&plain, &link).unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (path, limit, want) in [
            (&plain, 5, Ok(Some("12345".to_string()))),
            (&plain, 4, Err("is larger than 4 bytes")),
            (&link, 5, Err("is a symbolic link")),
            (&fifo, 5, Err("is not a regular file")),
            (&dir.path().join("none"), 5, Ok(None)),
        ] {
            let got = read_untrusted(path, limit).map_err(|e| e.to_string());
            assert_eq!(got, want.map_err(String::from), "{}", path.display());
        }
    }

    #[test]
    fn what_may_be_read_later_is_told_from_what_never_will() {
        let open = |errno: Errno| io::Error::from(errno);
        for errno in [Errno::EACCES, Errno::EPERM, Errno::ENXIO] {
            assert!(is_lasting(&open(errno)), "{errno}");
        }
        for errno in [
            Errno::EIO,
            Errno::EMFILE,
            Errno::ENFILE,
            Errno::ENOMEM,
            Errno::ESTALE,
        ] {
            assert!(!is_lasting(&open(errno)), "{errno}");
            let e = Err::<(), _>(open(errno)).context("cannot be opened");
            assert!(may_pass(&e.unwrap_err()), "{errno}");
        }
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, passes) in [
            (dir.path(), false),
            (&socket, false),
            // Its first page is nobody's: the kernel gives EIO.
            (Path::new("/proc/self/mem"), true),
        ] {
            let e = read_untrusted(path, 5).unwrap_err();
            assert_eq!(may_pass(&e), passes, "{}: {e:#}", path.display());
        }
    }

    #[test]
    fn what_is_broken_of_ours_is_put_aside_however_large() {
        let dir = tempfile::tempdir().unwrap();
        let [path, aside] = ["state", "aside"].map(|name| dir.path().join(name));
        let load = || read_own(&path, &aside, |text| Ok(text.to_string()));
        // 100 GB, of which nothing is on the disk.
        let sparse = File::create(&path).unwrap();
        sparse.set_len(100 << 30).unwrap();
        assert_eq!(load().unwrap(), "");
        assert_eq!(aside.metadata().unwrap().len(), 100 << 30);
        fs::write(&path, b"\xff").unwrap();
        assert_eq!((load().unwrap().as_str(), path.exists()), ("", false));
        fs::remove_file(&aside).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!((load().unwrap().as_str(), aside.is_dir()), ("", true));
        fs::remove_dir(&aside).unwrap();
        // The kernel gives EIO.
        std::os::unix::fs::symlink("/proc/self/mem", &path).unwrap();
        assert_eq!((load().unwrap().as_str(), aside.is_symlink()), ("", true));
        fs::remove_file(&aside).unwrap();
        fs::write(&path, "text").unwrap();
        assert_eq!(load().unwrap(), "text");
        // What cannot be read is not broken.
        std::os::unix::fs::symlink("/nowhere", dir.path().join("link")).unwrap();
        let link = dir.path().join("link");
        assert!(read_own(&link, &aside, |text| Ok(text.to_string())).is_err() && link.is_symlink());
    }

    #[test]
    fn what_is_broken_is_not_missing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("plain"), "").unwrap();
        std::os::unix::fs::symlink("/nowhere", at("nowhere")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        for (name, is_missing) in [
            ("none", true),
            ("none/below", true),
            ("nowhere", false),
            ("nowhere/below", false),
            ("loop", false),
            ("loop/below", false),
            ("plain/below", false),
        ] {
            assert_eq!(read(&at(name)).is_ok(), is_missing, "{name}");
        }
        for (name, is_known) in [
            ("none/below", true),
            ("nowhere", true),
            ("nowhere/below", false),
            ("nowhere/below/it", false),
        ] {
            assert_eq!(metadata(&at(name)).is_ok(), is_known, "{name}");
        }
        for (name, is_known) in [
            ("plain", true),
            ("none/below", true),
            ("nowhere", false),
            ("nowhere/below", false),
            ("nowhere/below/it", false),
        ] {
            assert_eq!(is_dir(&at(name)).ok(), is_known.then_some(false), "{name}");
        }
        for (name, count) in [
            ("none", Some(0)),
            ("plain", Some(0)),
            ("nowhere/below", None),
            ("loop", None),
            ("full", Some(LISTED)),
            ("over", None),
        ] {
            for n in 0..LISTED + usize::from(name == "over") {
                if matches!(name, "full" | "over") {
                    write(&at(name).join(n.to_string()), b"").unwrap();
                }
            }
            let found = listing(&at(name));
            assert_eq!(found.map(|names| names.len()), count, "{name}");
        }
    }

    #[test]
    fn what_is_new_is_private_and_what_was_not_is_made_so() {
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let file = root.path().join("daemon/last-good/x");
        write(&file, b"key").unwrap();
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&root.path().join("daemon")), 0o700);
        export(&root.path().join("shown"), b"picture").unwrap();
        assert_eq!(mode(&root.path().join("shown")), 0o644);

        let (daemon, theirs) = (root.path().join("daemon"), root.path().join("theirs"));
        fs::create_dir(&theirs).unwrap();
        for (path, mode) in [(&file, 0o664), (&daemon, 0o755), (&theirs, 0o755)] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink(&theirs, daemon.join("link")).unwrap();
        assert!(is_open_to_others(&daemon));
        make_private(&daemon).unwrap();
        assert!(!is_open_to_others(&daemon));
        assert_eq!((mode(&file), mode(&theirs)), (0o600, 0o755));
    }

    #[test]
    fn what_an_old_write_has_left_is_swept_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let (below, theirs) = (root.path().join("a/b"), root.path().join("theirs"));
        for dir in [&below, &below.join("c"), &theirs] {
            fs::create_dir_all(dir).unwrap();
        }
        std::os::unix::fs::symlink(&theirs, root.path().join("link")).unwrap();
        let old = SystemTime::now() - ABANDONED - Duration::from_secs(60);
        let file = |dir: &Path, name: &str, at: SystemTime| {
            let path = dir.join(name);
            fs::write(&path, "").unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(at).unwrap();
            path
        };
        let gone = [root.path(), &below].map(|dir| file(dir, ".tmp-gastown-aB3dE6", old));
        let kept = [
            file(root.path(), ".tmp-gastown-young1", SystemTime::now()),
            file(
                root.path(),
                ".tmp-gastown-future",
                SystemTime::now() + ABANDONED,
            ),
            file(root.path(), ".tmp-gastown-somebody-elses", old),
            file(root.path(), ".tmp-mktemp", old),
            file(root.path(), "tmp-aB3dE6", old),
            file(&below.join("c"), ".tmp-gastown-toodee", old),
            file(&theirs, ".tmp-gastown-aB3dE6", old),
        ];
        fs::create_dir(root.path().join(".tmp-gastown-direct")).unwrap();
        sweep(&root.path().join("link"), 2);
        sweep(&root.path().join("missing"), 2);
        sweep(root.path(), 0);
        assert!(!gone[0].exists() && gone[1].exists());
        sweep(&root.path().join("a"), 1);
        assert!(!gone[1].exists());
        for path in kept {
            assert!(path.exists(), "{}", path.display());
        }
        assert!(root.path().join(".tmp-gastown-direct").exists());
    }

    #[test]
    fn a_disk_is_full_by_room_or_by_files() {
        for (is_read_only, free, files, free_files, want) in [
            (false, 1 << 30, 100, 7, None),
            (false, LEAST, 0, 0, None),
            (false, LEAST - 1, 0, 0, Some("df -h")),
            (false, 1 << 30, 100, 0, Some("df -i")),
            (true, 1 << 30, 100, 7, Some("findmnt -T")),
        ] {
            let got = why_full(is_read_only, free, files, free_files);
            assert_eq!(got.map(|(_, command)| command), want);
        }
        assert_eq!(full(Path::new("/nowhere")), None);
        assert_eq!(full(Path::new("/proc")), None);
    }

    #[test]
    fn names_of_a_directory_and_of_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c"] {
            fs::write(root.path().join(name), "").unwrap();
        }
        assert_eq!(names(root.path(), 9).unwrap(), ["a", "b", "c"]);
        assert_eq!(names(root.path(), 2).unwrap().len(), 2);
        assert!(names(&root.path().join("missing"), 9).unwrap().is_empty());
        std::os::unix::fs::symlink("/", root.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/nowhere", root.path().join("away")).unwrap();
        for odd in ["link", "a", "away", "away/below"] {
            assert!(names(&root.path().join(odd), 9).is_err(), "{odd}");
        }
    }
}

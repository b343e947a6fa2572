//! The Go daemon, where it runs beside us: two supervisors fight over the same sessions.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::process;
use crate::files;
use crate::town::Town;

/// The Go daemon's own unit.
pub const UNIT: &str = "gastown-daemon.service";

/// What says that the town's Go daemon runs, and what ends it; `None`: nothing says so.
///
/// The daemon holds a lock on `daemon/daemon.lock`; its first releases only write their pid. We look
/// for the lock in `/proc/locks` and do not try to take it: that could make a daemon's start fail.
pub fn go_daemon(town: &Town) -> Option<(String, String)> {
    let noted = || {
        let text = files::read(&town.path("daemon/daemon.pid")).ok()??;
        text.lines().next()?.trim().parse().ok()
    };
    // The kernel takes some 15 ms for its list, so it is asked last.
    let locked = || {
        let lock = town.path("daemon/daemon.lock").metadata().ok()?;
        let locks = fs::read_to_string("/proc/locks").ok()?;
        holder(&locks, lock.ino())
    };
    let is_it = |pid: &u32| is_go_daemon(*pid);
    let pid = noted().filter(is_it).or_else(|| locked().filter(is_it))?;
    let command = if process::is_in(pid, UNIT) {
        format!("systemctl --user disable --now {UNIT}")
    } else {
        format!("cd '{}' && gt daemon stop", town.root().display())
    };
    let what = format!("The Go daemon runs beside the town's units, as process {pid}");
    Some((what, command))
}

/// Who holds a lock on a file, by its inode: `3: FLOCK  ADVISORY  WRITE 812 08:01:1234 0 EOF`.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // A line of one that waits for the lock has `->` as its second field.
        let [_, "FLOCK", _, _, pid, file, ..] = fields[..] else {
            return None;
        };
        let of_file = file.rsplit(':').next()?.parse() == Ok(inode);
        pid.parse().ok().filter(|_| of_file)
    })
}

/// Whether a process is `gt daemon run`: a pid is used again after its process has ended.
fn is_go_daemon(pid: u32) -> bool {
    let command = process::arguments(pid);
    let is_gt = |program: &String| program.rsplit('/').next() == Some("gt");
    command.first().is_some_and(is_gt) && command.get(1).is_some_and(|word| word == "daemon")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_lock() {
        let locks = "1: POSIX  ADVISORY  WRITE 700 08:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 812 08:01:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 900 08:01:78 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE -1 08:01:79 0 EOF\n";
        for (inode, want) in [(77, Some(812)), (78, None), (79, None), (1, None)] {
            assert_eq!(holder(locks, inode), want, "{inode}");
        }
    }
}

//! `daemon/poke`: writing a file there starts a tick. `gt-heartbeat.path` watches the directory.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

/// The directory, below the town's root.
pub const DIR: &str = "daemon/poke";

/// Has a tick run soon, as for an agent that has ended and is to come back later. Nothing depends on
/// this: the regular tick does the same.
pub fn heartbeat(root: &Path) {
    touch(&root.join(DIR).join("agent"));
}

/// The file that tmux has written when a session appears.
pub fn of_sessions(root: &Path) -> PathBuf {
    root.join(DIR).join("session")
}

/// Writes an empty file that only its user can read.
pub fn touch(file: &Path) {
    let opened = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        // An agent may have put a link or a FIFO there.
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(file);
    if let Err(e) = opened {
        log::debug!("Failed to write '{}': {e}", file.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_put_there_is_neither_waited_for_nor_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let [fifo, link, theirs] = ["fifo", "link", "theirs"].map(|name| dir.path().join(name));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(&theirs, "text").unwrap();
        std::os::unix::fs::symlink(&theirs, &link).unwrap();
        touch(&fifo);
        touch(&link);
        assert_eq!(std::fs::read(&theirs).unwrap(), b"text");
        touch(&dir.path().join("new"));
        assert!(dir.path().join("new").is_file());
    }
}

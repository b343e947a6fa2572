//! The environment variables that must not pass from one program to the next. With another's, a
//! program would take itself for somebody else, report to somebody else's service, or work on
//! somebody else's files.

use std::ffi::{OsStr, OsString};
use std::process::Command;

use crate::printable;

/// Who an agent is and where it works, its terminal, and what systemd tells one service: by prefix.
const PREFIXES: [&str; 6] = [
    "GT_",
    "BD_",
    "BEADS_",
    "TMUX",
    "LISTEN_",
    "MEMORY_PRESSURE_",
];

/// The same, by name.
const NAMES: [&str; 16] = [
    "CLAUDECODE",
    "CLAUDE_CODE_ENTRYPOINT",
    "GIT_AUTHOR_NAME",
    "GIT_CEILING_DIRECTORIES",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_WORK_TREE",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "MAINPID",
    "MANAGERPID",
    "MANAGERPIDFDID",
    "NOTIFY_SOCKET",
    "SYSTEMD_EXEC_PID",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// Variables that the town's settings may not set for an agent either: they would tie it to a
/// terminal, a session or a service that is not its own.
const FIXED: [&str; 4] = ["CLAUDECODE", "NOTIFY_SOCKET", "TMUX", "TMUX_PANE"];

/// Whether a variable belongs to another process, session or agent.
pub fn is_foreign(key: impl AsRef<OsStr>) -> bool {
    let key = key.as_ref().to_string_lossy();
    NAMES.contains(&key.as_ref()) || PREFIXES.iter().any(|p| key.starts_with(p))
}

/// Whether the town's settings may not set a variable.
pub fn is_fixed(key: &str) -> bool {
    FIXED.contains(&key)
}

/// The calling process's environment without what must not leak into an agent.
pub fn clean() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(key, _)| !is_foreign(key))
}

/// Has a command run without foreign variables. Set what the command needs after this.
pub fn drop_foreign(command: &mut Command) -> &mut Command {
    for (key, _) in std::env::vars_os().filter(|(key, _)| is_foreign(key)) {
        command.env_remove(key);
    }
    command
}

/// The user who became root by sudo to run this: root has neither that user's town nor manager.
pub fn sudo_user() -> Option<String> {
    let user = std::env::var("SUDO_USER").ok();
    user_behind(nix::unistd::geteuid().is_root(), user.as_deref())
}

fn user_behind(is_root: bool, user: Option<&str>) -> Option<String> {
    let user = user.filter(|user| is_root && !user.is_empty() && *user != "root")?;
    Some(printable::line(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_behind_root() {
        for (is_root, user, want) in [
            (true, Some("me"), Some("me")),
            (true, Some("root"), None),
            (true, Some(""), None),
            (true, None, None),
            (false, Some("me"), None),
        ] {
            assert_eq!(user_behind(is_root, user).as_deref(), want, "{user:?}");
        }
    }

    #[test]
    fn identities_and_sockets_of_others_do_not_leak() {
        for (key, want) in [
            ("GT_ROLE", true),
            ("TMUX", true),
            ("TMUX_PANE", true),
            ("TMUX_TMPDIR", true),
            ("NOTIFY_SOCKET", true),
            ("CLAUDECODE", true),
            ("BEADS_DIR", true),
            ("BD_JSON_ENVELOPE", true),
            ("GIT_DIR", true),
            ("GIT_SSH_COMMAND", false),
            ("PATH", false),
            ("ANTHROPIC_API_KEY", false),
            ("DBUS_SESSION_BUS_ADDRESS", false),
        ] {
            assert_eq!(is_foreign(key), want, "{key}");
        }
        assert!(FIXED.iter().all(is_foreign));
    }
}

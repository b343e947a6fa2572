//! `gt-agent`: how an agent gets a terminal from tmux and is a systemd service all the same.
//!
//! - [`run`]: the service's main process; finds or makes the pane, moves the agent into the
//!   unit, waits for its end, and ends with its status.
//! - [`exec`]: runs in the pane, waits until it has been moved, and becomes the agent.
//! - [`check`]: whether an agent may start now (`ExecCondition=`).
//! - [`secrets`]: what agents need and nobody else may read.
//! - [`server`]: the tmux server's own service, and the town's start and stop.
//! - [`looks`]: what an agent's session looks like.
//! - [`process`]: what /proc says.
//! - [`rival`]: the Go daemon beside us.
//! - [`whose`]: whose session it is.

pub mod check;
pub mod exec;
pub mod looks;
pub mod process;
pub mod rival;
pub mod run;
pub mod secrets;
pub mod server;
pub mod whose;

use std::ffi::{OsStr, OsString};

/// Variables that belong to another process, session or agent, by prefix.
const FOREIGN_PREFIXES: &[&str] = &[
    "GT_",
    "BD_",
    "BEADS_",
    "TMUX",
    "LISTEN_",
    "MEMORY_PRESSURE_",
];

/// The same, by name.
const FOREIGN: &[&str] = &[
    "CLAUDECODE",
    "CLAUDE_CODE_ENTRYPOINT",
    "GIT_AUTHOR_NAME",
    "GIT_CEILING_DIRECTORIES",
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

/// The calling process's environment without what must not leak into an agent.
fn clean_environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(key, _)| !is_foreign(key))
}

fn is_foreign(key: &OsStr) -> bool {
    let key = key.to_string_lossy();
    FOREIGN.contains(&key.as_ref()) || FOREIGN_PREFIXES.iter().any(|p| key.starts_with(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_and_sockets_of_others_do_not_leak() {
        for (key, want) in [
            ("GT_ROLE", true),
            ("TMUX", true),
            ("TMUX_PANE", true),
            ("NOTIFY_SOCKET", true),
            ("CLAUDECODE", true),
            ("PATH", false),
            ("ANTHROPIC_API_KEY", false),
            ("DBUS_SESSION_BUS_ADDRESS", false),
        ] {
            assert_eq!(is_foreign(OsStr::new(key)), want, "{key}");
        }
    }
}

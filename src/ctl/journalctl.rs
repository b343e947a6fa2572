//! What is asked of journalctl, and whether this user may ask.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::user;
use crate::agent::Agent;
use crate::tools;

/// Where journald keeps its files: on disk, or until the next boot.
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];

/// How long journalctl may take where little is asked of it.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Whether the journal has anything of an agent.
pub fn has(agent: &Agent) -> bool {
    let mut command = command();
    command.arg("--lines=1").args(matches(Some(agent)));
    tools::run(&mut command, LIMIT).is_ok_and(|said| !said.stdout.trim().is_empty())
}

/// journalctl without the hint about messages of others.
pub fn command() -> Command {
    let dirs = tools::search_path(Path::new("/nonexistent"));
    let program = tools::find("journalctl", &dirs).unwrap_or_else(|| "/usr/bin/journalctl".into());
    let mut command = Command::new(program);
    command.arg("--quiet");
    command
}

/// What selects the messages of an agent, or of the town. Not `--user`: that looks only into a
/// journal of one's own, which users of a system group, or with volatile storage, do not have.
pub fn matches(agent: Option<&Agent>) -> Vec<String> {
    let Some(agent) = agent else {
        return ["--user-unit=gt-*", "--user-unit=gastown.target"]
            .map(String::from)
            .to_vec();
    };
    let (unit, uid) = (agent.unit(), nix::unistd::geteuid());
    [
        // What it and the manager say, and what others say of it.
        format!("_SYSTEMD_USER_UNIT={unit}"),
        format!("USER_UNIT={unit}"),
        format!("GT_AGENT={agent}"),
    ]
    .into_iter()
    .flat_map(|field| ["+".into(), field, format!("_UID={uid}")])
    .skip(1)
    .collect()
}

/// Why this user can read no journal that would have the town's messages, and what to do.
pub fn unreadable() -> Option<String> {
    let readable = |path: PathBuf| std::fs::File::open(path).is_ok();
    let uid = nix::unistd::geteuid();
    let dirs: Vec<PathBuf> = JOURNALS
        .iter()
        .flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    if dirs.is_empty() {
        return Some(
            "The journal is not stored; set 'Storage=persistent' in '/etc/systemd/journald.conf' \
             and restart systemd-journald"
                .into(),
        );
    }
    let own = format!("user-{uid}.journal");
    let seen = dirs
        .iter()
        .any(|dir| readable(dir.join(&own)) || readable(dir.join("system.journal")));
    (!seen).then(|| {
        format!(
            "User {0} may not read the journal; run 'adduser {0} systemd-journal' as root and log in again",
            user::name()
        )
    })
}

//! How journalctl is called, and whether this user may read the journal.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;

use super::user;
use crate::agent::Agent;
use crate::tools;

/// Where journald keeps its files: on disk, or until the next boot.
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];

/// How long journalctl may take for a short answer.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Whether the journal has anything of an agent.
pub fn has(agent: &Agent) -> bool {
    let mut command = command();
    command.arg("--lines=1").args(matches(Some(agent)));
    tools::run(&mut command, LIMIT).is_ok_and(|said| !said.stdout.trim().is_empty())
}

/// journalctl without the hint about messages of others.
pub fn command() -> Command {
    let mut command = Command::new(tools::of_system("journalctl"));
    command.arg("--quiet");
    command
}

/// The arguments that select the messages of an agent, or of the town. `--user` is not among them:
/// it reads only the user's own journal, and system users, or machines with a volatile journal,
/// have none.
pub fn matches(agent: Option<&Agent>) -> Vec<String> {
    let Some(agent) = agent else {
        return ["--user-unit=gt-*", "--user-unit=gastown.target"]
            .map(String::from)
            .to_vec();
    };
    let (unit, uid) = (agent.unit(), nix::unistd::geteuid());
    [
        // What the unit itself says, what the manager says, and what others say of the agent.
        format!("_SYSTEMD_USER_UNIT={unit}"),
        format!("USER_UNIT={unit}"),
        format!("GT_AGENT={agent}"),
    ]
    .into_iter()
    .flat_map(|field| ["+".into(), field, format!("_UID={uid}")])
    .skip(1)
    .collect()
}

/// The message when the journal has nothing of this user from before `since`: it may also lack what
/// came after.
pub fn begins_after(since: Timestamp) -> Option<&'static str> {
    let mut command = command();
    command.args(["--lines=1", "--output=short"]);
    command.arg(format!("--until=@{}", since.as_second()));
    command.arg(format!("_UID={}", nix::unistd::geteuid()));
    let said = tools::run(&mut command, LIMIT).ok()?;
    let is_kept = Path::new(JOURNALS[0]).is_dir();
    said.stdout.trim().is_empty().then_some(match is_kept {
        true => "The journal begins later than that; what was before its first message is not known",
        false => {
            "The journal is kept in memory only, so what was before the last boot is not known; see \
             'gastownctl doctor'"
        }
    })
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
    // The current `system.journal`, or an archived one such as `user-1000@....journal`.
    let own = format!("user-{uid}");
    let has_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.split_once(['.', '@'])
            .is_some_and(|(of, _)| of == own || of == "system")
    };
    let files = dirs
        .iter()
        .flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
    let mut files = files.map(|entry| entry.path()).filter(has_it);
    (!files.any(readable)).then(|| {
        format!(
            "User {0} may not read the journal; run 'adduser {0} systemd-journal' as root and log in again",
            user::name()
        )
    })
}

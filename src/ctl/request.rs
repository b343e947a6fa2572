//! `gastownctl request`: asks for a cycle, restart or shutdown, as agents do.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use jiff::Timestamp;
use serde::Serialize;

use super::cli::{self, Action};
use super::{directory, say};
use crate::agent::Agent;
use crate::exit::Exit;
use crate::files;
use crate::spool::Spool;
use crate::systemd::Systemd;
use crate::town::Town;

/// The spool, below the town's root.
const SPOOL: &str = "daemon/lifecycle";

/// How long `--wait` waits: an agent's stop and start, and the sync of its worktree.
const WAIT_LIMIT: Duration = Duration::from_secs(300);

/// How often it looks.
const WAIT_POLL: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Request<'a> {
    from: &'a Agent,
    action: &'static str,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
}

/// Writes a request into the spool; the path unit has it executed.
///
/// # Errors
/// The agent is not known, or the request cannot be written; with `--wait`, it was refused.
pub fn run(args: &cli::Request) -> Result<Exit> {
    let town = Town::load()?;
    let systemd = Systemd::connect();
    let agent = match &args.agent {
        Some(name) => directory::find(&town, systemd.as_ref().ok(), name)?,
        None => directory::myself(&town)?,
    };
    let action = match args.action {
        Action::Cycle => "cycle",
        Action::Restart => "restart",
        Action::Shutdown => "shutdown",
    };
    if args.change.dry_run {
        say(&format!("Would request a {action} of {agent}"))?;
        return Ok(Exit::Ok);
    }
    let now = Timestamp::now();
    let request = Request {
        from: &agent,
        action,
        timestamp: now,
        reason: &args.reason,
    };
    let name = format!("{}-{}-{action}", now.as_nanosecond(), agent.instance());
    let spool = Spool::open(&town.path(SPOOL))?;
    let path = spool.put(&name, &request)?;
    if let Err(e) = systemd {
        log::warn!("{e:#}; the request waits until there is one");
    }
    if args.wait {
        wait(&spool, &path)?;
        say(&format!("The {action} of {agent} is done"))?;
    } else {
        say(&format!("Requested a {action} of {agent}"))?;
    }
    Ok(Exit::Ok)
}

/// Waits until the request has left the spool, and tells why if it was refused.
fn wait(spool: &Spool, path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or_default();
    let at = |state: &str| -> PathBuf { spool.dir(state).join(name) };
    let deadline = Instant::now() + WAIT_LIMIT;
    while at("new").exists() || at("cur").exists() {
        if Instant::now() >= deadline {
            return Err(anyhow!(
                "The request is not executed after {} s; see 'gastownctl logs' and 'systemctl --user status gt-lifecycle.service'",
                WAIT_LIMIT.as_secs()
            )
            .context(Exit::TryAgain));
        }
        std::thread::sleep(WAIT_POLL);
    }
    let mut reason = at("failed").into_os_string();
    reason.push(".reason");
    match files::read(Path::new(&reason))? {
        Some(reason) => bail!("The request was refused: {}", reason.trim()),
        None => Ok(()),
    }
}

//! `gastownctl request`: asks for a cycle, restart or shutdown, as agents do.

use std::time::Duration;

use anyhow::Result;

use super::cli::{self, Action};
use super::{directory, say};
use crate::exit::Exit;
use crate::lifecycle;
use crate::systemd::Systemd;
use crate::town::Town;

/// How long `--wait` waits: an agent's stop and start, and the sync of its worktree.
const WAIT_LIMIT: Duration = Duration::from_secs(300);

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
        Action::Cycle => lifecycle::Action::Cycle,
        Action::Restart => lifecycle::Action::Restart,
        Action::Shutdown => lifecycle::Action::Shutdown,
    };
    if args.change.dry_run {
        say(&format!("Would request a {action} of {agent}"))?;
        return Ok(Exit::Ok);
    }
    let path = lifecycle::submit(&town, &agent, action, &args.reason)?;
    if let Err(e) = systemd {
        log::warn!("{e:#}; the request waits until there is one");
    }
    if args.wait {
        lifecycle::wait(&town, &path, WAIT_LIMIT)?;
        say(&format!("The {action} of {agent} is done"))?;
    } else {
        say(&format!("Requested a {action} of {agent}"))?;
    }
    Ok(Exit::Ok)
}

//! `gastownctl request`: asks for a cycle, restart or shutdown, as agents do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::change::each;
use super::cli::{self, Action};
use super::directory;
use super::output::say;
use crate::agent::Agent;
use crate::exit::Exit;
use crate::lifecycle;
use crate::session::fit;
use crate::systemd::Systemd;
use crate::town::Town;

/// How long a cycle may take, in seconds: the sync of a worktree and the end of an agent.
const CYCLE_LIMIT: u64 = 300;

/// Writes a request into the spool, where a path unit sees it and has it executed.
///
/// # Errors
/// The agent is not known, or the request cannot be written; with `--wait`, it was refused, or is
/// not executed in time.
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
    let reason = args.reason.as_deref().unwrap_or_default();
    let path = lifecycle::submit(&town, &agent, action, reason)?;
    let systemd = systemd.as_ref().map_err(|e| format!("{e:#}"));
    if !args.wait {
        say(&format!("Requested a {action} of {agent}"))?;
        if let Some(why) = later(&systemd)? {
            say(&format!("It waits, for {why}"))?;
        }
        return Ok(Exit::Ok);
    }
    wait(&town, &systemd, &agent, action, &path, args.timeout)?;
    Ok(Exit::Ok)
}

/// Requests a cycle of each agent, and waits until all are executed.
///
/// # Errors
/// A request cannot be written, was refused, or is not executed in time.
pub fn cycle(town: &Town, systemd: &Systemd, agents: &[Agent], dry_run: bool) -> Result<Exit> {
    let action = lifecycle::Action::Cycle;
    let fits = |agent: &Agent| fit::check(town, agent).map_err(|e| anyhow!(fit::lost(agent, &e)));
    if dry_run {
        return each(agents, |agent| {
            fits(agent)?;
            say(&format!("Would cycle {agent}"))
        });
    }
    if systemd.town_is_stopped()? {
        bail!("The town is stopped; run 'gastownctl up' first");
    }
    let submit = |agent: &Agent| {
        fits(agent)?;
        lifecycle::submit(town, agent, action, "gastownctl cycle")
    };
    let requests: Vec<_> = agents.iter().map(|agent| (agent, submit(agent))).collect();
    each(&requests, |(agent, path)| {
        let path = path.as_ref().map_err(|e| anyhow!("{e:#}"))?;
        wait(town, &Ok(systemd), agent, action, path, CYCLE_LIMIT)
    })
}

/// Waits until a request is executed, at most `seconds`.
fn wait(
    town: &Town,
    systemd: &Result<&Systemd, String>,
    agent: &Agent,
    action: lifecycle::Action,
    path: &Path,
    seconds: u64,
) -> Result<()> {
    match later(systemd)? {
        Some(why) => log::warn!("Waiting at most {seconds} s, for {why}"),
        None => log::info!("Waiting at most {seconds} s for gt-lifecycle.service to execute it"),
    }
    if lifecycle::wait(town, path, Duration::from_secs(seconds))? {
        return say(&format!("The {action} of {agent} is done"));
    }
    let why = later(systemd)?.map_or_else(
        || "; see 'systemctl --user status gt-lifecycle.path gt-lifecycle.service'".into(),
        |why| format!(", for {why}"),
    );
    Err(
        anyhow!("The {action} of {agent} is not executed after {seconds} s{why}")
            .context(Exit::TryAgain),
    )
}

/// Why a request is executed only later; `None`: it is executed at once.
fn later(systemd: &Result<&Systemd, String>) -> Result<Option<String>> {
    Ok(match systemd {
        Ok(systemd) if systemd.town_is_up()? => None,
        Ok(_) => Some("the town is stopped; 'gastownctl up' starts it".into()),
        Err(e) => Some(e.replacen("The", "the", 1)),
    })
}

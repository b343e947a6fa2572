//! `gastownctl request`: asks for a cycle, restart or shutdown, as agents do.

use std::time::Duration;

use anyhow::{Result, anyhow};

use super::cli::{self, Action};
use super::directory;
use super::output::say;
use crate::exit::Exit;
use crate::lifecycle;
use crate::systemd::Systemd;
use crate::town::Town;

/// Writes a request into the spool; the path unit has it executed.
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
    let later = later(&systemd)?;
    if !args.wait {
        say(&format!("Requested a {action} of {agent}"))?;
        if let Some(why) = later {
            say(&format!("It waits, for {why}"))?;
        }
        return Ok(Exit::Ok);
    }
    let seconds = args.timeout;
    match later {
        Some(why) => log::warn!("Waiting at most {seconds} s, for {why}"),
        None => log::info!("Waiting at most {seconds} s for gt-lifecycle.service to execute it"),
    }
    if lifecycle::wait(&town, &path, Duration::from_secs(seconds))? {
        say(&format!("The {action} of {agent} is done"))?;
        return Ok(Exit::Ok);
    }
    let why = self::later(&systemd)?.map_or_else(
        || "; see 'systemctl --user status gt-lifecycle.path gt-lifecycle.service'".into(),
        |why| format!(", for {why}"),
    );
    Err(
        anyhow!("The {action} of {agent} is not executed after {seconds} s{why}")
            .context(Exit::TryAgain),
    )
}

/// Why a request is executed only later; `None`: it is executed at once.
fn later(systemd: &Result<Systemd>) -> Result<Option<String>> {
    Ok(match systemd {
        Ok(systemd) if systemd.town_is_up()? => None,
        Ok(_) => Some("the town is stopped; 'gastownctl up' starts it".into()),
        Err(e) => Some(format!("there is no user manager: {e:#}")),
    })
}

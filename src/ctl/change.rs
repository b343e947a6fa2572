//! What the commands that change something have in common.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use jiff::Timestamp;

use crate::agent::Agent;
use crate::exit::Exit;
use crate::systemd::{Job, Systemd, Verb};

/// Does something for each item, all of them even when one fails; the last failure is the
/// result, those before it are reported at once.
pub fn each<T>(items: &[T], mut act: impl FnMut(&T) -> Result<()>) -> Result<Exit> {
    let mut failed: Option<anyhow::Error> = None;
    for item in items {
        if let Err(e) = act(item)
            && let Some(before) = failed.replace(e)
        {
            log::error!("{before:#}");
        }
    }
    failed.map_or(Ok(Exit::Ok), Err)
}

/// Waits until an agent has stopped, at most `limit`.
///
/// # Errors
/// The stop was not queued, was not done in time, or was cancelled by somebody's start.
pub fn stopped(
    systemd: &Systemd,
    agent: &Agent,
    stop: &Result<Job>,
    limit: Duration,
) -> Result<()> {
    let job = stop.as_ref().map_err(|e| anyhow!("{e:#}"))?;
    let Some(result) = systemd.wait(job, limit)? else {
        bail!("{agent} has not stopped yet; see 'gastownctl status {agent}'");
    };
    let unit = agent.unit();
    if result == "canceled" && systemd.units(&[&unit])?.values().any(|u| !u.is_down()) {
        bail!("{agent} runs, for somebody started it meanwhile; run 'gastownctl stop {agent}'");
    }
    Ok(())
}

/// The time for marks that people read: whole seconds.
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now)
}

/// Has a tick look at what was just changed, if there is a manager and the town is up.
pub fn tick() {
    if let Ok(systemd) = Systemd::connect()
        && matches!(systemd.town_is_up(), Ok(true))
        && let Err(e) = systemd.queue(Verb::Start, "gt-heartbeat.service")
    {
        log::warn!("{e:#}, the next planned tick will see the change");
    }
}

//! `gastownctl up` and `down`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::output::say;
use super::{cli, status, words};
use crate::exit::Exit;
use crate::heartbeat::observed::KEPT_UNITS;
use crate::session::server;
use crate::systemd::{Systemd, TARGET, Unit, Verb};
use crate::town::{Town, left, marks};

/// How long the stop of the town may take: that of its agents, and after it that of the server.
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// How long, after that, what was about to start may take to be refused.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// How often that is looked at.
const SETTLE_POLL: Duration = Duration::from_millis(50);

/// How long its start may take; it does not wait for the agents.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Starts the town.
///
/// # Errors
/// There is no town, or one of its units does not start.
pub fn up(args: cli::Change) -> Result<Exit> {
    let town = Town::load()?;
    let systemd = Systemd::connect()?;
    if args.dry_run {
        say("Would start the town")?;
        return Ok(Exit::Ok);
    }
    // A unit that failed earlier would stay down although the target starts.
    for unit in KEPT_UNITS {
        systemd.reset_failed(unit)?;
    }
    await_stop(&systemd)?;
    systemd.run(Verb::Start, TARGET, START_LIMIT)?;
    for unit in KEPT_UNITS {
        let after = systemd.run(Verb::Start, unit, START_LIMIT)?;
        if after.text("ActiveState").as_deref() != Some("active") {
            bail!("{unit} does not start; see 'journalctl --user -u {unit}'");
        }
    }
    let forgot = left::forget_closed(&town);
    // Where the target was up already, nothing else would start agents that are down or failed.
    for unit in systemd.units(&[crate::agent::UNITS])?.into_values() {
        if unit.active == "failed" {
            systemd.reset_failed(&unit.name)?;
        }
    }
    systemd.queue(Verb::Start, "gt-heartbeat.service")?;
    forgot.context("The town is up, but agents whose sessions were closed may stay down")?;
    match marks::estop(&town, None) {
        Ok(None) => say("The town is up, its agents are being started; see 'gastownctl status'")?,
        Ok(Some(note)) => say(&format!(
            "The town is up under an emergency stop{note}: no agent starts before 'gastownctl thaw'"
        ))?,
        Err(e) => log::warn!("The town is up; {}", marks::unknown(&e)),
    }
    let enabled = systemd.unit_file_state(TARGET)?.as_deref() == Some("enabled");
    for problem in status::short_lived(Some(enabled)) {
        log::warn!("{problem}");
    }
    Ok(Exit::Ok)
}

/// Waits until a stop of the town that is under way is done: no start may replace it.
fn await_stop(systemd: &Systemd) -> Result<()> {
    let deadline = Instant::now() + STOP_LIMIT;
    let mut told = false;
    while systemd.is_stopping(TARGET)? {
        if Instant::now() >= deadline {
            let why = "The town is being stopped, which is not done yet";
            return Err(anyhow!("{why}; run 'gastownctl up' again later").context(Exit::TryAgain));
        }
        if !told {
            log::info!("The town is being stopped; waiting for that");
        }
        told = true;
        std::thread::sleep(SETTLE_POLL);
    }
    Ok(())
}

/// Stops the town, so that no start meanwhile undoes it, and checks whether any process is left.
///
/// # Errors
/// Something is left of it, which the error names.
pub fn down(args: cli::Change) -> Result<Exit> {
    let systemd = Systemd::connect()?;
    let agents = systemd.units(&[crate::agent::UNITS])?;
    let running = agents
        .values()
        .filter(|unit| unit.active == "active")
        .count();
    if args.dry_run {
        say(&format!(
            "Would stop the town with its {}",
            words::counted(running, "running agent")
        ))?;
        return Ok(Exit::Ok);
    }
    if running == 0 && !systemd.town_is_up()? {
        // Where nothing is up, this may be another user's manager than the town's.
        Town::load()?;
    }
    let is_in = |states: &[&str]| -> Result<bool> {
        let units = systemd.units(&["gt-town.service"])?;
        Ok(units.values().any(|unit| states.contains(&&*unit.active)))
    };
    // What has failed at its start, or was never started, is not stopped.
    let has_begun = is_in(&["active", "deactivating"])?;
    systemd.run(Verb::StopForGood, TARGET, STOP_LIMIT)?;
    // An agent that somebody starts meanwhile is refused in a moment.
    let deadline = Instant::now() + SETTLE_LIMIT;
    let agents = loop {
        let agents = systemd.units(&[crate::agent::UNITS])?;
        if systemd.town_is_up()? {
            bail!("Somebody has started the town again; run 'gastownctl down' to stop it");
        }
        if agents.values().all(Unit::is_down) || Instant::now() >= deadline {
            break agents;
        }
        std::thread::sleep(SETTLE_POLL);
    };
    // The manager gives up on a process that not even SIGKILL ends.
    let mut left = Vec::new();
    for unit in agents.keys() {
        let processes = systemd.processes(unit)?.into_iter();
        left.extend(processes.map(|(pid, command)| format!("{pid} ({command}) of {unit}")));
    }
    if let Some(first) = left.first() {
        bail!(
            "{} processes of the town's agents do not end; the first is {first}",
            left.len()
        );
    }
    if !has_begun {
        server::town_stop().context("The town's agents are down, but not all else of it")?;
    } else if is_in(&["failed"])? {
        bail!(
            "The town's agents are down, but not all that its stop does was done, such as the end of its \
             tmux server; 'journalctl --user -u gt-town.service -n 20' says why"
        );
    }
    say("The town is down; 'gastownctl up' starts it again")?;
    let servers = systemd.units(&["gt-tmux.service"])?;
    if servers.values().any(|unit| unit.active == "active") {
        say("Its tmux server stays, for sessions that are not the town's")?;
    }
    Ok(Exit::Ok)
}

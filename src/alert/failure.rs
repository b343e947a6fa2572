//! What the manager says: a unit failed, or there is something to tell.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::sys::signal::Signal;

use super::deliver::deliver;
use super::store::{self, all, begin, begin_in, dirs};
use super::try_again;
use crate::agent::{Agent, Role, UNITS};
use crate::exit::Exit;
use crate::files;
use crate::heartbeat::JOB;
use crate::heartbeat::observe::OWN_UNIT;
use crate::heartbeat::observed::KEPT_UNITS;
use crate::job;
use crate::session::run::why_failed;
use crate::systemd::{Systemd, runtime_dir};
use crate::town::env_file::{home, locate};
use crate::town::{Town, poke};

/// How long a tick may take to end before it is not waited for.
const TICK_ENDS: Duration = Duration::from_secs(10);

/// The key of the condition that there is no town: the one that cannot be kept in the town.
const NO_TOWN: &str = "town";

/// Given to [`handle`] in the place of a unit: no unit has failed, only deliver what is due.
pub const DELIVER: &str = "deliver";

/// `gt-heartbeat --alert UNIT`: a unit failed. No alert about one that the manager
/// starts again after every failure, unless it has given that up.
///
/// # Errors
/// There is no town or no manager, or the conditions cannot be read or written.
pub fn handle(unit: &str) -> Result<Exit> {
    let town = match Town::load() {
        Ok(town) => town,
        Err(e) => return without_town(&e),
    };
    let mut gave_up_now = false;
    let mut is_missed = false;
    if unit != DELIVER {
        let systemd = Systemd::connect()?;
        let properties = systemd.properties(unit)?;
        let state = properties.text("ActiveState").unwrap_or_default();
        // A path unit may have started the job again by now, so its state says nothing of the failure,
        // which systemd describes in our environment.
        let runs = matches!(state.as_str(), "activating" | "active");
        let restart = properties.text("Restart").unwrap_or_default();
        let is_restarted = matches!(restart.as_str(), "always" | "on-failure");
        let last_result = match runs && !is_restarted {
            true => std::env::var("MONITOR_SERVICE_RESULT").ok(),
            false => None,
        };
        if state == "failed" || last_result.is_some() {
            let status = match &last_result {
                None => properties.int("ExecMainStatus"),
                Some(_) => std::env::var("MONITOR_EXIT_STATUS")
                    .ok()
                    .and_then(|status| status_of(&status)),
            };
            let status = status.unwrap_or_default();
            let result = last_result.or_else(|| properties.text("Result"));
            let result = result.unwrap_or_default();
            let (mut summary, agent) = match Agent::from_unit(unit) {
                Ok(agent) => {
                    gave_up_now = true;
                    let said = properties.text("StatusText").unwrap_or_default();
                    let why = why_failed(&said, status);
                    let why = why.unwrap_or_else(|| end(&result, status));
                    (gave_up(&agent, &why), agent.to_string())
                }
                Err(_) => {
                    let why = job::trouble(&properties);
                    let why = why.unwrap_or_else(|| end(&result, status));
                    (failed(unit, &why), String::new())
                }
            };
            let status = status.to_string();
            let mut fields = vec![
                ("GT_UNIT", unit),
                ("GT_RESULT", &result),
                ("GT_STATUS", &status),
            ];
            if !agent.is_empty() {
                fields.push(("GT_AGENT", &agent));
            }
            let mut key = unit_key(unit);
            if let Some((rig, count)) = storm_of(&systemd, unit)? {
                key = storm_key(&rig);
                summary = storm(&rig, count);
            }
            let has_begun = begin_in(&dirs(&town), &key, &summary, &fields, Timestamp::now())?;
            is_missed = unit == OWN_UNIT || (has_begun && KEPT_UNITS.contains(&unit));
        }
    }
    // Before anything is delivered: a person's program that hangs may use up our time.
    let armed = match is_missed {
        true => arm_tick(&town, unit),
        false => Ok(()),
    };
    if is_homeless() {
        let over = format!("The town is at '{}' again", town.root().display());
        store::end(&homeless()?, NO_TOWN, &over, Timestamp::now())?;
        tell(&[homeless()?], town.root(), None)?;
    }
    // An alert that cannot be written does not keep the others from being delivered.
    let told = tell(&dirs(&town), town.root(), Some(&town));
    if gave_up_now {
        // A tick plans when the agent is tried again.
        poke::heartbeat(town.root());
    }
    armed.and(told).map(|()| Exit::Ok)
}

/// Has a tick start again what failed; not at once after the last tick, for the cause may last. A tick
/// that is under way would replace our timer by its own, so we wait for its end. A tick that failed
/// has armed the next one itself, unless it was killed before.
fn arm_tick(town: &Town, unit: &str) -> Result<()> {
    let _tick = files::lock_to_read(&town.path(JOB.lock), TICK_ENDS)?;
    match unit == OWN_UNIT && job::is_armed(&JOB, &Systemd::connect()?)? {
        true => Ok(()),
        false => job::arm_for_failure(&JOB),
    }
}

/// Tells all that is due, and sees to it that what could not be told is tried again.
fn tell(dirs: &[PathBuf], root: &Path, town: Option<&Town>) -> Result<()> {
    let dirs_of_some = dirs.iter().filter(|dir| !all(dir).is_empty());
    let told: Vec<Result<()>> = dirs_of_some.map(|dir| deliver(dir, root, town)).collect();
    if let Err(e) = try_again(dirs) {
        log::warn!("{e:#}, so alerts that could not be told wait for the next tick");
    }
    told.into_iter().collect()
}

/// Without a town no agent is looked after, so the failure of any unit is this one condition. It
/// is written into the user's runtime directory.
fn without_town(why: &anyhow::Error) -> Result<Exit> {
    // The broken file may be the one that says where the town is.
    let root = locate().map_or_else(|_| home(), |at| Ok(at.root))?;
    let has_begun = begin(
        &homeless()?,
        NO_TOWN,
        &format!("{why:#}"),
        &[],
        Timestamp::now(),
    )?;
    // Agents that end meanwhile give up, and the tick that was planned may be an hour away.
    let armed = match has_begun {
        true => job::arm_for_failure(&JOB),
        false => Ok(()),
    };
    let told = tell(&[homeless()?], &root, None);
    armed.and(told).map(|()| Exit::Ok)
}

/// Whether somebody is still to be told that there is a town again.
pub fn is_homeless() -> bool {
    homeless().is_ok_and(|dir| !all(&dir).is_empty())
}

fn homeless() -> Result<PathBuf> {
    let dir = runtime_dir().context("No runtime directory; is this a user service?")?;
    Ok(dir.join("gastown/alerts"))
}

/// When this many polecats of one rig have given up, that is one condition of the rig: polecats
/// with new names would fail too.
pub const STORM: usize = 5;

/// The rig of a polecat's unit and how many of its polecats gave up, if these are a storm.
fn storm_of(systemd: &Systemd, unit: &str) -> Result<Option<(String, usize)>> {
    let agent = Agent::from_unit(unit)
        .ok()
        .filter(|agent| agent.role() == Role::Polecat);
    let Some(rig) = agent.as_ref().and_then(Agent::rig) else {
        return Ok(None);
    };
    let count = gave_up_in(systemd, rig)?;
    Ok((count >= STORM).then(|| (rig.to_string(), count)))
}

/// How many polecats of a rig gave up.
///
/// # Errors
/// The manager does not answer.
pub fn gave_up_in(systemd: &Systemd, rig: &str) -> Result<usize> {
    let units = systemd.units(&[UNITS])?;
    let failed = units.values().filter(|unit| unit.active == "failed");
    let agents = failed.filter_map(|unit| Agent::from_unit(&unit.name).ok());
    Ok(agents
        .filter(|agent| agent.role() == Role::Polecat && agent.rig() == Some(rig))
        .count())
}

/// The key of the condition that the polecats of a rig give up one after the other.
pub fn storm_key(rig: &str) -> String {
    format!("polecats-{rig}")
}

/// What is said of that condition.
pub fn storm(rig: &str, count: usize) -> String {
    format!(
        "{count} polecats of {rig} gave up, so no more of them are started; see 'gastownctl history', \
         mend the cause, then run 'gastownctl recover'"
    )
}

/// The key of the condition that a unit has failed.
pub fn unit_key(unit: &str) -> String {
    format!("unit-{unit}")
}

/// What is said of an agent that runs twice: in its unit and in this place.
pub fn twice(agent: &Agent, place: &str) -> String {
    format!("{agent} runs in {place}, beside the one in its unit")
}

/// What is said of an agent that gave up.
pub fn gave_up(agent: &Agent, why: &str) -> String {
    format!(
        "{agent} gave up: {why}; see 'gastownctl logs {agent}', then run 'gastownctl recover {agent}'"
    )
}

/// What is said of an agent, or a unit of ours, that the manager does not start.
pub fn cannot_start(what: impl fmt::Display, why: &str) -> String {
    format!("{what} cannot be started: {why}")
}

/// What is said of a unit of ours that failed.
pub fn failed(unit: &str, why: &str) -> String {
    format!("{unit} failed: {why}; see 'journalctl --user -u {unit}'")
}

/// An exit status as systemd gives it in the environment: a number, or the name of a signal, as `KILL`.
fn status_of(text: &str) -> Option<i32> {
    let signal = || format!("SIG{text}").parse::<Signal>();
    text.parse().ok().or_else(|| Some(signal().ok()? as i32))
}

/// How a unit's main process ended, in words. If a signal ended it, `status` is the signal's number.
pub fn end(result: &str, status: i32) -> String {
    match result {
        _ if status == i32::from(Exit::BadConfig as u8) => "its configuration is wrong".into(),
        "signal" | "core-dump" => format!("{result} {status}"),
        "oom-kill" => "out of memory".into(),
        _ => format!("{result}, exit status {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_told_by_its_number() {
        for (text, want) in [("KILL", Some(9)), ("3", Some(3)), ("", None), ("x", None)] {
            assert_eq!(status_of(text), want, "{text}");
        }
    }
}

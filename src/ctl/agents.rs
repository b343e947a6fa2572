//! `gastownctl start`, `stop`, `restart` and `recover`.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::status::last_end;
use super::{cli, directory, each, now, say};
use crate::agent::Agent;
use crate::alert;
use crate::exit::Exit;
use crate::systemd::{Properties, Systemd, Verb};
use crate::town::{Town, marks};

/// How long a job may take: the unit's own limits for stop and start, and a reserve.
const JOB_LIMIT: Duration = Duration::from_secs(120);

/// What is said where nobody can be started.
const STOPPED: &str = "The town is stopped; run 'gastownctl up' first";

/// Starts agents and lifts their hold; waits until each runs.
///
/// # Errors
/// An agent is not known or does not run; the error says why.
pub fn start(args: &cli::Agents) -> Result<Exit> {
    let (town, systemd) = (Town::load()?, Systemd::connect()?);
    let agents = directory::find_all(&town, Some(&systemd), &args.agents)?;
    each(&agents, |agent| {
        bring_up(&town, &systemd, agent, Verb::Start, args.change.dry_run)
    })
}

/// Restarts agents and lifts their hold; waits until each runs.
///
/// # Errors
/// As [`start`].
pub fn restart(args: &cli::Agents) -> Result<Exit> {
    let (town, systemd) = (Town::load()?, Systemd::connect()?);
    let agents = directory::find_all(&town, Some(&systemd), &args.agents)?;
    each(&agents, |agent| {
        bring_up(&town, &systemd, agent, Verb::Restart, args.change.dry_run)
    })
}

/// Stops agents and holds them; waits until nothing of them is left.
///
/// # Errors
/// An agent is not known, or its hold or its stop fails.
pub fn stop(args: &cli::Agents) -> Result<Exit> {
    let (town, systemd) = (Town::load()?, Systemd::connect()?);
    let agents = directory::find_all(&town, Some(&systemd), &args.agents)?;
    each(&agents, |agent| {
        let runs = is_up(&systemd, agent)?;
        if args.change.dry_run {
            let would = if runs { "stop and hold" } else { "hold" };
            return say(&format!("Would {would} {agent}"));
        }
        if marks::held(&town, agent).is_none() {
            marks::hold(&town, agent, "gastownctl stop", now())?;
        }
        systemd.run(Verb::Stop, &agent.unit(), JOB_LIMIT)?;
        let done = if runs { "Stopped" } else { "Holding" };
        say(&format!(
            "{done} {agent}; it stays down until 'gastownctl start {agent}'"
        ))
    })
}

/// Starts the given agents, or all that failed, after forgetting their failures.
///
/// # Errors
/// An agent is not known or does not run; the error says why.
pub fn recover(args: &cli::Recover) -> Result<Exit> {
    let (town, systemd) = (Town::load()?, Systemd::connect()?);
    let agents = if args.agents.is_empty() {
        failed(&systemd)?
    } else {
        directory::find_all(&town, Some(&systemd), &args.agents)?
    };
    if agents.is_empty() {
        say("No agent has failed")?;
    }
    each(&agents, |agent| {
        bring_up(&town, &systemd, agent, Verb::Start, args.change.dry_run)
    })
}

/// The agents that gave up.
fn failed(systemd: &Systemd) -> Result<Vec<Agent>> {
    let units = systemd.units(&["gt-agent@*.service"])?;
    let failed = units.values().filter(|unit| unit.active == "failed");
    Ok(failed
        .filter_map(|unit| Agent::from_unit(&unit.name).ok())
        .collect())
}

fn is_up(systemd: &Systemd, agent: &Agent) -> Result<bool> {
    let unit = agent.unit();
    let units = systemd.units(&[&unit])?;
    Ok(units
        .get(&unit)
        .is_some_and(|u| !matches!(u.active.as_str(), "inactive" | "failed")))
}

/// Starts or restarts one agent; a hold is lifted, other marks are respected.
fn bring_up(
    town: &Town,
    systemd: &Systemd,
    agent: &Agent,
    verb: Verb,
    dry_run: bool,
) -> Result<()> {
    let unit = agent.unit();
    if systemd.town_is_stopped()? {
        bail!(STOPPED);
    }
    if dry_run {
        let hold = match marks::held(town, agent) {
            Some(_) => "lift the hold of and ",
            None => "",
        };
        let word = match verb {
            Verb::Restart => "restart",
            _ => "start",
        };
        return say(&format!("Would {hold}{word} {agent}"));
    }
    let before = systemd.units(&[&unit])?;
    marks::release(town, agent)?;
    if let Some(refusal) = marks::refusal(town, agent) {
        bail!("{agent} is not started: {refusal}");
    }
    let well = || {
        alert::clear(
            town,
            &alert::unit_key(&unit),
            &format!("{agent} runs again"),
        )
    };
    let runs = before.get(&unit).is_some_and(|u| u.active == "active");
    if runs && verb == Verb::Start {
        well()?;
        return say(&format!("{agent} runs already"));
    }
    systemd.reset_failed(&unit)?;
    let after = systemd.run(verb, &unit, JOB_LIMIT)?;
    if after.text("ActiveState").as_deref() != Some("active") {
        return Err(why_not(town, systemd, agent, &after)?);
    }
    well()?;
    let done = if runs { "Restarted" } else { "Started" };
    let status = after.text("StatusText").filter(|said| !said.is_empty());
    let detail = status.map_or_else(String::new, |said| format!(" ({said})"));
    say(&format!("{done} {agent}{detail}"))
}

/// Why an agent does not run after it was started. Somebody may have stopped it meanwhile.
fn why_not(
    town: &Town,
    systemd: &Systemd,
    agent: &Agent,
    properties: &Properties,
) -> Result<anyhow::Error> {
    if systemd.town_is_stopped()? {
        return Ok(anyhow!("{STOPPED}"));
    }
    Ok(match marks::refusal(town, agent) {
        Some(refusal) => anyhow!("{agent} is not started: {refusal}"),
        None => anyhow!(
            "{agent} did not start: {}; see 'gastownctl logs {agent}'",
            last_end(properties)
        ),
    })
}

//! `gastownctl park` and `unpark`.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::change::{each, stopped, tick};
use super::output::say;
use super::{cli, directory};
use crate::agent::{Agent, Role};
use crate::exit::Exit;
use crate::systemd::{Systemd, Verb};
use crate::town::marks::{self, Mark};
use crate::town::{Town, wisp};

/// How long one agent's stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Parks a rig and stops its Witness and its Refinery; from then on every start of one of its
/// agents is refused. Crew and polecats that run go on, as with `gt`.
///
/// # Errors
/// The rig is not known, the mark cannot be written, or an agent cannot be stopped.
pub fn park(args: &cli::Rig) -> Result<Exit> {
    let (town, systemd) = (Town::load()?, Systemd::connect()?);
    let rig = directory::rig(&town, &args.rig)?;
    if wisp::load(&town, rig).is_ok_and(|found| found.status.as_deref() == Some("docked")) {
        bail!(
            "{rig} is docked, which keeps its agents down as well; 'gt rig undock {rig}' ends that"
        );
    }
    let (workers, running): (Vec<_>, Vec<_>) = running(&systemd, rig)?
        .into_iter()
        .partition(|agent| agent.role().is_worker());
    if args.change.dry_run {
        say(&format!("Would park {rig}"))?;
        for agent in &workers {
            say(&format!("Would leave {agent} at work"))?;
        }
        return each(&running, |agent| say(&format!("Would stop {agent}")));
    }
    let marked = wisp::set_status(&town, rig, Some("parked"));
    let mut jobs = Vec::new();
    for agent in &running {
        jobs.push((agent, systemd.queue_awaited(Verb::Stop, &agent.unit())));
    }
    match marked {
        Ok(true) => say(&format!(
            "Parked {rig}; 'gastownctl unpark {rig}' lets it run again"
        ))?,
        Ok(false) => say(&format!("{rig} was parked already"))?,
        Err(_) => {}
    }
    for agent in &workers {
        say(&format!(
            "Left {agent} at work; 'gastownctl stop {agent}' stops it"
        ))?;
    }
    let exit = each(&jobs, |(agent, job)| {
        stopped(&systemd, agent, job, STOP_LIMIT)?;
        say(&format!("Stopped {agent}"))
    });
    marked.with_context(|| {
        format!(
            "{rig} is not parked: its agents were stopped and will be started again, since the \
             mark is not written; mend that and run 'gastownctl park {rig}' again"
        )
    })?;
    exit
}

/// Lets a rig's agents run again; the next tick, which is started, starts them.
///
/// # Errors
/// The rig is not known, or the mark cannot be written.
pub fn unpark(args: &cli::Rig) -> Result<Exit> {
    let town = Town::load()?;
    let rig = directory::rig(&town, &args.rig)?;
    let status = wisp::load(&town, rig)?.status;
    match status.as_deref() {
        Some("parked") if args.change.dry_run => say(&format!("Would unpark {rig}"))?,
        Some("parked") => {
            wisp::set_status(&town, rig, None)?;
            tick();
            say(&match still_down(&town, rig) {
                Some(why) => format!("Unparked {rig}, whose agents stay down: {why}"),
                None => format!("Unparked {rig}; its agents start with the next tick"),
            })?;
        }
        Some("docked") => {
            bail!("{rig} is docked, not parked; run 'gt rig undock {rig}'")
        }
        _ => match still_down(&town, rig) {
            Some(why) => bail!("{rig} was not parked by 'gastownctl', and stays down: {why}"),
            None => say(&format!("{rig} was not parked"))?,
        },
    }
    Ok(Exit::Ok)
}

/// Why the rig's agents do not start, parked or not.
fn still_down(town: &Town, rig: &str) -> Option<String> {
    let stopped = Systemd::connect().and_then(|systemd| systemd.town_is_up());
    if let Ok(false) = stopped {
        return Some("the town is stopped; 'gastownctl up' starts it".into());
    }
    let witness = Agent::new(Role::Witness, Some(rig), None).ok()?;
    marks::refusal(town, &witness)
        .filter(|refusal| refusal.mark != Mark::Held)
        .map(|refusal| refusal.to_string())
}

/// The rig's agents that are not down.
fn running(systemd: &Systemd, rig: &str) -> Result<Vec<Agent>> {
    let units = systemd.units(&["gt-agent@*.service"])?;
    Ok(units
        .values()
        .filter(|unit| !unit.is_down())
        .filter_map(|unit| Agent::from_unit(&unit.name).ok())
        .filter(|agent| agent.rig() == Some(rig))
        .collect())
}

//! `gastownctl estop` and `thaw`.

use anyhow::{Result, bail};

use super::change::{each, now, tick};
use super::cli;
use super::output::say;
use super::status::frozen_for_good;
use crate::agent::{Agent, Role};
use crate::exit::Exit;
use crate::systemd::{Systemd, Unit, Verb};
use crate::town::{Town, marks};

const AGENTS: &[&str] = &["gt-agent@*.service"];

/// Sets the emergency stop, then freezes every agent that runs, or stops it where the kernel
/// has no unified cgroups. The mark comes first: nothing starts any more, whatever fails after.
///
/// # Errors
/// The mark cannot be written, or an agent can be neither frozen nor stopped.
pub fn estop(args: &cli::Mark) -> Result<Exit> {
    let town = Town::load()?;
    if args.change.dry_run {
        say("Would set the emergency stop")?;
    } else if marks::estop(&town, None).is_some() {
        say("The emergency stop was set already")?;
    } else {
        marks::set_estop(
            &town,
            None,
            args.reason.as_deref().unwrap_or_default(),
            now(),
        )?;
        say("Set the emergency stop; 'gastownctl thaw' ends it")?;
    }
    let systemd = Systemd::connect()?;
    let wanted = town.roster().unwrap_or_default();
    let wanted: Vec<String> = wanted.iter().map(Agent::to_string).collect();
    each(&running(&systemd)?, |unit| {
        let name = &unit.name;
        if args.change.dry_run {
            return say(&format!("Would freeze or stop {}", agent_of(unit)));
        }
        // A unit that is not settled cannot be frozen, and must not come up either.
        let frozen = unit.active == "active" && is_unified() && systemd.freeze(name).is_ok();
        if !frozen {
            systemd.queue(Verb::Stop, name)?;
        }
        let agent = agent_of(unit);
        say(&match () {
            () if frozen => format!("Froze {agent}"),
            () if wanted.contains(&agent) || is_polecat(unit) => format!("Stopping {agent}"),
            () => format!(
                "Stopping {agent}, which is on no patrol: 'gastownctl start {agent}' after 'thaw'"
            ),
        })
    })
}

/// Ends the emergency stop, and lets go on what was frozen; the next tick, which is started,
/// starts what was stopped.
///
/// # Errors
/// The mark cannot be removed, or an agent cannot be thawed.
pub fn thaw(args: cli::Change) -> Result<Exit> {
    let town = Town::load()?;
    if args.dry_run {
        say("Would end the emergency stop")?;
    } else if marks::clear_estop(&town, None)? {
        say(
            "Ended the emergency stop; what it stopped and is on a patrol starts with the next tick",
        )?;
    } else {
        say("There was no emergency stop")?;
    }
    let systemd = Systemd::connect()?;
    let units: Vec<Unit> = systemd.units(AGENTS)?.into_values().collect();
    let exit = each(&units, |unit| {
        let state = systemd.properties(&unit.name)?.text("FreezerState");
        if state.is_none_or(|state| state == "running") {
            return Ok(());
        }
        if args.dry_run {
            return say(&format!("Would thaw {}", agent_of(unit)));
        }
        if unit.active != "active" {
            bail!("{} was {}", agent_of(unit), frozen_for_good());
        }
        systemd.thaw(&unit.name)?;
        say(&format!("Thawed {}", agent_of(unit)))
    });
    if !args.dry_run {
        tick();
    }
    exit
}

fn running(systemd: &Systemd) -> Result<Vec<Unit>> {
    let units = systemd.units(AGENTS)?;
    Ok(units.into_values().filter(|unit| !unit.is_down()).collect())
}

fn agent_of(unit: &Unit) -> String {
    Agent::from_unit(&unit.name).map_or_else(|_| unit.name.clone(), |agent| agent.to_string())
}

/// One that is stopped in its work comes back by itself.
fn is_polecat(unit: &Unit) -> bool {
    Agent::from_unit(&unit.name).is_ok_and(|agent| agent.role() == Role::Polecat)
}

/// Whether the kernel has one cgroup hierarchy, which alone can freeze. Elsewhere systemd may
/// say yes and do nothing.
fn is_unified() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

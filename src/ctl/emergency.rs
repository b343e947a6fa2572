//! `gastownctl estop` and `thaw`.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, bail};

use super::change::{each, now, tick};
use super::output::say;
use super::status::frozen_for_good;
use super::{cli, directory};
use crate::agent::{Agent, Role};
use crate::exit::Exit;
use crate::session::{scopes, whose};
use crate::systemd::{Systemd, Unit, Verb};
use crate::tmux::{Index, Tmux};
use crate::town::{Town, marks};

const AGENTS: &[&str] = &["gt-agent@*.service"];

/// Stops every agent, or those of one rig: freezes those that run, where the kernel can, writes
/// the mark, then freezes or stops the rest. The freezing comes first, because the mark starts a
/// tick, which stops every agent that is not frozen by then. Once the mark exists, no agent starts.
///
/// # Errors
/// An agent can be neither frozen nor stopped; or the mark cannot be written, so that stopped
/// agents will be started again.
pub fn estop(args: &cli::Estop) -> Result<Exit> {
    // The agents are frozen or stopped even where the town cannot be read.
    let town = Town::load();
    let rig = match (&town, args.rig.as_deref()) {
        (Ok(town), Some(rig)) => Some(directory::rig(town, rig)?),
        (_, rig) => rig,
    };
    let systemd = Systemd::connect();
    let dry_run = args.change.dry_run;
    let mut frozen = BTreeSet::new();
    if let Ok(systemd) = &systemd
        && !dry_run
        && is_unified()
    {
        // A manager that does not answer is told below, after the mark is set.
        for unit in running(systemd, rig).unwrap_or_default() {
            if systemd.freeze(&unit.name).is_ok() {
                say(&format!("Froze {}", agent_of(&unit)))?;
                frozen.insert(unit.name);
            }
        }
    }
    let marked = mark(&town, rig, args);
    let systemd = systemd?;
    let wanted = town.as_ref().ok().and_then(|town| town.roster().ok());
    let is_wanted = |unit: &Unit| {
        let agent = Agent::from_unit(&unit.name).ok();
        agent.is_none_or(|agent| wanted.as_ref().is_none_or(|wanted| wanted.contains(&agent)))
    };
    let mut left = running(&systemd, rig)?;
    left.retain(|unit| !frozen.contains(&unit.name));
    let stopped = each(&left, |unit| {
        let agent = agent_of(unit);
        if dry_run {
            return say(&format!("Would freeze or stop {agent}"));
        }
        // A unit that is just starting cannot be frozen. It is stopped, so that it does not come up.
        if unit.active == "active" && is_unified() && systemd.freeze(&unit.name).is_ok() {
            return say(&format!("Froze {agent}"));
        }
        systemd.queue(Verb::Stop, &unit.name)?;
        say(&match is_wanted(unit) || is_polecat(unit) {
            true => format!("Stopping {agent}"),
            false => format!(
                "Stopping {agent}, which is on no patrol: 'gastownctl start {agent}' after 'thaw'"
            ),
        })
    });
    if let Ok(town) = &town
        && let Ok(panes) = Tmux::on(town.socket()).panes()
    {
        // What they run beside their units.
        let scopes = scopes::all(&systemd).unwrap_or_default();
        for (agent, scope) in scopes::of_agents(&scopes, &panes) {
            if frozen.contains(&agent.unit()) && systemd.freeze(&scope.name).is_ok() {
                say(&format!("Froze {} of {agent}", scope.name))?;
            }
        }
        // Crew that people have started in sessions of their own.
        let panes = Index::of(&panes);
        for agent in town.workers() {
            let unit = agent.unit();
            if (rig.is_none() || agent.rig() == rig)
                && !frozen.contains(&unit)
                && !left.iter().any(|stopped| stopped.name == unit)
                && let Some(place) = whose::outside(town, &panes, &agent)
            {
                log::warn!("{agent} goes on, for it runs outside of its unit, in {place}");
            }
        }
    }
    marked.context(
        "The emergency stop will not hold, since its mark is not written: who was frozen stays so, \
         but who was stopped is started again; mend that and run 'gastownctl estop' again, or run \
         'gastownctl down'",
    )?;
    stopped
}

/// Sets the mark, unless it is set.
fn mark(town: &Result<Town>, rig: Option<&str>, args: &cli::Estop) -> Result<()> {
    let town = town.as_ref().map_err(|e| anyhow!("{e:#}"))?;
    let (what, thaw) = words(rig);
    if let Ok(Some(_)) = marks::estop(town, rig) {
        return say(&format!("{} was set already", capital(&what)));
    }
    if args.change.dry_run {
        return say(&format!("Would set {what}"));
    }
    let reason = args.reason.as_deref().unwrap_or_default();
    marks::set_estop(town, rig, reason, now())?;
    say(&format!("Set {what}; '{thaw}' ends it"))
}

/// What the stop is called, and what ends it.
fn words(rig: Option<&str>) -> (String, String) {
    match rig {
        None => ("the emergency stop".into(), "gastownctl thaw".into()),
        Some(rig) => (
            format!("the emergency stop of {rig}"),
            format!("gastownctl thaw {rig}"),
        ),
    }
}

fn capital(text: &str) -> String {
    text.replacen("the", "The", 1)
}

/// Ends the emergency stop of the town or of a rig, and thaws the frozen agents, unless another
/// emergency stop is for them too. A tick is started, which starts the agents that were stopped.
///
/// # Errors
/// The rig is not known, the mark cannot be removed, or an agent cannot be thawed.
pub fn thaw(args: &cli::Thaw) -> Result<Exit> {
    let town = Town::load()?;
    let rig = args.rig.as_deref();
    let rig = rig.map(|rig| directory::rig(&town, rig)).transpose()?;
    let (what, _) = words(rig);
    let dry_run = args.change.dry_run;
    let ends = match dry_run {
        true => marks::estop(&town, rig)?.is_some(),
        false => marks::clear_estop(&town, rig)?,
    };
    say(&match (ends, dry_run) {
        (true, true) => format!("Would end {what}"),
        (true, false) => {
            format!("Ended {what}; what it stopped and is on a patrol starts with the next tick")
        }
        (false, _) => what.replacen("the", "There was no", 1),
    })?;
    let systemd = Systemd::connect()?;
    let mut units = systemd.units(AGENTS)?;
    units.retain(|_, unit| is_of(unit, rig));
    let units: Vec<Unit> = units.into_values().collect();
    let mut thawed = BTreeSet::new();
    let exit = each(&units, |unit| {
        if !systemd.properties(&unit.name)?.is_frozen() {
            return Ok(());
        }
        let agent = agent_of(unit);
        if let Some(other) = other_stop(&town, unit, rig)? {
            return say(&format!("{agent} stays frozen, for '{other}' was not run"));
        }
        if dry_run {
            return say(&format!("Would thaw {agent}"));
        }
        if unit.active != "active" {
            bail!("{agent}: {}", frozen_for_good());
        }
        systemd.thaw(&unit.name)?;
        thawed.insert(unit.name.clone());
        say(&format!("Thawed {agent}"))
    });
    if !thawed.is_empty() {
        thaw_scopes(&town, &systemd, &thawed)?;
    }
    if !dry_run {
        tick();
    }
    exit
}

/// Thaws what the agents of these units run beside them.
fn thaw_scopes(town: &Town, systemd: &Systemd, units: &BTreeSet<String>) -> Result<()> {
    let panes = Tmux::on(town.socket()).panes()?;
    for (agent, scope) in scopes::of_agents(&scopes::all(systemd)?, &panes) {
        if units.contains(&agent.unit()) && systemd.properties(&scope.name)?.is_frozen() {
            systemd.thaw(&scope.name)?;
            say(&format!("Thawed {} of {agent}", scope.name))?;
        }
    }
    Ok(())
}

/// What would end another emergency stop of an agent than the one that has just been ended.
fn other_stop(town: &Town, unit: &Unit, ended: Option<&str>) -> Result<Option<String>> {
    let agent = Agent::from_unit(&unit.name).ok();
    let own = agent.as_ref().and_then(Agent::rig);
    let other = match ended {
        Some(_) => None,
        None if own.is_none() => return Ok(None),
        None => own,
    };
    Ok(marks::estop(town, other)?.map(|_| words(other).1))
}

/// The agents, of a rig if one is given, that are not down.
fn running(systemd: &Systemd, rig: Option<&str>) -> Result<Vec<Unit>> {
    let units = systemd.units(AGENTS)?.into_values();
    Ok(units
        .filter(|unit| !unit.is_down() && is_of(unit, rig))
        .collect())
}

fn is_of(unit: &Unit, rig: Option<&str>) -> bool {
    rig.is_none_or(|rig| Agent::from_unit(&unit.name).is_ok_and(|agent| agent.rig() == Some(rig)))
}

fn agent_of(unit: &Unit) -> String {
    Agent::from_unit(&unit.name).map_or_else(|_| unit.name.clone(), |agent| agent.to_string())
}

/// Whether it is a polecat: one that is stopped at work is started again after the stop.
fn is_polecat(unit: &Unit) -> bool {
    Agent::from_unit(&unit.name).is_ok_and(|agent| agent.role() == Role::Polecat)
}

/// Whether the kernel has one cgroup hierarchy, which alone can freeze. Elsewhere systemd may
/// say yes and do nothing.
fn is_unified() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

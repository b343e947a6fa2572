//! `gastownctl estop` and `thaw`.

use std::collections::BTreeSet;
use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::change::{each, now, tick};
use super::output::say;
use super::status::frozen_for_good;
use super::{cli, directory};
use crate::agent::{Agent, Role, UNITS};
use crate::exit::Exit;
use crate::files;
use crate::session::{process, scopes, whose};
use crate::systemd::{Properties, Systemd, Unit, Verb, runtime_dir};
use crate::tmux::{Index, Tmux};
use crate::town::{Town, marks};

const AGENTS: &[&str] = &[UNITS];

/// The lock of the two commands, in the runtime directory, since the disk may be full.
const LOCK: &str = "gastown/estop.lock";

/// How long an emergency stop waits for a `thaw` under way. After that it stops all the same.
const ESTOP_PATIENCE: Duration = Duration::from_secs(5);

/// How long a `thaw` waits for another one, or for an emergency stop under way.
const THAW_PATIENCE: Duration = Duration::from_secs(60);

/// Says what was done to one agent. An output that cannot be written, as into a file on a full disk,
/// keeps no other agent from being stopped or thawed.
fn tell(line: &str) {
    if let Err(e) = say(line) {
        log::warn!("{e:#}: {line}");
    }
}

/// Waits until no other `estop` or `thaw` is under way: two at once could leave agents running
/// under a mark, and the next tick would stop them. `Ok(None)`: one still is under way.
///
/// # Errors
/// The lock cannot be made.
fn alone(limit: Duration) -> Result<Option<File>> {
    let dir = runtime_dir().context("There is no runtime directory")?;
    files::lock(&dir.join(LOCK), limit)
}

/// Stops every agent, or those of one rig: freezes those that run, where the kernel can, writes
/// the mark, then freezes or stops the rest. The freezing comes first, because the mark starts a
/// tick, which stops every agent that is not frozen by then. Once the mark exists, no agent starts.
///
/// # Errors
/// An agent can be neither frozen nor stopped; or the mark cannot be written, so that stopped
/// agents will be started again.
pub fn estop(args: &cli::Estop) -> Result<Exit> {
    // The agents are frozen or stopped even if the town cannot be read.
    let town = Town::load();
    let systemd = Systemd::connect();
    let rig = args.rig.as_deref();
    // Agents may run whose rig is no longer registered.
    let has_agents = |rig| matches!(&systemd, Ok(systemd) if has_agents(systemd, rig));
    if let (Ok(town), Some(rig)) = (&town, rig)
        && !has_agents(rig)
    {
        directory::rig(town, rig)?;
    }
    let dry_run = args.change.dry_run;
    // Without the lock it goes on all the same.
    let _alone = alone(ESTOP_PATIENCE);
    let mut frozen = BTreeSet::new();
    let mut own = None;
    if let Ok(systemd) = &systemd
        && !dry_run
        && is_unified()
    {
        // A manager that does not answer is told below, after the mark is set.
        let mut running = running(systemd, rig).unwrap_or_default();
        let calls = running.iter().position(is_in);
        own = calls
            .filter(|_| !has_left(systemd))
            .map(|at| running.remove(at).name);
        let before = systemd.look(&running.iter().collect::<Vec<_>>(), &["FreezerState"]);
        let before = before.unwrap_or_default();
        for unit in systemd.freeze_all(running) {
            let agent = agent_of(&unit);
            tell(
                &match before.get(&unit.name).is_some_and(Properties::is_frozen) {
                    true => format!("{agent} was frozen already"),
                    false => format!("Froze {agent}"),
                },
            );
            frozen.insert(unit.name);
        }
    }
    let town = match town {
        // The town cannot be read and no agent runs, so there is nothing to stop.
        Err(e) if frozen.is_empty() && is_idle(&systemd, rig) => return Err(e),
        town => town,
    };
    let again = rig.map_or_else(String::new, |rig| format!(" {rig}"));
    let marked = mark(&town, rig, args).with_context(|| {
        format!(
            "The emergency stop will not hold, since its mark is not written: who was frozen stays so, \
             but who was stopped is started again; mend that and run 'gastownctl estop{again}' again, or \
             run 'gastownctl down'"
        )
    });
    let left = systemd.and_then(|systemd| Ok((running(&systemd, rig)?, systemd)));
    let left = left.context("Agents that run are not stopped yet");
    // Of two errors this one would be the one that nobody hears of.
    if let (Err(e), Err(_)) = (&marked, &left) {
        log::error!("{e:#}");
    }
    let (mut left, systemd) = left?;
    let wanted = town.as_ref().ok().and_then(|town| town.roster().ok());
    let is_wanted = |unit: &Unit| {
        let agent = Agent::from_unit(&unit.name).ok();
        agent.is_none_or(|agent| wanted.as_ref().is_none_or(|wanted| wanted.contains(&agent)))
    };
    left.retain(|unit| !frozen.contains(&unit.name));
    // Its stop may end this program.
    left.sort_by_cached_key(is_in);
    let can_be_frozen = |unit: &&Unit| {
        !dry_run && is_unified() && unit.active == "active" && own.as_ref() != Some(&unit.name)
    };
    let late = systemd.freeze_all(left.iter().filter(can_be_frozen).cloned().collect());
    let stopped = each(&left, |unit| {
        let agent = agent_of(unit);
        if dry_run {
            return say(&format!("Would freeze or stop {agent}"));
        }
        // A unit that is just starting cannot be frozen. It is stopped, so that it does not come up.
        if late.iter().any(|frozen| frozen.name == unit.name) {
            tell(&format!("Froze {agent}"));
            return Ok(());
        }
        systemd.queue(Verb::Stop, &unit.name)?;
        tell(&match is_wanted(unit) || is_polecat(unit) {
            true => format!("Stopping {agent}"),
            false => format!(
                "Stopping {agent}, which is on no patrol: 'gastownctl start {agent}' after 'thaw'"
            ),
        });
        Ok(())
    });
    if let Ok(town) = &town
        && let Ok(panes) = Tmux::on(town.socket()).panes()
    {
        frozen.extend(late.into_iter().map(|unit| unit.name));
        // Freeze what frozen agents run in scopes beside their units.
        let scopes = scopes::all(&systemd).unwrap_or_default();
        let of_frozen =
            |(agent, scope): &(Agent, &Unit)| frozen.contains(&agent.unit()) && !is_in(scope);
        let beside = scopes::of_agents(&scopes, &panes).into_iter();
        let beside: Vec<(Agent, &Unit)> = beside.filter(of_frozen).collect();
        let units = beside.iter().map(|(_, scope)| (*scope).clone());
        let done = systemd.freeze_all(units.collect());
        for (agent, scope) in beside.iter().filter(|(_, scope)| done.contains(scope)) {
            tell(&format!("Froze {} of {agent}", scope.name));
        }
        // Tell of crew that people have started in sessions of their own.
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
    marked?;
    stopped
}

/// Whether this program is in that unit, as when an agent has run it.
fn is_in(unit: &Unit) -> bool {
    process::is_in(std::process::id(), &unit.name)
}

/// Takes this program out of the unit of the agent that has run it; tells whether that worked. Frozen with
/// the agent, it would stop nobody else, and would hold its lock against every `thaw`.
fn has_left(systemd: &Systemd) -> bool {
    let left = systemd.leave_unit();
    left.inspect_err(|e| log::warn!("{e:#}, so the agent that calls is stopped, not frozen"))
        .is_ok()
}

/// Whether it is certain that no agent runs.
fn is_idle(systemd: &Result<Systemd>, rig: Option<&str>) -> bool {
    let systemd = systemd.as_ref().ok();
    systemd.is_some_and(|systemd| running(systemd, rig).is_ok_and(|left| left.is_empty()))
}

/// Sets the mark, unless there is one.
fn mark(town: &Result<Town>, rig: Option<&str>, args: &cli::Estop) -> Result<()> {
    let town = town.as_ref().map_err(|e| anyhow!("{e:#}"))?;
    let (what, thaw) = words(rig);
    if let Ok(Some(_)) = marks::estop(town, rig) {
        let kept = match args.reason {
            Some(_) => format!(" and keeps its reason; '{thaw}' ends it"),
            None => String::new(),
        };
        tell(&format!("{} was set already{kept}", capital(&what)));
        return Ok(());
    }
    if args.change.dry_run {
        return say(&format!("Would set {what}"));
    }
    let reason = args.reason.as_deref().unwrap_or_default();
    marks::set_estop(town, rig, reason, now())?;
    tell(&format!("Set {what}; '{thaw}' ends it"));
    Ok(())
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
/// The rig is not known and has no mark, the mark cannot be removed, or an agent cannot be thawed.
pub fn thaw(args: &cli::Thaw) -> Result<Exit> {
    let town = Town::load().context(
        "Nobody is thawed, for it cannot be read who may run; who is frozen goes on all the same by \
         \"systemctl --user thaw 'gt-agent@*'\"",
    )?;
    let systemd = Systemd::connect();
    let rig = args.rig.as_deref();
    // A rig may have been taken out of the registry since it was stopped.
    let known = |rig| match (marks::estop(&town, Some(rig)), &systemd) {
        (Ok(Some(_)), _) => Ok(rig),
        (_, Ok(systemd)) if has_agents(systemd, rig) => Ok(rig),
        _ => directory::rig(&town, rig),
    };
    let rig = rig.map(known).transpose()?;
    let (what, _) = words(rig);
    let dry_run = args.change.dry_run;
    let _alone = match alone(THAW_PATIENCE) {
        _ if dry_run => None,
        Ok(None) => {
            let why = "An emergency stop, or another 'gastownctl thaw', is under way";
            let error = anyhow!("{why}; run 'gastownctl thaw' again when it is done");
            return Err(error.context(Exit::TryAgain));
        }
        Ok(lock) => lock,
        Err(e) => {
            log::debug!("{e:#}, going on without");
            None
        }
    };
    let ends = match dry_run {
        true => marks::estop(&town, rig)?.is_some(),
        false => marks::clear_estop(&town, rig)?,
    };
    tell(&match (ends, dry_run) {
        (true, true) => format!("Would end {what}"),
        (true, false) if is_stopped(&systemd) => {
            format!("Ended {what}; the town is stopped, 'gastownctl up' starts it")
        }
        (true, false) => {
            format!("Ended {what}; what it stopped and is on a patrol starts with the next tick")
        }
        (false, _) => what.replacen("the", "There was no", 1),
    });
    let systemd = systemd?;
    let mut units = systemd.units(AGENTS)?;
    units.retain(|_, unit| is_of(unit, rig));
    let units: Vec<Unit> = units.into_values().collect();
    let mut running = BTreeSet::new();
    let agents = each(&units, |unit| {
        let now = systemd.properties(&unit.name)?;
        let is_active = now.text("ActiveState").as_deref() == Some("active");
        if !now.is_frozen() {
            running.extend(is_active.then(|| unit.name.clone()));
            return Ok(());
        }
        let agent = agent_of(unit);
        if let Some(other) = other_stop(&town, unit, rig)? {
            tell(&format!("{agent} stays frozen, for '{other}' was not run"));
            return Ok(());
        }
        if dry_run {
            return say(&format!("Would thaw {agent}"));
        }
        match systemd.thaw(&unit.name) {
            Err(_) if !is_active => bail!("{agent}: {}", frozen_for_good()),
            thawed => thawed?,
        }
        running.insert(unit.name.clone());
        tell(&format!("Thawed {agent}"));
        Ok(())
    });
    if dry_run {
        return agents;
    }
    let scopes = match running.is_empty() {
        true => Ok(Exit::Ok),
        false => thaw_scopes(&town, &systemd, &running),
    };
    tick();
    agents.and(scopes)
}

/// Thaws what the agents of these units run beside them; also what an earlier `thaw` has left, as when
/// tmux did not answer it.
///
/// # Errors
/// It is not known what agents run, or something cannot be thawed.
fn thaw_scopes(town: &Town, systemd: &Systemd, units: &BTreeSet<String>) -> Result<Exit> {
    let again = "What agents run in scopes may still be frozen; run 'gastownctl thaw' again";
    let panes = Tmux::on(town.socket()).panes().context(again)?;
    let all = scopes::all(systemd).context(again)?;
    each(&scopes::of_agents(&all, &panes), |(agent, scope)| {
        if units.contains(&agent.unit()) && systemd.properties(&scope.name)?.is_frozen() {
            systemd.thaw(&scope.name)?;
            tell(&format!("Thawed {} of {agent}", scope.name));
        }
        Ok(())
    })
}

/// Whether it is certain that the town is stopped.
fn is_stopped(systemd: &Result<Systemd>) -> bool {
    let systemd = systemd.as_ref().ok();
    systemd.is_some_and(|systemd| matches!(systemd.town_is_stopped(), Ok(true)))
}

/// The command that ends another emergency stop for the same agent, if there is one.
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

/// Whether agents of a rig are known to run.
fn has_agents(systemd: &Systemd, rig: &str) -> bool {
    running(systemd, Some(rig)).is_ok_and(|units| !units.is_empty())
}

fn is_of(unit: &Unit, rig: Option<&str>) -> bool {
    rig.is_none_or(|rig| Agent::from_unit(&unit.name).is_ok_and(|agent| agent.rig() == Some(rig)))
}

fn agent_of(unit: &Unit) -> String {
    Agent::from_unit(&unit.name).map_or_else(|_| unit.name.clone(), |agent| agent.to_string())
}

/// Whether the unit is a polecat's: a polecat that is stopped at work is started again afterwards.
fn is_polecat(unit: &Unit) -> bool {
    Agent::from_unit(&unit.name).is_ok_and(|agent| agent.role() == Role::Polecat)
}

/// Whether the kernel has the unified cgroup hierarchy, which freezing needs. Without it systemd
/// may say that it froze a unit, and do nothing.
fn is_unified() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

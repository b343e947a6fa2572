//! `gastownctl start`, `stop`, `restart`, `cycle` and `recover`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use super::change::{each, now, stopped};
use super::output::say;
use super::status::{frozen_for_good, is_own, last_end};
use super::{cli, directory, request};
use crate::agent::{Agent, UNITS};
use crate::alert;
use crate::exit::Exit;
use crate::heartbeat::memory::Memory;
use crate::session::fit::{self, lost};
use crate::session::{check, server, whose};
use crate::systemd::{Properties, Systemd, Unit, Verb};
use crate::tmux::{Index, Tmux};
use crate::town::left::{Left, Note};
use crate::town::marks::{self, Mark, Marks};
use crate::town::{Town, poke};

/// How long a job may take: the unit's own limits for stop and start, and a reserve.
const JOB_LIMIT: Duration = Duration::from_secs(120);

/// How long after its start an agent is looked at again, to see that it stays up.
const SETTLE: Duration = Duration::from_secs(1);

/// The error when the town is stopped, so that no agent can be started.
const STOPPED: &str = "The town is stopped; run 'gastownctl up' first";

/// The message when a command is for running agents and there are none.
const NONE_RUNS: &str = "None of these agents runs; 'gastownctl start' starts them";

/// Starts agents and ends their holds; waits until each runs. For a rig or the town, these are the
/// agents on a patrol, those that are held, and those that gave up.
///
/// # Errors
/// An agent is not known or does not run; the error says why.
pub fn start(args: &cli::Agents) -> Result<Exit> {
    let (town, systemd) = (Town::load()?, Systemd::connect()?);
    let units = systemd.units(&[UNITS])?;
    let means_many = args.all || args.agents.iter().any(|name| town.rigs().contains(name));
    if let Err(e) = town.roster()
        && means_many
    {
        bail!("{e:#}; until then name the agents to start, for it is not known who is on a patrol");
    }
    let mut whole = directory::listed(&town, None);
    let failed = units.values().filter(|unit| unit.active == "failed");
    whole.extend(failed.filter_map(|unit| Agent::from_unit(&unit.name).ok()));
    let agents = directory::find_all(&town, Some(&systemd), args, &whole)?;
    if agents.is_empty() {
        say("None of these agents is on a patrol, held or failed; name those to start")?;
    }
    bring_all_up(&town, &systemd, &agents, Verb::Start, args.change.dry_run)
}

/// Restarts agents and ends their holds; waits until each runs. For a rig or the town, these are
/// the agents that run.
///
/// # Errors
/// As [`start`].
pub fn restart(args: &cli::Agents) -> Result<Exit> {
    let (town, systemd) = (Town::load()?, Systemd::connect()?);
    let agents = directory::find_all(&town, Some(&systemd), args, &running(&systemd)?)?;
    if agents.is_empty() {
        say(NONE_RUNS)?;
    }
    bring_all_up(&town, &systemd, &agents, Verb::Restart, args.change.dry_run)
}

/// Has agents hand over to a new session of their own; waits until each has. For a rig or the town,
/// these are the agents that run.
///
/// # Errors
/// An agent is not known, or its request is refused or not executed in time.
pub fn cycle(args: &cli::Agents) -> Result<Exit> {
    let (town, systemd) = (Town::load()?, Systemd::connect()?);
    let agents = directory::find_all(&town, Some(&systemd), args, &running(&systemd)?)?;
    if agents.is_empty() {
        say(NONE_RUNS)?;
    }
    request::cycle(&town, &systemd, &agents, args.change.dry_run)
}

/// Stops agents and holds them; waits until nothing of them is left, and has the manager forget that one
/// gave up. For a rig or the town, these are the agents that run, and those that a tick would start. If the hold cannot be written, the agent is
/// stopped all the same; if the manager cannot be asked, it is held all the same.
///
/// # Errors
/// An agent is not known, or its hold or its stop fails.
pub fn stop(args: &cli::Agents) -> Result<Exit> {
    let town = Town::load()?;
    let manager = Systemd::connect().and_then(|systemd| Ok((systemd.units(&[UNITS])?, systemd)));
    let (up, systemd) = match &manager {
        Ok((units, systemd)) => (not_down(units), Ok(systemd)),
        Err(e) => (BTreeSet::new(), Err(e)),
    };
    let has_failed = |agent: &Agent| {
        let unit = manager
            .as_ref()
            .ok()
            .and_then(|(units, _)| units.get(&agent.unit()));
        unit.is_some_and(|unit| unit.active == "failed")
    };
    let mut whole = directory::wanted(&town);
    whole.extend(up.iter().cloned());
    let memory = Memory::read(&town).unwrap_or_default();
    whole.extend(directory::waiting(&town, &memory));
    let agents = directory::find_all(&town, systemd.ok(), args, &whole)?;
    if agents.is_empty() {
        say("None of these agents runs, or would be started")?;
    }
    if args.change.dry_run {
        return each(&agents, |agent| {
            let would = if up.contains(agent) {
                "stop and hold"
            } else {
                "hold"
            };
            say(&format!("Would {would} {agent}"))
        });
    }
    let held = |agent: &Agent| match marks::held(&town, agent) {
        Ok(Some(_)) => Ok(()),
        _ => marks::hold(&town, agent, "gastownctl stop", now()),
    };
    let Ok(systemd) = systemd else {
        let held = each(&agents, |agent| {
            held(agent)?;
            say(&format!(
                "Holding {agent}; if it runs, the next tick stops it, and it stays down until \
                 'gastownctl start {agent}'"
            ))
        });
        let not_asked = manager.map(|_| Exit::Ok);
        return both(
            held,
            not_asked.context("Agents that run are not stopped yet"),
        );
    };
    // All stops are queued at once, so that an agent that ends slowly does not delay the others.
    let stopping: Vec<_> = agents
        .iter()
        .map(|agent| {
            (
                agent,
                held(agent),
                systemd.queue_awaited(Verb::Stop, &agent.unit()),
            )
        })
        .collect();
    // Without an answer of tmux, only agents in their units are stopped.
    let panes = Tmux::on(town.socket()).panes().unwrap_or_default();
    let panes = Index::of(&panes);
    each(&stopping, |(agent, held, job)| {
        let stop = stopped(systemd, agent, job, JOB_LIMIT);
        if let Err(e) = held {
            if let Err(e) = stop {
                log::error!("{e:#}");
            }
            bail!(
                "The stop of {agent} does not hold: it will be started again, since its hold is not \
                 written: {e:#}; mend that and run 'gastownctl stop {agent}' again"
            );
        }
        stop?;
        // Who stops an agent that gave up has seen to that.
        if has_failed(agent) {
            systemd.reset_failed(&agent.unit())?;
        }
        if let Some(place) = whose::outside(&town, &panes, agent) {
            bail!("{agent} is held, but it runs outside of its unit, in {place}");
        }
        let done = if up.contains(agent) {
            "Stopped"
        } else {
            "Holding"
        };
        say(&format!(
            "{done} {agent}; it stays down until 'gastownctl start {agent}'"
        ))
    })
}

/// The agents that are not down.
fn running(systemd: &Systemd) -> Result<BTreeSet<Agent>> {
    Ok(not_down(&systemd.units(&[UNITS])?))
}

fn not_down(units: &BTreeMap<String, Unit>) -> BTreeSet<Agent> {
    let up = units.values().filter(|unit| !unit.is_down());
    up.filter_map(|unit| Agent::from_unit(&unit.name).ok())
        .collect()
}

/// Starts the given agents, or all of the town's units that failed, after it has the manager forget
/// their failures. An agent that somebody stopped stays down, unless it is named.
///
/// # Errors
/// An agent is not known or does not run; the error says why.
pub fn recover(args: &cli::Recover) -> Result<Exit> {
    let (town, systemd) = (Town::load()?, Systemd::connect()?);
    let dry_run = args.change.dry_run;
    let mut failed = systemd.units(&["gt-*"])?;
    failed.retain(|_, unit| unit.active == "failed");
    let mut failed: BTreeSet<String> = failed.into_keys().collect();
    if !args.agents.is_empty() {
        let of_rigs = failed.iter().flat_map(|unit| Agent::from_unit(unit));
        let agents = directory::each_of(&town, Some(&systemd), &args.agents, &of_rigs.collect())?;
        // Named agents are started whether they failed or not.
        let named = agents.iter().map(Agent::unit);
        failed = named.collect();
    }
    let (mut agents, mut units) = (Vec::new(), Vec::new());
    let is_held = |agent: &Agent| matches!(marks::held(&town, agent), Ok(Some(_)));
    let is_named = |agent: &Agent| {
        let named = args.agents.iter();
        let mut named = named.filter_map(|name| directory::address(&town, name).ok());
        named.any(|named| named == *agent)
    };
    for unit in failed {
        match Agent::from_unit(&unit) {
            Ok(agent) if matches!(town.lacks(&agent), Ok(Some(_))) => units.push(unit),
            Ok(agent) if !is_named(&agent) && is_held(&agent) => {
                say(&format!(
                    "Leaving {agent} held; 'gastownctl start {agent}' starts it"
                ))?;
                units.push(unit);
            }
            Ok(agent) => agents.push(agent),
            Err(_) if is_own(&unit) => units.push(unit),
            Err(_) => say(&format!("Leaving {unit} alone, which is not the town's"))?,
        }
    }
    if agents.is_empty() && units.is_empty() {
        say(match args.agents.is_empty() {
            true => "Nothing has failed",
            false => "Nothing of it has failed",
        })?;
    }
    let theirs = each(&units, |unit| restore(&systemd, unit, dry_run));
    let agents = bring_all_up(&town, &systemd, &agents, Verb::Start, dry_run);
    both(theirs, agents)
}

/// Starts one of our units that failed. A unit that delivers alerts, or that of an agent which is
/// held, or which the town no longer has, is not started: only its failure is forgotten.
fn restore(systemd: &Systemd, unit: &str, dry_run: bool) -> Result<()> {
    let is_forgotten = unit.starts_with("gt-alert@") || unit.starts_with("gt-agent@");
    if dry_run {
        let would = if is_forgotten {
            "forget the failure of"
        } else {
            "start"
        };
        return say(&format!("Would {would} {unit}"));
    }
    systemd.reset_failed(unit)?;
    if is_forgotten {
        return say(&format!("Forgot the failure of {unit}"));
    }
    let after = systemd.run(Verb::Start, unit, JOB_LIMIT)?;
    if after.text("ActiveState").as_deref() == Some("failed") {
        bail!(
            "{unit} failed again: {}; see 'journalctl --user -u {unit}'",
            last_end(&after)
        );
    }
    say(&format!("Started {unit}"))
}

/// Two results as one; of two errors the first is reported at once.
fn both(first: Result<Exit>, second: Result<Exit>) -> Result<Exit> {
    if let (Err(e), Err(_)) = (&first, &second) {
        log::error!("{e:#}");
    }
    second.and(first)
}

/// Starts or restarts agents, and looks once more whether they stay up.
fn bring_all_up(
    town: &Town,
    systemd: &Systemd,
    agents: &[Agent],
    verb: Verb,
    dry_run: bool,
) -> Result<Exit> {
    let mut started = Vec::new();
    let all = each(agents, |agent| {
        let invocation = bring_up(town, systemd, agent, verb, dry_run)?;
        started.extend(invocation.map(|id| (agent.clone(), id)));
        Ok(())
    });
    if !started.is_empty() {
        std::thread::sleep(SETTLE);
    }
    let stayed = each(&started, |(agent, invocation)| {
        let now = systemd.properties(&agent.unit())?;
        if now.invocation() == *invocation && now.text("ActiveState").as_deref() == Some("active") {
            return Ok(());
        }
        if systemd.town_is_stopped()? {
            bail!("{agent} was stopped again with the town; run 'gastownctl up' to start both");
        }
        if let Some(refusal) = check::refusal(Some(&agent.instance())) {
            bail!("{agent} was stopped again: {refusal}");
        }
        bail!(
            "{agent} ended at once: {}; see 'gastownctl logs {agent}'",
            end_of(town, agent, &now)
        )
    });
    both(all, stayed)
}

/// Starts or restarts one agent, after ending its hold; other marks keep it down. Gives the unit's
/// invocation that was started.
fn bring_up(
    town: &Town,
    systemd: &Systemd,
    agent: &Agent,
    verb: Verb,
    dry_run: bool,
) -> Result<Option<String>> {
    let unit = agent.unit();
    if systemd.town_is_stopped()? {
        bail!(STOPPED);
    }
    let before = systemd.units(&[&unit])?;
    let runs = before.get(&unit).is_some_and(|u| u.active == "active");
    if runs && verb == Verb::Restart {
        // Checked before anything is stopped: an agent that cannot start again would be lost.
        fit::check(town, agent).map_err(|e| anyhow!(lost(agent, &e)))?;
    }
    let held = marks::held(town, agent)?.is_some();
    if let Some(why) = unstartable(town, systemd, agent)? {
        let would = if dry_run { "would not be" } else { "is not" };
        let stays = if held { ", and stays held" } else { "" };
        bail!("{agent} {would} started{stays}: {why}");
    }
    if dry_run {
        let hold = match held {
            true => "lift the hold of and ",
            false if runs && verb == Verb::Start => {
                say(&format!("{agent} runs already"))?;
                return Ok(None);
            }
            false => "",
        };
        let word = match verb {
            Verb::Restart => "restart",
            _ => "start",
        };
        say(&format!("Would {hold}{word} {agent}"))?;
        return Ok(None);
    }
    marks::release(town, agent)?;
    let well = || {
        alert::clear(
            town,
            &alert::unit_key(&unit),
            &format!("{agent} runs again"),
        )
    };
    if runs && verb == Verb::Start {
        well()?;
        say(&format!("{agent} runs already"))?;
        return Ok(None);
    }
    // If the tmux server's unit has failed, no agent can start.
    for unit in [&unit, server::SERVICE] {
        systemd.reset_failed(unit)?;
    }
    let after = systemd.run(verb, &unit, JOB_LIMIT)?;
    if after.text("ActiveState").as_deref() != Some("active") {
        return Err(why_not(town, agent, &after));
    }
    well()?;
    let done = if runs { "Restarted" } else { "Started" };
    let status = after.text("StatusText").filter(|said| !said.is_empty());
    let detail = status.map_or_else(String::new, |said| format!(" ({said})"));
    say(&format!("{done} {agent}{detail}"))?;
    Ok(Some(after.invocation()))
}

/// Why a start of an agent would fail, apart from its hold. Checked before the hold is ended, so
/// that a command that fails leaves the agent as it was.
fn unstartable(town: &Town, systemd: &Systemd, agent: &Agent) -> Result<Option<String>> {
    let unit = agent.unit();
    let mut refusals = Marks::of(town).refusals(agent).into_iter();
    if let Some(refusal) = refusals.find(|refusal| refusal.mark != Mark::Held) {
        return Ok(Some(refusal.to_string()));
    }
    let properties = systemd.properties(&unit)?;
    if properties.is_frozen() && properties.text("ActiveState").as_deref() != Some("active") {
        return Ok(Some(frozen_for_good()));
    }
    Ok(systemd.refused(&[&unit], &BTreeMap::new())?.remove(&unit))
}

/// Why an agent does not run after it was started. Somebody may have stopped it meanwhile.
fn why_not(town: &Town, agent: &Agent, properties: &Properties) -> anyhow::Error {
    match check::refusal(Some(&agent.instance())) {
        Some(refusal) => {
            // If it runs outside of its unit, ticks look from now on whether it has ended there.
            poke::heartbeat(town.root());
            anyhow!("{agent} is not started: {refusal}")
        }
        None => anyhow!(
            "{agent} did not start: {}; see 'gastownctl logs {agent}'",
            end_of(town, agent, properties)
        ),
    }
}

/// How an agent ended. One that asked to wait has not failed, so its unit does not tell.
fn end_of(town: &Town, agent: &Agent, properties: &Properties) -> String {
    let is_failed = properties.text("ActiveState").as_deref() == Some("failed");
    match Note::of(town, agent).load() {
        Ok(Some(Left::Waiting(_))) if !is_failed => {
            "it asked to wait, and a later tick starts it".into()
        }
        _ => last_end(properties),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::tests::town_with;
    use jiff::Timestamp;

    #[test]
    fn who_asked_to_wait_has_not_failed() {
        let (_dir, town) = town_with(1, &[]);
        let (deacon, unit) = (Agent::deacon(), Properties::default());
        assert_eq!(end_of(&town, &deacon, &unit), "");
        let note = Note::of(&town, &deacon);
        note.save(Left::Waiting(Timestamp::now())).unwrap();
        assert!(end_of(&town, &deacon, &unit).contains("asked to wait"));
        note.save(Left::AtWork).unwrap();
        assert_eq!(end_of(&town, &deacon, &unit), "");
    }
}

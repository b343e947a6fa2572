//! Asks the manager, tmux and the files once, and says what is wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use super::agent::{self, AgentStatus, PROPERTIES, Seen, elsewhere, last_end};
use super::model::{Queue, Status, Target, Ticks};
use super::problems::{self, short_lived, two_towns};
use crate::agent::Agent;
use crate::alert;
use crate::ctl::words::{one_line, printable};
use crate::ctl::{directory, dismiss, events, user};
use crate::heartbeat::memory::Memory;
use crate::heartbeat::observe::OWN_UNIT;
use crate::heartbeat::observed::{JOBS, KEPT_UNITS, LOOKS};
use crate::job;
use crate::meant::RESTART;
use crate::session::{process, rival, server};
use crate::spool::Spool;
use crate::systemd::{Properties, Systemd, TARGET, Unit};
use crate::terminal::{Reader, State};
use crate::tmux::{self, Index, Look, Pane, Tmux, TmuxError};
use crate::town::marks::Marks;
use crate::town::{self, Town};

/// The timers of which the earlier one starts the next tick.
const TICK_TIMERS: [&str; 2] = ["gt-heartbeat-next.timer", "gt-heartbeat.timer"];

/// The units that the manager is asked about.
const UNITS: [&str; 2] = ["gt-*", TARGET];

/// Asks the manager, tmux and the files, once each. `systemd`: the manager, or why there is none.
/// `also`: an agent that a person asks for, and which is listed even if it is down and not wanted.
pub fn collect(town: &Town, systemd: Result<&Systemd, String>, also: Option<&Agent>) -> Status {
    let mut found = town.problems();
    let memory = Memory::read(town).unwrap_or_default();
    let (last_tick, ticks) = ticks(town, &memory);
    let mut status = Status {
        last_tick,
        ticks,
        queues: queues(town),
        ..of_town(&town.root().display().to_string())
    };
    let units = systemd.clone().and_then(|systemd| {
        status.manager = systemd.state().map_err(|e| format!("{e:#}"))?;
        systemd.units(&UNITS).map_err(|e| format!("{e:#}"))
    });
    let marks = Marks::listed(town);
    let tmux = Tmux::on(town.socket());
    let (panes, outside, terminals, properties, stopped, rival, agents) = thread::scope(|scope| {
        // tmux is asked after the manager, so that each agent that runs there has its terminal by
        // now, and while all the rest is asked.
        let look = tmux.look(scope);
        let rival = scope.spawn(|| rival::go_daemon(town));
        let properties = match (&systemd, &units) {
            (Ok(systemd), Ok(units)) => ask(systemd, units, &mut status, &mut found),
            (_, Err(why)) | (Err(why), _) => {
                found.push(why.clone());
                BTreeMap::new()
            }
        };
        let mut agents = directory::listed(town, units.as_ref().ok());
        agents.extend(directory::waiting(town, &memory));
        agents.extend(also.cloned());
        // The marks and the units' processes are read here, while tmux answers.
        for agent in &agents {
            marks.refusals(agent);
        }
        let mains = properties.values().filter_map(main_process);
        let stopped = mains.filter(|pid| process::is_stopped(*pid)).collect();
        let panes = look.panes();
        let listed = panes.as_deref().unwrap_or_default();
        let outside = outside(listed);
        let terminals = states(town, &agents, listed, look);
        (
            panes,
            outside,
            terminals,
            properties,
            stopped,
            rival.join(),
            agents,
        )
    });
    let mut panes = panes;
    if let Ok(systemd) = &systemd
        && panes.as_ref().is_ok_and(Vec::is_empty)
        && server::is_lost(systemd, &tmux).unwrap_or_default()
    {
        panes = Err(TmuxError::NoServer);
        found.push(
            "The tmux server has lost its socket, so sessions are not known; run 'gastownctl tick'"
                .into(),
        );
    } else if let Err(e) = &panes {
        let why = tmux::squatted().unwrap_or_else(|| format!("{e}"));
        found.push(format!("{why}; sessions are not known"));
    }
    let panes = panes.ok();
    let refused = match (&systemd, &units) {
        (Ok(systemd), Ok(units)) => refused(systemd, units, &agents),
        _ => BTreeMap::new(),
    };
    let seen = Seen {
        town,
        marks,
        refused,
        up: status.target.active == Some(true),
        panes: panes.as_ref().map(|panes| Index::of(panes)),
        outside,
        stopped,
        terminals,
        roster: town.roster().ok(),
        hooks: memory.hooks,
        ended: match &units {
            Ok(units)
                if agents
                    .iter()
                    .any(|agent| !units.contains_key(&agent.unit())) =>
            {
                events::ends()
            }
            _ => BTreeMap::new(),
        },
        last_tick: memory.ticked.filter(|_| {
            let rests = |unit: &Unit| unit.is_down() && unit.job.is_none();
            let mut ticks = LOOKS.iter().chain([&OWN_UNIT]);
            let units = units.as_ref();
            units.is_ok_and(|units| ticks.all(|name| units.get(*name).is_none_or(rests)))
        }),
    };
    let mut roots = Vec::new();
    for agent in agents {
        let unit = units.as_ref().map(|units| units.get(&agent.unit()));
        let properties = properties.get(&agent.unit());
        let is_active = matches!(&unit, Ok(Some(unit)) if unit.active == "active");
        let main = properties.and_then(main_process);
        let wrong = if is_active {
            seen.terminal(&agent, main)
        } else {
            None
        };
        let what = wrong.as_ref().map(|(what, _)| what.as_str());
        let one = seen.status(&agent, unit.ok(), properties, what);
        // An agent that gave up and is gone is no problem: a tick forgets its failure.
        let is_gone = || agent.role().is_worker() && matches!(town.lacks(&agent), Ok(Some(_)));
        let refused = seen.refused.get(&one.unit);
        let problem = match refused {
            Some(why) => Some(alert::cannot_start(&agent, why)),
            None => agent::problem(&one),
        };
        found.extend(problem.filter(|_| one.active_state != "failed" || !is_gone()));
        if let Some(root) = properties.and_then(|p| elsewhere(town, p)) {
            roots.push(root);
        } else if is_active && let Some(place) = seen.beside(&agent) {
            // The agent's session name may be taken by its second session.
            found.push(alert::twice(&agent, &place));
        } else if let Some((what, command)) = wrong {
            found.push(format!("{agent}: {what}; run '{command}'"));
        }
        status.agents.push(one);
    }
    if let Ok(systemd) = &systemd
        && let Some((what, how)) = two_towns(town, systemd, &roots)
    {
        let how = how.unwrap_or_else(|| format!("run '{RESTART}' to mend that"));
        found.push(format!("{what}; {how}"));
    }
    found.extend(problems::of_disks(town));
    if let Some(wanted) = &seen.roster {
        found.extend(problems::of_rigs(town, wanted));
    }
    found.extend(problems::of_marks(town, &seen.marks, &status.agents));
    found.extend(problems::frozen_for_nothing(&seen.marks, &status.agents));
    let rival = rival.ok().flatten();
    found.extend(rival.map(|(what, command)| format!("{what}; run '{command}'")));
    for summary in problems::of_alerts(town, &status.agents, units.is_ok()) {
        if !found.iter().any(|p| p.starts_with(&summary)) {
            found.push(format!("{summary}; see 'gastownctl history'"));
        }
    }
    found.extend(problems::of_telling(town));
    found.extend(problems::of_spools(town));
    found.extend(short_lived(status.target.enabled));
    status.problems = found.iter().map(|problem| one_line(problem)).collect();
    status
}

/// What is known of a town before anybody is asked.
fn of_town(root: &str) -> Status {
    Status {
        town: root.into(),
        manager: "unknown".into(),
        linger: user::is_lingering(),
        now: Timestamp::now(),
        ..Status::default()
    }
}

/// What the manager alone tells, when the town cannot be read, as when its directory has been moved:
/// of agents only where one runs. `root`: where the town is to be; `None`: that is not known.
pub fn without_town(root: Option<&Path>, systemd: Result<Systemd>) -> Status {
    let shown = root.map_or_else(|| "unknown".into(), |root| root.display().to_string());
    let mut status = of_town(&shown);
    let told = systemd.and_then(|systemd| of_manager(root, &systemd, &mut status));
    let found = told.unwrap_or_else(|e| vec![format!("{e:#}")]);
    status.problems = found.iter().map(|problem| one_line(problem)).collect();
    status
}

/// Puts what the manager alone tells into the status; gives what is wrong.
///
/// # Errors
/// The manager does not answer.
fn of_manager(root: Option<&Path>, systemd: &Systemd, status: &mut Status) -> Result<Vec<String>> {
    let units = systemd.units(&UNITS)?;
    status.manager = systemd.state()?;
    let is_up = |unit: &&Unit| !unit.is_down() && Agent::from_unit(&unit.name).is_ok();
    let up = units.values().filter(is_up).count();
    let mut found = Vec::new();
    if up > 0 {
        let run = match up {
            1 => "1 agent runs".into(),
            _ => format!("{up} agents run"),
        };
        // A town that is there has a broken file.
        let away = root.filter(|root| !matches!(town::has_town(root), Ok(true)));
        let cure = away.map_or_else(
            || "mend that".into(),
            |root| format!("put '{}' back", root.display()),
        );
        found.push(format!(
            "{run} without the town's files: who ends stays down; {cure}, or run 'gastownctl down'"
        ));
    }
    let properties = ask(systemd, &units, status, &mut found);
    if up == 0 {
        return Ok(found);
    }
    for (name, unit) in &units {
        let Ok(agent) = Agent::from_unit(name) else {
            continue;
        };
        let properties = properties.get(name);
        let reason = match unit.active.as_str() {
            "failed" => properties.map(|p| format!("gave up: {}", last_end(p))),
            _ => None,
        };
        status.agents.push(AgentStatus {
            reason: reason.map(|reason| one_line(&reason)),
            ..agent::of_unit(&agent, Some(Some(unit)), properties)
        });
    }
    Ok(found)
}

/// Puts what the manager says of the town into the status; gives what it says of each agent's unit.
fn ask(
    systemd: &Systemd,
    units: &BTreeMap<String, Unit>,
    status: &mut Status,
    found: &mut Vec<String>,
) -> BTreeMap<String, Properties> {
    let enabled = systemd.unit_file_state(TARGET).ok();
    status.target = Target {
        active: Some(units.get(TARGET).is_some_and(problems::is_on)),
        enabled: enabled.map(|state| state.as_deref() == Some("enabled")),
    };
    if problems::is_ticking(units) {
        status.next_tick = Some(status.now);
    } else if let Some((next, why)) = next_tick(systemd, units) {
        status.next_tick = Some(next);
        status.next_reason = why;
    }
    let mut troubles = BTreeMap::new();
    for name in JOBS.iter().chain([&OWN_UNIT]) {
        // A job that tries again may be active: it may have failed after it told that it is ready.
        let is_on = |unit: &Unit| unit.active != "inactive";
        if units.get(*name).is_some_and(is_on)
            && let Ok(properties) = systemd.properties(name)
        {
            let why = problems::of_job(
                name,
                job::trouble(&properties),
                properties.number("NRestarts"),
            );
            troubles.extend(why.map(|why| (*name, why)));
            if *name == OWN_UNIT && properties.text("Result").is_some_and(|r| r != "success") {
                let why = troubles.get(name).cloned();
                status.tick_failure = why.or_else(|| Some(last_end(&properties)));
            }
        }
    }
    let own = KEPT_UNITS.iter().chain(JOBS).chain(LOOKS);
    let own = own.chain(problems::NEEDED).copied();
    let down = own.filter(|name| units.get(*name).is_none_or(Unit::is_down));
    let refused = systemd.refused(&down.collect::<Vec<_>>(), units);
    let refused = refused.unwrap_or_default();
    found.extend(problems::of_units(status, units, &troubles, &refused));
    let theirs = units.values();
    let theirs = theirs.filter(|unit| Agent::from_unit(&unit.name).is_ok());
    let read = systemd.look(&theirs.collect::<Vec<_>>(), PROPERTIES);
    read.unwrap_or_else(|e| {
        found.push(format!("{e:#}"));
        BTreeMap::new()
    })
}

/// By unit, the agents that are down and that the manager would not start, and why.
fn refused(
    systemd: &Systemd,
    units: &BTreeMap<String, Unit>,
    agents: &BTreeSet<Agent>,
) -> BTreeMap<String, String> {
    let names = agents.iter().map(Agent::unit);
    let down = names.filter(|name| units.get(name).is_none_or(Unit::is_down));
    let down: Vec<String> = down.collect();
    let names: Vec<&str> = down.iter().map(String::as_str).collect();
    systemd.refused(&names, units).unwrap_or_default()
}

/// When the last tick was, and how many there were, by our own memory. If that has none, as before
/// the first tick of this version, by the file for `gt`, which a Go daemon writes too.
fn ticks(town: &Town, memory: &Memory) -> (Option<Timestamp>, Ticks) {
    let state = town::state::load(town).unwrap_or_default();
    let (count, since) = match memory.ticks {
        0 => (state.heartbeat_count, state.counted_since),
        ticks => (ticks, memory.counted_since),
    };
    let last = memory.ticked.or(state.last_heartbeat);
    (last, Ticks { count, since })
}

/// A unit's main process; `None`: it has none.
fn main_process(properties: &Properties) -> Option<u32> {
    let pid = properties.number("MainPID")?.try_into().ok();
    pid.filter(|&pid| pid != 0)
}

/// The first processes of agents' panes that are outside of the units, by pid.
fn outside(panes: &[Pane]) -> BTreeSet<u32> {
    let is_outside = |pane: &&Pane| {
        let owner = pane.owner.as_deref();
        let owner = owner.and_then(|owner| Agent::from_instance(owner).ok());
        owner.is_some_and(|owner| process::is_outside(pane.pid, &owner.unit()))
    };
    let outside = panes.iter().filter(is_outside);
    outside.map(|pane| pane.pid).collect()
}

/// What the terminals of these agents are ready for; those that cannot be read are left out.
fn states(
    town: &Town,
    agents: &BTreeSet<Agent>,
    panes: &[Pane],
    look: Look,
) -> BTreeMap<Agent, State> {
    let alive = panes.iter().filter(|pane| !pane.dead);
    let by_owner: HashMap<&str, &Pane> = alive
        .filter_map(|pane| Some((pane.owner.as_deref()?, pane)))
        .collect();
    let owned = agents.iter();
    let owned = owned.filter_map(|agent| Some((agent, *by_owner.get(&*agent.instance())?)));
    let by_pane: HashMap<&str, (&Agent, &Pane)> = owned
        .map(|(agent, pane)| (pane.id.as_str(), (agent, pane)))
        .collect();
    let mut states = BTreeMap::new();
    let _ = look.sights(|pane, sight| {
        if let Some((agent, pane)) = by_pane.get(pane)
            && let Ok(program) = town.appearance(agent)
        {
            let reader = Reader::of(&program).of_process(pane.pid);
            let (state, _) = reader.judged(&sight.screen, pane.report.as_ref(), Timestamp::now());
            states.insert((*agent).clone(), state);
        }
    });
    states
}

/// The earlier of the next elapses of the timers, and why: each tick writes its reason into the
/// description of the timer that it makes.
fn next_tick(
    systemd: &Systemd,
    units: &BTreeMap<String, Unit>,
) -> Option<(Timestamp, Option<String>)> {
    const ELAPSES: &str = "NextElapseUSecMonotonic";
    let timers = TICK_TIMERS.iter().filter_map(|timer| units.get(*timer));
    let names: Vec<&str> = timers.clone().map(|timer| timer.name.as_str()).collect();
    let read = systemd.read(&names, &[ELAPSES]).ok()?;
    let (at, timer) = timers
        .filter_map(|timer| {
            let usec = read.get(&timer.name)?.number(ELAPSES)?;
            (usec != 0).then_some((Duration::from_micros(usec), timer))
        })
        .min_by_key(|(at, _)| *at)?;
    let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?);
    let ahead = jiff::SignedDuration::try_from(at).ok()?
        - jiff::SignedDuration::try_from(since_boot).ok()?;
    let next = (Timestamp::now() + ahead).round(jiff::Unit::Second).ok()?;
    let why = timer.description.split_once(": ");
    let why = why.map(|(_, why)| printable(why));
    Some((next, why))
}

fn queues(town: &Town) -> Vec<Queue> {
    dismiss::SPOOLS
        .map(|(what, dir)| {
            let counts = Spool::at(&town.path(dir)).counts().ok();
            Queue { what, dir, counts }
        })
        .to_vec()
}

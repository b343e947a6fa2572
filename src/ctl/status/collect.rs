//! Asks the manager, tmux and the files once, and says what is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

use super::agent::{self, PROPERTIES, Seen, elsewhere, last_end};
use super::model::{Queue, Status, Target, Ticks};
use super::problems::{self, RESTART, short_lived, two_towns};
use crate::agent::Agent;
use crate::alert;
use crate::ctl::words::{one_line, printable};
use crate::ctl::{directory, dismiss, events, user};
use crate::heartbeat::memory::Memory;
use crate::heartbeat::observe::OWN_UNIT;
use crate::heartbeat::observed::JOBS;
use crate::job;
use crate::session::rival;
use crate::spool::Spool;
use crate::systemd::{Systemd, Unit};
use crate::terminal::{Reader, State};
use crate::tmux::{self, Pane, Tmux};
use crate::town::{self, Town};

/// The timers of which the earlier one starts the next tick.
const TICK_TIMERS: [&str; 2] = ["gt-heartbeat-next.timer", "gt-heartbeat.timer"];

/// Asks the manager, tmux and the files, once each; `Err` is why there is no manager.
pub fn collect(town: &Town, systemd: Result<&Systemd, String>) -> Status {
    let mut found = town.problems();
    let memory = Memory::load(town).map_or_else(|_| Memory::default(), |(memory, _)| memory);
    let (last_tick, ticks) = ticks(town, &memory);
    let mut status = Status {
        town: town.root().display().to_string(),
        manager: "unknown".into(),
        target: Target::default(),
        linger: user::is_lingering(),
        next_tick: None,
        last_tick,
        ticks,
        agents: Vec::new(),
        problems: Vec::new(),
        now: Timestamp::now(),
        next_reason: None,
        tick_failure: None,
        queues: queues(town),
    };
    let units = systemd.clone().and_then(|systemd| {
        status.manager = systemd.state().map_err(|e| format!("{e:#}"))?;
        let patterns = ["gt-*", "gastown.target"];
        systemd.units(&patterns).map_err(|e| format!("{e:#}"))
    });
    match (&systemd, &units) {
        (Ok(systemd), Ok(units)) => {
            let enabled = systemd.unit_file_state("gastown.target").ok().flatten();
            status.target = Target {
                active: Some(problems::is_active(units, "gastown.target")),
                enabled: Some(enabled.as_deref() == Some("enabled")),
            };
            if let Some((next, why)) = next_tick(systemd, units) {
                status.next_tick = Some(next);
                status.next_reason = why;
            }
            let mut troubles = BTreeMap::new();
            for name in JOBS.iter().chain([&OWN_UNIT]) {
                let busy = |unit: &Unit| matches!(unit.active.as_str(), "failed" | "activating");
                if units.get(*name).is_some_and(busy)
                    && let Ok(properties) = systemd.properties(name)
                {
                    troubles.extend(job::trouble(&properties).map(|why| (*name, why)));
                    if *name == OWN_UNIT
                        && properties.text("Result").is_some_and(|r| r != "success")
                    {
                        let why = troubles.get(name).cloned();
                        status.tick_failure = why.or_else(|| Some(last_end(&properties)));
                    }
                }
            }
            found.extend(problems::of_units(&status, units, &troubles));
        }
        (_, Err(why)) | (Err(why), _) => found.push(why.clone()),
    }
    let mut agents = directory::listed(town, units.as_ref().ok());
    agents.extend(directory::waiting(town, &memory));
    let panes = Tmux::on(town.socket()).panes();
    if let Err(e) = &panes {
        let why = tmux::squatted().unwrap_or_else(|| format!("{e}"));
        found.push(format!("{why}; sessions are not known"));
    }
    let panes = panes.ok();
    let seen = Seen {
        town,
        up: status.target.active == Some(true),
        panes: panes.as_deref(),
        terminals: terminals(town, &agents, panes.as_deref().unwrap_or_default()),
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
    };
    let mut roots = Vec::new();
    let theirs = units.iter().flat_map(BTreeMap::values);
    let theirs: Vec<&Unit> = theirs
        .filter(|unit| Agent::from_unit(&unit.name).is_ok())
        .collect();
    let properties = match &systemd {
        Ok(systemd) => systemd.look(&theirs, PROPERTIES).unwrap_or_else(|e| {
            found.push(format!("{e:#}"));
            BTreeMap::new()
        }),
        Err(_) => BTreeMap::new(),
    };
    for agent in agents {
        let unit = units.as_ref().map(|units| units.get(&agent.unit()));
        let properties = properties.get(&agent.unit());
        let is_active = matches!(&unit, Ok(Some(unit)) if unit.active == "active");
        let wrong = if is_active {
            seen.terminal(&agent)
        } else {
            None
        };
        let what = wrong.as_ref().map(|(what, _)| what.as_str());
        let one = seen.status(&agent, unit.ok(), properties, what);
        found.extend(agent::problem(&one));
        if let Some(root) = properties.and_then(|p| elsewhere(town, p)) {
            roots.push(root);
        } else if is_active && let Some(place) = seen.beside(&agent) {
            // The name that its session should have may be that of the second one.
            found.push(alert::twice(&agent, &place));
        } else if let Some((what, command)) = wrong {
            found.push(format!("{agent}: {what}; run '{command}'"));
        }
        status.agents.push(one);
    }
    found.extend(
        two_towns(town, &roots).map(|what| format!("{what}; run '{RESTART}' to mend that")),
    );
    found.extend(problems::of_marks(town));
    found.extend(problems::frozen_for_nothing(town, &status.agents));
    found.extend(rival::go_daemon(town).map(|(what, command)| format!("{what}; run '{command}'")));
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

/// When the last tick was, and how many there were, by our own bookkeeping. Where that has none,
/// such as before the first tick of this version, the file for `gt` tells, which a Go daemon writes too.
fn ticks(town: &Town, memory: &Memory) -> (Option<Timestamp>, Ticks) {
    let state = town::state::load(town).unwrap_or_default();
    let (count, since) = match memory.ticks {
        0 => (state.heartbeat_count, state.counted_since),
        ticks => (ticks, memory.counted_since),
    };
    let last = memory.ticked.or(state.last_heartbeat);
    (last, Ticks { count, since })
}

/// What the terminals of these agents are ready for; those that cannot be read are left out.
fn terminals(town: &Town, agents: &BTreeSet<Agent>, panes: &[Pane]) -> BTreeMap<Agent, State> {
    let ids: Vec<String> = panes
        .iter()
        .filter(|pane| pane.owner.is_some() && !pane.dead)
        .map(|pane| pane.id.clone())
        .collect();
    let Ok(screens) = Tmux::on(town.socket()).screens(&ids) else {
        return BTreeMap::new();
    };
    let state = |agent: &Agent| {
        let instance = agent.instance();
        let pane = panes
            .iter()
            .find(|pane| pane.owner.as_deref() == Some(&instance) && !pane.dead)?;
        let reader = Reader::of(&town.launch(agent).ok()?);
        let report = pane.report.as_ref();
        let (state, _) = reader.judged(screens.get(&pane.id)?, report, Timestamp::now());
        Some((agent.clone(), state))
    };
    agents.iter().filter_map(state).collect()
}

/// The earlier of the next elapses of the timers, and why: each tick writes its reason into the
/// description of the timer that it makes.
fn next_tick(
    systemd: &Systemd,
    units: &BTreeMap<String, Unit>,
) -> Option<(Timestamp, Option<String>)> {
    let (at, timer) = TICK_TIMERS
        .iter()
        .filter(|timer| units.contains_key(**timer))
        .filter_map(|timer| {
            let properties = systemd.properties(timer).ok()?;
            let usec = properties.number("NextElapseUSecMonotonic")?;
            (usec != 0).then_some((Duration::from_micros(usec), properties))
        })
        .min_by_key(|(at, _)| *at)?;
    let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?);
    let ahead = jiff::SignedDuration::try_from(at).ok()?
        - jiff::SignedDuration::try_from(since_boot).ok()?;
    let next = (Timestamp::now() + ahead).round(jiff::Unit::Second).ok()?;
    let described = timer.text("Description").unwrap_or_default();
    let why = described.split_once(": ").map(|(_, why)| printable(why));
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

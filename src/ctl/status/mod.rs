//! `gastownctl status`: what the town is like at this moment.
//!
//! [`collect`] asks the manager, tmux and the files once; [`agent`] is one agent's part of the
//! answer, [`problems`] what is wrong and what to type; [`super::table`] shows the result.

mod agent;
mod problems;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::events::{self, printable};
use super::{cli, directory, dismiss, paint, table};
use crate::agent::Agent;
use crate::exit::Exit;
use crate::spool::Spool;
use crate::systemd::{Systemd, Unit};
use crate::tmux::Tmux;
use crate::town::{self, Town};
pub use agent::{AgentStatus, elsewhere, frozen_for_good, last_end};
use agent::{PROPERTIES, Seen};
pub use problems::{RESTART, forget, short_lived, two_towns};

/// How often `--watch` looks.
const REFRESH: Duration = Duration::from_secs(2);

/// The timers of which the earlier one starts the next tick.
const TICK_TIMERS: [&str; 2] = ["gt-heartbeat-next.timer", "gt-heartbeat.timer"];

/// The town at one moment. The fields without `skip` are the contract of `status --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The town's root.
    pub town: String,
    /// The manager's state: `running`, `degraded`, ...; `unknown` when it does not answer.
    pub manager: String,
    /// The town's switch.
    pub target: Target,
    /// Whether the user's services outlive the login and start at boot.
    pub linger: bool,
    /// When the next tick begins; `None` when none is planned or one is running.
    pub next_tick: Option<Timestamp>,
    /// When the last one was done.
    pub last_tick: Option<Timestamp>,
    /// The roster, and every agent that has a unit.
    pub agents: Vec<AgentStatus>,
    /// What is not as it should be, each with what to type.
    pub problems: Vec<String>,
    /// When all this was so.
    #[serde(skip)]
    pub now: Timestamp,
    /// Why the next tick begins then.
    #[serde(skip)]
    pub next_reason: Option<String>,
    /// How the last one ended, if not well.
    #[serde(skip)]
    pub tick_failure: Option<String>,
    /// The spools.
    #[serde(skip)]
    pub queues: Vec<Queue>,
}

/// `gastown.target`; `None` where the manager does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The town is on.
    pub active: Option<bool>,
    /// It is switched on at boot.
    pub enabled: Option<bool>,
}

/// A spool, by the number of its entries; those in `new` and `cur` are pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// What its entries are: `request` or `spawn`.
    pub what: &'static str,
    /// Its directory, below the town's root.
    pub dir: &'static str,
    /// How many wait, or are being executed.
    pub pending: usize,
    /// How many could not be executed.
    pub failed: usize,
}

/// Prints the status as asked.
///
/// # Errors
/// The town cannot be read, or there is no such agent.
pub fn run(args: &cli::Status) -> Result<Exit> {
    loop {
        let town = Town::load()?;
        let systemd = Systemd::connect();
        let exit = match systemd {
            Ok(_) => Exit::Ok,
            Err(_) => Exit::NoManager,
        };
        let status = collect(&town, systemd.as_ref().map_err(|e| format!("{e:#}")));
        let text = if let Some(name) = &args.agent {
            let agent = directory::find(&town, systemd.as_ref().ok(), name)?;
            super::depth::show(&town, &status, &agent, args)?
        } else if args.json {
            serde_json::to_string_pretty(&status)? + "\n"
        } else {
            table::render(&status, paint::width(), paint::colour(args.color))
        };
        let text = match (args.watch, std::io::stdout().is_terminal()) {
            (false, _) => text,
            (true, false) => text + "\n",
            // Home, the text with each line's rest cleared, then what is below it.
            (true, true) => format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")),
        };
        if !super::show(&text)? || !args.watch {
            return Ok(exit);
        }
        std::thread::sleep(REFRESH);
    }
}

/// Asks the manager, tmux and the files, once each; `Err` is why there is no manager.
pub fn collect(town: &Town, systemd: Result<&Systemd, String>) -> Status {
    let mut found = town.problems();
    let mut status = Status {
        town: town.root().display().to_string(),
        manager: "unknown".into(),
        target: Target::default(),
        linger: is_lingering(),
        next_tick: None,
        last_tick: town::state::load(town).ok().and_then(|s| s.last_heartbeat),
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
                active: Some(is_active(units, "gastown.target")),
                enabled: Some(enabled.as_deref() == Some("enabled")),
            };
            if let Some((next, why)) = next_tick(systemd, units) {
                status.next_tick = Some(next);
                status.next_reason = why;
            }
            if units.contains_key("gt-heartbeat.service")
                && let Ok(properties) = systemd.properties("gt-heartbeat.service")
                && properties
                    .text("Result")
                    .is_some_and(|result| result != "success")
            {
                status.tick_failure = Some(last_end(&properties));
            }
            found.extend(problems::of_units(&status, units));
        }
        (_, Err(why)) | (Err(why), _) => found.push(why.clone()),
    }
    let agents = directory::listed(town, units.as_ref().ok());
    let panes = Tmux::on(town.socket()).panes();
    if let Err(e) = &panes {
        found.push(format!("{e}; sessions are not known"));
    }
    let panes = panes.ok();
    let seen = Seen {
        town,
        up: status.target.active == Some(true),
        panes: panes.as_deref(),
        roster: town.roster().ok(),
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
        Ok(systemd) => systemd.read(&theirs, PROPERTIES).unwrap_or_else(|e| {
            found.push(format!("{e:#}"));
            BTreeMap::new()
        }),
        Err(_) => BTreeMap::new(),
    };
    for agent in agents {
        let unit = units.as_ref().map(|units| units.get(&agent.unit()));
        let properties = properties.get(&agent.unit());
        let one = seen.status(&agent, unit.ok(), properties);
        found.extend(agent::problem(&one));
        if let Some(root) = properties.and_then(|p| elsewhere(town, p)) {
            roots.push(root);
        } else if one.active_state == "active"
            && let Some((what, command)) = seen.terminal(&agent)
        {
            found.push(format!("{agent}: {what}; run '{command}'"));
        }
        status.agents.push(one);
    }
    found.extend(
        two_towns(town, &roots).map(|what| format!("{what}; run '{RESTART}' to mend that")),
    );
    found.extend(problems::of_marks(town));
    for summary in problems::of_alerts(town, units.is_ok()) {
        if !found.iter().any(|p| p.starts_with(&summary)) {
            found.push(format!("{summary}; see 'gastownctl history'"));
        }
    }
    found.extend(problems::of_spools(town));
    found.extend(short_lived(status.target.enabled));
    status.problems = found;
    status
}

/// Whether the user's manager runs without a login.
pub fn is_lingering() -> bool {
    Path::new("/var/lib/systemd/linger")
        .join(user_name())
        .exists()
}

/// The name of the calling user, or the number of one without.
pub fn user_name() -> String {
    let uid = nix::unistd::geteuid();
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

fn is_active(units: &BTreeMap<String, Unit>, name: &str) -> bool {
    units.get(name).is_some_and(|unit| unit.active == "active")
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
            let counts = Spool::at(&town.path(dir)).counts();
            Queue {
                what,
                dir,
                pending: counts.new + counts.cur,
                failed: counts.failed,
            }
        })
        .to_vec()
}

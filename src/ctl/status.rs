//! `gastownctl status`: what the town is like at this moment.
//!
//! [`collect`] asks the manager, tmux and the files once; [`super::table`] shows the result.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::events::{self, printable};
use super::{cli, directory, dismiss, table};
use crate::agent::{Agent, Role};
use crate::alert;
use crate::exit::Exit;
use crate::heartbeat::decide::KEPT_UNITS;
use crate::session::run::town_of;
use crate::spool::Spool;
use crate::systemd::{Properties, Systemd, Unit};
use crate::tmux::{Pane, Tmux};
use crate::town::{self, Town, marks, wisp};

/// How often `--watch` looks.
const REFRESH: Duration = Duration::from_secs(2);

/// The timers of which the earlier one starts the next tick.
const TICK_TIMERS: [&str; 2] = ["gt-heartbeat-next.timer", "gt-heartbeat.timer"];

/// The programs that do one job and exit.
const JOBS: [&str; 3] = [
    "gt-heartbeat.service",
    "gt-lifecycle.service",
    "gt-spawn-trigger.service",
];

/// Has everything run for the town that is ours now, and the path units watch it.
pub const RESTART: &str =
    "systemctl --user daemon-reload && systemctl --user restart gastown.target";

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

/// An agent at one moment; `None` where it is not known.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AgentStatus {
    /// The slash form.
    pub agent: String,
    /// The unit's name.
    pub unit: String,
    /// As systemd has it: `active`, `activating`, `failed`, `inactive`; `unknown`.
    pub active_state: String,
    /// As systemd has it: `running`, `auto-restart`, `dead`, ...; `unknown`.
    pub sub_state: String,
    /// How the last run ended: `success`, `exit-code`, `signal`, ...
    pub result: Option<String>,
    /// Since when the unit is in this state.
    pub since: Option<Timestamp>,
    /// How often systemd has restarted it.
    pub restarts: Option<u64>,
    /// The unit's main process.
    pub pid: Option<u64>,
    /// The tmux session that it has, or would have.
    pub session: Option<String>,
    /// In bytes.
    pub memory_bytes: Option<u64>,
    /// In nanoseconds.
    pub cpu_nsec: Option<u64>,
    /// How many threads.
    pub tasks: Option<u64>,
    /// Somebody stopped it on purpose.
    pub held: bool,
    /// Why it does not run, in words.
    pub reason: Option<String>,
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
            table::render(&status, table::width(), table::colour(args.color))
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
    let mut problems = town.problems();
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
            problems.extend(town_problems(&status, units));
        }
        (_, Err(why)) | (Err(why), _) => problems.push(why.clone()),
    }
    let agents = directory::listed(town, units.as_ref().ok());
    let panes = Tmux::on(town.socket()).panes();
    if let Err(e) = &panes {
        problems.push(format!("{e}; sessions are not known"));
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
            problems.push(format!("{e:#}"));
            BTreeMap::new()
        }),
        Err(_) => BTreeMap::new(),
    };
    for agent in agents {
        let unit = units.as_ref().map(|units| units.get(&agent.unit()));
        let properties = properties.get(&agent.unit());
        let one = seen.status(&agent, unit.ok(), properties);
        problems.extend(agent_problem(&one));
        if one.active_state == "active"
            && let Some((what, command)) = seen.terminal(&agent)
        {
            problems.push(format!("{agent}: {what}; run '{command}'"));
        }
        status.agents.push(one);
        roots.extend(properties.and_then(|p| elsewhere(town, p)));
    }
    problems.extend(
        two_towns(town, &roots).map(|what| format!("{what}; run '{RESTART}' to mend that")),
    );
    problems.extend(mark_problems(town));
    for (key, summary) in alert::summaries(town) {
        // What is told already: of units by the manager itself, of spawns by their spool.
        let is_told = (key.starts_with("unit-") && units.is_ok()) || key.starts_with("spawn-");
        if !is_told && !problems.iter().any(|p| p.starts_with(&summary)) {
            problems.push(format!("{summary}; see 'gastownctl history'"));
        }
    }
    problems.extend(refusals(town));
    problems.extend(short_lived(status.target.enabled));
    status.problems = problems;
    status
}

/// What keeps the town from outliving a logout or a boot; each with the command that mends it.
pub fn short_lived(enabled: Option<bool>) -> Vec<String> {
    let mut problems = Vec::new();
    if enabled == Some(false) {
        problems.push(
            "The town does not start at boot; run 'systemctl --user enable gastown.target'".into(),
        );
    }
    if !is_lingering() {
        problems.push(format!(
            "Linger is off, so the town ends at logout; run 'loginctl enable-linger {}'",
            user_name()
        ));
    }
    problems
}

/// The root of the town that an agent's unit runs for, if that is another one than ours.
pub fn elsewhere(town: &Town, properties: &Properties) -> Option<String> {
    let said = properties.text("StatusText")?;
    let root = town_of(&said).filter(|root| *root != town.root().display().to_string())?;
    Some(printable(root))
}

/// What is said of agents that run for other towns, by the roots of those; [`RESTART`] mends it.
pub fn two_towns(town: &Town, roots: &[String]) -> Option<String> {
    let root = roots.first()?;
    let run = if roots.len() == 1 { "runs" } else { "run" };
    Some(format!(
        "{} {run} for '{root}', not for '{}'",
        table::counted(roots.len(), "agent"),
        town.root().display()
    ))
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

fn is_down(units: &BTreeMap<String, Unit>, name: &str) -> bool {
    !is_active(units, name) && units.get(name).is_none_or(|unit| unit.job.is_none())
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

/// What could not be executed, a line for each spool.
fn refusals(town: &Town) -> Vec<String> {
    let line = |(what, dir)| {
        let spool = Spool::at(&town.path(dir));
        let refused = dismiss::refused(&spool).map_err(|e| format!("{e:#}"));
        let refused = match refused {
            Ok(refused) => refused,
            Err(why) => return Some(why),
        };
        let last = &refused.last()?.about;
        let counted = table::counted(refused.len(), what);
        Some(match refused.len() {
            1 => format!(
                "{counted} could not be executed: {last}; once you have seen to it, run 'gastownctl dismiss'"
            ),
            _ => format!(
                "{counted} could not be executed, the last: {last}; see 'gastownctl dismiss --dry-run', \
                 and once you have seen to them, run 'gastownctl dismiss'"
            ),
        })
    };
    dismiss::SPOOLS.into_iter().filter_map(line).collect()
}

/// What is wrong with the town's own units.
fn town_problems(status: &Status, units: &BTreeMap<String, Unit>) -> Vec<String> {
    let mut problems = Vec::new();
    let on = status.target.active == Some(true);
    if !on {
        problems.push("The town is stopped; run 'gastownctl up' to start it".into());
    }
    for name in KEPT_UNITS.iter().chain(&JOBS) {
        let failed = units.get(*name).is_some_and(|u| u.active == "failed");
        if failed || (on && KEPT_UNITS.contains(name) && is_down(units, name)) {
            let how = if failed { "failed" } else { "does not run" };
            problems.push(format!(
                "{name} {how}; see 'journalctl --user -u {name}', then run 'systemctl --user restart {name}'"
            ));
        }
    }
    for unit in units.values().filter(|unit| unit.active == "failed") {
        if unit.name.starts_with("gt-agent@") && Agent::from_unit(&unit.name).is_err() {
            let (name, command) = (&unit.name, forget(&unit.name));
            problems.push(format!(
                "{name} failed, and there is no such agent; run '{command}'"
            ));
        }
    }
    let ticking = units
        .get("gt-heartbeat.service")
        .is_some_and(|u| matches!(u.active.as_str(), "active" | "activating") || u.job.is_some());
    if on && status.next_tick.is_none() && !ticking {
        problems
            .push("No tick is planned; run 'systemctl --user restart gt-heartbeat.timer'".into());
    }
    problems
}

/// Has the manager forget a unit that failed. Its name may have backslashes.
pub fn forget(unit: &str) -> String {
    format!("systemctl --user reset-failed \"{unit}\"")
}

/// The marks that keep agents down, once each.
fn mark_problems(town: &Town) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(note) = marks::estop(town, None) {
        problems.push(format!(
            "Emergency stop{note}: no agent may run; run 'gastownctl thaw' to end it"
        ));
    }
    for rig in town.rigs().names() {
        if let Some(note) = marks::estop(town, Some(rig)) {
            problems.push(format!(
                "Rig {rig} has an emergency stop{note}; remove '{}/ESTOP.{rig}' to end it",
                town.root().display()
            ));
        }
        if let Err(e) = wisp::load(town, rig) {
            problems.push(format!("Whether rig {rig} is parked is not known: {e:#}"));
        }
    }
    if let Err(e) = town::deacon::paused(town) {
        problems.push(format!("Whether the Deacon is paused is not known: {e:#}"));
    }
    problems
}

/// What [`agent_status`] and [`last_end`] ask of a unit.
const PROPERTIES: &[&str] = &[
    "Result",
    "StateChangeTimestamp",
    "NRestarts",
    "MainPID",
    "MemoryCurrent",
    "CPUUsageNSec",
    "TasksCurrent",
    "FreezerState",
    "StatusText",
    "ExecMainStatus",
    "ExecMainCode",
];

/// What is the same for all agents. `None`: it is not known.
struct Seen<'a> {
    town: &'a Town,
    up: bool,
    panes: Option<&'a [Pane]>,
    roster: Option<BTreeSet<Agent>>,
    ended: BTreeMap<Agent, Timestamp>,
}

impl Seen<'_> {
    fn pane(&self, agent: &Agent) -> Option<&Pane> {
        let instance = agent.instance();
        self.panes?
            .iter()
            .find(|p| p.owner.as_deref() == Some(&instance))
    }

    /// What is wrong with the terminal of an agent that runs, and what to type.
    fn terminal(&self, agent: &Agent) -> Option<(String, String)> {
        self.panes?;
        let (socket, session) = (self.town.socket(), self.town.session(agent));
        match self.pane(agent) {
            None => Some((
                format!("it has no terminal on tmux socket '{socket}'"),
                format!("gastownctl restart {agent}"),
            )),
            Some(pane) if pane.session != session => Some((
                format!(
                    "its session '{}' should be '{session}'",
                    printable(&pane.session)
                ),
                format!("tmux -L {socket} rename-session -t {} {session}", pane.id),
            )),
            Some(_) => None,
        }
    }

    /// Why an agent that may run does not.
    fn down(&self, agent: &Agent, since: Option<Timestamp>) -> &'static str {
        match self.roster.as_ref().map(|roster| roster.contains(agent)) {
            _ if !self.up => "the town is stopped",
            None => "it is not known whether it is to run",
            Some(false) => "not on a patrol",
            Some(true) if marks::waiting(self.town, agent).is_some() => {
                "it asked to wait; a later tick starts it"
            }
            Some(true) if since.is_some() => "stopped; the next tick starts it",
            Some(true) => "not started yet; the next tick starts it",
        }
    }

    /// One agent, from what the manager (`None`: it did not answer), tmux and the files say.
    fn status(
        &self,
        agent: &Agent,
        unit: Option<Option<&Unit>>,
        properties: Option<&Properties>,
    ) -> AgentStatus {
        let town = self.town;
        let pane = self.pane(agent);
        let (active, sub) = match unit {
            None => ("unknown", "unknown"),
            Some(None) => ("inactive", "dead"),
            Some(Some(unit)) => (unit.active.as_str(), unit.sub.as_str()),
        };
        let number = |name| properties.and_then(|p| p.number(name));
        let refusal = marks::refusal(town, agent);
        let mut status = AgentStatus {
            agent: agent.to_string(),
            unit: agent.unit(),
            active_state: active.into(),
            sub_state: sub.into(),
            result: properties.and_then(|p| p.text("Result")),
            since: properties
                .and_then(|p| p.time("StateChangeTimestamp"))
                .or_else(|| {
                    self.ended
                        .get(agent)
                        .filter(|_| active == "inactive")
                        .copied()
                }),
            restarts: number("NRestarts"),
            pid: number("MainPID").filter(|&pid| pid != 0),
            session: Some(pane.map_or_else(|| town.session(agent), |p| p.session.clone())),
            memory_bytes: number("MemoryCurrent"),
            cpu_nsec: number("CPUUsageNSec"),
            tasks: number("TasksCurrent"),
            held: marks::held(town, agent).is_some(),
            reason: None,
        };
        let frozen = properties
            .and_then(|p| p.text("FreezerState"))
            .is_some_and(|state| state == "frozen");
        let job = unit.flatten().and_then(|unit| unit.job.as_deref());
        status.reason = match (active, job) {
            ("unknown", _) => None,
            ("active", _) if frozen => Some("frozen; 'gastownctl thaw' ends it".into()),
            ("active", _) if let Some(root) = properties.and_then(|p| elsewhere(town, p)) => {
                Some(format!("runs for '{root}'"))
            }
            ("active", None) if let Some((what, _)) = self.terminal(agent) => Some(what),
            ("active", None) if agent.role() == Role::Deacon => match town::deacon::paused(town) {
                Ok(Some(pause)) => Some(match pause.reason {
                    Some(why) => {
                        format!("paused ({}); 'gastownctl resume' ends it", printable(&why))
                    }
                    None => "paused; 'gastownctl resume' ends it".into(),
                }),
                _ => None,
            },
            ("active", None) => None,
            (_, Some(job)) => Some(format!("its {job} job is queued")),
            ("failed", None) => properties.map(|p| format!("gave up: {}", last_end(p))),
            ("activating", None) if sub == "auto-restart" => {
                properties.map(|p| format!("restarts soon: {}", last_end(p)))
            }
            ("inactive", None) => Some(match refusal {
                Some(refusal) => refusal.to_string(),
                None => self.down(agent, status.since).into(),
            }),
            _ => None,
        };
        status
    }
}

/// How a unit's last run ended, in words: what the program said of itself, and its status.
pub fn last_end(properties: &Properties) -> String {
    const KILLED: i32 = 2;
    const DUMPED: i32 = 3;
    const NOT_STARTED: i32 = 127;
    const BAD_CONFIG: i32 = Exit::BadConfig as i32;
    let result = properties.text("Result").unwrap_or_default();
    let status = properties.int("ExecMainStatus").unwrap_or_default();
    let end = match (result.as_str(), properties.int("ExecMainCode")) {
        ("exec-condition", _) => "its start was refused".to_string(),
        ("oom-kill", _) => {
            "it ran out of memory; see MemoryMax= in gt-agent@.service(5)".to_string()
        }
        (_, Some(KILLED | DUMPED)) => match nix::sys::signal::Signal::try_from(status) {
            Ok(signal) => format!("{result}, {signal}"),
            Err(_) => format!("{result}, signal {status}"),
        },
        (_, Some(_)) if status != 0 => format!("{result}, status={status}"),
        _ => result,
    };
    match properties
        .text("StatusText")
        // Of one that ran it says where.
        .filter(|said| !said.is_empty() && town_of(said).is_none())
    {
        Some(said) if matches!(status, NOT_STARTED | BAD_CONFIG) => format!("{said} ({end})"),
        _ => end,
    }
}

fn agent_problem(agent: &AgentStatus) -> Option<String> {
    let name = &agent.agent;
    let reason = agent.reason.as_deref().unwrap_or("it failed");
    match (agent.active_state.as_str(), agent.sub_state.as_str()) {
        ("failed", _) => Some(format!(
            "{name} {reason}; see 'gastownctl logs {name}', then run 'gastownctl recover {name}'"
        )),
        ("activating", "auto-restart") => {
            Some(format!("{name} {reason}; see 'gastownctl logs {name}'"))
        }
        _ => None,
    }
}

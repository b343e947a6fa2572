//! One agent, as the manager, tmux and the files have it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use crate::agent::{Agent, Role};
use crate::ctl::words::printable;
use crate::exit::Exit;
use crate::session::run::town_of;
use crate::systemd::{Properties, Unit};
use crate::tmux::Pane;
use crate::town::{self, Town, marks};

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

/// What [`agent_status`] and [`last_end`] ask of a unit.
pub const PROPERTIES: &[&str] = &[
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
pub struct Seen<'a> {
    pub town: &'a Town,
    pub up: bool,
    pub panes: Option<&'a [Pane]>,
    pub roster: Option<BTreeSet<Agent>>,
    pub ended: BTreeMap<Agent, Timestamp>,
}

impl Seen<'_> {
    fn pane(&self, agent: &Agent) -> Option<&Pane> {
        let instance = agent.instance();
        self.panes?
            .iter()
            .find(|p| p.owner.as_deref() == Some(&instance))
    }

    /// What is wrong with the terminal of an agent that runs, and what to type.
    pub fn terminal(&self, agent: &Agent) -> Option<(String, String)> {
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
    pub fn status(
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
            _ if frozen => Some(frozen_for_good()),
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

/// The root of the town that an agent's unit runs for, if that is another one than ours.
pub fn elsewhere(town: &Town, properties: &Properties) -> Option<String> {
    let said = properties.text("StatusText")?;
    let root = town_of(&said).filter(|root| *root != town.root().display().to_string())?;
    Some(printable(root))
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

/// What is wrong with a unit that is frozen and does not run. From 256 on the manager can then
/// neither thaw, stop nor start it.
pub fn frozen_for_good() -> String {
    let user = nix::unistd::geteuid();
    format!(
        "killed while it was frozen, which systemd does not get over; run 'systemctl restart user@{user}.service' as root"
    )
}

/// What is wrong with an agent that does not stay up.
pub fn problem(agent: &AgentStatus) -> Option<String> {
    let name = &agent.agent;
    let reason = agent.reason.as_deref().unwrap_or("it failed");
    match (agent.active_state.as_str(), agent.sub_state.as_str()) {
        _ if reason == frozen_for_good() => Some(format!("{name}: {reason}")),
        ("failed", _) => Some(format!(
            "{name} {reason}; see 'gastownctl logs {name}', then run 'gastownctl recover {name}'"
        )),
        ("activating", "auto-restart") => {
            Some(format!("{name} {reason}; see 'gastownctl logs {name}'"))
        }
        _ => None,
    }
}

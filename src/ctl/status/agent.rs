//! One agent, as the manager, tmux and the files have it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use crate::agent::{Agent, Role};
use crate::ctl::words::{self, one_line, printable};
use crate::files;
use crate::heartbeat::memory::Hook;
use crate::said::{Again, town_of};
use crate::session::process::{self, Head};
use crate::session::run::why_failed;
use crate::session::whose::{self, Names};
use crate::systemd::{Properties, Unit};
use crate::terminal::State;
use crate::tmux::{Index, Pane};
use crate::town::deacon::{self, Freshness, freshness};
use crate::town::left::{Left, Note};
use crate::town::marks::{Mark, Marks, Refusal};
use crate::town::ours::Closed;
use crate::town::{self, Town};

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
    /// Since when the unit is in this state, or since `gt-agent` started the agent anew in it.
    pub since: Option<Timestamp>,
    /// How often systemd has restarted the unit, or `gt-agent` the agent within it after an end
    /// with status 0.
    pub restarts: Option<u64>,
    /// The unit's main process.
    pub pid: Option<u64>,
    /// The tmux session that the agent has, or would have.
    pub session: Option<String>,
    /// In bytes.
    pub memory_bytes: Option<u64>,
    /// In nanoseconds.
    pub cpu_nsec: Option<u64>,
    /// How many threads.
    pub tasks: Option<u64>,
    /// Somebody stopped it on purpose.
    pub held: Option<bool>,
    /// The agent's processes are frozen: they get no CPU time until it is thawed.
    pub frozen: Option<bool>,
    /// Why the agent does not run, or not as it should, or what it waits for, in words.
    pub reason: Option<String>,
    /// What the agent's terminal is ready for, and what its program asks.
    pub terminal: Option<State>,
    /// The Deacon's heartbeat; only the Deacon has this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<Heartbeat>,
}

impl AgentStatus {
    /// Whether the agent is up and frozen.
    pub fn stands_still(&self) -> bool {
        self.frozen == Some(true) && self.active_state == "active"
    }
}

/// What the Deacon last said of itself, and of the agents that it looks after.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Heartbeat {
    /// When it was written.
    pub timestamp: Option<Timestamp>,
    /// How long ago, in seconds.
    pub age_seconds: Option<i64>,
    /// `fresh`, `stale`, `very-stale`; `unknown` when its time lies in the future.
    pub freshness: &'static str,
    /// How many heartbeats there have been.
    pub cycle: i64,
    /// What the Deacon did last, in its words.
    pub last_action: Option<String>,
    /// How many agents the Deacon found well.
    pub healthy_agents: i64,
    /// How many agents the Deacon found not well.
    pub unhealthy_agents: i64,
}

impl Heartbeat {
    fn load(town: &Town, now: Timestamp) -> Option<Heartbeat> {
        let found = deacon::load(town).ok()??;
        let rules = town.ours();
        let freshness = match freshness(found.timestamp, now, rules.stale, rules.very_stale) {
            Freshness::Fresh => "fresh",
            Freshness::Stale => "stale",
            Freshness::VeryStale => "very-stale",
            Freshness::Unknown => "unknown",
        };
        Some(Heartbeat {
            timestamp: found.timestamp,
            age_seconds: found
                .timestamp
                .map(|time| now.duration_since(time).as_secs()),
            freshness,
            cycle: found.cycle,
            last_action: found.last_action.map(|action| one_line(&action)),
            healthy_agents: found.healthy_agents,
            unhealthy_agents: found.unhealthy_agents,
        })
    }
}

impl std::fmt::Display for Heartbeat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.age_seconds {
            Some(age) if age >= 0 => {
                let age = words::age(jiff::SignedDuration::from_secs(age));
                write!(f, "{age} ago ({})", self.freshness.replace('-', " "))?;
            }
            _ => f.write_str("at an unknown time")?,
        }
        write!(f, ", cycle {}", self.cycle)?;
        if let Some(action) = &self.last_action {
            write!(f, ": {action}")?;
        }
        match (self.healthy_agents, self.unhealthy_agents) {
            (0, 0) => Ok(()),
            (well, ill) => write!(f, "; {well} well, {ill} not"),
        }
    }
}

/// Why a Deacon that runs may be stuck: it has not written its heartbeat for long.
pub fn silence(town: &Town, since: Option<Timestamp>, now: Timestamp) -> Option<String> {
    let rules = town.ours();
    // A start in the future is a start that is not known.
    let since = since.filter(|since| *since <= now);
    if since.is_some_and(|since| now.duration_since(since) < rules.grace) {
        return None;
    }
    let beat = match deacon::load(town) {
        Ok(found) => found.and_then(|found| found.timestamp),
        Err(e) => return Some(format!("whether it is silent is not known: {e:#}")),
    };
    // A heartbeat from before the Deacon's start says nothing of this run.
    let beat = beat.filter(|beat| since.is_none_or(|since| *beat >= since));
    let freshness = freshness(beat, now, rules.stale, rules.very_stale);
    (freshness == Freshness::VeryStale).then(|| match beat {
        Some(beat) => format!(
            "silent: its heartbeat is {} old",
            words::age(now.duration_since(beat))
        ),
        None => "silent: it has written no heartbeat since its start".into(),
    })
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

/// What is said of an agent whose unit is up, and whose program has ended.
const ENDED: &str =
    "its program has ended; it restarts in some seconds, unless somebody closes its session";

/// What was asked once for all agents. `None`: it is not known.
pub struct Seen<'a> {
    pub town: &'a Town,
    pub marks: Marks<'a>,
    /// Why the manager would not start a unit, by its name.
    pub refused: BTreeMap<String, String>,
    pub up: bool,
    pub panes: Option<Index<'a>>,
    /// The first processes of agents' panes that are outside of their units.
    pub outside: BTreeSet<u32>,
    /// The main processes of units that a signal has stopped.
    pub stopped: BTreeSet<u32>,
    /// What the terminals of agents that run are ready for.
    pub terminals: BTreeMap<Agent, State>,
    pub roster: Option<BTreeSet<Agent>>,
    pub ended: BTreeMap<Agent, Timestamp>,
    /// When a tick last looked which agents are to run; `None` while one looks.
    pub last_tick: Option<Timestamp>,
    /// Work on the hooks of polecats, as the last tick found it.
    pub hooks: BTreeMap<Agent, Hook>,
}

impl Seen<'_> {
    fn pane(&self, agent: &Agent) -> Option<&Pane> {
        let (instance, session) = (agent.instance(), self.town.session(agent));
        self.panes.as_ref()?.own(&instance, &session)
    }

    /// Where on the town's server an agent runs a second time, beside its unit; in words.
    pub fn beside(&self, agent: &Agent) -> Option<String> {
        let panes = self.panes.as_ref()?;
        // Most towns have no unmarked panes, and only such a pane can be a second one.
        panes.unmarked().next()?;
        Names::of(self.town, agent).beside(self.town.socket(), panes)
    }

    /// What is wrong with the processes or the terminal of a running agent, and what to type.
    /// `main` is its unit's main process.
    pub fn terminal(&self, agent: &Agent, main: Option<u32>) -> Option<(String, String)> {
        // When the pane's own process is stopped, tmux continues it, but not what a shell in it
        // runs.
        let pane = self.pane(agent).map(|pane| pane.pid);
        let of_pane = pane.map(|pane| process::head(pane).process().unwrap_or(pane));
        let main = main.filter(|pid| self.stopped.contains(pid));
        let of_pane = of_pane.filter(|pid| process::is_stopped(*pid));
        let both = main.into_iter().chain(of_pane);
        let stopped: Vec<String> = both.map(|pid| pid.to_string()).collect();
        if !stopped.is_empty() {
            return Some((
                "a signal has stopped it".into(),
                format!("kill -CONT {}", stopped.join(" ")),
            ));
        }
        let panes = self.panes.as_ref()?;
        let (socket, session) = (self.town.socket(), self.town.session(agent));
        match self.pane(agent) {
            None => Some((
                format!("it has no terminal on tmux socket '{socket}'"),
                format!("gastownctl restart {agent}"),
            )),
            Some(pane) if pane.is_guest(&agent.instance()) => Some((
                format!(
                    "somebody has moved its pane into session '{}', which is another agent's",
                    printable(&pane.session)
                ),
                format!("gastownctl restart {agent}"),
            )),
            // Of a rig that is not listed the prefix is not known.
            Some(pane)
                if pane.session != session
                    && agent.rig().is_none_or(|rig| self.town.rigs().contains(rig)) =>
            {
                let is_taken = !panes.session(&session).is_empty();
                let shown = printable(&pane.session);
                Some(match is_taken {
                    true => (
                        format!(
                            "its session '{shown}' should be '{session}', which another one is called"
                        ),
                        format!("tmux -L {socket} list-panes -s -t ={session}:"),
                    ),
                    false => (
                        format!("its session '{shown}' should be '{session}'"),
                        format!("tmux -L {socket} rename-session -t {} {session}", pane.id),
                    ),
                })
            }
            Some(pane) if self.outside.contains(&pane.pid) => Some((
                format!(
                    "its process {} is outside of its unit, where no limit reaches it",
                    pane.pid
                ),
                "systemctl --user start gt-heartbeat.service".into(),
            )),
            Some(_) => None,
        }
    }

    /// A message if somebody runs the agent outside of its unit: a held agent may run there.
    fn elsewhere_alive(&self, agent: &Agent) -> String {
        let session = self.town.session(agent);
        let panes = self.panes.iter();
        let lives = panes
            .flat_map(|panes| panes.session(&session))
            .find(|pane| !pane.dead && process::head(pane.pid) != Head::IdleShell);
        lives.map_or_else(String::new, |pane| {
            format!(
                "; but process {} lives in its session '{session}'",
                pane.pid
            )
        })
    }

    /// Whether the agent's last start came to nothing although it may run. The manager counts that
    /// as a condition that was not met, not as a failure, and forgets the unit at once.
    fn was_skipped(
        &self,
        agent: &Agent,
        since: Option<Timestamp>,
        properties: Option<&Properties>,
    ) -> bool {
        let result = properties.and_then(|p| p.text("Result"));
        let was_seen_down = since.is_some_and(|since| self.last_tick.is_some_and(|at| since < at));
        let is_listed = self.roster.as_ref().is_some_and(|r| r.contains(agent));
        self.up
            && is_listed
            && self.town.lack(agent).is_none()
            && !matches!(Note::of(self.town, agent).load(), Ok(Some(_)))
            && self.elsewhere_alive(agent).is_empty()
            && (was_seen_down || result.as_deref() == Some("exec-condition"))
            // An agent that runs outside of its unit is not started by ticks.
            && matches!(whose::elsewhere(self.town, agent), Ok(None))
    }

    /// Why an agent that may run does not.
    fn down(&self, agent: &Agent, since: Option<Timestamp>) -> String {
        let listed = match self.roster.as_ref().map(|roster| roster.contains(agent)) {
            _ if !self.up => return "the town is stopped".into(),
            // For this `gt-agent check` refuses every start.
            _ if let Some(why) = self.town.lack(agent) => return why,
            None => return "it is not known whether it is to run".into(),
            Some(listed) => listed,
        };
        let left = match Note::of(self.town, agent).load() {
            Ok(left) => left,
            Err(e) => return format!("it is not known how it ended: {e:#}"),
        };
        let stays = self.town.ours().closed_sessions == Closed::Stay;
        let why = match (left, listed) {
            (Some(Left::Waiting(_)), false) if agent.role().is_patrol() => "not on a patrol",
            (Some(Left::Waiting(_)), _) => "it asked to wait; a later tick starts it",
            (Some(Left::AtWork), _) => "it was at work; the next tick starts it again",
            (Some(Left::Closed(_)), true) if stays => {
                "somebody closed its session; 'gastownctl up' starts it again"
            }
            (Some(Left::Closed(_)), true) => {
                "somebody closed its session; a tick soon starts it again"
            }
            (left, false) if let Some(hook) = self.hooks.get(agent) => {
                return on_hook(agent, hook, left.is_some(), stays);
            }
            (Some(Left::Closed(_)), false) => "somebody closed its session",
            (None, true) if since.is_some() => "stopped; the next tick starts it",
            (None, true) => "not started yet; the next tick starts it",
            (None, false) if since.is_some() => "it has ended, and is on no patrol",
            (None, false) => "not on a patrol",
        };
        why.into()
    }

    /// One agent by what the manager (`None`: it did not answer), tmux and the files say; and what
    /// is wrong with the agent's terminal.
    pub fn status(
        &self,
        agent: &Agent,
        unit: Option<Option<&Unit>>,
        properties: Option<&Properties>,
        wrong: Option<&str>,
    ) -> AgentStatus {
        let town = self.town;
        let pane = self.pane(agent);
        let refusals = self.marks.refusals(agent);
        let known = of_unit(agent, unit, properties);
        let is_inactive = known.active_state == "inactive";
        let ended = self.ended.get(agent).filter(|_| is_inactive);
        let mut status = AgentStatus {
            since: known.since.or(ended.copied()),
            session: Some(pane.map_or_else(|| town.session(agent), |p| p.session.clone())),
            held: self.marks.held(agent).ok().map(|note| note.is_some()),
            heartbeat: match agent.role() {
                Role::Deacon => Heartbeat::load(town, Timestamp::now()),
                _ => None,
            },
            terminal: self.terminals.get(agent).cloned(),
            ..known
        };
        let (active, sub) = (&*status.active_state, &*status.sub_state);
        let frozen = status.frozen;
        let job = unit.flatten().and_then(|unit| unit.job.as_deref());
        let frozen = frozen == Some(true);
        let reason = match (active, job) {
            ("unknown", _) => None,
            ("active", _) if frozen => {
                let rig = agent.rig().filter(|_| {
                    let mark = refusals.first().map(|refusal| refusal.mark);
                    mark == Some(Mark::RigEstop)
                });
                let thaw = rig.map_or_else(|| "thaw".into(), |rig| format!("thaw {rig}"));
                Some(format!("frozen; 'gastownctl {thaw}' ends it"))
            }
            _ if frozen => Some(frozen_for_good()),
            ("active", _) if let Some(root) = properties.and_then(|p| elsewhere(town, p)) => {
                Some(format!("runs for '{root}'"))
            }
            ("active", None) if let Some(what) = wrong => Some(what.into()),
            // `gt-agent` waits to see what somebody means by its end.
            ("active", None) if pane.is_some_and(|pane| pane.dead) => Some(ENDED.into()),
            ("active", None) if let Some(State::Asks(question)) = &status.terminal => {
                let what = printable(question.headline());
                Some(format!(
                    "asks '{what}'; 'gastownctl attach {agent}' answers it"
                ))
            }
            ("active", None) if agent.role() == Role::Deacon => match town::deacon::paused(town) {
                Ok(Some(pause)) => Some(match pause.reason {
                    Some(why) => {
                        format!("paused ({}); 'gastownctl resume' ends it", printable(&why))
                    }
                    None => "paused; 'gastownctl resume' ends it".into(),
                }),
                _ => silence(town, status.since, Timestamp::now()),
            },
            ("active", None) => match &status.terminal {
                Some(State::Draft) => {
                    Some("somebody has typed something there and not sent it".into())
                }
                Some(State::Shell) => Some("its terminal shows a shell".into()),
                _ => None,
            },
            (_, Some(job)) => Some(format!("its {job} job is queued")),
            ("failed" | "inactive", None) if let Some(why) = self.refused.get(&status.unit) => {
                let mut why = why.clone();
                if !refusals.is_empty() {
                    why = format!("{why}; and {}", all(&refusals));
                }
                Some(why + &self.elsewhere_alive(agent))
            }
            ("failed", None) => properties.map(|p| format!("gave up: {}", last_end(p))),
            ("activating", None) if sub == "auto-restart" => {
                properties.map(|p| format!("restarts soon: {}", last_end(p)))
            }
            ("inactive", None) => Some(
                match &refusals[..] {
                    [] if self.was_skipped(agent, status.since, properties) => {
                        skipped(&status.agent)
                    }
                    [] => self.down(agent, status.since),
                    refusals => match self.hooks.get(agent) {
                        Some(hook) => {
                            format!("{}; {} waits on its hook", all(refusals), hook.issue)
                        }
                        None => all(refusals),
                    },
                } + &self.elsewhere_alive(agent),
            ),
            _ => None,
        };
        status.reason = reason.map(|reason| one_line(&reason));
        status
    }
}

/// What the manager alone says of an agent, without the town's files.
pub fn of_unit(
    agent: &Agent,
    unit: Option<Option<&Unit>>,
    properties: Option<&Properties>,
) -> AgentStatus {
    let (active, sub) = match unit {
        None => ("unknown", "unknown"),
        Some(None) => ("inactive", "dead"),
        Some(Some(unit)) => (unit.active.as_str(), unit.sub.as_str()),
    };
    let number = |name| properties.and_then(|p| p.number(name));
    let again = properties.filter(|_| active == "active");
    let again = again.and_then(|p| Again::parse(&p.text("StatusText")?));
    // A unit that is not loaded has no processes that could be frozen.
    let is_loaded = unit.is_none_or(|unit| unit.is_some());
    AgentStatus {
        agent: agent.to_string(),
        unit: agent.unit(),
        active_state: active.into(),
        sub_state: sub.into(),
        result: properties.and_then(|p| p.text("Result")),
        since: again
            .map(|again| again.at)
            .or_else(|| properties?.time("StateChangeTimestamp")),
        restarts: number("NRestarts")
            .map(|restarts| restarts + again.map_or(0, |again| again.start.saturating_sub(1))),
        pid: number("MainPID").filter(|&pid| pid != 0),
        memory_bytes: number("MemoryCurrent"),
        cpu_nsec: number("CPUUsageNSec"),
        tasks: number("TasksCurrent"),
        frozen: match properties {
            None if is_loaded => None,
            properties => Some(properties.is_some_and(Properties::is_frozen)),
        },
        ..AgentStatus::default()
    }
}

/// All marks that keep an agent down, in words: it does not start before all have ended.
fn all(refusals: &[Refusal]) -> String {
    let said: Vec<String> = refusals.iter().map(Refusal::to_string).collect();
    said.join("; and ")
}

/// Why a polecat that has work on its hook does not run.
fn on_hook(agent: &Agent, hook: &Hook, was_closed: bool, stays: bool) -> String {
    let Hook { issue, started, .. } = hook;
    let closed = "somebody closed its session; ";
    match (was_closed, started) {
        (true, _) if stays => {
            format!("{closed}{issue} waits on its hook; 'gastownctl start {agent}' starts it")
        }
        (true, _) => format!("{closed}{issue} waits on its hook; a tick soon starts it"),
        (false, None) => format!("{issue} waits on its hook; a tick soon starts it"),
        (false, Some(_)) => format!("it ended without being done: {issue} is on its hook"),
    }
}

/// The root of the town that an agent's unit runs for, if that is another one than ours.
pub fn elsewhere(town: &Town, properties: &Properties) -> Option<String> {
    let said = properties.text("StatusText")?;
    let root = town_of(&said).filter(|root| !files::is_same(Path::new(root), town.root()))?;
    Some(printable(root))
}

/// How a unit's last run ended, in words: what the program said of itself, and its status.
pub fn last_end(properties: &Properties) -> String {
    const KILLED: i32 = 2;
    const DUMPED: i32 = 3;
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
    let said = properties.text("StatusText").unwrap_or_default();
    match why_failed(&said, status) {
        Some(why) => format!("{why} ({end})"),
        None => end,
    }
}

/// What is wrong with a unit that is frozen and does not run: since systemd 256 the manager can
/// neither thaw, stop nor start it.
pub fn frozen_for_good() -> String {
    let user = nix::unistd::geteuid();
    format!(
        "it ended while it was frozen, which systemd does not get over; run 'systemctl restart user@{user}.service' as root"
    )
}

/// The message about an agent that ticks start in vain, such as one with a drop-in that the manager
/// cannot apply.
fn skipped(agent: &str) -> String {
    format!("down, and its last start came to nothing; 'gastownctl logs {agent}' tells why")
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
        _ if reason == skipped(name) => Some(format!("{name} is {reason}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::marks;
    use crate::town::tests::town_with;

    fn status(town: &Town, agent: &str, unit: Option<Option<&Unit>>) -> AgentStatus {
        seen(town).status(&agent.parse().unwrap(), unit, None, None)
    }

    fn seen(town: &Town) -> Seen<'_> {
        Seen {
            town,
            marks: Marks::of(town),
            refused: BTreeMap::new(),
            up: true,
            panes: None,
            outside: BTreeSet::new(),
            stopped: BTreeSet::new(),
            terminals: BTreeMap::new(),
            roster: town.roster().ok(),
            ended: BTreeMap::new(),
            last_tick: None,
            hooks: BTreeMap::new(),
        }
    }

    #[test]
    fn a_heartbeat_that_cannot_be_read_is_no_silence() {
        for (text, want) in [
            (None, "silent: it has written no heartbeat"),
            (Some("{"), "whether it is silent is not known: Cannot use '"),
        ] {
            let files = text.map(|text| (deacon::HEARTBEAT, text));
            let (_dir, town) = town_with(1, files.as_slice());
            let now = Timestamp::now();
            // The second start was before the clock was set back.
            for since in [None, Some(now + jiff::SignedDuration::from_hours(3))] {
                let said = silence(&town, since, now).unwrap();
                assert!(said.starts_with(want), "{said}");
            }
        }
    }

    fn running() -> Unit {
        Unit {
            name: Agent::deacon().unit(),
            description: String::new(),
            active: "active".into(),
            sub: "running".into(),
            job: None,
            load: "loaded".into(),
        }
    }

    #[test]
    fn what_is_not_known_is_neither_yes_nor_no() {
        let unit = running();
        let (_dir, town) = town_with(1, &[]);
        for (seen, frozen) in [
            (None, None),
            (Some(None), Some(false)),
            (Some(Some(&unit)), None),
        ] {
            let deacon = status(&town, "deacon", seen);
            assert_eq!((deacon.held, deacon.frozen), (Some(false), frozen));
        }
        let held = town.path("daemon/held");
        std::fs::create_dir(town.path("daemon")).unwrap();
        std::os::unix::fs::symlink(&held, &held).unwrap();
        let deacon = status(&town, "deacon", None);
        let json = serde_json::to_value(&deacon).unwrap();
        assert!(json["held"].is_null() && json["frozen"].is_null(), "{json}");
    }

    #[test]
    fn an_agent_whose_program_has_ended_does_not_just_run() {
        let unit = running();
        let (_dir, town) = town_with(1, &[]);
        for dead in [false, true] {
            let pane = Pane {
                id: "%1".into(),
                pid: 0,
                dead,
                status: None,
                signal: None,
                owner: Some("deacon".into()),
                home: None,
                server: 812,
                clients: 0,
                created: None,
                report: None,
                session: town.session(&Agent::deacon()),
            };
            let panes = [pane];
            let seen = Seen {
                panes: Some(Index::of(&panes)),
                ..seen(&town)
            };
            let deacon = seen.status(&Agent::deacon(), Some(Some(&unit)), None, None);
            assert_eq!(deacon.reason.as_deref() == Some(ENDED), dead, "{deacon:?}");
        }
    }

    #[test]
    fn nobody_is_told_to_rename_the_session_of_a_rig_that_is_not_listed() {
        let ours = [(crate::town::ours::FILE, r#"{"gt_version":"1.0.1"}"#)];
        let (_dir, town) = town_with(2, &ours);
        for (name, session, want) in [
            ("ff/witness", "ff-witness", false),
            ("ff/witness", "old-witness", true),
            ("gone/witness", "go-witness", false),
        ] {
            let agent: Agent = name.parse().unwrap();
            let panes = [Pane {
                id: "%1".into(),
                pid: 0,
                dead: false,
                status: None,
                signal: None,
                owner: Some(agent.instance()),
                home: None,
                server: 812,
                clients: 0,
                created: None,
                report: None,
                session: session.into(),
            }];
            let seen = Seen {
                panes: Some(Index::of(&panes)),
                ..seen(&town)
            };
            assert_eq!(
                seen.terminal(&agent, None).is_some(),
                want,
                "{name} {session}"
            );
        }
    }

    #[test]
    fn a_start_that_came_to_nothing_is_a_problem() {
        let at = |minute| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minute);
        let (_dir, town) = town_with(1, &[]);
        let deacon = Agent::deacon();
        for (last_tick, is_told) in [(None, false), (Some(at(1)), false), (Some(at(3)), true)] {
            let seen = Seen {
                ended: [(deacon.clone(), at(2))].into(),
                last_tick,
                ..seen(&town)
            };
            let told = problem(&seen.status(&deacon, Some(None), None, None));
            assert_eq!(told.is_some(), is_told, "{told:?}");
        }
        // A mark is a reason, and no failure.
        marks::hold(&town, &deacon, "", at(0)).unwrap();
        let seen = Seen {
            ended: [(deacon.clone(), at(2))].into(),
            last_tick: Some(at(3)),
            ..seen(&town)
        };
        assert_eq!(problem(&seen.status(&deacon, Some(None), None, None)), None);
    }

    #[test]
    fn why_an_agent_is_down_names_all_that_keeps_it_there() {
        let now = Timestamp::UNIX_EPOCH;
        let (_dir, town) = town_with(1, &[("ff/x", "")]);
        let witness: Agent = "ff/witness".parse().unwrap();
        marks::hold(&town, &witness, "", now).unwrap();
        marks::set_estop(&town, None, "", now).unwrap();
        let why = status(&town, "ff/witness", Some(None)).reason.unwrap();
        assert!(why.starts_with("the town has an emergency stop"), "{why}");
        assert!(why.contains("'gastownctl start ff/witness'"), "{why}");
        // A rig without a directory.
        marks::clear_estop(&town, None).unwrap();
        let why = status(&town, "gastown/witness", Some(None)).reason;
        assert!(why.unwrap().contains("there is no '"));
        marks::release(&town, &witness).unwrap();
        std::fs::create_dir_all(town.path("daemon/agents/ff-witness")).unwrap();
        let why = status(&town, "ff/witness", Some(None)).reason.unwrap();
        assert!(why.starts_with("it is not known how it ended: '"), "{why}");
    }
}

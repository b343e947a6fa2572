//! What a tick is to do, in words and as data.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::memory::{Due, Memory};
use crate::agent::Agent;

/// The latest next tick.
pub(super) const CEILING: SignedDuration = SignedDuration::from_hours(1);

/// The earliest.
const FLOOR: SignedDuration = SignedDuration::from_secs(1);

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Action {
    /// Start an agent that is down.
    Start { agent: Agent },
    /// Try an agent that gave up once more; `count` tells how often that was done.
    Retry { agent: Agent, count: u32 },
    /// Stop an agent that is not to run.
    Stop { agent: Agent },
    /// Restart an agent that is stuck.
    Restart { agent: Agent },
    /// Move an agent's process, which something has taken out of its unit, into it again.
    BringBack { agent: Agent, pid: u32 },
    /// Type a reminder to an agent.
    Poke {
        agent: Agent,
        pane: String,
        text: String,
    },
    /// Type its first words to an agent whose program takes none as an argument.
    Instruct {
        agent: Agent,
        pane: String,
        text: String,
    },
    /// Take back what was typed to an agent and not taken.
    TakeBack { agent: Agent, pane: String },
    /// Agree to what an agent asks, because the settings say so.
    Agree { agent: Agent, pane: String },
    /// Start one of our own units that is down.
    Restore { unit: String },
    /// Tell the Witness of its rig that a polecat crashed.
    Tell {
        agent: Agent,
        to: Agent,
        issue: Option<String>,
    },
    /// Note in an agent's bead that it is dead.
    MarkDead {
        agent: Agent,
        bead: String,
        was: String,
    },
}

impl Action {
    /// Its name in plans and in the journal.
    pub fn name(&self) -> String {
        let plan = serde_json::to_value(self).unwrap_or_default();
        plan["action"].as_str().unwrap_or_default().into()
    }

    /// The agent that it is about.
    pub fn agent(&self) -> Option<&Agent> {
        match self {
            Action::Start { agent }
            | Action::Retry { agent, .. }
            | Action::Stop { agent }
            | Action::Restart { agent }
            | Action::BringBack { agent, .. }
            | Action::Poke { agent, .. }
            | Action::Instruct { agent, .. }
            | Action::Tell { agent, .. }
            | Action::TakeBack { agent, .. }
            | Action::Agree { agent, .. }
            | Action::MarkDead { agent, .. } => Some(agent),
            Action::Restore { .. } => None,
        }
    }
}

impl Action {
    /// Whether it is done only so often, so that it has to be remembered.
    pub fn is_counted(&self) -> bool {
        matches!(
            self,
            Action::Poke { .. }
                | Action::Retry { .. }
                | Action::Restart { .. }
                | Action::Tell { .. }
        )
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Action::Start { agent } => write!(f, "start {agent}"),
            Action::Retry { agent, count } => write!(f, "try {agent} again, time {count}"),
            Action::Stop { agent } => write!(f, "stop {agent}"),
            Action::Restart { agent } => write!(f, "restart {agent}"),
            Action::BringBack { agent, pid } => write!(f, "bring back {agent}, process {pid}"),
            Action::Poke { agent, text, .. } => write!(f, "poke {agent} with '{text}'"),
            Action::Instruct { agent, .. } => write!(f, "instruct {agent} by its first words"),
            Action::TakeBack { agent, .. } => {
                write!(f, "take back what was typed to {agent} and not taken")
            }
            Action::Agree { agent, .. } => write!(f, "agree to what {agent} asks"),
            Action::Restore { unit } => write!(f, "start {unit}"),
            Action::Tell { agent, to, .. } => write!(f, "tell {to} that {agent} crashed"),
            Action::MarkDead { agent, bead, .. } => write!(f, "mark bead {bead} of {agent} dead"),
        }
    }
}

impl Action {
    /// The same once it is done, or handed to the manager: for the journal.
    pub fn done(&self) -> String {
        let text = self.to_string();
        let (_, rest) = text.split_once(' ').unwrap_or_default();
        let verb = match self {
            Action::Start { .. } | Action::Restore { .. } => "Starting",
            Action::Retry { .. } => "Trying",
            Action::Stop { .. } => "Stopping",
            Action::Restart { .. } => "Restarting",
            Action::BringBack { .. } => "Brought",
            Action::Poke { .. } => "Poked",
            Action::Instruct { .. } => "Instructed",
            Action::Tell { .. } => "Told",
            Action::TakeBack { .. } => "Taking",
            Action::Agree { .. } => "Agreed",
            Action::MarkDead { .. } => "Marked",
        };
        format!("{verb} {rest}")
    }
}

/// A thing to do, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    #[serde(flatten)]
    pub action: Action,
    /// Why, in words.
    pub reason: String,
}

/// When the next tick is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// Seconds from now, 1 to 3600.
    pub seconds: u64,
    /// What for.
    pub reason: String,
    /// The town is idle: new activity is to bring the tick forward.
    pub wake: bool,
}

/// What a tick does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The things to do, in this order.
    pub steps: Vec<Step>,
    /// Agents that are left alone, and why.
    pub left: BTreeMap<Agent, String>,
    /// Agents whose failure the manager is to forget, for they are gone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub forget: BTreeSet<Agent>,
    /// Agents for whom a poke is due that is not typed now, and why, where that is new.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waits: BTreeMap<Agent, String>,
    /// Agents whose screens disagree with what they report of themselves, and how, where that is
    /// new.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disagreements: BTreeMap<Agent, String>,
    /// Alerts that begin, by key.
    pub raise: BTreeMap<String, String>,
    /// Alerts that end, by key.
    pub clear: BTreeMap<String, String>,
    /// Agents that died together.
    pub mass_death: Vec<Agent>,
    /// This tick judges nobody, and why.
    pub gap: Option<String>,
    /// The next tick.
    pub next: Next,
    /// What the next tick is told, if all steps succeed.
    pub memory: Memory,
}

impl Next {
    /// The tick at `at`, as seen from `now`.
    pub(super) fn new(now: Timestamp, at: Timestamp, reason: String, wake: bool) -> Next {
        let after = now.duration_until(at).clamp(FLOOR, CEILING);
        let seconds = (after.as_millis() + 999) / 1000;
        Next {
            seconds: u64::try_from(seconds).unwrap_or(1).clamp(1, 3600),
            reason,
            wake,
        }
    }
}

impl Plan {
    /// Has the next tick be at `at`, if that is earlier.
    pub fn bring_forward(&mut self, now: Timestamp, at: Option<Timestamp>, reason: &str) {
        let Some(at) = at else { return };
        let earlier = Next::new(now, at, reason.to_string(), self.next.wake);
        if earlier.seconds < self.next.seconds {
            self.memory.next = Some(Due {
                at: now + SignedDuration::from_secs(earlier.seconds.try_into().unwrap_or(1)),
                wake: earlier.wake,
            });
            self.next = earlier;
        }
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(gap) = &self.gap {
            writeln!(f, "Nobody is judged: {gap}")?;
        }
        for step in &self.steps {
            let action = step.action.to_string();
            let (first, rest) = action.split_at(1);
            writeln!(f, "{}{rest}: {}", first.to_uppercase(), step.reason)?;
        }
        for (agent, why) in &self.left {
            writeln!(f, "Leave {agent}: {why}")?;
        }
        for agent in &self.forget {
            writeln!(f, "Forget that {agent} gave up")?;
        }
        for summary in self.raise.values() {
            writeln!(f, "Begin alert: {summary}")?;
        }
        for summary in self.clear.values() {
            writeln!(f, "End alert: {summary}")?;
        }
        writeln!(
            f,
            "Next tick in {} s: {}",
            self.next.seconds, self.next.reason
        )
    }
}

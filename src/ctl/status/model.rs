//! The town at one moment.

use jiff::Timestamp;
use serde::Serialize;

use super::agent::AgentStatus;

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
    /// The ticks that were counted.
    pub ticks: Ticks,
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

/// How many ticks there have been.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ticks {
    /// Their number.
    pub count: i64,
    /// Since when they have been counted; `None`: that is not known.
    pub since: Option<Timestamp>,
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

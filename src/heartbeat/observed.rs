//! What a tick has seen: the input of [`super::decide`], filled by [`super::observe`].

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::memory::{Clocks, Memory, Shown};
use crate::agent::Agent;
use crate::terminal::State;
use crate::tmux::Words;
use crate::tools::bd::Bead;
use crate::town::left::Left;
use crate::town::marks::Mark;
use crate::town::ours::Ours;

/// Units without which nothing would happen any more: they are started again.
pub const KEPT_UNITS: &[&str] = &[
    "gt-heartbeat.path",
    "gt-heartbeat.timer",
    "gt-lifecycle.path",
    "gt-spawn-trigger.path",
    "gt-tmux.service",
    "gt-town.service",
];

/// Executes requests.
pub const LIFECYCLE: &str = "gt-lifecycle.service";

/// Tells spawned polecats to begin.
pub const SPAWN_TRIGGER: &str = "gt-spawn-trigger.service";

/// Services that do a job and end; ticks start them.
pub const JOBS: &[&str] = &[LIFECYCLE, SPAWN_TRIGGER];

/// Services that look at files that have changed; each change starts them, and a tick does where
/// they failed.
pub const LOOKS: &[&str] = &["gt-heartbeat-changed.service", "gt-heartbeat-look.service"];

/// All that [`super::decide`] knows. It reads and writes as JSON, for the golden cases.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Observed {
    /// The thresholds.
    pub rules: Ours,
    /// Somebody has stopped the town.
    pub stopped: bool,
    /// Every agent of the patrols, every worker, and whoever has a unit or a note.
    pub agents: BTreeMap<Agent, Seen>,
    /// Our own units: those that are to be up, and those that failed, by name.
    pub units: BTreeMap<String, UnitState>,
    /// The Deacon's heartbeat.
    pub heartbeat: Beat,
    /// Why the Deacon is not to be judged, if it is paused or that is not known.
    pub paused: Option<String>,
    /// The last `gt` command.
    pub activity: Activity,
    /// When something else than a `gt` command last showed that somebody works.
    pub sign: Option<Timestamp>,
    /// What is wrong with the configuration, by alert key.
    pub problems: BTreeMap<String, String>,
    /// Alerts of ours that are open, by key.
    pub alerts: BTreeMap<String, String>,
    /// The state of agents as `bd` has it; `None`: not asked, or no usable answer.
    pub beads: Option<Vec<Bead>>,
    /// Why nothing is known about terminals.
    pub blind: Option<String>,
    /// The clocks now.
    pub clocks: Option<Clocks>,
    /// What the last tick left.
    pub memory: Memory,
}

impl Observed {
    /// The root of another town that agents run for, if there are any.
    pub fn others_root(&self) -> Option<&str> {
        let mut units = self.agents.values().map(|seen| &seen.unit);
        units.find_map(|unit| unit.theirs.as_deref())
    }
}

/// One agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seen {
    /// The patrols want it running.
    pub wanted: bool,
    /// Its patrol is switched off, so it is to be stopped.
    pub dismissed: bool,
    /// The registry does not list its rig.
    pub stray: bool,
    /// The town has no such agent any more: its directory is gone, or its rig is not listed.
    pub gone: bool,
    /// What keeps it from running.
    pub refusal: Option<Refused>,
    /// Its unit.
    pub unit: UnitState,
    /// Whether it can be started now, if it gave up because it could not be, such as for its
    /// configuration or for want of its program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usable: Option<bool>,
    /// Its pane; `None`: none, or not known.
    pub pane: Option<String>,
    /// The first process of that pane.
    pub pid: u32,
    /// Its screen, to tell whether it answers pokes.
    pub screen: Option<Shown>,
    /// The CPU time that its unit has used, in nanoseconds, for a Deacon that is silent.
    pub cpu: Option<u64>,
    /// What its terminal is ready for; `None`: not known.
    pub terminal: Option<State>,
    /// How its screen disagrees with what it reports of itself, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<String>,
    /// The first words that are still to be typed to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<Words>,
    /// The terminal takes no text in its present state.
    pub withheld: bool,
    /// The settings allow to agree to what it asks, and that has not been done yet.
    pub agreed: bool,
    /// What we typed there was not taken and still stands there.
    pub left_over: bool,
    /// Something lives in its terminal, in its unit or not.
    pub session: bool,
    /// A program runs in its session, which does not have the mark of its unit.
    pub outside: bool,
    /// Where it runs without its unit's doing, on another tmux server than the town's or beside
    /// the pane that is its unit's, in words.
    pub elsewhere: Option<String>,
    /// When its session appeared, if there is nothing but a shell in it yet.
    pub appeared: Option<Timestamp>,
    /// What its last run left, if it is down.
    pub left: Option<Left>,
    /// The process of its pane, if something has taken it out of the unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strayed: Option<u32>,
}

/// The [`Refused::mark`] of an agent whose unit the manager does not start, such as one that is masked.
pub const UNIT: &str = "unit";

/// What keeps an agent from running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// [`Mark::name`], or [`UNIT`].
    pub mark: String,
    /// In words.
    pub reason: String,
}

impl Refused {
    /// The file that would tell cannot be used, so the agent is neither started nor stopped.
    pub fn is_unknown(&self) -> bool {
        self.mark == Mark::Unknown.name()
    }

    /// The manager does not start its unit.
    pub fn is_of_unit(&self) -> bool {
        self.mark == UNIT
    }

    /// The alert's key: one for the file that cannot be used, which the reason names first, however
    /// many agents it is about.
    pub fn condition(&self) -> String {
        let file = self.reason.split('\'').nth(1).unwrap_or(&self.reason);
        format!("refusal-{file}")
    }

    /// It says that the agent must not be started, not that it must not run. A parked rig takes no
    /// new work; agents that are at work in it go on.
    pub fn lets_run(&self, agent: &Agent) -> bool {
        let is = |mark: Mark| self.mark == mark.name();
        self.is_unknown()
            || is(Mark::NoAutoRestart)
            || agent.role().is_worker() && (is(Mark::Parked) || is(Mark::Docked))
    }
}

/// A unit, as the manager has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UnitState {
    /// `active`, `activating`, `failed`, `inactive`, ...
    pub active: String,
    /// `running`, `auto-restart`, ...
    pub sub: String,
    /// The kind of its queued job.
    pub job: Option<String>,
    /// `success`, `exit-code`, `start-limit-hit`, ...
    pub result: String,
    /// The exit status of its main process.
    pub status: i32,
    /// When it became active.
    pub since: Option<Timestamp>,
    /// When it was last down.
    pub down: Option<Timestamp>,
    /// How many times the manager restarted it.
    pub restarts: u64,
    /// Somebody froze its processes.
    pub frozen: bool,
    /// The root of another town than ours, if it runs for one: `town.env` named that one when it was
    /// started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theirs: Option<String>,
    /// Why the manager does not start it, if it is a unit of ours that a tick may have to start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

impl Default for UnitState {
    /// A unit that was never started.
    fn default() -> UnitState {
        UnitState {
            active: "inactive".into(),
            sub: "dead".into(),
            job: None,
            result: "success".into(),
            status: 0,
            since: None,
            down: None,
            restarts: 0,
            frozen: false,
            theirs: None,
            refused: None,
        }
    }
}

impl UnitState {
    /// It is up.
    pub fn is_active(&self) -> bool {
        self.active == "active"
    }

    /// It gave up.
    pub fn is_failed(&self) -> bool {
        self.active == "failed"
    }

    /// The manager is about to change its state: starting, stopping, restarting.
    pub fn is_changing(&self) -> bool {
        self.job.is_some() || !matches!(self.active.as_str(), "active" | "inactive" | "failed")
    }

    /// It is down, and the manager leaves it there.
    pub fn is_down(&self) -> bool {
        !self.is_active() && !self.is_changing()
    }
}

/// The Deacon's heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beat {
    /// There is none.
    #[default]
    Missing,
    /// There is a file, and it cannot be used.
    Unreadable,
    /// Written at this time.
    At(Timestamp),
}

/// The last `gt` command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// It is not written down, or not readably.
    #[default]
    Missing,
    /// It was one of ours, or the status line's.
    Ours,
    /// It was somebody's, at this time.
    At(Timestamp),
}

//! What is to be done. Pure: no file, no clock, no bus, so the same input gives the same plan.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::memory::{Clocks, Due, Memory, Pokes, Retry, Shown};
use super::observe::{Activity, Beat, Observed, Seen, UnitState};
use super::tips;
use crate::agent::{Agent, Role};
use crate::alert::{self, unit_key};
use crate::exit::Exit;
use crate::town::deacon::{Freshness, freshness};

/// A suspend or a step of the clock shorter than this is none.
const GAP_MSEC: i64 = 30_000;

/// An agent that has been up for this long counts as back.
const BACK: SignedDuration = SignedDuration::from_secs(20);

/// Deaths closer together than this, and this many, are one event.
const MASS_WINDOW: SignedDuration = SignedDuration::from_secs(30);
const MASS_COUNT: usize = 3;

/// The latest next tick.
const CEILING: SignedDuration = SignedDuration::from_hours(1);

/// The earliest.
const FLOOR: SignedDuration = SignedDuration::from_secs(1);

/// This many unusable answers of `bd` in a row are worth an alert.
const BD_FAILURES: u32 = 3;

/// Units without which nothing would happen any more: they are started again.
pub const KEPT_UNITS: &[&str] = &[
    "gt-heartbeat.path",
    "gt-heartbeat.timer",
    "gt-lifecycle.path",
    "gt-spawn-trigger.path",
    "gt-tmux.service",
    "gt-town.service",
];

/// Services that do a job and end; each tick starts them.
pub const JOBS: &[&str] = &["gt-lifecycle.service", "gt-spawn-trigger.service"];

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
    /// Type a reminder to an agent.
    Poke {
        agent: Agent,
        pane: String,
        text: String,
    },
    /// Start one of our own units that is down.
    Restore { unit: String },
    /// Note in an agent's bead that it is dead.
    MarkDead {
        agent: Agent,
        bead: String,
        was: String,
    },
}

impl Action {
    /// The agent that it is about.
    pub fn agent(&self) -> Option<&Agent> {
        match self {
            Action::Start { agent }
            | Action::Retry { agent, .. }
            | Action::Stop { agent }
            | Action::Restart { agent }
            | Action::Poke { agent, .. }
            | Action::MarkDead { agent, .. } => Some(agent),
            Action::Restore { .. } => None,
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Action::Start { agent } => write!(f, "start {agent}"),
            Action::Retry { agent, count } => write!(f, "try {agent} again, time {count}"),
            Action::Stop { agent } => write!(f, "stop {agent}"),
            Action::Restart { agent } => write!(f, "restart {agent}"),
            Action::Poke { agent, text, .. } => write!(f, "poke {agent} with '{text}'"),
            Action::Restore { unit } => write!(f, "start {unit}"),
            Action::MarkDead { agent, bead, .. } => write!(f, "mark bead {bead} of {agent} dead"),
        }
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
    /// In this order.
    pub steps: Vec<Step>,
    /// Agents that are left alone, and why.
    pub left: BTreeMap<Agent, String>,
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

struct Deciding<'a> {
    seen: &'a Observed,
    now: Timestamp,
    gap: Option<String>,
    steps: Vec<Step>,
    left: BTreeMap<Agent, String>,
    /// Conditions that hold, by alert key.
    conditions: BTreeMap<String, String>,
    /// Keys whose condition is not known to have ended.
    pending: BTreeSet<String>,
    deadlines: Vec<(Timestamp, String)>,
    memory: Memory,
}

/// Decides.
pub fn decide(seen: &Observed, now: Timestamp) -> Plan {
    let mut memory = seen.memory.clone();
    let gap = gap(memory.clocks.as_ref(), seen.clocks.as_ref());
    if gap.is_some() {
        memory.woke = Some(now);
    }
    memory.clocks.clone_from(&seen.clocks);
    let mut deciding = Deciding {
        seen,
        now,
        gap,
        steps: Vec::new(),
        left: BTreeMap::new(),
        conditions: seen.problems.clone(),
        pending: BTreeSet::new(),
        deadlines: Vec::new(),
        memory,
    };
    if !seen.stopped {
        deciding.all();
    }
    deciding.plan()
}

/// Why nobody is to be judged: time did not simply pass since the last tick.
fn gap(before: Option<&Clocks>, now: Option<&Clocks>) -> Option<String> {
    let (before, now) = (before?, now?);
    if before.boot_id != now.boot_id {
        return Some("the machine was started".into());
    }
    let passed = now.boottime.saturating_sub(before.boottime);
    let awake = now.monotonic.saturating_sub(before.monotonic);
    let shown = now.realtime.as_millisecond() - before.realtime.as_millisecond();
    if passed.saturating_sub(awake) > GAP_MSEC {
        Some("the machine was asleep".into())
    } else if passed < 0 || shown.saturating_sub(passed).saturating_abs() > GAP_MSEC {
        Some("the clock was set".into())
    } else {
        None
    }
}

impl Deciding<'_> {
    fn all(&mut self) {
        for (name, unit) in &self.seen.units {
            self.own(name, unit);
        }
        for (agent, seen) in &self.seen.agents {
            self.agent(agent, seen);
        }
        self.deaths();
        if self.memory.bd_failures >= BD_FAILURES {
            let summary = "'bd' gives no usable answer, so beads of dead agents are not marked; \
                 try 'bd list --json' in the town";
            self.conditions.insert("bd".into(), summary.into());
        }
        self.rigs();
        if let Some(beads) = &self.seen.beads {
            self.steps.extend(dead_beads(self.seen, beads));
        }
    }

    /// One of our own units: those that wait for something are to be up, the others are to
    /// have done their last job.
    fn own(&mut self, name: &str, unit: &UnitState) {
        let is_kept = KEPT_UNITS.contains(&name);
        let key = unit_key(name);
        if unit.is_failed() {
            let summary = alert::failed(name, &unit.result, unit.status);
            self.conditions.insert(key, summary);
        } else if unit.is_changing() || (unit.is_active() && !is_kept) {
            self.pending.insert(key);
        }
        if is_kept && unit.is_down() {
            let reason = format!("it is {}, and the town is up", unit.active);
            let unit = name.to_string();
            self.push(Action::Restore { unit }, reason);
        }
    }

    fn push(&mut self, action: Action, reason: impl Into<String>) {
        let reason = reason.into();
        self.steps.push(Step { action, reason });
    }

    /// An open alert about an agent ends when the agent has been up for a while: look then.
    fn look_again(&mut self, agent: &Agent, key: &str, after: SignedDuration) {
        self.pending.insert(key.to_string());
        if self.seen.alerts.contains_key(key) {
            self.at(self.now + after, format!("whether {agent} stays up"));
        }
    }

    fn leave(&mut self, agent: &Agent, why: impl Into<String>) {
        self.left.insert(agent.clone(), why.into());
    }

    fn at(&mut self, time: Timestamp, what: impl Into<String>) {
        self.deadlines.push((time, what.into()));
    }

    fn agent(&mut self, agent: &Agent, seen: &Seen) {
        let unit = &seen.unit;
        let key = unit_key(&agent.unit());
        // Whoever is refused for a reason that cannot be read is left as it is.
        if let Some(refused) = &seen.refusal
            && refused.is_unknown()
        {
            self.pending.insert(key);
            self.conditions.insert(
                format!("refusal-{}", agent.rig().unwrap_or_default()),
                refused.reason.clone(),
            );
            return self.leave(agent, refused.reason.clone());
        }
        if unit.is_changing() {
            self.look_again(agent, &key, BACK);
            return self.leave(agent, format!("it is {}", doing(seen)));
        }
        if unit.is_active() {
            return self.active(agent, seen);
        }
        let record = self.memory.record(agent);
        record.pokes = Pokes {
            last: record.pokes.last,
            tip: record.pokes.tip,
            ..Pokes::default()
        };
        if let Some(refused) = &seen.refusal {
            record.retry = None;
            return self.leave(agent, refused.reason.clone());
        }
        record.stopped = None;
        if !seen.wanted {
            record.retry = None;
            if unit.is_failed() {
                self.failed(agent, seen);
            }
            return;
        }
        let waiting = unit.status == i32::from(Exit::TryAgain as u8) && !unit.is_failed();
        if !unit.is_failed() && !waiting {
            self.memory.record(agent).retry = None;
            self.look_again(agent, &key, BACK);
            return self.push(
                Action::Start {
                    agent: agent.clone(),
                },
                "it is to run and does not",
            );
        }
        if unit.is_failed() {
            self.failed(agent, seen);
        }
        self.retry(agent, seen, waiting);
    }

    fn failed(&mut self, agent: &Agent, seen: &Seen) {
        let summary = alert::gave_up(agent, &seen.unit.result, seen.unit.status);
        self.conditions.insert(unit_key(&agent.unit()), summary);
    }

    /// An agent that gave up, or that asked to be left alone for a while, is tried again after
    /// pauses that grow.
    fn retry(&mut self, agent: &Agent, seen: &Seen, waiting: bool) {
        let rules = &self.seen.rules;
        let now = self.now;
        let pause = |count: u32| {
            let grown = rules.retry_first.checked_mul(1 << count.min(10));
            grown.map_or(rules.retry_longest, |pause| pause.min(rules.retry_longest))
        };
        let gap = self.gap.is_some();
        let down = seen.unit.down.filter(|down| *down <= now).unwrap_or(now);
        let record = self.memory.record(agent);
        let retry = record.retry.get_or_insert(Retry {
            count: 0,
            at: down + pause(0),
        });
        // A clock that was set must neither hasten nor defer it for ever.
        if gap || retry.at > now + pause(retry.count) {
            retry.at = now + pause(retry.count);
        }
        let state = if waiting {
            "it asked to wait"
        } else {
            "it gave up"
        };
        if retry.at <= now {
            retry.count = retry.count.saturating_add(1);
            retry.at = now + pause(retry.count);
            let (count, at) = (retry.count, retry.at);
            let reason = format!("{state}, and its pause is over");
            let agent = agent.clone();
            self.at(at, format!("the next try of {agent}"));
            self.look_again(&agent, &unit_key(&agent.unit()), BACK);
            self.push(Action::Retry { agent, count }, reason);
        } else {
            let at = retry.at;
            self.at(at, format!("the next try of {agent}"));
            self.leave(agent, format!("{state}; it is tried again at {at:.0}"));
        }
    }

    fn active(&mut self, agent: &Agent, seen: &Seen) {
        // An emergency stop that freezes keeps what the agent knows; a stop would lose it.
        if seen.unit.frozen {
            return self.leave(agent, "it is frozen; 'gastownctl thaw' ends it");
        }
        let refused = seen.refusal.as_ref().filter(|refused| !refused.lets_run());
        let unwanted = match (refused, seen.dismissed) {
            (Some(refused), _) => Some((refused.mark.clone(), refused.reason.clone())),
            (None, true) => Some(("patrol-off".into(), "its patrol is switched off".into())),
            (None, false) => None,
        };
        let key = unit_key(&agent.unit());
        let since = seen.unit.since.filter(|since| *since <= self.now);
        let up = since.map_or(CEILING, |since| self.now.duration_since(since));
        let longest = self.seen.rules.retry_first;
        let record = self.memory.record(agent);
        if up >= longest {
            record.retry = None;
        }
        if let Some((mark, reason)) = unwanted {
            if record.stopped.as_ref() == Some(&mark) {
                return self.leave(agent, format!("{reason}; it was stopped once already"));
            }
            record.stopped = Some(mark);
            let agent = agent.clone();
            return self.push(Action::Stop { agent }, reason);
        }
        record.stopped = None;
        if up < BACK {
            self.look_again(agent, &key, BACK - up);
        }
        match agent.role() {
            Role::Deacon if seen.wanted => self.deacon(agent, seen),
            Role::Witness if seen.wanted && self.seen.rules.poke_witnesses => {
                self.witness(agent, seen, up);
            }
            _ => {}
        }
    }

    /// The Deacon is poked when its heartbeat is very stale, and restarted when that, three
    /// times, brought no sign of life at all.
    fn deacon(&mut self, agent: &Agent, seen: &Seen) {
        let (rules, now) = (&self.seen.rules, self.now);
        let before = self.memory.record(agent).pokes.clone();
        let fresh = Pokes {
            last: before.last,
            tip: before.tip,
            ..Pokes::default()
        };
        if let Some(gap) = self.gap.clone() {
            self.memory.record(agent).pokes = fresh;
            self.at(now + rules.grace, "the end of the Deacon's grace");
            return self.leave(agent, format!("{gap}, so nobody is judged now"));
        }
        if let Some(paused) = self.seen.paused.clone() {
            self.memory.record(agent).pokes = fresh;
            return self.leave(agent, paused);
        }
        // A start in the future is a start that is not known.
        let since = seen.unit.since.filter(|since| *since <= now);
        let started = since.max(self.memory.woke.filter(|woke| *woke <= now));
        let grace_end = started.map_or(now, |started| started + rules.grace);
        if now < grace_end {
            self.memory.record(agent).pokes = fresh;
            self.at(grace_end, "the end of the Deacon's grace");
            return self.leave(agent, "it has just been started");
        }
        // One that is older than the unit's start says nothing about this process.
        let beat = match self.seen.heartbeat {
            Beat::At(time) if since.is_none_or(|since| time >= since) => Some(time),
            _ => None,
        };
        match freshness(beat, now, rules.stale, rules.very_stale) {
            Freshness::Unknown => {
                self.memory.record(agent).pokes = fresh;
                return self.leave(
                    agent,
                    "its heartbeat lies in the future, which says nothing",
                );
            }
            Freshness::Fresh | Freshness::Stale => {
                self.memory.record(agent).pokes = fresh;
                if let Some(beat) = beat {
                    self.at(beat + rules.very_stale, "the Deacon's heartbeat");
                }
                return;
            }
            Freshness::VeryStale => {}
        }
        let mut pokes = before;
        if beat.is_some_and(|beat| pokes.last.is_some_and(|last| beat > last)) {
            pokes = fresh.clone();
        }
        let answered = |now: &Shown, before: &Shown| !is_unchanged(before, now);
        match (&seen.screen, &pokes.screen) {
            (Some(now), Some(before)) if answered(now, before) => pokes.unanswered = 0,
            // What is not seen is no evidence.
            (None, _) | (_, None) => pokes.unanswered = 0,
            _ => {}
        }
        let spacing = |count: u32| {
            let grown = rules.poke_spacing.checked_mul(1 << count.min(10));
            grown.map_or(CEILING, |spacing| spacing.min(CEILING))
        };
        // A poke from the future is one from now.
        let since_last = pokes.last.map(|last| now.duration_since(last));
        let since_last = since_last.map(|passed| passed.max(SignedDuration::ZERO));
        let stuck = rules.pokes > 0 && pokes.unanswered >= rules.pokes && beat.is_some();
        let due = if stuck {
            rules.poke_spacing
        } else {
            spacing(pokes.count.saturating_sub(1))
        };
        let wait = since_last.map_or(SignedDuration::ZERO, |passed| due - passed);
        let age = beat.map(|beat| format!("{:#}", rounded(now.duration_since(beat))));
        let age = age.map_or("there is no heartbeat since its start".into(), |age| {
            format!("its heartbeat is {age} old")
        });
        if wait.is_positive() {
            let what = if stuck {
                "a last look at the Deacon"
            } else {
                "the next poke"
            };
            self.at(now + wait, what);
            self.memory.record(agent).pokes = pokes;
            return self.leave(agent, format!("{age}, and the last poke was not long ago"));
        }
        if stuck {
            let reason = format!(
                "{age}, and {} pokes changed nothing on its screen",
                pokes.unanswered
            );
            self.memory.record(agent).pokes = fresh;
            self.at(now + rules.grace, "the end of the Deacon's grace");
            let agent = agent.clone();
            return self.push(Action::Restart { agent }, reason);
        }
        let Some(pane) = seen.pane.clone() else {
            self.memory.record(agent).pokes = pokes;
            return self.leave(agent, format!("{age}, but its terminal is not known"));
        };
        let (tip, text) = tips::after(tips::DEACON, pokes.tip);
        pokes.count = pokes.count.saturating_add(1);
        pokes.unanswered = pokes.unanswered.saturating_add(1);
        pokes.last = Some(now);
        pokes.tip = Some(tip);
        pokes.screen.clone_from(&seen.screen);
        let last = rules.pokes > 0 && pokes.unanswered >= rules.pokes;
        let due = if last {
            rules.poke_spacing
        } else {
            spacing(pokes.count - 1)
        };
        self.at(now + due, "an answer of the Deacon");
        self.memory.record(agent).pokes = pokes;
        let agent = agent.clone();
        self.push(Action::Poke { agent, pane, text }, age);
    }

    fn witness(&mut self, agent: &Agent, seen: &Seen, up: SignedDuration) {
        let (rules, now) = (&self.seen.rules, self.now);
        let Some(pane) = seen.pane.clone() else {
            return self.leave(agent, "its terminal is not known");
        };
        if let Some(gap) = self.gap.clone() {
            return self.leave(agent, format!("{gap}, so nobody is poked now"));
        }
        if !seen.prompt && up < rules.grace {
            return self.leave(agent, "it has just been started");
        }
        let pokes = &mut self.memory.record(agent).pokes;
        let passed = pokes.last.map(|last| now.duration_since(last));
        if passed.is_some_and(|passed| passed < rules.poke_spacing) {
            // A poke from the future is one from now.
            pokes.last = pokes.last.min(Some(now));
            return self.leave(agent, "it was poked not long ago");
        }
        let (tip, text) = tips::after(tips::WITNESS, pokes.tip);
        pokes.last = Some(now);
        pokes.tip = Some(tip);
        let agent = agent.clone();
        self.push(
            Action::Poke { agent, pane, text },
            "Witnesses are reminded at each tick",
        );
    }

    /// Finds agents that died together since the last tick, by the times of their deaths.
    fn deaths(&mut self) {
        let last = self.seen.memory.ticked;
        let mut deaths: Vec<(Timestamp, &Agent)> = Vec::new();
        for (agent, seen) in &self.seen.agents {
            let unit = &seen.unit;
            let record = self.memory.record(agent);
            let restarted = unit.restarts > 0 && unit.restarts != record.restarts;
            record.restarts = unit.restarts;
            let Some(down) = unit.down else { continue };
            if last.is_some_and(|last| down > last)
                && down <= self.now
                && (restarted || unit.is_failed())
            {
                deaths.push((down, agent));
            }
        }
        deaths.sort();
        let together = |first: usize| {
            let (time, _) = deaths[first];
            let end = deaths[first..]
                .iter()
                .take_while(|(other, _)| other.duration_since(time) <= MASS_WINDOW)
                .count();
            &deaths[first..first + end]
        };
        let dead = (0..deaths.len())
            .map(together)
            .max_by_key(|group| group.len())
            .filter(|group| group.len() >= MASS_COUNT && self.gap.is_none());
        if let Some(dead) = dead {
            self.memory.mass_death = dead.iter().map(|(_, agent)| (*agent).clone()).collect();
        }
        let names: Vec<String> = self
            .memory
            .mass_death
            .iter()
            .map(Agent::to_string)
            .collect();
        let back = |agent: &Agent| {
            let seen = self.seen.agents.get(agent);
            seen.is_none_or(|seen| seen.unit.is_active() || seen.refusal.is_some())
        };
        if dead.is_none() && self.memory.mass_death.iter().all(back) {
            self.memory.mass_death.clear();
        }
        if !self.memory.mass_death.is_empty() {
            let summary = format!(
                "{} agents died within {} s of each other: {}",
                names.len(),
                MASS_WINDOW.as_secs(),
                names.join(", ")
            );
            self.conditions.insert("mass-death".into(), summary);
        }
    }

    /// Agents that run for a rig that was taken out of the registry.
    fn rigs(&mut self) {
        let strays = self.seen.agents.iter();
        let strays = strays.filter(|(_, seen)| seen.stray && seen.unit.is_active());
        let strays: Vec<String> = strays.map(|(agent, _)| agent.to_string()).collect();
        if !strays.is_empty() {
            let names = strays.join(" ");
            let summary = format!(
                "'mayor/rigs.json' does not list the rigs of agents that run: {names}; they are \
                 left alone, stop them with 'gastownctl stop {names}' or list the rigs again"
            );
            self.conditions.insert("rigs".into(), summary);
        }
    }

    fn idle(&mut self) -> (SignedDuration, String) {
        let at = match self.seen.activity {
            Activity::At(time) => Some(time),
            // The first look counts as activity: from then on the town may grow idle.
            Activity::Ours => Some(self.memory.activity.unwrap_or(self.now)),
            Activity::Missing => None,
        };
        self.memory.activity = at;
        let age = at.max(self.seen.sign).map(|at| self.now.duration_since(at));
        let mins = SignedDuration::from_mins;
        let tier = match age {
            Some(age) if age >= mins(45) => 60,
            Some(age) if age >= mins(15) => 30,
            Some(age) if age >= mins(5) => 10,
            _ => 5,
        };
        let reason = match age {
            Some(age) if tier > 5 => format!("nothing has happened for {:#}", rounded(age)),
            _ => "the regular round".into(),
        };
        (mins(tier), reason)
    }

    fn plan(mut self) -> Plan {
        let (interval, reason) = self.idle();
        let wake = interval > SignedDuration::from_mins(5);
        self.at(self.now + interval, reason);
        if let Some(at) = self.seen.undelivered {
            self.at(at, "an alert that could not be delivered");
        }
        let (at, reason) = self
            .deadlines
            .iter()
            .min_by_key(|(at, _)| *at)
            .cloned()
            .unwrap_or((self.now + CEILING, "the safety ceiling".into()));
        let next = next(self.now, at, reason, wake);
        self.memory.next = Some(Due {
            at: self.now + SignedDuration::from_secs(next.seconds.try_into().unwrap_or(1)),
            wake,
        });
        self.memory.ticked = Some(self.now);
        self.memory
            .agents
            .retain(|_, record| *record != Default::default());
        let (open, conditions, pending) = (&self.seen.alerts, self.conditions, self.pending);
        let ended = |key: &String| !conditions.contains_key(key) && !pending.contains(key);
        let clear = open
            .iter()
            .filter(|(key, _)| ended(key))
            .map(|(key, summary)| (key.clone(), over(key, summary)));
        let clear = if self.seen.stopped {
            BTreeMap::new()
        } else {
            clear.collect()
        };
        let raise: BTreeMap<_, _> = conditions
            .iter()
            .filter(|(key, _)| !open.contains_key(*key))
            .map(|(key, summary)| (key.clone(), summary.clone()))
            .collect();
        let mass_death = if raise.contains_key("mass-death") {
            self.memory.mass_death.clone()
        } else {
            Vec::new()
        };
        Plan {
            steps: self.steps,
            left: self.left,
            raise,
            clear,
            mass_death,
            gap: self.gap,
            next,
            memory: self.memory,
        }
    }
}

fn next(now: Timestamp, at: Timestamp, reason: String, wake: bool) -> Next {
    let after = now.duration_until(at).clamp(FLOOR, CEILING);
    let seconds = (after.as_millis() + 999) / 1000;
    Next {
        seconds: u64::try_from(seconds).unwrap_or(1).clamp(1, 3600),
        reason,
        wake,
    }
}

impl Plan {
    /// Has the next tick be at `at`, if that is earlier.
    pub fn bring_forward(&mut self, now: Timestamp, at: Option<Timestamp>, reason: &str) {
        let Some(at) = at else { return };
        let earlier = next(now, at, reason.to_string(), self.next.wake);
        if earlier.seconds < self.next.seconds {
            self.memory.next = Some(Due {
                at: now + SignedDuration::from_secs(earlier.seconds.try_into().unwrap_or(1)),
                wake: earlier.wake,
            });
            self.next = earlier;
        }
    }
}

fn over(key: &str, summary: &str) -> String {
    match key.strip_prefix("unit-") {
        Some(unit) => match Agent::from_unit(unit) {
            Ok(agent) => format!("{agent} is well again, or is not to run any more"),
            Err(_) => format!("{unit} is well again"),
        },
        None => format!("This is over: {summary}"),
    }
}

/// Of a poke that nobody reads, the terminal itself may still show the text, which is not
/// counted, and the Enter, which puts the cursor at the beginning of the next line.
fn is_unchanged(before: &Shown, now: &Shown) -> bool {
    let lines = now.position.checked_sub(before.position);
    before.hash == now.hash
        && match lines {
            Some(0) => now.column == before.column,
            Some(1) => now.column == 0,
            _ => false,
        }
}

fn doing(seen: &Seen) -> String {
    match (&seen.unit.job, seen.unit.sub.as_str()) {
        (Some(job), _) => format!("about to be changed ('{job}' is queued)"),
        (None, "auto-restart" | "auto-restart-queued") => "about to be restarted".into(),
        _ => seen.unit.active.clone(),
    }
}

fn rounded(age: SignedDuration) -> SignedDuration {
    SignedDuration::from_secs(age.as_secs())
}

/// Beads that say that an agent runs which certainly does not. Those of agents that are about
/// to be started are left: the next look is soon enough.
pub fn dead_beads(seen: &Observed, beads: &[crate::tools::bd::Bead]) -> Vec<Step> {
    let step = |bead: &crate::tools::bd::Bead| {
        let agent = bead.agent.clone()?;
        let known = seen.agents.get(&agent);
        let alive = known.is_some_and(|known| {
            let starts = known.wanted && known.refusal.is_none() && !known.unit.is_failed();
            known.session || !known.unit.is_down() || starts
        });
        let was = bead.claims_to_run()?;
        (!alive).then(|| Step {
            reason: format!("it says '{was}', but the agent's unit is not active"),
            action: Action::MarkDead {
                agent,
                bead: bead.id.clone(),
                was: was.to_string(),
            },
        })
    };
    beads.iter().filter_map(step).collect()
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

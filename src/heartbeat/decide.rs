//! What is to be done. Pure: no file, no clock, no bus, so the same input gives the same plan.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::memory::{Clocks, Due, Hook, Memory, Pokes, Retry};
use super::observed::{Activity, KEPT_UNITS, LOOKS, Observed, Seen, UnitState};
use super::plan::{Action, CEILING, Next, Plan, Step};
use crate::agent::{Agent, Role};
use crate::alert::{self, unit_key};
use crate::job;
use crate::lifecycle::presync;
use crate::printable;
use crate::town::left::Left;
use crate::town::ours::{Closed, Ours};

/// A suspend, or a step of the clock, that is shorter than this does not count.
const GAP_MSEC: i64 = 30_000;

/// An agent that has been up for this long counts as back.
const STAYS_UP: SignedDuration = SignedDuration::from_secs(20);

/// How long a polecat that is down may have work on its hook: whoever slings work hooks it first and
/// makes the session then, and a polecat that is done takes a moment to clear its hook.
const HOOKED_LIMIT: SignedDuration = SignedDuration::from_mins(2);

/// A run that begins later than this after a start is not due to that start.
const BEGIN_LIMIT: SignedDuration = SignedDuration::from_mins(2);

/// When we look whether a unit of ours that was started again stays up: the cause of its end, such as
/// too few inotify instances, may last.
const UNIT_LOOK: SignedDuration = SignedDuration::from_mins(1);

/// For how long after an agent gave up we look each minute whether it can be started again.
const MEND_WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// For how long an agent that gave up and is gone counts as one that gave up: polecats that give up
/// under ever new names, each removed by somebody, are a storm too.
const STORM_WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// How often we look whether an agent has ended that runs where its unit cannot take it over.
const ELSEWHERE_LOOK: SignedDuration = SignedDuration::from_secs(50);

/// For how long after its session appeared an agent may begin in it.
const APPEAR_LIMIT: SignedDuration = SignedDuration::from_mins(2);

/// The shortest pause before a second look.
const SHORTEST_PAUSE: SignedDuration = SignedDuration::from_secs(1);

/// The condition that the Deacon has been silent for long.
pub(super) const SILENT_KEY: &str = "deacon";

/// Why the unit of an agent is started that somebody else has started.
const OUTSIDE_REASON: &str = "it runs outside of its unit, which takes it over";

/// This many unusable answers of `bd` or `tmux` in a row are worth an alert.
const FAILURE_LIMIT: u32 = 3;

pub(super) struct Deciding<'a> {
    pub(super) seen: &'a Observed,
    pub(super) now: Timestamp,
    pub(super) gap: Option<String>,
    pub(super) steps: Vec<Step>,
    pub(super) waits: BTreeMap<Agent, String>,
    pub(super) disagreements: BTreeMap<Agent, String>,
    left: BTreeMap<Agent, String>,
    forget: BTreeSet<Agent>,
    /// Rigs whose polecats give up one after the other.
    storms: BTreeSet<String>,
    /// Conditions that hold, by alert key.
    pub(super) conditions: BTreeMap<String, String>,
    /// Keys whose condition is not known to have ended.
    pub(super) pending: BTreeSet<String>,
    deadlines: Vec<(Timestamp, String)>,
    /// The Deacon has written a heartbeat not long ago.
    pub(super) heard: bool,
    pub(super) memory: Memory,
}

/// Makes the plan of a tick from what it has seen.
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
        waits: BTreeMap::new(),
        disagreements: BTreeMap::new(),
        left: BTreeMap::new(),
        forget: BTreeSet::new(),
        storms: BTreeSet::new(),
        conditions: seen.problems.clone(),
        pending: BTreeSet::new(),
        deadlines: Vec::new(),
        heard: false,
        memory,
    };
    if !seen.stopped {
        deciding.all();
    }
    deciding.plan()
}

/// Why no agent is to be judged by ages: the machine slept, or its clock was set, since the last tick.
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
        if let Some(root) = self.of_others() {
            // What ended or began now would be of the one town and speak of the other.
            self.pending.extend(self.seen.alerts.keys().cloned());
            for agent in self.seen.agents.keys() {
                self.leave(agent, format!("the agents still run for town '{root}'"));
            }
            return;
        }
        self.storms();
        for (agent, seen) in &self.seen.agents {
            self.agent(agent, seen);
        }
        self.hooks();
        // Only a sync that works ends the alert about a worktree, unless its agent is gone.
        let is_there = |key: &&String| {
            let agent = key.strip_prefix(presync::ALERT).map(Agent::from_instance);
            let seen = agent.and_then(|agent| self.seen.agents.get(&agent.ok()?));
            seen.is_some_and(|seen| !seen.gone)
        };
        let worktrees = self.seen.alerts.keys().filter(is_there);
        self.pending.extend(worktrees.cloned());
        // Only a heartbeat, or a person who has it rest, ends the silence of a Deacon that is to run.
        let deacon = self.seen.agents.get(&Agent::deacon());
        let rests = |deacon: &Seen| {
            let refusal = deacon.refusal.as_ref();
            self.seen.paused.is_some() || refusal.is_some_and(|refusal| !refusal.is_unknown())
        };
        if deacon.is_some_and(|deacon| deacon.wanted && !rests(deacon)) && !self.heard {
            self.pending.insert(SILENT_KEY.into());
        }
        self.deaths();
        self.memory.tmux_failures = match &self.seen.blind {
            Some(_) => self.memory.tmux_failures.saturating_add(1),
            None => 0,
        };
        // What runs nowhere, and what runs elsewhere, only tmux tells.
        if self.seen.blind.is_some() {
            let only_tmux = ["elsewhere-", "hook-", "gone-"];
            let keys = self.seen.alerts.keys();
            let known_by_tmux =
                keys.filter(|key| only_tmux.iter().any(|kind| key.starts_with(kind)));
            self.pending.extend(known_by_tmux.cloned());
        }
        if let Some(why) = &self.seen.blind
            && self.memory.tmux_failures >= FAILURE_LIMIT
        {
            let summary = format!(
                "tmux tells nothing about terminals, so nobody is poked ({why}); run 'gastownctl doctor'"
            );
            self.conditions.insert("tmux".into(), summary);
        }
        if self.memory.bd_failures >= FAILURE_LIMIT {
            let summary = "'bd' gives no usable answer, so beads of dead agents are not marked; \
                 try 'bd list --json' in the town";
            self.conditions.insert("bd".into(), summary.into());
        }
        self.rigs();
        if let Some(beads) = &self.seen.beads {
            self.steps.extend(dead_beads(self.seen, beads));
        }
    }

    /// The root of another town, if all agents that run do so for that one: `town.env` names ours by
    /// now, and the units are still to be restarted for it.
    fn of_others(&self) -> Option<String> {
        let units = self.seen.agents.values().map(|seen| &seen.unit);
        let mut active = units.filter(|unit| unit.is_active());
        let root = self.seen.others_root()?;
        active
            .all(|unit| unit.theirs.is_some())
            .then(|| root.to_string())
    }

    /// Judges one of our own units: one that waits for something is to be up, any other one is not to
    /// have failed.
    fn own(&mut self, name: &str, unit: &UnitState) {
        let is_kept = KEPT_UNITS.contains(&name);
        let is_look = LOOKS.contains(&name);
        let key = unit_key(name);
        // What is known to stay down is looked at more rarely.
        let pause = match self.seen.alerts.contains_key(&key) {
            true => 10 * UNIT_LOOK,
            false => UNIT_LOOK,
        };
        if let Some(why) = unit.refused.as_ref().filter(|_| unit.is_down()) {
            self.conditions.insert(key, alert::cannot_start(name, why));
            return;
        }
        if unit.is_failed() && is_look {
            // It is started anew below; should it fail again, its `OnFailure=` begins the alert.
            self.pending.insert(key);
        } else if unit.is_failed() {
            let summary = alert::failed(name, &alert::end(&unit.result, unit.status));
            self.conditions.insert(key, summary);
        } else if let Some(why) = job::killed(unit.restarts).filter(|_| !unit.is_down()) {
            self.conditions.insert(key, alert::failed(name, &why));
        } else if unit.is_changing() || (unit.is_active() && !is_kept) {
            self.pending.insert(key);
        }
        if unit.is_down() && (is_kept || (unit.is_failed() && is_look)) {
            let reason = format!("it is {}, and the town is up", unit.active);
            let unit = name.to_string();
            self.push(Action::Restore { unit }, reason);
            self.at(self.now + pause, format!("whether {name} stays up"));
        }
    }

    pub(super) fn push(&mut self, action: Action, reason: impl Into<String>) {
        let reason = reason.into();
        self.steps.push(Step { action, reason });
    }

    /// Plans the next look at an agent that starts about now: when an open alert about it may end, for
    /// it has been up for a while, and when a Deacon's grace is over.
    fn look_again(&mut self, agent: &Agent, key: &str, after: SignedDuration) {
        self.pending.insert(key.to_string());
        if agent.role() == Role::Deacon {
            self.at(
                self.now + self.seen.rules.grace,
                "the end of the Deacon's grace",
            );
        }
        if self.seen.alerts.contains_key(key) {
            self.at(self.now + after, format!("whether {agent} stays up"));
        }
    }

    pub(super) fn leave(&mut self, agent: &Agent, why: impl Into<String>) {
        self.left.insert(agent.clone(), why.into());
    }

    pub(super) fn at(&mut self, time: Timestamp, what: impl Into<String>) {
        self.deadlines.push((time, what.into()));
    }

    /// Keeps the alerts about an agent as they are: it is not known whether what they tell is over.
    fn keep_alerts(&mut self, agent: &Agent) {
        let (unit, instance) = (agent.unit(), agent.instance());
        let is_about = |key: &&String| {
            let about = key.split_once('-').map(|(_, about)| about);
            about == Some(unit.as_str()) || about == Some(instance.as_str())
        };
        let about = self.seen.alerts.keys().filter(is_about);
        self.pending.extend(about.cloned());
    }

    fn agent(&mut self, agent: &Agent, seen: &Seen) {
        let unit = &seen.unit;
        let key = unit_key(&agent.unit());
        if let Some(root) = &unit.theirs {
            self.keep_alerts(agent);
            return self.leave(agent, format!("it still runs for town '{root}'"));
        }
        // An agent of which it is not known whether it may run is neither started nor stopped.
        if let Some(refused) = &seen.refusal
            && refused.is_unknown()
        {
            self.keep_alerts(agent);
            self.conditions
                .insert(refused.condition(), refused.reason.clone());
            return self.leave(agent, refused.reason.clone());
        }
        if let Some(place) = &seen.elsewhere {
            let starts = seen.wanted && seen.refusal.is_none();
            let summary = match (unit.is_down(), starts) {
                (false, _) => alert::twice(agent, place),
                (true, false) => format!("{agent} runs in {place}, not in its unit"),
                (true, true) => format!(
                    "{agent} runs in {place}, not in its unit; it is left there, and starts in \
                     its unit once it has ended"
                ),
            };
            self.conditions
                .insert(format!("elsewhere-{}", agent.unit()), summary);
            if unit.is_down() {
                self.pending.insert(key);
                if starts {
                    // Nothing tells us of its end, so we look for that, and start it without a pause.
                    let (count, at) = (0, self.now);
                    self.memory.record(agent).retry = Some(Retry { count, at });
                    let what = format!("whether {agent} has ended where it runs");
                    self.at(self.now + ELSEWHERE_LOOK, what);
                }
                return self.leave(agent, format!("it runs in {place}"));
            }
        }
        if unit.is_changing() {
            self.look_again(agent, &key, STAYS_UP);
            return self.leave(agent, format!("it is {}", doing(seen)));
        }
        if unit.is_active() {
            return self.active(agent, seen);
        }
        let record = self.memory.record(agent);
        (record.terminal, record.disagreement) = (None, None);
        let now = self.now;
        record.dismissed = seen.dismissed.then(|| record.dismissed.unwrap_or(now));
        record.pokes = Pokes {
            last: record.pokes.last,
            tip: record.pokes.tip,
            ..Pokes::default()
        };
        if let Some(refused) = &seen.refusal {
            record.retry = None;
            if refused.is_of_unit() {
                self.conditions
                    .insert(key, alert::cannot_start(agent, &refused.reason));
            }
            return self.leave(agent, refused.reason.clone());
        }
        let left = seen.left.filter(|_| !unit.is_failed() && !seen.outside);
        // An agent that somebody has started goes on, whatever the patrols want.
        let goes_on = !agent.role().is_patrol() && !seen.dismissed;
        if let Some(Left::Waiting(since)) = left
            && !seen.gone
            && (seen.wanted || goes_on)
        {
            return self.retry(agent, Some(since), "it asked to wait");
        }
        if !seen.wanted {
            return self.worker(agent, seen, left);
        }
        if let Some(Left::Closed(since)) = left
            && self.closed(agent, since)
        {
            return;
        }
        // Each start would be refused; a disk may be away, which nothing watches.
        if let Some(rig) = agent.rig().filter(|_| seen.gone) {
            let why = format!(
                "the town has no directory '{rig}'; bring it back, or take {rig} out of 'mayor/rigs.json'"
            );
            self.conditions
                .insert(key, alert::cannot_start(agent, &why));
            self.at(now + 10 * UNIT_LOOK, format!("whether {rig} is back"));
            return self.leave(agent, why);
        }
        if unit.is_failed() {
            if self.mended(agent, seen) {
                return;
            }
            self.failed(agent, seen);
            return self.retry(agent, unit.down, "it gave up");
        }
        let why = match seen.outside {
            true => OUTSIDE_REASON,
            false => "it is to run and does not",
        };
        self.start(agent, why);
    }

    fn start(&mut self, agent: &Agent, reason: &str) {
        self.memory.record(agent).retry = None;
        self.look_again(agent, &unit_key(&agent.unit()), STAYS_UP);
        let agent = agent.clone();
        self.push(Action::Start { agent }, reason);
    }

    /// An agent that is down and that no patrol wants. Crew in a session of its own is left to its
    /// person; crew, or a Mayor, that ran in a unit comes back with the town, as polecats do.
    fn worker(&mut self, agent: &Agent, seen: &Seen, left: Option<Left>) {
        self.memory.record(agent).retry = None;
        if seen.gone && seen.unit.is_failed() {
            // Nobody can start it again, so nobody need see to it.
            let now = self.now;
            let since = |down: Timestamp| now.duration_since(down).abs();
            if seen
                .unit
                .down
                .is_none_or(|down| since(down) >= STORM_WINDOW)
            {
                self.forget.insert(agent.clone());
            }
            return self.leave(agent, "it gave up, and is gone");
        }
        let is_polecat = agent.role() == Role::Polecat;
        if is_polecat && agent.rig().is_some_and(|rig| self.storms.contains(rig)) {
            // Once it can be started, it is no part of the storm any more.
            if seen.left == Some(Left::AtWork) && seen.usable == Some(false) {
                self.mended(agent, seen);
            }
            self.pending.insert(unit_key(&agent.unit()));
            return self.leave(agent, "too many polecats of its rig gave up");
        }
        if is_polecat && seen.outside {
            self.start(agent, OUTSIDE_REASON);
        } else if seen.unit.is_failed() {
            if seen.left != Some(Left::AtWork) || !self.mended(agent, seen) {
                self.failed(agent, seen);
            }
        } else if left == Some(Left::AtWork) && !seen.gone {
            self.start(
                agent,
                "it was at work when it was stopped with its town or rig",
            );
        } else if is_polecat
            && let Some(age) = seen.appeared.map(|at| self.now.duration_since(at))
            && !age.is_negative()
            && age < APPEAR_LIMIT
        {
            // Most tools make the session first, and start the agent in it a moment later.
            self.at(
                self.now + (age / 2).max(SHORTEST_PAUSE),
                format!("whether {agent} begins"),
            );
        }
    }

    /// Rigs whose polecats give up one after the other, under whatever names: one alert for the rig,
    /// and no more polecats of it are started.
    fn storms(&mut self) {
        let mut gave_up: BTreeMap<&str, Vec<&Agent>> = BTreeMap::new();
        for (agent, seen) in &self.seen.agents {
            let tried = |agent| self.memory.agents.get(agent).is_some_and(|r| r.early);
            if agent.role() == Role::Polecat
                && seen.unit.is_failed()
                && (seen.usable != Some(true) || tried(agent))
                && let Some(rig) = agent.rig()
            {
                gave_up.entry(rig).or_default().push(agent);
            }
        }
        for (rig, agents) in gave_up {
            if agents.len() >= alert::STORM {
                self.conditions
                    .insert(alert::storm_key(rig), alert::storm(rig, agents.len()));
                self.storms.insert(rig.to_string());
            }
        }
    }

    /// Work on the hooks of polecats that are down: each polecat is started for it once, and once more
    /// after it has run again for another reason. An alert tells of an issue that nobody can go on with.
    fn hooks(&mut self) {
        let hooks = std::mem::take(&mut self.memory.hooks);
        for (agent, mut hook) in hooks {
            let seen = self.seen.agents.get(&agent);
            let seen = seen.filter(|seen| !seen.gone || seen.session);
            let is_down = seen.is_none_or(|seen| seen.unit.is_down() && !seen.session);
            // A time from the future is one from now.
            hook.since = hook.since.min(self.now);
            hook.started = hook.started.min(Some(self.now));
            if !is_down {
                hook.since = self.now;
            }
            if seen.is_none_or(|seen| has_run_again(&hook, seen)) {
                hook.started = None;
                // Whoever closes its session takes a moment to clear the hook, too.
                if let Some(Left::Closed(at)) = seen.and_then(|seen| seen.left) {
                    hook.since = hook.since.max(at);
                }
            }
            // A polecat that asked to wait, or may not run, goes on later.
            let waits = seen.is_some_and(|seen| {
                let asked = matches!(seen.left, Some(Left::Waiting(_))) && !seen.unit.is_failed();
                asked || seen.refusal.is_some()
            });
            if !is_down || waits || self.has_step(&agent) {
                self.memory.hooks.insert(agent, hook);
                continue;
            }
            let due = hook.since.min(self.now) + HOOKED_LIMIT;
            let stays = matches!(seen.and_then(|seen| seen.left), Some(Left::Closed(_)))
                && self.seen.rules.closed_sessions == Closed::Stay;
            let storm = agent.rig().is_some_and(|rig| self.storms.contains(rig));
            let why = match seen {
                None => Some("it has no directory"),
                Some(seen) if seen.unit.is_failed() => Some("it gave up"),
                Some(_) if storm => Some("too many polecats of its rig gave up"),
                Some(_) if stays => Some("somebody closed its session"),
                Some(_) if hook.started.is_some() => Some("it ended without being done"),
                Some(_) => None,
            };
            if due > self.now {
                self.at(due, format!("work on the hook of {agent}"));
            } else if let Some(why) = why {
                self.stranded(&agent, &hook.issue, why, seen.is_some());
            } else {
                self.start(&agent, &format!("{} is on its hook", hook.issue));
                hook.started = Some(self.now);
            }
            self.memory.hooks.insert(agent, hook);
        }
    }

    /// Raises the condition that nobody can go on with an issue. A polecat without a directory cannot
    /// be started: that is a condition of its own, because there is something else to do about it.
    fn stranded(&mut self, agent: &Agent, issue: &str, why: &str, can_start: bool) {
        let (kind, what_to_do) = match can_start {
            true => (
                "hook",
                format!("run 'gastownctl start {agent}', or sling {issue} again"),
            ),
            false => ("gone", format!("sling {issue} again")),
        };
        let summary =
            format!("{issue} is on the hook of {agent}, which does not run: {why}; {what_to_do}");
        self.conditions
            .insert(format!("{kind}-{}", agent.instance()), summary);
    }

    fn has_step(&self, agent: &Agent) -> bool {
        self.steps
            .iter()
            .any(|step| step.action.agent() == Some(agent))
    }

    /// Leaves an agent whose session somebody closed; `false`: its pause is over.
    fn closed(&mut self, agent: &Agent, since: Timestamp) -> bool {
        let rules = &self.seen.rules;
        let back = since.min(self.now) + rules.closed_pause;
        if rules.closed_sessions == Closed::Stay {
            self.leave(
                agent,
                format!(
                    "somebody closed its session; 'gastownctl start {agent}' or 'gastownctl up' starts it"
                ),
            );
            return true;
        }
        // A time from before the clock was set must not keep it down for ever.
        if back <= self.now || since > self.now {
            return false;
        }
        // `gt rig dock` closes sessions before it sets the label; a tick in between asks for that.
        let half = since + rules.closed_pause / 2;
        let again = if agent.rig().is_some() && half > self.now {
            half
        } else {
            back
        };
        self.at(again, format!("{agent}, whose session was closed"));
        self.leave(
            agent,
            format!("somebody closed its session; it comes back at {back:.0}"),
        );
        true
    }

    fn failed(&mut self, agent: &Agent, seen: &Seen) {
        if agent.role() == Role::Polecat && agent.rig().is_some_and(|rig| self.storms.contains(rig))
        {
            self.pending.insert(unit_key(&agent.unit()));
            return;
        }
        let why = alert::end(&seen.unit.result, seen.unit.status);
        let summary = alert::gave_up(agent, &why);
        self.conditions.insert(unit_key(&agent.unit()), summary);
    }

    /// Tries an agent that gave up because it could not be started, as soon as it can be started: only
    /// once until it has been up, or could not be started again. `false`: it is not tried now. What an
    /// upgrade takes away is soon back, so at first we look each minute.
    fn mended(&mut self, agent: &Agent, seen: &Seen) -> bool {
        let Some(usable) = seen.usable else {
            return false;
        };
        let tried = std::mem::replace(&mut self.memory.record(agent).early, usable);
        let is_mended = usable && !tried;
        if is_mended {
            let reason = "it gave up since it could not be started, and now it can be";
            self.try_again(agent, reason.into());
            self.at(self.now + STAYS_UP, format!("whether {agent} stays up"));
        }
        let down = seen.unit.down.map(|down| self.now.duration_since(down));
        if !usable && down.is_some_and(|down| down < MEND_WINDOW) {
            self.at(
                self.now + UNIT_LOOK,
                format!("whether {agent} can be started"),
            );
        }
        is_mended
    }

    /// An agent that gave up, or that asked to be left alone for a while, is tried again after
    /// pauses that grow.
    fn retry(&mut self, agent: &Agent, down: Option<Timestamp>, state: &str) {
        let now = self.now;
        let pause = |count| pause(&self.seen.rules, count);
        let gap = self.gap.is_some();
        let down = down.filter(|down| *down <= now);
        let record = self.memory.record(agent);
        let first = down.unwrap_or(now) + pause(0);
        let retry = record.retry.get_or_insert(Retry {
            count: 0,
            at: first,
        });
        // This try has been made, and the agent has run since for longer than its pause.
        if down.is_some_and(|down| retry.at < down) {
            retry.at = first;
        }
        // A clock that was set, or a sleep, must not make it start at once, or never: the machine may
        // sleep more often than a long pause lasts.
        if gap {
            retry.at = retry.at.max(now + pause(0));
        }
        retry.at = retry.at.min(now + pause(retry.count));
        let at = retry.at;
        if at <= now {
            self.try_again(agent, format!("{state}, and its pause is over"));
        } else {
            self.at(at, format!("the next try of {agent}"));
            self.leave(agent, format!("{state}; it is tried again at {at:.0}"));
        }
    }

    /// Tries an agent again now, and the next time after the pause that is due then.
    fn try_again(&mut self, agent: &Agent, reason: String) {
        let now = self.now;
        let record = self.memory.record(agent);
        let count = record.retry.as_ref().map_or(0, |retry| retry.count);
        let count = count.saturating_add(1);
        let at = now + pause(&self.seen.rules, count);
        record.retry = Some(Retry { count, at });
        let agent = agent.clone();
        self.at(at, format!("the next try of {agent}"));
        self.look_again(&agent, &unit_key(&agent.unit()), STAYS_UP);
        self.push(Action::Retry { agent, count }, reason);
    }

    fn active(&mut self, agent: &Agent, seen: &Seen) {
        if let Some(pid) = seen.strayed {
            let agent = agent.clone();
            let reason = "it is outside of its unit, where no limit reaches it, nor a stop";
            self.push(Action::BringBack { agent, pid }, reason);
        }
        // An emergency stop that freezes keeps what the agent knows; a stop would lose it.
        if seen.unit.frozen {
            self.keep_alerts(agent);
            return self.leave(agent, "it is frozen; 'gastownctl thaw' ends it");
        }
        let refused = seen.refusal.as_ref();
        let refused = refused.filter(|refused| !refused.lets_run(agent));
        let key = unit_key(&agent.unit());
        let since = seen.unit.since.filter(|since| *since <= self.now);
        let up = since.map_or(CEILING, |since| self.now.duration_since(since));
        let well_after = self.seen.rules.retry_first;
        let record = self.memory.record(agent);
        if up >= well_after {
            record.retry = None;
            (record.crashed, record.told) = (false, false);
        }
        // An agent that is still up is stopped again, even if an earlier tick tried to stop it.
        if let Some(refused) = refused {
            let agent = agent.clone();
            return self.push(Action::Stop { agent }, refused.reason.clone());
        }
        if seen.dismissed {
            const OFF: &str = "its patrol is switched off";
            // Of another clock: any run may be newer.
            if record.dismissed > Some(self.now) {
                record.dismissed = Some(Timestamp::UNIX_EPOCH);
            }
            let before = *record.dismissed.get_or_insert(since.unwrap_or(self.now));
            if since.is_some_and(|since| since > before) {
                return self.leave(agent, format!("{OFF}, and somebody has started it since"));
            }
            let agent = agent.clone();
            return self.push(Action::Stop { agent }, OFF);
        }
        record.dismissed = None;
        if up < STAYS_UP {
            self.look_again(agent, &key, STAYS_UP - up);
        } else {
            self.memory.record(agent).early = false;
        }
        self.watch(agent, seen);
        self.words(agent, seen, up);
        match agent.role() {
            Role::Deacon if seen.wanted => self.deacon(agent, seen),
            Role::Witness if seen.wanted && self.seen.rules.poke_witnesses => {
                self.witness(agent, seen, up);
            }
            _ => {}
        }
        self.leftover(agent, seen);
    }

    /// Finds agents that died together since the last tick, by the times of their deaths.
    fn deaths(&mut self) {
        let (last, rules) = (self.seen.memory.ticked, &self.seen.rules);
        let mut deaths: Vec<(Timestamp, &Agent)> = Vec::new();
        let mut told = Vec::new();
        for (agent, seen) in &self.seen.agents {
            let unit = &seen.unit;
            let record = self.memory.record(agent);
            let restarted = unit.restarts > 0 && unit.restarts != record.restarts;
            if record.told && unit.is_down() && !unit.is_failed() {
                (record.crashed, record.told) = (false, false);
            }
            record.crashed |= agent.role() == Role::Polecat && (restarted || unit.is_failed());
            // The first tick does not know which crashes are new.
            record.told |= record.crashed && last.is_none();
            if record.crashed
                && !record.told
                && let Some(to) = witness(agent)
            {
                record.told = true;
                told.push((agent.clone(), to));
            }
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
        for (agent, to) in told {
            let issue = self.memory.hooks.get(&agent).map(|hook| hook.issue.clone());
            let reason = "it is the Witness of its rig";
            self.push(Action::Tell { agent, to, issue }, reason);
        }
        let together = |first: usize| {
            let (time, _) = deaths[first];
            let count = deaths[first..]
                .iter()
                .take_while(|(other, _)| other.duration_since(time) <= rules.mass_death_window)
                .count();
            &deaths[first..first + count]
        };
        let dead = (0..deaths.len())
            .map(together)
            .max_by_key(|group| group.len())
            .filter(|group| group.len() >= rules.mass_deaths as usize && self.gap.is_none());
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
            // An agent that is down and has not failed has ended well since, or is started now.
            let is_well = |unit: &UnitState| !unit.is_changing() && !unit.is_failed();
            seen.is_none_or(|seen| is_well(&seen.unit) || seen.refusal.is_some() || seen.gone)
        };
        if dead.is_none() && self.memory.mass_death.iter().all(back) {
            self.memory.mass_death.clear();
        }
        if !self.memory.mass_death.is_empty() {
            let summary = format!(
                "{} agents died within {} s of each other: {}",
                names.len(),
                rules.mass_death_window.as_secs(),
                printable::names(&names)
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
        } else if self.seen.problems.contains_key("config-mayor/rigs.json") {
            // It is not known which rigs are listed.
            self.pending.insert("rigs".into());
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
            _ => 0,
        };
        let regular = self.seen.rules.tick_interval;
        let reason = match age {
            Some(age) if mins(tier) > regular => {
                format!("nothing has happened for {:#}", rounded(age))
            }
            _ => "the regular round".into(),
        };
        (mins(tier).max(regular), reason)
    }

    fn plan(mut self) -> Plan {
        let (interval, reason) = self.idle();
        let wake = interval > self.seen.rules.tick_interval;
        self.at(self.now + interval, reason);
        let (at, reason) = self
            .deadlines
            .iter()
            .min_by_key(|(at, _)| *at)
            .cloned()
            .unwrap_or((self.now + CEILING, "the safety ceiling".into()));
        let next = Next::new(self.now, at, reason, wake);
        self.memory.next = Some(Due {
            at: self.now + SignedDuration::from_secs(next.seconds.try_into().unwrap_or(1)),
            wake,
        });
        self.memory.ticked = Some(self.now);
        // Polecats come and go under new names.
        self.memory.agents.retain(|agent, record| {
            self.seen.agents.contains_key(agent) && *record != Default::default()
        });
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
            forget: self.forget,
            waits: self.waits,
            disagreements: self.disagreements,
            raise,
            clear,
            mass_death,
            gap: self.gap,
            next,
            memory: self.memory,
        }
    }
}

/// The pause before the next slow try, after `count` of them.
fn pause(rules: &Ours, count: u32) -> SignedDuration {
    let grown = rules.retry_first.checked_mul(1 << count.min(10));
    grown.map_or(rules.retry_longest, |pause| pause.min(rules.retry_longest))
}

/// Whether a polecat has run again since it was started for the work on its hook, and not by that
/// start; or somebody closed its session since, so that it did not end by itself.
fn has_run_again(hook: &Hook, seen: &Seen) -> bool {
    let Some(started) = hook.started else {
        return false;
    };
    let unit = &seen.unit;
    let is_new = unit.is_active() && unit.restarts == 0;
    let was_closed = matches!(seen.left, Some(Left::Closed(at)) if at > started);
    was_closed
        || (is_new
            && unit
                .since
                .is_some_and(|since| since > started + BEGIN_LIMIT))
}

/// The Witness of a polecat's rig.
fn witness(agent: &Agent) -> Option<Agent> {
    Agent::new(Role::Witness, Some(agent.rig()?), None).ok()
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

fn doing(seen: &Seen) -> String {
    match (&seen.unit.job, seen.unit.sub.as_str()) {
        (Some(job), _) => format!("about to be changed ('{job}' is queued)"),
        (None, "auto-restart" | "auto-restart-queued") => "about to be restarted".into(),
        _ => seen.unit.active.clone(),
    }
}

pub(super) fn rounded(age: SignedDuration) -> SignedDuration {
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
            let is_closed = matches!(known.left, Some(Left::Closed(_)));
            known.session || !known.unit.is_down() || starts || is_closed
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

//! Whom to remind, and when that has shown that the Deacon is stuck.

use jiff::SignedDuration;

use super::decide::{Deciding, SILENT_KEY, rounded};
use super::memory::{Pokes, Record, Shown};
use super::observed::{Beat, Seen};
use super::plan::{Action, CEILING, Step};
use super::tips;
use crate::agent::Agent;
use crate::terminal::State;
use crate::town::deacon::{Freshness, freshness};

/// How long until we look again at a terminal that was not fit for a poke.
const LOOK: SignedDuration = SignedDuration::from_mins(1);

/// How long a program may take until it waits for its first words. Until then we look often.
const STARTS: SignedDuration = SignedDuration::from_mins(2);

/// How often we look whether a program waits for its first words.
const SOON: SignedDuration = SignedDuration::from_secs(2);

/// Why a text is not typed into a terminal in this state.
pub(super) fn why_unfit(state: &State) -> Option<String> {
    Some(match state {
        State::Asks(question) => {
            let what = question.headline().replace(char::is_control, " ");
            format!("it asks '{what}'")
        }
        State::Draft => "somebody has typed something there and not sent it".into(),
        State::Busy => "it works, and a text would break into that or into its queue".into(),
        State::Shell => "its terminal shows a shell".into(),
        State::Unknown => "its terminal shows nothing that is known".into(),
        State::Free => return None,
    })
}

/// Whether the last poke came while the program worked, as it has done ever since. Then the poke waits
/// in the program's queue, where more of them would only pile up.
fn is_queued(record: &Record) -> bool {
    let watch = record.terminal.as_ref();
    let busy = watch.filter(|watch| watch.state == State::Busy);
    busy.is_some_and(|busy| record.pokes.last >= Some(busy.since))
}

/// Whether it is because of a person that nothing is typed, so that the agent need not be stuck.
fn is_a_persons(state: &State) -> bool {
    matches!(state, State::Asks(_) | State::Draft | State::Shell)
}

/// An agent that has used at least one part in so many of a CPU since the last poke is busy. A program
/// that only redraws its screen uses a few hundredths.
const BUSY_SHARE: u64 = 8;

impl Deciding<'_> {
    /// Why nothing is typed into an agent's terminal now.
    fn unfit(&self, agent: &Agent, seen: &Seen) -> Option<String> {
        if seen.words.is_some() {
            return Some("its first words are still to be typed".into());
        }
        let record = self.memory.agents.get(agent);
        if record.is_some_and(is_queued) {
            return Some("it works, and its last poke waits until it is done".into());
        }
        let state = seen.terminal.as_ref().filter(|_| seen.withheld)?;
        why_unfit(state)
    }

    /// The Deacon is poked when its heartbeat is very stale, and restarted when as many pokes as the
    /// settings say brought no sign of life at all.
    pub(super) fn deacon(&mut self, agent: &Agent, seen: &Seen) {
        let (rules, now) = (&self.seen.rules, self.now);
        let mut before = self.memory.record(agent).pokes.clone();
        // A poke from the future is one from now.
        before.last = before.last.min(Some(now));
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
        // A heartbeat from before the unit's start says nothing about the process that runs now.
        let beat = match self.seen.heartbeat {
            Beat::At(time) if since.is_none_or(|since| time >= since) => Some(time),
            _ => None,
        };
        let freshness = freshness(beat, now, rules.stale, rules.very_stale);
        self.heard |= matches!(freshness, Freshness::Fresh | Freshness::Stale);
        if now < grace_end {
            self.memory.record(agent).pokes = fresh;
            self.at(grace_end, "the end of the Deacon's grace");
            return self.leave(agent, "it has just been started");
        }
        match freshness {
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
        let is_unread = self.seen.heartbeat == Beat::Unreadable;
        let silent_since = beat.max(started).unwrap_or(now);
        let tell = silent_since + rules.very_stale + rules.poke_spacing * 2;
        let is_lost = self.is_lost(agent, seen);
        if tell <= now || is_lost {
            let summary = match beat {
                Some(beat) => format!("The Deacon is silent: its last heartbeat was at {beat:.0}"),
                None if is_unread => {
                    "It is not known whether the Deacon is silent: its heartbeat cannot be used"
                        .into()
                }
                None => "The Deacon is silent: it has written no heartbeat since its start".into(),
            };
            let lost = match is_lost {
                true => ", and its terminal shows nothing that is known",
                false => "",
            };
            self.conditions.insert(
                SILENT_KEY.into(),
                format!("{summary}{lost}; see 'gastownctl attach deacon'"),
            );
        } else {
            self.at(tell, "whether the Deacon stays silent");
        }
        let mut pokes = before;
        if beat.is_some_and(|beat| pokes.last.is_some_and(|last| beat > last)) {
            pokes = fresh.clone();
        }
        let answered = |now: &Shown, before: &Shown| !is_unchanged(before, now);
        match (&seen.screen, &pokes.screen) {
            (Some(now), Some(before)) if answered(now, before) => pokes.unanswered = 0,
            // A screen that is not seen is no evidence.
            (None, _) | (_, None) => pokes.unanswered = 0,
            _ => {}
        }
        // A screen may stand still while the agent computes.
        if let (Some(cpu), Some(before), Some(last)) = (seen.cpu, pokes.cpu, pokes.last) {
            let passed = u64::try_from(now.duration_since(last).as_nanos()).unwrap_or(u64::MAX);
            if cpu.saturating_sub(before) >= passed / BUSY_SHARE {
                pokes.unanswered = 0;
            }
        }
        let spacing = |count: u32| {
            let grown = rules.poke_spacing.checked_mul(1 << count.min(10));
            let grown = grown.map_or(CEILING, |spacing| spacing.min(CEILING));
            grown.max(rules.poke_spacing)
        };
        let since_last = pokes.last.map(|last| now.duration_since(last));
        let stuck = rules.pokes > 0 && pokes.unanswered >= rules.pokes && beat.is_some();
        let due = if stuck {
            rules.poke_spacing
        } else {
            spacing(pokes.count.saturating_sub(1))
        };
        let wait = since_last.map_or(SignedDuration::ZERO, |passed| due - passed);
        let age = beat.map(|beat| format!("{:#}", rounded(now.duration_since(beat))));
        let age = match age {
            Some(age) => format!("its heartbeat is {age} old"),
            None if is_unread => "its heartbeat cannot be used".into(),
            None => "there is no heartbeat since its start".into(),
        };
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
        let unfit = self.unfit(agent, seen);
        // Whatever a terminal shows that cannot be read may be a question to a person.
        let keeps_waiting = |state: &State| is_a_persons(state) || *state == State::Unknown;
        if let Some(why) = &unfit
            && seen.terminal.as_ref().is_some_and(keeps_waiting)
        {
            self.memory.record(agent).pokes = pokes;
            return self.wait(agent, Some(&age), why);
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
        pokes.cpu = seen.cpu;
        let last = rules.pokes > 0 && pokes.unanswered >= rules.pokes;
        let due = if last {
            rules.poke_spacing
        } else {
            spacing(pokes.count - 1)
        };
        self.at(now + due, "an answer of the Deacon");
        // A poke that must wait because the agent is busy counts as one that was not answered.
        if let Some(why) = unfit {
            self.memory.record(agent).pokes = pokes;
            return self.wait(agent, Some(&age), &why);
        }
        pokes.waits = None;
        self.memory.record(agent).pokes = pokes;
        let agent = agent.clone();
        self.push(Action::Poke { agent, pane, text }, age);
    }

    /// Notes that a poke is due and cannot be typed; tells so when the reason is new.
    fn wait(&mut self, agent: &Agent, age: Option<&str>, why: &str) {
        let pokes = &mut self.memory.record(agent).pokes;
        if pokes.waits.replace(why.to_string()).as_deref() != Some(why) {
            self.waits.insert(agent.clone(), why.to_string());
        }
        self.at(self.now + LOOK, format!("the poke of {agent} that waits"));
        let age = age.map_or(String::new(), |age| format!("{age}, but "));
        self.leave(agent, format!("{age}its poke waits: {why}"));
    }

    /// Types an agent its first words as soon as its program waits for them, if the program takes
    /// none as an argument.
    pub(super) fn words(&mut self, agent: &Agent, seen: &Seen, up: SignedDuration) {
        let (Some(words), Some(pane)) = (&seen.words, &seen.pane) else {
            return;
        };
        // Its unit may have been up for long: an agent that ends with status 0 is started again in it.
        let is_new = up < STARTS || words.after.duration_since(self.now).abs() < STARTS;
        let begins = words.after > self.now && is_new;
        if !begins && !seen.withheld && seen.terminal.is_some() {
            let (agent, pane, text) = (agent.clone(), pane.clone(), words.text.clone());
            let step = Action::Instruct { agent, pane, text };
            self.push(step, "its program takes none as an argument");
        }
        let pause = if is_new { SOON } else { LOOK };
        self.at(self.now + pause, format!("the first words of {agent}"));
    }

    /// Takes back what was typed and not taken, so that it does not stand there until the next poke.
    pub(super) fn leftover(&mut self, agent: &Agent, seen: &Seen) {
        let is_poked = |step: &Step| match &step.action {
            Action::Poke { agent: a, .. } | Action::Instruct { agent: a, .. } => a == agent,
            _ => false,
        };
        let Some(pane) = seen.pane.clone().filter(|_| seen.left_over) else {
            return;
        };
        if !self.steps.iter().any(is_poked) && seen.terminal == Some(State::Draft) {
            let agent = agent.clone();
            self.push(Action::TakeBack { agent, pane }, "it still stands there");
        }
    }

    /// Witnesses are reminded in turn, whatever they do.
    pub(super) fn witness(&mut self, agent: &Agent, seen: &Seen, up: SignedDuration) {
        let (rules, now) = (&self.seen.rules, self.now);
        let Some(pane) = seen.pane.clone() else {
            return self.leave(agent, "its terminal is not known");
        };
        if let Some(gap) = self.gap.clone() {
            return self.leave(agent, format!("{gap}, so nobody is poked now"));
        }
        if up < rules.grace {
            return self.leave(agent, "it has just been started");
        }
        let pokes = &mut self.memory.record(agent).pokes;
        let passed = pokes.last.map(|last| now.duration_since(last));
        if passed.is_some_and(|passed| passed < rules.poke_spacing) {
            // A poke from the future is one from now.
            pokes.last = pokes.last.min(Some(now));
            return self.leave(agent, "it was poked not long ago");
        }
        if let Some(why) = self.unfit(agent, seen) {
            return self.wait(agent, None, &why);
        }
        let pokes = &mut self.memory.record(agent).pokes;
        let (tip, text) = tips::after(tips::WITNESS, pokes.tip);
        pokes.waits = None;
        pokes.last = Some(now);
        pokes.tip = Some(tip);
        let agent = agent.clone();
        self.push(
            Action::Poke { agent, pane, text },
            "Witnesses are reminded at each tick",
        );
    }
}

/// Whether a screen shows nothing new. When nobody reads a poke, the terminal itself may still show
/// its text, which is not counted, and its Enter, which moves the cursor to the next line's beginning.
fn is_unchanged(before: &Shown, now: &Shown) -> bool {
    let lines = now.position.checked_sub(before.position);
    before.hash == now.hash
        && match lines {
            Some(0) => now.column == before.column,
            Some(1) => now.column == 0,
            _ => false,
        }
}

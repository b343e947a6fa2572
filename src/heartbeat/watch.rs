//! Who waits for a person, or works for very long; and what was seen of each.

use jiff::SignedDuration;

use super::decide::{Deciding, rounded};
use super::memory::Watch;
use super::observed::{Beat, Seen};
use super::plan::Action;
use crate::agent::{Agent, Role};
use crate::terminal::{Question, State};
use crate::town::deacon::{Freshness, freshness};

/// What the keys of alerts about terminals begin with; the agent's instance follows.
pub(super) const ALERTS: [&str; 3] = ["asks-", "busy-", "unknown-"];

/// How soon we look again at a state that may have changed for a moment only.
const SECOND_LOOK: SignedDuration = SignedDuration::from_secs(5);

/// The most of a question and of its choices that an alert shows, in characters.
const SHOWN: usize = 200;

impl Deciding<'_> {
    /// Follows what the terminal of an agent that runs is ready for.
    pub(super) fn watch(&mut self, agent: &Agent, seen: &Seen) {
        let now = self.now;
        let [asks, busy, unknown] = ALERTS.map(|kind| format!("{kind}{}", agent.instance()));
        let Some(state) = &seen.terminal else {
            self.pending.extend([asks, busy, unknown]);
            return;
        };
        let record = self.memory.record(agent);
        if let Some(how) = &seen.disagreement
            && record.disagreement.replace(how.clone()).as_ref() != Some(how)
        {
            self.disagreements.insert(agent.clone(), how.clone());
        }
        let is_open = self.seen.alerts.contains_key(&asks);
        let before = self.memory.record(agent).terminal.take();
        // After a gap, or when the clock was set back, nobody has waited as long as it seems.
        let before = before.filter(|before| self.gap.is_none() && before.since <= now);
        let watch = match before {
            Some(before) if is_same(&before.state, state) => Watch {
                state: state.clone(),
                doubted: false,
                ..before
            },
            // Between two steps a program shows another state for a moment. A question counts as
            // answered only when a second look says so.
            Some(before)
                if is_open
                    && matches!(before.state, State::Asks(_))
                    && !matches!(state, State::Asks(_))
                    && !before.doubted =>
            {
                self.pending.insert(asks);
                self.at(now + SECOND_LOOK, format!("whether {agent} still asks"));
                self.memory.record(agent).terminal = Some(Watch {
                    doubted: true,
                    ..before
                });
                return;
            }
            _ => Watch {
                state: state.clone(),
                since: now,
                doubted: false,
            },
        };
        let since = watch.since;
        self.memory.record(agent).terminal = Some(watch);
        let rules = &self.seen.rules;
        let passed = rounded(now.duration_since(since));
        let attach = format!("'gastownctl attach {agent}'");
        if seen.agreed
            && let Some(pane) = &seen.pane
        {
            // A question that may show for a moment only is not answered yet.
            if since < now {
                let (agent, pane) = (agent.clone(), pane.clone());
                self.push(
                    Action::Agree { agent, pane },
                    "'terminal' in the settings says so",
                );
            }
            self.at(now + SECOND_LOOK, format!("whether {agent} still asks"));
        }
        match state {
            State::Asks(question) if passed >= rules.asks => {
                let what = words(question);
                let summary =
                    format!("{agent} waits for an answer: {what}; answer it with {attach}");
                self.conditions.insert(asks, summary);
                self.at(now + rules.asks, format!("whether {agent} still asks"));
            }
            State::Asks(_) => self.at(since + rules.asks, format!("whether {agent} still asks")),
            State::Busy => {
                if passed >= rules.busy && !self.is_beating(agent) {
                    let summary = format!(
                        "{agent} has worked without a pause for hours; see it with {attach}"
                    );
                    self.conditions.insert(busy, summary);
                }
                // A program that works may come to ask something.
                self.at(now + rules.asks, format!("whether {agent} asks something"));
            }
            State::Unknown if seen.withheld => {
                // Of a Deacon, its heartbeat tells more.
                if passed >= rules.unknown && agent.role() != Role::Deacon {
                    let summary = format!(
                        "{agent} has shown nothing that is known in its terminal for a long time; it may \
                         wait for an answer: see it with {attach}"
                    );
                    self.conditions.insert(unknown, summary);
                }
                self.at(now + rules.asks, format!("whether {agent} asks something"));
            }
            _ => {}
        }
    }

    /// Whether this is the Deacon, and its heartbeat is fresh.
    fn is_beating(&self, agent: &Agent) -> bool {
        let Beat::At(beat) = self.seen.heartbeat else {
            return false;
        };
        let rules = &self.seen.rules;
        let fresh = freshness(Some(beat), self.now, rules.stale, rules.very_stale);
        agent.role() == Role::Deacon && fresh == Freshness::Fresh
    }

    /// Whether the terminal has shown nothing that is known for so long that a person should see it.
    pub(super) fn is_lost(&mut self, agent: &Agent, seen: &Seen) -> bool {
        let (now, limit) = (self.now, self.seen.rules.asks);
        let watch = self.memory.record(agent).terminal.as_ref();
        let since = watch.filter(|watch| watch.state == State::Unknown);
        seen.withheld && since.is_some_and(|watch| now.duration_since(watch.since) >= limit)
    }
}

/// Whether a terminal is still ready for the same. A question is the same one as long as its letters
/// are: beside it a program may draw a spinner or count seconds, and in a window of another width
/// the text has other lines.
fn is_same(before: &State, now: &State) -> bool {
    let letters = |question: &Question| -> String {
        let choices = question.choices.iter().flat_map(|choice| choice.chars());
        let all = question.text.chars().chain(choices);
        all.filter(|c| c.is_alphabetic()).collect()
    };
    match (before, now) {
        (State::Asks(before), State::Asks(now)) => letters(before) == letters(now),
        _ => before == now,
    }
}

/// A question and its choices in one line.
fn words(question: &Question) -> String {
    let clean = |text: &str| -> String {
        let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        plain.take(SHOWN).collect()
    };
    let mut words = format!("'{}'", clean(question.headline()));
    if !question.choices.is_empty() {
        words += &format!(" ({})", clean(&question.choices.join(" / ")));
    }
    words
}

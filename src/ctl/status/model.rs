//! The town at one moment.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::agent::{self, AgentStatus};
use crate::ctl::words::one_line;
use crate::exit::Exit;
use crate::spool::Counts;

/// From this many on, agents that gave up for the same reason are told in one line.
const MANY: usize = 3;

/// The town at one moment. The fields without `skip` are the contract of `status --json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Status {
    /// The town's root.
    pub town: String,
    /// The manager's state: `running`, `degraded`, ...; `unknown` when it does not answer.
    pub manager: String,
    /// The town's switch.
    pub target: Target,
    /// Whether the user's services outlive the login and start at boot.
    pub linger: Option<bool>,
    /// When the next tick begins; `None` when none is planned or one is running.
    pub next_tick: Option<Timestamp>,
    /// When the last tick was complete.
    pub last_tick: Option<Timestamp>,
    /// How many ticks there have been.
    pub ticks: Ticks,
    /// The roster, every agent that has a unit, and those that wait to be started.
    pub agents: Vec<AgentStatus>,
    /// What is not as it should be, each with what to type.
    pub problems: Vec<String>,
    /// The moment that this describes.
    #[serde(skip)]
    pub now: Timestamp,
    /// Why the next tick begins at that time.
    pub next_reason: Option<String>,
    /// How the last tick ended, if it failed.
    pub tick_failure: Option<String>,
    /// The spools.
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

/// `gastown.target`; `None`: the manager does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The town is up.
    pub active: Option<bool>,
    /// The town comes up at boot.
    pub enabled: Option<bool>,
}

/// A spool, by the number of its entries; those in `new` and `cur` are pending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// What its entries are: `request` or `spawn`.
    pub what: &'static str,
    /// Its directory, below the town's root.
    pub dir: &'static str,
    /// How many there are; `None`: that is not known.
    pub counts: Option<Counts>,
}

/// The words of a problem: an agent's name is one.
fn words(problem: &str) -> impl Iterator<Item = &str> {
    let words = problem.split(|c: char| !(c.is_alphanumeric() || "-_/.".contains(c)));
    words.filter(|word| !word.is_empty())
}

impl Status {
    /// Keeps only the agent or the agents of the rig that is named, and what is wrong with them or
    /// with the whole town.
    pub fn narrow(&mut self, name: &str) {
        let rig = format!("{name}/");
        let is_of = |agent: &str| agent == name || agent.starts_with(&rig);
        let (ours, others): (Vec<_>, Vec<_>) =
            self.agents.drain(..).partition(|agent| is_of(&agent.agent));
        self.agents = ours;
        let is_other = |word: &str| others.iter().any(|other| other.agent == word);
        let rigs = others
            .iter()
            .filter_map(|other| other.agent.split_once('/'));
        let rigs: BTreeSet<&str> = rigs.map(|(rig, _)| rig).collect();
        self.problems.retain(|problem| {
            // Whom it is about stands first: what follows in parentheses may be a person's own words,
            // and the last of several says nothing of the others.
            let ends = [" (", ", the last: "].iter();
            let end = ends.filter_map(|end| problem.find(end)).min();
            let about: Vec<&str> = words(&problem[..end.unwrap_or(problem.len())]).collect();
            // A rig's name may be any word: it means the rig only behind "rig", or in an agent's
            // name.
            let of_other = |at: usize, word: &&str| match word.split_once('/') {
                Some((rig, _)) => is_other(word) || rigs.contains(rig),
                None if at == 0 => is_other(word),
                None => about[at - 1].eq_ignore_ascii_case("rig") && rigs.contains(word),
            };
            let mut others = about.iter().enumerate();
            about.iter().any(|word| is_of(word)) || !others.any(|(at, word)| of_other(at, word))
        });
    }

    /// The problems as a person reads them: one line for many agents that failed for the same
    /// reason.
    pub fn told(&self) -> Vec<String> {
        let failed = self.agents.iter().filter(|a| a.active_state == "failed");
        let lines = failed.filter_map(|failed| {
            let line = one_line(&agent::problem(failed)?);
            // What else is wrong, such as with one that ended while it was frozen, no 'recover' mends.
            let why = failed.reason.as_deref()?;
            let is_given_up = why.starts_with("gave up: ");
            is_given_up.then_some((line, (failed.agent.as_str(), why)))
        });
        let lines: BTreeMap<String, (&str, &str)> = lines.collect();
        let mut alike: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, why) in self
            .problems
            .iter()
            .filter_map(|problem| lines.get(problem))
        {
            *alike.entry(why).or_default() += 1;
        }
        let one = |problem: &String| match lines.get(problem) {
            Some((first, why)) if alike.get(why).is_none_or(|count| *count >= MANY) => {
                // The line stands where the first of them stood.
                let count = alike.remove(why)?;
                Some(format!(
                    "{count} agents {why}; see 'gastownctl logs {first}' for one of them, then run \
                     'gastownctl recover'"
                ))
            }
            _ => Some(problem.clone()),
        };
        self.problems.iter().filter_map(one).collect()
    }

    /// The exit status that says whether the town is well.
    pub fn verdict(&self) -> Exit {
        match self.target.active {
            None => Exit::NoManager,
            Some(false) => Exit::Stopped,
            Some(true) if self.problems.is_empty() => Exit::Ok,
            Some(true) => Exit::Failure,
        }
    }

    /// How many of the agents are up (in the words of `what`), how many of those are frozen, and
    /// how many others somebody has stopped.
    pub fn up(&self, what: &str) -> String {
        let count = |is: fn(&AgentStatus) -> bool| self.agents.iter().filter(|a| is(a)).count();
        let up = count(|a| a.active_state == "active");
        let frozen = count(AgentStatus::stands_still);
        let held = count(|a| a.held == Some(true) && a.active_state == "inactive");
        let mut said = format!("{up} of {} {what}", self.agents.len());
        if frozen > 0 {
            said += &format!(", {frozen} of them frozen");
        }
        if held > 0 {
            said += &format!(", {held} held");
        }
        said
    }

    /// The whole status in one line, with the first problem.
    pub fn in_a_line(&self) -> String {
        let agents = self.up("agents up");
        let state = match self.target.active {
            None => "not known",
            Some(false) => "stopped",
            Some(true) => "running",
        };
        match &self.told()[..] {
            [] => format!("{state}, {agents}"),
            [only] => format!("{state}, {agents}; {only}"),
            [first, others @ ..] => {
                format!("{state}, {agents}; {first} (and {} more)", others.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_frozen_is_counted_apart() {
        let agent = |active_state: &str, frozen| AgentStatus {
            active_state: active_state.into(),
            frozen: Some(frozen),
            ..AgentStatus::default()
        };
        let mut status = status(Some(true), &[]);
        status.agents = vec![agent("active", false), agent("failed", true)];
        assert_eq!(status.up("up"), "1 of 2 up");
        status.agents.push(agent("active", true));
        assert_eq!(status.up("up"), "2 of 3 up, 1 of them frozen");
        status.agents.push(AgentStatus {
            held: Some(true),
            ..agent("inactive", false)
        });
        // One that is held and runs all the same is told otherwise.
        status.agents.push(AgentStatus {
            held: Some(true),
            ..agent("active", false)
        });
        assert_eq!(status.up("up"), "3 of 5 up, 1 of them frozen, 1 held");
    }

    fn status(active: Option<bool>, problems: &[&str]) -> Status {
        let agent = |name: &str| AgentStatus {
            agent: name.into(),
            active_state: "active".into(),
            ..AgentStatus::default()
        };
        Status {
            town: "/t".into(),
            manager: "running".into(),
            target: Target {
                active,
                enabled: Some(true),
            },
            linger: Some(true),
            next_tick: None,
            last_tick: None,
            ticks: Ticks::default(),
            agents: ["deacon", "a/witness", "ab/witness"].map(agent).to_vec(),
            problems: problems.iter().map(ToString::to_string).collect(),
            now: Timestamp::UNIX_EPOCH,
            next_reason: None,
            tick_failure: None,
            queues: Vec::new(),
        }
    }

    #[test]
    fn a_verdict_for_programs() {
        for (active, problems, exit, line) in [
            (Some(true), &[][..], Exit::Ok, "running, 3 of 3 agents up"),
            (
                Some(true),
                &["one", "two", "three"],
                Exit::Failure,
                "running, 3 of 3 agents up; one (and 2 more)",
            ),
            (
                Some(false),
                &["one"],
                Exit::Stopped,
                "stopped, 3 of 3 agents up; one",
            ),
            (None, &[], Exit::NoManager, "not known, 3 of 3 agents up"),
        ] {
            let status = status(active, problems);
            assert_eq!(status.verdict(), exit, "{line}");
            assert_eq!(status.in_a_line(), line);
        }
    }

    #[test]
    fn many_who_gave_up_for_one_reason_are_one_line() {
        let failed = |agent: &str, why: &str| AgentStatus {
            agent: agent.into(),
            active_state: "failed".into(),
            reason: Some(format!("gave up: {why}")),
            ..AgentStatus::default()
        };
        let killed = "signal, SIGKILL";
        let mut some = status(Some(true), &[]);
        some.agents = vec![failed("a/witness", killed), failed("deacon", killed)];
        let lines = |status: &Status| status.agents.iter().filter_map(agent::problem).collect();
        some.problems = lines(&some);
        assert_eq!(some.told(), some.problems);
        let mut all = some.clone();
        let other = failed("b/witness", "exit-code, status=3");
        all.agents
            .extend([other.clone(), failed("c/witness", killed)]);
        all.problems = lines(&all);
        all.problems.push("The town".into());
        assert_eq!(
            all.told(),
            [
                "3 agents gave up: signal, SIGKILL; see 'gastownctl logs a/witness' for one of them, \
                 then run 'gastownctl recover'",
                &agent::problem(&other).unwrap(),
                "The town",
            ]
        );
        // A program is told of each.
        assert_eq!(status(Some(true), &["one"]).problems, ["one"]);
        // What 'recover' does not mend is not said to be mended by it.
        for agent in &mut all.agents {
            agent.active_state = "failed".into();
            agent.reason = Some(agent::frozen_for_good());
        }
        all.problems = lines(&all);
        assert_eq!(all.told(), all.problems);
    }

    #[test]
    fn a_rig_and_what_is_wrong_with_it() {
        let problems = [
            "a/witness gave up",
            "Rig a has an emergency stop",
            "ab/witness gave up",
            "The town is stopped",
            // What a person has written does not say whom it is for.
            "Emergency stop since 2026-01-16T09:00:00Z (rig ab, and ab/witness, cost too much): no agent may run",
            "Rig ab has an emergency stop since 2026-01-16T09:00:00Z (a/witness): run 'gastownctl thaw ab'",
            // Others of these may be of the rig.
            "2 requests could not be executed, the last: cycle of ab/witness: too old; see 'dismiss'",
            "1 request could not be executed: cycle of ab/witness: too old; run 'dismiss'",
        ];
        let mut rig = status(Some(true), &problems);
        rig.narrow("a");
        assert_eq!(rig.agents.len(), 1);
        assert_eq!(rig.problems, [0, 1, 3, 4, 6].map(|at| problems[at]));
    }
}

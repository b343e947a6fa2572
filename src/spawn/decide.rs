//! What to do about each waiting spawn. Pure: no clock, no tmux, no files.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use super::waiting::{Waiting, issue_hash, issues_at_work};
use crate::terminal::{Outcome, State};
use crate::tmux::{Marked, Screen};
use crate::town::marks::Mark;

/// How long until we look again at a polecat that is not ready. From its prompt to the end of its
/// first line 2.5 s may pass, of which the debounce, the timer and the start need 1 s.
const LOOK: Duration = Duration::from_millis(1500);

/// The same if the rigs of all that wait have an emergency stop.
const STOPPED: Duration = Duration::from_secs(10);

/// The soonest next look.
const SOON: Duration = Duration::from_millis(100);

/// What is shown of a screen in a message, in lines, and in characters of each.
const SHOWN: (usize, usize) = (6, 120);

/// What tmux shows at one moment.
#[derive(Debug, Default)]
pub struct Sight {
    /// Every pane, in the order of sessions, windows and panes.
    pub panes: Vec<Marked>,
    /// What the panes of waiting agents show.
    pub screens: HashMap<String, Screen>,
    /// The server itself has `GT_AGENT_READY`, so sessions that show it say nothing.
    pub ready_by_default: bool,
}

/// What to do about one spawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Nothing yet.
    Wait,
    /// Tell it to begin, or go on with that where an earlier run ended.
    Tell {
        /// It has said that it is ready.
        is_ready: bool,
    },
    /// It has begun.
    Done,
    /// It has failed.
    Fail {
        /// Why, and what to do, in one line.
        reason: String,
        /// Whether a person must be told.
        alert: bool,
    },
}

impl Sight {
    fn has_said(&self, pane: &Marked) -> bool {
        pane.ready || (pane.ready_env && !self.ready_by_default)
    }

    fn screen(&self, pane: &Marked) -> Option<&Screen> {
        self.screens.get(&pane.pane.id)
    }
}

impl Waiting {
    /// What its terminal is ready for.
    fn state(&self, screen: Option<&Screen>) -> State {
        screen.map_or(State::Unknown, |screen| self.readiness.reader.state(screen))
    }

    fn is_ready(&self, screen: Option<&Screen>, has_said: bool, now: Timestamp) -> bool {
        let reader = &self.readiness.reader;
        let is_over = || self.delay_left(now).is_some_and(|left| left.is_zero());
        // A draft that is ours is taken back before the word is typed.
        let is_ours = || screen.is_some_and(|screen| reader.shows_only(screen, &self.ours));
        match self.state(screen) {
            State::Unknown => has_said || is_over(),
            State::Draft => is_ours(),
            state => screen.is_some_and(|screen| reader.takes(screen, &state)),
        }
    }

    fn in_doubt(&self) -> Action {
        let Waiting { spawn, agent, .. } = self;
        fail(format!(
            "session '{}' ended while {agent} was told to begin, so it is not known whether it \
             was; spawn it again if it does not work on its issue",
            spawn.session
        ))
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.record.deadline
    }
}

/// A failure that a person must be told of.
fn fail(reason: String) -> Action {
    Action::Fail {
        reason,
        alert: true,
    }
}

/// A failure that no person needs to be told of.
fn refuse(reason: String) -> Action {
    Action::Fail {
        reason,
        alert: false,
    }
}

/// What to do about each spawn, in their order. In one pass, one pane and one issue get one word.
pub fn decide(waiting: &[Waiting], sight: &Sight, now: Timestamp) -> Vec<Action> {
    let mut issues = issues_at_work(&sight.panes);
    let mut taken = HashSet::new();
    let mut actions = vec![Action::Wait; waiting.len()];
    // A text that is half typed is finished before its pane gets another one.
    for typed in [true, false] {
        for (w, action) in waiting.iter().zip(&mut actions) {
            let target = w.target(&sight.panes);
            if target.is_some_and(|t| w.typed_for(t).is_some()) == typed {
                *action = one(w, target, sight, now, &mut issues, &mut taken);
            }
        }
    }
    actions
}

fn one<'a>(
    w: &'a Waiting,
    target: Option<&'a Marked>,
    sight: &'a Sight,
    now: Timestamp,
    issues: &mut HashMap<String, String>,
    taken: &mut HashSet<&'a str>,
) -> Action {
    let session = &w.spawn.session;
    let again = format!("spawn {} again if it is still wanted", w.agent);
    let Some(target) = target else {
        return match w.record.seen {
            Some(_) => fail(format!("session '{session}' is gone; {again}")),
            None if w.is_expired(now) => fail(format!(
                "session '{session}' did not appear in time; {again}"
            )),
            None => Action::Wait,
        };
    };
    let pane = &target.pane;
    if let Some(owner) = pane.owner.as_ref().filter(|o| **o != w.agent.instance()) {
        return fail(format!(
            "session '{session}' is that of gt-agent@{owner}.service, not of {}; {again}",
            w.agent
        ));
    }
    let is_ready = sight.has_said(target);
    if let Some(pid) = w.typed_for(target) {
        return match pid == pane.pid && !pane.dead {
            false => w.in_doubt(),
            // Of two texts for one pane, the first is finished before the next is typed.
            true if !taken.insert(&pane.id) => Action::Wait,
            true => Action::Tell { is_ready },
        };
    }
    if w.record.typing {
        let seen = w.record.seen.as_ref();
        if seen.is_none_or(|s| (s.server, &s.pane) != (pane.server, &pane.id)) {
            return w.in_doubt();
        }
    }
    if let Some(refusal) = &w.refusal {
        return match refusal.mark {
            _ if w.is_stopped() => Action::Wait,
            // What is not known is not a no.
            Mark::Unknown if !w.is_expired(now) => Action::Wait,
            Mark::Unknown => fail(format!("{refusal}; {again}")),
            _ => refuse(format!("{} may not run: {refusal}", w.agent)),
        };
    }
    let issue = issue_hash(&w.spawn.issue);
    if let Some(other) = issues.get(&issue) {
        return refuse(format!(
            "issue '{}' is worked on in session '{other}' already",
            w.spawn.issue
        ));
    }
    if issue != "0" && issues.values().any(|at| at == session) {
        return refuse(format!(
            "{} works on another issue in session '{session}' already; spawn issue '{}' for another polecat",
            w.agent, w.spawn.issue
        ));
    }
    let screen = sight.screen(target);
    if !pane.dead && w.is_ready(screen, is_ready, now) {
        if !taken.insert(&pane.id) {
            return Action::Wait;
        }
        if issue != "0" {
            issues.insert(issue, session.clone());
        }
        return Action::Tell { is_ready };
    }
    if !w.is_expired(now) {
        return Action::Wait;
    }
    let why = match pane.dead {
        true => "has ended".into(),
        false => not_ready(&w.state(screen)),
    };
    fail(format!(
        "{} {why}, so it was not told to begin; its screen shows: {}",
        w.agent,
        shown(screen)
    ))
}

/// What follows for a spawn from how telling it to begin went.
pub fn after(w: &Waiting, outcome: &Outcome, screen: Option<&Screen>, now: Timestamp) -> Action {
    let why = match outcome {
        Outcome::Told => return Action::Done,
        // The next look finds out what that means.
        Outcome::Gone => return Action::Wait,
        _ if !w.is_expired(now) => return Action::Wait,
        Outcome::Waits(state) => not_ready(state),
        Outcome::NoRoom => "has too small a window for a text".into(),
        Outcome::Taken(hold) => format!("could not be typed to, for {}", hold.words()),
        Outcome::NotShown | Outcome::Unseen => "does not show what is typed".into(),
        Outcome::NotTaken => "does not take its input".into(),
    };
    fail(format!(
        "{} {why}, and it was not seen to begin; its screen shows: {}",
        w.agent,
        shown(screen)
    ))
}

fn not_ready(state: &State) -> String {
    match state {
        State::Asks(question) => format!("asks '{}'", clean(question.headline())),
        State::Draft => "has a line that somebody typed and did not send".into(),
        State::Busy => "was busy all the time".into(),
        State::Shell => "shows a shell".into(),
        State::Free | State::Unknown => "was not ready in time".into(),
    }
}

/// How long until we look again at the spawns that wait.
pub fn next_look(waiting: &[Waiting], now: Timestamp) -> Duration {
    if waiting.iter().all(Waiting::is_stopped) {
        return STOPPED;
    }
    let delays = waiting.iter().filter_map(|w| w.delay_left(now));
    let delays = delays.filter(|left| !left.is_zero());
    delays.min().unwrap_or(LOOK).clamp(SOON, LOOK)
}

/// What a screen shows, in one line for a person, without rules and borders.
fn shown(screen: Option<&Screen>) -> String {
    let lines = screen.map_or(&[][..], |screen| &screen.lines);
    let says = |line: &&String| line.contains(char::is_alphanumeric);
    let lines = lines.iter().rev().filter(says);
    let mut lines: Vec<String> = lines.take(SHOWN.0).map(|line| clean(line)).collect();
    lines.reverse();
    match lines.is_empty() {
        true => "nothing".into(),
        false => lines.join(" | "),
    }
}

/// A line of a stranger, fit for a message.
fn clean(line: &str) -> String {
    let plain = line.trim().chars();
    let plain = plain.map(|c| if c.is_control() { ' ' } else { c });
    plain.take(SHOWN.1).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;
    use crate::spawn::state::Record;
    use crate::spawn::waiting::{Readiness, WORD, is_too_old};
    use crate::terminal::typing::{Attempt, Step};
    use crate::terminal::{Once, Reader};
    use crate::tmux::{Keys, Mark, Pane, Strokes, Typed};
    use crate::town::marks::{self, Refusal};
    use crate::town::pending::Pending;

    static CLAUDE: LazyLock<Reader> = LazyLock::new(|| Reader::usual("claude"));

    const PROMPT: &str = "❯ ";

    const START: &str = "2026-01-01T00:00:00Z";

    fn at(seconds: i64) -> Timestamp {
        let start: Timestamp = START.parse().unwrap();
        start + SignedDuration::from_secs(seconds)
    }

    fn waiting(n: u8, session: &str, issue: &str) -> Waiting {
        let spawn = Pending {
            rig: "gastown".into(),
            polecat: format!("p{n}"),
            session: session.into(),
            issue: issue.into(),
            ..Pending::default()
        };
        Waiting {
            name: format!("{n}.json"),
            agent: spawn.agent().unwrap(),
            spawn,
            refusal: None,
            ours: vec![WORD.into()],
            readiness: Readiness {
                reader: CLAUDE.clone(),
                delay: None,
            },
            record: Record::new(
                &format!("{n:016x}"),
                None,
                SignedDuration::from_mins(5),
                at(0),
            ),
        }
    }

    fn pane(n: u32, session: &str) -> Marked {
        Marked {
            pane: Pane {
                id: format!("%{n}"),
                pid: 100 + n,
                dead: false,
                status: None,
                signal: None,
                owner: None,
                server: 9,
                clients: 0,
                report: None,
                created: Some(at(0)),
                home: None,
                session: session.into(),
            },
            ready: false,
            ready_env: false,
            marks: Vec::new(),
        }
    }

    /// What Claude shows: a text whose last line begins with its prompt stands in its frame.
    fn screen(text: &str) -> Screen {
        let mut lines: Vec<String> = text.lines().map(|l| l.trim_end().to_string()).collect();
        let mut row = lines.len().saturating_sub(1);
        let column = text.lines().last().map_or(0, |line| line.chars().count());
        if text
            .lines()
            .last()
            .is_some_and(|line| line.starts_with(PROMPT))
        {
            let rule = "─".repeat(200);
            lines.insert(row, rule.clone());
            lines.extend([rule, "  ⏵⏵ bypass permissions on".into()]);
            row += 1;
        }
        Screen {
            row,
            column,
            solid: lines.clone(),
            lines,
            size: (200, 50),
            command: "claude".into(),
            title: "✳ Claude Code".into(),
            ..Screen::default()
        }
    }

    fn sight(panes: Vec<(Marked, &str)>) -> Sight {
        let shows = |(m, text): &(Marked, &str)| (m.pane.id.clone(), screen(text));
        Sight {
            screens: panes.iter().map(shows).collect(),
            panes: panes.into_iter().map(|(m, _)| m).collect(),
            ready_by_default: false,
        }
    }

    /// What is decided, in a word, and with the reason of a failure.
    fn words(waiting: &mut [Waiting], sight: &Sight, now: Timestamp) -> Vec<String> {
        for w in waiting.iter_mut() {
            if let Some(pane) = w.target(&sight.panes).cloned() {
                w.see(&pane, now);
            }
        }
        let word = |action: &Action| match action {
            Action::Fail { reason, alert } => format!("fail {alert}: {reason}"),
            Action::Tell { .. } => "tell".into(),
            other => format!("{other:?}").to_lowercase(),
        };
        decide(waiting, sight, now).iter().map(word).collect()
    }

    fn word(w: &Waiting, sight: &Sight, now: Timestamp) -> String {
        words(&mut [w.clone()], sight, now).remove(0)
    }

    #[test]
    fn the_session_named_and_no_other() {
        let w = waiting(1, "gt-gastown-p1", "");
        let other = || (pane(1, "gt-gastown-p11"), "❯ ");
        assert_eq!(word(&w, &sight(vec![other()]), at(1)), "wait");
        let late = word(&w, &sight(vec![other()]), at(301));
        assert!(
            late.starts_with("fail true: session 'gt-gastown-p1' did not appear"),
            "{late}"
        );
        let both = sight(vec![(pane(2, "gt-gastown-p1"), "❯ "), other()]);
        assert_eq!(word(&w, &both, at(1)), "tell");
        assert_eq!(w.target(&both.panes).unwrap().pane.id, "%2");
    }

    #[test]
    fn the_agents_own_pane_in_it() {
        let w = waiting(1, "s", "");
        let owned = |n, owner: &str| {
            let mut pane = pane(n, "s");
            pane.pane.owner = Some(owner.into());
            pane
        };
        let ours = w.agent.instance();
        let panes = [pane(1, "s"), owned(2, &ours), owned(3, "deacon")];
        assert_eq!(w.target(&panes).unwrap().pane.id, "%2");
        assert_eq!(w.target(&panes[..1]).unwrap().pane.id, "%1");
        let got = word(&w, &sight(vec![(owned(3, "deacon"), "❯ ")]), at(1));
        assert!(got.contains("is that of gt-agent@deacon.service"), "{got}");
    }

    #[test]
    fn ready_by_word_prompt_or_time() {
        let plain = waiting(1, "s", "");
        let with = |f: fn(&mut Marked)| {
            let mut pane = pane(1, "s");
            f(&mut pane);
            sight(vec![(pane, "booting")])
        };
        let not = with(|_| {});
        let said = with(|p| p.ready = true);
        let env = with(|p| p.ready_env = true);
        let dead = with(|p| (p.ready, p.pane.dead) = (true, true));
        for (sight, want) in [
            (&not, "wait"),
            (&said, "tell"),
            (&env, "tell"),
            (&dead, "wait"),
        ] {
            assert_eq!(word(&plain, sight, at(1)), want);
        }
        let default = Sight {
            ready_by_default: true,
            ..with(|p| p.ready_env = true)
        };
        assert_eq!(word(&plain, &default, at(1)), "wait");

        let mut slow = plain.clone();
        slow.readiness = Readiness {
            reader: Reader::default(),
            delay: Some(Duration::from_secs(3)),
        };
        for (now, want) in [(10, "wait"), (12, "wait"), (13, "tell")] {
            let got = words(std::slice::from_mut(&mut slow), &not, at(now));
            assert_eq!(got, [want], "{now}");
        }
        assert_eq!(next_look(&[slow.clone()], at(12)), Duration::from_secs(1));
        // Another process in the pane begins anew.
        let mut again = pane(1, "s");
        again.pane.pid = 7;
        assert_eq!(word(&slow, &sight(vec![(again, "")]), at(14)), "wait");
        assert_eq!(next_look(&[plain], at(12)), LOOK);
        // The clock was set back: the time begins anew.
        for (now, want) in [(-7000, "wait"), (-6998, "wait"), (-6997, "tell")] {
            let got = words(std::slice::from_mut(&mut slow), &not, at(now));
            assert_eq!(got, [want], "{now}");
        }
    }

    /// After a run was killed: what the pane has, what it shows, and what follows.
    #[test]
    fn a_run_that_was_killed_is_taken_up_where_it_was() {
        let mut w = waiting(1, "s", "i-1");
        w.record.see(&pane(1, "s").pane, at(0));
        w.record.typing = true;
        let Once { typed, entered } = w.marks(101);
        let marked = |marks: &[&String]| {
            let mut pane = pane(1, "s");
            pane.marks = marks.iter().map(|m| m.to_string()).collect();
            pane
        };
        let doubt = "fail true: session 's' ended while";
        for (pane, text) in [
            (marked(&[]), "❯ "),
            (marked(&[&typed]), "❯ Begin."),
            (marked(&[&typed]), ""),
            (marked(&[&typed, &entered]), "❯ Begin."),
            (marked(&[&typed, &entered]), "❯ Begin.\nI begin"),
        ] {
            assert_eq!(word(&w, &sight(vec![(pane.clone(), text)]), at(1)), "tell");
            let mut other = pane.clone();
            other.pane.pid = 7;
            let got = word(&w, &sight(vec![(other, text)]), at(1));
            let want = match pane.marks.len() {
                // The new one can be told, for the old one was not.
                0 => "tell",
                _ => doubt,
            };
            assert!(got.starts_with(want), "{got}");
        }
        // Another server, after a reboot: its panes have no marks, which says nothing.
        let mut reborn = pane(1, "s");
        reborn.pane.server = 10;
        let got = word(&w, &sight(vec![(reborn, "❯ ")]), at(1));
        assert!(got.starts_with(doubt), "{got}");
        assert!(word(&w, &sight(vec![]), at(1)).starts_with("fail true: session 's' is gone"));
    }

    #[test]
    fn who_starts_anew_before_the_word_was_typed_is_told() {
        let mut w = waiting(1, "s", "");
        w.see(&pane(1, "s"), at(0));
        w.record.typing = true;
        let mut again = pane(1, "s");
        again.pane.pid = 7;
        w.see(&again, at(1));
        assert_eq!(w.word(false).unwrap().pid, 7);
        // The word was typed for the process before: that stays known.
        w.record.typing = true;
        again.marks = vec![w.marks(7).typed];
        again.pane.pid = 8;
        w.see(&again, at(2));
        assert!(w.record.typing && w.word(false).unwrap().pid == 7);
    }

    #[test]
    fn who_is_told_in_vain_fails_at_the_deadline() {
        let w = waiting(1, "s", "");
        let held = screen("❯ Begin.");
        let after = |outcome: &Outcome, now| after(&w, outcome, Some(&held), now);
        assert_eq!(after(&Outcome::Told, at(301)), Action::Done);
        for (outcome, want) in [
            (Outcome::NotTaken, "does not take its input, and it was"),
            (Outcome::NotShown, "does not show what is typed, and it was"),
            (
                Outcome::Waits(State::Draft),
                "has a line that somebody typed",
            ),
        ] {
            assert_eq!(after(&outcome, at(299)), Action::Wait);
            let Action::Fail { reason, alert } = after(&outcome, at(300)) else {
                panic!("{outcome:?}");
            };
            assert!(alert && reason.contains(want), "{reason}");
            let shows = "its screen shows: ❯ Begin. | ⏵⏵ bypass permissions on";
            assert!(reason.ends_with(shows), "{reason}");
        }
    }

    #[test]
    fn one_issue_is_worked_on_once() {
        let mut eight: Vec<Waiting> = (0..8)
            .map(|n| waiting(n, &format!("s{n}"), "i-1"))
            .collect();
        eight.push(waiting(8, "s8", "i-2"));
        eight.push(waiting(9, "s9", ""));
        eight.push(waiting(10, "s10", ""));
        let panes = || -> Vec<(Marked, &str)> {
            let ready = |n: u32| if n == 0 { "booting" } else { "❯ " };
            (0..11)
                .map(|n| (pane(n, &format!("s{n}")), ready(n)))
                .collect()
        };
        let got = words(&mut eight, &sight(panes()), at(1));
        assert_eq!([&got[0], &got[1]], ["wait", "tell"]);
        let refused = "fail false: issue 'i-1' is worked on in session 's1' already";
        assert!(got[2..8].iter().all(|g| g == refused), "{got:?}");
        assert_eq!(got[8..], ["tell", "tell", "tell"]);

        // Later it is known by the pane, as long as that process lives.
        let mut later = panes();
        later[1].0.marks = vec![eight[1].marks(101).typed, eight[1].marks(101).entered];
        assert_eq!(word(&eight[0], &sight(later.clone()), at(1)), refused);
        later[1].0.pane.pid = 7;
        assert_eq!(word(&eight[2], &sight(later.clone()), at(1)), "tell");
        // Or until that process is told of another issue.
        later[1].0.pane.pid = 101;
        later[1].0.marks.push(eight[8].marks(101).typed);
        assert_eq!(word(&eight[2], &sight(later), at(1)), "tell");
    }

    #[test]
    fn who_has_work_gets_no_other() {
        let mut two = [waiting(1, "s", "a"), waiting(2, "s", "b")];
        let mut here = pane(1, "s");
        let refused = "fail false: gastown/polecats/p2 works on another issue in session 's' already; \
                       spawn issue 'b' for another polecat";
        let got = words(&mut two, &sight(vec![(here.clone(), "❯ ")]), at(1));
        assert_eq!(got, ["tell", refused]);
        here.marks = vec![two[0].marks(101).typed];
        let got = words(&mut two, &sight(vec![(here.clone(), "❯ ")]), at(1));
        assert_eq!(got[1], refused);
        // Another process in that session has no work yet.
        here.pane.pid += 1;
        let got = words(&mut two[1..], &sight(vec![(here, "❯ ")]), at(1));
        assert_eq!(got, ["tell"]);
    }

    #[test]
    fn two_spawns_of_one_session_follow_each_other() {
        let mut two = [waiting(1, "s", ""), waiting(2, "s", "")];
        let mut here = pane(1, "s");
        let got = words(&mut two, &sight(vec![(here.clone(), "❯ ")]), at(1));
        assert_eq!(got, ["tell", "wait"]);
        here.marks = vec![two[0].marks(101).typed];
        let got = words(&mut two, &sight(vec![(here.clone(), "❯ Begin.")]), at(1));
        assert_eq!(got, ["tell", "wait"]);
        // Whatever their order.
        two.swap(0, 1);
        let got = words(&mut two, &sight(vec![(here.clone(), "❯ ")]), at(1));
        assert_eq!(got, ["wait", "tell"]);
    }

    #[test]
    fn failures_say_who_and_what_it_shows() {
        let mut w = waiting(1, "s", "i-1");
        let shows = sight(vec![(pane(1, "s"), "Welcome\n\n  Press any\u{1b}key \n")]);
        assert_eq!(word(&w, &shows, at(299)), "wait");
        let got = word(&w, &shows, at(300));
        assert!(
            got.starts_with("fail true: gastown/polecats/p1 was not ready in time")
                && got.ends_with("its screen shows: Welcome | Press any key"),
            "{got}"
        );
        let refused = |mark, reason: &str| {
            let reason = reason.into();
            Some(Refusal { mark, reason })
        };
        w.refusal = refused(marks::Mark::Parked, "rig gastown is parked");
        let ready = sight(vec![(pane(1, "s"), "❯ ")]);
        let want = "fail false: gastown/polecats/p1 may not run: rig gastown is parked";
        assert_eq!(word(&w, &ready, at(1)), want);
        assert_eq!(word(&w, &sight(vec![]), at(1)), "wait");
        // A refusal that ends again, or that is not known, is waited for.
        w.refusal = refused(marks::Mark::RigEstop, "rig gastown has an emergency stop");
        assert_eq!(word(&w, &ready, at(1)), "wait");
        assert_eq!(word(&w, &ready, at(300)), "wait");
        assert_eq!(next_look(std::slice::from_ref(&w), at(1)), STOPPED);
        w.refusal = refused(
            marks::Mark::Unknown,
            "it is not known whether agents may run",
        );
        assert_eq!(word(&w, &ready, at(1)), "wait");
        let want = "fail true: it is not known whether agents may run";
        assert!(word(&w, &ready, at(300)).starts_with(want));
    }

    #[test]
    fn deadlines() {
        let patience = SignedDuration::from_mins(5);
        for (spawned_at, deadline) in [
            (None, 300),
            (Some(-60), 240),
            (Some(3600), 300),
            (Some(-999), -699),
        ] {
            let record = Record::new("1", spawned_at.map(at), patience, at(0));
            assert_eq!(record.deadline, at(deadline), "{spawned_at:?}");
        }
        let old = |seconds: i64| Pending {
            spawned_at: Some(at(-seconds)),
            ..Pending::default()
        };
        assert!(!is_too_old(&Pending::default(), at(0)));
        assert!(!is_too_old(&old(6 * 3600), at(0)) && is_too_old(&old(6 * 3600 + 1), at(0)));
    }

    const ENTER: [(&str, usize); 1] = [("Enter", 1)];

    /// A town of three sessions in which agents get ready, end, and swallow keys, and a program
    /// that is killed at random between any two of its steps.
    #[derive(Debug)]
    struct Model {
        panes: Vec<Marked>,
        lines: Vec<String>,
        /// The words that a process took in, by session.
        taken: HashMap<String, usize>,
        /// What was typed last, by pane.
        typed: Vec<Option<Typed>>,
        /// How often Enter was pressed for nothing.
        empty: usize,
        /// How often something else was sent than the word.
        glued: usize,
    }

    impl Model {
        fn sight(&self) -> Sight {
            let shown = self.panes.iter().zip(&self.lines);
            Sight {
                screens: shown
                    .map(|(m, line)| (m.pane.id.clone(), screen(line)))
                    .collect(),
                panes: self.panes.clone(),
                ready_by_default: false,
            }
        }

        /// What an attempt sees of a pane.
        fn pane(&self, id: &str) -> crate::tmux::Sight {
            let at = self.panes.iter().position(|m| m.pane.id == id).unwrap();
            crate::tmux::Sight {
                screen: screen(&self.lines[at]),
                pid: self.panes[at].pane.pid,
                dead: false,
                marks: self.panes[at].marks.clone(),
                typed: self.typed[at].clone(),
                words: None,
                hold: None,
            }
        }

        /// As [`crate::tmux::Tmux::strike`].
        fn strike(&mut self, strokes: &Strokes, swallow: bool) {
            let id = &strokes.pane;
            let at = self.panes.iter().position(|m| m.pane.id == *id).unwrap();
            let here = screen(&self.lines[at]);
            let (m, line) = (&mut self.panes[at], &mut self.lines[at]);
            let is_there = strokes.cursor == (here.column, here.row) || strokes.keys == Keys::None;
            match &strokes.mark {
                Some(Mark::Once(mark)) if m.marks.contains(mark) => return,
                _ if m.pane.pid != strokes.pid || !is_there => return,
                Some(Mark::Once(mark)) => m.marks.push(mark.clone()),
                Some(Mark::Gone(mark)) => m.marks.retain(|m| m != mark),
                None => {}
            }
            self.typed[at].clone_from(&strokes.typed);
            match &strokes.keys {
                Keys::None => {}
                Keys::Text(text) => line.push_str(text),
                Keys::Named(keys) if keys == &ENTER && swallow => {}
                Keys::Named(keys) if keys == &ENTER && line == PROMPT => self.empty += 1,
                Keys::Named(keys) if keys == &ENTER => {
                    self.glued += usize::from(*line != format!("{PROMPT}{WORD}"));
                    *self.taken.entry(m.pane.session.clone()).or_default() += 1;
                    *line = "❯ ".into();
                }
                Keys::Named(keys) if keys.iter().any(|(key, _)| *key == "C-u") => {
                    *line = PROMPT.into();
                }
                Keys::Named(keys) => {
                    for (_, times) in keys.iter().filter(|(key, _)| *key == "BSpace") {
                        let kept = line.chars().count().saturating_sub(*times).max(2);
                        *line = line.chars().take(kept).collect();
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn each_spawn_once_or_failed_wherever_a_run_is_killed(
            steps in proptest::collection::vec((0u8..7, 0usize..3, 0u8..12, any::<bool>()), 1..60),
        ) {
            let mut model = Model {
                panes: (0..3).map(|n| pane(n, &format!("s{n}"))).collect(),
                lines: vec![String::new(); 3],
                taken: HashMap::new(),
                typed: vec![None; 3],
                empty: 0,
                glued: 0,
            };
            // The last two are of one session.
            let session = |n: u8| format!("s{}", n.min(2));
            let mut spool: Vec<Waiting> = (0..4).rev().map(|n| waiting(n, &session(n), "")).collect();
            let (mut done, mut failed) = (HashSet::new(), HashSet::new());
            let steps = steps.into_iter().chain(std::iter::repeat_n((5, 0, 99, false), 12));
            for (i, (what, which, killed_after, swallow)) in steps.enumerate() {
                let now = at(i as i64);
                match what {
                    // The agent is ready, or starts anew, or its session does on another server.
                    0 if model.lines[which].is_empty() => model.lines[which] = "❯ ".into(),
                    1 => {
                        model.panes[which].pane.pid += 1000;
                        model.typed[which] = None;
                        model.lines[which] = "❯ ".into();
                    }
                    2 => {
                        model.panes[which].pane.server += 1;
                        model.panes[which].pane.pid += 1000;
                        model.panes[which].marks.clear();
                        model.typed[which] = None;
                        model.lines[which] = String::new();
                    }
                    // A person types something, or sends what is there.
                    3 if model.lines[which] == "❯ " => model.lines[which] = "❯ x".into(),
                    4 if model.lines[which] == "❯ x" => model.lines[which] = "❯ ".into(),
                    _ => {}
                }
                let mut budget = killed_after;
                let mut alive = || {
                    budget = budget.saturating_sub(1);
                    budget > 0
                };
                let sight = model.sight();
                // What the run has not saved is lost with it.
                let mut records = spool.clone();
                for w in &mut records {
                    if let Some(pane) = w.target(&sight.panes).cloned() {
                        w.see(&pane, now);
                    }
                }
                let mut actions = decide(&records, &sight, now);
                for (w, action) in records.iter_mut().zip(&actions) {
                    w.record.typing |= matches!(action, Action::Tell { .. });
                }
                if !alive() {
                    continue;
                }
                spool = records.clone();
                if !alive() {
                    continue;
                }
                // As [`crate::terminal::tell`], with a clock of its own.
                let mut clock = Duration::ZERO;
                let mut open: Vec<(usize, Attempt)> = Vec::new();
                for (i, action) in actions.iter().enumerate() {
                    if let Action::Tell { is_ready } = action {
                        prop_assert!(!done.contains(&records[i].name));
                        let text = records[i].word(*is_ready).unwrap();
                        open.push((i, Attempt::new(text)));
                    }
                }
                let mut killed = false;
                while !open.is_empty() && !killed {
                    let (mut strokes, mut rest) = (Vec::new(), Vec::new());
                    for (i, mut attempt) in open {
                        let sight = model.pane(attempt.pane());
                        match attempt.next(Some(&sight), clock) {
                            Step::Wait(_) => {}
                            Step::Send(keys, _) => strokes.push(keys),
                            Step::End(outcome, notes) => {
                                strokes.extend(notes);
                                actions[i] = after(&records[i], &outcome, None, now);
                                continue;
                            }
                        }
                        rest.push((i, attempt));
                    }
                    open = rest;
                    strokes.iter().for_each(|strokes| model.strike(strokes, swallow));
                    clock += Duration::from_millis(100);
                    killed = !strokes.is_empty() && !alive();
                }
                if killed {
                    continue;
                }
                for (w, action) in records.iter().zip(&actions) {
                    if !alive() {
                        break;
                    }
                    match action {
                        Action::Done => drop(done.insert(w.name.clone())),
                        Action::Fail { .. } => drop(failed.insert(w.name.clone())),
                        _ => continue,
                    }
                    spool.retain(|other| other.name != w.name);
                }
            }
            prop_assert_eq!((model.empty, model.glued), (0, 0));
            for n in 0..3u8 {
                let session = session(n);
                let names = (0..4).filter(|m| m.min(&2) == &n).map(|m| format!("{m}.json"));
                let (mut begun, mut most) = (0, 0);
                for name in names {
                    prop_assert!(!(done.contains(&name) && failed.contains(&name)));
                    begun += usize::from(done.contains(&name));
                    most += 1;
                }
                let taken = model.taken.get(&session).copied().unwrap_or_default();
                prop_assert!(taken <= most, "{session} was told {taken} times");
                prop_assert!(taken >= begun, "{session} is done but was told too little");
            }
        }
    }
}

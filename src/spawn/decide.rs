//! What to do about each waiting spawn. Pure: no clock, no tmux, no files.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::agent::Agent;
use crate::tmux::{Marked, Pane, Screen};
use crate::town::pending::Pending;

/// What a polecat is told.
pub const WORD: &str = "Begin.";

/// A spawn older than this when it is first read is refused: nobody waits for it any more.
const TOO_OLD: SignedDuration = SignedDuration::from_hours(6);

/// After which a polecat that is not ready is looked at again: from its prompt to the end of its
/// first line take 2.5 s at most, of which the debounce, the timer and the start need 1 s.
const LOOK: Duration = Duration::from_millis(1500);

/// The soonest next look.
const SOON: Duration = Duration::from_millis(100);

/// Where on the screen a prompt counts: in the last lines that have anything.
const PROMPT_LINES: usize = 10;

/// What is shown of a screen in a message, in lines, and in characters of each.
const SHOWN: (usize, usize) = (6, 120);

/// What is known of a spawn besides what its writer said; it outlives the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Names this arrival of the spawn, in hexadecimal digits.
    pub id: String,
    /// When it has failed unless it was ready.
    pub deadline: Timestamp,
    /// Where its agent was seen.
    #[serde(default)]
    pub seen: Option<Seen>,
    /// The word may have been typed there: written before the attempt.
    #[serde(default)]
    pub typing: bool,
}

/// A process in a pane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The pid of the tmux server.
    pub server: u32,
    /// The pane's id, which the server does not use again.
    pub pane: String,
    /// The pid of the pane's process.
    pub pid: u32,
    /// Since when.
    pub at: Timestamp,
}

/// How an agent shows that it can be talked to, besides saying so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// How its prompt begins; any of them.
    pub prompts: Vec<String>,
    /// How long after its start it counts as ready when it has no prompt; `None`: never.
    pub delay: Option<Duration>,
}

/// A spawn whose agent waits for its first word.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The name of its spool entry.
    pub name: String,
    /// What its writer said. The session is fit for tmux.
    pub spawn: Pending,
    /// Who it is.
    pub agent: Agent,
    /// Why this agent may not run now.
    pub refusal: Option<String>,
    /// How it shows that it is ready.
    pub readiness: Readiness,
    /// What is known of it.
    pub record: Record,
}

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
    /// Type the word; it is followed by [`Action::Submit`].
    Type,
    /// The word is there: press Enter until it is taken.
    Submit,
    /// It has begun.
    Done,
    /// It never will.
    Fail {
        /// Why, and what to do, in one line.
        reason: String,
        /// Whether a person must be told.
        alert: bool,
    },
}

impl Waiting {
    /// The pane it is about: its own agent's in the session of that name; in a session that
    /// others made, the first of the first window.
    pub fn target<'a>(&self, panes: &'a [Marked]) -> Option<&'a Marked> {
        let instance = self.agent.instance();
        let mut here = panes
            .iter()
            .filter(|m| m.pane.session == self.spawn.session);
        here.clone()
            .find(|m| m.pane.owner.as_deref() == Some(&instance))
            .or_else(|| here.next())
    }

    /// The mark of a pane in which the word was typed for this spawn, by this process.
    pub fn typed_mark(&self, pid: u32) -> String {
        format!(
            "t{}i{}p{pid}",
            self.record.id,
            issue_hash(&self.spawn.issue)
        )
    }

    /// The mark of a pane in which Enter was pressed for this spawn.
    pub fn entered_mark(&self) -> String {
        format!("e{}", self.record.id)
    }

    /// The process that the word was typed for.
    fn typed_for(&self, pane: &Marked) -> Option<u32> {
        let mark = format!("t{}i", self.record.id);
        let mark = pane.marks.iter().find(|m| m.starts_with(&mark))?;
        mark.rsplit('p').next()?.parse().ok()
    }

    fn in_doubt(&self) -> Action {
        let Waiting { spawn, agent, .. } = self;
        let reason = format!(
            "session '{}' ended while {agent} was told to begin, so it is not known whether it \
             was; spawn it again if it does not work on its issue",
            spawn.session
        );
        self.fail(true, reason)
    }

    fn is_ready(&self, pane: &Marked, sight: &Sight, now: Timestamp) -> bool {
        if pane.ready || (pane.ready_env && !sight.ready_by_default) {
            return true;
        }
        let screen = sight.screens.get(&pane.pane.id);
        let prompts = &self.readiness.prompts;
        if screen.is_some_and(|s| shows_prompt(s, prompts) && !holds_word(s, prompts)) {
            return true;
        }
        self.delay_left(now).is_some_and(|left| left.is_zero())
    }

    fn delay_left(&self, now: Timestamp) -> Option<Duration> {
        let waited = now.duration_since(self.record.seen.as_ref()?.at);
        let waited = Duration::try_from(waited).unwrap_or_default();
        Some(self.readiness.delay?.saturating_sub(waited))
    }

    fn fail(&self, alert: bool, reason: String) -> Action {
        Action::Fail { reason, alert }
    }
}

impl Record {
    /// The record of a spawn that is read for the first time and may take `patience`.
    pub fn new(
        id: &str,
        spawned_at: Option<Timestamp>,
        patience: SignedDuration,
        now: Timestamp,
    ) -> Record {
        // A time from the future says nothing.
        let begin = spawned_at.filter(|t| *t <= now).unwrap_or(now);
        Record {
            id: id.to_string(),
            deadline: begin.saturating_add(patience).unwrap_or(now),
            seen: None,
            typing: false,
        }
    }

    /// Notes where the agent is now. Where the word may have been typed is not forgotten.
    pub fn see(&mut self, pane: &Pane, now: Timestamp) {
        let same = |s: &Seen| (s.server, &s.pane, s.pid) == (pane.server, &pane.id, pane.pid);
        if !self.typing && !self.seen.as_ref().is_some_and(same) {
            self.seen = Some(Seen {
                server: pane.server,
                pane: pane.id.clone(),
                pid: pane.pid,
                at: now,
            });
        }
    }
}

/// The first `bytes` of the SHA-256 of a text, in hexadecimal digits.
pub fn hash(text: &[u8], bytes: usize) -> String {
    let digest = Sha256::digest(text);
    digest[..bytes].iter().map(|b| format!("{b:02x}")).collect()
}

fn issue_hash(issue: &str) -> String {
    match issue {
        "" => "0".into(),
        _ => hash(issue.as_bytes(), 8),
    }
}

/// What to do about each spawn, in their order. In one pass, one pane and one issue get one word.
pub fn decide(waiting: &[Waiting], sight: &Sight, now: Timestamp) -> Vec<Action> {
    let mut issues = issues_at_work(&sight.panes);
    let mut taken = HashSet::new();
    let mut actions = vec![Action::Wait; waiting.len()];
    // A word that is typed is finished before its pane gets another.
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

/// The session in which each issue is worked on, by hash: the last word that a living process got.
fn issues_at_work(panes: &[Marked]) -> HashMap<String, String> {
    let issue = |m: &Marked| -> Option<(String, String)> {
        let last = m.marks.iter().rfind(|mark| mark.starts_with('t'))?;
        let (_, rest) = last.split_once('i')?;
        let (issue, pid) = rest.split_once('p')?;
        let alive = !m.pane.dead && pid.parse() == Ok(m.pane.pid);
        (alive && issue != "0").then(|| (issue.to_string(), m.pane.session.clone()))
    };
    panes.iter().filter_map(issue).collect()
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
    let expired = now >= w.record.deadline;
    let again = format!("spawn {} again if it is still wanted", w.agent);
    let Some(target) = target else {
        return match (&w.record.seen, expired) {
            (Some(_), _) => w.fail(true, format!("session '{session}' is gone; {again}")),
            (None, true) => {
                let reason = format!("session '{session}' did not appear in time; {again}");
                w.fail(true, reason)
            }
            (None, false) => Action::Wait,
        };
    };
    let pane = &target.pane;
    let screen = sight.screens.get(&pane.id);
    if let Some(owner) = pane.owner.as_ref().filter(|o| **o != w.agent.instance()) {
        let reason = format!(
            "session '{session}' is that of gt-agent@{owner}.service, not of {}; {again}",
            w.agent
        );
        return w.fail(true, reason);
    }
    if let Some(pid) = w.typed_for(target) {
        let entered = target.marks.contains(&w.entered_mark());
        let held = screen.is_none_or(|s| holds_word(s, &w.readiness.prompts));
        return match (pid == pane.pid && !pane.dead, entered) {
            (false, _) => w.in_doubt(),
            // Two words for one pane follow each other, and the first is done with before the next.
            (true, _) if !taken.insert(&pane.id) => Action::Wait,
            (true, true) if !held => Action::Done,
            (true, true) if expired => {
                let shows = screen.map(shown).unwrap_or_default();
                let reason = format!(
                    "{} does not take its input; its screen shows: {shows}",
                    w.agent
                );
                w.fail(true, reason)
            }
            (true, _) => Action::Submit,
        };
    }
    if w.record.typing {
        let same = |s: &Seen| (s.server, &s.pane) == (pane.server, &pane.id);
        if !w.record.seen.as_ref().is_some_and(same) {
            return w.in_doubt();
        }
    }
    if let Some(reason) = &w.refusal {
        return w.fail(false, format!("{} may not run: {reason}", w.agent));
    }
    let issue = issue_hash(&w.spawn.issue);
    if let Some(other) = issues.get(&issue) {
        let reason = format!(
            "issue '{}' is worked on in session '{other}' already",
            w.spawn.issue
        );
        return w.fail(false, reason);
    }
    if issue != "0" && issues.values().any(|at| at == session) {
        let reason = format!(
            "{} works on another issue in session '{session}' already; spawn issue '{}' for another polecat",
            w.agent, w.spawn.issue
        );
        return w.fail(false, reason);
    }
    // What somebody types there and has not sent is not to be sent with our word.
    let drafted = screen.is_some_and(|s| s.is_drafted(&w.readiness.prompts));
    if !pane.dead && !drafted && w.is_ready(target, sight, now) {
        if !taken.insert(&pane.id) {
            return Action::Wait;
        }
        if issue != "0" {
            issues.insert(issue, session.clone());
        }
        return Action::Type;
    }
    if !expired {
        return Action::Wait;
    }
    let shown = screen.map(shown).unwrap_or_default();
    let state = if pane.dead {
        "has ended"
    } else if drafted {
        "has a line that somebody typed and did not send"
    } else {
        "was not ready in time"
    };
    let shows = if shown.is_empty() { "nothing" } else { &shown };
    let reason = format!(
        "{} {state}, so it was not told to begin; its screen shows: {shows}",
        w.agent
    );
    w.fail(true, reason)
}

/// Whether a spawn was so old already when its entry arrived that it is refused unread.
pub fn is_too_old(spawn: &Pending, now: Timestamp) -> bool {
    spawn
        .spawned_at
        .is_some_and(|t| now.duration_since(t) > TOO_OLD)
}

/// When to look again at those that wait.
pub fn next_look(waiting: &[Waiting], now: Timestamp) -> Duration {
    let delays = waiting.iter().filter_map(|w| w.delay_left(now));
    delays.min().unwrap_or(LOOK).clamp(SOON, LOOK)
}

/// Whether an agent waits for input: one of its last lines begins like a prompt. A marked line of
/// a menu does too, but is none; and a prompt is shown also while the agent is busy.
pub fn shows_prompt(screen: &Screen, prompts: &[String]) -> bool {
    let busy = last_lines(screen, PROMPT_LINES).any(|line| line.contains("esc to interrupt"));
    !busy && inputs(screen, prompts).any(|input| !is_choice(&input))
}

/// Whether the word is still where it was typed: it ends the line that the cursor is on, or, where
/// a program draws its own cursor, it is all that the last prompt has.
pub fn holds_word(screen: &Screen, prompts: &[String]) -> bool {
    if screen.cursor {
        let line = screen.lines.get(screen.row);
        return line.is_some_and(|line| line.ends_with(WORD));
    }
    inputs(screen, prompts)
        .last()
        .is_some_and(|input| input.trim() == WORD)
}

/// What stands behind the prompts among the last lines.
fn inputs(screen: &Screen, prompts: &[String]) -> impl Iterator<Item = String> {
    // Some programs write their prompt with a no-break space, and a bare one has none.
    let plain = |text: &str| text.replace('\u{a0}', " ");
    let prompts: Vec<String> = prompts.iter().map(|p| plain(p)).collect();
    last_lines(screen, PROMPT_LINES).filter_map(move |line| {
        let line = plain(line);
        let line = line.trim_start();
        prompts.iter().find_map(|prompt| {
            let bare = (line == prompt.trim()).then_some("");
            bare.or_else(|| line.strip_prefix(prompt.as_str()))
                .map(String::from)
        })
    })
}

/// `1. Yes`, as in menus.
fn is_choice(text: &str) -> bool {
    let text = text.trim_start();
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < text.len() && rest.starts_with('.')
}

/// The last lines that have anything, the first of them first.
fn last_lines(screen: &Screen, count: usize) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = screen
        .lines
        .iter()
        .map(|l| l.trim_end())
        .filter(|l| !l.is_empty())
        .collect();
    let skip = lines.len().saturating_sub(count);
    lines.into_iter().skip(skip)
}

/// What a screen shows, in one line for a person.
pub fn shown(screen: &Screen) -> String {
    let cut = |line: &str| -> String {
        let clean = line
            .trim()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c });
        clean.take(SHOWN.1).collect()
    };
    let lines: Vec<String> = last_lines(screen, SHOWN.0).map(cut).collect();
    lines.join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            readiness: Readiness {
                prompts: vec!["❯ ".into(), "> ".into()],
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
                created: None,
                home: None,
                session: session.into(),
            },
            ready: false,
            ready_env: false,
            marks: Vec::new(),
        }
    }

    fn screen(text: &str) -> Screen {
        let lines: Vec<String> = text.lines().map(|l| l.trim_end().to_string()).collect();
        Screen {
            row: lines.len().saturating_sub(1),
            cursor: true,
            lines,
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
                w.record.see(&pane.pane, now);
            }
        }
        let word = |action: &Action| match action {
            Action::Fail { reason, alert } => format!("fail {alert}: {reason}"),
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
        let other = || (pane(1, "gt-gastown-p11"), "> ");
        assert_eq!(word(&w, &sight(vec![other()]), at(1)), "wait");
        let late = word(&w, &sight(vec![other()]), at(301));
        assert!(
            late.starts_with("fail true: session 'gt-gastown-p1' did not appear"),
            "{late}"
        );
        let both = sight(vec![(pane(2, "gt-gastown-p1"), "> "), other()]);
        assert_eq!(word(&w, &both, at(1)), "type");
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
        let got = word(&w, &sight(vec![(owned(3, "deacon"), "> ")]), at(1));
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
            (&said, "type"),
            (&env, "type"),
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
            prompts: Vec::new(),
            delay: Some(Duration::from_secs(3)),
        };
        for (now, want) in [(10, "wait"), (12, "wait"), (13, "type")] {
            let got = words(std::slice::from_mut(&mut slow), &not, at(now));
            assert_eq!(got, [want], "{now}");
        }
        assert_eq!(next_look(&[slow.clone()], at(12)), Duration::from_secs(1));
        // Another process in the pane begins anew.
        let mut again = pane(1, "s");
        again.pane.pid = 7;
        assert_eq!(word(&slow, &sight(vec![(again, "")]), at(14)), "wait");
        assert_eq!(next_look(&[plain], at(12)), LOOK);
    }

    #[test]
    fn prompts() {
        let both = ["❯ ".to_string(), "> ".to_string()];
        for (text, want) in [
            ("", false),
            ("loading", false),
            ("> ", true),
            (">", true),
            ("  > x", true),
            (">x", false),
            ("❯\u{a0}", true),
            ("❯\u{a0}Try \"edit\"", true),
            ("\u{a0}❯ \n────\n ? for shortcuts\n\n\n", true),
            ("Do you trust this?\n❯ 1. Yes\n  2. No", false),
            ("❯ 10. x", false),
            ("❯ 10 x", true),
            ("❯ \n  esc to interrupt", false),
            ("> \n1\n2\n3\n4\n5\n6\n7\n8\n9\n\n10", false),
            ("> \n1\n2\n3\n4\n5\n6\n7\n8\n\n\n\n9", true),
        ] {
            assert_eq!(shows_prompt(&screen(text), &both), want, "{text:?}");
        }
        assert!(!shows_prompt(&screen("> "), &[]));
    }

    #[test]
    fn the_word_is_held_until_it_is_taken() {
        let prompts = ["> ".to_string()];
        for (text, cursor, want) in [
            ("> Begin.", true, true),
            ("> Begin.\nworking", true, false),
            ("│ > Begin.", true, true),
            ("> Begin.\n> ", false, false),
            ("> Begin.\n? for help", false, true),
            ("> Begin.\n? for help", true, false),
            ("", true, false),
            ("", false, false),
        ] {
            let screen = Screen {
                cursor,
                ..screen(text)
            };
            assert_eq!(holds_word(&screen, &prompts), want, "{text:?} {cursor}");
        }
        let below = Screen {
            row: 7,
            ..screen("> Begin.")
        };
        assert!(!holds_word(&below, &prompts));
    }

    /// After a run was killed: what the pane has, what it shows, and what follows.
    #[test]
    fn a_run_that_was_killed_is_taken_up_where_it_was() {
        let mut w = waiting(1, "s", "i-1");
        w.record.see(&pane(1, "s").pane, at(0));
        w.record.typing = true;
        let (typed, entered) = (w.typed_mark(101), w.entered_mark());
        let marked = |marks: &[&String]| {
            let mut pane = pane(1, "s");
            pane.marks = marks.iter().map(|m| m.to_string()).collect();
            pane
        };
        let doubt = "fail true: session 's' ended while";
        for (pane, text, want) in [
            (marked(&[]), "> ", "type"),
            (marked(&[&typed]), "> Begin.", "submit"),
            (marked(&[&typed]), "", "submit"),
            (marked(&[&typed, &entered]), "> Begin.", "submit"),
            (marked(&[&typed, &entered]), "> Begin.\nI begin", "done"),
        ] {
            assert_eq!(word(&w, &sight(vec![(pane.clone(), text)]), at(1)), want);
            let mut other = pane.clone();
            other.pane.pid = 7;
            let got = word(&w, &sight(vec![(other, text)]), at(1));
            let want = match pane.marks.len() {
                0 => "type",
                _ => doubt,
            };
            assert!(got.starts_with(want), "{got}");
        }
        // Another server, after a reboot: its panes have no marks, which says nothing.
        let mut reborn = pane(1, "s");
        reborn.pane.server = 10;
        let got = word(&w, &sight(vec![(reborn, "> ")]), at(1));
        assert!(got.starts_with(doubt), "{got}");
        assert!(word(&w, &sight(vec![]), at(1)).starts_with("fail true: session 's' is gone"));
        let late = word(
            &w,
            &sight(vec![(marked(&[&typed, &entered]), "> Begin.")]),
            at(301),
        );
        assert!(late.contains("does not take its input"), "{late}");
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
            let ready = |n: u32| if n == 0 { "booting" } else { "> " };
            (0..11)
                .map(|n| (pane(n, &format!("s{n}")), ready(n)))
                .collect()
        };
        let got = words(&mut eight, &sight(panes()), at(1));
        assert_eq!([&got[0], &got[1]], ["wait", "type"]);
        let refused = "fail false: issue 'i-1' is worked on in session 's1' already";
        assert!(got[2..8].iter().all(|g| g == refused), "{got:?}");
        assert_eq!(got[8..], ["type", "type", "type"]);

        // Later it is known by the pane, as long as that process lives.
        let mut later = panes();
        later[1].0.marks = vec![eight[1].typed_mark(101), eight[1].entered_mark()];
        assert_eq!(word(&eight[0], &sight(later.clone()), at(1)), refused);
        later[1].0.pane.pid = 7;
        assert_eq!(word(&eight[2], &sight(later.clone()), at(1)), "type");
        // Or until it is told of another issue.
        later[1].0.pane.pid = 101;
        later[1].0.marks.push(eight[8].typed_mark(101));
        assert_eq!(word(&eight[2], &sight(later), at(1)), "type");
    }

    #[test]
    fn who_has_work_gets_no_other() {
        let mut two = [waiting(1, "s", "a"), waiting(2, "s", "b")];
        let mut here = pane(1, "s");
        let refused = "fail false: gastown/polecats/p2 works on another issue in session 's' already; \
                       spawn issue 'b' for another polecat";
        let got = words(&mut two, &sight(vec![(here.clone(), "> ")]), at(1));
        assert_eq!(got, ["type", refused]);
        here.marks = vec![two[0].typed_mark(101)];
        let got = words(&mut two, &sight(vec![(here.clone(), "> ")]), at(1));
        assert_eq!(got[1], refused);
        // Another process in that session has no work yet.
        here.pane.pid += 1;
        let got = words(&mut two[1..], &sight(vec![(here, "> ")]), at(1));
        assert_eq!(got, ["type"]);
    }

    #[test]
    fn two_spawns_of_one_session_follow_each_other() {
        let mut two = [waiting(1, "s", ""), waiting(2, "s", "")];
        let mut here = pane(1, "s");
        let got = words(&mut two, &sight(vec![(here.clone(), "> ")]), at(1));
        assert_eq!(got, ["type", "wait"]);
        here.marks = vec![two[0].typed_mark(101)];
        let got = words(&mut two, &sight(vec![(here.clone(), "> Begin.")]), at(1));
        assert_eq!(got, ["submit", "wait"]);
        // Whatever their order.
        two.swap(0, 1);
        let got = words(&mut two, &sight(vec![(here.clone(), "> ")]), at(1));
        assert_eq!(got, ["wait", "submit"]);
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
        w.refusal = Some("rig gastown is parked".into());
        let ready = sight(vec![(pane(1, "s"), "> ")]);
        let want = "fail false: gastown/polecats/p1 may not run: rig gastown is parked";
        assert_eq!(word(&w, &ready, at(1)), want);
        assert_eq!(word(&w, &sight(vec![]), at(1)), "wait");
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

    /// A town of three sessions in which agents get ready, end, and swallow keys, and a program
    /// that is killed at random between any two of its steps.
    #[derive(Debug)]
    struct Model {
        panes: Vec<Marked>,
        lines: Vec<String>,
        /// The words that a process took in, by session.
        taken: HashMap<String, usize>,
        /// How often Enter was pressed for nothing.
        empty: usize,
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

        /// As [`crate::tmux::Tmux::once`].
        fn once(&mut self, pid: u32, mark: String, text: &str) {
            for (m, line) in self.panes.iter_mut().zip(&mut self.lines) {
                if m.pane.pid == pid && !m.marks.contains(&mark) {
                    m.marks.push(mark.clone());
                    line.push_str(text);
                }
            }
        }

        fn enter(&mut self, pid: u32, mark: String, swallow: bool) {
            for (m, line) in self.panes.iter_mut().zip(&mut self.lines) {
                if m.pane.pid == pid {
                    if !m.marks.contains(&mark) {
                        m.marks.push(mark.clone());
                    }
                    if !swallow && line == "> " {
                        self.empty += 1;
                    }
                    if !swallow && line.ends_with(WORD) {
                        *self.taken.entry(m.pane.session.clone()).or_default() +=
                            line.matches(WORD).count();
                        *line = "> ".into();
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn each_spawn_once_or_failed_wherever_a_run_is_killed(
            steps in proptest::collection::vec((0u8..6, 0usize..3, 0u8..7, any::<bool>()), 1..60),
        ) {
            let mut model = Model {
                panes: (0..3).map(|n| pane(n, &format!("s{n}"))).collect(),
                lines: vec![String::new(); 3],
                taken: HashMap::new(),
                empty: 0,
            };
            // The last two are of one session.
            let session = |n: u8| format!("s{}", n.min(2));
            let mut spool: Vec<Waiting> = (0..4).rev().map(|n| waiting(n, &session(n), "")).collect();
            let (mut done, mut failed) = (HashSet::new(), HashSet::new());
            let steps = steps.into_iter().chain(std::iter::repeat_n((5, 0, 9, false), 8));
            for (i, (what, which, killed_after, swallow)) in steps.enumerate() {
                let now = at(i as i64);
                match what {
                    // The agent is ready, or starts anew, or its session does on another server.
                    0 if model.lines[which].is_empty() => model.lines[which] = "> ".into(),
                    1 => {
                        model.panes[which].pane.pid += 1000;
                        model.lines[which] = "> ".into();
                    }
                    2 => {
                        model.panes[which].pane.server += 1;
                        model.panes[which].pane.pid += 1000;
                        model.panes[which].marks.clear();
                        model.lines[which] = String::new();
                    }
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
                        w.record.see(&pane.pane, now);
                    }
                }
                let actions = decide(&records, &sight, now);
                for (w, action) in records.iter_mut().zip(&actions) {
                    w.record.typing |= *action == Action::Type;
                }
                if !alive() {
                    continue;
                }
                spool = records.clone();
                if !alive() {
                    continue;
                }
                for (w, action) in records.iter().zip(&actions) {
                    let pid = w.record.seen.as_ref().map_or(0, |s| s.pid);
                    if *action == Action::Type {
                        prop_assert!(!done.contains(&w.name));
                        model.once(pid, w.typed_mark(pid), WORD);
                    }
                }
                if !alive() {
                    continue;
                }
                for (w, action) in records.iter().zip(&actions) {
                    if matches!(action, Action::Type | Action::Submit) {
                        let pid = w.record.seen.as_ref().map_or(0, |s| s.pid);
                        model.enter(pid, w.entered_mark(), swallow);
                    }
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
            prop_assert_eq!(model.empty, 0);
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

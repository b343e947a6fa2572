//! A spawn whose agent waits for its first word, and the marks of the pane that gets it.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::state::Record;
use crate::agent::Agent;
use crate::digest::digest;
use crate::terminal::{Once, Reader, Text};
use crate::tmux::Marked;
use crate::town::marks::{Mark, Refusal};
use crate::town::pending::Pending;

/// What a polecat is told.
pub const WORD: &str = "Begin.";

/// A spawn older than this when it is first read is refused: nobody waits for it any more.
const TOO_OLD: SignedDuration = SignedDuration::from_hours(6);

/// How an agent shows that it can be talked to, besides saying so.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    /// How its terminal is read.
    pub reader: Reader,
    /// How long after its start a terminal that cannot be read may count as ready; `None`: never.
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
    pub refusal: Option<Refusal>,
    /// How it shows that it is ready.
    pub readiness: Readiness,
    /// What we may have said to it: its program may have put that back into its input line.
    pub ours: Vec<String>,
    /// What is known of it.
    pub record: Record,
}

impl Waiting {
    /// The pane that the spawn is about, in the session of that name: its agent's own; in a session
    /// that others made, the first of the first window.
    pub fn target<'a>(&self, panes: &'a [Marked]) -> Option<&'a Marked> {
        let instance = self.agent.instance();
        let mut here = panes
            .iter()
            .filter(|m| m.pane.session == self.spawn.session);
        here.clone()
            .find(|m| m.pane.owner.as_deref() == Some(&instance))
            .or_else(|| here.next())
    }

    /// Notes where its agent is now. Where the word may have been typed is not forgotten, unless
    /// the marks of that pane say that it was not.
    pub fn see(&mut self, target: &Marked, now: Timestamp) {
        let pane = &target.pane;
        let seen = self.record.seen.as_ref();
        let is_there = seen.is_some_and(|s| (s.server, &s.pane) == (pane.server, &pane.id));
        if is_there && self.typed_for(target).is_none() {
            self.record.typing = false;
        }
        self.record.see(pane, now);
    }

    /// Whether its rig has an emergency stop. The time of such a stop does not count.
    pub fn is_stopped(&self) -> bool {
        let mark = self.refusal.as_ref().map(|refusal| refusal.mark);
        matches!(mark, Some(Mark::Estop | Mark::RigEstop))
    }

    /// The word for the process where it was last seen.
    pub fn word(&self, is_ready: bool) -> Option<Text> {
        let seen = self.record.seen.as_ref()?;
        Some(Text {
            pane: seen.pane.clone(),
            pid: seen.pid,
            text: WORD.into(),
            reader: self.readiness.reader.clone(),
            is_ready,
            ours: self.ours.clone(),
            once: Some(self.marks(seen.pid)),
        })
    }

    /// The marks of a pane in which the word was typed, and sent, for this spawn to this process.
    pub fn marks(&self, pid: u32) -> Once {
        let id = &self.record.id;
        Once {
            typed: format!("t{id}i{}p{pid}", issue_hash(&self.spawn.issue)),
            entered: format!("e{id}"),
        }
    }

    /// The process that the word was typed for.
    pub fn typed_for(&self, pane: &Marked) -> Option<u32> {
        let mark = format!("t{}i", self.record.id);
        let mark = pane.marks.iter().find(|m| m.starts_with(&mark))?;
        mark.rsplit('p').next()?.parse().ok()
    }

    /// How long until a terminal that cannot be read counts as ready.
    pub fn delay_left(&self, now: Timestamp) -> Option<Duration> {
        let waited = now.duration_since(self.record.seen.as_ref()?.at);
        let waited = Duration::try_from(waited).unwrap_or_default();
        Some(self.readiness.delay?.saturating_sub(waited))
    }
}

/// Whether a spawn is so old when its entry is first read that it is refused.
pub fn is_too_old(spawn: &Pending, now: Timestamp) -> bool {
    spawn
        .spawned_at
        .is_some_and(|t| now.duration_since(t) > TOO_OLD)
}

/// The session in which each issue is worked on, by [`issue_hash`]: the last word that a living
/// process got.
pub fn issues_at_work(panes: &[Marked]) -> HashMap<String, String> {
    let issue = |m: &Marked| -> Option<(String, String)> {
        let last = m.marks.iter().rfind(|mark| mark.starts_with('t'))?;
        let (_, rest) = last.split_once('i')?;
        let (issue, pid) = rest.split_once('p')?;
        let alive = !m.pane.dead && pid.parse() == Ok(m.pane.pid);
        (alive && issue != "0").then(|| (issue.to_string(), m.pane.session.clone()))
    };
    panes.iter().filter_map(issue).collect()
}

/// An issue, as marks name it; `0` for none.
pub fn issue_hash(issue: &str) -> String {
    match issue {
        "" => "0".into(),
        _ => digest(issue, 8),
    }
}

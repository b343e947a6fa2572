//! One look at everything that waits, and what follows from it.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::decide::{self, Action, Sight};
use super::state::{Record, State};
use super::waiting::{self, Readiness, WORD, Waiting};
use super::{DONE, is_session};
use crate::digest::digest;
use crate::session::server;
use crate::spool::{CLAIM_LIMIT, Entry, Spool};
use crate::systemd::Systemd;
use crate::terminal::{self, Outcome as Telling, Reader, Text};
use crate::tmux::{READY_ENV, Tmux};
use crate::town::{Town, marks, pending};
use crate::{alert, files, journal};

/// What the keys of alerts begin with; the spawn's id follows.
const ALERT: &str = "spawn-";

/// How a classic town's agent prompts, whatever its settings say.
const CLASSIC_PROMPT: &str = "> ";

/// What a pass has found and done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many wait.
    pub waiting: usize,
    /// How many were told to begin.
    pub begun: usize,
    /// How many have failed.
    pub failed: usize,
    /// When to look again; `None` when nothing waits.
    pub next: Option<Duration>,
    /// What went wrong; it is tried again.
    pub errors: Vec<String>,
    /// What cannot be read just now, in words.
    pub unread: Vec<String>,
    /// Why something cannot be claimed.
    pub stuck: Option<anyhow::Error>,
}

/// What passes work on.
#[derive(Debug)]
pub struct Pass<'a> {
    /// The town.
    pub town: &'a Town,
    /// Its spool of spawns.
    pub spool: &'a Spool,
    /// Its tmux server.
    pub tmux: &'a Tmux,
    /// The manager.
    pub systemd: &'a Systemd,
    /// What earlier passes have noted.
    pub state: &'a mut State,
    /// How long ago the last pass was; zero if the deadlines were extended by that already.
    pub unwatched: SignedDuration,
}

/// What the file says that `gastownctl ready` puts into `new/`: it is no spawn, it only starts a run.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wake {
    #[serde(rename = "ready")]
    _ready: String,
}

impl Pass<'_> {
    /// Looks at everything that waits, once, and acts on it.
    ///
    /// # Errors
    /// The spool or the state cannot be read or written.
    pub fn run(mut self) -> Result<Outcome> {
        let now = Timestamp::now();
        let mut outcome = Outcome::default();
        let (mut waiting, entries) = self.read(now, &mut outcome)?;
        let known: BTreeSet<&str> = waiting.iter().map(|w| w.record.id.as_str()).collect();
        // A spawn that cannot be read just now waits all the same, so it keeps its record.
        if outcome.unread.is_empty() {
            self.state
                .records
                .retain(|id, _| known.contains(id.as_str()));
        }
        if waiting.is_empty() {
            self.state.save()?;
            return Ok(outcome);
        }
        let sight = match self.look(&mut waiting, now) {
            Ok(sight) => Some(sight),
            // tmux gave no answer, so it is not known that they are gone: they wait.
            Err(e) => {
                let error = format!("The sessions are not known: {e:#}");
                outcome.errors.push(error);
                None
            }
        };
        let sight = sight.as_ref();
        let mut actions = match sight {
            Some(sight) => decide::decide(&waiting, sight, now),
            None => vec![Action::Wait; waiting.len()],
        };
        for (w, action) in waiting.iter_mut().zip(&actions) {
            w.record.typing |= matches!(action, Action::Tell { .. });
        }
        for w in &waiting {
            self.state
                .records
                .insert(w.record.id.clone(), w.record.clone());
        }
        self.state.save()?;
        self.tell(&waiting, &mut actions, now, &mut outcome.errors);
        let done: Vec<usize> = (0..actions.len())
            .filter(|i| actions[*i] == Action::Done)
            .collect();
        for i in &done {
            self.finish(&waiting[*i], &entries[&waiting[*i].name])?;
        }
        files::sync_dir(&self.spool.dir("cur")).context("Failed to sync the spool")?;
        outcome.begun = done.len();
        for (w, action) in waiting.iter().zip(&actions) {
            if let Action::Fail { reason, alert } = action {
                self.fail(&entries[&w.name], Some(w), reason, *alert)?;
                outcome.failed += 1;
            }
        }
        let mut ended = actions
            .iter()
            .enumerate()
            .map(|(i, action)| done.contains(&i) || matches!(action, Action::Fail { .. }));
        waiting.retain(|_| !ended.next().unwrap_or_default());
        outcome.waiting = waiting.len();
        outcome.next = (!waiting.is_empty()).then(|| decide::next_look(&waiting, now));
        Ok(outcome)
    }

    /// Claims what is new and reads all that waits, in the order of deadlines.
    fn read(
        &mut self,
        now: Timestamp,
        outcome: &mut Outcome,
    ) -> Result<(Vec<Waiting>, HashMap<String, Entry>)> {
        let mut waiting = Vec::new();
        let mut entries = HashMap::new();
        let mut readiness = HashMap::new();
        let claimed = self.spool.claim(CLAIM_LIMIT)?;
        outcome.stuck = claimed.stuck;
        let unread = claimed.unread.into_iter();
        outcome.unread = unread.filter_map(|entry| entry.text.err()).collect();
        for entry in claimed.entries {
            let text = entry.text.as_deref().unwrap_or_default();
            if serde_json::from_str::<Wake>(text).is_ok() {
                self.spool.done(&entry)?;
                continue;
            }
            let Some(id) = arrival(&entry) else { continue };
            match self.check(&entry, &id, now, &mut readiness) {
                Ok(w) => {
                    waiting.push(w);
                    entries.insert(entry.name.clone(), entry);
                }
                Err(reason) => {
                    self.fail(&entry, None, &reason, false)?;
                    outcome.failed += 1;
                }
            }
        }
        waiting.sort_by(|a, b| (a.record.deadline, &a.name).cmp(&(b.record.deadline, &b.name)));
        Ok((waiting, entries))
    }

    fn check(
        &self,
        entry: &Entry,
        id: &str,
        now: Timestamp,
        readiness: &mut HashMap<String, Readiness>,
    ) -> Result<Waiting, String> {
        let text = entry.text.as_ref().map_err(Clone::clone)?;
        if !entry.name.ends_with(".json") {
            return Err("its name does not end in '.json'".into());
        }
        let spawn = pending::parse(text).map_err(|e| format!("it is not a spawn: {e}"))?;
        let agent = spawn.agent().map_err(|e| e.to_string())?;
        if !is_session(&spawn.session) {
            return Err(format!(
                "{:?} is not the name of a session; use letters, digits, '_' and '-'",
                spawn.session
            ));
        }
        let refusal = marks::refusal(self.town, &agent);
        let patience = self.town.ours().spawn_deadline;
        let mut record = match self.state.records.get(id) {
            Some(record) => record.clone(),
            None if waiting::is_too_old(&spawn, now) => {
                return Err(format!("{agent} was spawned too long ago; spawn it again"));
            }
            None => Record::new(id, spawn.spawned_at, patience, now),
        };
        record.bound(patience, now);
        let rig = spawn.rig.clone();
        let mut ours = self.town.first_words(&agent).all();
        ours.push(WORD.into());
        let mut waiting = Waiting {
            ours,
            name: entry.name.clone(),
            refusal,
            readiness: readiness
                .entry(rig)
                .or_insert_with(|| how_ready(self.town, &agent))
                .clone(),
            spawn,
            agent,
            record,
        };
        if waiting.is_stopped() {
            waiting.record.extend(self.unwatched);
        }
        Ok(waiting)
    }

    /// What tmux shows of those that wait; notes where they are.
    fn look(&self, waiting: &mut [Waiting], now: Timestamp) -> Result<Sight> {
        let mut panes = self.tmux.marked()?;
        // Nobody can see the sessions of a server whose socket is gone.
        if panes.is_empty() && server::find_again(self.systemd, self.tmux)? {
            panes = self.tmux.marked()?;
        }
        let mut ids = BTreeSet::new();
        let mut by_env = false;
        for w in waiting {
            if let Some(target) = w.target(&panes).cloned() {
                by_env |= target.ready_env;
                w.see(&target, now);
                ids.insert(target.pane.id);
            }
        }
        let ids: Vec<String> = ids.into_iter().collect();
        Ok(Sight {
            screens: self.tmux.screens(&ids)?,
            ready_by_default: by_env && self.tmux.global(READY_ENV)?.is_some(),
            panes,
        })
    }

    /// Tells the agents that are to be told to begin, and puts what follows in place of that action.
    /// What was typed for a spawn that fails is taken back, so that nothing else is glued to it.
    fn tell(
        &self,
        waiting: &[Waiting],
        actions: &mut [Action],
        now: Timestamp,
        errors: &mut Vec<String>,
    ) {
        let (indices, texts): (Vec<usize>, Vec<Text>) = actions
            .iter()
            .enumerate()
            .filter_map(|(i, action)| match action {
                Action::Tell { is_ready } => Some((i, waiting[i].word(*is_ready)?)),
                _ => None,
            })
            .unzip();
        let panes: Vec<String> = texts.iter().map(|text| text.pane.clone()).collect();
        let mut left = Vec::new();
        for ((i, text), result) in indices
            .iter()
            .zip(&texts)
            .zip(terminal::tell(self.tmux, texts.clone()))
        {
            let outcome = match result {
                Ok(outcome) => outcome,
                Err(e) => {
                    errors.push(format!("'{WORD}' could not be typed: {e}"));
                    actions[*i] = Action::Wait;
                    continue;
                }
            };
            actions[*i] = decide::after(&waiting[*i], &outcome, None, now);
            if let (Action::Fail { .. }, false) = (&actions[*i], outcome == Telling::Gone) {
                left.push((*i, outcome, text.taken_back()));
            }
        }
        if left.is_empty() {
            return;
        }
        match self.tmux.screens(&panes) {
            Ok(screens) => {
                for (i, outcome, text) in &left {
                    let screen = screens.get(&text.pane);
                    actions[*i] = decide::after(&waiting[*i], outcome, screen, now);
                }
            }
            Err(e) => log::warn!("Failed to read the screens, going on without: {e}"),
        }
        terminal::tell(
            self.tmux,
            left.into_iter().map(|(_, _, text)| text).collect(),
        );
    }

    fn finish(&mut self, w: &Waiting, entry: &Entry) -> Result<()> {
        let to = self
            .spool
            .dir(DONE)
            .join(entry.path.file_name().unwrap_or_default());
        std::fs::rename(&entry.path, &to)
            .with_context(|| format!("Failed to move '{}' to '{DONE}'", entry.path.display()))?;
        log::info!(message_id = journal::SPAWN_BEGUN, gt_agent:% = w.agent, gt_rig = w.spawn.rig.as_str(),
            gt_issue = w.spawn.issue.as_str(), gt_session = w.spawn.session.as_str(), gt_spawn = entry.name.as_str();
            "{} was told to begin{}", w.agent, about(&w.spawn.issue));
        Ok(())
    }

    fn fail(
        &mut self,
        entry: &Entry,
        spawn: Option<&Waiting>,
        reason: &str,
        tell: bool,
    ) -> Result<()> {
        let name = entry.name.as_str();
        if let Some(w) = spawn.filter(|_| tell) {
            // Before the entry is moved, so that a run killed in between tells of it again.
            let fields = [
                ("GT_AGENT", w.agent.to_string()),
                ("GT_RIG", w.spawn.rig.clone()),
                ("GT_ISSUE", w.spawn.issue.clone()),
                ("GT_SESSION", w.spawn.session.clone()),
                ("GT_REASON", reason.to_string()),
            ];
            let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
            let key = format!("{ALERT}{}", w.record.id);
            alert::raise(self.town, &key, &summary(w, reason), &fields)?;
        }
        let Some(kept) = self.spool.fail(entry, reason)? else {
            return Ok(());
        };
        let Some(w) = spawn else {
            log::warn!(message_id = journal::SPAWN_FAILED, gt_spawn = name, gt_reason = reason;
                "Spawn '{name}' is refused and kept as '{}': {reason}", kept.display());
            return Ok(());
        };
        log::warn!(message_id = journal::SPAWN_FAILED, gt_agent:% = w.agent, gt_rig = w.spawn.rig.as_str(),
            gt_issue = w.spawn.issue.as_str(), gt_session = w.spawn.session.as_str(), gt_spawn = name,
            gt_reason = reason; "{}, kept as '{}'", summary(w, reason), kept.display());
        Ok(())
    }
}

fn summary(w: &Waiting, reason: &str) -> String {
    format!(
        "Spawn of {}{} failed: {reason}",
        w.agent,
        about(&w.spawn.issue)
    )
}

/// Whether there are alerts about failed spawns.
pub fn has_alerts(town: &Town) -> bool {
    alert::open(town).iter().any(|key| key.starts_with(ALERT))
}

/// Ends the alerts about failed spawns that somebody has dismissed or taken out of `failed/`.
///
/// # Errors
/// The spool cannot be read, or an alert cannot be written.
pub fn clear_alerts(town: &Town, spool: &Spool) -> Result<()> {
    let open = alert::open(town);
    let mut open = open
        .iter()
        .filter_map(|key| key.strip_prefix(ALERT))
        .peekable();
    if open.peek().is_none() {
        return Ok(());
    }
    let mut failed = BTreeSet::new();
    // A run that may be under way begins an alert before it moves the entry from `cur/`.
    for state in ["cur", "failed"] {
        for entry in spool.entries(state)? {
            // Any of the alerts may be about an entry that cannot be read.
            if entry.unread {
                return Ok(());
            }
            failed.extend(arrival(&entry));
        }
    }
    for id in open.filter(|id| !failed.contains(*id)) {
        let summary = "Somebody has seen to a failed spawn";
        alert::clear(town, &format!("{ALERT}{id}"), summary)?;
    }
    Ok(())
}

fn about(issue: &str) -> String {
    match issue {
        "" => String::new(),
        // A stranger wrote it.
        _ => format!(" with issue {}", issue.escape_debug()),
    }
}

/// An id that tells this arrival of a spawn from every other, whatever their names; `None` if its file
/// is gone. A file keeps its id when it is renamed.
fn arrival(entry: &Entry) -> Option<String> {
    let meta = entry.path.symlink_metadata().ok()?;
    let text = entry.text.as_deref().unwrap_or_default();
    let origin = format!(
        "{} {} {} {text}",
        meta.ino(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    Some(digest(origin, 8))
}

fn how_ready(town: &Town, agent: &crate::agent::Agent) -> Readiness {
    let classic = || match town.dialect().is_first() {
        true => vec![CLASSIC_PROMPT.to_string()],
        false => Vec::new(),
    };
    let launch = match town.launch(agent) {
        Ok(launch) => launch,
        Err(e) => {
            log::warn!(
                "How {agent} shows that it is ready is not known, waiting for its word: {e:#}"
            );
            let mut readiness = Readiness::default();
            readiness.reader.prompts = classic();
            return readiness;
        }
    };
    let mut reader = Reader::of(&launch.appearance);
    if reader.is_blind() && launch.ready_delay_ms.is_none() {
        reader.prompts = classic();
    }
    // The time since its start says nothing of a program whose screen can be read.
    let is_blind = reader.is_blind();
    Readiness {
        reader,
        delay: is_blind.then(|| launch.ready_delay()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_ends_when_somebody_has_seen_to_its_entry_and_not_before_that_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let spool = Spool::open(&town.path(super::super::SPOOL)).unwrap();
        spool.put("one", &serde_json::json!({})).unwrap();
        let entry = spool.claim(1).unwrap().entries.remove(0);
        let key = format!("{ALERT}{}", arrival(&entry).unwrap());
        alert::raise(&town, &key, "it failed", &[]).unwrap();
        let stays = || {
            clear_alerts(&town, &spool).unwrap();
            alert::open(&town).contains(&key)
        };
        assert!(stays());
        let kept = spool.fail(&entry, "why").unwrap().unwrap();
        assert!(stays());
        spool.dismiss(&kept).unwrap();
        assert!(!stays());
    }
}

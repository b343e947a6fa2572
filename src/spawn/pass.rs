//! One look at everything that waits, and what follows from it.

use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Deserialize;

use super::decide::{self, Action, Readiness, Record, Sight, WORD, Waiting};
use super::state::State;
use super::{DONE, is_session};
use crate::spool::{CLAIM_LIMIT, Entry, Spool};
use crate::tmux::{Keys, Marked, Once, READY_ENV, Screen, Tmux};
use crate::town::{Town, marks, pending};
use crate::{alert, files, journal};

/// How long an agent gets to take typed text in before Enter: sooner, some take both for a paste.
const DEBOUNCE: Duration = Duration::from_millis(500);

/// When after Enter is pressed it is pressed again, if the screen has not changed.
const ENTERS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
];

/// How often the screen is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// What the keys of alerts begin with; the spawn's id follows.
const ALERT: &str = "spawn-";

/// How a classic town's agent prompts, whatever its settings say.
const CLASSIC_PROMPT: &str = "> ";

/// When an agent without a prompt counts as ready if its settings do not say.
const DEFAULT_DELAY: Duration = Duration::from_secs(5);

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
    /// What is known from earlier passes.
    pub state: &'a mut State,
}

/// The marker of an agent that says it is ready; it only wakes us.
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
        self.state
            .records
            .retain(|id, _| known.contains(id.as_str()));
        if waiting.is_empty() {
            self.state.save()?;
            return Ok(outcome);
        }
        let actions = match self.look(&mut waiting, now) {
            Ok(sight) => decide::decide(&waiting, &sight, now),
            // Not known is not gone: they wait, and nobody is judged.
            Err(e) => {
                outcome
                    .errors
                    .push(format!("The sessions are not known: {e}"));
                vec![Action::Wait; waiting.len()]
            }
        };
        let chosen = |what: Action| -> Vec<usize> {
            (0..actions.len()).filter(|i| actions[*i] == what).collect()
        };
        let new = chosen(Action::Type);
        for i in &new {
            waiting[*i].record.typing = true;
        }
        for w in &waiting {
            self.state
                .records
                .insert(w.record.id.clone(), w.record.clone());
        }
        self.state.save()?;
        let mut done = chosen(Action::Done);
        match self.tell(&waiting, &new, &chosen(Action::Submit)) {
            Ok(begun) => done.extend(begun),
            Err(e) => outcome
                .errors
                .push(format!("'{WORD}' could not be typed: {e}")),
        }
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
        for entry in self.spool.claim(CLAIM_LIMIT)? {
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
        let record = match self.state.records.get(id) {
            Some(record) => record.clone(),
            None if decide::is_too_old(&spawn, now) => {
                return Err(format!("{agent} was spawned too long ago; spawn it again"));
            }
            None => {
                let patience = self.town.ours().spawn_deadline;
                Record::new(id, spawn.spawned_at, patience, now)
            }
        };
        let rig = spawn.rig.clone();
        Ok(Waiting {
            name: entry.name.clone(),
            refusal: marks::refusal(self.town, &agent).map(|refusal| refusal.reason),
            readiness: readiness
                .entry(rig)
                .or_insert_with(|| how_ready(self.town, &agent))
                .clone(),
            spawn,
            agent,
            record,
        })
    }

    /// What tmux shows of those that wait; notes where they are.
    fn look(&self, waiting: &mut [Waiting], now: Timestamp) -> Result<Sight> {
        let panes = self.tmux.marked()?;
        let mut ids = BTreeSet::new();
        let mut by_env = false;
        for w in waiting {
            if let Some(target) = w.target(&panes).cloned() {
                by_env |= target.ready_env;
                w.record.see(&target.pane, now);
                ids.insert(target.pane.id);
            }
        }
        let ids: Vec<String> = ids.into_iter().collect();
        Ok(Sight {
            screens: self.tmux.screens(&ids)?,
            ready_by_default: by_env && self.tmux.has_global(READY_ENV)?,
            panes,
        })
    }

    /// Types the word where it is to be typed, presses Enter, and tells who has taken it.
    fn tell(&self, waiting: &[Waiting], new: &[usize], typed: &[usize]) -> Result<Vec<usize>> {
        if new.is_empty() && typed.is_empty() {
            return Ok(Vec::new());
        }
        let once = |i: &usize, keys: &Keys| -> Option<Once> {
            let w = &waiting[*i];
            let seen = w.record.seen.as_ref()?;
            Some(Once {
                pane: seen.pane.clone(),
                pid: seen.pid,
                mark: match keys {
                    Keys::Text(_) => w.typed_mark(seen.pid),
                    Keys::Enter => w.entered_mark(),
                },
                keys: keys.clone(),
            })
        };
        let of = |items: &[usize], keys: Keys| -> Vec<Once> {
            items.iter().filter_map(|i| once(i, &keys)).collect()
        };
        if !new.is_empty() {
            self.tmux.once(&of(new, Keys::Text(WORD.into())))?;
            std::thread::sleep(DEBOUNCE);
        }
        let panes = self.tmux.marked()?;
        let has = |i: &usize, mark: &dyn Fn(&Waiting, u32) -> String| {
            let w = &waiting[*i];
            w.target(&panes)
                .is_some_and(|target: &Marked| target.marks.contains(&mark(w, target.pane.pid)))
        };
        let mut open: Vec<usize> = new.iter().chain(typed).copied().collect();
        open.retain(|i| has(i, &|w, pid| w.typed_mark(pid)));
        let pane = |i: &usize| waiting[*i].record.seen.as_ref().map(|s| s.pane.clone());
        let ids = |items: &[usize]| -> Vec<String> { items.iter().filter_map(pane).collect() };

        let before = self.tmux.screens(&ids(&open))?;
        // Where Enter was pressed by a run that ended then, it had no effect: press it again.
        let again: Vec<usize> = open
            .iter()
            .copied()
            .filter(|i| has(i, &|w, _| w.entered_mark()))
            .collect();
        self.tmux.enter(&ids(&again))?;
        self.tmux.once(&of(&open, Keys::Enter))?;

        let mut begun = Vec::new();
        let taken = |i: &usize, after: &HashMap<String, Screen>| {
            let shows = |screens: &'_ HashMap<String, Screen>| {
                pane(i).and_then(|id| screens.get(&id).cloned())
            };
            let prompts = &waiting[*i].readiness.prompts;
            shows(after).is_some_and(|s| !decide::holds_word(&s, prompts))
                && shows(after) != shows(&before)
        };
        for limit in ENTERS {
            let deadline = Instant::now() + limit;
            while !open.is_empty() && Instant::now() < deadline {
                std::thread::sleep(LOOK);
                let after = self.tmux.screens(&ids(&open))?;
                let (yes, no) = open.iter().partition(|i| taken(i, &after));
                begun.extend::<Vec<usize>>(yes);
                open = no;
            }
            if open.is_empty() {
                break;
            }
            self.tmux.enter(&ids(&open))?;
        }
        Ok(begun)
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
        let kept = self.spool.fail(entry, reason)?;
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
    let failed = spool.entries("failed", usize::MAX)?;
    let failed: BTreeSet<String> = failed.iter().filter_map(arrival).collect();
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

/// What tells this arrival of a spawn from every other, whatever their names; `None` if it is gone.
/// A file keeps it while it is renamed.
fn arrival(entry: &Entry) -> Option<String> {
    let meta = entry.path.symlink_metadata().ok()?;
    let text = entry.text.as_deref().unwrap_or_default();
    let origin = format!(
        "{} {} {} {text}",
        meta.ino(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    Some(decide::hash(origin.as_bytes(), 8))
}

fn how_ready(town: &Town, agent: &crate::agent::Agent) -> Readiness {
    let classic = town
        .dialect()
        .is_first()
        .then(|| CLASSIC_PROMPT.to_string());
    let launch = match town.launch(agent) {
        Ok(launch) => launch,
        Err(e) => {
            log::warn!(
                "How {agent} shows that it is ready is not known, waiting for its word: {e:#}"
            );
            let prompts = classic.into_iter().collect();
            return Readiness {
                prompts,
                delay: None,
            };
        }
    };
    let delay = match (&launch.ready_prompt, launch.ready_delay_ms) {
        (Some(_), _) => None,
        (None, Some(ms)) => Some(Duration::from_millis(ms)),
        (None, None) if classic.is_some() => None,
        (None, None) => Some(DEFAULT_DELAY),
    };
    let prompts = launch.ready_prompt.into_iter().chain(classic);
    Readiness {
        prompts: prompts.filter(|p| !p.trim().is_empty()).collect(),
        delay,
    }
}

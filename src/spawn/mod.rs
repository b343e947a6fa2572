//! Spawned polecats: each is told to begin as soon as it is ready, once.
//!
//! A spawn is a file of the spool `daemon/spawn`, which [`sources`] also fill from
//! `spawn/pending.json` and from mail. A [`pass`] looks at all of them in a few tmux calls and does
//! what [`decide`] says. While any waits, a transient timer runs the program again within 2 s.
//!
//! Exactly once, wherever the program is killed:
//!
//! 1. `state.json` says that the word is about to be typed into this pane of this server (durable);
//! 2. one step of the tmux server types it and marks the pane with the spawn's id;
//! 3. another presses Enter and marks that;
//! 4. the screen shows that it was taken; the entry is renamed into `done/`.
//!
//! The next run asks the pane for the marks and goes on from there. When pane or server are gone
//! after (1), nobody can know, and the spawn fails rather than being told twice.
//! `tests/model/spawns.rs` goes through every course of these steps. Who changes their order
//! changes it there first.
//!
//! An agent that says it is ready (`gastownctl ready`) marks its pane with the process that said
//! so, so that the mark of an earlier process means nothing, and then puts a file `ready-...` into
//! `new/`, which wakes the path unit. `GT_AGENT_READY=1` in the session's environment counts too,
//! but is only seen at the next look; gt-agent takes it away when it starts another process.

pub mod decide;
mod pass;
pub mod sources;
mod state;
pub mod waiting;

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use jiff::SignedDuration;

use crate::exit::Exit;
use crate::files;
use crate::job::{self, Desk, Done, Job};
use crate::spool::{CLAIM_LIMIT, Spool};
use crate::tmux::{Pane, Tmux};
use crate::town::{Town, marks};
use pass::Pass;
use sources::Found;
pub use sources::take_mails;
use state::State;

/// The spool, below the town's root.
pub const SPOOL: &str = "daemon/spawn";

/// The spool's directory of entries that have begun, kept for a day so that they are known.
const DONE: &str = "done";

/// How long they are known.
const KNOWN: Duration = Duration::from_secs(24 * 3600);

/// What the transient timer is for.
const TIMER: &str = "Next Look at Pending Spawns";

/// One run.
const JOB: Job = Job {
    name: "gt-spawn-trigger",
    lock: "daemon/spawn/lock",
    lock_limit: Duration::from_secs(10),
    patience: Duration::from_secs(45),
    needs_disk: true,
    arms_first: false,
};

/// A longer time than this between two looks was not spent waiting: the machine slept or was off,
/// or the town was stopped.
const GAP: SignedDuration = SignedDuration::from_secs(30);

/// The soonest next look.
const SOON: Duration = Duration::from_millis(100);

/// When to look again at what others are still writing.
const AGAIN: Duration = Duration::from_secs(2);

/// When to try again after something went wrong.
const RETRY: Duration = Duration::from_secs(10);

/// When to try again what could not be read.
const UNREAD: Duration = Duration::from_secs(60);

/// Runs `gt-spawn-trigger` once.
///
/// # Errors
/// The town, the manager or the spool cannot be used, or something is to be tried again.
pub fn run() -> Result<Exit> {
    job::run(&JOB, work)
}

fn work(desk: &Desk<'_>) -> Result<Done> {
    let town = desk.town;
    let spool = Spool::open(&town.path(SPOOL))?;
    if desk.stopped || marks::estop(town, None)?.is_some() {
        // The path unit is content when there is nothing in `new/`.
        let stuck = spool.claim(CLAIM_LIMIT)?.stuck;
        job::ready_for("The town is stopped");
        return stuck.map_or_else(|| Ok(Done::default()), Err);
    }
    let done = spool.dir(DONE);
    files::make_dir(&done)?;
    let mut state = State::load(&spool.dir("state.json"))?;
    let mut unwatched = unwatched(desk)?;
    if unwatched > GAP {
        state.extend(std::mem::take(&mut unwatched));
    }
    let looked = Instant::now();
    // If that file cannot be read, the spawns in the spool are begun all the same.
    let (found, unfound) = match sources::take_pending(town.root(), &spool) {
        Ok(found) => (found, None),
        Err(e) => (Found::default(), Some(format!("{e:#}"))),
    };
    let pass = Pass {
        town,
        spool: &spool,
        tmux: &Tmux::on(town.socket()),
        systemd: desk.systemd,
        state: &mut state,
        unwatched,
    };
    let mut outcome = pass.run()?;
    outcome.errors.extend(unfound);
    job::ready_for(&match outcome.waiting {
        0 => "No spawn waits".to_string(),
        n => format!("{n} spawned polecats wait"),
    });
    desk.lock
        .set_modified(SystemTime::now())
        .context("Failed to touch the lock")?;
    pass::clear_alerts(town, &spool)?;
    sweep(&done);
    if outcome.failed > 0 {
        spool.tidy()?;
    }
    if (outcome.begun, outcome.failed) != (0, 0) {
        log::info!(
            "{} told to begin, {} failed, {} waiting",
            outcome.begun,
            outcome.failed,
            outcome.waiting
        );
    }
    // As long as that entry is there, the path unit starts another run at once.
    if let Some(stuck) = outcome.stuck {
        return Err(stuck);
    }
    // The pause is from look to look, however long the telling took.
    let next = match outcome.next {
        Some(wait) => Some((looked + wait).max(Instant::now() + SOON)),
        None => found.unsteady.then(|| Instant::now() + AGAIN),
    };
    let next = match (outcome.errors.is_empty(), outcome.unread.is_empty()) {
        (false, _) => Some(Instant::now() + RETRY),
        (true, false) => next.or(Some(Instant::now() + UNREAD)),
        (true, true) => next,
    };
    Ok(Done {
        failures: [outcome.errors, outcome.unread].concat(),
        next: next.map(|due| (due, TIMER.into())),
        starts: Vec::new(),
    })
}

/// Whether there is anything to do for `gt-spawn-trigger`, as far as is known.
pub fn has_work(town: &Town) -> bool {
    let spool = Spool::at(&town.path(SPOOL));
    spool.has_work() || sources::has_pending(town.root()) || pass::has_alerts(town)
}

/// For how long nobody has looked at the spawns that wait.
fn unwatched(desk: &Desk<'_>) -> Result<SignedDuration> {
    let last = desk.lock.metadata().and_then(|m| m.modified());
    let last = last.context("Failed to read the time of the lock")?;
    let since = SystemTime::now().duration_since(last).unwrap_or_default();
    Ok(since.try_into().unwrap_or(SignedDuration::ZERO))
}

/// Forgets entries that began long ago.
fn sweep(done: &Path) {
    let Ok(list) = done.read_dir() else { return };
    for entry in list.flatten() {
        let age = entry.metadata().and_then(|m| m.modified()).ok();
        // Renaming does not change this time, so it is that of the entry's arrival.
        if age
            .and_then(|t| t.elapsed().ok())
            .is_some_and(|age| age > KNOWN)
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Ends the alerts about failed spawns that somebody has seen to.
///
/// # Errors
/// The spool cannot be read, or an alert cannot be written.
pub fn clear_alerts(town: &Town) -> Result<()> {
    pass::clear_alerts(town, &Spool::at(&town.path(SPOOL)))
}

/// Says for an agent that it is ready for its first word. Safe to repeat.
///
/// # Errors
/// There is no session of exactly that name, tmux fails, or the spool cannot be written.
pub fn mark_ready(town: &Town, session: &str) -> Result<()> {
    let tmux = Tmux::on(town.socket());
    let panes = tmux.panes()?;
    let pane = agent_pane(&panes, session).ok_or_else(|| {
        anyhow!("There is no session '{session}'; 'tmux list-sessions' shows those that are")
    })?;
    tmux.mark_ready(&pane.id)?;
    let nanos = jiff::Timestamp::now().as_nanosecond();
    let wake = serde_json::json!({ "ready": session });
    let spool = Spool::open(&town.path(SPOOL))?;
    spool
        .put(&format!("ready-{nanos}-{}", pane.pid), &wake)
        .map(drop)
}

/// The agent's pane of a session: the one with an owner, else the first of the first window.
fn agent_pane<'a>(panes: &'a [Pane], session: &str) -> Option<&'a Pane> {
    let mut here = panes.iter().filter(|p| p.session == session);
    here.clone()
        .find(|p| p.owner.is_some())
        .or_else(|| here.next())
}

/// Whether a text can be the name of a session that tmux finds again under it.
fn is_session(name: &str) -> bool {
    (1..=200).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
}

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
//!
//! An agent that says it is ready (`gastownctl ready`) marks its pane with the process that said
//! so, so that the mark of an earlier process means nothing, and then puts a file `ready-...` into
//! `new/`, which wakes the path unit. `GT_AGENT_READY=1` in the session's environment counts too,
//! but is only seen at the next look; gt-agent takes it away when it starts another process.

pub mod decide;
mod pass;
pub mod sources;
mod state;

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use jiff::SignedDuration;
use sd_notify::NotifyState;

use crate::exit::Exit;
use crate::spool::{Counts, Spool};
use crate::systemd::Systemd;
use crate::tmux::{Pane, Tmux};
use crate::tools::Tools;
use crate::town::{self, Town, marks};
use pass::{Outcome, Pass};
use state::State;

/// The spool, below the town's root.
pub const SPOOL: &str = "daemon/spawn";

/// The spool's directory of entries that have begun, kept for a day so that they are known.
const DONE: &str = "done";

/// How long they are known.
const KNOWN: Duration = Duration::from_secs(24 * 3600);

/// What the transient timer is for.
const TIMER: &str = "Next Look at Pending Spawns";

/// The transient timer.
pub const NEXT: &str = "gt-spawn-trigger-next";

/// How long another run may hold the lock before we give up.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// A longer time than this between two looks was not spent waiting: the machine slept or was off,
/// or the town was stopped.
const GAP: SignedDuration = SignedDuration::from_secs(30);

/// How often waiting spawns are looked at while the mail is being read.
const MEANWHILE: Duration = Duration::from_millis(500);

/// How often mail is read by the runs that only look again.
const MAIL_EVERY: Duration = Duration::from_secs(60);

/// The soonest next look.
const SOON: Duration = Duration::from_millis(100);

/// When to look again at what others are still writing.
const AGAIN: Duration = Duration::from_secs(2);

/// When to try again after something went wrong.
const RETRY: Duration = Duration::from_secs(10);

/// Runs `gt-spawn-trigger` once. `again`: this run is only a next look.
///
/// # Errors
/// The town, the manager or the spool cannot be used, or something is to be tried again.
pub fn run(again: bool) -> Result<Exit> {
    let town = Town::load()?;
    let systemd = Systemd::connect()?;
    let spool = Spool::open(&town.path(SPOOL))?;
    let done = spool.dir(DONE);
    std::fs::create_dir_all(&done)
        .with_context(|| format!("Failed to make directory '{}'", done.display()))?;
    let (lock, gap) = take_lock(&spool)?;
    let stopped = systemd.town_is_stopped()?;
    notify(&[NotifyState::Ready]);
    if stopped || marks::estop(&town, None).is_some() {
        // The path unit is content when the spool's door is clear.
        spool.claim(crate::spool::CLAIM_LIMIT)?;
        systemd.disarm_timer(NEXT)?;
        notify(&[NotifyState::Status("The town is stopped")]);
        return Ok(Exit::Ok);
    }
    let (next, result) = match work(&town, &spool, &lock, gap, again) {
        Ok((next, errors)) if errors.is_empty() => (next, Ok(Exit::Ok)),
        Ok((next, errors)) => (next, Err(anyhow!("{}", errors.join("; ")))),
        Err(e) => (Some(RETRY), Err(e)),
    };
    match next {
        Some(wait) => systemd.arm_timer(NEXT, TIMER, wait)?,
        None => systemd.disarm_timer(NEXT)?,
    }
    result
}

/// Does what is to be done now. Gives when to look again, and what went wrong with a part of it.
fn work(
    town: &Town,
    spool: &Spool,
    lock: &File,
    gap: SignedDuration,
    again: bool,
) -> Result<(Option<Duration>, Vec<String>)> {
    let tmux = Tmux::on(town.socket());
    let mut state = State::load(&spool.dir("state.json"))?;
    if gap > GAP {
        state.extend(gap);
    }
    let mail = read_mail(town, spool, again)?;
    let mut errors = Vec::new();
    let mut mail_done = mail.is_none();
    let mut total = (0, 0);
    let (outcome, found, looked) = loop {
        let looked = Instant::now();
        let found = sources::take_pending(town.root(), spool)?;
        let pass = Pass {
            town,
            spool,
            tmux: &tmux,
            state: &mut state,
        };
        let outcome = pass.run()?;
        total = (total.0 + outcome.begun, total.1 + outcome.failed);
        report(&outcome);
        lock.set_modified(SystemTime::now())
            .context("Failed to touch the lock")?;
        if mail_done {
            break (outcome, found, looked);
        }
        match mail.as_ref().map(|rx| rx.recv_timeout(MEANWHILE)) {
            Some(Err(RecvTimeoutError::Timeout)) => {}
            Some(Ok(Err(e))) => {
                errors.push(format!("{e:#}"));
                mail_done = true;
            }
            Some(Ok(Ok(0)) | Err(RecvTimeoutError::Disconnected)) | None => {
                break (outcome, found, looked);
            }
            Some(Ok(Ok(_))) => mail_done = true,
        }
    };
    pass::clear_alerts(town, spool)?;
    sweep(&spool.dir(DONE));
    // A change of pending.json while we ran has woken nobody, so it is looked at once more.
    let unseen = !again && town.path(town::pending::FILE).exists();
    // From look to look, however long the telling took.
    let next = outcome
        .next
        .map(|wait| wait.saturating_sub(looked.elapsed()).max(SOON))
        .or((found.unsteady || unseen).then_some(AGAIN))
        .map(|wait| {
            if outcome.errors.is_empty() {
                wait
            } else {
                RETRY
            }
        });
    errors.extend(outcome.errors);
    if total != (0, 0) {
        log::info!(
            "{} told to begin, {} failed, {} waiting",
            total.0,
            total.1,
            outcome.waiting
        );
    }
    Ok((next, errors))
}

fn report(outcome: &Outcome) {
    let status = match outcome.waiting {
        0 => "No spawn waits".to_string(),
        n => format!("{n} spawned polecats wait"),
    };
    notify(&[NotifyState::Status(&status)]);
}

fn notify(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

/// Waits until no other run works on the spool. Gives the lock, and for how long nobody has.
fn take_lock(spool: &Spool) -> Result<(File, SignedDuration)> {
    let path = spool.dir("lock");
    let failed = || format!("Failed to lock '{}'", path.display());
    let mut options = File::options();
    let lock = options
        .create(true)
        .append(true)
        .open(&path)
        .with_context(failed)?;
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(anyhow!("Another gt-spawn-trigger is at work").context(Exit::TryAgain));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(e).with_context(failed),
        }
    }
    let last = lock
        .metadata()
        .and_then(|m| m.modified())
        .with_context(failed)?;
    let gap = SystemTime::now().duration_since(last).unwrap_or_default();
    Ok((lock, gap.try_into().unwrap_or(SignedDuration::ZERO)))
}

type News = mpsc::Receiver<Result<usize>>;

/// Begins to read the mail, apart from the passes: `gt` may hang, and nobody waits for it. A run
/// that only looks again leaves it out unless it is due.
fn read_mail(town: &Town, spool: &Spool, again: bool) -> Result<Option<News>> {
    let tools = Tools::locate(&town::home()?);
    if tools.path("gt").is_none() {
        return Ok(None);
    }
    let stamp = spool.dir("mail-read");
    let age = || {
        stamp
            .metadata()
            .and_then(|m| m.modified())
            .ok()?
            .elapsed()
            .ok()
    };
    if again && age().is_some_and(|age| age < MAIL_EVERY) {
        return Ok(None);
    }
    std::fs::write(&stamp, "").with_context(|| format!("Failed to write '{}'", stamp.display()))?;
    let (tx, rx) = mpsc::channel();
    let root = town.root().to_path_buf();
    std::thread::spawn(move || {
        let _ = tx.send(sources::take_mail(&tools, &root));
    });
    Ok(Some(rx))
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

/// How many spawns wait, and how many have failed. For `gastownctl status`.
pub fn counts(town: &Town) -> Counts {
    Spool::at(&town.path(SPOOL)).counts()
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

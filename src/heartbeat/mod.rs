//! One tick: see what is, decide what is to be done, do it, and arm the next one.
//!
//! - [`observe`] reads everything that a decision needs, once: what it has [`observed`].
//! - [`decide`] makes a [`plan`], pure: no file, no clock, no bus.
//! - [`memory`]: what one tick tells the next.
//! - [`act`]: carries a plan out, and reports per step.
//! - [`tips`]: what pokes say.

pub mod act;
pub mod decide;
pub mod memory;
pub mod observe;
pub mod observed;
pub mod plan;
mod pokes;
pub mod tips;

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use sd_notify::NotifyState;

use crate::exit::Exit;
use crate::systemd::{Systemd, runtime_dir};
use crate::tmux::Tmux;
use crate::tools::gt;
use crate::town::{Town, activity, marks};
use crate::{generator, journal};
use memory::Memory;
use observe::World;
use observed::Observed;
use plan::Plan;

/// Changes to watched files during a tick start another round; at most this many in all.
const ROUNDS: usize = 3;

/// How long a tick waits for another one, by hand or by the manager, to end.
const LOCK_LIMIT: Duration = Duration::from_secs(30);

/// How often it looks.
const LOCK_POLL: Duration = Duration::from_millis(50);

/// The most files of a watched directory that count.
const ENTRIES: usize = 1000;

/// Why the tick runs. The manager does tell what started it, but keeps telling it of later
/// starts, so it is found out by what has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// A person wants it: everything is done.
    Hand,
    /// It is time.
    Time,
    /// A watched file changed.
    Change,
    /// Only `daemon/activity.json` changed, in an idle town.
    Activity,
}

fn cause(memory: &Memory, stamps: &[String], activity: bool, now: Timestamp) -> Cause {
    let Some(next) = &memory.next else {
        return Cause::Hand;
    };
    if memory.stamps != stamps {
        Cause::Change
    } else if next.at <= now {
        Cause::Time
    } else if next.wake && activity {
        Cause::Activity
    } else {
        Cause::Hand
    }
}

/// Does one tick.
///
/// # Errors
/// There is no town or no manager, or a step failed; the others were still done.
pub fn tick() -> Result<Exit> {
    gt::refresh();
    let town = Town::load()?;
    let systemd = Systemd::connect()?;
    if systemd.town_is_stopped()? {
        ready("The town is stopped");
        log::info!(
            "The town is stopped, so no agent is started; \
             'gastownctl up' starts it"
        );
        return Ok(Exit::Ok);
    }
    let _lock = lock(&town)?;
    let begin = Instant::now();
    let changed = activity_changed(&town);
    let (memory, _) = Memory::load(&town)?;
    let cause = cause(&memory, &stamps(&town), changed, Timestamp::now());
    if cause == Cause::Activity && !is_honest(&town) {
        ready("Nobody has done anything");
        return Ok(Exit::Ok);
    }
    let mut failures = Vec::new();
    for round in 1..=ROUNDS {
        let stamps = stamps(&town);
        let town = town.again()?;
        let world = World {
            tmux: Tmux::on(town.socket()),
            town: &town,
            systemd: &systemd,
        };
        let (mut memory, junk) = Memory::load(&town)?;
        memory.stamps.clone_from(&stamps);
        if let Some(junk) = junk {
            log::warn!("{junk}, starting anew; it is kept as 'supervisor.json.bad'");
            Memory::set_aside(&town)?;
        }
        let observed = observe::observe(&world, memory)?;
        ready("Tending the agents");
        let now = Timestamp::now();
        let due = observed.memory.full_due();
        let full = match cause {
            Cause::Hand | Cause::Activity => round == 1,
            Cause::Change | Cause::Time => due.is_none_or(|due| due <= now),
        };
        let mut plan = decide::decide(&observed, now);
        if !full {
            plan.bring_forward(now, due, "what was put off");
        }
        // Between our last look and the manager's next one, the last of many changes is lost.
        if cause == Cause::Change || round > 1 {
            plan.bring_forward(now, Some(now), "files have just changed");
        }
        failures.extend(act::act(&world, &observed, plan, full, begin)?);
        if stamps == self::stamps(&town) {
            break;
        }
    }
    match failures.first() {
        None => Ok(Exit::Ok),
        Some(first) if failures.len() == 1 => Err(anyhow!("{first}")),
        Some(first) => Err(anyhow!(
            "{} steps failed; the first: {first}",
            failures.len()
        )),
    }
}

/// What a tick would do now. Changes nothing.
///
/// # Errors
/// There is no town or no manager.
pub fn plan() -> Result<Plan> {
    let town = Town::load()?;
    let systemd = Systemd::connect()?;
    let world = World {
        tmux: Tmux::on(town.socket()),
        town: &town,
        systemd: &systemd,
    };
    let (memory, _) = Memory::load(&town)?;
    let mut observed = observe::observe(&world, memory)?;
    observed.stopped = systemd.town_is_stopped()?;
    Ok(decide::decide(&observed, Timestamp::now()))
}

/// Tells the manager that the inputs are read and the bus answers. By hand it goes nowhere.
fn ready(status: &str) {
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

fn is_honest(town: &Town) -> bool {
    // What cannot be read may be a person's doing.
    activity::load(town).map_or(true, |activity| {
        activity.is_some_and(|activity| activity.honest().is_some())
    })
}

/// Ticks by the manager never overlap; this keeps one by hand apart from them.
fn lock(town: &Town) -> Result<File> {
    let path = town.path("daemon/.heartbeat.lock");
    let failed = || format!("Failed to lock '{}'", path.display());
    std::fs::create_dir_all(town.path("daemon")).with_context(failed)?;
    let file = File::create(&path).with_context(failed)?;
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_POLL);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(anyhow!(
                    "Another tick has not ended within {} s; see 'systemctl --user status \
                     gt-heartbeat.service'",
                    LOCK_LIMIT.as_secs()
                )
                .context(Exit::TryAgain));
            }
            Err(TryLockError::Error(e)) => return Err(e).with_context(failed),
        }
    }
}

/// What tells whether a file has changed: its identity, size and time, or those of its entries.
fn stamp(path: &Path) -> String {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut stamps: Vec<String> = entries.take(ENTRIES).map(|e| stamp(&e.path())).collect();
        stamps.sort();
        return stamps.join(" ");
    }
    let stamp = path.symlink_metadata().map(|m| {
        let time = (m.mtime(), m.mtime_nsec());
        format!("{} {} {}.{:09}", m.ino(), m.size(), time.0, time.1)
    });
    stamp.unwrap_or_default()
}

/// Of the files whose change starts a tick: the manager loses changes while the tick runs.
fn stamps(town: &Town) -> Vec<String> {
    let watched = generator::WATCHED.iter();
    watched
        .filter(|(unit, _, _)| *unit == "gt-heartbeat.path")
        .map(|(_, _, file)| town.path(file))
        .chain(stops(town))
        .map(|path| stamp(&path))
        .collect()
}

/// Where the emergency stops of the rigs would be.
fn stops(town: &Town) -> Vec<PathBuf> {
    let rigs = town.rigs().names();
    rigs.filter_map(|rig| marks::estop_path(town, Some(rig)).ok())
        .collect()
}

/// Whether activity has been written since the last tick looked. The status line writes it
/// every few seconds, so this is not worth a durable file.
fn activity_changed(town: &Town) -> bool {
    let Some(dir) = runtime_dir() else {
        return true;
    };
    let (seen, now) = (
        dir.join("gastown-activity"),
        stamp(&town.path(activity::FILE)),
    );
    let before = std::fs::read_to_string(&seen).unwrap_or_default();
    let changed = before != now;
    if changed {
        let _ = std::fs::write(&seen, now);
    }
    changed
}

/// Reports the tick in one line.
fn report(observed: &Observed, plan: &Plan, begin: Instant, failures: usize, loud: bool) {
    let level = if loud || !plan.steps.is_empty() || failures > 0 {
        log::Level::Info
    } else {
        log::Level::Debug
    };
    let active = observed
        .agents
        .values()
        .filter(|a| a.unit.is_active())
        .count();
    log::log!(level, message_id = journal::TICK,
        gt_active = active, gt_steps = plan.steps.len(), gt_failures = failures,
        gt_msec = begin.elapsed().as_millis() as u64, gt_next_sec = plan.next.seconds,
        gt_reason = plan.next.reason.as_str();
        "Heartbeat complete: {active} agents active, {} steps, {failures} failed; next in {} s: {}",
        plan.steps.len(), plan.next.seconds, plan.next.reason);
}

//! One tick: see what is, decide what is to be done, do it, and arm the next one.
//!
//! - [`observe`] reads everything that a decision needs, once: what it has [`observed`].
//! - [`decide`] makes a [`plan`], pure: no file, no clock, no bus.
//! - [`memory`]: what one tick tells the next.
//! - [`act`]: carries a plan out, and reports per step.
//! - [`tips`]: what pokes say.
//! - [`changes`]: what brings the next tick forward.
//! - `pokes`: whom to remind, and when the Deacon is stuck.
//! - `watch`: who waits for a person, or works for very long.

pub mod act;
pub mod changes;
pub mod decide;
pub mod memory;
pub mod observe;
pub mod observed;
pub mod plan;
mod pokes;
pub mod tips;
mod watch;

use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;

use crate::agent::Agent;
use crate::exit::Exit;
use crate::files;
use crate::job::{self, Desk, Done, Job};
use crate::journal;
use crate::lifecycle;
use crate::session::{secrets, server};
use crate::spawn;
use crate::systemd::Systemd;
use crate::tmux::Tmux;
use crate::tools::{Tools, gt};
use crate::town::{Town, home, left};
use memory::Memory;
use observe::World;
use observed::{JOBS, LIFECYCLE, Observed, SPAWN_TRIGGER, UnitState};
use plan::Plan;

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
}

fn cause(memory: &Memory, stamps: &[String], now: Timestamp) -> Cause {
    let Some(next) = &memory.next else {
        return Cause::Hand;
    };
    if memory.stamps != stamps {
        Cause::Change
    } else if next.at <= now {
        Cause::Time
    } else {
        Cause::Hand
    }
}

/// One tick.
pub(crate) const JOB: Job = Job {
    name: "gt-heartbeat",
    lock: "daemon/.heartbeat.lock",
    lock_limit: Duration::from_secs(30),
    // No path unit starts it again at once, so it need not go on until the cause is mended.
    patience: Duration::from_secs(8),
    // It starts agents that are down, also while the disk is full.
    needs_disk: false,
    arms_first: true,
};

/// Does one tick.
///
/// # Errors
/// There is no town or no manager, or a step failed; the others were still done.
pub fn tick() -> Result<Exit> {
    gt::refresh();
    job::run(&JOB, |desk| match desk.stopped {
        true => {
            job::ready_for("The town is stopped");
            log::info!(
                "The town is stopped, so no agent is started; \
                 'gastownctl up' starts it"
            );
            Ok(Done::default())
        }
        false => {
            take_from_others(desk.town);
            tend(desk)
        }
    })
}

fn tend(desk: &Desk<'_>) -> Result<Done> {
    let begin = Instant::now();
    // What changes from here on is seen by the next look.
    let stamps = changes::stamps(desk.town);
    let town = desk.town.again()?;
    let world = World {
        tmux: Tmux::on(town.socket()),
        town: &town,
        systemd: desk.systemd,
    };
    let mut memory = Memory::load(&town)?;
    if let Err(e) = server::find_again(desk.systemd, &world.tmux) {
        log::warn!("The tmux server's socket is gone: {e:#}");
    }
    if let Err(e) = secrets::refresh(&world.tmux) {
        log::warn!("{e:#}, leaving the tmux server's environment as it is");
    }
    let cause = cause(&memory, &stamps, Timestamp::now());
    memory.stamps = stamps;
    let observed = observe::observe(&world, memory)?;
    job::ready_for("Tending the agents");
    let now = Timestamp::now();
    let due = observed.memory.full_due();
    let full = cause == Cause::Hand || due.is_none_or(|due| due <= now);
    if full {
        for (dir, depth) in WRITTEN {
            files::sweep(&town.path(dir), depth);
        }
        let seen = |agent: &Agent| observed.agents.get(agent);
        let is_down = |agent: &Agent| seen(agent).is_none_or(|seen| seen.unit.is_down());
        if let Err(e) = left::forget_gone(&town, is_down) {
            log::debug!("{e:#}, ignoring");
        }
    }
    let mut plan = decide::decide(&observed, now);
    if !full {
        plan.bring_forward(now, due, "beads and docked rigs");
    }
    let (failures, next) = act::act(&world, &observed, plan, full, begin);
    // The jobs run in units of their own, so that a tool that hangs in one delays no other.
    let mut starts = match (full, cause) {
        (false, _) => Vec::new(),
        (true, Cause::Hand) => JOBS.to_vec(),
        (true, _) => jobs(&town, &observed),
    };
    let is_refused = |job: &&str| {
        observed
            .units
            .get(*job)
            .is_some_and(|u| u.refused.is_some())
    };
    starts.retain(|job| !is_refused(job));
    Ok(Done {
        failures,
        next: Some(next),
        starts,
    })
}

/// The jobs that have something to do, as far as is known, and those that failed. Their path units
/// start them for what is new, and their timers for what they wait for.
fn jobs(town: &Town, observed: &Observed) -> Vec<&'static str> {
    let failed = |job: &str| observed.units.get(job).is_some_and(UnitState::is_failed);
    let jobs = [
        (LIFECYCLE, lifecycle::has_work(town)),
        (SPAWN_TRIGGER, spawn::has_work(town)),
    ];
    let due = jobs.into_iter().filter(|(job, work)| *work || failed(job));
    due.map(|(job, _)| job).collect()
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
    let memory = Memory::read(&town)?;
    let mut observed = observe::observe(&world, memory)?;
    observed.stopped = systemd.town_is_stopped()?;
    if let Ok(Some(later)) = observe::beads(&world, &Tools::locate(&home()?), &observed) {
        observed.beads = later.beads;
    }
    Ok(decide::decide(&observed, Timestamp::now()))
}

/// Where programs of ours write files, below the town's root, and how many levels down.
const WRITTEN: [(&str, usize); 7] = [
    ("", 0),
    ("daemon", 4),
    ("deacon", 0),
    ("mayor", 0),
    ("spawn", 0),
    (".beads-wisp", 1),
    (".runtime", 2),
];

/// Makes private what an earlier version has left open to other users.
fn take_from_others(town: &Town) {
    let daemon = town.path("daemon");
    if files::is_open_to_others(&daemon)
        && let Err(e) = files::make_private(&daemon)
    {
        log::warn!("{e:#}, so others can read what is there");
    }
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

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
mod watch;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;

use crate::exit::Exit;
use crate::files;
use crate::job::{self, Desk, Done, Job};
use crate::session::secrets;
use crate::systemd::{Systemd, runtime_dir};
use crate::tmux::Tmux;
use crate::tools::{Tools, gt};
use crate::town::{Town, activity, home, marks};
use crate::{generator, journal};
use memory::Memory;
use observe::World;
use observed::Observed;
use plan::Plan;

/// Changes to watched files during a tick start another round; at most this many in all.
const ROUNDS: usize = 3;

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
    /// Only what shows activity changed, in an idle town.
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

/// One tick.
const JOB: Job = Job {
    name: "gt-heartbeat",
    lock: "daemon/.heartbeat.lock",
    lock_limit: Duration::from_secs(30),
    // Only changes and timers start it, so it need not last for the path unit.
    patience: Duration::from_secs(8),
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
    let town = desk.town;
    let activity = activity(town);
    let (memory, _) = Memory::load(town)?;
    let cause = cause(&memory, &stamps(town), activity.is_some(), Timestamp::now());
    if let (Cause::Activity, Some(next)) = (cause, &memory.next)
        && activity == Some(false)
    {
        job::ready_for("Nobody has done anything");
        let wait = Duration::try_from(next.at.duration_since(Timestamp::now()));
        let due = begin + wait.unwrap_or_default();
        let next = Some((due, "Next Gas Town Heartbeat: as planned".into()));
        return Ok(Done {
            failures: Vec::new(),
            next,
        });
    }
    if let Err(e) = secrets::refresh(&Tmux::on(town.socket())) {
        log::warn!("{e:#}, leaving the tmux server's environment as it is");
    }
    let mut done = Done::default();
    for round in 1..=ROUNDS {
        let stamps = stamps(town);
        let town = town.again()?;
        let world = World {
            tmux: Tmux::on(town.socket()),
            town: &town,
            systemd: desk.systemd,
        };
        let (mut memory, junk) = Memory::load(&town)?;
        memory.stamps.clone_from(&stamps);
        if let Some(junk) = junk {
            log::warn!("{junk}, starting anew; it is kept as 'supervisor.json.bad'");
            Memory::set_aside(&town)?;
        }
        let observed = observe::observe(&world, memory)?;
        job::ready_for("Tending the agents");
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
        let (failures, next) = act::act(&world, &observed, plan, full, begin);
        done.failures.extend(failures);
        done.next = Some(next);
        if stamps == self::stamps(&town) {
            break;
        }
    }
    Ok(done)
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
    if let Ok(Some(later)) = observe::beads(&world, &Tools::locate(&home()?), &observed) {
        observed.beads = later.beads;
    }
    Ok(decide::decide(&observed, Timestamp::now()))
}

/// What a town of an earlier version left open to others.
fn take_from_others(town: &Town) {
    let daemon = town.path("daemon");
    if files::is_open_to_others(&daemon)
        && let Err(e) = files::make_private(&daemon)
    {
        log::warn!("{e:#}, so others can read what is there");
    }
}

/// What tells whether a file has changed: its identity, size and time, or those of its entries.
/// Nothing below these is looked at, for a link may lead anywhere.
fn stamp(path: &Path) -> String {
    let mut stamps = vec![activity::stamp(path)];
    let names = files::names(path, ENTRIES).unwrap_or_default();
    stamps.extend(names.iter().map(|name| activity::stamp(&path.join(name))));
    stamps.join(" ")
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

/// What the files that show activity have said since the last tick looked: `None`: nothing, else
/// whether it was somebody else's doing than ours. The status line of `gt` writes one every few
/// seconds, so this is not worth a durable file.
fn activity(town: &Town) -> Option<bool> {
    let Some(dir) = runtime_dir() else {
        return Some(true);
    };
    let seen = dir.join("gastown-activity");
    let event = activity::last_event(town.root()).map(|time| time.to_string());
    let [command, events] = [activity::FILE, activity::EVENTS].map(|file| stamp(&town.path(file)));
    let now = [command, events, event.unwrap_or_default()];
    let before = std::fs::read_to_string(&seen).unwrap_or_default();
    let mut before = before.lines();
    let changed = now
        .each_ref()
        .map(|now| before.next().unwrap_or_default() != now);
    if changed.contains(&true) {
        let _ = std::fs::write(&seen, now.join("\n"));
    }
    let [command, events, event] = changed;
    (command || events).then(|| event || (command && activity::is_somebodys(town)))
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

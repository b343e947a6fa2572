//! The frame of the programs that timers and path units start: `gt-heartbeat`, `gt-lifecycle` and
//! `gt-spawn-trigger`. Each is a [`Job`] with a function that does its work.
//!
//! [`run`] connects to the manager, arms the next run, loads the town, takes the job's lock, has
//! the work done, and reports. A path unit starts its service again as soon as it has ended with
//! the cause still there. So a service that cannot do its work does not end at once: it says why
//! in its status, and tries again with growing pauses.

pub mod starts;

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use sd_notify::NotifyState;

use crate::exit::{self, Exit};
use crate::files;
use crate::meant;
use crate::printable;
use crate::systemd::{After, Properties, Systemd, Verb};
use crate::town::{Town, poke};

/// The pause before a run that could not work is tried again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest such pause. A run may take so long to see that the cause is mended, and to begin new
/// work that the cause does not concern.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a job that tries again says after the reason.
const AGAIN: &str = "; trying again";

/// How long a run tries to reach the manager. Without it no timer can be armed; the service may
/// run for 5 min.
const BUS_PATIENCE: Duration = Duration::from_secs(240);

/// When the run after one that failed, or was killed, begins.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// After so many times in a row that a job was killed, and restarted by the manager, that is a
/// condition: only managers from 254 on start an alert for a service that they restart.
pub const KILLED: u64 = 3;

/// A program that timers and path units start.
#[derive(Debug)]
pub struct Job {
    /// Its name, which is the stem of its service too. `<name>-next.timer` brings the next run.
    pub name: &'static str,
    /// Its lock, below the town's root.
    pub lock: &'static str,
    /// How long another run may hold the lock.
    pub lock_limit: Duration,
    /// How long a run that cannot work tries again before it fails.
    pub patience: Duration,
    /// Whether it can do nothing while nothing can be written.
    pub needs_disk: bool,
    /// Whether the next run is armed before this one begins, because nothing else brings it if
    /// this one is killed. Otherwise the unit has `Restart=`.
    pub arms_first: bool,
}

/// What a run works with.
#[derive(Debug)]
pub struct Desk<'a> {
    /// The town, as it is now.
    pub town: &'a Town,
    /// The manager.
    pub systemd: &'a Systemd,
    /// Whether somebody has stopped the town.
    pub stopped: bool,
    /// The job's lock, which is held during the run.
    pub lock: &'a File,
}

/// What a run has done.
#[derive(Debug, Default)]
pub struct Done {
    /// What went wrong with parts of it, in words. They make the run fail.
    pub failures: Vec<String>,
    /// When the next run is due, and what for; `None`: when something else starts it.
    pub next: Option<(Instant, String)>,
    /// Units to start when all else is done: this run does not wait while the manager is busy with
    /// them.
    pub starts: Vec<&'static str>,
}

/// Does a job once.
///
/// # Errors
/// There is no manager or no town, another run holds the lock, or the work or a part of it failed; or
/// a person runs the job from a shell that means another town than the units.
pub fn run(job: &Job, work: impl FnMut(&Desk<'_>) -> Result<Done>) -> Result<Exit> {
    let done = run_patiently(job, work);
    if let Err(e) = &done {
        let _ = sd_notify::notify(&[NotifyState::Status(&format!("{e:#}"))]);
    }
    done
}

/// What is wrong with a job that has failed or tries again, in its own words, by the properties of
/// its service.
pub fn trouble(service: &Properties) -> Option<String> {
    let text = |name| service.text(name).unwrap_or_default();
    let said = printable::line(&text("StatusText"));
    let has_told = match text("ActiveState").as_str() {
        // A run that was killed could not say why.
        "failed" => !said.is_empty() && text("Result") == "exit-code",
        _ => said.contains(AGAIN),
    };
    has_told.then_some(said)
}

/// What is wrong with a job that the manager has restarted so often in a row; `None`: nothing.
pub fn killed(restarts: u64) -> Option<String> {
    let often = restarts >= KILLED;
    often.then(|| format!("it was killed, or took too long, {restarts} times in a row"))
}

/// Whether the manager has started this program, and not a person.
fn is_service() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

fn run_patiently(job: &Job, mut work: impl FnMut(&Desk<'_>) -> Result<Done>) -> Result<Exit> {
    let is_service = is_service();
    if is_service {
        starts::note(job.name);
    }
    let begin = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut armed = !job.arms_first;
    let mut may_work = is_service;
    let mut told = String::new();
    loop {
        let error = match attempt(job, &mut may_work, &mut armed, &mut work) {
            Ok(failures) => return report(&failures),
            Err(error) => error,
        };
        let patience = match exit::of(&error) {
            Exit::NoManager => BUS_PATIENCE,
            _ => job.patience,
        };
        if !is_service || begin.elapsed() + pause > patience {
            // Perhaps no path unit starts us again: the cause may be nothing that a path unit watches.
            if may_work
                && !job.arms_first
                && exit::of(&error) != Exit::NoManager
                && let Err(e) = arm_for_failure(job)
            {
                log::warn!(
                    "{e:#}, so nothing but its path unit starts {} again",
                    job.name
                );
            }
            return Err(error);
        }
        let text = format!("{error:#}");
        let left = patience.saturating_sub(begin.elapsed()).as_secs();
        if text != told {
            log::warn!("{text}; trying again for {left} s");
        }
        let _ = sd_notify::notify(&[
            NotifyState::ExtendTimeoutUsec(120_000_000),
            NotifyState::Status(&format!("{text}{AGAIN} in {} s", pause.as_secs())),
        ]);
        told = text;
        std::thread::sleep(pause);
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// Does the job once. If a person runs it, first finds out whether it `may_work`, before anything is
/// changed.
fn attempt(
    job: &Job,
    may_work: &mut bool,
    armed: &mut bool,
    work: &mut impl FnMut(&Desk<'_>) -> Result<Done>,
) -> Result<Vec<String>> {
    let systemd = Systemd::connect()?;
    if !*may_work {
        Town::load()?;
        meant::check(&systemd, job.name)?;
        *may_work = true;
    }
    let stopped = systemd.town_is_stopped()?;
    if !*armed && !stopped {
        arm_first(job, &systemd)?;
        *armed = true;
    }
    let town = Town::load()?;
    if !job.arms_first && restarts(job, &systemd) == KILLED {
        // A tick begins the alert.
        poke::heartbeat(town.root());
    }
    let path = town.path(job.lock);
    let lock = match job.needs_disk {
        true => files::lock,
        false => files::lock_to_read,
    };
    let Some(lock) = lock(&path, job.lock_limit)? else {
        return Err(anyhow!(
            "Another {0} has not ended within {1} s; see 'systemctl --user status {0}.service'",
            job.name,
            job.lock_limit.as_secs()
        )
        .context(Exit::TryAgain));
    };
    let desk = Desk {
        town: &town,
        systemd: &systemd,
        stopped,
        lock: &lock,
    };
    let done = work(&desk)?;
    let next = next(job);
    match done.next {
        Some((due, what)) => {
            let wait = due.saturating_duration_since(Instant::now());
            systemd.arm_timer(&next, &what, After::Now(wait))?;
        }
        None => systemd.disarm_timer(&next)?,
    }
    let mut failures = done.failures;
    if let Err(e) = systemd.queue_all(Verb::Start, &done.starts) {
        log::error!("{e:#}");
        failures.push(format!("{e:#}"));
        arm_first(job, &systemd)?;
    }
    Ok(failures)
}

/// How often in a row the manager has restarted the job's service because it was killed.
fn restarts(job: &Job, systemd: &Systemd) -> u64 {
    const RESTARTS: &str = "NRestarts";
    let unit = format!("{}.service", job.name);
    let read = systemd.read(&[&unit], &[RESTARTS]).unwrap_or_default();
    read.get(&unit)
        .and_then(|unit| unit.number(RESTARTS))
        .unwrap_or_default()
}

/// The stem of the timer that brings the next run.
fn next(job: &Job) -> String {
    format!("{}-next", job.name)
}

/// Whether a timer brings the job's next run. A run that is killed while it puts one timer in the
/// place of another leaves none.
///
/// # Errors
/// The manager does not answer.
pub fn is_armed(job: &Job, systemd: &Systemd) -> Result<bool> {
    let timer = format!("{}.timer", next(job));
    let found = systemd.units(&[&timer])?.remove(&timer);
    Ok(found.is_some_and(|found| found.sub == "waiting"))
}

/// Has the job run again a while after this run has ended, however it ends.
fn arm_first(job: &Job, systemd: &Systemd) -> Result<()> {
    let what = format!("Another {} after One That Failed", job.name);
    systemd.arm_timer(&next(job), &what, After::End(AFTER_FAILURE))
}

/// Has the job run again a while after its last run, or now if that is long ago; not in a town that
/// is stopped.
///
/// # Errors
/// There is no manager, or it refuses.
pub fn arm_for_failure(job: &Job) -> Result<()> {
    let systemd = Systemd::connect()?;
    if systemd.town_is_stopped()? {
        return Ok(());
    }
    arm_first(job, &systemd)
}

/// Tells the manager that the inputs are read and the bus answers. Does nothing when a person runs
/// the job.
pub fn ready() {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// As [`ready`], and tells the manager what is done now.
pub fn ready_for(status: &str) {
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

fn report(failures: &[String]) -> Result<Exit> {
    match failures {
        [] => Ok(Exit::Ok),
        [only] => Err(anyhow!("{only}")),
        [first, ..] => Err(anyhow!(
            "{} steps failed; the first: {first}",
            failures.len()
        )),
    }
}

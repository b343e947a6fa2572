//! Units that are made while the town runs: timers for the next run of a job, and path units for
//! what no shipped unit can name.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use zbus::Variant;

use super::{AWAY_LIMIT, AWAY_POLL, CALL_LIMIT, Job, Systemd, TARGET, Verb, failed};
use crate::exit::{self, Exit};

/// The manager's word for a unit that it still knows.
const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// How long it may take until the manager has forgotten a unit that has been stopped.
const FORGET_LIMIT: Duration = Duration::from_secs(5);

/// The pause before we try again to use the name of such a unit.
const FORGET_POLL: Duration = Duration::from_millis(50);

/// When a timer elapses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// So long after now.
    Now(Duration),
    /// So long after its service ends, and again after each later end until the timer is disarmed.
    End(Duration),
}

/// Does something again whose answer was lost, as by a manager that executes itself anew: what was
/// made by the lost call is then replaced.
fn until_back(act: impl Fn() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + AWAY_LIMIT;
    loop {
        match act() {
            Err(e) if exit::of(&e) == Exit::NoManager && Instant::now() < deadline => {
                std::thread::sleep(AWAY_POLL);
            }
            done => return done,
        }
    }
}

/// Whether a call failed because the manager has a unit of that name already.
fn is_there(e: &zbus::Error) -> bool {
    matches!(e, zbus::Error::MethodError(name, ..) if name.as_str() == EXISTS)
}

impl Systemd {
    /// Arms a transient timer `<stem>.timer` that starts `<stem>.service`. An earlier one of that name
    /// is replaced.
    ///
    /// # Errors
    /// The manager refuses.
    pub fn arm_timer(&self, stem: &str, description: &str, after: After) -> Result<()> {
        until_back(|| self.try_arm_timer(stem, description, after))
    }

    fn try_arm_timer(&self, stem: &str, description: &str, after: After) -> Result<()> {
        let (base, after) = match after {
            After::Now(after) => ("OnActiveSec", after),
            After::End(after) => ("OnUnitInactiveSec", after),
        };
        let usec = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let properties = [
            ("Description", Variant::from(description)),
            ("TimersMonotonic", Variant::from(vec![(base, usec)])),
            ("AccuracyUSec", Variant::from(100_000u64)),
            ("RemainAfterElapse", Variant::from(false)),
            // `systemctl isolate` leaves the timer running; it ends with the town's target.
            ("IgnoreOnIsolate", Variant::from(true)),
            ("PartOf", Variant::from(vec![TARGET])),
            ("CollectMode", Variant::from("inactive-or-failed")),
        ];
        self.replace(&format!("{stem}.timer"), &properties)
    }

    /// Takes this process out of the unit that it is in, into a scope of its own, which ends with it.
    ///
    /// # Errors
    /// The manager refuses, or has not done it in time.
    pub fn leave_unit(&self) -> Result<()> {
        let pid = std::process::id();
        let scope = format!("gastownctl-{pid}.scope");
        let properties = [
            ("Description", Variant::from("gastownctl of an Agent")),
            ("PIDs", Variant::from(vec![pid])),
            ("CollectMode", Variant::from("inactive-or-failed")),
        ];
        self.hear_jobs()?;
        let job = self
            .start_transient(&scope, &properties)
            .map_err(|e| failed(format_args!("Failed to start '{scope}'"), &e))?;
        let done = self.wait(&job, CALL_LIMIT)?;
        let done = done.filter(|result| result == "done");
        done.map(drop)
            .with_context(|| format!("'{scope}' has not started"))
    }

    /// Stops a transient unit. With that the manager forgets it, even if it has failed, and its name
    /// is free.
    fn discard(&self, unit: &str) -> Result<()> {
        let job = self.queue_awaited(Verb::Stop, unit)?;
        self.wait(&job, CALL_LIMIT).map(drop)
    }

    /// Starts a transient unit in the place of an earlier one of that name. Two programs may do so at
    /// once: then the later one replaces that of the other.
    fn replace(&self, unit: &str, properties: &[(&str, Variant<'_>)]) -> Result<()> {
        let deadline = Instant::now() + FORGET_LIMIT;
        loop {
            if self.units(&[unit])?.contains_key(unit)
                && let Err(e) = self.discard(unit)
            {
                // Somebody else may have discarded it. If not, the start fails, too.
                log::debug!("{e:#}, ignoring");
            }
            match self.start_transient(unit, properties) {
                // A manager that is busy has not forgotten the earlier one yet.
                Err(e) if is_there(&e) && Instant::now() < deadline => {
                    std::thread::sleep(FORGET_POLL);
                }
                started => {
                    let what = format_args!("Failed to start '{unit}'");
                    return started.map(drop).map_err(|e| failed(what, &e));
                }
            }
        }
    }

    fn start_transient(&self, unit: &str, properties: &[(&str, Variant<'_>)]) -> zbus::Result<Job> {
        let manager = &self.manager;
        let call = manager.start_transient_unit(unit, "replace", properties, &[]);
        zbus::block_on(call).map(|path| Job { path })
    }

    /// Has a transient `<stem>.path` start `<stem>.service` by these directives and paths, and no
    /// others. Its description is `what` and the paths; from that we see whether it does so already.
    ///
    /// # Errors
    /// The manager refuses.
    pub fn watch(&self, stem: &str, what: &str, paths: &[(String, String)]) -> Result<()> {
        until_back(|| self.try_watch(stem, what, paths))
    }

    fn try_watch(&self, stem: &str, what: &str, paths: &[(String, String)]) -> Result<()> {
        let unit = format!("{stem}.path");
        let names: Vec<&str> = paths.iter().map(|(_, path)| path.as_str()).collect();
        let description = format!("{what} {}", names.join(", "));
        let found = self.units(&[&unit])?.remove(&unit);
        if let Some(found) = &found
            && found.active == "active"
            && found.description == description
        {
            return Ok(());
        }
        let properties = [
            ("Description", Variant::from(description)),
            ("Paths", Variant::from(paths.to_vec())),
            ("IgnoreOnIsolate", Variant::from(true)),
            ("PartOf", Variant::from(vec![TARGET])),
            ("CollectMode", Variant::from("inactive-or-failed")),
        ];
        self.replace(&unit, &properties)
    }

    /// Disarms a transient timer; nothing when there is none.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn disarm_timer(&self, stem: &str) -> Result<()> {
        let timer = format!("{stem}.timer");
        if self.units(&[&timer])?.contains_key(&timer) {
            self.queue(Verb::Stop, &timer)?;
        }
        Ok(())
    }
}

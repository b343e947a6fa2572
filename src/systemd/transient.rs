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

impl Systemd {
    /// Arms a transient timer `<stem>.timer` that starts `<stem>.service`, unless the town is
    /// stopped. An earlier one of that name is replaced.
    ///
    /// # Errors
    /// The manager refuses.
    pub fn arm_timer(&self, stem: &str, description: &str, after: After) -> Result<()> {
        until_back(|| self.try_arm_timer(stem, description, after))
    }

    fn try_arm_timer(&self, stem: &str, description: &str, after: After) -> Result<()> {
        let timer = format!("{stem}.timer");
        if self.units(&[&timer])?.contains_key(&timer) {
            self.discard(&timer)?;
        }
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
        self.start_transient(&timer, &properties).map(drop)
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
        let job = self.start_transient(&scope, &properties)?;
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

    fn start_transient(&self, unit: &str, properties: &[(&str, Variant<'_>)]) -> Result<Job> {
        let deadline = Instant::now() + FORGET_LIMIT;
        loop {
            let call = self
                .manager
                .start_transient_unit(unit, "replace", properties, &[]);
            match zbus::block_on(call) {
                // A manager that is busy has not forgotten the earlier one yet.
                Err(zbus::Error::MethodError(name, ..))
                    if name.as_str() == EXISTS && Instant::now() < deadline =>
                {
                    std::thread::sleep(FORGET_POLL);
                }
                armed => {
                    return armed
                        .map(|path| Job { path })
                        .map_err(|e| failed(format_args!("Failed to start '{unit}'"), &e));
                }
            }
        }
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
        if found.is_some() {
            self.discard(&unit)?;
        }
        let properties = [
            ("Description", Variant::from(description)),
            ("Paths", Variant::from(paths.to_vec())),
            ("IgnoreOnIsolate", Variant::from(true)),
            ("PartOf", Variant::from(vec![TARGET])),
            ("CollectMode", Variant::from("inactive-or-failed")),
        ];
        self.start_transient(&unit, &properties).map(drop)
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

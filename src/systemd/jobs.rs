//! The manager's jobs: starts, stops and restarts, and how they end.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures_util::StreamExt;
use futures_util::future::join_all;
use zbus::OwnedObjectPath;
use zbus::fdo::Error::UnknownObject;

use super::{Properties, Systemd, ask, failed, typed};
use crate::exit::Exit;

/// What a job is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Start the unit; nothing when it is active.
    Start,
    /// Stop the unit and what depends on it.
    Stop,
    /// As [`Verb::Stop`], and no later job may replace this one.
    StopForGood,
    /// Stop, if it runs, and start.
    Restart,
}

/// The unit that the manager says is masked: `Unit gastown.slice is masked.`
fn masked_in<'a>(error: &str, text: &'a str) -> Option<&'a str> {
    let unit = text.strip_prefix("Unit ")?.split(' ').next()?;
    (error == "org.freedesktop.systemd1.UnitMasked").then_some(unit)
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Start => "start",
            Verb::Stop | Verb::StopForGood => "stop",
            Verb::Restart => "restart",
        }
    }
}

/// A job in the manager's queue.
#[derive(Debug)]
pub struct Job {
    pub(super) path: OwnedObjectPath,
}

/// The jobs that have left the queue, with their results.
#[derive(Debug)]
pub(super) struct Removed {
    ends: Mutex<mpsc::Receiver<(OwnedObjectPath, String)>>,
    /// Jobs whose end we heard of while we waited for another one.
    known: Mutex<HashMap<OwnedObjectPath, String>>,
}

impl Removed {
    fn wait(&self, job: &Job, limit: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + limit;
        let gone = || anyhow!("The connection to the user manager has ended");
        let ends = self.ends.lock().map_err(|_| gone())?;
        let mut known = self.known.lock().map_err(|_| gone())?;
        loop {
            if let Some(result) = known.remove(&job.path) {
                return Ok(Some(result));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match ends.recv_timeout(left) {
                Ok((path, result)) => _ = known.insert(path, result),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
    }
}

impl Systemd {
    /// Queues a job, replacing a conflicting one, and does not wait for it. What is to be stopped
    /// is thawed: from 256 on the manager refuses to stop what is frozen.
    ///
    /// # Errors
    /// The manager refuses, for example because the unit hit its start limit.
    pub fn queue(&self, verb: Verb, unit: &str) -> Result<Job> {
        // If the manager has queued the job and could not answer, asking again gives the same job.
        ask(async || self.queue_one(verb, unit).await)
            .map(|path| Job { path })
            .map_err(|e| {
                let what = format!("Failed to {} '{unit}'", verb.word());
                let refused = self.refused(&[unit], &BTreeMap::new());
                match refused.unwrap_or_default().remove(unit) {
                    Some(why) => anyhow!("{what}: {why}"),
                    None => match self.masked_need(&e) {
                        Some(why) => anyhow!("{what}: {why}"),
                        None => failed(what, &e),
                    },
                }
            })
    }

    /// Why a job is refused because a unit that the asked one needs is masked, in words; `None`: it is
    /// refused for something else.
    fn masked_need(&self, e: &zbus::Error) -> Option<String> {
        let zbus::Error::MethodError(error, Some(text), _) = e else {
            return None;
        };
        let need = masked_in(error.as_str(), text)?;
        let refused = self.refused(&[need], &BTreeMap::new()).ok()?;
        Some(format!("it needs {need}, and {}", refused.get(need)?))
    }

    /// As [`Systemd::queue`], for units whose order does not matter: all are asked for before the
    /// manager is busy with the first.
    ///
    /// # Errors
    /// The manager refuses one; the others are queued.
    pub fn queue_all(&self, verb: Verb, units: &[&str]) -> Result<()> {
        let all = async || {
            let queued = units.iter().map(|unit| self.queue_one(verb, unit));
            let queued = join_all(queued).await.into_iter();
            queued.collect::<zbus::Result<Vec<_>>>()
        };
        let names = units.join("' and '");
        ask(all)
            .map(drop)
            .map_err(|e| failed(format_args!("Failed to {} '{names}'", verb.word()), &e))
    }

    async fn queue_one(&self, verb: Verb, unit: &str) -> zbus::Result<OwnedObjectPath> {
        let manager = &self.manager;
        if verb != Verb::Start && unit.ends_with(".service") {
            // This fails for a unit that is not frozen, or does not run.
            let _ = manager.thaw_unit(unit).await;
        }
        match verb {
            Verb::Start => manager.start_unit(unit, "replace").await,
            Verb::Stop => manager.stop_unit(unit, "replace").await,
            Verb::StopForGood => manager.stop_unit(unit, "replace-irreversibly").await,
            Verb::Restart => manager.restart_unit(unit, "replace").await,
        }
    }

    /// Hears from now on of the jobs that leave the queue. Called before a job is queued, so that its
    /// end is not missed; only the first call does anything.
    ///
    /// # Errors
    /// The manager does not answer.
    pub(super) fn hear_jobs(&self) -> Result<&Removed> {
        if let Some(removed) = self.removed.get() {
            return Ok(removed);
        }
        let mut signals = ask(async || {
            let signals = self.manager.receive_job_removed().await?;
            self.manager.subscribe().await?;
            zbus::Result::Ok(signals)
        })
        .map_err(|e| anyhow!("Failed to hear of the user manager's jobs: {e}"))?;
        let (heard, ends) = mpsc::channel();
        std::thread::spawn(move || {
            while let Some(signal) = zbus::block_on(signals.next()) {
                let Ok(end) = signal.args() else { continue };
                // Nobody waits for jobs any more.
                if heard.send((end.job.clone(), end.result.clone())).is_err() {
                    return;
                }
            }
        });
        Ok(self.removed.get_or_init(|| Removed {
            ends: Mutex::new(ends),
            known: Mutex::default(),
        }))
    }

    /// Waits until a job has left the queue, at most `limit`, and gives its result: `done`,
    /// `failed`, `timeout`, `dependency`, `canceled`, ... `None`: it is still there.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn wait(&self, job: &Job, limit: Duration) -> Result<Option<String>> {
        if let Some(result) = self.hear_jobs()?.wait(job, limit)? {
            return Ok(Some(result));
        }
        // A manager that was re-executed meanwhile sends no signal.
        let state = ask(async || {
            let manager = Some("org.freedesktop.systemd1");
            let properties = Some("org.freedesktop.DBus.Properties");
            let what = ("org.freedesktop.systemd1.Job", "State");
            let call = self
                .connection
                .call_method(manager, &job.path, properties, "Get", &what);
            call.await
        });
        match state {
            Ok(_) => Ok(None),
            Err(zbus::Error::FDO(e)) if matches!(*e, UnknownObject(_)) => Ok(Some("gone".into())),
            Err(e) => Err(anyhow!("Failed to wait for a job: {e}")),
        }
    }

    /// Queues a job, waits for it, and tells the state of the unit after it.
    ///
    /// # Errors
    /// The manager refuses the job, or it is not done within `limit`.
    pub fn run(&self, verb: Verb, unit: &str, limit: Duration) -> Result<Properties> {
        let job = self.queue_awaited(verb, unit)?;
        let word = verb.word();
        match self.wait(&job, limit)?.as_deref() {
            None => Err(anyhow!(
                "The job to {word} '{unit}' is not done after {} s; see 'systemctl --user status {}'",
                limit.as_secs(),
                typed(unit)
            )
            .context(Exit::TryAgain)),
            Some(result @ ("canceled" | "dependency")) => Err(anyhow!(
                "The job to {word} '{unit}' was not done ({result}); see 'systemctl --user status {}'",
                typed(unit)
            )),
            // The unit itself tells what came of it.
            Some(_) => self.properties(unit),
        }
    }

    /// As [`Systemd::queue`], for a job that is waited for.
    ///
    /// # Errors
    /// As [`Systemd::queue`].
    pub fn queue_awaited(&self, verb: Verb, unit: &str) -> Result<Job> {
        self.hear_jobs()?;
        self.queue(verb, unit)
    }

    /// Whether a unit that matches a pattern has a job in the queue.
    ///
    /// # Errors
    /// The manager does not answer.
    pub fn has_jobs(&self, pattern: &str) -> Result<bool> {
        let units = self.units(&[pattern])?;
        Ok(units.values().any(|unit| unit.job.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_that_is_masked_is_named() {
        const MASKED: &str = "org.freedesktop.systemd1.UnitMasked";
        for (error, text, want) in [
            (
                MASKED,
                "Unit gastown.slice is masked.",
                Some("gastown.slice"),
            ),
            (MASKED, "It is masked.", None),
            (
                "org.freedesktop.systemd1.LoadFailed",
                "Unit a.service failed to load properly",
                None,
            ),
        ] {
            assert_eq!(masked_in(error, text), want, "{text}");
        }
    }
}

//! Alerts: one when a condition begins, one when it ends, each delivered until that succeeds.
//!
//! A condition is a file in `daemon/alerts` of the town. The journal gets a line at once;
//! `gt-alert@deliver.service` mails it to the Mayor and runs `~/.config/gastown/alert`, so that a
//! program that hangs delays nothing else, and tries again what failed. `tests/model/alerts.rs`
//! goes through every course of beginnings, ends and deliveries that are killed.

mod condition;
mod deliver;
mod failure;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;

use crate::systemd::{After, Systemd, Verb};
use crate::town::Town;
pub use deliver::unfit_hook;
pub use failure::{
    DELIVER, STORM, cannot_start, end, failed, gave_up, gave_up_in, handle, is_homeless, storm,
    storm_key, twice, unit_key,
};
use store::{begin_in, dirs, end_in, of_all};

/// The stem of the unit that tells of alerts, and of the timer by which it tries again.
const TELLER: &str = "gt-alert@deliver";

/// How soon at the earliest that unit tries again.
const PAUSE: Duration = Duration::from_secs(60);

/// Begins a condition; nothing when it has begun already. Fields are data for the journal and
/// for the hook, by upper-case names. The key is a short name that is the same each time.
///
/// # Errors
/// The condition cannot be written down.
pub fn raise(town: &Town, key: &str, summary: &str, fields: &[(&str, &str)]) -> Result<()> {
    if begin_in(&dirs(town), key, summary, fields, Timestamp::now())? {
        wake();
    }
    Ok(())
}

/// Ends a condition; nothing when it has ended already.
///
/// # Errors
/// The condition cannot be written down.
pub fn clear(town: &Town, key: &str, summary: &str) -> Result<()> {
    if end_in(&dirs(town), key, summary, Timestamp::now())? {
        wake();
    }
    Ok(())
}

/// The keys of the conditions that hold.
pub fn open(town: &Town) -> BTreeSet<String> {
    summaries(town).into_keys().collect()
}

/// The conditions that hold, by key.
pub fn summaries(town: &Town) -> BTreeMap<String, String> {
    let held = of_all(&dirs(town))
        .into_iter()
        .filter(|(_, a)| a.end.is_none());
    held.map(|(_, alert)| (alert.key, alert.summary)).collect()
}

/// The conditions of which, more than once, not everybody could be told.
#[derive(Debug, PartialEq, Eq)]
pub struct Untold {
    /// How many conditions these are.
    pub count: usize,
    /// Why not everybody could be told of the last one.
    pub why: String,
    /// Whether it is the mail that did not arrive.
    pub by_mail: bool,
}

/// The conditions of which not everybody could be told; `None`: there are none.
pub fn untold(town: &Town) -> Option<Untold> {
    let all = of_all(&dirs(town)).into_iter().map(|(_, alert)| alert);
    let mut failed: Vec<_> = all
        .filter(|alert| alert.failures > 1 && alert.failure.is_some())
        .collect();
    let count = failed.len();
    let last = failed.pop()?;
    Some(Untold {
        count,
        by_mail: last.lacks_mail(),
        why: last.failure?,
    })
}

/// Whether somebody is to be told of something now.
pub fn is_due(town: &Town) -> bool {
    let now = Timestamp::now();
    next(&dirs(town), now).is_some_and(|next| next <= now)
}

/// When something is next to be told; `None`: everybody knows everything.
fn next(dirs: &[PathBuf], now: Timestamp) -> Option<Timestamp> {
    let all = of_all(dirs);
    all.iter().filter_map(|(_, alert)| alert.due(now)).min()
}

/// How long until we try again to tell what is not told yet.
fn pause(dirs: &[PathBuf], now: Timestamp) -> Option<Duration> {
    let wait = next(dirs, now)?.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or_default().max(PAUSE))
}

/// Has what is not told yet be told later, whoever raised it.
///
/// # Errors
/// The manager does not answer.
fn try_again(dirs: &[PathBuf]) -> Result<()> {
    match pause(dirs, Timestamp::now()) {
        Some(pause) => arm(&Systemd::connect()?, pause),
        None => Ok(()),
    }
}

/// Has alerts be told in a while, unless the town is stopped.
fn arm(systemd: &Systemd, pause: Duration) -> Result<()> {
    if systemd.town_is_stopped()? {
        return Ok(());
    }
    systemd.arm_timer(TELLER, "Gas Town Alerts Not Told Yet", After::Now(pause))
}

/// Starts the delivery of alerts; does not wait for it.
pub fn wake() {
    let unit = format!("{TELLER}.service");
    let queued = Systemd::connect().and_then(|systemd| {
        systemd.queue(Verb::Start, &unit)?;
        // A delivery that is just ending is not started again by that.
        arm(&systemd, PAUSE)
    });
    if let Err(e) = queued {
        log::debug!("Alerts are told later: {e:#}");
    }
}

//! Alerts: one when a condition begins, one when it ends, each told until it is heard.
//!
//! A condition is a file in `daemon/alerts` of the town. The journal hears of it at once; the
//! Mayor's mail and the executable `~/.config/gastown/alert` hear of it from
//! `gt-alert@deliver.service`, so that a hanging one delays nobody, and again until they do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::agent::Agent;
use crate::exit::Exit;
use crate::systemd::{Systemd, Verb, runtime_dir};
use crate::tools::{self, Tools, mail};
use crate::town::Town;
use crate::town::env_file::{home, is_variable, locate};
use crate::{files, journal};

/// Where the conditions are, below the town's root.
const DIR: &str = "daemon/alerts";

/// The one condition that a town cannot keep itself.
const NO_TOWN: &str = "town";

/// A person's own program, below the home directory.
const HOOK: &str = ".config/gastown/alert";

/// The unit that tells of alerts.
const DELIVERER: &str = "gt-alert@deliver.service";

/// What is told to it instead of a unit.
pub const DELIVER: &str = "deliver";

const HOOK_LIMIT: Duration = Duration::from_secs(10);

/// After this no more is begun; the unit has a minute.
const DELIVER_LIMIT: Duration = Duration::from_secs(25);

/// The most alerts that are looked at.
const MOST: usize = 1000;

/// What has been told, and when it is tried again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Told {
    mail: bool,
    hook: bool,
}

impl Told {
    fn all(&self) -> bool {
        self.mail && self.hook
    }
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Alert {
    key: String,
    summary: String,
    since: Timestamp,
    #[serde(default)]
    fields: BTreeMap<String, String>,
    #[serde(default)]
    told: Told,
    #[serde(default)]
    end: Option<End>,
    /// How many deliveries have failed in a row.
    #[serde(default)]
    failures: u32,
    /// When the next one is due; `None`: nothing is to be told.
    #[serde(default)]
    next: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    summary: String,
    at: Timestamp,
    #[serde(default)]
    told: Told,
}

/// Begins a condition; nothing when it has begun already. Fields are data for the journal and
/// for the hook, by upper-case names. The key is a short name that is the same each time.
///
/// # Errors
/// The condition cannot be written down.
pub fn raise(town: &Town, key: &str, summary: &str, fields: &[(&str, &str)]) -> Result<()> {
    if begin(&dir(town), key, summary, fields, Timestamp::now())? {
        wake();
    }
    Ok(())
}

/// Ends a condition; nothing when it has ended already.
///
/// # Errors
/// The condition cannot be written down.
pub fn clear(town: &Town, key: &str, summary: &str) -> Result<()> {
    if end(&dir(town), key, summary, Timestamp::now())? {
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
    let held = all(&dir(town)).into_iter().filter(|(_, a)| a.end.is_none());
    held.map(|(_, alert)| (alert.key, alert.summary)).collect()
}

/// When something is next to be told; `None`: everybody knows everything.
pub fn next_delivery(town: &Town) -> Option<Timestamp> {
    let all = all(&dir(town));
    all.iter().filter_map(|(_, alert)| alert.next).min()
}

/// Has everything told that is to be told; does not wait for it.
pub fn wake() {
    let queued = Systemd::connect().and_then(|systemd| systemd.queue(Verb::Start, DELIVERER));
    if let Err(e) = queued {
        log::debug!("Alerts are told later: {e:#}");
    }
}

/// `gt-heartbeat --alert UNIT`: a unit failed. One that is being restarted has not given up.
///
/// # Errors
/// There is no town or no manager, or the conditions cannot be read or written.
pub fn handle(unit: &str) -> Result<Exit> {
    let town = match Town::load() {
        Ok(town) => town,
        Err(e) => return without_town(&e),
    };
    if unit != DELIVER {
        let systemd = Systemd::connect()?;
        let properties = systemd.properties(unit)?;
        if properties.text("ActiveState").as_deref() == Some("failed") {
            let result = properties.text("Result").unwrap_or_default();
            let status = properties.int("ExecMainStatus").unwrap_or_default();
            let (summary, agent) = match Agent::from_unit(unit) {
                Ok(agent) => (gave_up(&agent, &result, status), agent.to_string()),
                Err(_) => (failed(unit, &result, status), String::new()),
            };
            let status = status.to_string();
            let mut fields = vec![
                ("GT_UNIT", unit),
                ("GT_RESULT", &result),
                ("GT_STATUS", &status),
            ];
            if !agent.is_empty() {
                fields.push(("GT_AGENT", &agent));
            }
            let key = unit_key(unit);
            begin(&dir(&town), &key, &summary, &fields, Timestamp::now())?;
        }
    }
    if is_homeless() {
        let over = format!("The town is at '{}' again", town.root().display());
        end(&homeless()?, NO_TOWN, &over, Timestamp::now())?;
        deliver(&homeless()?, town.root(), None)?;
    }
    deliver(&dir(&town), town.root(), Some(&town))?;
    Ok(Exit::Ok)
}

/// Without a town nobody is looked after, whichever unit it was that failed for it. This one
/// condition is written down in the user's runtime directory.
fn without_town(why: &anyhow::Error) -> Result<Exit> {
    let root = locate()?.root;
    begin(
        &homeless()?,
        NO_TOWN,
        &format!("{why:#}"),
        &[],
        Timestamp::now(),
    )?;
    deliver(&homeless()?, &root, None)?;
    Ok(Exit::Ok)
}

/// Whether somebody is still to be told that there is a town again.
pub fn is_homeless() -> bool {
    homeless().is_ok_and(|dir| !all(&dir).is_empty())
}

fn homeless() -> Result<PathBuf> {
    let dir = runtime_dir().context("No runtime directory; is this a user service?")?;
    Ok(dir.join("gastown/alerts"))
}

fn dir(town: &Town) -> PathBuf {
    town.path(DIR)
}

/// The key of the condition that a unit has failed.
pub fn unit_key(unit: &str) -> String {
    format!("unit-{unit}")
}

/// What is said of an agent that gave up.
pub fn gave_up(agent: &Agent, result: &str, status: i32) -> String {
    let why = match status == i32::from(Exit::BadConfig as u8) {
        true => "its configuration is wrong".to_string(),
        false => format!("{result}, exit status {status}"),
    };
    format!(
        "{agent} gave up ({why}); see 'journalctl --user -u {}', then 'gastownctl recover {agent}'",
        agent.unit()
    )
}

/// What is said of a unit of ours that failed.
pub fn failed(unit: &str, result: &str, status: i32) -> String {
    format!("{unit} failed ({result}, exit status {status}); see 'journalctl --user -u {unit}'")
}

/// Names a file after a key, readably, for any key.
fn path(dir: &Path, key: &str) -> PathBuf {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || "._-@".contains(*c);
    let mut name: String = key.chars().filter(is_plain).take(80).collect();
    for byte in &Sha256::digest(key)[..4] {
        let _ = write!(name, "{byte:02x}");
    }
    dir.join(format!("{name}.json"))
}

fn load(path: &Path) -> Option<Alert> {
    let text = files::read_untrusted(path, files::ENTRY_LIMIT).ok()??;
    // Junk says nothing: a condition that still holds is written down anew.
    serde_json::from_str(&text).ok()
}

fn save(path: &Path, alert: &Alert) -> Result<()> {
    files::write(path, &serde_json::to_vec_pretty(alert)?)
}

fn all(dir: &Path) -> Vec<(PathBuf, Alert)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let is_alert = |path: &PathBuf| path.extension().is_some_and(|e| e == "json");
    let mut all: Vec<_> = paths
        .filter(is_alert)
        .take(MOST)
        .filter_map(|path| Some((load(&path)?, path)))
        .map(|(alert, path)| (path, alert))
        .collect();
    all.sort_by_key(|(_, alert)| alert.since);
    all
}

/// Changes to conditions are short, so whoever comes second waits.
fn lock(dir: &Path) -> Result<File> {
    let failed = || format!("Failed to lock '{}'", dir.display());
    std::fs::create_dir_all(dir).with_context(failed)?;
    let file = File::create(dir.join(".lock")).with_context(failed)?;
    for _ in 0..100 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    Err(anyhow!(
        "Failed to lock '{}': somebody else holds it",
        dir.display()
    ))
}

fn begin(
    dir: &Path,
    key: &str,
    summary: &str,
    fields: &[(&str, &str)],
    now: Timestamp,
) -> Result<bool> {
    let _lock = lock(dir)?;
    let path = path(dir, key);
    let before = load(&path);
    if before.as_ref().is_some_and(|alert| alert.end.is_none()) {
        return Ok(false);
    }
    let alert = Alert {
        key: key.into(),
        summary: summary.into(),
        since: now,
        fields: fields
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect(),
        // An end that somebody has not heard of yet did not happen for them.
        told: before
            .and_then(|alert| alert.end.map(|end| and_not(&alert.told, &end.told)))
            .unwrap_or_default(),
        end: None,
        failures: 0,
        next: Some(now),
    };
    save(&path, &alert)?;
    tell_journal(&alert, journal::ALERT_BEGAN, log::Level::Warn, summary);
    Ok(true)
}

fn and_not(told: &Told, but: &Told) -> Told {
    Told {
        mail: told.mail && !but.mail,
        hook: told.hook && !but.hook,
    }
}

fn end(dir: &Path, key: &str, summary: &str, now: Timestamp) -> Result<bool> {
    let _lock = lock(dir)?;
    let path = path(dir, key);
    let Some(mut alert) = load(&path).filter(|alert| alert.end.is_none()) else {
        return Ok(false);
    };
    alert.end = Some(End {
        summary: summary.into(),
        at: now,
        told: Told::default(),
    });
    (alert.failures, alert.next) = (0, Some(now));
    save(&path, &alert)?;
    tell_journal(&alert, journal::ALERT_ENDED, log::Level::Info, summary);
    Ok(true)
}

fn tell_journal(alert: &Alert, id: &str, level: log::Level, summary: &str) {
    let mut fields = vec![("message_id", id), ("gt_alert", alert.key.as_str())];
    fields.extend(alert.fields.iter().map(|(k, v)| (k.as_str(), v.as_str())));
    log::logger().log(
        &log::Record::builder()
            .level(level)
            .target("gastown::alert")
            .args(format_args!("{summary}"))
            .key_values(&fields.as_slice())
            .build(),
    );
}

/// Tells everybody what they have not heard yet. One at a time: whoever comes second leaves it
/// to the first.
///
/// # Errors
/// The conditions cannot be read or written. What could not be told is told later.
fn deliver(dir: &Path, root: &Path, town: Option<&Town>) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    let turn = File::create(dir.join(".deliver"))?;
    if turn.try_lock().is_err() {
        return Ok(());
    }
    let home = home()?;
    let mut teller = Teller {
        root,
        mails: town.is_some_and(|town| town.ours().alert_mail),
        tools: Tools::locate(&home),
        home,
        mail_fails: false,
        hook_fails: false,
    };
    let begin = Instant::now();
    // Conditions may change meanwhile: look again until nothing is due.
    for _ in 0..MOST {
        let now = Timestamp::now();
        let is_due = |alert: &Alert| alert.next.is_some_and(|next| next <= now);
        let due = all(dir).into_iter().find(|(_, alert)| is_due(alert));
        let Some((path, alert)) = due else { break };
        if begin.elapsed() > DELIVER_LIMIT {
            break;
        }
        let mut told = alert.clone();
        teller.tell(&alert, false, &mut told.told);
        if let Some(end) = &mut told.end {
            // The end is told to whoever heard of the beginning.
            let mut knows = Told {
                mail: end.told.mail || !told.told.mail,
                hook: end.told.hook || !told.told.hook,
            };
            teller.tell(&alert, true, &mut knows);
            end.told.mail = knows.mail && told.told.mail;
            end.told.hook = knows.hook && told.told.hook;
        }
        settle(dir, &path, &alert, told)?;
    }
    Ok(())
}

/// Who tells, and what has not worked this time: that is not tried for every alert.
struct Teller<'a> {
    root: &'a Path,
    mails: bool,
    tools: Tools,
    home: PathBuf,
    mail_fails: bool,
    hook_fails: bool,
}

impl Teller<'_> {
    /// Tells the beginning or the end of a condition to whoever does not know it.
    fn tell(&mut self, alert: &Alert, at_end: bool, knows: &mut Told) {
        if !knows.mail && !self.mail_fails {
            knows.mail = told(alert, self.tell_mayor(alert, at_end));
            self.mail_fails = !knows.mail;
        }
        if !knows.hook && !self.hook_fails {
            knows.hook = told(alert, self.run_hook(alert, at_end));
            self.hook_fails = !knows.hook;
        }
    }

    fn tell_mayor(&self, alert: &Alert, at_end: bool) -> Result<()> {
        // Without `gt` there is no mail: nobody waits for it.
        if self.tools.path("gt").is_none() || !self.mails {
            return Ok(());
        }
        let (subject, body) = text(alert, at_end);
        Ok(mail::send(
            &self.tools,
            self.root,
            "mayor/",
            &subject,
            &body,
        )?)
    }

    fn run_hook(&self, alert: &Alert, at_end: bool) -> Result<()> {
        let program = self.home.join(HOOK);
        let Some(program) = tools::find(&program.to_string_lossy(), &[]) else {
            return Ok(());
        };
        let summary = match &alert.end {
            Some(end) if at_end => &end.summary,
            _ => &alert.summary,
        };
        let mut command = Command::new(&program);
        command
            .current_dir(if self.root.is_dir() {
                self.root
            } else {
                &self.home
            })
            .env_remove("NOTIFY_SOCKET")
            .env("GT_TOWN", self.root)
            .env("GT_ALERT", &alert.key)
            .env("GT_ALERT_STATE", if at_end { "end" } else { "begin" })
            .env("GT_ALERT_SUMMARY", summary)
            .env("GT_ALERT_SINCE", alert.since.to_string());
        for (key, value) in &alert.fields {
            if is_variable(key) && key.starts_with("GT_") {
                command.env(key, value);
            }
        }
        let shown = program.display();
        let out = tools::run(&mut command, HOOK_LIMIT).with_context(|| format!("'{shown}'"))?;
        ensure!(
            out.status.success(),
            "'{shown}' failed: {}",
            out.complaint()
        );
        Ok(())
    }
}

fn told(alert: &Alert, result: Result<()>) -> bool {
    if let Err(e) = &result {
        let key = &alert.key;
        log::warn!("Failed to tell of '{key}', trying again later: {e:#}");
    }
    result.is_ok()
}

/// Writes down what has been told, into the condition as it is by now.
fn settle(dir: &Path, path: &Path, before: &Alert, told: Alert) -> Result<()> {
    let _lock = lock(dir)?;
    let Some(mut current) = load(path).filter(|c| c.since == before.since) else {
        return Ok(());
    };
    let is_same_end = current.end.as_ref().map(|e| e.at) == told.end.as_ref().map(|e| e.at);
    current.told = told.told;
    if let (Some(end), Some(told), true) = (&mut current.end, told.end, is_same_end) {
        end.told = told.told;
    }
    let over = current.end.as_ref().is_some_and(|end| end.told.all());
    if current.told.all() && over {
        files::remove(path)?;
        return Ok(());
    }
    let done = match &current.end {
        Some(end) => end.told.all(),
        None => current.told.all(),
    };
    if done {
        (current.failures, current.next) = (0, None);
    } else if !is_same_end {
        current.next = Some(Timestamp::now());
    } else {
        let pause = SignedDuration::from_mins(1 << current.failures.min(6));
        current.failures = current.failures.saturating_add(1);
        current.next = Some(Timestamp::now() + pause.min(SignedDuration::from_hours(1)));
    }
    save(path, &current)
}

fn text(alert: &Alert, at_end: bool) -> (String, String) {
    let (word, summary) = match &alert.end {
        Some(end) if at_end => ("OVER", end.summary.as_str()),
        _ => ("ALERT", alert.summary.as_str()),
    };
    let subject: String = format!("{word}: {summary}").chars().take(200).collect();
    let mut body = format!(
        "{summary}\n\nCondition: {}\nSince: {}\n",
        alert.key, alert.since
    );
    for (key, value) in &alert.fields {
        let _ = writeln!(body, "{key}: {value}");
    }
    (subject, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn at(minute: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
    }

    #[test]
    fn a_condition_begins_once_and_ends_once() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        assert!(!end(&super::dir(&town), "k", "no", at(0)).unwrap());
        assert!(
            begin(
                &super::dir(&town),
                "k",
                "it broke",
                &[("GT_AGENT", "deacon")],
                at(1)
            )
            .unwrap()
        );
        assert!(!begin(&super::dir(&town), "k", "it broke again", &[], at(2)).unwrap());
        assert_eq!(summaries(&town)["k"], "it broke");
        assert_eq!(next_delivery(&town), Some(at(1)));
        assert!(end(&super::dir(&town), "k", "mended", at(3)).unwrap());
        assert!(!end(&super::dir(&town), "k", "mended", at(4)).unwrap());
        assert!(open(&town).is_empty());
        // It has not been told, so it is still there to be told.
        assert_eq!(next_delivery(&town), Some(at(3)));
    }

    #[test]
    fn what_was_told_is_not_told_again() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let both = Told {
            mail: true,
            hook: true,
        };
        begin(&super::dir(&town), "k", "it broke", &[], at(1)).unwrap();
        let (path, alert) = all(&super::dir(&town)).remove(0);
        let mut half = alert.clone();
        half.told.hook = true;
        settle(&super::dir(&town), &path, &alert, half).unwrap();
        let (_, alert) = all(&super::dir(&town)).remove(0);
        assert!(alert.told.hook && !alert.told.mail && alert.failures == 1);
        assert!(alert.next.is_some_and(|next| next > Timestamp::now()));

        // It ends while somebody is being told of its beginning.
        let mut told = alert.clone();
        told.told = both.clone();
        end(&super::dir(&town), "k", "mended", at(5)).unwrap();
        settle(&super::dir(&town), &path, &alert, told).unwrap();
        let (_, alert) = all(&super::dir(&town)).remove(0);
        assert!(alert.told.all() && alert.next.is_some_and(|next| next <= Timestamp::now()));

        // It begins again before anybody heard of the end: for them it never ended.
        begin(&super::dir(&town), "k", "it broke", &[], at(6)).unwrap();
        let (_, alert) = all(&super::dir(&town)).remove(0);
        assert!(alert.told.all() && alert.end.is_none());
        end(&super::dir(&town), "k", "mended", at(7)).unwrap();
        let (path, alert) = all(&super::dir(&town)).remove(0);
        let mut told = alert.clone();
        told.end.as_mut().unwrap().told = both;
        settle(&super::dir(&town), &path, &alert, told).unwrap();
        assert!(all(&super::dir(&town)).is_empty() && next_delivery(&town).is_none());
    }

    #[test]
    fn odd_keys_and_junk() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        for key in [
            "../../x",
            "",
            &"y".repeat(500),
            "unit-gt-agent@a\\x2db-witness.service",
        ] {
            assert!(
                begin(&super::dir(&town), key, "x", &[], at(1)).unwrap(),
                "{key}"
            );
            assert!(
                !begin(&super::dir(&town), key, "x", &[], at(1)).unwrap(),
                "{key}"
            );
            fs::write(path(&super::dir(&town), key), "junk").unwrap();
            assert!(
                begin(&super::dir(&town), key, "x", &[], at(1)).unwrap(),
                "{key}"
            );
        }
        assert_eq!(open(&town).len(), 4);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

//! Tells the Mayor and a person's own program of what they have not heard yet.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;

use super::condition::{Alert, Told};
use super::store::{MOST, all, settle, trying};
use crate::tools::{self, Tools, mail};
use crate::town::Town;
use crate::town::env_file::{home, is_variable};
use crate::{environment, files};

/// A person's own program, below the home directory.
const HOOK: &str = ".config/gastown/alert";

const HOOK_LIMIT: Duration = Duration::from_secs(10);

/// After this no delivery is begun any more; the unit may run for a minute.
const DELIVER_LIMIT: Duration = Duration::from_secs(25);

/// A way that takes so long to fail is not tried again in the same run.
const SLOW: Duration = Duration::from_secs(3);

/// Delivers what has not been delivered yet. Only one process does so at a time; a second one
/// leaves it to the first.
///
/// # Errors
/// The conditions cannot be read or written. What could not be told is told later.
pub fn deliver(dir: &Path, root: &Path, town: Option<&Town>) -> Result<()> {
    let Some(_turn) = files::lock(&dir.join(".deliver"), Duration::ZERO)? else {
        return Ok(());
    };
    let home = home()?;
    let mut teller = Teller {
        root,
        mails: town.is_some_and(|town| town.ours().alert_mail),
        tools: Tools::locate(&home),
        home,
        mail: Way::default(),
        hook: Way::default(),
    };
    tell_all(dir, &mut teller)
}

fn tell_all(dir: &Path, teller: &mut Teller<'_>) -> Result<()> {
    let begin = Instant::now();
    // Conditions may change meanwhile: look again until nothing is due.
    for _ in 0..MOST {
        let now = Timestamp::now();
        let is_due = |alert: &Alert| alert.due(now).is_some_and(|due| due <= now);
        let due = all(dir).into_iter().find(|(_, alert)| is_due(alert));
        let Some((path, alert)) = due else { break };
        if begin.elapsed() > DELIVER_LIMIT {
            break;
        }
        if !trying(dir, &path, &alert)? {
            continue;
        }
        let mut told = alert.clone();
        teller.mail.begin();
        teller.hook.begin();
        teller.tell(&alert, false, &mut told.told);
        if let Some(end) = &mut told.end {
            // Only those are told of the end who have been told of the beginning.
            let mut knows = Told {
                mail: end.told.mail || !told.told.mail,
                hook: end.told.hook || !told.told.hook,
            };
            teller.tell(&alert, true, &mut knows);
            end.told.mail = knows.mail && told.told.mail;
            end.told.hook = knows.hook && told.told.hook;
        }
        told.failure = teller.failure();
        settle(dir, &path, &alert, told)?;
    }
    Ok(())
}

/// The ways to deliver.
struct Teller<'a> {
    root: &'a Path,
    mails: bool,
    tools: Tools,
    home: PathBuf,
    mail: Way,
    hook: Way,
}

/// How it went with a way to deliver. One that hangs is not tried again for the other alerts of a run;
/// one that fails at once may fail for that alert alone.
#[derive(Debug, Default)]
struct Way {
    failure: Option<String>,
    is_slow: bool,
}

impl Way {
    /// Forgets that it has failed for an earlier alert, unless it hangs.
    fn begin(&mut self) {
        if !self.is_slow {
            self.failure = None;
        }
    }

    /// Tells somebody of an alert, unless the way has failed already; whether it worked.
    fn works(&mut self, alert: &Alert, tell: impl FnOnce() -> Result<()>) -> bool {
        if self.failure.is_some() {
            return false;
        }
        let begin = Instant::now();
        self.failure = failure(alert, tell());
        self.is_slow = self.failure.is_some() && begin.elapsed() > SLOW;
        self.failure.is_none()
    }
}

impl Teller<'_> {
    /// Tells the beginning or the end of a condition to whoever does not know it.
    fn tell(&mut self, alert: &Alert, at_end: bool, knows: &mut Told) {
        let [mut mail, mut hook] = [&mut self.mail, &mut self.hook].map(std::mem::take);
        knows.mail = knows.mail || mail.works(alert, || self.tell_mayor(alert, at_end));
        knows.hook = knows.hook || hook.works(alert, || self.run_hook(alert, at_end));
        (self.mail, self.hook) = (mail, hook);
    }

    /// Why not everybody could be told.
    fn failure(&self) -> Option<String> {
        self.mail.failure.clone().or(self.hook.failure.clone())
    }

    fn tell_mayor(&self, alert: &Alert, at_end: bool) -> Result<()> {
        // Without `gt` there is no mail, so this way counts as done.
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
        if let Some(why) = unfit_hook(&self.home) {
            bail!("{why}");
        }
        let program = self.home.join(HOOK);
        let Some(program) = tools::find(&program.to_string_lossy(), &[]) else {
            return Ok(());
        };
        let summary = match &alert.end {
            Some(end) if at_end => &end.summary,
            _ => &alert.summary,
        };
        let mut command = Command::new(&program);
        environment::drop_foreign(&mut command)
            .current_dir(if self.root.is_dir() {
                self.root
            } else {
                &self.home
            })
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

/// What is wrong with a person's own program, and what to run; `None`: nothing, or there is none.
pub fn unfit_hook(home: &Path) -> Option<String> {
    let program = home.join(HOOK);
    let is_there = program.symlink_metadata().is_ok();
    let is_fit = tools::find(&program.to_string_lossy(), &[]).is_some();
    let shown = program.display();
    (is_there && !is_fit).then(|| {
        format!(
            "'{shown}' cannot be executed, so it tells nobody of alerts; run 'chmod +x {shown}'"
        )
    })
}

fn failure(alert: &Alert, result: Result<()>) -> Option<String> {
    let why = format!("{:#}", result.err()?);
    log::warn!("Failed to tell of '{}': {why}", alert.key);
    Some(why)
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
    use std::fs;

    use super::super::store::begin;
    use super::*;
    use crate::tools::script;

    #[test]
    fn a_program_that_fails_for_one_alert_is_run_for_the_others() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("alerts");
        fs::create_dir_all(home.path().join(".config/gastown")).unwrap();
        let heard = home.path().join("heard");
        let text = format!(
            "#!/bin/sh\necho $GT_ALERT >>'{}'\n[ $GT_ALERT != a ]\n",
            heard.display()
        );
        script(&home.path().join(HOOK), &text);
        let mut teller = Teller {
            root: home.path(),
            mails: false,
            tools: Tools::locate(home.path()),
            home: home.path().to_path_buf(),
            mail: Way::default(),
            hook: Way::default(),
        };
        for (second, key) in ["a", "b"].into_iter().enumerate() {
            let at = Timestamp::from_second(second as i64).unwrap();
            begin(&dir, key, "it broke", &[], at).unwrap();
        }
        tell_all(&dir, &mut teller).unwrap();
        assert_eq!(fs::read_to_string(&heard).unwrap(), "a\nb\n");
        let told: Vec<_> = all(&dir)
            .into_iter()
            .map(|(_, alert)| (alert.key.clone(), alert.told.all(), alert.failure.is_some()))
            .collect();
        assert_eq!(told, [("a".into(), false, true), ("b".into(), true, false)]);
    }

    #[test]
    fn a_way_that_hangs_is_tried_once_in_a_run() {
        let mut way = Way {
            failure: Some("no answer".into()),
            is_slow: true,
        };
        way.begin();
        assert!(way.failure.is_some());
        way.is_slow = false;
        way.begin();
        assert!(way.failure.is_none());
    }
}

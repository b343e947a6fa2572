//! The town that a program means, and the town that the units run for. A user has one set of units.
//! So a program that changes something must not mean another town than the units: it would start or
//! stop the agents of one town and speak of another. The town that `town.env` names is that of
//! every program. A shell may still mean another one, since the shell integration of `gt` sets
//! `GT_TOWN_ROOT`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::files;
use crate::printable;
use crate::said::town_of;
use crate::systemd::Systemd;
use crate::town::env_file::{FILE, ROOT, locate, locate_with, overruled};

/// Restarts all units, so that they run for the town that `town.env` names now.
pub const RESTART: &str =
    "systemctl --user daemon-reload && systemctl --user restart gastown.target";

/// The town of the units, when it is not the town that is meant.
#[derive(Debug, PartialEq, Eq)]
pub enum Other {
    /// The units run for this town; only the environment of this process names the one that is
    /// meant.
    Shell(PathBuf),
    /// Likewise, but no agent runs: the units would run for this town.
    Would(PathBuf),
    /// The units still run for this town; once restarted they would run for the one that is meant.
    Running(PathBuf),
}

/// A root fit to be shown.
pub fn shown(root: &Path) -> String {
    printable::lines(&root.display().to_string())
}

/// Refuses to do a job by hand from a shell that means another town than `town.env` or the units.
/// If that cannot be found out, nothing is refused.
///
/// # Errors
/// The shell means another town; the error names both, and what to do.
pub fn check(systemd: &Systemd, program: &str) -> Result<()> {
    if let Some((what, used)) = by_file() {
        bail!("{what}; {}", choice(&used, program));
    }
    let (Ok(meant), Some(theirs)) = (locate(), theirs(systemd)) else {
        return Ok(());
    };
    if !files::is_same(&theirs, &meant.root) {
        bail!(only_shell(&theirs, &meant.root, program));
    }
    Ok(())
}

/// The message when `town.env` names another town than the environment, and the town of the file.
pub fn by_file() -> Option<(String, PathBuf)> {
    let (named, used) = overruled()?;
    let what = format!(
        "'~/{FILE}' names town '{}', but {ROOT} is '{}' here",
        shown(&used),
        shown(&named)
    );
    Some((what, used))
}

/// Says which town a program shows, when `town.env` names another one than the environment.
pub fn warn() {
    if let Some((what, _)) = by_file() {
        log::warn!("{what}; this is about the former");
    }
}

/// The message when the units are for `theirs`, and only this shell means another town.
pub fn only_shell(theirs: &Path, meant: &Path, program: &str) -> String {
    format!(
        "The units of this user are for town '{}', but {ROOT} is '{}' here; {}",
        shown(theirs),
        shown(meant),
        choice(theirs, program)
    )
}

/// The message when the units still run for `theirs`, though `town.env` names the town that is
/// meant.
pub fn running(theirs: &Path, meant: &Path) -> String {
    format!(
        "The agents still run for town '{}', not for '{}'",
        shown(theirs),
        shown(meant)
    )
}

/// The message of [`running`], with what to do about it.
pub fn still(theirs: &Path, meant: &Path) -> String {
    let what = running(theirs, meant);
    format!("{what}; run '{RESTART}' to have them run for the latter")
}

/// What to type for the town of the units, or of `town.env`, and what for the one that only this
/// shell names.
pub fn choice(root: &Path, program: &str) -> String {
    let root = root.display().to_string();
    let quoted = shlex::try_quote(&root).unwrap_or_default();
    format!(
        "run '{ROOT}={} {program}' for the former; for the latter, set {ROOT} in '~/{FILE}' and run \
         '{RESTART}'",
        printable::lines(&quoted)
    )
}

/// Whether only this shell means the town at `meant`: the units would run for another one.
pub fn only_here(systemd: &Systemd, meant: &Path) -> bool {
    theirs(systemd).is_some_and(|theirs| !files::is_same(&theirs, meant))
}

/// The town that is meant, and that of the units; `None`: they are the same, or that is not known.
pub fn find() -> Option<(PathBuf, Other)> {
    let meant = locate().ok()?.root;
    let systemd = Systemd::connect().ok()?;
    let theirs = theirs(&systemd)?;
    let units = systemd.units(&[crate::agent::UNITS]).ok()?;
    let up = units.values().filter(|unit| !unit.is_down());
    let up: Vec<&str> = up.map(|unit| unit.name.as_str()).collect();
    let said = systemd.read(&up, &["StatusText"]).ok()?;
    let said = said.values().filter_map(|unit| unit.text("StatusText"));
    let running = said.filter_map(|said| town_of(&said).map(PathBuf::from));
    let other = other(&meant, &theirs, &running.collect())?;
    Some((meant, other))
}

/// The town that the units would use: the one that they and the generator find by the manager's
/// environment.
fn theirs(systemd: &Systemd) -> Option<PathBuf> {
    let environment = systemd.environment().ok()?;
    let theirs = locate_with(|key| {
        let values = environment.iter().filter_map(|pair| pair.split_once('='));
        let mut values = values.filter(|(name, _)| *name == key);
        values.next().map(|(_, value)| value.to_string())
    });
    Some(theirs.ok()?.root)
}

/// The town of the units, if it is not `meant`: one that agents are `running` for, else `theirs`,
/// which the units would use.
fn other(meant: &Path, theirs: &Path, running: &BTreeSet<PathBuf>) -> Option<Other> {
    let is_meant = |root: &Path| files::is_same(root, meant);
    if running.iter().any(|root| is_meant(root)) {
        return None;
    }
    match (running.first(), is_meant(theirs)) {
        (None, true) => None,
        (Some(root), true) => Some(Other::Running(root.clone())),
        (Some(root), false) => Some(Other::Shell(root.clone())),
        (None, false) => Some(Other::Would(theirs.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_counts_before_what_would() {
        let shell = |root: &str| Some(Other::Shell(root.into()));
        for (meant, theirs, running, want) in [
            ("/a", "/a", &[][..], None),
            ("/a", "/a", &["/a"], None),
            // Only this shell means it.
            ("/b", "/a", &[], Some(Other::Would("/a".into()))),
            ("/b", "/a", &["/a"], shell("/a")),
            ("/b", "/c", &["/a"], shell("/a")),
            // town.env was changed, and nothing was restarted.
            ("/b", "/b", &["/a"], Some(Other::Running("/a".into()))),
            // Agents of both: neither is refused what mends it.
            ("/b", "/b", &["/a", "/b"], None),
            ("/b", "/a", &["/b"], None),
        ] {
            let running = running.iter().map(PathBuf::from).collect();
            let got = other(Path::new(meant), Path::new(theirs), &running);
            assert_eq!(got, want, "{meant} {theirs} {running:?}");
        }
    }

    #[test]
    fn a_link_to_the_town_is_the_town() {
        let dir = tempfile::tempdir().unwrap();
        let (town, link) = (dir.path().join("gt"), dir.path().join("link"));
        std::fs::create_dir(&town).unwrap();
        std::os::unix::fs::symlink(&town, &link).unwrap();
        assert_eq!(other(&link, &town, &BTreeSet::new()), None);
        assert_eq!(other(&link, Path::new("/x"), &[town].into()), None);
    }
}

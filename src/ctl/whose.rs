//! For which town the user's units run. A user has one set of units, so a command that changes
//! something must not mean another town than they do: it would stop or start the agents of this one
//! and speak of that one. The integration of `gt` into shells sets `GT_TOWN_ROOT` in many of them.
//! Where `town.env` names a town it is that of every program; the shell may mean another one still.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::cli::Command;
use super::status::RESTART;
use super::words::printable;
use crate::files;
use crate::session::run::town_of;
use crate::systemd::Systemd;
use crate::town::env_file::{FILE, ROOT, locate, locate_with, overruled};

/// What the units run for where that is not the town that is meant.
#[derive(Debug, PartialEq, Eq)]
enum Other {
    /// Only the environment of this process names the town that is meant.
    Shell(PathBuf),
    /// Likewise, and no agent runs: this is what they would run for.
    Would(PathBuf),
    /// The units would use the town that is meant too, but still run for this one.
    Running(PathBuf),
}

/// Refuses a command that changes something, where the town that is meant is not that of `town.env`
/// or of the units. One that only shows says which of the two it shows.
/// What cannot be found out refuses nothing: an emergency stop is needed most when things are broken.
/// `town.env` may have been changed on purpose, so a stop of everything is let through then.
///
/// # Errors
/// `town.env` names another town, or the units run for one; the error names both, and what to do.
pub fn check(command: &Command) -> Result<()> {
    if !is_silent(command)
        && let Some((named, used)) = overruled()
    {
        let what = format!(
            "'~/{FILE}' names town '{}', but {ROOT} is '{}' here",
            shown(&used),
            shown(&named)
        );
        if changes(command) || writes(command) {
            bail!("{what}; {}", choice(&used));
        }
        log::warn!("{what}; this is about the former");
    }
    // An emergency stop waits for no manager where nothing names another town.
    let is_urgent = matches!(command, Command::Estop(_)) && std::env::var_os(ROOT).is_none();
    if is_urgent || !changes(command) {
        return Ok(());
    }
    let Some((meant, other)) = find() else {
        return Ok(());
    };
    let meant = shown(&meant);
    match other {
        // Marks and requests of a town that lies still are its own.
        Other::Would(_) if !starts(command) => Ok(()),
        Other::Shell(root) | Other::Would(root) => bail!(
            "The units of this user are for town '{}', but {ROOT} is '{meant}' here; {}",
            shown(&root),
            choice(&root)
        ),
        Other::Running(root) => {
            let what = format!(
                "The agents still run for town '{}', not for '{meant}'",
                shown(&root)
            );
            if let Command::Down(_) | Command::Estop(_) = command {
                log::warn!("{what}; it is them that are stopped");
                return Ok(());
            }
            bail!("{what}; run '{RESTART}' to have them run for the latter")
        }
    }
}

fn shown(root: &Path) -> String {
    printable(&root.display().to_string())
}

/// What to type for the town of the units, or of `town.env`, and what for the one that only this
/// shell names.
pub fn choice(root: &Path) -> String {
    let root = root.display().to_string();
    let quoted = shlex::try_quote(&root).unwrap_or_default();
    format!(
        "run '{ROOT}={} gastownctl ...' for the former; for the latter, set {ROOT} in '~/{FILE}' and \
         run '{RESTART}'",
        printable(&quoted)
    )
}

/// Whether only this shell means the town at `meant`: the units would run for another one.
pub fn only_here(systemd: &Systemd, meant: &Path) -> bool {
    theirs(systemd).is_some_and(|theirs| !files::is_same(&theirs, meant))
}

/// Whether a command has nobody to read what it says, or is about no town.
fn is_silent(command: &Command) -> bool {
    use Command::{Hooks, Names, Report};
    matches!(command, Report(_) | Names(_) | Hooks(_))
}

/// Whether a command that is no matter of the units writes to the town.
fn writes(command: &Command) -> bool {
    match command {
        Command::Doctor(args) => args.fix,
        Command::Heartbeat(_) | Command::Ready(_) | Command::Dismiss(_) => true,
        _ => false,
    }
}

/// Whether a command changes something that the units are concerned with. Those that agents run
/// to tell of themselves, and `dismiss`, touch only files of the town that is meant.
fn changes(command: &Command) -> bool {
    use Command::{
        Cycle, Down, Estop, Park, Pause, Recover, Request, Restart, Resume, Start, Stop, Thaw,
        Tick, Unpark, Up,
    };
    matches!(
        command,
        Up(_)
            | Down(_)
            | Start(_)
            | Stop(_)
            | Restart(_)
            | Cycle(_)
            | Recover(_)
            | Park(_)
            | Unpark(_)
            | Estop(_)
            | Thaw(_)
            | Pause(_)
            | Resume(_)
            | Tick(_)
            | Request(_)
    )
}

/// Whether a command starts units.
fn starts(command: &Command) -> bool {
    use Command::{Cycle, Recover, Restart, Start, Tick, Up};
    matches!(
        command,
        Up(_) | Start(_) | Restart(_) | Cycle(_) | Recover(_) | Tick(_)
    )
}

/// The town that is meant, and what the units run for if that is another one. `None`: the same, or
/// not known.
fn find() -> Option<(PathBuf, Other)> {
    let meant = locate().ok()?.root;
    let systemd = Systemd::connect().ok()?;
    let theirs = theirs(&systemd)?;
    let units = systemd.units(&["gt-agent@*.service"]).ok()?;
    let up = units.values().filter(|unit| !unit.is_down());
    let up: Vec<&str> = up.map(|unit| unit.name.as_str()).collect();
    let said = systemd.read(&up, &["StatusText"]).ok()?;
    let said = said.values().filter_map(|unit| unit.text("StatusText"));
    let running = said.filter_map(|said| town_of(&said).map(PathBuf::from));
    let other = other(&meant, &theirs, &running.collect())?;
    Some((meant, other))
}

/// The town that the units would use: what the generator and they see in the manager's environment.
fn theirs(systemd: &Systemd) -> Option<PathBuf> {
    let environment = systemd.environment().ok()?;
    let theirs = locate_with(|key| {
        let values = environment.iter().filter_map(|pair| pair.split_once('='));
        let mut values = values.filter(|(name, _)| *name == key);
        values.next().map(|(_, value)| value.to_string())
    });
    Some(theirs.ok()?.root)
}

/// What the units are for, if that is not `meant`: what they `run` for, and where none runs `theirs`,
/// which they would use.
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
    use clap::Parser;

    use super::*;
    use crate::ctl::cli::Cli;

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
    fn what_a_shell_that_names_another_town_is_refused() {
        let is_refused = |line: &str| {
            let words = ["gastownctl"].into_iter().chain(line.split(' '));
            let command = Cli::try_parse_from(words).unwrap().command;
            assert!(!(is_silent(&command) && changes(&command)), "{line}");
            changes(&command) || writes(&command)
        };
        for line in [
            "up",
            "down",
            "start deacon",
            "stop deacon",
            "restart --all",
            "cycle --all",
            "recover",
            "park r",
            "unpark r",
            "estop",
            "thaw",
            "pause",
            "resume",
            "tick",
            "request cycle",
            "heartbeat",
            "ready",
            "dismiss",
            "doctor --fix",
        ] {
            assert!(is_refused(line), "{line}");
        }
        for line in [
            "status",
            "doctor",
            "plan",
            "logs",
            "history",
            "screen deacon",
            "report free",
        ] {
            assert!(!is_refused(line), "{line}");
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

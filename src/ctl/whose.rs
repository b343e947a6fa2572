//! Which commands are refused where this shell means another town than the units run for: see
//! [`crate::meant`].

use anyhow::{Result, bail};

use super::cli::Command;
use crate::meant::{self, Other};
use crate::town::env_file::ROOT;

/// How a command is named in what is said of all of them.
pub const ANY: &str = "gastownctl ...";

/// Refuses a command that changes something, where the town that is meant is not that of `town.env`
/// or of the units. One that only shows says which of the two it shows.
/// What cannot be found out refuses nothing: an emergency stop is needed most when things are broken.
/// `town.env` may have been changed on purpose, so a stop of everything is let through then.
///
/// # Errors
/// `town.env` names another town, or the units run for one; the error names both, and what to do.
pub fn check(command: &Command) -> Result<()> {
    if changes(command) || writes(command) {
        if let Some((what, used)) = meant::by_file() {
            bail!("{what}; {}", meant::choice(&used, ANY));
        }
    } else if !is_silent(command) {
        meant::warn();
    }
    // An emergency stop waits for no manager where nothing names another town.
    let is_urgent = matches!(command, Command::Estop(_)) && std::env::var_os(ROOT).is_none();
    if is_urgent || !changes(command) {
        return Ok(());
    }
    let Some((meant, other)) = meant::find() else {
        return Ok(());
    };
    match other {
        // Marks and requests of a town that lies still are its own.
        Other::Would(_) if !starts(command) => Ok(()),
        Other::Shell(root) | Other::Would(root) => bail!(meant::only_shell(&root, &meant, ANY)),
        Other::Running(root) => {
            if let Command::Down(_) | Command::Estop(_) = command {
                let what = meant::running(&root, &meant);
                log::warn!("{what}; it is them that are stopped");
                return Ok(());
            }
            bail!(meant::still(&root, &meant))
        }
    }
}

/// Whether a command has nobody to read what it says, or is about no town; `plan` becomes a program
/// that says it.
fn is_silent(command: &Command) -> bool {
    use Command::{Hooks, Names, Plan, Report};
    matches!(command, Report(_) | Names(_) | Hooks(_) | Plan(_))
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::ctl::cli::Cli;

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
}

//! Refuses commands when this shell means another town than the units run for, see
//! [`crate::meant`].

use anyhow::{Result, bail};

use super::cli::Command;
use crate::meant::{self, Other};
use crate::town::env_file::ROOT;

/// The name of the command in a message about all commands.
pub const ANY: &str = "gastownctl ...";

/// Refuses a command that changes something when the town that is meant is not that of `town.env`
/// or of the units. A command that only shows something says which of the two towns it shows. If
/// the towns cannot be found out, nothing is refused: an emergency stop is needed most when things
/// are broken. `town.env` may have been changed on purpose, so a stop of everything is let through
/// then.
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
    if let Command::Screen(_) = command
        && let Some((meant, Other::Shell(root) | Other::Running(root))) = meant::find()
    {
        log::warn!("{}; this is one of theirs", meant::running(&root, &meant));
    }
    // When nothing names another town, an emergency stop does not wait for the manager.
    let is_urgent = matches!(command, Command::Estop(_)) && std::env::var_os(ROOT).is_none();
    if is_urgent || !changes(command) {
        return Ok(());
    }
    let Some((meant, other)) = meant::find() else {
        return Ok(());
    };
    match other {
        // A town that is down may get marks and requests: they touch no other.
        Other::Would(_) if !starts(command) => Ok(()),
        Other::Shell(root) | Other::Would(root) => bail!(meant::only_shell(&root, &meant, ANY)),
        Other::Running(root) => match command {
            Command::Down(_) | Command::Estop(_) => {
                let what = meant::running(&root, &meant);
                log::warn!("{what}; it is them that are stopped");
                Ok(())
            }
            // What an emergency stop there has frozen: a restart of all would lose what they know.
            Command::Thaw(_) => {
                let what = meant::running(&root, &meant);
                log::warn!("{what}; it is them that are thawed");
                Ok(())
            }
            Command::Attach(_) => Ok(()),
            _ => bail!(meant::still(&root, &meant)),
        },
    }
}

/// Whether a command does not say which town it shows: nobody reads it, or it is about no town, or
/// (`plan`) the program that it becomes says so.
fn is_silent(command: &Command) -> bool {
    use Command::{Hooks, Names, Plan, Report};
    matches!(command, Report(_) | Names(_) | Hooks(_) | Plan(_))
}

/// Whether a command writes to the town but has nothing to do with the units.
fn writes(command: &Command) -> bool {
    match command {
        Command::Doctor(args) => args.fix,
        Command::Heartbeat(_) | Command::Ready(_) | Command::Dismiss(_) => true,
        _ => false,
    }
}

/// Whether a command changes something that concerns the units, as does what is typed into the
/// terminal of an agent of theirs. `dismiss`, and the commands by which agents report themselves,
/// touch only files of the town that is meant.
fn changes(command: &Command) -> bool {
    use Command::{
        Attach, Cycle, Down, Estop, Park, Pause, Recover, Request, Restart, Resume, Start, Stop,
        Thaw, Tick, Unpark, Up,
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
            | Attach(_)
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
            "attach deacon",
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

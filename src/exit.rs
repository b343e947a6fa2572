//! Exit statuses, the same for every program.

use std::fmt;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// What a program tells its caller, by number. The numbers beyond 3 are those of sysexits.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was done.
    Ok = 0,
    /// Something failed; the message says what.
    Failure = 1,
    /// The command line was wrong (clap exits with this one itself).
    Usage = 2,
    /// `gastownctl status --check`: the town is stopped. The number is that of `systemctl status`.
    Stopped = 3,
    /// There is no user manager to talk to.
    NoManager = 69,
    /// Not now; the same call may work later.
    TryAgain = 75,
    /// A configuration file is wrong; a restart cannot help.
    BadConfig = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An [`Exit`] can mark an error with its exit status: [`of`] finds the one of
/// `error.context(Exit::BadConfig)`.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exit::Ok => "Done",
            Exit::Failure => "Failed",
            Exit::Usage => "Wrong command line",
            Exit::Stopped => "Stopped",
            Exit::NoManager => "The user manager cannot be reached",
            Exit::TryAgain => "Not now, try again",
            Exit::BadConfig => "Bad configuration",
        })
    }
}

/// The exit status that an error asks for, [`Exit::Failure`] when it does not say.
pub fn of(error: &anyhow::Error) -> Exit {
    error
        .downcast_ref::<Exit>()
        .copied()
        .unwrap_or(Exit::Failure)
}

/// Reads the command line; `Err` is the exit status if the program is to end at once: after help or
/// version, even if these cannot be written, or after a complaint.
///
/// # Errors
/// There is nothing to run.
pub fn parse<T: clap::Parser>() -> Result<T, ExitCode> {
    T::try_parse().map_err(|said| {
        let printed = said.print().and_then(|()| std::io::stdout().flush());
        if said.use_stderr() {
            return Exit::Usage.into();
        }
        report(match printed {
            Err(e) if e.kind() != ErrorKind::BrokenPipe => {
                Err(anyhow::anyhow!("Failed to write the output: {e}"))
            }
            _ => Ok(Exit::Ok),
        })
    })
}

/// Ends a program: reports the error once, on one line, and gives the status for `main`.
pub fn report(result: anyhow::Result<Exit>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            log::error!("{error:#}");
            of(&error).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_survives_more_context() {
        let error = anyhow::anyhow!("no such key")
            .context(Exit::BadConfig)
            .context("Failed to read 'x'");
        assert_eq!(of(&error), Exit::BadConfig);
        assert_eq!(of(&anyhow::anyhow!("other")), Exit::Failure);
    }
}

//! `gastownctl logs`: the journal of an agent or of the town, whatever the journal's set-up.

use anyhow::{Result, bail};

use super::output::{become_program, print_of};
use super::{cli, directory, events, journalctl};
use crate::exit::Exit;

/// How many lines are shown by default.
const LINES: u32 = 100;

/// Shows what journalctl says.
///
/// # Errors
/// The agent is not known, the time cannot be understood, or this user may read no journal.
pub fn run(args: &cli::Logs) -> Result<Exit> {
    let agent = directory::named(args.agent.as_deref())?;
    let since = args.since.as_deref().map(events::moment).transpose()?;
    if let Some(why) = journalctl::unreadable() {
        bail!("{why}");
    }
    let mut command = journalctl::command();
    if args.follow {
        command.arg("--follow");
    }
    if args.explain {
        command.arg("--catalog");
    }
    let lines = args.lines.or(since.is_none().then_some(LINES));
    if let Some(lines) = lines {
        command.arg(format!("--lines={lines}"));
    }
    if let Some(since) = since {
        command.arg(format!("--since=@{}", since.as_second()));
    }
    command.args(journalctl::matches(agent.as_ref()));
    // To follow, become journalctl itself, which ends at once when its reader is gone.
    if args.follow {
        return become_program(command);
    }
    print_of(command)
}

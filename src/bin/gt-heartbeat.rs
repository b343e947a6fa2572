//! gt-heartbeat: one tick. Run by timers, and by gt-heartbeat-look.service when files change.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use gastown::exit::{self, Exit};
use gastown::{alert, heartbeat, meant};

#[derive(Parser)]
#[command(
    version,
    about = "Keep the agents of a Gas Town as they are to be: one tick"
)]
#[command(after_help = "Timers call this program; people use gastownctl(1).")]
struct Cli {
    /// Print what a tick would do and why, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print it as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// Tick only if watched files differ from those of the last tick (gt-heartbeat-look.service)
    #[arg(long, conflicts_with = "dry_run")]
    look: bool,
    /// Tell of a failed unit, and of all that is still to be told (gt-alert@.service)
    #[arg(long, value_name = "UNIT", conflicts_with = "dry_run")]
    alert: Option<String>,
}

fn main() -> ExitCode {
    gastown::journal::init("gt-heartbeat");
    exit::report(run(&Cli::parse()))
}

fn run(cli: &Cli) -> Result<Exit> {
    if let Some(unit) = &cli.alert {
        return alert::handle(unit);
    }
    if cli.look {
        return heartbeat::changes::look();
    }
    if !cli.dry_run {
        return heartbeat::tick();
    }
    meant::warn();
    let plan = heartbeat::plan()?;
    let text = match cli.json {
        true => serde_json::to_string_pretty(&plan)? + "\n",
        false => plan.to_string(),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, has read enough.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => {}
        result => result.context("Failed to print the plan")?,
    }
    Ok(Exit::Ok)
}

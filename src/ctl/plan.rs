//! `gastownctl plan`: what the next tick would do.

use std::process::Command;

use anyhow::Result;

use super::cli;
use super::output::become_program;
use crate::exit::Exit;
use crate::systemd::Systemd;

/// Becomes `gt-heartbeat --dry-run`, the one installed beside this program.
///
/// # Errors
/// There is no user manager, or it cannot be run.
pub fn run(args: &cli::Plan) -> Result<Exit> {
    if !Systemd::connect()?.town_is_up()? {
        log::warn!("The town is stopped, so no tick comes before 'gastownctl up'");
    }
    let beside = std::env::current_exe()
        .ok()
        .map(|path| path.with_file_name("gt-heartbeat"))
        .filter(|path| path.exists());
    let mut command = Command::new(beside.unwrap_or_else(|| "/usr/bin/gt-heartbeat".into()));
    command.arg("--dry-run");
    if args.json {
        command.arg("--json");
    }
    become_program(command)
}

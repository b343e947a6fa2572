//! `gastownctl plan`: what the next tick would do.

use std::process::Command;

use anyhow::Result;

use super::become_program;
use crate::exit::Exit;

/// Becomes `gt-heartbeat --dry-run`, the one installed beside this program.
///
/// # Errors
/// It cannot be run.
pub fn run() -> Result<Exit> {
    let beside = std::env::current_exe()
        .ok()
        .map(|path| path.with_file_name("gt-heartbeat"))
        .filter(|path| path.exists());
    let mut command = Command::new(beside.unwrap_or_else(|| "/usr/bin/gt-heartbeat".into()));
    command.arg("--dry-run");
    become_program(command)
}

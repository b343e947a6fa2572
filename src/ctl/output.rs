//! What commands print, and the programs that print for them.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Result, anyhow};

use crate::exit::Exit;

/// Writes to standard output. It is no error if the reader, such as `head`, has closed it.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(text: &str) -> Result<()> {
    show(text).map(drop)
}

/// As [`print`]; tells whether the reader is still there.
pub fn show(text: &str) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    is_read(written)
}

/// Whether the reader is still there; it is no error if it has gone.
fn is_read<T>(written: std::io::Result<T>) -> Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(anyhow!("Failed to write the output: {e}")),
    }
}

/// A line about what was done, or would be.
pub fn say(line: &str) -> Result<()> {
    print(&format!("{line}\n"))
}

/// Becomes another program; returns only if that fails.
pub fn become_program(mut command: Command) -> Result<Exit> {
    let e = command.exec();
    Err(not_run(&command, &e))
}

fn not_run(command: &Command, e: &std::io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy();
    anyhow!("Failed to run '{program}': {e}")
}

/// Passes on the output of another program for as long as somebody reads it, and fails when it
/// cannot be written, which many programs do not. On a terminal, becomes the program.
pub fn print_of(mut command: Command) -> Result<Exit> {
    if std::io::stdout().is_terminal() {
        return become_program(command);
    }
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|e| not_run(&command, &e))?;
    let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    let said = child.stdout.take();
    let written = said.map_or(Ok(0), |mut said| std::io::copy(&mut said, &mut out));
    let read = is_read(written);
    if !matches!(read, Ok(true)) {
        child.kill()?;
    }
    let ended = child.wait()?;
    match read? {
        true if !ended.success() => Ok(Exit::Failure),
        _ => Ok(Exit::Ok),
    }
}

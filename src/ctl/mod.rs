//! `gastownctl`: what a person types. One file per command, or per pair that undo each other.
//!
//! - [`cli`]: the command line.
//! - [`status`], [`table`], [`depth`]: the town at a glance, and one agent in depth.
//! - [`paint`], [`words`]: colours, widths, spans and sizes for people.
//! - [`doctor`]: whether machine, units and town are fit for each other.
//! - [`town`]: up and down; [`agents`]: start, stop, restart, recover.
//! - [`dismiss`]: what was refused, and that somebody has seen to it.
//! - [`rigs`]: park and unpark; [`emergency`]: estop and thaw; [`pause`]: pause and resume.
//! - [`request`], [`ready`], [`heartbeat`]: what agents say; people may say it for them.
//! - [`plan`], [`attach`], [`logs`], [`names`]: what their names say.
//! - [`events`]: what happened, from the journal; [`history`] and [`timeline`] show it.
//! - [`directory`]: which agents there are, and whom a person means.

pub mod agents;
pub mod attach;
pub mod cli;
pub mod depth;
pub mod directory;
pub mod dismiss;
pub mod doctor;
pub mod emergency;
pub mod events;
pub mod heartbeat;
pub mod history;
pub mod logs;
pub mod names;
pub mod paint;
pub mod pause;
pub mod plan;
pub mod ready;
pub mod request;
pub mod rigs;
pub mod status;
pub mod table;
pub mod timeline;
pub mod town;
pub mod words;

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command as Process, Stdio};

use anyhow::{Result, anyhow};
use jiff::Timestamp;

use crate::exit::Exit;
use crate::systemd::{Systemd, Verb};
use cli::{Cli, Command};

/// Does what the command line says.
///
/// # Errors
/// It cannot be done; the error names the thing and the next step.
pub fn run(cli: &Cli) -> Result<Exit> {
    match &cli.command {
        Command::Status(args) => status::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Up(args) => town::up(*args),
        Command::Down(args) => town::down(*args),
        Command::Start(args) => agents::start(args),
        Command::Stop(args) => agents::stop(args),
        Command::Restart(args) => agents::restart(args),
        Command::Recover(args) => agents::recover(args),
        Command::Dismiss(args) => dismiss::run(args),
        Command::Park(args) => rigs::park(args),
        Command::Unpark(args) => rigs::unpark(args),
        Command::Estop(args) => emergency::estop(args),
        Command::Thaw(args) => emergency::thaw(*args),
        Command::Pause(args) => pause::pause(args),
        Command::Resume(args) => pause::resume(*args),
        Command::Request(args) => request::run(args),
        Command::Ready(args) => ready::run(args),
        Command::Heartbeat(args) => heartbeat::run(args),
        Command::Attach(args) => attach::run(args),
        Command::Logs(args) => logs::run(args),
        Command::History(args) => history::run(args),
        Command::Timeline(args) => timeline::run(args),
        Command::Names(args) => names::run(args),
    }
}

/// Writes to standard output; a reader that has had enough, such as `head`, is no error.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(text: &str) -> Result<()> {
    show(text).map(drop)
}

/// As [`print`]; tells whether there is still somebody who reads.
fn show(text: &str) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    is_read(written)
}

/// Whether what was written is read; a reader that has had enough is no error.
fn is_read<T>(written: std::io::Result<T>) -> Result<bool> {
    match written {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(anyhow!("Failed to write the output: {e}")),
    }
}

/// A line about what was done, or would be.
fn say(line: &str) -> Result<()> {
    print(&format!("{line}\n"))
}

/// The time for marks that people read: whole seconds.
fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now)
}

/// Becomes another program; comes back only when that fails.
fn become_program(mut command: Process) -> Result<Exit> {
    let e = command.exec();
    Err(not_run(&command, &e))
}

fn not_run(command: &Process, e: &std::io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy();
    anyhow!("Failed to run '{program}': {e}")
}

/// Has another program print what it has to say for as long as somebody reads it; unlike many
/// a program, tells when it cannot be written. On a terminal, becomes the program.
fn print_of(mut command: Process) -> Result<Exit> {
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

/// Does something for each item, all of them even when one fails; the last failure is the
/// result, those before it are reported at once.
fn each<T>(items: &[T], mut act: impl FnMut(&T) -> Result<()>) -> Result<Exit> {
    let mut failed: Option<anyhow::Error> = None;
    for item in items {
        if let Err(e) = act(item)
            && let Some(before) = failed.replace(e)
        {
            log::error!("{before:#}");
        }
    }
    failed.map_or(Ok(Exit::Ok), Err)
}

/// Has a tick look at what was just changed, if there is a manager and the town is up.
fn tick() {
    if let Ok(systemd) = Systemd::connect()
        && matches!(systemd.town_is_stopped(), Ok(false))
        && let Err(e) = systemd.queue(Verb::Start, "gt-heartbeat.service")
    {
        log::warn!("{e:#}, the next planned tick will see the change");
    }
}

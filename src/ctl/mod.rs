//! `gastownctl`: what a person types. One file per command, or per pair that undo each other.
//!
//! - [`cli`]: the command line.
//! - [`status`]: the town at a glance, and one agent in depth.
//! - [`paint`], [`words`], [`output`]: colours and widths, spans and sizes, and who prints.
//! - [`doctor`]: whether machine, units and town are fit for each other.
//! - [`town`]: up and down; [`agents`]: start, stop, restart, cycle, recover.
//! - [`dismiss`]: what was refused, and that somebody has seen to it.
//! - [`rigs`]: park and unpark; [`emergency`]: estop and thaw; [`pause`]: pause and resume.
//! - [`request`], [`ready`], [`heartbeat`]: what agents say; people may say it for them.
//! - [`plan`], [`tick`], [`attach`], [`screen`], [`logs`], [`names`]: the commands of these names.
//! - [`events`]: what happened, from the journal; [`history`] and [`timeline`] show it.
//! - [`journalctl`]: how the journal is asked; [`user`]: who calls.
//! - [`dropins`]: what the manager ignores of files that people write.
//! - [`directory`]: which agents there are, and whom a person means.
//! - [`whose`]: which commands are refused where the units are for another town.
//! - [`change`]: what the commands that change something have in common.

pub mod agents;
pub mod attach;
pub mod change;
pub mod cli;
pub mod directory;
pub mod dismiss;
pub mod doctor;
pub mod dropins;
pub mod emergency;
pub mod events;
pub mod heartbeat;
pub mod history;
pub mod hooks;
pub mod journalctl;
pub mod logs;
pub mod names;
pub mod output;
pub mod paint;
pub mod pause;
pub mod plan;
pub mod ready;
pub mod report;
pub mod request;
pub mod rigs;
pub mod screen;
pub mod status;
pub mod tick;
pub mod timeline;
pub mod town;
pub mod user;
pub mod whose;
pub mod words;

use anyhow::Result;

use crate::exit::Exit;
use crate::tools::gt;
use cli::{Cli, Command};

/// Runs the command.
///
/// # Errors
/// The command fails; the error names the thing and the next step.
pub fn run(cli: &Cli) -> Result<Exit> {
    if let Command::Status(_) | Command::Doctor(_) | Command::Plan(_) = cli.command {
        gt::refresh();
    }
    whose::check(&cli.command)?;
    match &cli.command {
        Command::Status(args) => status::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Tick(args) => tick::run(*args),
        Command::Up(args) => town::up(*args),
        Command::Down(args) => town::down(*args),
        Command::Start(args) => agents::start(args),
        Command::Stop(args) => agents::stop(args),
        Command::Restart(args) => agents::restart(args),
        Command::Cycle(args) => agents::cycle(args),
        Command::Recover(args) => agents::recover(args),
        Command::Dismiss(args) => dismiss::run(args),
        Command::Park(args) => rigs::park(args),
        Command::Unpark(args) => rigs::unpark(args),
        Command::Estop(args) => emergency::estop(args),
        Command::Thaw(args) => emergency::thaw(args),
        Command::Pause(args) => pause::pause(args),
        Command::Resume(args) => pause::resume(*args),
        Command::Request(args) => request::run(args),
        Command::Ready(args) => ready::run(args),
        Command::Heartbeat(args) => heartbeat::run(args),
        Command::Hooks(args) => hooks::run(args),
        Command::Report(args) => report::run(args),
        Command::Attach(args) => attach::run(args),
        Command::Screen(args) => screen::run(args),
        Command::Logs(args) => logs::run(args),
        Command::History(args) => history::run(args),
        Command::Timeline(args) => timeline::run(args),
        Command::Names(args) => names::run(args),
    }
}

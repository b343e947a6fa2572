//! gt-agent: gives an agent its terminal and its service. Run by systemd and tmux, not by people.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use gastown::exit::{self, Exit};
use gastown::session::{check, exec, run, server};
use gastown::town::poke;

#[derive(Parser)]
#[command(version, about = "Gives an agent its terminal and its service")]
#[command(after_help = "Units call this program; people use gastownctl(1).")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run an agent in its tmux pane until it ends (main process of gt-agent@.service)
    Run {
        /// The unit instance, as in gt-agent@INSTANCE.service
        instance: String,
    },
    /// Wait in a pane until it belongs to the unit, then become the agent
    Exec {
        /// The unit instance
        instance: String,
        /// The socket of `gt-agent run`
        socket: PathBuf,
    },
    /// Tell by the exit status whether an agent, or the tmux server, may start now
    Check {
        /// The unit instance; without it, only whether the town is up
        instance: Option<String>,
    },
    /// Become the town's tmux server, or watch over the one that is there
    TmuxServer,
    /// Watch over a tmux server that was there before the town
    TmuxWatch {
        /// Its socket
        #[arg(short = 'L')]
        socket: String,
        /// Its process
        pid: u32,
    },
    /// Wait until the tmux server answers
    TmuxReady,
    /// Have a tick look at a new session (run by tmux)
    SessionMade {
        /// The file that is watched for that
        file: PathBuf,
    },
    /// Make the town's spool directories
    TownStart,
    /// End the tmux server if nobody else uses it
    TownStop,
}

fn main() -> ExitCode {
    gastown::journal::init("gt-agent");
    match act(Cli::parse().command) {
        Ok(status) => ExitCode::from(status),
        Err(e) => exit::report(Err(e)),
    }
}

fn act(command: Command) -> Result<u8> {
    let exit = match command {
        Command::Run { instance } => return run::run(&instance),
        Command::Exec { socket, .. } => exec::exec(&socket).map(|()| Exit::Failure),
        Command::Check { instance } => Ok(check::check(instance.as_deref())),
        Command::TmuxServer => server::tmux_server(),
        Command::TmuxWatch { socket, pid } => server::tmux_watch(&socket, pid),
        Command::TmuxReady => server::tmux_ready(),
        Command::SessionMade { file } => {
            poke::touch(&file);
            Ok(Exit::Ok)
        }
        Command::TownStart => server::town_start(),
        Command::TownStop => server::town_stop(),
    };
    exit.map(|e| e as u8)
}

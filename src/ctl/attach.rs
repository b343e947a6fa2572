//! `gastownctl attach`: an agent's terminal, on the right socket, whatever it is called.

use std::io::IsTerminal;

use anyhow::{Result, bail};

use super::output::become_program;
use super::{cli, directory};
use crate::exit::Exit;
use crate::systemd::Systemd;
use crate::tmux::{Index, Tmux, is_inside};
use crate::town::Town;

/// Becomes a tmux client of the agent's pane; inside of the same server, switches to it.
///
/// # Errors
/// The agent has no terminal, or there is no terminal to show it on.
pub fn run(args: &cli::Attach) -> Result<Exit> {
    let town = Town::load()?;
    let agent = directory::find(&town, Systemd::connect().ok().as_ref(), &args.agent)?;
    let tmux = Tmux::on(town.socket());
    let panes = tmux.panes()?;
    let pane = Index::of(&panes).own(&agent.instance(), &town.session(&agent));
    let Some(pane) = pane else {
        bail!("{agent} has no terminal; see 'gastownctl status {agent}'");
    };
    if !std::io::stdin().is_terminal() {
        bail!("Standard input is no terminal; run 'gastownctl attach {agent}' in one");
    }
    let mut command = tmux.command();
    command.arg("-N");
    match std::env::var("TMUX") {
        // It would stay so when the person goes back to a session of their own.
        Ok(client) if is_inside(&client, pane.server) && args.read_only => bail!(
            "You are in a session of the same tmux server, which would make all that you see there \
             read-only; run 'gastownctl attach -r {agent}' outside of tmux, or 'gastownctl screen {agent}'"
        ),
        Ok(client) if is_inside(&client, pane.server) => {
            command.env("TMUX", client).arg("switch-client");
        }
        _ => {
            command.arg("attach-session");
        }
    }
    if args.read_only {
        command.arg("-r");
    }
    command.args(["-t", &pane.id]);
    become_program(command)
}

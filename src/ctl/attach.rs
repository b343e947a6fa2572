//! `gastownctl attach`: an agent's terminal, on the right socket, whatever it is called.

use std::io::IsTerminal;

use anyhow::{Result, bail};

use super::output::become_program;
use super::{cli, directory};
use crate::exit::Exit;
use crate::systemd::Systemd;
use crate::tmux::Tmux;
use crate::town::Town;

/// Becomes a tmux client of the agent's pane; inside of the same server, switches to it.
///
/// # Errors
/// The agent has no terminal, or there is no terminal to show it on.
pub fn run(args: &cli::Attach) -> Result<Exit> {
    let town = Town::load()?;
    let agent = directory::find(&town, Systemd::connect().ok().as_ref(), &args.agent)?;
    let tmux = Tmux::on(town.socket());
    let instance = agent.instance();
    let panes = tmux.panes()?;
    let Some(pane) = panes.iter().find(|p| p.owner.as_deref() == Some(&instance)) else {
        bail!("{agent} has no terminal; see 'gastownctl status {agent}'");
    };
    if !std::io::stdin().is_terminal() {
        bail!("Standard input is no terminal; run 'gastownctl attach {agent}' in one");
    }
    let mut command = tmux.command();
    command.arg("-N");
    match std::env::var("TMUX") {
        Ok(client) if is_of(&client, pane.server) => {
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

/// Whether TMUX (`SOCKET,PID,SESSION`) is of that server. Of another user's the socket may have the
/// same name.
fn is_of(client: &str, server: u32) -> bool {
    let mut fields = client.rsplit(',');
    fields.nth(1).is_some_and(|pid| pid.parse() == Ok(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_server_is_recognised() {
        for (client, want) in [
            ("/tmp/tmux-1000/default,812,0", true),
            ("/tmp/odd,name,812,3", true),
            ("/tmp/tmux-0/default,1,0", false),
            ("/tmp/tmux-1000/default", false),
            ("", false),
        ] {
            assert_eq!(is_of(client, 812), want, "{client}");
        }
    }
}

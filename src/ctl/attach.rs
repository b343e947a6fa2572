//! `gastownctl attach`: an agent's terminal, on the right socket, whatever it is called.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Result, bail};

use super::{become_program, cli, directory};
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
        Ok(client) if is_on(&client, town.socket()) => {
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

/// Whether TMUX (`SOCKET,PID,SESSION`) is of the server on `socket`, a name or a path.
fn is_on(client: &str, socket: &str) -> bool {
    let path = Path::new(client.split(',').next().unwrap_or_default());
    path == Path::new(socket) || path.file_name().is_some_and(|name| name == socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_server_is_recognised() {
        for (client, socket, want) in [
            ("/tmp/tmux-1000/default,812,0", "default", true),
            ("/tmp/tmux-1000/gt-0a1b2c,812,0", "default", false),
            ("/run/x/sock,1,0", "/run/x/sock", true),
            ("", "default", false),
        ] {
            assert_eq!(is_on(client, socket), want, "{client}");
        }
    }
}

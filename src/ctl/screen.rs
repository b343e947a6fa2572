//! `gastownctl screen`: what an agent's terminal shows, without attaching to it.

use anyhow::{Result, anyhow};
use serde_json::json;

use super::output::print;
use super::words::printable;
use super::{cli, directory};
use crate::exit::Exit;
use crate::systemd::Systemd;
use crate::tmux::{Index, Tmux};
use crate::town::Town;

/// Prints the lines of the screen, or JSON with them and the cursor.
///
/// # Errors
/// The agent is not known or has no terminal.
pub fn run(args: &cli::Screen) -> Result<Exit> {
    let town = Town::load()?;
    let agent = directory::find(&town, Systemd::connect().ok().as_ref(), &args.agent)?;
    let tmux = Tmux::on(town.socket());
    let panes = tmux.panes()?;
    let pane = Index::of(&panes).own(&agent.instance(), &town.session(&agent));
    let missing = || anyhow!("{agent} has no terminal; see 'gastownctl status {agent}'");
    let pane = pane.ok_or_else(missing)?;
    let mut screens = tmux.screens(std::slice::from_ref(&pane.id))?;
    let screen = screens.remove(&pane.id).ok_or_else(missing)?;
    let lines: Vec<String> = screen.lines.iter().map(|line| printable(line)).collect();
    print(&if args.json {
        let object = json!({
            "agent": agent,
            "session": pane.session,
            "pane": pane.id,
            "lines": lines,
            "cursor": {"row": screen.row, "column": screen.column, "shown": screen.cursor},
        });
        serde_json::to_string_pretty(&object)? + "\n"
    } else {
        lines.join("\n").trim_end().to_string() + "\n"
    })?;
    Ok(Exit::Ok)
}

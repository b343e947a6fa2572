//! `gastownctl ready`: a polecat says that it is ready for its first words.

use anyhow::{Result, bail};

use super::output::say;
use super::{cli, directory};
use crate::exit::Exit;
use crate::spawn;
use crate::tmux::{Pane, Tmux};
use crate::town::Town;

/// Marks the session as ready.
///
/// # Errors
/// It is not known which session is meant, or the mark cannot be set.
pub fn run(args: &cli::Ready) -> Result<Exit> {
    let town = Town::load()?;
    let panes = Tmux::on(town.socket()).panes()?;
    let Some(pane) = meant(&town, &panes, args.session.as_deref()) else {
        match &args.session {
            Some(name) => bail!(
                "There is no session or running agent '{}'; see 'gastownctl status'",
                name.escape_debug()
            ),
            None => bail!("This is no pane of the town's tmux server; name the session"),
        }
    };
    let session = &pane.session;
    if args.change.dry_run {
        say(&format!("Would mark session '{session}' as ready"))?;
    } else {
        spawn::mark_ready(&town, session)?;
        say(&format!("Session '{session}' is marked as ready"))?;
    }
    Ok(Exit::Ok)
}

/// The pane of a session or agent, or the one that this runs in.
fn meant<'a>(town: &Town, panes: &'a [Pane], name: Option<&str>) -> Option<&'a Pane> {
    let Some(name) = name else {
        return directory::own_pane(panes);
    };
    let instance = town.agent(name).map(|agent| agent.instance()).ok();
    panes.iter().find(|pane| pane.session == name).or_else(|| {
        panes
            .iter()
            .find(|pane| pane.owner.is_some() && pane.owner == instance)
    })
}

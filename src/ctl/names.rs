//! `gastownctl names`: what completions offer.

use anyhow::Result;

use super::output::print;
use super::{cli, directory};
use crate::exit::Exit;
use crate::systemd::Systemd;
use crate::town::Town;

/// Prints agents or rigs, one a line. Without a user manager it still knows what has a file.
///
/// # Errors
/// There is no town.
pub fn run(args: &cli::Names) -> Result<Exit> {
    let town = Town::load()?;
    let text: String = match args.kind {
        cli::Kind::Agents => {
            let systemd = Systemd::connect();
            let units = systemd.and_then(|s| s.units(&["gt-agent@*.service"])).ok();
            let agents = directory::known(&town, units.as_ref());
            agents.iter().map(|agent| format!("{agent}\n")).collect()
        }
        cli::Kind::Rigs => town.rigs().names().map(|rig| format!("{rig}\n")).collect(),
    };
    print(&text)?;
    Ok(Exit::Ok)
}

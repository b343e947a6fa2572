//! `gastownctl names`: what completions offer.

use anyhow::Result;

use super::output::print;
use super::{cli, directory};
use crate::exit::Exit;
use crate::systemd::Systemd;
use crate::town::Town;

/// Prints agents or rigs, one a line. Without a user manager these are the ones that files name.
///
/// # Errors
/// There is no town.
pub fn run(args: &cli::Names) -> Result<Exit> {
    let town = Town::load()?;
    let mut text = String::new();
    if args.kind != cli::Kind::Rigs {
        let systemd = Systemd::connect();
        let units = systemd.and_then(|s| s.units(&[crate::agent::UNITS])).ok();
        for agent in directory::known(&town, units.as_ref()) {
            text += &format!("{agent}\n");
        }
    }
    if args.kind != cli::Kind::Agents {
        text.extend(town.rigs().names().map(|rig| format!("{rig}\n")));
    }
    print(&text)?;
    Ok(Exit::Ok)
}

//! `gastownctl heartbeat`: the Deacon says that it is alive.

use anyhow::{Result, bail};
use jiff::Timestamp;

use super::cli;
use super::output::say;
use crate::exit::Exit;
use crate::town::{Town, deacon};

/// Writes the next heartbeat.
///
/// # Errors
/// The Deacon is paused, or the file cannot be written.
pub fn run(args: &cli::Heartbeat) -> Result<Exit> {
    let town = Town::load()?;
    if deacon::paused(&town)?.is_some() {
        bail!("The Deacon is paused and has no heartbeat; run 'gastownctl resume' first");
    }
    let text = args.text.join(" ");
    let action = Some(text.as_str()).filter(|text| !text.is_empty());
    let written = deacon::touch(
        &town,
        action,
        args.healthy.into(),
        args.unhealthy.into(),
        Timestamp::now(),
    )?;
    say(&format!("Recorded heartbeat {}", written.cycle))?;
    Ok(Exit::Ok)
}

//! `gastownctl pause` and `resume`: a paused Deacon is neither judged nor poked.

use anyhow::Result;

use super::change::{now, tick};
use super::output::say;
use super::{cli, user};
use crate::exit::Exit;
use crate::town::{Town, deacon};

/// Pauses the Deacon.
///
/// # Errors
/// The mark cannot be written.
pub fn pause(args: &cli::Mark) -> Result<Exit> {
    let town = Town::load()?;
    if let Some(pause) = deacon::paused(&town)? {
        let reason = pause
            .reason
            .map_or_else(String::new, |why| format!(" ({why})"));
        say(&format!("The Deacon was paused already{reason}"))?;
    } else if args.change.dry_run {
        say("Would pause the Deacon")?;
    } else {
        let reason = args.reason.as_deref().filter(|text| !text.is_empty());
        let by = user::name();
        deacon::pause(&town, reason, Some(&by), now())?;
        say("Paused the Deacon; 'gastownctl resume' ends it")?;
    }
    Ok(Exit::Ok)
}

/// Ends the pause.
///
/// # Errors
/// The mark cannot be removed.
pub fn resume(args: cli::Change) -> Result<Exit> {
    let town = Town::load()?;
    if args.dry_run {
        say("Would end the pause of the Deacon")?;
    } else if deacon::resume(&town)? {
        tick();
        say("The Deacon is watched again")?;
    } else {
        say("The Deacon was not paused")?;
    }
    Ok(Exit::Ok)
}

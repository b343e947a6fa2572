//! `gastownctl pause` and `resume`: a paused Deacon is neither judged nor poked.

use anyhow::Result;

use super::change::{now, tick};
use super::output::say;
use super::words::printable;
use super::{cli, user};
use crate::exit::Exit;
use crate::town::{Town, deacon};

/// Pauses the Deacon.
///
/// # Errors
/// The mark cannot be written.
pub fn pause(args: &cli::Mark) -> Result<Exit> {
    let town = Town::load()?;
    // As with gt, a second pause replaces the name and the reason of the first.
    let before = deacon::paused(&town)?;
    if args.change.dry_run {
        say("Would pause the Deacon")?;
        return Ok(Exit::Ok);
    }
    let reason = args.reason.as_deref().filter(|text| !text.is_empty());
    deacon::pause(&town, reason, Some(&user::name()), now())?;
    say(&match before {
        None => "Paused the Deacon; 'gastownctl resume' ends it".into(),
        Some(before) => {
            let reason = before
                .reason
                .map_or_else(String::new, |why| format!(" ({why})"));
            format!(
                "Paused the Deacon in the place of an earlier pause{}; 'gastownctl resume' ends it",
                printable(&reason)
            )
        }
    })?;
    Ok(Exit::Ok)
}

/// Ends the pause.
///
/// # Errors
/// The mark cannot be removed.
pub fn resume(args: cli::Change) -> Result<Exit> {
    let town = Town::load()?;
    // A file that cannot be used is removed too.
    let is_paused = !matches!(deacon::paused(&town), Ok(None));
    if args.dry_run && is_paused {
        say("Would end the pause of the Deacon")?;
    } else if !args.dry_run && deacon::resume(&town)? && is_paused {
        tick();
        say("The Deacon is watched again")?;
    } else {
        say("The Deacon was not paused")?;
    }
    Ok(Exit::Ok)
}

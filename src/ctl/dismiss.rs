//! `gastownctl dismiss`: has status no longer show requests and spawns that could not be executed.

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::change::each;
use super::cli;
use super::output::say;
use super::words::one_line;
use crate::exit::Exit;
use crate::spool::{Entry, Spool};
use crate::town::{Town, json};
use crate::{lifecycle, spawn};

/// The spools, each with what its entries are.
pub const SPOOLS: [(&str, &str); 2] = [("request", lifecycle::SPOOL), ("spawn", spawn::SPOOL)];

/// An entry that could not be executed.
#[derive(Debug)]
pub struct Refused {
    /// The name of its file.
    pub name: String,
    /// Whom or what it is about, and why it was refused, on one line.
    pub about: String,
    path: std::path::PathBuf,
}

/// The entries of a spool that could not be executed and are not dismissed yet, by name.
///
/// # Errors
/// The spool cannot be read.
pub fn refused(spool: &Spool) -> Result<Vec<Refused>> {
    let entries = spool.entries("failed")?;
    Ok(entries.map(|entry| Refused::of(spool, entry)).collect())
}

/// How many such entries there are, and the last of them; the others are not read.
///
/// # Errors
/// The spool cannot be read.
pub fn last(spool: &Spool) -> Result<Option<(usize, Refused)>> {
    let (count, last) = spool.last("failed")?;
    Ok(last.map(|last| (count, Refused::of(spool, last))))
}

impl Refused {
    fn of(spool: &Spool, entry: Entry) -> Refused {
        let subject = entry.text.as_deref().ok().and_then(subject);
        let subject = subject.unwrap_or_else(|| entry.name.clone());
        let reason = spool.reason(&entry.path);
        let reason = reason
            .as_deref()
            .unwrap_or("for a reason that is not known");
        Refused {
            about: one_line(&format!("{subject}: {reason}")),
            name: entry.name,
            path: entry.path,
        }
    }
}

/// Dismisses the named entries, or all. Their files stay in `failed/`.
///
/// # Errors
/// There is no such entry, or one cannot be dismissed.
pub fn run(args: &cli::Dismiss) -> Result<Exit> {
    let town = Town::load()?;
    let mut found = Vec::new();
    for (what, dir) in SPOOLS {
        let spool = Spool::at(&town.path(dir));
        let refused = refused(&spool)?.into_iter();
        found.extend(refused.map(|one| (what, spool.clone(), one)));
    }
    let is_named = |name: &String| {
        let stem = name.strip_suffix(".json").unwrap_or(name);
        args.entries
            .iter()
            .any(|entry| entry == name || entry == stem)
    };
    if let Some(unknown) = args.entries.iter().find(|entry| {
        let file = format!("{entry}.json");
        !found
            .iter()
            .any(|(_, _, one)| one.name == **entry || one.name == file)
    }) {
        bail!(
            "There is no refused request or spawn '{}'; see 'gastownctl dismiss --dry-run'",
            unknown.escape_debug()
        );
    }
    found.retain(|(_, _, one)| args.entries.is_empty() || is_named(&one.name));
    if found.is_empty() {
        say("Nothing is to be dismissed")?;
    }
    let exit = each(&found, |(what, spool, one)| {
        if args.change.dry_run {
            return say(&format!(
                "Would dismiss the {what} {}; file '{}'",
                one.about, one.name
            ));
        }
        spool.dismiss(&one.path)?;
        say(&format!("Dismissed the {what} {}", one.about))
    });
    if !args.change.dry_run {
        spawn::clear_alerts(&town)?;
    }
    exit
}

/// Whom or what an entry is about, as far as it says so: `cycle of gastown/witness`,
/// `gastown/nux`.
fn subject(text: &str) -> Option<String> {
    let entry: Map<String, Value> = json::parse(text).ok()?;
    let field = |key: &str| {
        let text = entry.get(key)?.as_str().filter(|text| !text.is_empty())?;
        Some(text.chars().take(100).collect::<String>())
    };
    match (field("action"), field("from")) {
        (Some(action), Some(from)) => Some(format!("{action} of {from}")),
        _ => Some(format!("{}/{}", field("rig")?, field("polecat")?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_say_what_they_are_about() {
        for (text, want) in [
            (
                r#"{"from":"deacon","action":"cycle"}"#,
                Some("cycle of deacon"),
            ),
            (r#"{"rig":"a","polecat":"nux","action":""}"#, Some("a/nux")),
            (r#"{"rig":"a","polecat":7}"#, None),
            ("[]", None),
            ("junk", None),
        ] {
            assert_eq!(subject(text).as_deref(), want, "{text}");
        }
    }
}

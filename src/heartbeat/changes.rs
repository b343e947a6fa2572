//! What brings a tick forward: files that change, emergency stops that come and go, and new
//! activity in an idle town.
//!
//! A path unit watches nothing while the service that it starts runs, and lays its watches anew
//! when that has ended: a change in between is lost. So the path units start
//! `gt-heartbeat-changed.service`, which only waits for more changes, and when that has ended and
//! the watches are laid, `gt-heartbeat-look.service` compares the files with those that the last
//! tick has read. What changed before that look is seen by it; what changes after it is seen by
//! the path units. A tick has no part in this, so no watch is laid anew because of it.
//!
//! The units watch directories, since a file that is missing or renamed makes for gaps, too. The
//! town's root is too busy for that: of it, only the names of emergency stops are watched, by a
//! pattern that matches those that are not there.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;

use super::memory::Memory;
use super::observe::OWN_UNIT;
use crate::exit::Exit;
use crate::systemd::{Systemd, Verb};
use crate::town::{Town, activity, poke};
use crate::{files, generator};

/// The files whose change brings a tick forward, below the town's root. Each is in a directory
/// of [`generator::WATCHED`], or is one.
const FILES: [&str; 7] = [
    "deacon/heartbeat.json",
    "mayor/rigs.json",
    "mayor/daemon.json",
    "settings/config.json",
    "settings/systemd.json",
    ".beads-wisp/config",
    poke::DIR,
];

/// The file of the town's emergency stop; that of a rig has a dot and the rig's name after it.
const STOP: &str = "ESTOP";

/// The most emergency stops of rigs that are watched one by one, for each takes an inotify
/// instance of the manager. With more of them, a tick finds others when it is due anyway.
const STOPS: usize = 16;

/// The most files of a watched directory that count.
const ENTRIES: usize = 1000;

/// How often one look has a tick done, while the files go on changing or the ticks fail.
const ROUNDS: usize = 6;

/// The pause between two such ticks; it doubles each time when the last tick has not taken note of
/// the files.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a tick may take.
const TICK_LIMIT: Duration = Duration::from_secs(300);

/// How long a tick may take to begin.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What tells whether the watched files have changed.
pub fn stamps(town: &Town) -> Vec<String> {
    let stops = stops(town).into_iter();
    FILES
        .iter()
        .map(|file| stamp(&town.path(file)))
        .chain(stops.map(|stop| {
            let path = town.path(&format!("{STOP}{stop}"));
            format!("{stop} {}", stamp(&path))
        }))
        .collect()
}

/// What tells whether a file has changed: its identity, size and time, or those of its entries.
/// Nothing below these is looked at, for a link may lead anywhere.
fn stamp(path: &Path) -> String {
    let mut stamps = vec![activity::stamp(path)];
    let names = files::names(path, ENTRIES).unwrap_or_default();
    stamps.extend(names.iter().map(|name| activity::stamp(&path.join(name))));
    stamps.join(" ")
}

/// The emergency stops that are there, by what follows [`STOP`]: nothing, or a dot and a rig.
fn stops(town: &Town) -> BTreeSet<String> {
    let entries = std::fs::read_dir(town.root())
        .into_iter()
        .flatten()
        .flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| name.strip_prefix(STOP).map(str::to_string))
        .filter(|rest| rest.is_empty() || rest.starts_with('.'))
        .collect()
}

/// Makes the directories that the path units watch: instead of a missing one, they would watch
/// the town's root for it.
///
/// # Errors
/// One cannot be made.
pub fn make_directories(town: &Town) -> Result<()> {
    let watched = generator::WATCHED.iter();
    for (_, _, dir) in watched.filter(|(unit, _, _)| *unit == "gt-heartbeat.path") {
        files::make_dir(&town.path(dir))?;
    }
    Ok(())
}

/// What the transient path unit watches, as directive and path: what the units cannot name.
pub fn wanted(town: &Town, activity: bool) -> Vec<(String, String)> {
    let stops = stops(town);
    let path = |name: &str| town.path(name).display().to_string();
    let changed = |name: &str| ("PathChanged".to_string(), path(name));
    let mut wanted = Vec::new();
    // There is no way to write such a root into a pattern that the manager can also watch.
    let is_plain = !town
        .root()
        .to_string_lossy()
        .contains(['*', '?', '[', '{', '\\']);
    match absent(&stops).filter(|_| is_plain) {
        Some(pattern) => wanted.push((
            "PathExistsGlob".into(),
            path(&(STOP.to_string() + &pattern)),
        )),
        None => wanted.push(changed(STOP)),
    }
    let there = stops.iter().take(STOPS);
    wanted.extend(there.map(|stop| changed(&format!("{STOP}{stop}"))));
    if activity {
        wanted.extend([activity::FILE, activity::EVENTS].map(changed));
    }
    wanted.sort();
    wanted.dedup();
    wanted
}

/// A pattern of the shell for every emergency stop that is not there. `None`: there are too many
/// to tell them from the others.
fn absent(stops: &BTreeSet<String>) -> Option<String> {
    let rigs: Vec<&str> = stops
        .iter()
        .filter_map(|stop| stop.strip_prefix('.'))
        .collect();
    if rigs.len() > STOPS {
        return None;
    }
    let mut alternatives = alternatives(&rigs);
    if !stops.contains("") {
        alternatives.insert(0, String::new());
    }
    Some(format!("{{{}}}", alternatives.join(",")))
}

/// Patterns that together match a dot and any name but those of `rigs`. The names are a tree of
/// letters; each node gives those that leave the tree there.
fn alternatives(rigs: &[&str]) -> Vec<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    // A name with other characters counts up to the first of them; every name that begins like that
    // is passed over with it.
    let odd: BTreeSet<&str> = rigs
        .iter()
        .filter_map(|rig| rig.find(|c| !is_plain(c)).map(|at| &rig[..at]))
        .collect();
    let ends = |rig: &&str| {
        odd.iter()
            .find(|start| rig.starts_with(**start))
            .map_or(rig.len(), |o| o.len())
    };
    let nodes: BTreeSet<&str> = rigs
        .iter()
        .flat_map(|rig| (0..=ends(rig)).map(move |at| &rig[..at]))
        .chain([""])
        .collect();
    let mut patterns = Vec::new();
    for node in nodes.iter().filter(|node| !odd.contains(**node)) {
        if !node.is_empty() && !rigs.contains(node) {
            patterns.push(format!(".{node}"));
        }
        let below = nodes
            .iter()
            .filter_map(|other| other.strip_prefix(node)?.chars().next());
        // Last, a hyphen is itself in a set.
        let mut next: Vec<char> = below.collect::<BTreeSet<char>>().into_iter().collect();
        next.sort_by_key(|&c| c == '-');
        let mut set = String::new();
        for c in &next {
            let _ = write!(set, "{c}");
        }
        patterns.push(match next.is_empty() {
            true => format!(".{node}?*"),
            false => format!(".{node}[!{set}]*"),
        });
    }
    patterns
}

/// Has a tick done if the last one has not seen the files as they are now. Ends when one has, or after
/// a few ticks: then the next change, or the next tick, goes on.
///
/// # Errors
/// There is no town or no manager, or another tick does not end.
pub fn look() -> Result<Exit> {
    let mut noted = None;
    let mut pause = PAUSE;
    for _ in 0..ROUNDS {
        let town = Town::load()?;
        // A tick that is under way may have read the files before they changed.
        let path = town.path(super::JOB.lock);
        let Some(lock) = files::lock(&path, TICK_LIMIT)? else {
            continue;
        };
        let memory = Memory::read(&town)?;
        let wakes = memory.next.as_ref().is_some_and(|next| next.wake);
        if memory.stamps == stamps(&town) && !(wakes && is_active(&town, memory.ticked)) {
            break;
        }
        drop(lock);
        if let Some(before) = noted.replace(memory.stamps.clone()) {
            pause = if before == memory.stamps {
                2 * pause
            } else {
                PAUSE
            };
            std::thread::sleep(pause);
        }
        let systemd = Systemd::connect()?;
        if systemd.town_is_stopped()? {
            break;
        }
        let job = systemd.queue_awaited(Verb::Start, OWN_UNIT)?;
        systemd.wait(&job, START_LIMIT)?;
    }
    Ok(Exit::Ok)
}

/// Whether somebody other than us has done something since the last tick. The status line of `gt`
/// writes one of the files every few seconds, too, which does not count.
fn is_active(town: &Town, ticked: Option<Timestamp>) -> bool {
    let commanded = activity::modified(&town.path(activity::FILE));
    (commanded > ticked && activity::is_somebodys(town))
        || activity::last_event(town.root()) > ticked
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn matches(patterns: &[String], name: &str) -> bool {
        if patterns.is_empty() {
            return false;
        }
        let script = format!("case $1 in {}) ;; *) exit 1 ;; esac", patterns.join("|"));
        let status = Command::new("sh")
            .args(["-c", &script, "sh", name])
            .status();
        status.unwrap().success()
    }

    #[test]
    fn all_stops_but_those_that_are_there_match() {
        for (rigs, yes, no) in [
            (vec![], vec![".a", ".a.b-c", ".-x"], vec!["", ".", "x"]),
            (
                vec!["beads"],
                vec![".a", ".b", ".beadss", ".bead", ".beax"],
                vec![".beads"],
            ),
            (
                vec!["a", "ab-c", "-"],
                vec![".ab", ".ab-", ".ab-cd", ".c", ".--"],
                vec![".a", ".ab-c", ".-"],
            ),
            (vec!["a{b", "ax"], vec![".b"], vec![".a{b", ".ax", ".a*"]),
            (vec!["", "~"], vec![], vec![".", ".~", ".x"]),
        ] {
            let patterns = alternatives(&rigs);
            for name in yes {
                assert!(matches(&patterns, name), "{name} of {patterns:?}");
            }
            for name in no {
                assert!(!matches(&patterns, name), "{name} of {patterns:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn exactly_the_others_match(
            rigs in prop::collection::btree_set("[ab.-]{1,4}", 0..6),
            name in "[ab.-]{1,5}",
        ) {
            let there: Vec<&str> = rigs.iter().map(String::as_str).collect();
            let is_there = rigs.contains(&name);
            prop_assert_eq!(matches(&alternatives(&there), &format!(".{name}")), !is_there);
        }
    }
}

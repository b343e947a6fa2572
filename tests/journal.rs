//! The events of src/journal.rs, the catalog, and the calls that log them agree.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use gastown::journal::EVENTS;

/// The catalog's entries by MESSAGE_ID.
fn catalog() -> BTreeMap<String, String> {
    let text = fs::read_to_string("packaging/gastown.catalog").unwrap();
    let parts = text.split("\n-- ").skip(1);
    parts
        .map(|part| {
            let (id, entry) = part.split_once('\n').unwrap();
            (id.to_string(), entry.to_string())
        })
        .collect()
}

fn sources(dir: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(fs::read_to_string(&path).unwrap());
        }
    }
}

/// The fields that each call logs, by the name of its event.
fn calls() -> BTreeMap<String, Vec<BTreeSet<String>>> {
    let mut texts = Vec::new();
    sources(Path::new("src"), &mut texts);
    let mut calls: BTreeMap<String, Vec<BTreeSet<String>>> = BTreeMap::new();
    for text in &texts {
        for call in text.split("message_id = journal::").skip(1) {
            let pairs = call.split(';').next().unwrap();
            let name: String = pairs
                .chars()
                .take_while(|c| c.is_ascii_uppercase() || *c == '_')
                .collect();
            let fields = pairs
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .filter(|word| word.starts_with("gt_"))
                .map(str::to_uppercase);
            calls.entry(name).or_default().push(fields.collect());
        }
    }
    calls
}

#[test]
fn every_event_has_its_own_id_and_is_explained() {
    let catalog = catalog();
    let ids: BTreeSet<&str> = EVENTS.iter().map(|(_, id)| *id).collect();
    assert_eq!(ids.len(), EVENTS.len(), "two events share an id");
    for (name, id) in EVENTS {
        assert!(
            id.len() == 32
                && id
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
            "{name}: '{id}' is not 32 hex digits in lower case"
        );
        assert!(
            catalog.contains_key(*id),
            "{name} ({id}) has no entry in packaging/gastown.catalog"
        );
    }
    for id in catalog.keys() {
        assert!(
            ids.contains(id.as_str()),
            "the catalog explains {id}, which is no event"
        );
    }
}

#[test]
fn entries_are_complete_and_fit_a_terminal() {
    for (id, entry) in catalog() {
        let (head, body) = entry
            .split_once("\n\n")
            .unwrap_or_else(|| panic!("{id} has no text"));
        for key in [
            "Subject: ",
            "Defined-By: gastown-systemd",
            "Documentation: man:",
        ] {
            assert!(
                head.lines().any(|line| line.starts_with(key)),
                "{id} has no line '{key}'"
            );
        }
        assert!(!body.trim().is_empty(), "{id} has no text");
        for line in entry.lines() {
            assert!(line.chars().count() <= 76, "{id}: too wide: {line}");
        }
        let page = head
            .lines()
            .find_map(|line| line.strip_prefix("Documentation: man:"))
            .unwrap();
        let (name, section) = page.trim_end_matches(')').split_once('(').unwrap();
        assert!(
            Path::new(&format!("packaging/man/{name}.{section}")).exists(),
            "{id}: there is no page {page}"
        );
    }
}

#[test]
fn every_field_that_an_entry_shows_is_logged_by_every_call() {
    let (catalog, calls) = (catalog(), calls());
    for (name, id) in EVENTS {
        let Some(entry) = catalog.get(*id) else {
            continue;
        };
        let shown: Vec<&str> = entry
            .split('@')
            .filter(|w| w.starts_with("GT_") && !w.contains(char::is_whitespace))
            .collect();
        for fields in calls.get(*name).into_iter().flatten() {
            for field in &shown {
                assert!(
                    fields.contains(*field),
                    "{name}: the catalog shows {field}, but a call logs only {fields:?}"
                );
            }
        }
    }
    let mut texts = Vec::new();
    sources(Path::new("src"), &mut texts);
    for (name, _) in EVENTS {
        assert!(
            texts
                .iter()
                .any(|text| text.contains(&format!("journal::{name}"))),
            "{name} is never logged"
        );
    }
    let known: BTreeSet<&str> = EVENTS.iter().map(|(name, _)| *name).collect();
    for name in calls.keys() {
        assert!(
            known.contains(name.as_str()),
            "{name} is logged, but is no event"
        );
    }
}

//! What the programs are made of: modules without circles; each crate once, and under a licence that lets anybody pass the
//! package on under MIT. Crates that only tests and builds use are not in the package.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Any of these is enough; `AND` asks for all of its parts.
const LICENCES: &[&str] = &["MIT", "Apache-2.0", "Zlib", "Unicode-3.0"];

fn is_fine(licence: &str) -> bool {
    let parts = licence.split(" AND ");
    let one_of = |part: &str| {
        let mut choices = part.trim_matches(['(', ')']).split(" OR ");
        choices.any(|choice| LICENCES.contains(&choice))
    };
    parts.into_iter().all(one_of)
}

#[test]
fn licences_are_read() {
    for (licence, fine) in [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT AND GPL-3.0-only", false),
        ("", false),
    ] {
        assert_eq!(is_fine(licence), fine, "{licence}");
    }
}

#[test]
fn each_once_and_under_a_fit_licence() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges=normal"])
        .args(["--prefix=none", "--no-dedupe", "--format={p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let text = String::from_utf8(tree.stdout).unwrap();
    let mut versions: BTreeMap<&str, &str> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in text.lines() {
        let (package, licence) = line.split_once('|').unwrap();
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        let before = versions.insert(name, version);
        if before.is_some_and(|before| before != version) {
            wrong.push(format!("{name} in two versions: {before:?} and {version}"));
        }
        if !is_fine(licence) {
            wrong.push(format!("{name}: {licence}"));
        }
    }
    assert!(versions.len() > 10 && wrong.is_empty(), "{wrong:?}");
}

/// What comes from npm is pinned, and no committed file names the registry that it comes from.
#[test]
fn programs_from_npm_are_pinned_and_of_no_certain_registry() {
    let lock = include_str!("agents/package-lock.json");
    let lock: serde_json::Value = serde_json::from_str(lock).unwrap();
    for (name, package) in lock["packages"].as_object().unwrap() {
        let is_ours = name.is_empty();
        assert_eq!(package["integrity"].is_string(), !is_ours, "{name}");
        assert!(package["resolved"].is_null(), "{name}");
    }
    for (name, version) in lock["packages"][""]["dependencies"].as_object().unwrap() {
        let version = version.as_str().unwrap();
        let version = version.rsplit('@').next().unwrap();
        assert!(
            version.starts_with(|c: char| c.is_ascii_digit()),
            "{name}: {version}"
        );
    }
}

/// The modules of the library by their paths, with their texts, tests and comments left out.
fn modules(dir: &Path, path: &[String], found: &mut BTreeMap<Vec<String>, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let file = entry.unwrap().path();
        let stem = file.file_stem().unwrap().to_str().unwrap().to_string();
        let below = [path, std::slice::from_ref(&stem)].concat();
        if file.is_dir() {
            if stem != "bin" {
                modules(&file, &below, found);
            }
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]\n").next().unwrap();
        let lines = code.lines().map(|line| line.split("//").next().unwrap());
        let own = match stem.as_str() {
            "lib" => continue,
            "mod" => path.to_vec(),
            _ => below,
        };
        found.insert(own, lines.collect::<Vec<_>>().join("\n"));
    }
}

/// The paths that a `use` names: `a::{b, c::{self, d}}` is `a::b`, `a::c` and `a::c::d`.
fn expanded(text: &str) -> Vec<String> {
    let Some((before, rest)) = text.split_once('{') else {
        return vec![text.split(" as ").next().unwrap().trim().to_string()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for c in inside.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            _ => {}
        }
        if c != ',' || depth > 0 {
            parts.last_mut().unwrap().push(c);
        }
    }
    let parts = parts.iter().flat_map(|part| expanded(part.trim()));
    let whole = |part: String| format!("{before}{part}").replace("::self", "");
    parts.map(whole).collect()
}

/// The paths that a module's text names: those of its `use` lines, and those within the code.
fn named(text: &str) -> Vec<String> {
    let mut named = Vec::new();
    for statement in text.split(';') {
        let line = statement.rfind("\nuse ").map(|at| at + 5);
        let line = line.or_else(|| statement.rfind("\npub use ").map(|at| at + 9));
        if let Some(at) = line {
            named.extend(expanded(&statement[at..].replace('\n', " ")));
        }
    }
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !is_part(c));
    let is_path = |word: &&str| ["crate::", "super::"].iter().any(|p| word.starts_with(p));
    named.extend(words.filter(is_path).map(String::from));
    named
}

/// The module that a path leads to, as it is written in the module `own`.
fn meant<'a>(
    path: &str,
    own: &[String],
    all: &'a BTreeMap<Vec<String>, String>,
) -> Option<&'a Vec<String>> {
    let words: Vec<&str> = path.split("::").map(str::trim).collect();
    let ups = words.iter().take_while(|word| **word == "super").count();
    let (base, rest) = match words[0] {
        "crate" => (&[][..], &words[1..]),
        "super" => (&own[..own.len().checked_sub(ups)?], &words[ups..]),
        _ => (own, &words[..]),
    };
    let rest: Vec<String> = rest.iter().map(ToString::to_string).collect();
    let full = [base, &rest].concat();
    let mut lengths = (1..=full.len()).rev();
    lengths.find_map(|length| Some(all.get_key_value(&full[..length])?.0))
}

#[test]
fn paths_are_read() {
    let text = "\nuse super::{a, b::{self, C}};\npub use x::Y;\nfn f() { crate::d::e(); }\n";
    let want = ["super::a", "super::b", "super::b::C", "x::Y", "crate::d::e"];
    assert!(
        want.iter()
            .all(|path| named(text).iter().any(|one| one == path))
    );
    let all: BTreeMap<Vec<String>, String> = ["r", "r a", "r a b", "d"]
        .map(|path| (path.split(' ').map(String::from).collect(), String::new()))
        .into();
    let own = ["r".to_string(), "a".to_string()];
    for (path, want) in [
        ("crate::r::a::b::C", Some("r a b")),
        ("super::X", Some("r")),
        ("b::X", Some("r a b")),
        ("std::fs", Some("r a")),
        ("crate::nothing", None),
    ] {
        let got = meant(path, &own, &all).map(|module| module.join(" "));
        assert_eq!(got.as_deref(), want, "{path}");
    }
}

/// A file may use those below and beside it, and what the file above it declares; within a room no
/// two files use each other, not even through others.
#[test]
fn no_circle_within_a_room() {
    let mut all = BTreeMap::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    modules(&src, &[], &mut all);
    assert!(all.len() > 100);
    let mut uses: BTreeMap<&Vec<String>, BTreeSet<&Vec<String>>> = BTreeMap::new();
    for (own, text) in &all {
        let found = named(text);
        let theirs = found.iter().filter_map(|path| meant(path, own, &all));
        let of_room = theirs.filter(|other| other[0] == own[0] && !own.starts_with(other));
        uses.insert(own, of_room.collect());
    }
    assert!(uses.values().map(BTreeSet::len).sum::<usize>() > 100);
    // Who uses nobody that is left is in no circle.
    loop {
        let free: Vec<&Vec<String>> = uses
            .iter()
            .filter(|(_, used)| used.iter().all(|module| !uses.contains_key(module)))
            .map(|(own, _)| *own)
            .collect();
        if free.is_empty() {
            break;
        }
        uses.retain(|own, _| !free.contains(own));
    }
    let left: Vec<String> = uses.keys().map(|own| own.join("::")).collect();
    assert!(
        left.is_empty(),
        "these, or those that they use, use each other: {left:?}"
    );
}

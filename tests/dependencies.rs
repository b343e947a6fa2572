//! What the programs are made of: each crate once, and under a licence that lets anybody pass the
//! package on under MIT. Crates that only tests and builds use are not in the package.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;

/// Any of these is enough; `AND` asks for all of its parts.
const LICENCES: &[&str] = &["MIT", "Apache-2.0", "Zlib", "Unicode-3.0", "BSD-3-Clause"];

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

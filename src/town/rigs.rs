//! `mayor/rigs.json`: the rigs of the town and their prefixes. Written by `gt rig add`.
//!
//! `{"version":1,"rigs":{"gastown":{"git_url":"...","beads":{"prefix":"gt"}}}}`

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::json::{self, nullable};
use super::near::MOST;
use crate::agent;

/// The file, below the town's root.
pub const FILE: &str = "mayor/rigs.json";

/// The prefix of a rig that has none of its own.
const DEFAULT_PREFIX: &str = "gt";

/// The branch of a rig whose configuration names none.
const DEFAULT_BRANCH: &str = "main";

/// The rigs with valid names, and what is wrong with the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rigs {
    prefixes: BTreeMap<String, String>,
    problems: Vec<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default, deserialize_with = "nullable")]
    rigs: BTreeMap<String, Option<Rig>>,
}

#[derive(Deserialize)]
struct Rig {
    #[serde(default, deserialize_with = "nullable")]
    beads: Beads,
}

#[derive(Deserialize, Default)]
struct Beads {
    #[serde(default, deserialize_with = "nullable")]
    prefix: String,
}

/// Reads the registry. A rig or prefix with an invalid name is left out and reported.
///
/// # Errors
/// The text is not the JSON of a registry.
pub fn parse(text: &str) -> Result<Rigs> {
    let file: File = json::parse(text)?;
    let mut rigs = Rigs::default();
    for (name, rig) in file.rigs {
        if let Err(e) = agent::check_rig(&name) {
            let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
            rigs.problems.push(format!(
                "Rig '{shown}' of '{FILE}' is skipped: {}; rename it",
                e.reason()
            ));
            continue;
        }
        let written = rig.map(|rig| rig.beads.prefix).unwrap_or_default();
        let mut prefix = written.as_str();
        if !prefix.is_empty() && !agent::is_valid_name(prefix) {
            rigs.problems.push(format!(
                "The prefix of rig '{name}' in '{FILE}' is not letters, digits, '.', '_' and '-'; \
                 '{DEFAULT_PREFIX}' is used"
            ));
            prefix = "";
        }
        if prefix.is_empty() {
            prefix = DEFAULT_PREFIX;
        }
        rigs.prefixes.insert(name, prefix.to_string());
    }
    let more = rigs.problems.len().saturating_sub(MOST);
    if more > 0 {
        rigs.problems.truncate(MOST);
        rigs.problems
            .push(format!("'{FILE}' has {more} more such names; mend them"));
    }
    Ok(rigs)
}

/// Reads a rig's own `config.json`: the branch that its worktrees follow, by default `main`.
///
/// # Errors
/// The text is not the JSON of a rig's configuration, or the branch is not a plain branch name.
pub fn parse_branch(text: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default, deserialize_with = "nullable")]
        default_branch: String,
    }
    let branch = json::parse::<File>(text)?.default_branch;
    if branch.is_empty() {
        return Ok(DEFAULT_BRANCH.into());
    }
    // git would take other texts for an option or a range of commits.
    let sound = branch.split('/').all(agent::is_valid_name) && !branch.contains("..");
    ensure!(
        sound,
        "'default_branch' is {branch:?}, which is not the name of a branch"
    );
    Ok(branch)
}

impl Rigs {
    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.prefixes.keys().map(String::as_str)
    }

    /// Whether the rig is registered.
    pub fn contains(&self, rig: &str) -> bool {
        self.prefixes.contains_key(rig)
    }

    /// Whether there is no rig.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// The prefix of a rig's beads, without the dash that some registries have behind it; `gt` for
    /// a rig that has none or is unknown.
    pub fn prefix(&self, rig: &str) -> &str {
        let prefix = self.session_prefix(rig);
        prefix.strip_suffix('-').unwrap_or(prefix)
    }

    /// The prefix of a rig's sessions, as the registry has it: here `gt` keeps the dash.
    pub fn session_prefix(&self, rig: &str) -> &str {
        self.prefixes
            .get(rig)
            .map_or(DEFAULT_PREFIX, String::as_str)
    }

    /// What was left out, in words.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Rigs that share a prefix, which gives two agents one session name in a current town.
    pub fn shared_prefixes(&self) -> Vec<String> {
        let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (rig, prefix) in &self.prefixes {
            users.entry(prefix).or_default().push(rig);
        }
        users
            .iter()
            .filter(|(_, rigs)| rigs.len() > 1)
            .map(|(prefix, rigs)| {
                format!(
                    "Rigs {} share the prefix '{prefix}', so their sessions have the same names; \
                     give each its own beads.prefix in '{FILE}'",
                    rigs.join(", ")
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_prefixes() {
        let rigs = parse(
            r#"{"version":1,"rigs":{
                "gastown":{"git_url":"x","beads":{"repo":"local","prefix":"gt-"}},
                "a.b-c":{"beads":{"prefix":"ab"}},
                "plain":{"beads":null}, "bare":null}}"#,
        )
        .unwrap();
        assert_eq!(
            rigs.names().collect::<Vec<_>>(),
            ["a.b-c", "bare", "gastown", "plain"]
        );
        for (rig, prefix, of_sessions) in [
            ("gastown", "gt", "gt-"),
            ("a.b-c", "ab", "ab"),
            ("plain", "gt", "gt"),
            ("unknown", "gt", "gt"),
        ] {
            assert_eq!(rigs.prefix(rig), prefix, "{rig}");
            assert_eq!(rigs.session_prefix(rig), of_sessions, "{rig}");
        }
        assert!(rigs.problems().is_empty());
        let shared = rigs.shared_prefixes();
        assert_eq!(shared.len(), 1);
        assert!(shared[0].starts_with("Rigs bare, plain share the prefix 'gt'"));
    }

    #[test]
    fn bad_names_are_skipped_and_reported() {
        let rigs = parse(
            r#"{"rigs":{"ok":{"beads":{"prefix":"x y"}},"../up":{},"a\nb":{},"deacon":{},"":{}}}"#,
        )
        .unwrap();
        assert_eq!(rigs.names().collect::<Vec<_>>(), ["ok"]);
        assert_eq!(rigs.prefix("ok"), "gt");
        assert_eq!(rigs.problems().len(), 5);
        assert!(rigs.problems().iter().all(|p| !p.contains('\n')));
        let many: Vec<String> = (0..1000).map(|n| format!(r#""a {n}":{{}}"#)).collect();
        let rigs = parse(&format!(r#"{{"rigs":{{{}}}}}"#, many.join(","))).unwrap();
        assert_eq!(rigs.problems().len(), MOST + 1);
        assert!(rigs.problems()[MOST].contains("990 more"));
    }

    #[test]
    fn broken_is_not_empty() {
        for text in ["{}", r#"{"rigs":null}"#, r#"{"rigs":{}}"#] {
            assert!(parse(text).unwrap().is_empty(), "{text}");
        }
        for text in [
            "",
            "null",
            "[]",
            "{\"rigs\":",
            r#"{"rigs":[]}"#,
            r#"{"rigs":{"a":1}}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn branches() {
        for (text, want) in [
            ("{}", Some("main")),
            (r#"{"type":"rig","default_branch":null}"#, Some("main")),
            (r#"{"default_branch":"release/1.x"}"#, Some("release/1.x")),
            (r#"{"default_branch":"-x"}"#, None),
            (r#"{"default_branch":"a..b"}"#, None),
            (r#"{"default_branch":"a b"}"#, None),
            (r#"{"default_branch":"/a"}"#, None),
            ("", None),
        ] {
            assert_eq!(parse_branch(text).ok().as_deref(), want, "{text}");
        }
    }
}

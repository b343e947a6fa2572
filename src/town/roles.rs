//! `roles/<role>.toml` of the town and of a rig: what people change of a role. Read since gt 0.5:
//!
//! ```toml
//! [session]
//! start_command = "exec claude --model opus --dangerously-skip-permissions"
//! [env]
//! TEAM = "{rig}"
//! ```
//!
//! The rig's file wins over the town's, key by key. Placeholders are `{town}`, `{rig}`, `{name}`,
//! `{role}` and `{prefix}`. Only `gt` reads other keys.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::json;
use super::kept::Kept;
use crate::agent::Role;
use crate::files;

/// The directory of the files, below the root of the town or of a rig.
pub const DIR: &str = "roles";

/// What we read of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RoleFile {
    pub(super) session: Session,
    pub(super) env: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Session {
    pub(super) start_command: String,
}

/// Reads a file.
///
/// # Errors
/// The text is not TOML, or too long, or a value is of the wrong kind.
pub fn parse(text: &str) -> Result<RoleFile> {
    let most = files::TOML_LIMIT;
    ensure!(text.len() <= most, "it is larger than {most} bytes");
    toml_edit::de::from_str(text).map_err(json::told)
}

/// The files of a directory by role; none where there is no such directory. `dir` is as in
/// [`Sources::load`](super::sources::Sources::load).
///
/// # Errors
/// The directory cannot be looked at.
pub(super) fn load(root: &Path, dir: &str) -> Result<BTreeMap<&'static str, Kept<RoleFile>>> {
    if !files::is_dir(&root.join(dir).join(DIR))? {
        return Ok(BTreeMap::new());
    }
    let file = |role: Role| {
        (
            role.name(),
            Kept::load(root, &path(dir, role.name()), parse),
        )
    };
    Ok(Role::ALL.map(file).into())
}

/// The path of a role's file below the town's root.
pub(super) fn path(dir: &str, role: &str) -> String {
    format!("{dir}{DIR}/{role}.toml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Agent;
    use crate::exit::Exit;
    use crate::town::tests::town_with;

    fn argv(version: i64, files: &[(&str, &str)]) -> Result<Vec<String>> {
        let (dir, town) = town_with(version, files);
        let agent = Agent::parse("ff/crew/max").unwrap();
        let launch = town.launch(&agent)?;
        let root = dir.path().to_str().unwrap();
        let mut argv = launch.command("W");
        for text in &mut argv {
            *text = text.replace(root, "T");
            if text.starts_with('{') {
                *text = "J".into();
            }
        }
        for (key, value) in launch.env {
            if key.starts_with("MY_") || key == "GT_ROLE" {
                argv.push(format!("{key}={}", value.replace(root, "T")));
            }
        }
        Ok(argv)
    }

    #[test]
    fn the_narrowest_file_wins_key_by_key() {
        const TOWN: &str = "roles/crew.toml";
        const RIG: &str = "ff/roles/crew.toml";
        let usual = "claude --dangerously-skip-permissions --settings J W";
        let own = "[session]\nstart_command = \"exec run --of '{rig} {name}' {town}\"\n";
        let env = "[env]\nMY_A = \"{role} {prefix}\"\nMY_B = \"town\"\nGT_ROLE = \"mayor\"\n";
        for (version, files, want) in [
            (2, vec![(TOWN, own)], "run --of ff max T GT_ROLE=ff/crew/max".to_string()),
            (1, vec![(TOWN, own)], format!("{usual} GT_ROLE=crew")),
            (
                2,
                vec![(TOWN, own), (RIG, "[session]\nstart_command = \"/x/claude --model 'a b'\"")],
                "/x/claude --model a b --settings J W GT_ROLE=ff/crew/max".to_string(),
            ),
            (
                2,
                vec![(TOWN, env), (RIG, "[env]\nMY_B = \"rig\"")],
                format!("{usual} GT_ROLE=ff/crew/max MY_A=crew ff MY_B=rig"),
            ),
            (
                2,
                vec![(
                    TOWN,
                    "role = \"crew\"\n[session]\npattern = \"x\"\nneeds_pre_sync = true\n\
                     start_command = \"exec claude --dangerously-skip-permissions\"\n[health]\nping_timeout = \"30s\"",
                )],
                format!("{usual} GT_ROLE=ff/crew/max"),
            ),
            (
                2,
                vec![(TOWN, own), ("settings/config.json", r#"{"default_agent":"codex"}"#)],
                "codex --dangerously-bypass-approvals-and-sandbox -c features.daemon_auto_start=false W \
                 GT_ROLE=ff/crew/max".to_string(),
            ),
        ] {
            assert_eq!(argv(version, &files).unwrap().join(" "), want, "{files:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, want) in [
            ("[session", "roles/crew.toml'"),
            ("[session]\nstart_command = 1", "roles/crew.toml'"),
            ("[session]\nstart_command = \"a && b\"", "needs a shell"),
            ("[session]\nstart_command = \"a 'b\"", "needs a shell"),
        ] {
            let error = argv(2, &[("roles/crew.toml", text)]).unwrap_err();
            assert_eq!(crate::exit::of(&error), Exit::BadConfig);
            let text = format!("{error:#}");
            assert!(text.contains(want) && !text.contains('\n'), "{text}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_read_is_not_an_empty_one() {
        let (_dir, town) = town_with(2, &[]);
        let roles = town.path(DIR);
        std::os::unix::fs::symlink(&roles, &roles).unwrap();
        let town = town.again().unwrap();
        let error = town.launch(&Agent::deacon()).unwrap_err();
        assert_eq!(crate::exit::of(&error), Exit::BadConfig);
        assert_eq!(town.problems().len(), 1, "{:?}", town.problems());
    }

    #[test]
    fn a_broken_file_is_a_problem_of_the_town() {
        let (_dir, town) = town_with(
            2,
            &[("ff/roles/witness.toml", "x"), ("roles/deputy.toml", "x")],
        );
        // Nobody else reads it.
        assert!(town.launch(&Agent::parse("ff/refinery").unwrap()).is_ok());
        assert!(town.launch(&Agent::parse("ff/witness").unwrap()).is_err());
        let problems = town.problems();
        assert!(
            problems.len() == 1 && problems[0].contains("ff/roles/witness.toml"),
            "{problems:?}"
        );
    }
}

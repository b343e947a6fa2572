//! `roles/<role>.toml` of the town and of a rig: what people change of a role. Read since gt 0.5:
//!
//! ```toml
//! [session]
//! start_command = "exec claude --model opus --dangerously-skip-permissions"
//! [env]
//! TEAM = "{rig}"
//! ```
//!
//! The rig's file goes before the town's, key by key. Placeholders are `{town}`, `{rig}`, `{name}`,
//! `{role}` and `{prefix}`. Other keys are those of `gt` alone.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use serde::Deserialize;

use super::Town;
use super::kept::Kept;
use super::program::{Program, is_claude};
use crate::agent::{Agent, Role};
use crate::files;

/// The directory of the files, below the root of the town or of a rig.
pub const DIR: &str = "roles";

/// What `gt` itself has as the command of every role. It says nothing about arguments or models,
/// so settings decide.
const USUAL: &str = "claude --dangerously-skip-permissions";

/// What we read of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RoleFile {
    session: Session,
    env: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Session {
    start_command: String,
}

/// Reads a file.
///
/// # Errors
/// The text is not TOML, or too long, or a value is of the wrong kind.
pub fn parse(text: &str) -> Result<RoleFile> {
    let most = files::TOML_LIMIT;
    ensure!(text.len() <= most, "it is larger than {most} bytes");
    Ok(toml_edit::de::from_str(text)?)
}

/// The files of a directory by role; none where there is no such directory. `dir` is as in
/// [`Sources::load`](super::sources::Sources::load).
///
/// # Errors
/// It is not known whether there is such a directory.
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

impl Town {
    /// What the files say of the agent's role, the town's completed by the rig's, with
    /// placeholders filled.
    ///
    /// # Errors
    /// A file is broken and it is not known what it last said.
    pub(super) fn role_file(&self, agent: &Agent) -> Result<RoleFile> {
        let mut merged = RoleFile::default();
        if !self.dialect.has_role_files() {
            return Ok(merged);
        }
        let of_rig = self.rig_sources(agent);
        for sources in [&self.sources, of_rig.as_ref()] {
            if let Some(why) = &sources.roles_error {
                bail!("{why}");
            }
            let Some(file) = sources.roles.get(agent.role_name()) else {
                continue;
            };
            let file = file.known()?;
            if !file.session.start_command.is_empty() {
                merged.session = file.session.clone();
            }
            merged.env.extend(file.env.clone());
        }
        for value in merged.env.values_mut() {
            *value = self.filled(agent, value);
        }
        Ok(merged)
    }

    fn filled(&self, agent: &Agent, text: &str) -> String {
        let rig = agent.rig().unwrap_or_default();
        text.replace("{town}", &self.root.to_string_lossy())
            .replace("{rig}", rig)
            .replace("{name}", agent.name().unwrap_or_default())
            .replace("{role}", agent.role_name())
            .replace("{prefix}", self.rigs().session_prefix(rig))
    }

    /// Has a role's own command take the place of its program's, as in `gt` for Claude alone:
    /// another program has been chosen by settings, and its command line with it.
    ///
    /// # Errors
    /// The command is none without a shell.
    pub(super) fn with_command(
        &self,
        agent: &Agent,
        mut program: Program,
        file: &RoleFile,
    ) -> Result<Program> {
        let command = file.session.start_command.trim();
        let command = command.strip_prefix("exec ").unwrap_or(command).trim();
        if command.is_empty() || command == USUAL || !is_claude(program.base) {
            return Ok(program);
        }
        let words = shlex::split(command).unwrap_or_default();
        let is_syntax = |word: &String| {
            matches!(word.as_str(), "&&" | "||" | "|" | ";" | "&")
                || word.starts_with(['<', '>', '$'])
        };
        ensure!(
            !words.is_empty() && !words.iter().any(is_syntax),
            "start_command of role {} needs a shell, and none is between us and a program; write \
             it as \"sh -c '...'\" in '{}/{}.toml'",
            agent.role_name(),
            DIR,
            agent.role_name()
        );
        program.argv = words.iter().map(|word| self.filled(agent, word)).collect();
        program.has_usual_arguments = false;
        let name = program.argv[0].rsplit('/').next().unwrap_or_default();
        if name != "claude" {
            program.forget_base();
        }
        Ok(program)
    }
}

impl RoleFile {
    /// The variables of the role.
    pub(super) fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

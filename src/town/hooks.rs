//! The hooks by which an agent's program learns from `gt` who it is, and hears of mail.
//!
//! No command of `gt` writes the hooks of just one agent: `gt` writes them when it starts an agent
//! itself, and today's `gt hooks sync` writes those of the whole town anew. So we use the hooks
//! that are there. Where there are none, Claude gets ours on its command line, and no file is
//! touched.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::dialect::Dialect;
use super::{Town, env_file};
use crate::agent::{Agent, Role};
use crate::files;

/// Claude's settings, below the directory that they are for.
const SETTINGS: &str = ".claude/settings.json";

/// The files that Claude reads by itself, below its working directory.
const OWN: [&str; 2] = [SETTINGS, ".claude/settings.local.json"];

/// Where an agent's hooks come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hooks {
    /// From files that the agent's program reads by itself.
    Found,
    /// From the role's file of Claude settings, which Claude does not read by itself.
    OfRole(PathBuf),
    /// From no file, so Claude gets these settings, as JSON.
    Ours(String),
    /// There are none: this file, where they should be, is missing or has none.
    Absent(PathBuf),
}

impl Hooks {
    /// The last arguments for Claude but its first words. Before them must stand no option of a person's
    /// that takes as many arguments as follow, such as `--add-dir` and `--mcp-config`.
    pub(super) fn arguments(&self) -> Vec<String> {
        let settings = match self {
            Hooks::Found => return vec!["--".into()],
            Hooks::OfRole(file) | Hooks::Absent(file) => file.display().to_string(),
            Hooks::Ours(settings) => settings.clone(),
        };
        vec!["--settings".into(), settings]
    }
}

impl Town {
    /// Where the hooks of an agent that runs Claude come from. `config_dir`: its
    /// `CLAUDE_CONFIG_DIR`.
    pub fn hooks(&self, agent: &Agent, config_dir: Option<&str>) -> Hooks {
        let dir = self.workdir(agent);
        let mut read: Vec<PathBuf> = OWN.iter().map(|file| dir.join(file)).collect();
        read.extend(match config_dir {
            Some(dir) => Some(Path::new(dir).join("settings.json")),
            None => env_file::home().ok().map(|home| home.join(SETTINGS)),
        });
        let found = read.iter().any(|file| primes(file));
        let of_role = self.path(&role_dir(agent)).join(SETTINGS);
        if of_role.is_file() && of_role != read[0] {
            return match found || primes(&of_role) {
                true => Hooks::OfRole(of_role),
                false => Hooks::Absent(of_role),
            };
        }
        match found {
            true => Hooks::Found,
            false => Hooks::Ours(ours(agent.role(), self.dialect()).to_string()),
        }
    }
}

/// The directory of the town in which `gt` keeps Claude's settings for all agents of a role.
fn role_dir(agent: &Agent) -> String {
    let dir = match agent.role() {
        Role::Polecat => "polecats",
        Role::Dog | Role::Boot => "deacon/dogs",
        _ => agent.role_name(),
    };
    match agent.rig() {
        Some(rig) => format!("{rig}/{dir}"),
        None => dir.to_string(),
    }
}

/// Whether a settings file has `gt prime` run when a session starts.
fn primes(file: &Path) -> bool {
    let text = files::read(file).ok().flatten().unwrap_or_default();
    let settings: Value = serde_json::from_str(&text).unwrap_or_default();
    let groups = settings["hooks"]["SessionStart"].as_array();
    let hooks = groups
        .into_iter()
        .flatten()
        .filter_map(|group| group["hooks"].as_array());
    let mut commands = hooks.flatten().filter_map(|hook| hook["command"].as_str());
    commands.any(|command| command.contains("gt prime"))
}

/// The hooks that an agent needs at least, as `gt` has them too: they print its context when a
/// session begins and before it is compacted, and its mail with each prompt. When a session begins,
/// they print the mail too, but for Mayor and crew, who have a person to look at it.
fn ours(role: Role, dialect: Dialect) -> Value {
    let prime = dialect.prime();
    let mail = "gt mail check --inject";
    let start = match role {
        Role::Mayor | Role::Crew => prime.to_string(),
        _ => format!("{prime} && {mail}"),
    };
    // In a town without gt each of these commands would show an error on the screen.
    let hook = |command: &str| {
        let command = format!("! command -v gt >/dev/null || {{ {command}; }}");
        json!([{"hooks": [{"type": "command", "command": command}]}])
    };
    json!({"hooks": {
        "SessionStart": hook(&start),
        "PreCompact": hook(prime),
        "UserPromptSubmit": hook(mail),
    }})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::tests::town_with;

    const HOOKED: &str = r#"{"hooks":{"SessionStart":[{"matcher":"","hooks":[
        {"type":"command","command":"/x/gt prime --hook && /x/gt mail check"}]}]}}"#;
    const PLAIN: &str =
        r#"{"model":"haiku","hooks":{"SessionStart":[{"hooks":[{"command":"x"}]}]}}"#;

    #[test]
    fn hooks_are_taken_from_where_they_are() {
        let refinery = "gastown/refinery/.claude/settings.json";
        let clone = "gastown/refinery/rig/.claude/settings.json";
        let local = "gastown/refinery/rig/.claude/settings.local.json";
        let account = "account/settings.json";
        for (files, want) in [
            (&[][..], "ours"),
            (&[(clone, HOOKED)], "found"),
            (&[(local, HOOKED)], "found"),
            (&[(account, HOOKED)], "found"),
            // The project's own settings are no hooks of ours.
            (&[(clone, PLAIN)], "ours"),
            (&[(clone, "{")], "ours"),
            (&[(refinery, HOOKED)], "role"),
            (&[(refinery, PLAIN), (clone, HOOKED)], "role"),
            (&[(refinery, PLAIN)], "none"),
        ] {
            let mut files = files.to_vec();
            files.push(("gastown/refinery/rig/x", ""));
            let (_dir, town) = town_with(1, &files);
            let agent = Agent::parse("gastown/refinery").unwrap();
            let account = town.path("account").display().to_string();
            let got = match town.hooks(&agent, Some(&account)) {
                Hooks::Found => "found",
                Hooks::Ours(_) => "ours",
                Hooks::OfRole(file) if file == town.path(refinery) => "role",
                Hooks::Absent(file) if file == town.path(refinery) => "none",
                Hooks::OfRole(_) | Hooks::Absent(_) => "another file",
            };
            assert_eq!(got, want, "{files:?}");
        }
    }

    #[test]
    fn the_file_of_a_role_that_works_beside_it_is_found_by_claude() {
        let file = ("deacon/.claude/settings.json", HOOKED);
        let (_dir, town) = town_with(2, &[file]);
        assert_eq!(town.hooks(&Agent::deacon(), Some("/none")), Hooks::Found);
        let command = town.launch(&Agent::deacon()).unwrap().command("W");
        assert!(command.ends_with(&["--".into(), "W".into()]), "{command:?}");
        let file = ("mayor/.claude/settings.json", HOOKED);
        let (_dir, town) = town_with(1, &[file]);
        let hooks = town.hooks(&Agent::mayor(), Some("/none"));
        assert_eq!(hooks, Hooks::OfRole(town.path(file.0)));
    }

    #[test]
    fn ours_ask_gt_as_it_can_be_asked() {
        for (role, dialect, start) in [
            (Role::Mayor, Dialect::OLDEST, "gt prime"),
            (Role::Crew, Dialect::NEWEST, "gt prime --hook"),
            (
                Role::Deacon,
                Dialect::OLDEST,
                "gt prime && gt mail check --inject",
            ),
            (
                Role::Polecat,
                Dialect::NEWEST,
                "gt prime --hook && gt mail check --inject",
            ),
        ] {
            let hooks = ours(role, dialect);
            assert_eq!(
                hooks["hooks"]["SessionStart"][0]["hooks"][0]["command"],
                format!("! command -v gt >/dev/null || {{ {start}; }}")
            );
        }
    }
}

//! How the files of [`roles`](super::roles) change an agent's environment and command.

use anyhow::{Result, bail, ensure};

use super::Town;
use super::program::{Program, is_claude};
use super::roles::{DIR, RoleFile};
use crate::agent::Agent;

/// The command that `gt` writes for every role by itself. Nobody has chosen it, so the settings
/// decide.
const USUAL: &str = "claude --dangerously-skip-permissions";

impl Town {
    /// The town's and the rig's files for the agent's role as one: the rig's wins, key by key, and
    /// the placeholders in variables are filled.
    ///
    /// # Errors
    /// A file is broken, and there is no last good copy of it.
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

    /// Puts the role's `start_command`, if it has one, in the place of the program's command line.
    /// As in `gt`, only for Claude: who has chosen another program has chosen its command line too.
    ///
    /// # Errors
    /// The command needs a shell.
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

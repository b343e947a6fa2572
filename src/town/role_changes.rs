//! What the files of [`roles`](super::roles) change of an agent's environment and command.

use anyhow::{Result, bail, ensure};

use super::Town;
use super::program::{Program, is_claude};
use super::roles::{DIR, RoleFile};
use crate::agent::Agent;

/// What `gt` itself has as the command of every role. It says nothing about arguments or models,
/// so settings decide.
const USUAL: &str = "claude --dangerously-skip-permissions";

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

//! How an agent is started: command line and environment.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::presets::Prompt;
use super::program::Program;
use super::{Town, env_file, settings};
use crate::agent::{Agent, Role};
use crate::exit::Exit;

/// Variables of whoever started us that would make an agent believe it were somebody else.
const FOREIGN: &[&str] = &["CLAUDECODE", "NOTIFY_SOCKET", "TMUX", "TMUX_PANE"];

/// All that is needed to start an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program, absolute or for PATH, and its arguments.
    pub argv: Vec<String>,
    /// All variables that are set for it: [`Town::environment`] and its program's own.
    pub env: BTreeMap<String, String>,
    /// The name under which the settings know the program.
    pub preset: String,
    /// How its screen line begins when it waits for input.
    pub ready_prompt: Option<String>,
    /// Milliseconds after which it counts as ready when no such line shows.
    pub ready_delay_ms: Option<u64>,
}

impl Town {
    /// How to start the agent.
    ///
    /// # Errors
    /// [`Exit::BadConfig`]: a settings file is broken and it is not known what it last said, or
    /// it names a program that is nowhere defined, or one that cannot be called.
    pub fn launch(&self, agent: &Agent) -> Result<Launch> {
        self.try_launch(agent)
            .map_err(|e| e.context(Exit::BadConfig))
    }

    fn try_launch(&self, agent: &Agent) -> Result<Launch> {
        self.accounts.known()?;
        let program = self.program(agent)?;
        let mut env = self.identity(agent, Some(&program));
        for (key, value) in program.env {
            // Who the agent is, is not for its program to say.
            let fixed = key.starts_with("GT_") || key == "BD_ACTOR" || key == "BEADS_AGENT_NAME";
            if !(fixed && env.contains_key(&key)) {
                env.insert(key, value);
            }
        }
        env.retain(|key, _| !FOREIGN.contains(&key.as_str()));

        let mut argv = program.argv;
        if program.is_claude && self.dialect.passes_settings() {
            argv.extend(self.claude_settings(agent));
        }
        if !self.dialect.is_first() {
            match program.prompt {
                Prompt::None => {}
                Prompt::Last => argv.push(first_words(agent)),
                Prompt::Option(option) => argv.extend([option.into(), first_words(agent)]),
            }
        }
        let mut texts = argv.iter().chain(env.values());
        ensure!(
            env.keys().all(|key| env_file::is_variable(key)) && !texts.any(|t| t.contains('\0')),
            "Agent '{}' has a NUL character or an invalid variable name; mend it in '{}'",
            program.name,
            settings::FILE
        );
        Ok(Launch {
            argv,
            env,
            preset: program.name,
            ready_prompt: program.ready_prompt,
            ready_delay_ms: program.ready_delay_ms,
        })
    }

    /// The variables that tell the agent who and where it is, as the `gt` in use sets them.
    pub fn environment(&self, agent: &Agent) -> BTreeMap<String, String> {
        self.identity(agent, self.program(agent).ok().as_ref())
    }

    fn identity(&self, agent: &Agent, program: Option<&Program>) -> BTreeMap<String, String> {
        let role = agent.role();
        let root = self.root.display().to_string();
        let mut env = BTreeMap::new();
        let mut set = |key: &str, value: &str| {
            env.insert(key.to_string(), value.to_string());
        };
        set("GT_ROOT", &root);
        set("GT_TOWN_ROOT", &root);
        set("BD_ACTOR", &agent.bd_actor());
        set("GIT_AUTHOR_NAME", agent.name().unwrap_or(agent.role_name()));
        if let Some(rig) = agent.rig() {
            set("GT_RIG", rig);
        }
        if let Some(name) = agent.name() {
            let key = match role {
                Role::Polecat => "GT_POLECAT",
                Role::Crew => "GT_CREW",
                _ => "GT_DOG_NAME",
            };
            set(key, name);
            if let Some(rig) = agent.rig() {
                set("BEADS_AGENT_NAME", &format!("{rig}/{name}"));
            }
        }
        if !self.dialect.has_address_roles() {
            set("GT_ROLE", agent.role_name());
            if matches!(role, Role::Polecat | Role::Crew | Role::Refinery) {
                set("BEADS_NO_DAEMON", "1");
            }
            return env;
        }
        match role {
            Role::Dog => set("GT_ROLE", "dog"),
            _ => set("GT_ROLE", &agent.to_string()),
        }
        set("GT_SESSION", &self.session(agent));
        set("GIT_CEILING_DIRECTORIES", &root);
        set("BD_BACKUP_ENABLED", "false");
        set("NODE_OPTIONS", "");
        if let Some(dir) = &self.accounts.value
            && let Ok(home) = env_file::home()
        {
            let dir = env_file::expand(dir, &home);
            set("CLAUDE_CONFIG_DIR", &dir.to_string_lossy());
        }
        if let Some(program) = program {
            set("CLAUDE_CODE_EFFORT_LEVEL", &program.effort);
            set("GT_AGENT", &program.name);
            set("GT_PROCESS_NAMES", &program.processes.join(","));
        }
        match role {
            Role::Refinery => set("GT_REFINERY", "1"),
            Role::Polecat => set("GT_POLECAT_PATH", &self.workdir(agent).to_string_lossy()),
            _ => {}
        }
        env
    }

    /// Where current Gas Town puts Claude's settings for a role: often above the working
    /// directory, where Claude does not look by itself.
    fn claude_settings(&self, agent: &Agent) -> Vec<String> {
        let dir = match agent.role() {
            Role::Polecat => "polecats",
            Role::Dog | Role::Boot => "deacon/dogs",
            _ => agent.role_name(),
        };
        let dir = self.path(agent.rig().unwrap_or_default()).join(dir);
        let file = dir.join(".claude/settings.json");
        if file.is_file() && dir != self.workdir(agent) {
            vec!["--settings".into(), file.display().to_string()]
        } else {
            Vec::new()
        }
    }
}

/// The first prompt. Without a slash, which an agent could take for a path.
fn first_words(agent: &Agent) -> String {
    format!(
        "You are {} in this Gas Town. Run `gt prime --hook` and begin.",
        agent.beacon()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::tests::town_with;

    fn agent(text: &str) -> Agent {
        Agent::parse(text).unwrap()
    }

    fn lines(env: &BTreeMap<String, String>, root: &str) -> String {
        let line = |(key, value): (&String, &String)| format!("{key}={}", value.replace(root, "T"));
        env.iter().map(line).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn environments_of_both_eras() {
        for (version, who, want) in [
            (
                1,
                "mayor",
                "BD_ACTOR=mayor GIT_AUTHOR_NAME=mayor GT_ROLE=mayor GT_ROOT=T GT_TOWN_ROOT=T",
            ),
            (
                1,
                "gastown/crew/max",
                "BD_ACTOR=gastown/crew/max BEADS_AGENT_NAME=gastown/max BEADS_NO_DAEMON=1 \
                 GIT_AUTHOR_NAME=max GT_CREW=max GT_RIG=gastown GT_ROLE=crew GT_ROOT=T GT_TOWN_ROOT=T",
            ),
            (
                1,
                "gastown/witness",
                "BD_ACTOR=gastown/witness GIT_AUTHOR_NAME=witness GT_RIG=gastown GT_ROLE=witness \
                 GT_ROOT=T GT_TOWN_ROOT=T",
            ),
            (
                2,
                "deacon/boot",
                "BD_ACTOR=deacon-boot BD_BACKUP_ENABLED=false CLAUDE_CODE_EFFORT_LEVEL=high \
                 CLAUDE_CONFIG_DIR=/c GIT_AUTHOR_NAME=boot GIT_CEILING_DIRECTORIES=T GT_AGENT=claude \
                 GT_PROCESS_NAMES=node,claude GT_ROLE=deacon/boot GT_ROOT=T GT_SESSION=hq-boot \
                 GT_TOWN_ROOT=T NODE_OPTIONS=",
            ),
            (
                2,
                "gastown/refinery",
                "BD_ACTOR=gastown/refinery BD_BACKUP_ENABLED=false CLAUDE_CODE_EFFORT_LEVEL=low \
                 CLAUDE_CONFIG_DIR=/c GIT_AUTHOR_NAME=refinery GIT_CEILING_DIRECTORIES=T \
                 GT_AGENT=claude GT_PROCESS_NAMES=node,claude GT_REFINERY=1 GT_RIG=gastown \
                 GT_ROLE=gastown/refinery GT_ROOT=T GT_SESSION=gt-refinery GT_TOWN_ROOT=T NODE_OPTIONS=",
            ),
            (
                2,
                "gastown/polecats/nux",
                "BD_ACTOR=gastown/polecats/nux BD_BACKUP_ENABLED=false BEADS_AGENT_NAME=gastown/nux \
                 CLAUDE_CODE_EFFORT_LEVEL=high CLAUDE_CONFIG_DIR=/c GIT_AUTHOR_NAME=nux \
                 GIT_CEILING_DIRECTORIES=T GT_AGENT=claude GT_POLECAT=nux \
                 GT_POLECAT_PATH=T/gastown GT_PROCESS_NAMES=node,claude GT_RIG=gastown \
                 GT_ROLE=gastown/polecats/nux GT_ROOT=T GT_SESSION=gt-nux GT_TOWN_ROOT=T NODE_OPTIONS=",
            ),
            (
                2,
                "deacon/dogs/alpha",
                "BD_ACTOR=deacon/dogs/alpha BD_BACKUP_ENABLED=false CLAUDE_CODE_EFFORT_LEVEL=high \
                 CLAUDE_CONFIG_DIR=/c GIT_AUTHOR_NAME=alpha GIT_CEILING_DIRECTORIES=T GT_AGENT=claude \
                 GT_DOG_NAME=alpha GT_PROCESS_NAMES=node,claude GT_ROLE=dog GT_ROOT=T \
                 GT_SESSION=hq-dog-alpha GT_TOWN_ROOT=T NODE_OPTIONS=",
            ),
        ] {
            let (dir, town) = town_with(
                version,
                &[
                    (
                        "mayor/accounts.json",
                        r#"{"default":"me","accounts":{"me":{"config_dir":"/c"}}}"#,
                    ),
                    (
                        "gastown/settings/config.json",
                        r#"{"role_effort":{"refinery":"low"}}"#,
                    ),
                ],
            );
            let agent = agent(who);
            let env = town.environment(&agent);
            assert_eq!(lines(&env, dir.path().to_str().unwrap()), want, "{who}");
            assert_eq!(town.launch(&agent).unwrap().env, env, "{who}");
        }
    }

    #[test]
    fn a_program_adds_to_the_environment_but_is_not_somebody_else() {
        let settings = r#"{"default_agent":"x","agents":{"x":{"command":"/x","env":{
            "MINE":"1","GT_MINE":"2","NODE_OPTIONS":"-x","GT_ROLE":"mayor","BD_ACTOR":"mayor",
            "CLAUDECODE":"1","TMUX":"y","NOTIFY_SOCKET":"z","EMPTY":null}}}}"#;
        let (_dir, town) = town_with(2, &[("settings/config.json", settings)]);
        let env = town.launch(&Agent::deacon()).unwrap().env;
        for (key, want) in [
            ("MINE", Some("1")),
            ("GT_MINE", Some("2")),
            ("NODE_OPTIONS", Some("-x")),
            ("EMPTY", Some("")),
            ("GT_ROLE", Some("deacon")),
            ("BD_ACTOR", Some("deacon")),
            ("CLAUDECODE", None),
            ("TMUX", None),
            ("NOTIFY_SOCKET", None),
        ] {
            assert_eq!(env.get(key).map(String::as_str), want, "{key}");
        }
    }

    #[test]
    fn claude_gets_the_settings_of_its_role_where_there_are_some() {
        let file = "gastown/polecats/.claude/settings.json";
        let (_dir, town) = town_with(2, &[(file, "{}")]);
        let argv = town.launch(&agent("gastown/polecats/nux")).unwrap().argv;
        assert_eq!(
            argv[2..4],
            [
                "--settings".to_string(),
                town.path(file).display().to_string()
            ]
        );
        let argv = town.launch(&agent("gastown/witness")).unwrap().argv;
        assert!(!argv.contains(&"--settings".to_string()));
    }
}

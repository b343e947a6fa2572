//! How an agent is started: command line and environment.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::hooks::Hooks;
use super::presets::Prompt;
use super::program::{Appearance, Program, is_claude};
use super::{Town, env_file, roles, settings};
use crate::agent::{Agent, Role};
use crate::environment;
use crate::exit::Exit;
use crate::files;

/// How long after its start a program counts as ready, when neither its screen nor its settings
/// tell.
const READY_DELAY: Duration = Duration::from_secs(5);

/// The variable that names the directory of an account of Claude.
const CONFIG_DIR: &str = "CLAUDE_CONFIG_DIR";

/// All that is needed to start an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program, absolute or for PATH, and its arguments without the first words.
    pub argv: Vec<String>,
    /// All variables that are set for it: [`Town::environment`] and its program's own.
    pub env: BTreeMap<String, String>,
    /// The name under which the settings know the program.
    pub preset: String,
    /// Where its hooks come from; `None`: we do not know where such a program has them.
    pub hooks: Option<Hooks>,
    /// What its program looks like.
    pub appearance: Appearance,
    /// Milliseconds after its start from which it counts as ready, if its screen does not tell.
    pub ready_delay_ms: Option<u64>,
    prompt: Prompt,
}

impl Launch {
    /// The command line, with the first words if the program takes them as an argument.
    pub fn command(&self, words: &str) -> Vec<String> {
        let mut argv = self.argv.clone();
        match self.prompt {
            Prompt::Unknown | Prompt::Typed => {}
            Prompt::Last => argv.push(words.into()),
            Prompt::Option(option) => argv.extend([option.into(), words.into()]),
        }
        argv
    }

    /// How long after its start the program counts as ready, if its screen does not tell.
    pub fn ready_delay(&self) -> Duration {
        self.ready_delay_ms
            .map_or(READY_DELAY, Duration::from_millis)
    }

    /// Whether the first words are typed, because the program does not take them as an argument.
    pub fn types_words(&self) -> bool {
        self.prompt == Prompt::Typed
    }

    /// Whether the agent gets no first words, because nobody knows how its program takes them.
    pub fn lacks_words(&self) -> bool {
        self.prompt == Prompt::Unknown
    }
}

impl Town {
    /// How to start the agent.
    ///
    /// # Errors
    /// [`Exit::BadConfig`]: a settings file is broken and there is no last good copy of it, or it
    /// names a program that is nowhere defined or that cannot be run.
    pub fn launch(&self, agent: &Agent) -> Result<Launch> {
        self.try_launch(agent)
            .map_err(|e| e.context(Exit::BadConfig))
    }

    /// What the agent's program looks like. For a look at its terminal: this reads fewer files than
    /// [`Town::launch`].
    ///
    /// # Errors
    /// As for [`Town::launch`].
    pub fn appearance(&self, agent: &Agent) -> Result<Appearance> {
        let role = self.role_file(agent)?;
        let program = self.with_command(agent, self.program(agent)?, &role)?;
        Ok(program.appearance())
    }

    fn try_launch(&self, agent: &Agent) -> Result<Launch> {
        let role = self.role_file(agent)?;
        let program = self.with_command(agent, self.program(agent)?, &role)?;
        let appearance = program.appearance();
        let mut env = self.identity(agent, Some(&program));
        for (key, value) in &role.env {
            if !environment::is_fixed(key) {
                env.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        for (key, value) in program.env {
            // A program's settings must not change who the agent is.
            let fixed = key.starts_with("GT_") || key == "BD_ACTOR" || key == "BEADS_AGENT_NAME";
            if !(fixed && env.contains_key(&key) || environment::is_fixed(&key)) {
                env.insert(key, value);
            }
        }

        for (key, value) in self.given_env() {
            env.entry(key.clone()).or_insert_with(|| value.clone());
        }

        // The account is for Claude; an unknown program may be Claude too.
        if self.dialect.has_address_roles()
            && program.base.is_none_or(|base| is_claude(Some(base)))
            && !env.contains_key(CONFIG_DIR)
        {
            self.accounts.known()?;
        }

        let mut argv = program.argv;
        let mut hooks = None;
        if is_claude(program.base) {
            let config = env.get(CONFIG_DIR).map(String::as_str);
            let found = self.hooks(agent, config);
            // Of several settings Claude reads the last alone, so a person's stay the only ones.
            let is_given = |arg: &String| arg == "--settings" || arg.starts_with("--settings=");
            argv.extend(match argv.iter().any(is_given) {
                true => Hooks::Found.arguments(),
                false => found.arguments(),
            });
            hooks = Some(found);
        } else if let Some(file) = program.base.and_then(|base| base.hooks) {
            let path = self.workdir(agent).join(file);
            let option = program.base.and_then(|base| base.hooks_option);
            hooks = Some(match path.is_file() {
                true => {
                    if let Some(option) = option.filter(|_| program.has_usual_arguments) {
                        argv.extend([option.into(), file.into()]);
                    }
                    Hooks::Found
                }
                false => Hooks::Absent(path),
            });
        }
        let mut texts = argv.iter().chain(env.values());
        ensure!(
            env.keys().all(|key| env_file::is_variable(key)) && !texts.any(|t| t.contains('\0')),
            "Agent '{}' has a NUL character or an invalid variable name; mend it in '{}', '{}' or '{}/{}.toml'",
            program.name,
            settings::FILE,
            settings::AGENTS_FILE,
            roles::DIR,
            agent.role_name()
        );
        Ok(Launch {
            appearance,
            argv,
            env,
            preset: program.name,
            hooks,
            ready_delay_ms: program.ready_delay_ms,
            prompt: program.prompt,
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
        let author = match (agent.name(), agent.rig()) {
            (Some(name), _) => name.to_string(),
            (None, Some(rig)) => format!("{rig}/{}", agent.role_name()),
            (None, None) => agent.role_name().to_string(),
        };
        set("GIT_AUTHOR_NAME", &author);
        if let Some(rig) = agent.rig() {
            set("GT_RIG", rig);
        }
        if role == Role::Refinery {
            set("GT_REFINERY", "1");
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
            // Polecats and the Refinery share the beads of their rig.
            let beads = match role {
                Role::Polecat => Some(".beads"),
                Role::Refinery => Some("mayor/rig/.beads"),
                _ => None,
            };
            if let (true, Some(beads), Some(rig)) = (self.dialect.names_beads(), beads, agent.rig())
            {
                set("BEADS_DIR", &self.path(rig).join(beads).to_string_lossy());
                let name = agent.name().unwrap_or(agent.role_name());
                set("BEADS_AGENT_NAME", &format!("{rig}/{name}"));
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
        // One server holds the beads of the whole town: bd must not start another.
        set("BEADS_DOLT_AUTO_START", "0");
        set("NODE_OPTIONS", "");
        set("CLAUDECODE", "");
        if let Some(dir) = &self.accounts.value
            && let Ok(home) = env_file::home()
        {
            let dir = env_file::expand(dir, &home);
            set(CONFIG_DIR, &dir.to_string_lossy());
        }
        if let Some(program) = program {
            set("CLAUDE_CODE_EFFORT_LEVEL", &program.effort);
            set("GT_AGENT", &program.name);
            set("GT_PROCESS_NAMES", &program.processes.join(","));
            if let Some(key) = program.base.and_then(|base| base.session_id) {
                set("GT_SESSION_ID_ENV", key);
            }
        }
        if role == Role::Witness {
            set("GT_SCOPE", "rig");
        }
        if role == Role::Polecat {
            set("BD_DOLT_AUTO_COMMIT", "off");
            let dir = self.workdir(agent);
            set("GT_POLECAT_PATH", &dir.to_string_lossy());
            match self.slot(agent) {
                Ok(slot) => set("POLECAT_SLOT", &slot.to_string()),
                // With a wrong number the polecat would use what belongs to another.
                Err(e) => log::warn!(gt_agent:% = agent; "{e:#}, leaving POLECAT_SLOT unset"),
            }
            if let Some(branch) = branch(&dir) {
                set("GT_BRANCH", &branch);
            }
        }
        let addresses = self.addresses(agent, &env);
        env.extend(addresses);
        env
    }

    /// The polecat's number among the polecats of its rig, from 0. By it `gt` gives each its own
    /// share of what they would fight over.
    fn slot(&self, agent: &Agent) -> Result<usize> {
        let dir = self.path(agent.rig().unwrap_or_default()).join("polecats");
        let own = agent.name().unwrap_or_default();
        let failed = || format!("Failed to list '{}'", dir.display());
        let mut slot = 0;
        if !files::is_dir(&dir)? {
            return Ok(slot);
        }
        for entry in dir.read_dir().with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let name = entry.file_name().into_string().unwrap_or_default();
            let is_before = !name.starts_with('.') && !name.is_empty() && name.as_str() < own;
            slot += usize::from(is_before && files::is_dir(&entry.path())?);
        }
        Ok(slot)
    }
}

/// The branch that is checked out in a worktree or clone; `None`: there is none.
fn branch(dir: &Path) -> Option<String> {
    let git = dir.join(".git");
    let git = match git.is_file() {
        false => git,
        // In a worktree `.git` is a file that names the directory of git's data.
        true => dir.join(files::read(&git).ok()??.strip_prefix("gitdir:")?.trim()),
    };
    let head = files::read(&git.join("HEAD")).ok()??;
    let branch = head.trim().strip_prefix("ref: refs/heads/")?;
    (!branch.contains(char::is_control)).then(|| branch.to_string())
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

    /// What each gt gives the agents that it starts, where they work, and how it calls their
    /// sessions; recorded. Ours have all of it.
    #[test]
    fn recorded_environments() {
        for (release, recorded) in [
            (
                "0.1.0",
                include_str!("../../tests/fixtures/gt-0.1.0/environments"),
            ),
            (
                "0.2.6",
                include_str!("../../tests/fixtures/gt-0.2.6/environments"),
            ),
            (
                "1.0.1",
                include_str!("../../tests/fixtures/gt-1.0.1/environments"),
            ),
        ] {
            let ours = format!(r#"{{"gt_version":"{release}"}}"#);
            let rigs = r#"{"version":1,"rigs":{"proj":{"beads":{"prefix":"pj"}}}}"#;
            let mut files = vec![
                (crate::town::ours::FILE, ours.as_str()),
                (crate::town::rigs::FILE, rigs),
            ];
            let lines: Vec<Vec<&str>> = recorded
                .lines()
                .map(|line| line.split(' ').collect())
                .collect();
            let kept: Vec<String> = lines.iter().map(|line| format!("{}/x", line[2])).collect();
            files.extend(kept.iter().map(|file| (file.as_str(), "")));
            let (dir, town) = town_with(2, &files);
            let root = dir.path().to_str().unwrap();
            for line in &lines {
                let [who, session, works, variables @ ..] = &line[..] else {
                    panic!("{line:?}")
                };
                let who = agent(who);
                assert_eq!(town.session(&who), *session, "{release}");
                assert_eq!(
                    town.workdir(&who),
                    dir.path().join(works),
                    "{release} {who}"
                );
                let ours = self::lines(&town.environment(&who), root);
                let ours: Vec<&str> = ours.split(' ').collect();
                for variable in variables {
                    assert!(ours.contains(variable), "{release} {who}: {variable}");
                }
            }
        }
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
                "BD_ACTOR=gastown/witness GIT_AUTHOR_NAME=gastown/witness GT_RIG=gastown GT_ROLE=witness \
                 GT_ROOT=T GT_TOWN_ROOT=T",
            ),
            (
                1,
                "gastown/refinery",
                "BD_ACTOR=gastown/refinery BEADS_AGENT_NAME=gastown/refinery \
                 BEADS_DIR=T/gastown/mayor/rig/.beads BEADS_NO_DAEMON=1 \
                 GIT_AUTHOR_NAME=gastown/refinery GT_REFINERY=1 GT_RIG=gastown GT_ROLE=refinery \
                 GT_ROOT=T GT_TOWN_ROOT=T",
            ),
            (
                1,
                "gastown/polecats/nux",
                "BD_ACTOR=gastown/polecats/nux BEADS_AGENT_NAME=gastown/nux \
                 BEADS_DIR=T/gastown/.beads BEADS_NO_DAEMON=1 GIT_AUTHOR_NAME=nux GT_POLECAT=nux \
                 GT_RIG=gastown GT_ROLE=polecat GT_ROOT=T GT_TOWN_ROOT=T",
            ),
            (
                2,
                "deacon/boot",
                "BD_ACTOR=deacon-boot BD_BACKUP_ENABLED=false BEADS_DOLT_AUTO_START=0 CLAUDECODE= CLAUDE_CODE_EFFORT_LEVEL=high \
                 CLAUDE_CONFIG_DIR=/c GIT_AUTHOR_NAME=boot GIT_CEILING_DIRECTORIES=T GT_AGENT=claude \
                 GT_PROCESS_NAMES=node,claude GT_ROLE=deacon/boot GT_ROOT=T GT_SESSION=hq-boot GT_SESSION_ID_ENV=CLAUDE_SESSION_ID \
                 GT_TOWN_ROOT=T NODE_OPTIONS=",
            ),
            (
                2,
                "gastown/refinery",
                "BD_ACTOR=gastown/refinery BD_BACKUP_ENABLED=false BEADS_DOLT_AUTO_START=0 CLAUDECODE= CLAUDE_CODE_EFFORT_LEVEL=low \
                 CLAUDE_CONFIG_DIR=/c GIT_AUTHOR_NAME=gastown/refinery GIT_CEILING_DIRECTORIES=T \
                 GT_AGENT=claude GT_PROCESS_NAMES=node,claude GT_REFINERY=1 GT_RIG=gastown \
                 GT_ROLE=gastown/refinery GT_ROOT=T GT_SESSION=gt--refinery GT_SESSION_ID_ENV=CLAUDE_SESSION_ID GT_TOWN_ROOT=T NODE_OPTIONS=",
            ),
            (
                2,
                "gastown/polecats/nux",
                "BD_ACTOR=gastown/polecats/nux BD_BACKUP_ENABLED=false BD_DOLT_AUTO_COMMIT=off \
                 BEADS_AGENT_NAME=gastown/nux BEADS_DOLT_AUTO_START=0 CLAUDECODE= CLAUDE_CODE_EFFORT_LEVEL=high CLAUDE_CONFIG_DIR=/c GIT_AUTHOR_NAME=nux \
                 GIT_CEILING_DIRECTORIES=T GT_AGENT=claude GT_BRANCH=polecat/nux GT_POLECAT=nux \
                 GT_POLECAT_PATH=T/gastown/polecats/nux GT_PROCESS_NAMES=node,claude GT_RIG=gastown \
                 GT_ROLE=gastown/polecats/nux GT_ROOT=T GT_SESSION=gt--nux \
                 GT_SESSION_ID_ENV=CLAUDE_SESSION_ID GT_TOWN_ROOT=T NODE_OPTIONS= POLECAT_SLOT=1",
            ),
            (
                2,
                "deacon/dogs/alpha",
                "BD_ACTOR=deacon/dogs/alpha BD_BACKUP_ENABLED=false BEADS_DOLT_AUTO_START=0 CLAUDECODE= CLAUDE_CODE_EFFORT_LEVEL=high \
                 CLAUDE_CONFIG_DIR=/c GIT_AUTHOR_NAME=alpha GIT_CEILING_DIRECTORIES=T GT_AGENT=claude \
                 GT_DOG_NAME=alpha GT_PROCESS_NAMES=node,claude GT_ROLE=dog GT_ROOT=T \
                 GT_SESSION=hq-dog-alpha GT_SESSION_ID_ENV=CLAUDE_SESSION_ID GT_TOWN_ROOT=T NODE_OPTIONS=",
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
                    ("gastown/polecats/ace/x", ""),
                    ("gastown/polecats/.x/x", ""),
                    (
                        "gastown/polecats/nux/.git",
                        "gitdir: ../../g/worktrees/nux\n",
                    ),
                    (
                        "gastown/g/worktrees/nux/HEAD",
                        "ref: refs/heads/polecat/nux\n",
                    ),
                ],
            );
            let agent = agent(who);
            let env = town.environment(&agent);
            assert_eq!(lines(&env, dir.path().to_str().unwrap()), want, "{who}");
            let mut launched = town.launch(&agent).unwrap().env;
            // What the preset of claude adds.
            launched.remove("CLAUDE_CODE_DISABLE_AGENT_VIEW").unwrap();
            assert_eq!(launched, env, "{who}");
        }
    }

    /// Broken accounts stop those whose account they would name, and nobody else.
    #[test]
    fn who_needs_the_accounts() {
        let config = r#"{"command":"/x","env":{"CLAUDE_CONFIG_DIR":"/c"}}"#;
        for (version, define, starts) in [
            (1, r#"{"provider":"claude"}"#, true),
            (2, r#"{"provider":"claude"}"#, false),
            (2, r#"{"provider":"codex"}"#, true),
            (2, r#"{"command":"/x"}"#, false),
            (2, config, true),
        ] {
            let define = format!(r#"{{"default_agent":"x","agents":{{"x":{define}}}}}"#);
            let files = [
                ("settings/config.json", define.as_str()),
                (settings::ACCOUNTS_FILE, "{"),
            ];
            let (_dir, town) = town_with(version, &files);
            let launch = town.launch(&Agent::deacon());
            assert_eq!(launch.is_ok(), starts, "{version} {define}");
            if let Err(e) = launch {
                assert_eq!(crate::exit::of(&e), Exit::BadConfig);
                assert!(format!("{e:#}").contains("mayor/accounts.json'"), "{e:#}");
            }
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
            ("CLAUDECODE", Some("")),
            ("TMUX", None),
            ("NOTIFY_SOCKET", None),
        ] {
            assert_eq!(env.get(key).map(String::as_str), want, "{key}");
        }
    }

    #[test]
    fn first_words_and_hooks_as_each_program_takes_them() {
        let hook = ("deacon/.pi/extensions/gastown-hooks.js", "");
        for (files, define, want) in [
            (
                &[][..],
                r#"{"provider":"claude"}"#,
                "claude --dangerously-skip-permissions --settings J W",
            ),
            (
                &[],
                r#"{"provider":"gemini"}"#,
                "gemini --approval-mode yolo -i W",
            ),
            (
                &[],
                r#"{"provider":"codex"}"#,
                "codex --dangerously-bypass-approvals-and-sandbox -c features.daemon_auto_start=false W",
            ),
            (&[], r#"{"provider":"opencode"}"#, "opencode --prompt W"),
            (&[("deacon/x", "")], r#"{"provider":"pi"}"#, "pi W"),
            (
                &[hook],
                r#"{"provider":"pi"}"#,
                "pi -e .pi/extensions/gastown-hooks.js W",
            ),
            (&[hook], r#"{"provider":"pi","args":[]}"#, "pi W"),
            (
                &[],
                r#"{"provider":"claude","args":["--settings","/s"]}"#,
                "claude --settings /s -- W",
            ),
            (&[], r#"{"command":"/x"}"#, "/x"),
            (&[], r#"{"command":"/x","prompt_mode":"arg"}"#, "/x W"),
            (
                &[],
                r#"{"provider":"codex","args":[],"prompt_mode":"none"}"#,
                "codex",
            ),
        ] {
            let define = format!(r#"{{"default_agent":"x","agents":{{"x":{define}}}}}"#);
            let mut files = files.to_vec();
            files.push(("settings/config.json", &define));
            let (_dir, town) = town_with(2, &files);
            let launch = town.launch(&Agent::deacon()).unwrap();
            let mut argv = launch.command("W");
            for text in argv.iter_mut().filter(|text| text.starts_with('{')) {
                *text = "J".into();
            }
            assert_eq!(argv.join(" "), want, "{define}");
            let taken = !want.ends_with('W');
            assert_eq!(
                launch.types_words() || launch.lacks_words(),
                taken,
                "{define}"
            );
        }
    }
}

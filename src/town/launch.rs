//! How an agent is started: command, arguments and environment, by the settings of town and rig.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, ensure};

use super::kept::Kept;
use super::presets::{PRESETS, Preset, Prompt, preset};
use super::settings::{self, Custom, Settings};
use super::{Era, Town, env_file};
use crate::agent::{Agent, Role};
use crate::exit::Exit;

/// The agent where no setting names one.
const DEFAULT_AGENT: &str = "claude";

/// Variables of whoever started us that would make an agent believe it were somebody else.
const FOREIGN: &[&str] = &["CLAUDECODE", "NOTIFY_SOCKET", "TMUX", "TMUX_PANE"];

/// All that is needed to start an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program, absolute or for PATH, and its arguments.
    pub argv: Vec<String>,
    /// The variables that are set for it: [`Town::environment`] and the agent program's own.
    pub env: BTreeMap<String, String>,
    /// The name under which the settings know the agent program.
    pub preset: String,
    /// How its screen line begins when it waits for input.
    pub ready_prompt: Option<String>,
    /// Milliseconds after which it counts as ready when no such line shows.
    pub ready_delay_ms: Option<u64>,
}

/// An agent program, resolved.
#[derive(Debug)]
struct Program {
    name: String,
    argv: Vec<String>,
    env: BTreeMap<String, String>,
    processes: Vec<String>,
    ready_prompt: Option<String>,
    ready_delay_ms: Option<u64>,
    prompt: Prompt,
    is_claude: bool,
}

/// The settings of a rig; empty for an agent of the town.
struct RigSettings {
    settings: Kept<Settings>,
    agents: Kept<BTreeMap<String, Option<Custom>>>,
}

type Roles = BTreeMap<String, Option<String>>;

fn entry<'a, T>(map: &'a BTreeMap<String, Option<T>>, key: &str) -> Option<&'a T> {
    map.get(key).and_then(Option::as_ref)
}

fn named<'a>(map: &'a Roles, key: &str) -> Option<&'a str> {
    entry(map, key)
        .map(String::as_str)
        .filter(|name| !name.is_empty())
}

impl Town {
    /// How to start the agent.
    ///
    /// # Errors
    /// [`Exit::BadConfig`]: a settings file is broken and it is not known what it last said, or
    /// it names an agent program that is nowhere defined, or one that cannot be called.
    pub fn launch(&self, agent: &Agent) -> Result<Launch> {
        let launch = || {
            self.accounts.known()?;
            let program = self.program(agent)?;
            let mut env = self.identity(agent, Some(&program));
            for (key, value) in &program.env {
                // Who the agent is, is not for its program to say.
                let fixed =
                    key.starts_with("GT_") || key == "BD_ACTOR" || key == "BEADS_AGENT_NAME";
                if !(fixed && env.contains_key(key)) {
                    env.insert(key.clone(), value.clone());
                }
            }
            env.retain(|key, _| !FOREIGN.contains(&key.as_str()));

            let mut argv = program.argv;
            if program.is_claude
                && let Some(file) = self.claude_settings(agent)
            {
                argv.extend(["--settings".into(), file]);
            }
            if self.era == Era::Current {
                match program.prompt {
                    Prompt::None => {}
                    Prompt::Last => argv.push(first_words(agent)),
                    Prompt::Option(option) => argv.extend([option.into(), first_words(agent)]),
                }
            }
            let nul = |text: &String| text.contains('\0');
            ensure!(
                env.keys().all(|key| env_file::is_variable(key))
                    && !argv.iter().chain(env.values()).any(nul),
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
        };
        launch().map_err(|e: anyhow::Error| e.context(Exit::BadConfig))
    }

    /// The variables that tell the agent who and where it is, as Gas Town of this era sets them.
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
        if self.era == Era::Classic {
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
        set("CLAUDE_CODE_EFFORT_LEVEL", &self.effort(agent));
        if let Some(dir) = &self.accounts.value
            && let Ok(home) = env_file::home()
        {
            set(
                "CLAUDE_CONFIG_DIR",
                &env_file::expand(dir, &home).to_string_lossy(),
            );
        }
        if let Some(program) = program {
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

    fn effort(&self, agent: &Agent) -> String {
        let role = agent.role_name();
        let rig = self.rig_settings(agent).settings.value;
        named(&rig.role_effort, role)
            .or_else(|| named(&self.settings.value.role_effort, role))
            .unwrap_or("high")
            .to_string()
    }

    fn rig_settings(&self, agent: &Agent) -> RigSettings {
        match agent.rig() {
            None => RigSettings {
                settings: Kept::default(),
                agents: Kept::default(),
            },
            Some(rig) => RigSettings {
                settings: Kept::load(
                    &self.root,
                    &format!("{rig}/{}", settings::FILE),
                    settings::parse,
                ),
                agents: Kept::load(
                    &self.root,
                    &format!("{rig}/{}", settings::AGENTS_FILE),
                    settings::parse_agents,
                ),
            },
        }
    }

    /// The agent program for this agent; the first setting that says so, from the narrowest.
    fn program(&self, agent: &Agent) -> Result<Program> {
        let files = self.rig_settings(agent);
        let rig = files.settings.known()?;
        let town = self.settings.known()?;
        let role = agent.role_name();
        let crew = agent
            .name()
            .filter(|_| agent.role() == Role::Crew)
            .unwrap_or_default();

        let by_role = [
            (
                true,
                format!("worker_agents.{crew}"),
                named(&rig.worker_agents, crew),
            ),
            (
                false,
                format!("crew_agents.{crew}"),
                named(&town.crew_agents, crew),
            ),
            (
                true,
                format!("role_agents.{role}"),
                named(&rig.role_agents, role),
            ),
            (
                false,
                format!("role_agents.{role}"),
                named(&town.role_agents, role),
            ),
        ];
        let default = |of_rig, key: &str, name: &Option<String>| {
            let name = name.clone().filter(|name| !name.is_empty())?;
            Some((of_rig, key.to_string(), name))
        };
        let found = by_role
            .into_iter()
            .find_map(|(of_rig, key, name)| Some((of_rig, key, name?.to_string())));
        let (of_rig, key, name) = match (found, &rig.runtime) {
            (Some(found), _) => found,
            (None, Some(runtime)) => {
                let name = runtime.provider.as_deref().unwrap_or(DEFAULT_AGENT);
                return self.complete(name, preset(name), Some(runtime));
            }
            (None, None) => default(true, "agent", &rig.agent)
                .or_else(|| default(false, "default_agent", &town.default_agent))
                .unwrap_or((false, String::new(), DEFAULT_AGENT.into())),
        };

        let rig_agents = files.agents.known()?;
        let town_agents = self.agents.known()?;
        let custom = entry(&rig.agents, &name)
            .or_else(|| entry(&town.agents, &name))
            .or_else(|| entry(rig_agents, &name))
            .or_else(|| entry(town_agents, &name));
        let base = preset(&name);
        if custom.is_none() && base.is_none() {
            let mut known: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
            let customs = [&rig.agents, &town.agents, rig_agents, town_agents];
            known.extend(
                customs
                    .iter()
                    .flat_map(|map| map.keys())
                    .map(String::as_str),
            );
            known.sort_unstable();
            known.dedup();
            let dir = match agent.rig() {
                Some(rig) if of_rig => self.path(rig),
                _ => self.root.clone(),
            };
            return Err(anyhow!(
                "{key} in '{}' names the agent {name:?}, which is not defined; \
                 define it under 'agents' there or use one of {}",
                dir.join(settings::FILE).display(),
                known.join(", ").replace(char::is_control, " ")
            ));
        }
        self.complete(&name, base, custom)
    }

    /// A custom agent, completed by the preset that it names, replaces, or calls.
    fn complete(
        &self,
        name: &str,
        base: Option<&'static Preset>,
        custom: Option<&Custom>,
    ) -> Result<Program> {
        let none = Custom::default();
        let custom = custom.unwrap_or(&none);
        let by_command = || {
            let command = custom.command.as_deref()?;
            PRESETS.iter().find(|preset| preset.command == command)
        };
        let base = custom
            .provider
            .as_deref()
            .and_then(preset)
            .or(base)
            .or_else(by_command);

        let command = custom
            .command
            .clone()
            .filter(|command| !command.is_empty())
            .or(base.map(|base| base.command.into()))
            .ok_or_else(|| {
                anyhow!(
                    "Agent {name:?} has no command; add one in '{}'",
                    settings::FILE
                )
            })?;
        let owned = |list: &[&str]| list.iter().map(|text| text.to_string()).collect();
        let args = match (&custom.args, base) {
            (Some(args), _) => args.clone(),
            (None, base) => base.map(|base| owned(base.args)).unwrap_or_default(),
        };
        let tmux = custom.tmux.clone().unwrap_or_default();
        let processes = custom
            .process_names
            .clone()
            .or(tmux.process_names)
            .or(base.map(|base| owned(base.processes)))
            .unwrap_or_else(|| vec![command.rsplit('/').next().unwrap_or_default().into()]);

        let is_claude = base.is_some_and(|base| base.name == "claude");
        let usual_prompt = base.and_then(|base| match base.ready_prompt {
            Some(_) if is_claude && self.era == Era::Classic => Some("> "),
            prompt => prompt,
        });
        let prompt = match (custom.prompt_mode.as_deref(), base.map(|base| base.prompt)) {
            (Some("none"), _) | (None, None) => Prompt::None,
            (Some("arg"), None | Some(Prompt::None)) => Prompt::Last,
            (_, Some(prompt)) => prompt,
            (Some(_), None) => Prompt::None,
        };
        let base_env = base.map(|base| base.env).unwrap_or_default();
        let mut env: BTreeMap<String, String> = base_env
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect();
        for (key, value) in &custom.env {
            env.insert(key.clone(), value.clone().unwrap_or_default());
        }
        Ok(Program {
            name: name.to_string(),
            argv: [custom.exec_wrapper.clone(), vec![command], args].concat(),
            env,
            processes,
            ready_prompt: custom
                .ready_prompt_prefix
                .clone()
                .or(tmux.ready_prompt_prefix)
                .or(usual_prompt.map(String::from))
                .filter(|prompt| !prompt.is_empty()),
            ready_delay_ms: custom
                .ready_delay_ms
                .or(tmux.ready_delay_ms)
                .or(base.and_then(|base| base.ready_delay_ms)),
            prompt,
            is_claude,
        })
    }

    /// Where current Gas Town puts Claude's settings for a role: above the working directory,
    /// where Claude does not look by itself.
    fn claude_settings(&self, agent: &Agent) -> Option<String> {
        let dir = match agent.role() {
            Role::Polecat => "polecats",
            Role::Dog | Role::Boot => "deacon/dogs",
            _ => agent.role_name(),
        };
        let file = self
            .path(agent.rig().unwrap_or_default())
            .join(dir)
            .join(".claude/settings.json");
        (self.era == Era::Current && file.is_file()).then(|| file.display().to_string())
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
    use crate::files;
    use crate::town::tests::town;

    /// The town of that version again, with these files.
    fn town_with(version: i64, texts: &[(&str, &str)]) -> (tempfile::TempDir, Town) {
        let (dir, town) = town(version);
        for (file, text) in texts {
            files::write(&town.path(file), text.as_bytes()).unwrap();
        }
        let town = Town::at(dir.path(), None).unwrap();
        (dir, town)
    }

    fn agent(text: &str) -> Agent {
        Agent::parse(text).unwrap()
    }

    const CLAUDE: &str = "claude --dangerously-skip-permissions";

    #[test]
    fn without_settings_it_is_claude() {
        for (version, prompt, argc) in [(1, "> ", 2), (2, "❯ ", 3)] {
            let (_dir, town) = town(version);
            let launch = town.launch(&agent("gastown/witness")).unwrap();
            assert_eq!(launch.argv[..2].join(" "), CLAUDE);
            assert_eq!(launch.argv.len(), argc);
            assert_eq!(launch.preset, "claude");
            assert_eq!(launch.ready_prompt.as_deref(), Some(prompt));
            assert_eq!(launch.ready_delay_ms, Some(10_000));
        }
        let (_dir, town) = town(2);
        assert_eq!(
            town.launch(&agent("gastown/crew/max")).unwrap().argv[2],
            "You are crew max (rig: gastown) in this Gas Town. Run `gt prime --hook` and begin."
        );
    }

    #[test]
    fn the_narrowest_setting_wins() {
        const TOWN: &str = "settings/config.json";
        const RIG: &str = "gastown/settings/config.json";
        const ALL: &str =
            r#""agents":{"a":{"command":"/a"},"b":{"command":"/b"},"c":{"command":"/c"}}"#;
        for (settings, witness, crew, mayor) in [
            (&[(TOWN, r#""default_agent":"a""#)][..], "/a", "/a", "/a"),
            (
                &[(
                    TOWN,
                    r#""default_agent":"","role_agents":{"crew":"b","mayor":null}"#,
                )],
                CLAUDE,
                "/b",
                CLAUDE,
            ),
            (
                &[(
                    TOWN,
                    r#""default_agent":"a","role_agents":{"witness":"b"},"crew_agents":{"max":"c"}"#,
                )],
                "/b",
                "/c",
                "/a",
            ),
            (
                &[(TOWN, r#""default_agent":"a""#), (RIG, r#""agent":"b""#)],
                "/b",
                "/b",
                "/a",
            ),
            (
                &[
                    (TOWN, r#""role_agents":{"witness":"a"}"#),
                    (RIG, r#""agent":"b","worker_agents":{"max":"c"}"#),
                ],
                "/a",
                "/c",
                CLAUDE,
            ),
            (
                &[
                    (TOWN, r#""role_agents":{"witness":"a"}"#),
                    (RIG, r#""role_agents":{"witness":"c"}"#),
                ],
                "/c",
                CLAUDE,
                CLAUDE,
            ),
            (
                &[
                    (TOWN, r#""default_agent":"a""#),
                    (
                        RIG,
                        r#""agent":"b","runtime":{"command":"/r","args":["x"]}"#,
                    ),
                ],
                "/r x",
                "/r x",
                "/a",
            ),
        ] {
            let texts: Vec<_> = settings
                .iter()
                .map(|(file, text)| (*file, format!("{{{text},{ALL}}}")))
                .collect();
            let texts: Vec<_> = texts
                .iter()
                .map(|(file, text)| (*file, text.as_str()))
                .collect();
            let (_dir, town) = town_with(1, &texts);
            for (who, want) in [
                ("gastown/witness", witness),
                ("gastown/crew/max", crew),
                ("mayor", mayor),
            ] {
                let got = town.launch(&agent(who)).unwrap().argv.join(" ");
                assert_eq!(got, want, "{who} {settings:?}");
            }
        }
    }

    #[test]
    fn definitions_are_found_in_order_and_completed() {
        let define = |command: &str| format!(r#"{{"agents":{{"x":{{"command":"{command}"}}}}}}"#);
        let rig = "gastown/settings/config.json";
        let files = [
            ("settings/agents.json", define("/4")),
            ("gastown/settings/agents.json", define("/3")),
            (
                "settings/config.json",
                r#"{"default_agent":"x","agents":{"x":{"command":"/2"}}}"#.into(),
            ),
            (rig, define("/1")),
        ];
        for n in 1..=4 {
            let mut texts: Vec<_> = files[..n].iter().map(|(f, t)| (*f, t.as_str())).collect();
            if n < 3 {
                texts.push(("settings/config.json", r#"{"default_agent":"x"}"#));
            }
            let (_dir, town) = town_with(1, &texts);
            let got = town.launch(&agent("gastown/witness")).unwrap().argv;
            assert_eq!(got, [["/4", "/3", "/2", "/1"][n - 1]]);
        }

        for (custom, argv, prompt, delay, names, first_words) in [
            (r#"{"command":"/opt/x"}"#, "/opt/x", None, None, "x", None),
            (
                r#"{"command":"/opt/x","args":["a b",""],"prompt_mode":"arg","ready_prompt_prefix":"> ","ready_delay_ms":0}"#,
                "/opt/x|a b|",
                Some("> "),
                Some(0),
                "x",
                Some(None),
            ),
            (
                r#"{"command":"claude","args":["--model","haiku"],"process_names":["n"]}"#,
                "claude|--model|haiku",
                Some("❯ "),
                Some(10_000),
                "n",
                Some(None),
            ),
            (
                r#"{"provider":"gemini","tmux":{"ready_delay_ms":7,"ready_prompt_prefix":"$ ","process_names":["p","q"]}}"#,
                "gemini|--approval-mode|yolo",
                Some("$ "),
                Some(7),
                "p,q",
                Some(Some("-i")),
            ),
            (
                r#"{"provider":"codex","exec_wrapper":["nice","-n","5"]}"#,
                "nice|-n|5|codex|--dangerously-bypass-approvals-and-sandbox",
                Some("› "),
                Some(3_000),
                "codex",
                None,
            ),
            (
                r#"{"provider":"claude","prompt_mode":"none","ready_prompt_prefix":""}"#,
                "claude|--dangerously-skip-permissions",
                None,
                Some(10_000),
                "node,claude",
                None,
            ),
        ] {
            let text = format!(r#"{{"default_agent":"x","agents":{{"x":{custom}}}}}"#);
            let (_dir, town) = town_with(2, &[("settings/config.json", &text)]);
            let mut launch = town.launch(&Agent::deacon()).unwrap();
            if let Some(option) = first_words {
                assert!(
                    launch.argv.pop().unwrap().starts_with("You are deacon "),
                    "{custom}"
                );
                if let Some(option) = option {
                    assert_eq!(launch.argv.pop().as_deref(), Some(option), "{custom}");
                }
            }
            assert_eq!(launch.argv.join("|"), argv, "{custom}");
            assert_eq!(launch.ready_prompt.as_deref(), prompt, "{custom}");
            assert_eq!(launch.ready_delay_ms, delay, "{custom}");
            assert_eq!(launch.env["GT_PROCESS_NAMES"], names, "{custom}");
            assert_eq!(launch.env["GT_AGENT"], "x");
        }
    }

    #[test]
    fn what_cannot_be_started_is_bad_configuration() {
        for (file, text, want) in [
            (
                "settings/config.json",
                r#"{"role_agents":{"witness":"nope"},"agents":{"mine":{"command":"/x"}}}"#,
                "role_agents.witness in '",
            ),
            (
                "settings/config.json",
                r#"{"default_agent":"x","agents":{"x":{}}}"#,
                "Agent \"x\" has no command",
            ),
            (
                "settings/config.json",
                r#"{"default_agent":"x","agents":{"x":null}}"#,
                "is not defined",
            ),
            (
                "settings/config.json",
                "{\"default_agent\":\"x\",\"agents\":{\"x\":{\"command\":\"/x\\u0000\"}}}",
                "Agent 'x' has a NUL",
            ),
            (
                "settings/config.json",
                r#"{"default_agent":"x","agents":{"x":{"command":"/x","env":{"A=B":""}}}}"#,
                "Agent 'x' has a NUL character or an invalid variable name",
            ),
            ("settings/config.json", "{", "settings/config.json'"),
            ("settings/agents.json", "[]", "settings/agents.json'"),
            ("mayor/accounts.json", "", "mayor/accounts.json'"),
            (
                "gastown/settings/config.json",
                "",
                "gastown/settings/config.json'",
            ),
            (
                "gastown/settings/config.json",
                r#"{"agent":"nope"}"#,
                "agent in '",
            ),
        ] {
            let (_dir, town) = town_with(1, &[(file, text)]);
            let error = town.launch(&agent("gastown/witness")).unwrap_err();
            assert_eq!(crate::exit::of(&error), Exit::BadConfig);
            let text = format!("{error:#}");
            assert!(text.contains(want) && !text.contains('\n'), "{text}");
        }
        let (_dir, town) = town_with(
            1,
            &[(
                "settings/config.json",
                r#"{"default_agent":"no\npe","agents":{"mine":{}}}"#,
            )],
        );
        let text = format!("{:#}", town.launch(&Agent::deacon()).unwrap_err());
        assert!(
            text.contains(r#""no\npe""#) && text.contains("claude, codex,"),
            "{text}"
        );
        assert!(text.contains(" mine,"), "{text}");
    }

    #[test]
    fn the_last_good_settings_start_an_agent() {
        let (dir, town) = town_with(
            1,
            &[(
                "settings/config.json",
                r#"{"default_agent":"x","agents":{"x":{"command":"/x"}}}"#,
            )],
        );
        town.keep_good().unwrap();
        files::write(&town.path("settings/config.json"), b"{").unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        assert_eq!(town.launch(&Agent::deacon()).unwrap().argv, ["/x"]);
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

//! Which program an agent is, by the settings of town and rig.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, anyhow};

use super::presets::{PRESETS, Preset, Prompt, preset};
use super::settings::{self, Custom};
use super::sources::Sources;
use super::{Town, env_file, near};
use crate::agent::{Agent, Role};

/// The program when no setting names one.
const DEFAULT: &str = "claude";

/// How hard Claude thinks when no setting says.
const DEFAULT_EFFORT: &str = "high";

/// What an agent's program looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appearance {
    /// The preset that the program is, or is based on.
    pub kind: Option<&'static str>,
    /// What its input line begins with when it waits for input.
    pub ready_prompt: Option<String>,
}

/// An agent's program, resolved.
#[derive(Debug)]
pub(super) struct Program {
    pub name: String,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// The names of its processes, by which `gt` finds it alive.
    pub processes: Vec<String>,
    pub ready_prompt: Option<String>,
    pub ready_delay_ms: Option<u64>,
    pub prompt: Prompt,
    /// The preset that the program is, or is based on.
    pub base: Option<&'static Preset>,
    /// Whether the arguments are not set by a person.
    pub has_usual_arguments: bool,
    /// `CLAUDE_CODE_EFFORT_LEVEL`.
    pub effort: String,
}

fn entry<'a, T>(map: &'a settings::Map<T>, key: &str) -> Option<&'a T> {
    map.get(key)?.as_ref()
}

/// The text at a key; as in Go, an empty one counts as none.
fn named<'a>(map: &'a settings::Map<String>, key: &str) -> Option<&'a str> {
    entry(map, key)
        .map(String::as_str)
        .filter(|s| !s.is_empty())
}

impl Town {
    /// The program of this agent. The narrowest setting decides: crew member, role, rig, town.
    ///
    /// # Errors
    /// A settings file is broken and there is no last good copy of it, or it names a program that
    /// is nowhere defined or has no command.
    pub(super) fn program(&self, agent: &Agent) -> Result<Program> {
        let of_rig = self.rig_sources(agent);
        let rig = of_rig.settings.known()?;
        let town = self.sources.settings.known()?;
        let role = agent.role_name();
        let crew = agent.name().filter(|_| agent.role() == Role::Crew);
        let effort = named(&rig.role_effort, role)
            .or_else(|| named(&town.role_effort, role))
            .unwrap_or(DEFAULT_EFFORT);

        let by_name = [
            (true, "worker_agents", crew, &rig.worker_agents),
            (false, "crew_agents", crew, &town.crew_agents),
            (true, "role_agents", Some(role), &rig.role_agents),
            (false, "role_agents", Some(role), &town.role_agents),
        ];
        let found = by_name.into_iter().find_map(|(in_rig, map, key, agents)| {
            let name = named(agents, key?)?;
            Some((in_rig, format!("{map}.{}", key?), name))
        });
        if let (None, Some(runtime)) = (&found, &rig.runtime) {
            let name = runtime.provider.as_deref().unwrap_or(DEFAULT);
            return complete(name, preset(name), runtime, effort);
        }
        let defaults = [
            (true, "agent", &rig.agent),
            (false, "default_agent", &town.default_agent),
        ];
        let default = || {
            defaults.into_iter().find_map(|(in_rig, key, name)| {
                let name = name.as_deref().filter(|name| !name.is_empty())?;
                Some((in_rig, key.to_string(), name))
            })
        };
        let (in_rig, key, name) = found
            .or_else(default)
            .unwrap_or((false, String::new(), DEFAULT));

        let definitions = [
            &rig.agents,
            &town.agents,
            of_rig.registry.known()?,
            self.sources.registry.known()?,
        ];
        let base = preset(name);
        match definitions.iter().find_map(|agents| entry(agents, name)) {
            Some(custom) => complete(name, base, custom, effort),
            None if base.is_some() => complete(name, base, &Custom::default(), effort),
            None => {
                let mut known: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
                known.extend(
                    definitions
                        .iter()
                        .flat_map(|agents| agents.keys())
                        .map(String::as_str),
                );
                known.sort_unstable();
                known.dedup();
                let dir = agent.rig().filter(|_| in_rig).unwrap_or_default();
                Err(anyhow!(
                    "{key} in '{}' names the agent {name:?}, which is not defined{}; \
                     define it under 'agents' there or use one of {}",
                    self.path(dir).join(settings::FILE).display(),
                    match near::meant(name, known.iter().copied()) {
                        Some(meant) => format!(" (did you mean '{meant}'?)"),
                        None => String::new(),
                    },
                    known.join(", ").replace(char::is_control, " ")
                ))
            }
        }
    }

    /// The settings of the agent's rig; none for an agent of the town.
    pub(super) fn rig_sources(&self, agent: &Agent) -> Cow<'_, Sources> {
        match agent.rig().map(|rig| (rig, self.sources_of(rig))) {
            None => Cow::Owned(Sources::default()),
            Some((_, Some(sources))) => Cow::Borrowed(sources),
            // A rig that is not registered, or whose registry is broken, may have settings too.
            Some((rig, None)) => Cow::Owned(Sources::load(&self.root, &format!("{rig}/"))),
        }
    }
}

impl Program {
    pub fn appearance(&self) -> Appearance {
        Appearance {
            kind: self.base.map(|base| base.name),
            ready_prompt: self.ready_prompt.clone(),
        }
    }

    /// Forgets what the program is based on: its command is that of another, unknown one.
    pub fn forget_base(&mut self) {
        self.base = None;
        self.prompt = Prompt::Unknown;
    }
}

/// Whether a program is Claude, which is started with its hooks.
pub(super) fn is_claude(base: Option<&Preset>) -> bool {
    base.is_some_and(|base| base.name == "claude")
}

/// The words of a command, as the shell has them to which `gt` gives it. The path of a program may have
/// spaces in it.
fn words(command: &str) -> Vec<String> {
    let split = || shlex::split(command).filter(|words| !words.is_empty());
    let mut words = match Path::new(command).exists() {
        true => vec![command.to_string()],
        false => split().unwrap_or_else(|| vec![command.to_string()]),
    };
    if let Ok(home) = env_file::home() {
        words[0] = env_file::expand(&words[0], &home)
            .to_string_lossy()
            .into_owned();
    }
    words
}

/// A program as settings define it, completed by a preset: the one that it names as its provider,
/// else the one of the same name, else the one with the same command, wherever that lies. As in `gt`,
/// it is Claude where nothing of this is said.
fn complete(
    name: &str,
    base: Option<&'static Preset>,
    custom: &Custom,
    effort: &str,
) -> Result<Program> {
    let command = custom
        .command
        .as_deref()
        .filter(|command| !command.is_empty())
        .map(words);
    let owned = |list: &[&str]| list.iter().map(|text| text.to_string()).collect();
    let base = custom
        .provider
        .as_deref()
        .and_then(preset)
        .or(base)
        .or_else(|| {
            match command
                .as_ref()
                .map(|words| Path::new(&words[0]).file_stem())
            {
                Some(stem) => PRESETS
                    .iter()
                    .find(|preset| stem == Some(OsStr::new(preset.command))),
                None if custom.provider.is_none() => preset(DEFAULT),
                None => None,
            }
        });
    let command = command
        .or(base.map(|base| owned(&[base.command])))
        .ok_or_else(|| {
            anyhow!(
                "Agent {name:?} has no command; add one in '{}'",
                settings::FILE
            )
        })?;

    let has_usual_arguments = custom.args.is_none();
    let args: Vec<String> = custom
        .args
        .clone()
        .or_else(|| base.map(|base| owned(base.args)))
        .unwrap_or_default();
    let base_env = base.map(|base| base.env).unwrap_or_default().iter();
    let mut env: BTreeMap<String, String> = base_env
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    for (key, value) in &custom.env {
        env.insert(key.clone(), value.clone().unwrap_or_default());
    }

    let program_name = command[0]
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_string();
    let tmux = custom.tmux.clone().unwrap_or_default();
    let usual_prompt = base.and_then(|base| base.ready_prompt);
    let prompt = base.map_or(Prompt::Unknown, |base| base.prompt);
    Ok(Program {
        name: name.to_string(),
        argv: [custom.exec_wrapper.clone(), command, args].concat(),
        env,
        processes: custom
            .process_names
            .clone()
            .or(tmux.process_names)
            .or_else(|| base.map(|base| owned(base.processes)))
            .unwrap_or_else(|| vec![program_name]),
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
        prompt: match (custom.prompt_mode.as_deref(), prompt) {
            (Some("none"), _) => Prompt::Typed,
            (Some("arg"), Prompt::Unknown) => Prompt::Last,
            _ => prompt,
        },
        base,
        has_usual_arguments,
        effort: effort.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::files;
    use crate::town::tests::{town, town_with};

    fn agent(text: &str) -> Agent {
        Agent::parse(text).unwrap()
    }

    const CLAUDE: &str = "claude --dangerously-skip-permissions";

    #[test]
    fn without_settings_it_is_claude() {
        for version in [1, 2] {
            let (_dir, town) = town(version);
            let launch = town.launch(&agent("gastown/witness")).unwrap();
            assert_eq!(launch.argv[..2].join(" "), CLAUDE);
            assert_eq!(launch.command("hello").last().unwrap(), "hello");
            assert_eq!(launch.preset, "claude");
            assert_eq!(launch.appearance.ready_prompt.as_deref(), Some("❯ "));
            assert_eq!(launch.ready_delay_ms, Some(10_000));
        }
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
                let argv = town.launch(&agent(who)).unwrap().argv;
                let usual = argv.iter().take_while(|arg| *arg != "--settings");
                let got = usual.map(String::as_str).collect::<Vec<_>>().join(" ");
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

        for (custom, argv, prompt, delay, names) in [
            (r#"{"command":"/opt/x"}"#, "/opt/x", None, None, "x"),
            // Wherever it lies, and whatever it is called, it is Claude.
            (
                r#"{"command":"/home/u/.local/bin/claude"}"#,
                "/home/u/.local/bin/claude|--dangerously-skip-permissions",
                Some("❯ "),
                Some(10_000),
                "node,claude",
            ),
            // As the shell has it to which gt gives it.
            (
                r#"{"command":"claude --model 'opus 4'","args":[]}"#,
                "claude|--model|opus 4",
                Some("❯ "),
                Some(10_000),
                "node,claude",
            ),
            (
                r#"{"args":["--model","opus"]}"#,
                "claude|--model|opus",
                Some("❯ "),
                Some(10_000),
                "node,claude",
            ),
            (
                r#"{"command":"/opt/x","args":["a b",""],"prompt_mode":"arg","ready_prompt_prefix":"> ","ready_delay_ms":0}"#,
                "/opt/x|a b|",
                Some("> "),
                Some(0),
                "x",
            ),
            (
                r#"{"command":"claude","args":["--model","haiku"],"process_names":["n"]}"#,
                "claude|--model|haiku",
                Some("❯ "),
                Some(10_000),
                "n",
            ),
            (
                r#"{"provider":"gemini","tmux":{"ready_delay_ms":7,"ready_prompt_prefix":"$ ","process_names":["p","q"]}}"#,
                "gemini|--approval-mode|yolo",
                Some("$ "),
                Some(7),
                "p,q",
            ),
            (
                r#"{"provider":"codex","exec_wrapper":["nice","-n","5"]}"#,
                "nice|-n|5|codex|--dangerously-bypass-approvals-and-sandbox|-c|features.daemon_auto_start=false",
                Some("› "),
                Some(3_000),
                "node,codex",
            ),
            (
                r#"{"provider":"gemini"}"#,
                "gemini|--approval-mode|yolo",
                None,
                Some(5_000),
                "node,gemini",
            ),
            (
                r#"{"provider":"claude","prompt_mode":"none","ready_prompt_prefix":""}"#,
                "claude|--dangerously-skip-permissions",
                None,
                Some(10_000),
                "node,claude",
            ),
        ] {
            let text = format!(r#"{{"default_agent":"x","agents":{{"x":{custom}}}}}"#);
            let (_dir, town) = town_with(2, &[("settings/config.json", &text)]);
            let launch = town.launch(&Agent::deacon()).unwrap();
            let usual = launch.argv.iter().take_while(|arg| *arg != "--settings");
            let usual: Vec<&str> = usual.map(String::as_str).collect();
            assert_eq!(usual.join("|"), argv, "{custom}");
            assert_eq!(
                launch.appearance.ready_prompt.as_deref(),
                prompt,
                "{custom}"
            );
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
                r#"{"default_agent":"x","agents":{"x":{"provider":"generic"}}}"#,
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
        // Good is what could start somebody.
        for text in [
            "{",
            r#"{"default_agent":"cladue"}"#,
            r#"{"default_agent":"x","agents":{"x":{"command":"/y"}},"role_agents":{"witness":"no"}}"#,
            "{",
        ] {
            files::write(&town.path("settings/config.json"), text.as_bytes()).unwrap();
            town.again().unwrap().keep_good().unwrap();
        }
        let town = Town::at(dir.path(), None).unwrap();
        assert_eq!(town.launch(&Agent::deacon()).unwrap().argv, ["/x"]);
    }
}

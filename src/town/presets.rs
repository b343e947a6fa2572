//! The agents that Gas Town knows by name: how each is called and recognised.

/// How an agent takes its first prompt on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prompt {
    /// Not known.
    Unknown,
    /// Not there: the prompt is typed once the agent is ready.
    Typed,
    /// As the last argument.
    Last,
    /// As the value of this option.
    Option(&'static str),
}

/// An agent by name.
#[derive(Debug)]
pub(super) struct Preset {
    pub name: &'static str,
    pub command: &'static str,
    pub args: &'static [&'static str],
    pub env: &'static [(&'static str, &'static str)],
    /// Names of the agent's processes, by which `gt` finds it alive. Programs from npm are `node`.
    pub processes: &'static [&'static str],
    /// The file below the working directory that current `gt` puts the agent's hooks into.
    pub hooks: Option<&'static str>,
    /// The option that names that file, for a program that does not look for it. The program does
    /// not start if the file is not there.
    pub hooks_option: Option<&'static str>,
    /// The variable by which the agent tells its commands the id of its session.
    pub session_id: Option<&'static str>,
    pub ready_prompt: Option<&'static str>,
    pub ready_delay_ms: Option<u64>,
    pub prompt: Prompt,
}

/// The defaults of a preset.
const PLAIN: Preset = Preset {
    name: "",
    command: "",
    args: &[],
    env: &[],
    processes: &[],
    hooks: None,
    hooks_option: None,
    session_id: None,
    ready_prompt: None,
    ready_delay_ms: None,
    prompt: Prompt::Last,
};

/// The presets of current Gas Town, but for `groq-compound`: that is claude with a provider in its
/// environment, which a town can set itself.
pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "claude",
        command: "claude",
        args: &["--dangerously-skip-permissions"],
        // Without this, agents that a person starts in Claude's view of agents would all run in one
        // server: with the identity and in the unit of the first agent, and they would end with it.
        env: &[("CLAUDE_CODE_DISABLE_AGENT_VIEW", "1")],
        processes: &["node", "claude"],
        hooks: Some(".claude/settings.json"),
        session_id: Some("CLAUDE_SESSION_ID"),
        ready_prompt: Some("❯ "),
        ready_delay_ms: Some(10_000),
        ..PLAIN
    },
    Preset {
        name: "gemini",
        command: "gemini",
        args: &["--approval-mode", "yolo"],
        processes: &["node", "gemini"],
        hooks: Some(".gemini/settings.json"),
        session_id: Some("GEMINI_SESSION_ID"),
        ready_delay_ms: Some(5_000),
        prompt: Prompt::Option("-i"),
        ..PLAIN
    },
    Preset {
        name: "codex",
        command: "codex",
        // Without this option, all of today's codex processes share one server, which runs with the
        // identity and in the unit of the first agent. Older codex accepts the option too, and says
        // nothing of it: seen with 0.63, 0.80 and 0.101.
        args: &[
            "--dangerously-bypass-approvals-and-sandbox",
            "-c",
            "features.daemon_auto_start=false",
        ],
        processes: &["node", "codex"],
        ready_prompt: Some("› "),
        ready_delay_ms: Some(3_000),
        ..PLAIN
    },
    Preset {
        name: "cursor",
        command: "cursor-agent",
        args: &["-f"],
        processes: &["cursor-agent", "agent"],
        hooks: Some(".cursor/hooks.json"),
        ready_delay_ms: Some(5_000),
        ..PLAIN
    },
    Preset {
        name: "auggie",
        command: "auggie",
        args: &["--allow-indexing"],
        processes: &["auggie"],
        ..PLAIN
    },
    Preset {
        name: "amp",
        command: "amp",
        args: &["--dangerously-allow-all", "--no-ide"],
        processes: &["amp"],
        ..PLAIN
    },
    Preset {
        name: "opencode",
        command: "opencode",
        env: &[("OPENCODE_PERMISSION", r#"{"*":"allow"}"#)],
        processes: &["opencode", "node", "bun"],
        hooks: Some(".opencode/plugins/gastown.js"),
        ready_delay_ms: Some(8_000),
        prompt: Prompt::Option("--prompt"),
        ..PLAIN
    },
    Preset {
        name: "copilot",
        command: "copilot",
        args: &["--yolo"],
        processes: &["node", "copilot"],
        hooks: Some(".github/hooks/gastown.json"),
        ready_delay_ms: Some(5_000),
        prompt: Prompt::Option("-i"),
        ..PLAIN
    },
    Preset {
        name: "pi",
        command: "pi",
        processes: &["pi", "node", "bun"],
        hooks: Some(".pi/extensions/gastown-hooks.js"),
        hooks_option: Some("-e"),
        session_id: Some("PI_SESSION_ID"),
        ready_delay_ms: Some(8_000),
        ..PLAIN
    },
    Preset {
        name: "omp",
        command: "omp",
        processes: &["omp", "node", "bun"],
        hooks: Some(".omp/hooks/gastown-hook.ts"),
        hooks_option: Some("--hook"),
        session_id: Some("OMP_SESSION_ID"),
        ..PLAIN
    },
    Preset {
        name: "vibe",
        command: "vibe",
        args: &["--agent", "auto-approve"],
        processes: &["vibe"],
        hooks: Some(".vibe/config.toml"),
        session_id: Some("VIBE_SESSION_ID"),
        ready_prompt: Some("❯ "),
        ready_delay_ms: Some(5_000),
        ..PLAIN
    },
];

/// A preset by the names that settings use for it.
pub(super) fn preset(name: &str) -> Option<&'static Preset> {
    let name = if name == "mistral" { "vibe" } else { name };
    PRESETS.iter().find(|preset| preset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// By these names `gt` finds an agent alive: what tmux calls the programs whose screens are kept.
    #[test]
    fn processes_are_called_as_they_were_seen() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens");
        for dir in root.read_dir().unwrap() {
            let dir = dir.unwrap().path();
            let name = dir.file_name().unwrap().to_str().unwrap();
            let Some(preset) = preset(name.split('-').next().unwrap()) else {
                continue;
            };
            let screens = ["free", "asks-login"].map(|screen| dir.join(screen));
            let screen = screens.iter().find(|screen| screen.exists()).unwrap();
            let head = std::fs::read_to_string(screen).unwrap();
            // Before the title, which a tab parts from the rest.
            let head = head.split('\t').next().unwrap();
            let command = head.split(' ').next_back().unwrap();
            assert!(preset.processes.contains(&command), "{name}: {command}");
        }
    }
}

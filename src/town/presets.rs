//! The agents that Gas Town knows by name: how each is called and recognised.

/// How an agent takes its first prompt on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prompt {
    /// It does not.
    None,
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
    /// Names of its processes, by which `gt` takes it for alive.
    pub processes: &'static [&'static str],
    pub ready_prompt: Option<&'static str>,
    pub ready_delay_ms: Option<u64>,
    pub prompt: Prompt,
}

/// What all have that say nothing else.
const PLAIN: Preset = Preset {
    name: "",
    command: "",
    args: &[],
    env: &[],
    processes: &[],
    ready_prompt: None,
    ready_delay_ms: None,
    prompt: Prompt::Last,
};

/// The table of current Gas Town. `groq-compound` is left out: it is claude with a provider in its
/// environment, which a town writes down itself.
pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "claude",
        command: "claude",
        args: &["--dangerously-skip-permissions"],
        processes: &["node", "claude"],
        ready_prompt: Some("❯ "),
        ready_delay_ms: Some(10_000),
        ..PLAIN
    },
    Preset {
        name: "gemini",
        command: "gemini",
        args: &["--approval-mode", "yolo"],
        processes: &["gemini"],
        ready_delay_ms: Some(5_000),
        prompt: Prompt::Option("-i"),
        ..PLAIN
    },
    Preset {
        name: "codex",
        command: "codex",
        args: &["--dangerously-bypass-approvals-and-sandbox"],
        processes: &["codex"],
        ready_prompt: Some("› "),
        ready_delay_ms: Some(3_000),
        prompt: Prompt::None,
        ..PLAIN
    },
    Preset {
        name: "cursor",
        command: "cursor-agent",
        args: &["-f"],
        processes: &["cursor-agent", "agent"],
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
        ready_delay_ms: Some(8_000),
        prompt: Prompt::Option("--prompt"),
        ..PLAIN
    },
    Preset {
        name: "copilot",
        command: "copilot",
        args: &["--yolo"],
        processes: &["copilot"],
        ready_delay_ms: Some(5_000),
        prompt: Prompt::Option("-i"),
        ..PLAIN
    },
    Preset {
        name: "pi",
        command: "pi",
        args: &["-e", ".pi/extensions/gastown-hooks.js"],
        processes: &["pi", "node", "bun"],
        ready_delay_ms: Some(8_000),
        ..PLAIN
    },
    Preset {
        name: "omp",
        command: "omp",
        args: &["--hook", ".omp/hooks/gastown-hook.ts"],
        processes: &["omp", "node", "bun"],
        ..PLAIN
    },
    Preset {
        name: "vibe",
        command: "vibe",
        args: &["--agent", "auto-approve"],
        processes: &["vibe"],
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

//! What to write into a program's own configuration so that its hooks report, and taking it out
//! again. Pure: texts in, texts out; whatever else stands in a file stays as it is.

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value, json};
use toml_edit::{Array, DocumentMut, Item};

use crate::files;

/// A program for which there are hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Program {
    /// Claude Code: settings.json
    Claude,
    /// Codex: `notify` in config.toml
    Codex,
    /// Gemini CLI: settings.json
    Gemini,
    /// opencode: a plugin
    Opencode,
    /// pi: an extension
    Pi,
}

/// How the first line of a file begins that is wholly ours.
const OURS: &str = "// Written by 'gastownctl hooks";

/// How a shell command of ours is recognised, whatever the directory of `gastownctl`.
const COMMAND: &str = "gastownctl report --from ";

/// The events of Claude that say what it does, see [`super::events`].
const CLAUDE: &[&str] = &[
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "PermissionRequest",
    "Notification",
    "Stop",
];

/// The events of Gemini that say what it does.
const GEMINI: &[&str] = &[
    "SessionStart",
    "BeforeAgent",
    "BeforeTool",
    "AfterTool",
    "AfterAgent",
    "Notification",
];

impl Program {
    /// Its name, as `gastownctl hooks` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Program::Claude => "claude",
            Program::Codex => "codex",
            Program::Gemini => "gemini",
            Program::Opencode => "opencode",
            Program::Pi => "pi",
        }
    }

    /// Its file for all of a user's directories, below the home directory, and the variable that
    /// names another directory for its last part.
    pub fn file(self) -> (Option<&'static str>, &'static str, &'static str) {
        match self {
            Program::Claude => (Some("CLAUDE_CONFIG_DIR"), ".claude", "settings.json"),
            Program::Codex => (Some("CODEX_HOME"), ".codex", "config.toml"),
            Program::Gemini => (None, ".gemini", "settings.json"),
            Program::Opencode => (None, ".config/opencode/plugin", "gastown.js"),
            Program::Pi => (None, ".pi/agent/extensions", "gastown.ts"),
        }
    }

    /// The file's text with our hooks in it, those of an earlier version replaced. `ctl` is the
    /// path of `gastownctl`.
    ///
    /// # Errors
    /// The text cannot be read as what it should be, or somebody else's hook is in our place.
    pub fn install(self, text: &str, ctl: &str) -> Result<String> {
        match self {
            Program::Claude => with_hooks(text, CLAUDE, &shell(ctl, self), 5),
            // Gemini counts in milliseconds.
            Program::Gemini => with_hooks(text, GEMINI, &shell(ctl, self), 5000),
            Program::Codex => with_notify(text, ctl),
            Program::Opencode => file_of_ours(text, &plugin(OPENCODE, ctl)),
            Program::Pi => file_of_ours(text, &plugin(PI, ctl)),
        }
    }

    /// The file's text without our hooks; `None`: then the file has no purpose any more.
    ///
    /// # Errors
    /// As [`Program::install`].
    pub fn remove(self, text: &str) -> Result<Option<String>> {
        match self {
            Program::Claude | Program::Gemini => {
                let mut settings = object(text)?;
                // In a file without hooks of ours not even the blanks are changed.
                match take_out(&mut settings, &[]) {
                    true => pretty(&settings).map(Some),
                    false => Ok(Some(text.to_string())),
                }
            }
            Program::Codex => {
                let mut config = toml(text)?;
                if config.get("notify").is_some_and(is_our_notify) {
                    config.remove("notify");
                }
                Ok(Some(config.to_string()))
            }
            Program::Opencode | Program::Pi if text.starts_with(OURS) => Ok(None),
            Program::Opencode | Program::Pi => Ok(Some(text.to_string())),
        }
    }
}

/// The hook's command for a shell. It does nothing once the package is gone.
fn shell(ctl: &str, program: Program) -> String {
    let report = format!("--from {}", program.name());
    format!("[ ! -x {ctl} ] || {ctl} report {report}")
}

fn object(text: &str) -> Result<Map<String, Value>> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text).context("it is not JSON")? {
        Value::Object(settings) => Ok(settings),
        _ => bail!("it is not a JSON object"),
    }
}

fn pretty(settings: &Map<String, Value>) -> Result<String> {
    let mut text = serde_json::to_string_pretty(settings)?;
    text.push('\n');
    Ok(text)
}

fn with_hooks(text: &str, events: &[&str], command: &str, timeout: u64) -> Result<String> {
    let mut settings = object(text)?;
    // An event keeps its place, so that a second time changes nothing.
    take_out(&mut settings, events);
    let hooks = settings.entry("hooks").or_insert_with(|| json!({}));
    let hooks = hooks
        .as_object_mut()
        .ok_or_else(|| anyhow!("its 'hooks' is not an object"))?;
    for event in events {
        let groups = hooks.entry(*event).or_insert_with(|| json!([]));
        let groups = groups
            .as_array_mut()
            .ok_or_else(|| anyhow!("its 'hooks.{event}' is not an array"))?;
        groups
            .push(json!({"hooks": [{"type": "command", "command": command, "timeout": timeout}]}));
    }
    pretty(&settings)
}

/// Takes our commands out, and whatever is empty without them; the events in `kept` stay even if
/// empty. Tells whether there were any of our commands.
fn take_out(settings: &mut Map<String, Value>, kept: &[&str]) -> bool {
    let Some(Value::Object(hooks)) = settings.get_mut("hooks") else {
        return false;
    };
    let is_ours = |hook: &Value| {
        let command = hook["command"].as_str().unwrap_or_default();
        command.contains(COMMAND)
    };
    let mut touched = false;
    for groups in hooks.values_mut().filter_map(Value::as_array_mut) {
        groups.retain_mut(|group| match group.get_mut("hooks") {
            Some(Value::Array(commands)) if commands.iter().any(is_ours) => {
                commands.retain(|hook| !is_ours(hook));
                touched = true;
                !commands.is_empty()
            }
            _ => true,
        });
    }
    if touched {
        hooks.retain(|event, groups| {
            kept.contains(&event.as_str())
                || groups.as_array().is_none_or(|groups| !groups.is_empty())
        });
        if hooks.is_empty() {
            settings.remove("hooks");
        }
    }
    touched
}

fn toml(text: &str) -> Result<DocumentMut> {
    let most = files::TOML_LIMIT;
    ensure!(text.len() <= most, "it is larger than {most} bytes");
    text.parse().context("it is not TOML")
}

fn is_our_notify(item: &Item) -> bool {
    let argv = item.as_array().map(|argv| {
        let words = argv.iter().filter_map(|word| word.as_str());
        words.collect::<Vec<_>>().join(" ")
    });
    argv.is_some_and(|argv| argv.contains(COMMAND))
}

fn with_notify(text: &str, ctl: &str) -> Result<String> {
    let mut config = toml(text)?;
    if let Some(other) = config.get("notify").filter(|item| !is_our_notify(item)) {
        bail!(
            "its 'notify' calls another program already ({}), and Codex has but one: have that one call \
             '{ctl} report --from codex --event' with its last argument",
            other.to_string().trim()
        );
    }
    // Codex adds the event as a last argument.
    let argv = [ctl, "report", "--from", "codex", "--event"];
    let argv: Array = argv.into_iter().collect();
    config.insert("notify", toml_edit::value(argv));
    Ok(config.to_string())
}

fn file_of_ours(text: &str, ours: &str) -> Result<String> {
    if text.trim().is_empty() || text.starts_with(OURS) {
        Ok(ours.to_string())
    } else {
        bail!("somebody else wrote it; move it away first")
    }
}

fn plugin(body: &str, ctl: &str) -> String {
    // A path as a JSON string is a string in JavaScript, too.
    let path = Value::from(ctl).to_string();
    format!(
        "{OURS} --install'; 'gastownctl hooks --remove' takes it away.\n{}",
        body.replace("CTL", &path)
    )
}

/// `session.idle` and `session.status` also come for the sessions of subagents, which do not count.
const OPENCODE: &str = r#"import { spawn } from "node:child_process";

const report = (...words) => {
  const child = spawn(CTL, ["report", ...words], { stdio: "ignore" });
  child.on("error", () => {});
  child.unref();
};

export const Gastown = async () => {
  const subagents = new Set();
  return {
    event: async ({ event }) => {
      const about = event.properties ?? {};
      const session = about.sessionID ?? about.info?.id;
      if (event.type === "session.created" && about.info?.parentID) subagents.add(session);
      if (event.type === "permission.asked" || event.type === "permission.updated") {
        report("asks", "--question", String(about.title ?? about.permission ?? "a permission").slice(0, 300));
      } else if (event.type === "question.asked") {
        const all = (about.questions ?? []).map((one) => one.question).join(" ");
        report("asks", "--question", all.slice(0, 300));
      } else if (/^(permission|question)\.(replied|rejected)$/.test(event.type)) {
        report("busy");
      } else if (!subagents.has(session)) {
        if (event.type === "session.idle") report("free");
        if (event.type === "session.status") report(about.status?.type === "idle" ? "free" : "busy");
      }
    },
  };
};
"#;

const PI: &str = r#"import { spawn } from "node:child_process";

const report = (word: string) => {
  const child = spawn(CTL, ["report", word], { stdio: "ignore" });
  child.on("error", () => {});
  child.unref();
};

export default function (pi: any) {
  pi.on("session_start", async () => report("free"));
  pi.on("agent_start", async () => report("busy"));
  pi.on("agent_end", async () => report("free"));
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    const CTL: &str = "/usr/bin/gastownctl";
    const ALL: [Program; 5] = [
        Program::Claude,
        Program::Codex,
        Program::Gemini,
        Program::Opencode,
        Program::Pi,
    ];

    #[test]
    fn a_file_without_our_hooks_is_not_written_anew() {
        for (program, text) in [
            (
                Program::Claude,
                "{\"model\":\n\t\"x\", \"hooks\": {\"Stop\": []}}",
            ),
            (Program::Gemini, ""),
            (Program::Codex, "model=\"x\"   # mine\n"),
            (Program::Pi, "// mine\n"),
        ] {
            let removed = program.remove(text).unwrap();
            assert_eq!(removed.as_deref(), Some(text), "{program:?}");
        }
    }

    #[test]
    fn an_empty_event_keeps_its_place() {
        let with = Program::Claude
            .install(r#"{"hooks":{"Stop":[]}}"#, CTL)
            .unwrap();
        assert_eq!(Program::Claude.install(&with, CTL).unwrap(), with);
    }

    #[test]
    fn what_is_there_stays() {
        for (program, before) in [
            (Program::Claude, ""),
            (
                Program::Claude,
                r#"{"model":"x","hooks":{"Stop":[{"matcher":"","hooks":[{"type":"command","command":"beep"}]}]},"z":[1.50]}"#,
            ),
            (Program::Gemini, r#"{"hooks":{"enabled":true}}"#),
            (Program::Codex, ""),
            (
                Program::Codex,
                "# mine\nmodel = \"x\" # why\n\n[projects.\"/a b\"]\ntrust_level = \"trusted\"\n",
            ),
            (Program::Opencode, ""),
            (Program::Pi, ""),
        ] {
            let with = program.install(before, CTL).unwrap();
            assert!(with.contains(CTL), "{with}");
            // Again changes nothing, and another path replaces the first one.
            assert_eq!(program.install(&with, CTL).unwrap(), with);
            let moved = program.install(&with, "/opt/gastownctl").unwrap();
            assert!(!moved.contains("/usr/bin"), "{moved}");
            let without = program.remove(&moved).unwrap().unwrap_or_default();
            match program {
                Program::Claude | Program::Gemini => {
                    assert_eq!(object(&without).unwrap(), object(before).unwrap());
                }
                _ => assert_eq!(without, before),
            }
        }
    }

    #[test]
    fn what_is_of_others_is_refused_and_kept() {
        for (program, text, why) in [
            (Program::Claude, "{", "it is not JSON"),
            (Program::Claude, "[]", "not a JSON object"),
            (
                Program::Claude,
                r#"{"hooks":[]}"#,
                "'hooks' is not an object",
            ),
            (
                Program::Claude,
                r#"{"hooks":{"Stop":{}}}"#,
                "'hooks.Stop' is not an array",
            ),
            (
                Program::Codex,
                "notify = [\"beep\"]",
                "calls another program",
            ),
            (Program::Codex, "= 1", "it is not TOML"),
            (Program::Opencode, "export const Mine = 1", "somebody else"),
            (Program::Pi, "export default 1", "somebody else"),
        ] {
            let error = program.install(text, CTL).unwrap_err();
            assert!(format!("{error:#}").contains(why), "{error:#}");
        }
        let others = "notify = [\"beep\"]\n";
        assert_eq!(
            Program::Codex.remove(others).unwrap().as_deref(),
            Some(others)
        );
        let mine = "export default 1";
        assert_eq!(Program::Pi.remove(mine).unwrap().as_deref(), Some(mine));
    }

    #[test]
    fn files_of_ours_are_known_again() {
        for program in [Program::Opencode, Program::Pi] {
            let text = program.install("", CTL).unwrap();
            assert_eq!(program.remove(&text).unwrap(), None);
        }
        for program in ALL {
            assert!(!program.name().is_empty() && !program.file().2.is_empty());
        }
    }
}

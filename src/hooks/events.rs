//! What an event of a program's hooks says about the agent. Each program sends JSON of its own
//! form; what is not known says nothing.
//!
//! Claude (2.1), Gemini (0.61): an object on standard input with `hook_event_name`. Codex (0.169):
//! its `notify` program gets an object with `type` as its last argument; its hooks proper must be
//! trusted by a person at the next start, which would stop every agent, so they are not used.
//! opencode and pi say by their plugins which word they mean, see [`super::config`].

use serde_json::Value;

use super::report::Word;

/// A program whose hooks send events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// Gemini CLI.
    Gemini,
}

/// What an event says; `None`: nothing about what the agent does.
pub fn word(source: Source, event: &Value) -> Option<Word> {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    match source {
        Source::Claude => match text("hook_event_name") {
            // It compacts its context also in the middle of a turn, and goes on.
            "SessionStart" if text("source") == "compact" => None,
            "SessionStart" | "Stop" | "StopFailure" => Some(Word::Free),
            "PreToolUse" | "PermissionRequest" => Some(tool(event)),
            "UserPromptSubmit" | "PostToolUse" | "PostToolUseFailure" => Some(Word::Busy),
            "Notification" => notification(text("notification_type"), text("message")),
            _ => None,
        },
        Source::Gemini => match text("hook_event_name") {
            "SessionStart" | "AfterAgent" => Some(Word::Free),
            "BeforeAgent" | "BeforeTool" | "AfterTool" => Some(Word::Busy),
            "Notification" => Some(Word::Asks(text("message").into())),
            _ => None,
        },
        Source::Codex => match text("type") {
            "agent-turn-complete" => Some(Word::Free),
            "approval-requested" => Some(Word::Asks(text("message").into())),
            _ => None,
        },
    }
}

/// A tool that Claude is about to use: some are questions to a person.
fn tool(event: &Value) -> Word {
    let name = event["tool_name"].as_str().unwrap_or_default();
    let input = &event["tool_input"];
    match name {
        "AskUserQuestion" => Word::Asks(questions(input)),
        "ExitPlanMode" => Word::Asks("It has a plan and asks whether to go on".into()),
        _ if event["hook_event_name"] == "PermissionRequest" => {
            let what = ["command", "file_path", "url", "description"]
                .iter()
                .find_map(|key| input[*key].as_str());
            Word::Asks(format!("May it use {name}? {}", what.unwrap_or_default()))
        }
        _ => Word::Busy,
    }
}

/// Each question with its choices.
fn questions(input: &Value) -> String {
    let all = input["questions"].as_array().map(Vec::as_slice);
    let one = |question: &Value| {
        let choices = question["options"].as_array().map(Vec::as_slice);
        let choices = choices.unwrap_or_default().iter();
        let choices: Vec<&str> = choices.filter_map(|c| c["label"].as_str()).collect();
        let text = question["question"].as_str().unwrap_or_default();
        match choices[..] {
            [] => text.to_string(),
            _ => format!("{text} [{}]", choices.join(" | ")),
        }
    };
    let all: Vec<String> = all.unwrap_or_default().iter().map(one).collect();
    all.join(" ")
}

/// Older versions have no type, only the sentence that they show.
fn notification(kind: &str, message: &str) -> Option<Word> {
    match kind {
        "idle_prompt" => Some(Word::Free),
        "permission_prompt" | "worker_permission_prompt" | "elicitation_dialog" => {
            Some(Word::Asks(message.into()))
        }
        "" if message.contains("waiting for your input") => Some(Word::Free),
        "" if message.contains("permission") => Some(Word::Asks(message.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_the_real_programs() {
        let asks = |text: &str| Some(Word::Asks(text.into()));
        for (source, event, want) in [
            (
                Source::Claude,
                r#"{"hook_event_name":"SessionStart","source":"startup"}"#,
                Some(Word::Free),
            ),
            (
                Source::Claude,
                r#"{"hook_event_name":"SessionStart","source":"compact"}"#,
                None,
            ),
            (
                Source::Claude,
                r#"{"hook_event_name":"UserPromptSubmit","prompt":"x"}"#,
                Some(Word::Busy),
            ),
            (
                Source::Claude,
                r#"{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":"echo hi"}}"#,
                Some(Word::Busy),
            ),
            (
                Source::Claude,
                r#"{"hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"command":"echo hi","description":"run it"}}"#,
                asks("May it use Bash? echo hi"),
            ),
            (
                Source::Claude,
                r#"{"hook_event_name":"PreToolUse","tool_name":"AskUserQuestion","tool_input":{"questions":[{"question":"Delete the production database?","header":"Danger","options":[{"label":"Yes delete","description":"drop all"},{"label":"No keep","description":"keep"}],"multiSelect":false}]}}"#,
                asks("Delete the production database? [Yes delete | No keep]"),
            ),
            (
                Source::Claude,
                r#"{"hook_event_name":"Notification","message":"Claude needs your permission","notification_type":"permission_prompt"}"#,
                asks("Claude needs your permission"),
            ),
            (
                Source::Claude,
                r#"{"hook_event_name":"Notification","message":"Claude is waiting for your input"}"#,
                Some(Word::Free),
            ),
            (
                Source::Claude,
                r#"{"hook_event_name":"Notification","message":"hello","notification_type":"auth_success"}"#,
                None,
            ),
            (
                Source::Claude,
                r#"{"hook_event_name":"Stop","stop_hook_active":false}"#,
                Some(Word::Free),
            ),
            (
                Source::Claude,
                r#"{"hook_event_name":"SubagentStop"}"#,
                None,
            ),
            (
                Source::Claude,
                r#"{"hook_event_name":"SessionEnd","reason":"other"}"#,
                None,
            ),
            (
                Source::Gemini,
                r#"{"hook_event_name":"BeforeAgent","prompt":"RUN: echo hi"}"#,
                Some(Word::Busy),
            ),
            (
                Source::Gemini,
                r#"{"hook_event_name":"AfterAgent","prompt_response":"Done"}"#,
                Some(Word::Free),
            ),
            (
                Source::Gemini,
                r#"{"hook_event_name":"Notification","notification_type":"ToolPermission","message":"Allow it?"}"#,
                asks("Allow it?"),
            ),
            (
                Source::Codex,
                r#"{"type":"agent-turn-complete","thread-id":"1","client":"codex-tui"}"#,
                Some(Word::Free),
            ),
            (Source::Codex, r#"{"type":"something-new"}"#, None),
            (Source::Claude, r#"{"hook_event_name":7}"#, None),
            (Source::Claude, "[]", None),
            (Source::Claude, "null", None),
            (
                Source::Claude,
                r#"{"hook_event_name":"PreToolUse","tool_name":"AskUserQuestion","tool_input":{"questions":"odd"}}"#,
                asks(""),
            ),
        ] {
            let event = serde_json::from_str(event).unwrap();
            assert_eq!(word(source, &event), want, "{event}");
        }
    }
}

//! What happened, from the journal by MESSAGE_ID.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::journalctl;
use super::words::printable;
use crate::agent::Agent;
use crate::exit::Exit;
use crate::journal;
use crate::tools::{self, ToolError};

/// How long journalctl may take.
const JOURNAL_LIMIT: Duration = Duration::from_secs(60);

/// How many ends of agents are looked at, at most.
const ENDS: usize = 1000;

/// The manager's own message about a unit that failed (SD_MESSAGE_UNIT_FAILURE_RESULT). If
/// `gt-agent` itself was killed, there is no other.
const UNIT_FAILED: (&str, &str) = ("UNIT_FAILED", "d9b373ed55a64feb8242e02dbe79a49c");

/// An event that is too frequent and too dull for a history.
const OMITTED: &str = "TICK";

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When it happened.
    pub time: Timestamp,
    /// The event's name in [`journal::EVENTS`].
    pub name: &'static str,
    /// The agent that it happened to, if the message names one.
    pub agent: Option<Agent>,
    /// What happened, in one line or more, without control characters.
    pub message: String,
    /// The `GT_` fields.
    pub fields: BTreeMap<String, String>,
}

/// What an event means for a picture of the town.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An agent runs from then on.
    Begin,
    /// An agent ended by itself.
    End,
    /// An agent was stopped.
    Stop,
    /// A start was refused or failed.
    Refused,
    /// The agent was poked.
    Poke,
    /// A request was made, executed or refused.
    Request,
    /// A spawn was triggered or given up.
    Spawn,
    /// A condition that somebody is told of.
    Alert,
    /// Anything else.
    Note,
}

/// The kind of an event by its name.
pub fn kind(name: &str) -> Kind {
    match name {
        "AGENT_STARTED" | "AGENT_ADOPTED" => Kind::Begin,
        "AGENT_ENDED" | "UNIT_FAILED" => Kind::End,
        "AGENT_STOPPED" => Kind::Stop,
        "AGENT_NOT_STARTED" | "AGENT_REFUSED" => Kind::Refused,
        "POKE_WAITS" => Kind::Note,
        _ => [
            ("ALERT", Kind::Alert),
            ("STUCK", Kind::Alert),
            ("MASS_DEATH", Kind::Alert),
            ("POKE", Kind::Poke),
            ("REQUEST", Kind::Request),
            ("SPAWN", Kind::Spawn),
        ]
        .iter()
        .find(|(word, _)| name.contains(word))
        .map_or(Kind::Note, |(_, kind)| *kind),
    }
}

/// Reads a moment as systemd's tools do (`2 hours ago`, `yesterday`), or a span before now (`2h`).
///
/// # Errors
/// The text has neither form.
pub fn moment(text: &str) -> Result<Timestamp> {
    let seconds = match seconds(text)? {
        None if is_span(text) => seconds(&format!("-{}", text.trim()))?,
        seconds => seconds,
    };
    let seconds = seconds.ok_or_else(|| {
        anyhow!(
            "'{}' is no time; use 2h, '2 hours ago', yesterday or '2026-01-31 12:00'",
            text.escape_debug()
        )
        .context(Exit::Usage)
    })?;
    Timestamp::from_microsecond((seconds * 1e6) as i64).context("That time is too far away")
}

/// Whether a text may be a span of time, such as `5m` or `1h 30min`.
fn is_span(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(|c: char| c.is_ascii_digit()) && text.ends_with(|c: char| c.is_alphabetic())
}

/// The moment in seconds since the epoch; `None`: systemd does not know the form.
fn seconds(text: &str) -> Result<Option<f64>> {
    let mut command = Command::new(tools::of_system("systemd-analyze"));
    command.args(["timestamp", "--", text]);
    let said = tools::run(&mut command, JOURNAL_LIMIT)
        .map_err(|e| anyhow!("Failed to read the time '{text}': systemd-analyze {e}"))?;
    let mut lines = said.stdout.lines();
    let seconds = lines.find_map(|line| line.trim().strip_prefix("UNIX seconds: @"));
    let seconds = seconds.filter(|_| said.status.success());
    Ok(seconds.and_then(|seconds| seconds.parse().ok()))
}

/// The events since a moment, oldest first; those of one agent, if one is given.
///
/// # Errors
/// The journal cannot be read.
pub fn load(since: Timestamp, agent: Option<&Agent>) -> Result<Vec<Event>> {
    if let Some(why) = journalctl::unreadable() {
        bail!("{why}");
    }
    let mut command = journalctl::command();
    command.args(["--output=json", "--all"]);
    command.arg(
        "--output-fields=MESSAGE,MESSAGE_ID,USER_UNIT,UNIT_RESULT,GT_AGENT,GT_RIG,GT_STATUS,\
         GT_REASON,GT_ACTION,GT_REQUEST,GT_SESSION,GT_PID,GT_SPAWN,GT_ISSUE,GT_UNIT,GT_ALERT",
    );
    command.arg(format!("--since=@{}", since.as_second()));
    command.arg(format!("_UID={}", nix::unistd::geteuid()));
    for (_, id) in wanted() {
        command.arg(format!("MESSAGE_ID={id}"));
    }
    let said = tools::run(&mut command, JOURNAL_LIMIT).map_err(|e| match e {
        ToolError::TooMuchOutput => anyhow!("More happened than can be shown; use a later --since"),
        e => anyhow!("Failed to read the journal: journalctl {e}"),
    })?;
    // journalctl fails without a word when nothing matches. One that was killed has no exit code.
    let is_complete = said.status.code().is_some() && said.stderr.trim().is_empty();
    if !said.status.success() && !is_complete {
        bail!("Failed to read the journal: {}", said.complaint());
    }
    let mut events = parse(&said.stdout);
    if let Some(agent) = agent {
        events.retain(|event| event.agent.as_ref() == Some(agent));
    }
    Ok(events)
}

/// When each agent ended last, by the journal: the manager forgets units that are down. Agents that
/// have no end among the last [`ENDS`] are missing.
pub fn ends() -> BTreeMap<Agent, Timestamp> {
    if journalctl::unreadable().is_some() {
        return BTreeMap::new();
    }
    let mut command = journalctl::command();
    command.args([
        "--output=json",
        "--output-fields=MESSAGE_ID,GT_AGENT",
        "--reverse",
    ]);
    command.arg(format!("--lines={ENDS}"));
    command.arg(format!("_UID={}", nix::unistd::geteuid()));
    for id in [journal::AGENT_ENDED, journal::AGENT_STOPPED] {
        command.arg(format!("MESSAGE_ID={id}"));
    }
    let said = tools::run(&mut command, journalctl::LIMIT).map(|said| said.stdout);
    let mut ends = BTreeMap::new();
    for event in parse(&said.unwrap_or_default()) {
        if let Some(agent) = event.agent {
            // The latest comes first.
            ends.entry(agent).or_insert(event.time);
        }
    }
    ends
}

fn wanted() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    let ours = journal::EVENTS.iter().filter(|(name, _)| *name != OMITTED);
    ours.chain([&UNIT_FAILED])
}

/// Reads `journalctl --output=json`; messages that are no events of ours are left out.
pub fn parse(text: &str) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for line in text.lines() {
        let Some(event) = serde_json::from_str(line).ok().and_then(|o| one(&o)) else {
            continue;
        };
        // After an end that gt-agent has told itself, the manager's message says nothing new. Pokes,
        // requests and alerts tell of no end.
        let is_of_run = |e: &&Event| {
            use Kind::{Begin, End, Refused, Stop};
            e.agent == event.agent && matches!(kind(e.name), Begin | End | Stop | Refused)
        };
        let said = || events.iter().rev().find(is_of_run);
        if event.name == UNIT_FAILED.0
            && said().is_some_and(|before| {
                before.name != "AGENT_STARTED" && before.name != "AGENT_ADOPTED"
            })
        {
            continue;
        }
        events.push(event);
    }
    events
}

fn one(entry: &Map<String, Value>) -> Option<Event> {
    let field = |name: &str| entry.get(name).map(text);
    let id = field("MESSAGE_ID")?;
    let name = wanted().find(|(_, known)| *known == id)?.0;
    let usec = field("__REALTIME_TIMESTAMP")?.parse().ok()?;
    let agent = match field("GT_AGENT") {
        Some(agent) => Agent::parse(&agent).ok(),
        None => field("USER_UNIT").and_then(|unit| Agent::from_unit(&unit).ok()),
    };
    if name == UNIT_FAILED.0 && agent.is_none() {
        return None;
    }
    let mut fields: BTreeMap<String, String> = entry
        .iter()
        .filter(|(key, _)| key.starts_with("GT_"))
        .map(|(key, value)| (key.clone(), text(value)))
        .collect();
    let mut message = printable(&field("MESSAGE").unwrap_or_default());
    if let (Some(agent), Some(result)) = (&agent, field("UNIT_RESULT")) {
        message = format!("{agent} failed: {result}");
        fields.insert("GT_REASON".into(), result);
    }
    Some(Event {
        time: Timestamp::from_microsecond(usec).ok()?,
        name,
        agent,
        message,
        fields,
    })
}

/// A journal field: text, bytes that are no plain text, or one of several values.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_u64) => {
            let bytes = items.iter().filter_map(Value::as_u64);
            let bytes: Vec<u8> = bytes.filter_map(|b| u8::try_from(b).ok()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        Value::Array(items) => items.first().map(text).unwrap_or_default(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, rest: &str) -> String {
        let id = wanted().find(|(known, _)| *known == name).unwrap().1;
        format!(r#"{{"__REALTIME_TIMESTAMP":"1767225600000000","MESSAGE_ID":"{id}",{rest}}}"#)
    }

    #[test]
    fn journal_lines_become_events() {
        let text = [
            line(
                "AGENT_ENDED",
                r#""MESSAGE":"x ended;\nlast","GT_AGENT":"gastown/witness","GT_STATUS":"3""#,
            ),
            // "a ESC [ 2 J", as journalctl prints what is no plain text.
            line(
                "AGENT_REFUSED",
                r#""MESSAGE":[97,27,91,50,74],"GT_AGENT":["mayor","deacon"]"#,
            ),
            line("AGENT_STOPPED", r#""MESSAGE":null,"GT_AGENT":"../../etc""#),
            r#"{"MESSAGE":"no id"}"#.into(),
            "not json".into(),
        ]
        .join("\n");
        let events = parse(&text);
        let shown: Vec<_> = events
            .iter()
            .map(|e| {
                (
                    e.name,
                    e.agent.as_ref().map(Agent::to_string),
                    e.message.as_str(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                (
                    "AGENT_ENDED",
                    Some("gastown/witness".to_string()),
                    "x ended;\nlast"
                ),
                ("AGENT_REFUSED", Some("mayor".to_string()), "a[2J"),
                ("AGENT_STOPPED", None, ""),
            ]
        );
        assert_eq!(events[0].fields["GT_STATUS"], "3");
        assert_eq!(events[0].time.as_second(), 1_767_225_600);
    }

    #[test]
    fn the_managers_word_counts_only_where_nobody_else_spoke() {
        let agent = r#""GT_AGENT":"mayor""#;
        let failed = r#""USER_UNIT":"gt-agent@mayor.service","UNIT_RESULT":"signal""#;
        let names = |lines: &[String]| -> Vec<&str> {
            parse(&lines.join("\n")).iter().map(|e| e.name).collect()
        };
        let started = line("AGENT_STARTED", agent);
        let ended = line("AGENT_ENDED", agent);
        let failed = line("UNIT_FAILED", failed);
        assert_eq!(
            names(&[started.clone(), failed.clone()]),
            ["AGENT_STARTED", "UNIT_FAILED"]
        );
        for other in ["POKED", "REQUEST_DONE", "ALERT_BEGAN", "AGENT_RETRIED"] {
            let lines = [started.clone(), line(other, agent), failed.clone()];
            assert_eq!(names(&lines), ["AGENT_STARTED", other, "UNIT_FAILED"]);
        }
        assert_eq!(
            names(&[started, ended, line("ALERT_BEGAN", agent), failed]),
            ["AGENT_STARTED", "AGENT_ENDED", "ALERT_BEGAN"]
        );
        let other = line(
            "UNIT_FAILED",
            r#""USER_UNIT":"foo.service","UNIT_RESULT":"signal""#,
        );
        assert!(names(&[other]).is_empty());
    }

    #[test]
    fn every_kind_has_its_events() {
        for (name, want) in [
            ("AGENT_ADOPTED", Kind::Begin),
            ("AGENT_ENDED", Kind::End),
            ("POKE_UNANSWERED", Kind::Poke),
            ("POKED", Kind::Poke),
            ("POKE_WAITS", Kind::Note),
            ("DEACON_STUCK", Kind::Alert),
            ("REQUEST_REFUSED", Kind::Request),
            ("ALERT_RAISED", Kind::Alert),
            ("SPAWN_TRIGGERED", Kind::Spawn),
            ("SOMETHING", Kind::Note),
        ] {
            assert_eq!(kind(name), want, "{name}");
        }
    }
}

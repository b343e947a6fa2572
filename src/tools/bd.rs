//! Beads, by `bd`: what agents say of themselves, and their work. `bd` is optional, and its output
//! has changed by generation.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::{Agent, Role};
use crate::tools::{self, Tools};
use crate::town::Town;

/// How old a listed description may be to be written back without reading it again.
const FRESH: Duration = Duration::from_secs(2);

/// The key of the line that tells an agent's state.
const STATE: &str = "agent_state";

/// States of an agent that runs.
const RUNNING: &[&str] = &["running", "working"];

/// An agent's bead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bead {
    /// Its id, such as `gt-witness-gastown`.
    pub id: String,
    /// The agent that the bead stands for; `None`: none that is known here.
    pub agent: Option<Agent>,
    /// A title, a blank line, then `key: value` lines.
    pub description: String,
    /// The state, if `bd` keeps it apart from the description.
    pub agent_state: Option<String>,
}

impl Bead {
    /// The state, in the description or apart, if it says that the agent runs.
    pub fn claims_to_run(&self) -> Option<&str> {
        let said = state_line(&self.description).map(|(_, state)| state);
        [said, self.agent_state.as_deref()]
            .into_iter()
            .flatten()
            .find(|state| RUNNING.contains(state))
    }
}

/// The line with the state, by its number, and the state.
fn state_line(description: &str) -> Option<(usize, &str)> {
    description
        .lines()
        .enumerate()
        // The first line is the title, whatever it says.
        .skip(1)
        .find_map(|(number, line)| {
            let (key, value) = line.split_once(':')?;
            key.trim()
                .eq_ignore_ascii_case(STATE)
                .then(|| (number, value.trim()))
        })
}

/// The description with another state; every other byte stays as it is.
fn with_state(description: &str, state: &str) -> Option<String> {
    let (number, _) = state_line(description)?;
    let mut lines: Vec<String> = description.split('\n').map(String::from).collect();
    let line = lines.get_mut(number)?;
    let (key, value) = line.split_once(':')?;
    let end = if value.ends_with('\r') { "\r" } else { "" };
    *line = format!("{key}: {state}{end}");
    Some(lines.join("\n"))
}

/// Every agent's bead, in one call. `Ok(None)`: there is no `bd`.
///
/// # Errors
/// `bd` failed, hung, or printed something that is not a list: then nothing is known.
pub fn agents(tools: &Tools, town: &Town, agents: &[Agent]) -> Result<Option<Vec<Bead>>> {
    let by_type = ["list", "--type=agent", "--json", "--limit", "0"];
    let by_label = [
        "list",
        "--label=gt:agent",
        "--json",
        "--flat",
        "--limit",
        "0",
    ];
    // A town may be older or newer than its `bd`: first try the form of its own generation, then
    // the other.
    let is_first = town.dialect().is_first();
    let forms: [&[&str]; 2] = if is_first {
        [&by_type, &by_label]
    } else {
        [&by_label, &by_type]
    };
    let mut beads = Vec::new();
    let mut has_answered = false;
    for form in forms {
        match call(tools, town, form) {
            Ok(None) => return Ok(None),
            Ok(Some(text)) => beads = parse(&text)?,
            Err(e) if e.is::<tools::ToolError>() => return Err(e),
            // A `bd` may know labels, of which there are none, and not that type.
            Err(e) if form == forms[1] && !has_answered => return Err(e),
            Err(_) => continue,
        }
        has_answered = true;
        if !beads.is_empty() || is_first {
            break;
        }
    }
    for bead in &mut beads {
        let is_its = |agent: &&Agent| town.bead(agent).as_ref() == Some(&bead.id);
        bead.agent = agents.iter().find(is_its).cloned();
    }
    Ok(Some(beads))
}

/// The status by which the beads of rigs are labelled, such as `status:docked` by `gt rig dock`; a
/// rig without a bead is left out. `Ok(None)`: there is no `bd`, or no rig.
///
/// # Errors
/// `bd` hung, printed something that is not a list, or has not answered until `end`: then nothing
/// is known.
pub fn rig_labels(
    tools: &Tools,
    town: &Town,
    end: Instant,
) -> Result<Option<BTreeMap<String, Option<String>>>> {
    let ids: BTreeMap<String, &str> = town
        .rigs()
        .names()
        .map(|rig| (town.rig_bead(rig), rig))
        .collect();
    let wanted: Vec<&str> = ids.keys().map(String::as_str).collect();
    let Some(shown) = show(tools, town, &wanted, end)? else {
        return Ok(None);
    };
    let of_rigs = shown.iter().filter_map(|issue| {
        let rig = ids.get(issue.get("id")?.as_str()?)?;
        Some((rig.to_string(), status_label(issue)))
    });
    Ok(Some(of_rigs.collect()))
}

/// Those of the beads that exist. One call, or one for each bead if this `bd` shows none when one
/// is missing. `Ok(None)`: there is no `bd`, or no bead is asked for.
fn show(tools: &Tools, town: &Town, ids: &[&str], end: Instant) -> Result<Option<Vec<Value>>> {
    let Some(mut command) = tools.command("bd", town.root()).filter(|_| !ids.is_empty()) else {
        return Ok(None);
    };
    command.arg("show").args(ids).arg("--json");
    // `bd` fails when one bead is missing, so its exit status tells nothing.
    let out = tools::run(&mut command, limit(town)).context("'bd show' gave no answer")?;
    match (parse_shown(&out.stdout)?, ids) {
        (Some(shown), _) => Ok(Some(shown)),
        (None, [_]) => Ok(Some(Vec::new())),
        (None, _) => {
            let mut found = Vec::new();
            for id in ids {
                // One call for each bead may take very long.
                ensure!(Instant::now() < end, "'bd show' is too slow");
                found.extend(show(tools, town, &[id], end)?.unwrap_or_default());
            }
            Ok(Some(found))
        }
    }
}

/// Reads what `bd show --json` prints; where it prints nothing at all, none of the beads is there.
/// `None`: it prints an error in JSON, because a bead is missing; that tells nothing about the others.
fn parse_shown(text: &str) -> Result<Option<Vec<Value>>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let said: Option<Value> = serde_json::from_str(text).ok();
    let error = said.as_ref().and_then(|said| said.get("error")?.as_str());
    let missing = ["no issue found", "no issues found"];
    if error.is_some_and(|error| missing.iter().any(|words| error.contains(words))) {
        return Ok(None);
    }
    issues(text).map(Some)
}

/// Issues on the hooks of polecats, each with its polecat, among the beads that `dir` uses. A
/// polecat may have one of the town's or of its rig's beads on its hook. `Ok(None)`: there is no
/// `bd`.
///
/// # Errors
/// As for [`agents`].
pub fn hooked(tools: &Tools, town: &Town, dir: &Path) -> Result<Option<Vec<(String, Agent)>>> {
    // The status of work on a hook, since January 2026 and before.
    let mut found = Vec::new();
    for status in ["--status=hooked", "--status=pinned"] {
        let args = ["list", status, "--json", "--limit", "0"];
        match call_in(tools, town, dir, &args) {
            Ok(None) => return Ok(None),
            Ok(Some(text)) => found.extend(parse_hooked(&text, town)?),
            // This is no unknown status: every `bd` accepts those.
            Err(e) => return Err(e),
        }
    }
    Ok(Some(found))
}

/// Reads the work on polecats' hooks from what `bd list --json` prints.
///
/// # Errors
/// The text is no list of issues.
pub fn parse_hooked(text: &str, town: &Town) -> Result<Vec<(String, Agent)>> {
    let polecat = |issue: &Value| {
        let id = issue.get("id")?.as_str()?;
        let agent = town.agent(issue.get("assignee")?.as_str()?).ok()?;
        (agent.role() == Role::Polecat && is_id(id)).then(|| (id.to_string(), agent))
    };
    Ok(issues(text)?.iter().filter_map(polecat).collect())
}

/// Whether a text may be an id: people see ids and type them, so only plain ones are taken.
fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 100
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// The status in a bead's label `status:docked` or `status:parked`.
fn status_label(issue: &Value) -> Option<String> {
    let labels = issue.get("labels").and_then(Value::as_array);
    let labels = labels.into_iter().flatten().filter_map(Value::as_str);
    let mut status = labels.filter_map(|label| label.strip_prefix("status:"));
    let status = status.find(|status| ["docked", "parked"].contains(status));
    status.map(String::from)
}

/// Notes in an agent's bead that it is dead, if the bead says that it runs. The bead is read again
/// first, for somebody may have written it since it was `listed`, `age` ago. Tells whether there
/// was something to note.
///
/// # Errors
/// `bd` failed or hung.
pub fn mark_dead(tools: &Tools, town: &Town, listed: &Bead, age: Duration) -> Result<bool> {
    let id = listed.id.as_str();
    let is_its = |bead: &Bead| bead.id == id;
    let shown = call(tools, town, &["show", id, "--json"]);
    let shown = shown.ok().flatten().and_then(|text| parse(&text).ok());
    let bead = match shown.and_then(|beads| beads.into_iter().find(is_its)) {
        Some(bead) => bead,
        // The first generation of `bd` may show nothing without a reason.
        None if age < FRESH => listed.clone(),
        None => {
            let again = agents(tools, town, &[])?.unwrap_or_default();
            let Some(bead) = again.into_iter().find(is_its) else {
                return Ok(false);
            };
            bead
        }
    };
    let runs = |state: Option<&str>| state.is_some_and(|state| RUNNING.contains(&state));
    if runs(bead.agent_state.as_deref()) {
        call(tools, town, &["agent", "state", &bead.id, "dead"])?;
    }
    if runs(state_line(&bead.description).map(|(_, state)| state))
        && let Some(text) = with_state(&bead.description, "dead")
    {
        let description = format!("--description={text}");
        call(tools, town, &["update", &bead.id, &description])?;
    }
    Ok(bead.claims_to_run().is_some())
}

fn call(tools: &Tools, town: &Town, args: &[&str]) -> Result<Option<String>> {
    call_in(tools, town, town.root(), args)
}

/// How long one call may take.
pub fn limit(town: &Town) -> Duration {
    town.ours().bd_limit.try_into().unwrap_or_default()
}

fn call_in(tools: &Tools, town: &Town, dir: &Path, args: &[&str]) -> Result<Option<String>> {
    let Some(mut command) = tools.command("bd", dir) else {
        return Ok(None);
    };
    let shown = args.iter().take(2).copied().collect::<Vec<_>>().join(" ");
    let out = tools::run(command.args(args), limit(town));
    let out = out.with_context(|| format!("'bd {shown}' gave no answer"))?;
    if !out.status.success() {
        bail!("'bd {shown}' failed: {}", out.complaint());
    }
    Ok(Some(out.stdout))
}

/// Reads what `bd list --json` prints, perhaps after lines of a banner: an array, `null`, one of
/// these in an envelope, or the words that one generation prints for an empty list.
///
/// # Errors
/// The text is anything else: that is no empty list.
pub fn parse(text: &str) -> Result<Vec<Bead>> {
    let beads = issues(text)?.iter().map(bead).collect::<Option<_>>();
    beads.ok_or_else(|| bad(text))
}

fn bad(text: &str) -> anyhow::Error {
    let shown: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    anyhow!("'bd' printed no list of issues: '{shown}'")
}

fn issues(text: &str) -> Result<Vec<Value>> {
    let text = text.trim();
    let last = text.lines().last().unwrap_or_default().trim();
    if last == "No issues found." || last == "No issues found" {
        return Ok(Vec::new());
    }
    let bad = || bad(text);
    let value = serde_json::from_str(text)
        .ok()
        .or_else(|| after_banner(text))
        .ok_or_else(bad)?;
    let list = match value {
        Value::Object(mut envelope) => envelope.remove("data").ok_or_else(bad)?,
        other => other,
    };
    match list {
        Value::Null => Ok(Vec::new()),
        Value::Array(issues) => Ok(issues),
        _ => Err(bad()),
    }
}

fn after_banner(text: &str) -> Option<Value> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with(['[', '{'])
            && let Ok(value) = serde_json::from_str(&text[at..])
        {
            return Some(value);
        }
        at += line.len();
    }
    None
}

fn bead(issue: &Value) -> Option<Bead> {
    let text = |key: &str| match issue.get(key) {
        None | Some(Value::Null) => Some(None),
        Some(Value::String(text)) => Some(Some(text.clone())),
        Some(_) => None,
    };
    Some(Bead {
        id: text("id")?.filter(|id| !id.is_empty() && !id.starts_with('-'))?,
        agent: None,
        description: text("description")?.unwrap_or_default(),
        agent_state: text("agent_state")?.filter(|state| !state.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use crate::tools::script;

    const ISSUE: &str = r#"{"id":"gt-witness-gastown","title":"W","issue_type":"agent","priority":2,
        "description":"Witness: the one\n\nrole_type: witness\nagent_state: running\nhook: null"}"#;

    #[test]
    fn every_generation_parses() {
        for (text, want) in [
            (format!("[{ISSUE}]"), 1),
            (format!("[\n{ISSUE},\n{ISSUE}\n]\n"), 2),
            (format!("{{\"schema_version\":1,\"data\":[{ISSUE}]}}"), 1),
            (format!("warning: daemon is old\n[{ISSUE}]"), 1),
            (format!("[notice] upgrade\n{{\"data\":[{ISSUE}]}}"), 1),
            ("[]".into(), 0),
            ("null\n".into(), 0),
            ("{\"data\":null}".into(), 0),
            ("No issues found.\n".into(), 0),
            ("Starting the daemon...\nNo issues found\n".into(), 0),
        ] {
            assert_eq!(parse(&text).unwrap().len(), want, "{text}");
        }
    }

    /// What the bd of each gt prints of a docked rig, of beads that are not there, and of none.
    #[test]
    fn recorded_answers() {
        for (shown, missing, empty) in [
            (
                include_str!("../../tests/fixtures/gt-0.1.0/bd-show"),
                "",
                include_str!("../../tests/fixtures/gt-0.1.0/bd-list-empty"),
            ),
            (
                include_str!("../../tests/fixtures/gt-0.2.6/bd-show"),
                include_str!("../../tests/fixtures/gt-0.2.6/bd-show-missing"),
                include_str!("../../tests/fixtures/gt-0.2.6/bd-list-empty"),
            ),
        ] {
            let shown = parse_shown(shown).unwrap().unwrap();
            let labels: Vec<_> = shown.iter().map(status_label).collect();
            assert_eq!(labels, [Some("docked".to_string())]);
            let none = parse_shown(missing).unwrap().unwrap_or_default();
            assert_eq!(none, Vec::<Value>::new(), "{missing}");
            assert_eq!(parse(empty).unwrap(), Vec::new());
        }
        for junk in [r#"{"error":"database is locked"}"#, "{}", "oops"] {
            assert!(parse_shown(junk).is_err(), "{junk}");
        }
        let agents = parse(include_str!("../../tests/fixtures/gt-0.2.6/bd-list-agents")).unwrap();
        let ids: Vec<_> = agents.iter().map(|bead| bead.id.as_str()).collect();
        assert_eq!(ids, ["hq-mayor", "hq-deacon"]);
        assert_eq!(state_line(&agents[0].description).unwrap().1, "idle");
    }

    /// What is on hooks, as the bd of each gt says it. Witnesses have handoffs on theirs.
    #[test]
    fn recorded_hooks() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        for (text, issue, polecat) in [
            (
                include_str!("../../tests/fixtures/gt-0.1.0/bd-list-pinned"),
                "gm-63t",
                "proj/polecats/nux",
            ),
            (
                include_str!("../../tests/fixtures/gt-0.2.6/bd-list-hooked"),
                "hq-8q4",
                "proj/polecats/chrome",
            ),
        ] {
            let want = [(issue.to_string(), Agent::parse(polecat).unwrap())];
            assert_eq!(parse_hooked(text, &town).unwrap(), want);
        }
    }

    #[test]
    fn a_form_that_is_refused_hides_no_answer() {
        for (by_label, by_type, want) in [
            ("echo '[]'", "exit 1", Some(0)),
            ("exit 1", "echo '[]'", Some(0)),
            ("echo '[]'", r#"echo '[{"id":"x"}]'"#, Some(1)),
            ("exit 1", "exit 1", None),
            ("echo oops", "echo '[]'", None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            files::write(&dir.path().join("mayor/town.json"), br#"{"version":2}"#).unwrap();
            let town = Town::at(dir.path(), None).unwrap();
            std::fs::create_dir_all(dir.path().join(".local/bin")).unwrap();
            let text =
                format!("#!/bin/sh\ncase $2 in --label*) {by_label} ;; *) {by_type} ;; esac\n");
            script(&dir.path().join(".local/bin/bd"), &text);
            let found = agents(&Tools::locate(dir.path()), &town, &[]);
            let count = found.ok().map(|beads| beads.unwrap_or_default().len());
            assert_eq!(count, want, "{by_label}, {by_type}");
        }
    }

    #[test]
    fn junk_is_not_an_empty_list() {
        for text in [
            "",
            "oops",
            "{}",
            "{\"error\":\"database is locked\"}",
            "[1]",
            "[{}]",
            r#"[{"id":5}]"#,
            r#"[{"id":"--force"}]"#,
            r#"[{"id":"x","description":7}]"#,
            "[{\"id\":\"x\"",
            "42",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_line_of_the_state_changes() {
        let bead = &parse(&format!("[{ISSUE}]")).unwrap()[0];
        assert_eq!(bead.claims_to_run(), Some("running"));
        assert_eq!(
            with_state(&bead.description, "dead").unwrap(),
            "Witness: the one\n\nrole_type: witness\nagent_state: dead\nhook: null"
        );
        for (text, want) in [
            ("agent_state: running\n", None),
            (
                "T\n\nAgent_State:working\r\nx: y\r\n",
                Some("T\n\nAgent_State: dead\r\nx: y\r\n"),
            ),
            (
                "T\n\n  agent_state : working",
                Some("T\n\n  agent_state : dead"),
            ),
            ("T", None),
        ] {
            assert_eq!(with_state(text, "dead").as_deref(), want, "{text:?}");
        }
    }

    #[test]
    fn what_is_on_hooks() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let text = r#"[{"id":"gt-abc","assignee":"a/polecats/nux"},{"id":"gt-b","assignee":"a/witness"},
            {"id":"gt-c","assignee":"b/polecats/x"},{"id":"gt-d"},{"id":"--x","assignee":"a/polecats/y"},
            {"id":"gt-e","assignee":null},{"id":"gt-f","assignee":"../../x"}]"#;
        let found = parse_hooked(text, &town).unwrap();
        let on = |issue: &str, polecat: &str| (issue.into(), Agent::parse(polecat).unwrap());
        assert_eq!(
            found,
            [on("gt-abc", "a/polecats/nux"), on("gt-c", "b/polecats/x")]
        );
        assert!(parse_hooked("oops", &town).is_err());
    }

    #[test]
    fn what_claims_to_run() {
        for (description, apart, want) in [
            ("T\nagent_state: working", None, Some("working")),
            ("T\nagent_state: idle", Some("running"), Some("running")),
            ("T\nagent_state: dead", None, None),
            ("T\nagent_state: null", Some("stopped"), None),
            ("T", None, None),
        ] {
            let bead = Bead {
                description: description.into(),
                agent_state: apart.map(String::from),
                ..Bead::default()
            };
            assert_eq!(bead.claims_to_run(), want, "{description}");
        }
    }
}

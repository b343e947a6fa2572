//! `gastownctl status AGENT`: one agent in depth.

use anyhow::{Context, Result};

use super::model::Status;
use super::table;
use crate::agent::Agent;
use crate::ctl::dropins::{self, Ignored};
use crate::ctl::paint::{self, Paint};
use crate::ctl::words::{self, age, printable};
use crate::ctl::{cli, journalctl};
use crate::systemd::Systemd;
use crate::terminal::State;
use crate::tools;
use crate::town::Town;
use crate::zone;

/// How many lines of the journal are shown.
const LINES: u32 = 10;

/// One agent as text, or as JSON.
///
/// # Errors
/// The agent is not in the status.
pub fn show(
    town: &Town,
    systemd: Option<&Systemd>,
    status: &Status,
    agent: &Agent,
    args: &cli::Status,
) -> Result<String> {
    let name = agent.to_string();
    let one = status.agents.iter().find(|one| one.agent == name);
    let one = one.with_context(|| format!("Nothing is known of {agent}"))?;
    if args.json {
        return Ok(serde_json::to_string_pretty(one)? + "\n");
    }
    let colour = paint::colour(args.color);
    let mut out = format!(
        "{}  {}\n",
        Paint::Bold.on(&name, colour),
        table::state_paint(one).on(&table::state(one), colour)
    );
    let mut line = |label: &str, text: Option<String>| {
        if let Some(text) = text {
            out.push_str(&format!("{label:>9}  {text}\n"));
        }
    };
    let since = one.since.map(|time| {
        let local = time.to_zoned(zone::local());
        let span = age(status.now.duration_since(time));
        format!("{}, {span} ago", local.strftime("%F %T %Z"))
    });
    line("Why", one.reason.clone());
    let terminal = one.terminal.as_ref();
    line("Terminal", terminal.map(|state| state.word().to_string()));
    if let Some(State::Asks(question)) = terminal {
        for text in question.text.lines() {
            line("", Some(printable(text)));
        }
        for (number, choice) in question.choices.iter().enumerate() {
            line("", Some(format!("{}. {}", number + 1, printable(choice))));
        }
    }
    line("Unit", Some(format!("{} ({})", one.unit, one.sub_state)));
    line("Since", since);
    line("Restarts", one.restarts.map(|n| n.to_string()));
    line("Process", one.pid.map(|n| n.to_string()));
    line(
        "Session",
        one.session
            .as_ref()
            .map(|s| format!("{s} on socket {}", town.socket())),
    );
    line(
        "Heartbeat",
        one.heartbeat.as_ref().map(|beat| beat.to_string()),
    );
    line("Directory", Some(town.workdir(agent).display().to_string()));
    line("Memory", one.memory_bytes.map(words::bytes));
    line("CPU", one.cpu_nsec.map(words::cpu));
    line("Tasks", one.tasks.map(|n| n.to_string()));
    let ignored = systemd.map(|systemd| dropins::ignored(systemd, &[&agent.unit()]));
    for Ignored { file, what } in ignored.into_iter().flatten().flatten() {
        line("Drop-in", Some(format!("'{file}', {what}")));
    }
    let journal = match journalctl::unreadable() {
        Some(why) => why + "\n",
        None => {
            let mut command = journalctl::command();
            command.args(["--output=short-iso", "--no-hostname"]);
            command.arg(format!("--lines={LINES}"));
            command.args(journalctl::matches(Some(agent)));
            match tools::run(&mut command, journalctl::LIMIT) {
                Ok(said) if said.status.success() => said.stdout,
                Ok(said) => format!("The journal cannot be shown: {}\n", said.complaint()),
                Err(e) => format!("The journal cannot be shown: journalctl {e}\n"),
            }
        }
    };
    Ok(format!("{out}\n{journal}"))
}

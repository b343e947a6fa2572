//! `gastownctl history`: what happened, a line each.

use anyhow::Result;
use jiff::tz::TimeZone;
use serde_json::json;

use super::events::{self, Event};
use super::output::print;
use super::{cli, directory};
use crate::exit::Exit;
use crate::town::Town;
use crate::zone;

/// Prints the events, oldest first.
///
/// # Errors
/// The agent is not known, the time is none, or the journal cannot be read.
pub fn run(args: &cli::History) -> Result<Exit> {
    let agent = directory::named(&Town::load()?, args.agent.as_deref())?;
    let events = events::load(
        events::moment(args.since.text())?,
        agent.as_ref(),
        args.since.text.is_some(),
    )?;
    let zone = zone::local();
    let text: String = events
        .iter()
        .map(|event| {
            if args.json {
                as_json(event)
            } else {
                as_text(event, &zone)
            }
        })
        .collect();
    if text.is_empty() && !args.json {
        log::info!("Nothing happened since {}", args.since.text());
    }
    print(&text)?;
    Ok(Exit::Ok)
}

fn as_json(event: &Event) -> String {
    let object = json!({
        "time": event.time,
        "event": event.name,
        "agent": event.agent,
        "message": event.message,
        "fields": event.fields,
    });
    format!("{object}\n")
}

/// The first line of the message with time and name of the event, others below it.
fn as_text(event: &Event, zone: &TimeZone) -> String {
    let time = event
        .time
        .to_zoned(zone.clone())
        .strftime("%F %T")
        .to_string();
    let name = event.name.to_lowercase().replace('_', "-");
    let mut lines = event.message.lines();
    let mut out = format!("{time}  {name:<17}  {}\n", lines.next().unwrap_or_default());
    for line in lines {
        out += format!("{:21}| {line}", "").trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_in_text_and_json() {
        let event = Event {
            time: "2026-01-16T09:30:00Z".parse().unwrap(),
            name: "AGENT_ENDED",
            agent: Some(crate::agent::Agent::deacon()),
            message: "deacon ended with status 3; its last lines:\n> hm\n".into(),
            fields: [("GT_STATUS".to_string(), "3".to_string())].into(),
        };
        assert_eq!(
            as_text(&event, &TimeZone::UTC),
            "2026-01-16 09:30:00  agent-ended        deacon ended with status 3; its last lines:\n                     | > hm\n"
        );
        let parsed: serde_json::Value = serde_json::from_str(&as_json(&event)).unwrap();
        assert_eq!(parsed["agent"], "deacon");
        assert_eq!(parsed["fields"]["GT_STATUS"], "3");
        assert_eq!(parsed["time"], "2026-01-16T09:30:00Z");
    }
}

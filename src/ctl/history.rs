//! `gastownctl history`: what happened, a line each.

use anyhow::Result;
use jiff::tz::TimeZone;
use serde_json::json;

use super::events::{self, Event};
use super::output::print;
use super::{cli, directory, journalctl};
use crate::exit::Exit;
use crate::zone;

/// Prints the events, oldest first.
///
/// # Errors
/// The agent is not known, the time cannot be understood, or the journal cannot be read.
pub fn run(args: &cli::History) -> Result<Exit> {
    let agent = directory::named(args.agent.as_deref())?;
    let since = events::moment(args.since.text())?;
    let events = events::load(since, agent.as_ref())?;
    let zone = zone::local();
    let most = args.lines.unwrap_or(usize::MAX);
    let text: String = events[events.len().saturating_sub(most)..]
        .iter()
        .map(|event| {
            if args.json {
                as_json(event)
            } else {
                as_text(event, &zone)
            }
        })
        .collect();
    let is_named = args.since.text.is_some();
    let gap = if is_named || events.is_empty() {
        journalctl::begins_after(since)
    } else {
        None
    };
    if let Some(gap) = gap {
        log::info!("{gap}");
    }
    if events.is_empty() && !args.json {
        log::info!("{} since {}", nothing(gap.is_some()), args.since.text());
    }
    print(&text)?;
    Ok(Exit::Ok)
}

/// What to print when there are no events. `is_gap`: the journal may have lost some.
fn nothing(is_gap: bool) -> &'static str {
    match is_gap {
        true => "The journal has nothing",
        false => "Nothing happened",
    }
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

/// Time, name and first line of the message in one line, the message's other lines below it.
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

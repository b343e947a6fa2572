//! What happened, as rows of lives and marks.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::agent::Agent;
use crate::ctl::events::{self, Event, Kind};
use crate::ctl::status::{AgentStatus, Status};

/// How a span of life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Runs,
    Clean,
    Stopped,
    Crashed,
    /// The next life began without an end of this one.
    Lost,
}

impl Fate {
    pub const ALL: [Fate; 5] = [
        Fate::Runs,
        Fate::Clean,
        Fate::Stopped,
        Fate::Crashed,
        Fate::Lost,
    ];

    pub fn class(self) -> &'static str {
        match self {
            Fate::Runs => "runs",
            Fate::Clean => "clean",
            Fate::Stopped => "stopped",
            Fate::Crashed => "crashed",
            Fate::Lost => "lost",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Fate::Runs => "running",
            Fate::Clean => "ended, status 0",
            Fate::Stopped => "stopped",
            Fate::Crashed => "crashed",
            Fate::Lost => "end not seen",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub from: Timestamp,
    pub to: Timestamp,
    pub fate: Fate,
    pub why: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub time: Timestamp,
    pub kind: Kind,
    pub text: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    open: Option<Timestamp>,
    seen: bool,
    pub spans: Vec<Span>,
    pub marks: Vec<Mark>,
}

/// What to draw: a row for each agent, and first one for the town itself.
#[derive(Debug)]
pub struct Picture {
    pub town: String,
    pub from: Timestamp,
    pub to: Timestamp,
    pub rows: BTreeMap<Option<Agent>, Row>,
}

/// Where the picture of a young town begins: a little before the first thing that is known of it.
pub fn first(events: &[Event], status: &Status) -> Timestamp {
    let running = status.agents.iter().filter(|a| a.active_state == "active");
    let since = running.filter_map(|agent| agent.since);
    let known = events.iter().map(|event| event.time).chain(since).min();
    let span = known.map_or(SignedDuration::ZERO, |known| {
        status.now.duration_since(known)
    });
    // Fifty times wider than that margin, and at least a minute.
    status.now - span.max(SignedDuration::from_mins(1)) * 51 / 50
}

/// What a picture shows of the events since `from`.
pub fn picture(from: Timestamp, events: &[Event], status: &Status) -> Picture {
    let mut rows: BTreeMap<Option<Agent>, Row> = BTreeMap::new();
    for agent in &status.agents {
        if let Ok(agent) = Agent::parse(&agent.agent) {
            rows.entry(Some(agent)).or_default();
        }
    }
    for event in events
        .iter()
        .filter(|e| e.time >= from && e.time <= status.now)
    {
        rows.entry(event.agent.clone())
            .or_default()
            .add(event, from);
    }
    for agent in &status.agents {
        let Some(row) = Agent::parse(&agent.agent)
            .ok()
            .and_then(|a| rows.get_mut(&Some(a)))
        else {
            continue;
        };
        let runs = agent.active_state == "active";
        if runs && row.open.is_none() && !row.seen {
            row.open = Some(agent.since.unwrap_or(from).max(from));
        }
        let fate = match runs || is_unknown(agent) {
            true => Fate::Runs,
            false => Fate::Lost,
        };
        row.close(status.now, fate, "");
    }
    // A life that is still open is that of an agent which is gone and whose end was not seen. Where the
    // manager does not tell, the journal has the last word.
    let fate = match status.agents.iter().any(is_unknown) {
        true => Fate::Runs,
        false => Fate::Lost,
    };
    for row in rows.values_mut() {
        row.close(status.now, fate, "");
    }
    Picture {
        town: status.town.clone(),
        from,
        to: status.now,
        rows,
    }
}

/// Whether the manager does not tell what the agent does.
fn is_unknown(agent: &AgentStatus) -> bool {
    agent.active_state == "unknown"
}

impl Row {
    fn add(&mut self, event: &Event, begin: Timestamp) {
        // What a tick does shows in other events.
        if event.name.starts_with("TICK_") {
            return;
        }
        let first = event.message.lines().next().unwrap_or_default();
        match events::kind(event.name) {
            // gt-agent has taken over a running process: the agent's life goes on.
            Kind::Begin if event.name == "AGENT_ADOPTED" && self.open.is_some() => {}
            Kind::Begin => {
                self.close(event.time, Fate::Lost, first);
                self.open = Some(event.time);
            }
            Kind::End | Kind::Stop => {
                let clean = event
                    .fields
                    .get("GT_STATUS")
                    .is_some_and(|status| status == "0");
                let fate = match events::kind(event.name) {
                    Kind::Stop => Fate::Stopped,
                    _ if clean => Fate::Clean,
                    _ => Fate::Crashed,
                };
                if !self.seen {
                    self.open.get_or_insert(begin);
                }
                self.close(event.time, fate, first);
            }
            kind => self.marks.push(Mark {
                time: event.time,
                kind,
                text: event.message.clone(),
            }),
        }
        self.seen |= matches!(
            events::kind(event.name),
            Kind::Begin | Kind::End | Kind::Stop
        );
    }

    fn close(&mut self, to: Timestamp, fate: Fate, why: &str) {
        if let Some(from) = self.open.take() {
            self.spans.push(Span {
                from,
                to,
                fate,
                why: why.into(),
            });
        }
    }
}

//! `gastownctl timeline`: what happened, as a picture with one row per agent.

mod svg;

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::events::{self, Event, Kind};
use super::status::{self, Status};
use super::{cli, print};
use crate::agent::Agent;
use crate::exit::Exit;
use crate::files;
use crate::systemd::Systemd;
use crate::town::Town;

/// How a span of life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Runs,
    Clean,
    Stopped,
    Crashed,
    /// The next life began without an end of this one.
    Lost,
}

impl Fate {
    const ALL: [Fate; 5] = [
        Fate::Runs,
        Fate::Clean,
        Fate::Stopped,
        Fate::Crashed,
        Fate::Lost,
    ];

    fn class(self) -> &'static str {
        match self {
            Fate::Runs => "runs",
            Fate::Clean => "clean",
            Fate::Stopped => "stopped",
            Fate::Crashed => "crashed",
            Fate::Lost => "lost",
        }
    }

    fn words(self) -> &'static str {
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
struct Span {
    from: Timestamp,
    to: Timestamp,
    fate: Fate,
    why: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Mark {
    time: Timestamp,
    kind: Kind,
    text: String,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Row {
    open: Option<Timestamp>,
    seen: bool,
    spans: Vec<Span>,
    marks: Vec<Mark>,
}

/// A picture to be: rows by agent, that of the town itself first.
#[derive(Debug)]
struct Picture {
    town: String,
    from: Timestamp,
    to: Timestamp,
    rows: BTreeMap<Option<Agent>, Row>,
}

/// Draws the events.
///
/// # Errors
/// The time is none, the journal cannot be read, or the file cannot be written.
pub fn run(args: &cli::Timeline) -> Result<Exit> {
    let town = Town::load()?;
    let mut from = events::moment(args.since.text())?;
    let events = events::load(from, None)?;
    let systemd = Systemd::connect();
    let status = status::collect(&town, systemd.as_ref().map_err(|e| format!("{e:#}")));
    if args.since.text.is_none() {
        from = from.max(first(&events, &status));
    }
    let svg = svg::draw(&picture(from, &events, &status), &TimeZone::system());
    match &args.output {
        Some(path) => {
            files::write(&std::path::absolute(path)?, svg.as_bytes())?;
            super::say(&format!("Drew '{}'", path.display()))?;
        }
        None => print(&svg)?,
    }
    Ok(Exit::Ok)
}

/// Where the picture of a young town begins: a little before the first that is known of it.
fn first(events: &[Event], status: &Status) -> Timestamp {
    let running = status.agents.iter().filter(|a| a.active_state == "active");
    let since = running.filter_map(|agent| agent.since);
    let known = events.iter().map(|event| event.time).chain(since).min();
    let span = known.map_or(SignedDuration::ZERO, |known| {
        status.now.duration_since(known)
    });
    // Fifty times wider than that margin, and at least a minute.
    status.now - span.max(SignedDuration::from_mins(1)) * 51 / 50
}

fn picture(from: Timestamp, events: &[Event], status: &Status) -> Picture {
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
        let fate = if runs { Fate::Runs } else { Fate::Lost };
        row.close(status.now, fate, "");
    }
    Picture {
        town: status.town.clone(),
        from,
        to: status.now,
        rows,
    }
}

impl Row {
    fn add(&mut self, event: &Event, begin: Timestamp) {
        // What a tick asks for is seen by what comes of it.
        if event.name.starts_with("TICK_") {
            return;
        }
        let first = event.message.lines().next().unwrap_or_default();
        match events::kind(event.name) {
            // Another process in the same place: the life of the agent goes on.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::status::{AgentStatus, Target};

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + minute * 60).unwrap()
    }

    fn event(minute: i64, name: &'static str, agent: &str, status: &str) -> Event {
        Event {
            time: at(minute),
            name,
            agent: Agent::parse(agent).ok(),
            message: format!("{agent} <says> \"&\" {name}\nmore\u{1b}"),
            fields: [("GT_STATUS".to_string(), status.to_string())].into(),
        }
    }

    fn town(minute: i64, agents: &[(&str, &str)]) -> Status {
        let agents = agents.iter().map(|(agent, active)| AgentStatus {
            agent: agent.to_string(),
            active_state: active.to_string(),
            since: Some(at(-10)),
            ..AgentStatus::default()
        });
        Status {
            town: "/home/me/<gt> & \"co\"".into(),
            manager: "running".into(),
            target: Target::default(),
            linger: true,
            next_tick: None,
            last_tick: None,
            agents: agents.collect(),
            problems: Vec::new(),
            now: at(minute),
            next_reason: None,
            tick_failure: None,
            queues: Vec::new(),
        }
    }

    fn spans(picture: &Picture, agent: &str) -> Vec<(i64, i64, Fate)> {
        let row = &picture.rows[&Agent::parse(agent).ok()];
        let minute = |time: Timestamp| time.duration_since(at(0)).as_mins();
        row.spans
            .iter()
            .map(|s| (minute(s.from), minute(s.to), s.fate))
            .collect()
    }

    #[test]
    fn lives_become_spans() {
        let events = [
            event(10, "AGENT_ENDED", "mayor", "3"),
            event(11, "AGENT_STARTED", "mayor", ""),
            event(12, "AGENT_ADOPTED", "mayor", ""),
            event(20, "AGENT_ENDED", "mayor", "0"),
            event(20, "AGENT_STARTED", "mayor", ""),
            event(30, "AGENT_STARTED", "mayor", ""),
            event(40, "AGENT_STOPPED", "mayor", ""),
            event(50, "AGENT_REFUSED", "mayor", ""),
            event(15, "AGENT_STARTED", "a/witness", ""),
            event(-5, "AGENT_ENDED", "a/refinery", "3"),
        ];
        let status = town(
            60,
            &[
                ("mayor", "inactive"),
                ("a/witness", "active"),
                ("deacon", "active"),
                ("a/refinery", "failed"),
            ],
        );
        let picture = picture(at(0), &events, &status);
        assert_eq!(
            spans(&picture, "mayor"),
            [
                (0, 10, Fate::Crashed),
                (11, 20, Fate::Clean),
                (20, 30, Fate::Lost),
                (30, 40, Fate::Stopped),
            ]
        );
        assert_eq!(spans(&picture, "a/witness"), [(15, 60, Fate::Runs)]);
        assert_eq!(spans(&picture, "deacon"), [(0, 60, Fate::Runs)]);
        assert!(spans(&picture, "a/refinery").is_empty());
        assert_eq!(picture.rows[&Some(Agent::mayor())].marks.len(), 1);
        let svg = svg::draw(&picture, &TimeZone::UTC);
        assert!(svg.contains("/home/me/&lt;gt&gt; &amp; &quot;co&quot;"));
        assert!(!svg.contains("<says>") && !svg.contains('\u{1b}'));
    }

    #[test]
    fn a_young_town_fills_the_picture() {
        let status = town(100, &[("mayor", "inactive")]);
        let events = [event(50, "AGENT_STARTED", "mayor", "")];
        assert_eq!(first(&events, &status), at(49));
        // One that runs since before the first event, and one of which nothing is known.
        assert!(first(&events, &town(100, &[("deacon", "active")])) < at(-10));
        assert!(first(&[], &status) < at(100));
    }

    /// Fifty agents over a day; `GASTOWN_SAMPLE=FILE cargo test sample` writes it to be looked at.
    #[test]
    fn a_sample_of_a_large_town() {
        let names: Vec<String> = (0..10)
            .flat_map(|rig| {
                [
                    "witness",
                    "refinery",
                    "crew/max",
                    "polecats/nux",
                    "polecats/furiosa",
                ]
                .map(|a| format!("rig{rig}/{a}"))
            })
            .collect();
        let mut events = Vec::new();
        for (i, name) in (0..).zip(&names) {
            let mut minute = (i * 37) % 200;
            while minute < 1440 {
                events.push(event(minute, "AGENT_STARTED", name, ""));
                minute += 20 + (i * 53 + minute * 7) % 400;
                match (i + minute) % 5 {
                    0 => events.push(event(minute, "AGENT_ENDED", name, "3")),
                    1 | 2 => events.push(event(minute, "AGENT_ENDED", name, "0")),
                    3 => events.push(event(minute, "AGENT_STOPPED", name, "")),
                    _ => {}
                }
                events.push(event(
                    minute + 1,
                    ["POKE", "REQUEST", "ALERT", "AGENT_REFUSED", "SPAWN"]
                        [(i + minute) as usize % 5],
                    name,
                    "",
                ));
                minute += 3;
            }
        }
        // What real towns have: pokes at each tick, a patrol of a minute, a crash loop.
        for minute in 0..1440 {
            match minute % 5 {
                0 => events.push(event(minute, "POKED", "rig0/witness", "")),
                _ => events.push(event(minute, "AGENT_ENDED", "deacon", "0")),
            }
            events.push(event(minute, "AGENT_STARTED", "deacon", ""));
            if minute / 60 == 9 {
                events.push(event(minute, "AGENT_STARTED", "mayor", ""));
                events.push(event(minute, "AGENT_ENDED", "mayor", "3"));
                events.push(event(minute, "ALERT", "mayor", ""));
            }
        }
        events.push(event(700, "ALERT", "", ""));
        events.sort_by_key(|e| e.time);
        let agents: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "active")).collect();
        let svg = svg::draw(
            &picture(at(0), &events, &town(1440, &agents)),
            &TimeZone::UTC,
        );
        assert_eq!(svg.matches("text-anchor=\"end\"").count(), 53);
        assert!(svg.contains("short lives, crashed"));
        // However much happens, there is only so much to be seen.
        assert!(svg.len() < 400_000, "{}", svg.len());
        if let Some(path) = std::env::var_os("GASTOWN_SAMPLE") {
            std::fs::write(path, svg).unwrap();
        }
    }
}

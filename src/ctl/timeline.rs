//! `gastownctl timeline`: what happened, as a picture with one row per agent.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::events::{self, Event, Kind};
use super::status::{self, Status};
use super::{cli, print};
use crate::agent::Agent;
use crate::exit::Exit;
use crate::files;
use crate::systemd::Systemd;
use crate::town::Town;

/// The width of the part with the spans, in pixels.
const PLOT: f64 = 1300.0;

/// The height of a row, in pixels.
const ROW: f64 = 20.0;

/// The height of a span in its row, in pixels.
const BAR: f64 = 12.0;

/// Above and below the rows, for the title and the legend, in pixels.
const MARGIN: f64 = 66.0;

/// The width of a letter of the labels, in pixels.
const LETTER: f64 = 7.3;

/// A span is drawn at least this wide, in pixels, so that a short life is seen.
const LEAST: f64 = 2.0;

/// The steps of the time axis, in minutes.
const STEPS: [i64; 12] = [1, 5, 10, 30, 60, 120, 180, 360, 720, 1440, 2880, 10_080];

/// At most so many lines on the time axis, where a step is long enough.
const LINES_MAX: i64 = 16;

const STYLE: &str = "\
text{font:12px 'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#222}\
.title{font-size:15px;font-weight:bold}.small{font-size:11px;fill:#555}\
.stripe{fill:#f5f6f8}.grid{stroke:#d4d8de}\
.runs{fill:#4caf6d}.clean{fill:#5b8def}.stopped{fill:#a9b0ba}.crashed{fill:#d64545}.lost{fill:#e8973a}\
.poke{fill:#8e5bd0}.request{fill:#0b7285}.alert{fill:#c2185b;stroke:#fff}.refused{stroke:#b45309;stroke-width:2}\
.note,.spawn{fill:#3b4252}";

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
    let from = events::moment(&args.since)?;
    let events = events::load(from, None)?;
    let systemd = Systemd::connect();
    let status = status::collect(&town, systemd.as_ref().map_err(|e| format!("{e:#}")));
    let svg = draw(&picture(from, &events, &status), &TimeZone::system());
    match &args.output {
        Some(path) => {
            files::write(&std::path::absolute(path)?, svg.as_bytes())?;
            super::say(&format!("Drew '{}'", path.display()))?;
        }
        None => print(&svg)?,
    }
    Ok(Exit::Ok)
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

/// The picture as a self-contained SVG.
fn draw(picture: &Picture, zone: &TimeZone) -> String {
    let label = |agent: &Option<Agent>| {
        agent
            .as_ref()
            .map_or_else(|| "town".into(), Agent::to_string)
    };
    let longest = picture
        .rows
        .keys()
        .map(|a| label(a).len())
        .max()
        .unwrap_or(4);
    let left = 16.0 + longest as f64 * LETTER;
    let (width, bottom) = (left + PLOT + 24.0, MARGIN + ROW * picture.rows.len() as f64);
    let height = bottom + MARGIN;
    let total = picture
        .to
        .duration_since(picture.from)
        .as_secs_f64()
        .max(1.0);
    let x = |time: Timestamp| {
        let part = time.duration_since(picture.from).as_secs_f64() / total;
        left + PLOT * part.clamp(0.0, 1.0)
    };
    let shown =
        |time: Timestamp, format: &str| time.to_zoned(zone.clone()).strftime(format).to_string();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n\
         <title>Gas Town {town}</title>\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text class=\"title\" x=\"12\" y=\"22\">Gas Town {town}</text>\n\
         <text class=\"small\" x=\"12\" y=\"40\">{from} to {to}</text>\n",
        town = xml(&picture.town),
        from = shown(picture.from, "%F %H:%M"),
        to = shown(picture.to, "%F %H:%M %Z"),
    );
    let mut add = |text: std::fmt::Arguments<'_>| {
        let _ = svg.write_fmt(text);
        svg.push('\n');
    };
    for i in (0..picture.rows.len()).step_by(2) {
        let y = MARGIN + ROW * i as f64;
        add(format_args!(
            "<rect class=\"stripe\" x=\"0\" y=\"{y}\" width=\"{width:.0}\" height=\"{ROW}\"/>"
        ));
    }
    for (time, format) in axis(picture.from, picture.to, zone) {
        let x = x(time);
        add(format_args!(
            "<path class=\"grid\" d=\"M{x:.1} {MARGIN}V{bottom}\"/>"
        ));
        for y in [MARGIN - 4.0, bottom + 14.0] {
            let text = shown(time, format);
            add(format_args!(
                "<text class=\"small\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>"
            ));
        }
    }
    for (i, (agent, row)) in picture.rows.iter().enumerate() {
        let y = MARGIN + ROW * i as f64;
        let name = xml(&label(agent));
        add(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            left - 8.0,
            y + 14.0
        ));
        for span in &row.spans {
            let (x0, x1) = (x(span.from), x(span.to));
            let long = super::table::age(span.to.duration_since(span.from));
            let why = if span.why.is_empty() {
                String::new()
            } else {
                format!("\n{}", span.why)
            };
            let title = format!(
                "{name}, {} for {long} until {}{}",
                span.fate.words(),
                shown(span.to, "%F %T"),
                xml(&why)
            );
            let wide = (x1 - x0 - 0.5).max(LEAST);
            let top = y + (ROW - BAR) / 2.0;
            add(format_args!("{}", bar(span.fate, x0, wide, top, &title)));
        }
        for mark in &row.marks {
            let title = xml(&format!("{}\n{}", shown(mark.time, "%F %T"), mark.text));
            add(format_args!(
                "<g>{}<title>{title}</title></g>",
                shape(mark.kind, x(mark.time), y + ROW / 2.0)
            ));
        }
    }
    let (mut at, y) = (left, bottom + 38.0);
    let fates = Fate::ALL.map(|fate| (Ok(fate), fate.words()));
    let kinds = [
        (Kind::Poke, "poke"),
        (Kind::Request, "request"),
        (Kind::Spawn, "spawn"),
        (Kind::Alert, "alert"),
        (Kind::Refused, "start refused"),
    ];
    for (what, words) in fates
        .into_iter()
        .chain(kinds.map(|(kind, words)| (Err(kind), words)))
    {
        let drawn = match what {
            Ok(fate) => bar(fate, at, 12.0, y - 6.0, ""),
            Err(kind) => shape(kind, at + 6.0, y),
        };
        add(format_args!(
            "{drawn}<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{words}</text>",
            at + 17.0,
            y + 4.0
        ));
        at += 34.0 + words.len() as f64 * LETTER;
    }
    svg + "</svg>\n"
}

fn bar(fate: Fate, x: f64, width: f64, y: f64, title: &str) -> String {
    let class = fate.class();
    format!(
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"1.5\">\
         <title>{title}</title></rect>"
    )
}

fn shape(kind: Kind, x: f64, y: f64) -> String {
    match kind {
        Kind::Poke => format!(
            "<path class=\"poke\" d=\"M{:.1} {:.1}h8l-4 8z\"/>",
            x - 4.0,
            y - 4.0
        ),
        Kind::Request => format!(
            "<path class=\"request\" d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5z\"/>",
            y - 5.0
        ),
        Kind::Alert => format!("<circle class=\"alert\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5.5\"/>"),
        Kind::Refused => format!(
            "<path class=\"refused\" d=\"M{:.1} {:.1}l7 7m0 -7l-7 7\"/>",
            x - 3.5,
            y - 3.5
        ),
        Kind::Spawn => format!(
            "<path class=\"spawn\" d=\"M{:.1} {:.1}h8l-4 -8z\"/>",
            x - 4.0,
            y + 4.0
        ),
        _ => format!("<circle class=\"note\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>"),
    }
}

/// Round moments of local time, few enough to be read.
fn axis(from: Timestamp, to: Timestamp, zone: &TimeZone) -> Vec<(Timestamp, &'static str)> {
    let minutes = (to.duration_since(from).as_secs() / 60).max(1);
    let longest = STEPS[STEPS.len() - 1];
    let step = STEPS
        .into_iter()
        .find(|step| minutes / step < LINES_MAX)
        .unwrap_or(longest * (minutes / longest / LINES_MAX + 1));
    let format = if step >= 1440 { "%m-%d" } else { "%H:%M" };
    // Steps are counted on the clock on the wall, from a midnight.
    let offset = i64::from(zone.to_offset(from).seconds());
    let step = step * 60;
    let first = (from.as_second() + offset).div_euclid(step) * step + step - offset;
    (0..)
        .map_while(|i| {
            Timestamp::from_second(first + i * step)
                .ok()
                .filter(|time| *time <= to)
        })
        .take(100)
        .map(|time| (time, format))
        .collect()
}

/// Text for XML: escaped, and without the characters that XML cannot have.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' => out += "&#10;",
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
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
        let svg = draw(&picture, &TimeZone::UTC);
        assert!(svg.contains("/home/me/&lt;gt&gt; &amp; &quot;co&quot;"));
        assert!(!svg.contains("<says>") && !svg.contains('\u{1b}'));
    }

    #[test]
    fn the_axis_has_round_times_and_few() {
        for (minutes, first, count) in [
            (5, 1, 5),
            (60, 5, 12),
            (1440, 120, 12),
            (7 * 1440, 720, 14),
            (400 * 1440, 0, 15),
        ] {
            let lines = axis(at(0), at(minutes), &TimeZone::UTC);
            if first > 0 {
                assert_eq!(lines[0].0, at(first), "{minutes}");
            }
            assert!(
                lines.len().abs_diff(count) <= 1,
                "{minutes}: {}",
                lines.len()
            );
        }
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
        events.push(event(700, "ALERT", "", ""));
        events.sort_by_key(|e| e.time);
        let agents: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "active")).collect();
        let svg = draw(
            &picture(at(0), &events, &town(1440, &agents)),
            &TimeZone::UTC,
        );
        assert_eq!(svg.matches("text-anchor=\"end\"").count(), 51);
        if let Some(path) = std::env::var_os("GASTOWN_SAMPLE") {
            std::fs::write(path, svg).unwrap();
        }
    }
}

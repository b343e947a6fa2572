//! How a [`Status`] looks on a terminal.

use std::io::IsTerminal;

use jiff::{SignedDuration, Timestamp};

use super::cli::Colour;
use super::status::{AgentStatus, Status};

/// The width of output that goes to no terminal, in columns.
const PLAIN_WIDTH: usize = 200;

/// The narrowest table that is attempted, in columns.
const LEAST_WIDTH: usize = 40;

/// Between two columns.
const GAP: &str = "  ";

/// The widest note before the terminal's width decides, in columns.
const NOTE_LEAST: usize = 20;

/// How something is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As it should be.
    Good,
    /// Worth a look.
    Doubtful,
    /// Wrong.
    Bad,
    /// Less important.
    Faint,
    /// A heading.
    Bold,
    /// Not at all.
    Plain,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Paint::Good => "32",
            Paint::Doubtful => "33",
            Paint::Bad => "31",
            Paint::Faint => "2",
            Paint::Bold => "1",
            Paint::Plain => "0",
        }
    }

    /// The text in this paint.
    pub fn on(self, text: &str, colour: bool) -> String {
        if !colour || self == Paint::Plain || text.is_empty() {
            text.to_string()
        } else {
            format!("\x1b[{}m{text}\x1b[0m", self.code())
        }
    }
}

/// The width of the terminal, in columns; of other outputs what COLUMNS says, or plenty.
pub fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    let stdout = std::io::stdout();
    let terminal = stdout
        .is_terminal()
        .then(|| rustix::termios::tcgetwinsize(&stdout).ok())
        .flatten()
        .map(|size| usize::from(size.ws_col))
        .filter(|&width| width > 0);
    terminal.or(columns).unwrap_or(PLAIN_WIDTH).max(LEAST_WIDTH)
}

/// Whether to use colour on standard output.
pub fn colour(when: Colour) -> bool {
    match when {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => {
            let plain = |key| std::env::var_os(key).is_some_and(|value| !value.is_empty());
            let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
            std::io::stdout().is_terminal() && !plain("NO_COLOR") && !dumb
        }
    }
}

/// A column: heading, whether its cells are numbers, and how early it gives way (0: never).
struct Column {
    head: &'static str,
    right: bool,
    yields: u8,
    cell: fn(&AgentStatus, Timestamp) -> String,
}

const COLUMNS: &[Column] = &[
    Column {
        head: "AGENT",
        right: false,
        yields: 0,
        cell: |a, _| a.agent.clone(),
    },
    Column {
        head: "STATE",
        right: false,
        yields: 0,
        cell: |a, _| state(a),
    },
    Column {
        head: "SINCE",
        right: true,
        yields: 0,
        cell: |a, now| since(a, now),
    },
    Column {
        head: "RESTARTS",
        right: true,
        yields: 5,
        cell: |a, _| shown(a.restarts, |n| n.to_string()),
    },
    Column {
        head: "MEMORY",
        right: true,
        yields: 4,
        cell: |a, _| shown(a.memory_bytes, bytes),
    },
    Column {
        head: "CPU",
        right: true,
        yields: 3,
        cell: |a, _| shown(a.cpu_nsec, cpu),
    },
    Column {
        head: "TASKS",
        right: true,
        yields: 2,
        cell: |a, _| shown(a.tasks, |n| n.to_string()),
    },
    Column {
        head: "SESSION",
        right: false,
        yields: 1,
        cell: |a, _| a.session.clone().unwrap_or_default(),
    },
];

/// The status as text of at most `width` columns, where names allow it.
pub fn render(status: &Status, width: usize, colour: bool) -> String {
    let mut out = head(status, colour);
    if !status.agents.is_empty() {
        out.push('\n');
        out.push_str(&agents(status, width, colour));
    }
    for (i, problem) in status.problems.iter().enumerate() {
        if i == 0 {
            out.push_str(&format!("\n{}\n", Paint::Bad.on("Problems", colour)));
        }
        out.push_str(&wrapped(problem, width));
    }
    out
}

fn head(status: &Status, colour: bool) -> String {
    let up = status
        .agents
        .iter()
        .filter(|a| a.active_state == "active")
        .count();
    let (word, paint) = match (status.target.active, status.problems.is_empty()) {
        (None, _) => ("unknown", Paint::Bad),
        (Some(false), _) => ("stopped", Paint::Bad),
        (Some(true), true) => ("running", Paint::Good),
        (Some(true), false) => ("running, with problems", Paint::Doubtful),
    };
    let mut out = format!(
        "{}  {}  {}\n",
        Paint::Bold.on("Gas Town", colour),
        paint.on(word, colour),
        status.town
    );
    let mut line = |label: &str, text: &str| out.push_str(&format!("{label:>8}  {text}\n"));
    let agents = status.agents.len();
    if status.manager == "unknown" {
        line(
            "Agents",
            &format!("{}, their states not known", counted(agents, "agent")),
        );
    } else {
        line("Agents", &format!("{up} of {agents} up"));
    }
    let yes = |known: Option<bool>, yes: &str, no: &str| match known {
        Some(true) => yes.to_string(),
        Some(false) => Paint::Doubtful.on(no, colour),
        None => "not known".to_string(),
    };
    let boot = format!(
        "{}, {}; user manager {}",
        yes(status.target.enabled, "enabled", "not enabled"),
        yes(Some(status.linger), "linger on", "linger off"),
        status.manager
    );
    line("Boot", &boot);
    line("Ticks", &ticks(status));
    let queues: Vec<String> = status
        .queues
        .iter()
        .map(|queue| {
            let failed = match queue.failed {
                0 => String::new(),
                n => Paint::Bad.on(&format!(", {n} failed"), colour),
            };
            format!("{} pending{failed}", counted(queue.pending, queue.what))
        })
        .collect();
    if !queues.is_empty() {
        line("Queues", &queues.join("; "));
    }
    out
}

fn ticks(status: &Status) -> String {
    let mut last = match status.last_tick {
        Some(time) => format!("last {} ago", age(status.now.duration_since(time))),
        None => "none yet".into(),
    };
    if let Some(failure) = &status.tick_failure {
        last += &format!(" (failed: {failure})");
    }
    let next = match status.next_tick {
        Some(time) if time <= status.now => "next now".into(),
        Some(time) => format!("next in {}", age(time.duration_since(status.now))),
        None => "none planned".into(),
    };
    match &status.next_reason {
        Some(why) => format!("{last}, {next}: {why}"),
        None => format!("{last}, {next}"),
    }
}

fn agents(status: &Status, width: usize, colour: bool) -> String {
    let rows: Vec<Vec<String>> = status
        .agents
        .iter()
        .map(|agent| {
            COLUMNS
                .iter()
                .map(|c| (c.cell)(agent, status.now))
                .collect()
        })
        .collect();
    let widths: Vec<usize> = COLUMNS
        .iter()
        .enumerate()
        .map(|(i, column)| {
            let cells = rows.iter().map(|row| row[i].chars().count());
            cells.chain([column.head.len()]).max().unwrap_or(0)
        })
        .collect();
    // A column in which nothing is known helps nobody.
    let mut kept: Vec<usize> = (0..COLUMNS.len())
        .filter(|&i| COLUMNS[i].yields == 0 || rows.iter().any(|row| row[i] != "-"))
        .collect();
    let notes = status.agents.iter().filter_map(|a| a.reason.as_ref());
    let wanted = notes
        .map(|n| n.chars().count())
        .max()
        .unwrap_or(0)
        .min(NOTE_LEAST);
    let taken = |kept: &[usize]| kept.iter().map(|&i| widths[i] + GAP.len()).sum::<usize>();
    while taken(&kept) + wanted > width {
        let yielding = kept.iter().filter(|&&i| COLUMNS[i].yields > 0);
        let Some(&first) = yielding.min_by_key(|&&i| COLUMNS[i].yields) else {
            break;
        };
        kept.retain(|&i| i != first);
    }
    let room = width.saturating_sub(taken(&kept)).max(LEAST_WIDTH / 4);
    let line = |cells: &dyn Fn(usize) -> String, note: &str, paint: &dyn Fn(usize) -> Paint| {
        let mut line = String::new();
        for &i in &kept {
            let cell = cells(i);
            let pad = " ".repeat(widths[i].saturating_sub(cell.chars().count()));
            let painted = paint(i).on(&cell, colour);
            line += &if COLUMNS[i].right {
                pad + &painted
            } else {
                painted + &pad
            };
            line += GAP;
        }
        line += &clipped(note, room);
        line.trim_end().to_string() + "\n"
    };
    let mut out = line(
        &|i| COLUMNS[i].head.to_string(),
        if wanted > 0 { "NOTE" } else { "" },
        &|_| Paint::Bold,
    );
    for (agent, row) in status.agents.iter().zip(&rows) {
        let paint = |i: usize| match COLUMNS[i].head {
            "STATE" => state_paint(agent),
            "RESTARTS" if agent.restarts > Some(0) => Paint::Doubtful,
            _ => Paint::Plain,
        };
        out += &line(&|i| row[i].clone(), note(agent), &paint);
    }
    out
}

/// The state in one word.
pub fn state(agent: &AgentStatus) -> String {
    match (agent.active_state.as_str(), agent.sub_state.as_str()) {
        ("active", "running") => "running".into(),
        ("activating", "auto-restart" | "auto-restart-queued") => "restarting".into(),
        ("activating", _) => "starting".into(),
        ("deactivating", _) => "stopping".into(),
        ("inactive", _) if agent.held => "held".into(),
        ("inactive", _) => "down".into(),
        (other, _) => other.into(),
    }
}

/// The paint of a state.
pub fn state_paint(agent: &AgentStatus) -> Paint {
    match agent.active_state.as_str() {
        "active" if agent.reason.is_none() => Paint::Good,
        "failed" | "unknown" => Paint::Bad,
        "inactive" if agent.held => Paint::Faint,
        _ => Paint::Doubtful,
    }
}

/// The reason, begun with what matters.
fn note(agent: &AgentStatus) -> &str {
    let reason = agent.reason.as_deref().unwrap_or_default();
    reason.strip_prefix("it is ").unwrap_or(reason)
}

fn since(agent: &AgentStatus, now: Timestamp) -> String {
    shown(agent.since, |time| short(now.duration_since(time)))
}

fn shown<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".into(), show)
}

/// A span in words, in its two largest units at most: `42 s`, `5 min`, `3 h 12 min`, `4 d 3 h`.
pub fn age(span: SignedDuration) -> String {
    let seconds = span.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |first: i64, one: &str, second: i64, two: &str| match second {
        0 => format!("{first} {one}"),
        _ => format!("{first} {one} {second} {two}"),
    };
    match () {
        () if minutes == 0 => format!("{seconds} s"),
        () if hours == 0 => format!("{minutes} min"),
        () if days == 0 => pair(hours, "h", minutes % 60, "min"),
        () => pair(days, "d", hours % 24, "h"),
    }
}

/// As [`age`], for a column: `42s`, `5m`, `3h 12m`, `4d 3h`.
fn short(span: SignedDuration) -> String {
    let age = age(span);
    [(" min", "m"), (" s", "s"), (" h", "h"), (" d", "d")]
        .iter()
        .fold(age, |text, (long, short)| text.replace(long, short))
}

/// `3 requests`, `1 request`.
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A size, in units of 1024: `840B`, `2.1M`.
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "K", "M", "G", "T"] {
        if value < 1024.0 || unit == "T" {
            return if value < 10.0 && unit != "B" {
                format!("{value:.1}{unit}")
            } else {
                format!("{value:.0}{unit}")
            };
        }
        value /= 1024.0;
    }
    unreachable!("the last unit returns")
}

/// CPU time, of nanoseconds: `4.2s`, `3m`.
pub fn cpu(nsec: u64) -> String {
    let seconds = nsec as f64 / 1e9;
    if seconds < 60.0 {
        format!("{seconds:.1}s")
    } else {
        short(SignedDuration::from_nanos(
            nsec.try_into().unwrap_or(i64::MAX),
        ))
    }
}

/// The text, cut to `room` columns with an ellipsis.
fn clipped(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        text.to_string()
    } else {
        let kept: String = text.chars().take(room.saturating_sub(1)).collect();
        kept.trim_end().to_string() + "…"
    }
}

/// A list item over as many lines as it takes; a word that is longer than a line stays whole.
pub fn wrapped(text: &str, width: usize) -> String {
    let (first, rest) = ("  - ", "    ");
    let mut out = String::new();
    let mut line = first.to_string();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > width && line.trim().len() > 1 {
            out += line.trim_end();
            out.push('\n');
            line = rest.to_string();
        }
        line += word;
        line.push(' ');
    }
    out + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::status::{Queue, Target};

    fn at(text: &str) -> Option<Timestamp> {
        Some(text.parse().unwrap())
    }

    fn agent(name: &str, active: &str, sub: &str, reason: Option<&str>) -> AgentStatus {
        AgentStatus {
            agent: name.into(),
            active_state: active.into(),
            sub_state: sub.into(),
            session: Some(format!("gt-{}", name.replace('/', "-"))),
            reason: reason.map(String::from),
            ..AgentStatus::default()
        }
    }

    fn sample() -> Status {
        let running = |name: &str, since: &str, restarts| AgentStatus {
            since: at(since),
            restarts: Some(restarts),
            memory_bytes: Some(734_003_200),
            cpu_nsec: Some(83_500_000_000),
            tasks: Some(23),
            ..agent(name, "active", "running", None)
        };
        Status {
            town: "/home/me/gt".into(),
            manager: "degraded".into(),
            target: Target {
                active: Some(true),
                enabled: Some(true),
            },
            linger: true,
            next_tick: at("2026-01-16T09:33:20Z"),
            last_tick: at("2026-01-16T09:28:20Z"),
            agents: vec![
                running("deacon", "2026-01-16T06:18:00Z", 0),
                running("gastown/crew/max", "2026-01-12T05:30:00Z", 2),
                AgentStatus {
                    since: at("2026-01-16T09:29:18Z"),
                    restarts: Some(4),
                    ..agent(
                        "gastown/refinery",
                        "failed",
                        "failed",
                        Some("gave up: exit-code, status=3"),
                    )
                },
                AgentStatus {
                    held: true,
                    ..agent(
                        "gastown/witness",
                        "inactive",
                        "dead",
                        Some("it is held since 2026-01-16T09:00:00Z (gastownctl stop); 'gastownctl start gastown/witness' ends it"),
                    )
                },
            ],
            problems: vec![
                "gastown/refinery gave up: exit-code, status=3; see 'gastownctl logs gastown/refinery', \
                 then run 'gastownctl recover gastown/refinery'"
                    .into(),
            ],
            now: "2026-01-16T09:30:00Z".parse().unwrap(),
            next_reason: Some("the end of the Deacon's grace".into()),
            tick_failure: None,
            queues: vec![
                Queue { what: "request", dir: "daemon/lifecycle", pending: 1, failed: 0 },
                Queue { what: "spawn", dir: "daemon/spawn", pending: 0, failed: 2 },
            ],
        }
    }

    #[test]
    fn golden_at_80_and_200_columns() {
        for width in [80, 200] {
            let file = format!("tests/golden/status-{width}.txt");
            let got = render(&sample(), width, false);
            if std::env::var_os("GASTOWN_GOLDEN").is_some() {
                std::fs::write(&file, &got).unwrap();
            }
            assert_eq!(got, std::fs::read_to_string(&file).unwrap(), "{file}");
            for line in got.lines() {
                assert!(line.chars().count() <= width, "wider than {width}: {line}");
            }
        }
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let coloured = render(&sample(), 80, true);
        let mut plain = String::new();
        let mut parts = coloured.split("\x1b[");
        plain += parts.next().unwrap();
        for part in parts {
            plain += part.split_once('m').unwrap().1;
        }
        assert_eq!(plain, render(&sample(), 80, false));
        assert!(coloured.contains("\x1b[31mfailed\x1b[0m"));
    }

    #[test]
    fn an_unknown_manager_is_no_empty_town() {
        let status = Status {
            manager: "unknown".into(),
            target: Target::default(),
            agents: vec![agent("deacon", "unknown", "unknown", None)],
            ..sample()
        };
        let text = render(&status, 80, false);
        assert!(text.contains("1 agent, their states not known"));
        assert!(text.contains("Gas Town  unknown  "));
    }

    #[test]
    fn spans_and_sizes() {
        let secs = SignedDuration::from_secs;
        for (span, want) in [
            (-5, "0 s"),
            (59, "59 s"),
            (3599, "59 min"),
            (3600, "1 h"),
            (11_520, "3 h 12 min"),
            (360_000, "4 d 4 h"),
        ] {
            assert_eq!(age(secs(span)), want);
        }
        for (size, want) in [
            (0, "0B"),
            (1023, "1023B"),
            (2_202_010, "2.1M"),
            (734_003_200, "700M"),
            (u64::MAX, "16777216T"),
        ] {
            assert_eq!(bytes(size), want);
        }
        assert_eq!(cpu(83_500_000_000), "1m");
        assert_eq!(cpu(4_210_000_000), "4.2s");
    }

    #[test]
    fn long_texts_are_wrapped_and_clipped() {
        assert_eq!(
            wrapped("one two three four", 15),
            "  - one two\n    three four\n"
        );
        assert_eq!(clipped("abcdef", 4), "abc…");
        assert_eq!(clipped("abcd", 4), "abcd");
    }
}

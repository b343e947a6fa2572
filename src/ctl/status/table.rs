//! How a [`Status`] looks on a terminal.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::agent::AgentStatus;
use super::model::{Queue, Status};
use crate::ctl::paint::{LEAST_WIDTH, Paint};
use crate::ctl::words::{age, bytes, clipped, counted, cpu, short, wrapped};
use crate::terminal::State;
use crate::zone;

/// Between two columns.
const GAP: &str = "  ";

/// A narrow table drops columns until its notes have this width.
const NOTE_LEAST: usize = 20;

/// How many problems the whole status shows, at most.
const PROBLEMS: usize = 20;

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
        yields: 6,
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
    let mut out = head(status, width, colour);
    if !status.agents.is_empty() {
        out.push('\n');
        out.push_str(&agents(status, width, colour));
    }
    if !status.problems.is_empty() {
        out.push_str(&format!("\n{}\n", Paint::Bad.on("Problems", colour)));
        out.push_str(&problems(status, width, PROBLEMS, colour));
    }
    out
}

/// The problems, a list item each: at most `most`, and how many more there are.
pub fn problems(status: &Status, width: usize, most: usize, colour: bool) -> String {
    let told = status.told();
    let shown = told.iter().take(most);
    let mut out: String = shown.map(|problem| wrapped(problem, width)).collect();
    let more = told.len().saturating_sub(most);
    if more > 0 {
        let line = format!("{more} more; see 'gastownctl status --problems'");
        out += &format!("  {}\n", Paint::Faint.on(&line, colour));
    }
    out
}

fn head(status: &Status, width: usize, colour: bool) -> String {
    let (word, paint) = match (status.target.active, status.problems.is_empty()) {
        (None, _) => ("unknown", Paint::Bad),
        (Some(false), _) => ("stopped", Paint::Bad),
        (Some(true), true) => ("running", Paint::Good),
        (Some(true), false) => ("running, with problems", Paint::Doubtful),
    };
    let title = "Gas Town";
    let is_long = [title, word, &status.town].map(|part| part.chars().count() + GAP.len());
    let is_long = is_long.iter().sum::<usize>() - GAP.len() > width;
    let beside = match is_long {
        true => String::new(),
        false => format!("{GAP}{}", status.town),
    };
    let (title, word) = (Paint::Bold.on(title, colour), paint.on(word, colour));
    let mut out = format!("{title}{GAP}{word}{beside}\n");
    let mut line = |label: &str, text: &str, painted: &[(&str, Paint)]| {
        let mut text = clipped(text, width.saturating_sub(10));
        for (part, paint) in painted {
            text = text.replace(part, &paint.on(part, colour));
        }
        out.push_str(&format!("{label:>8}  {text}\n"));
    };
    if is_long {
        line("Town", &status.town, &[]);
    }
    let agents = status.agents.len();
    if status.manager == "unknown" {
        let agents = counted(agents, "agent");
        line("Agents", &format!("{agents}, their states not known"), &[]);
    } else {
        line("Agents", &status.up("up"), &[]);
    }
    let yes = |known: Option<bool>, yes, no| match known {
        Some(true) => yes,
        Some(false) => no,
        None => "not known",
    };
    let (disabled, ends) = ("not enabled", "linger off");
    let boot = format!(
        "{}, {}; user manager {}",
        yes(status.target.enabled, "enabled", disabled),
        yes(status.linger, "linger on", ends),
        status.manager
    );
    let doubtful = [disabled, ends].map(|part| (part, Paint::Doubtful));
    line("Boot", &boot, &doubtful);
    if let Some(beat) = status.agents.iter().find_map(|a| a.heartbeat.as_ref()) {
        line("Deacon", &format!("heartbeat {beat}"), &[]);
    }
    line("Ticks", &ticks(status), &[]);
    let failed = |queue: &Queue| {
        let counts = queue.counts.as_ref().filter(|counts| counts.failed > 0)?;
        Some(format!(", {} failed", counts.failed))
    };
    let shown = status.queues.iter().map(|queue| match &queue.counts {
        Some(counts) => {
            let pending = counted(counts.new + counts.cur, queue.what);
            format!("{pending} pending{}", failed(queue).unwrap_or_default())
        }
        None => format!("{}s not known", queue.what),
    });
    let shown: Vec<String> = shown.collect();
    let failures: BTreeSet<String> = status.queues.iter().filter_map(failed).collect();
    let bad = failures.iter().map(|part| (part.as_str(), Paint::Bad));
    let bad: Vec<(&str, Paint)> = bad.collect();
    if !shown.is_empty() {
        line("Queues", &shown.join("; "), &bad);
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
    let counted = match status.ticks.since {
        Some(since) => {
            let since = since.to_zoned(zone::local());
            format!("{} since {}; ", status.ticks.count, since.strftime("%F"))
        }
        None => String::new(),
    };
    match &status.next_reason {
        Some(why) => format!("{counted}{last}, {next}: {why}"),
        None => format!("{counted}{last}, {next}"),
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
    // A column in which nothing is known is left out.
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
    let room = width.saturating_sub(taken(&kept));
    let has_notes = wanted > 0 && room >= LEAST_WIDTH / 4;
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
        if has_notes {
            line += &clipped(note, room);
        }
        line.trim_end().to_string() + "\n"
    };
    let mut out = line(&|i| COLUMNS[i].head.to_string(), "NOTE", &|_| Paint::Bold);
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
        ("active", _) if agent.frozen == Some(true) => "frozen".into(),
        ("active", _) if matches!(agent.terminal, Some(State::Asks(_))) => "asks".into(),
        ("active", "running") => "running".into(),
        ("activating", "auto-restart" | "auto-restart-queued") => "restarting".into(),
        ("activating", _) => "starting".into(),
        ("deactivating", _) => "stopping".into(),
        ("inactive", _) if agent.held == Some(true) => "held".into(),
        ("inactive", _) => "down".into(),
        (other, _) => other.into(),
    }
}

/// The paint of a state.
pub fn state_paint(agent: &AgentStatus) -> Paint {
    match agent.active_state.as_str() {
        "active" if agent.reason.is_none() => Paint::Good,
        "failed" | "unknown" => Paint::Bad,
        "inactive" if agent.held == Some(true) => Paint::Faint,
        _ => Paint::Doubtful,
    }
}

/// The agent's reason, from where the important part begins.
fn note(agent: &AgentStatus) -> &str {
    let reason = agent.reason.as_deref().unwrap_or_default();
    let said = ["it is ", "frozen; "];
    let begun = said.iter().find_map(|said| reason.strip_prefix(said));
    begun.unwrap_or(reason)
}

fn since(agent: &AgentStatus, now: Timestamp) -> String {
    shown(agent.since, |time| short(now.duration_since(time)))
}

fn shown<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".into(), show)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::status::agent::Heartbeat;
    use crate::ctl::status::model::{Target, Ticks};
    use crate::spool::Counts;

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

    fn counts(new: usize, failed: usize) -> Option<Counts> {
        let cur = 0;
        Some(Counts { new, cur, failed })
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
            linger: Some(true),
            next_tick: at("2026-01-16T09:33:20Z"),
            last_tick: at("2026-01-16T09:28:20Z"),
            ticks: Ticks {
                count: 57,
                since: at("2026-01-12T12:00:00Z"),
            },
            agents: vec![
                AgentStatus {
                    heartbeat: Some(Heartbeat {
                        timestamp: at("2026-01-16T09:29:10Z"),
                        age_seconds: Some(50),
                        freshness: "fresh",
                        cycle: 42,
                        last_action: Some("patrol complete".into()),
                        healthy_agents: 3,
                        unhealthy_agents: 1,
                    }),
                    ..running("deacon", "2026-01-16T06:18:00Z", 0)
                },
                AgentStatus {
                    frozen: Some(true),
                    reason: Some("frozen; 'gastownctl thaw gastown' ends it".into()),
                    ..running("gastown/crew/max", "2026-01-12T05:30:00Z", 2)
                },
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
                    held: Some(true),
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
                Queue { what: "request", dir: "daemon/lifecycle", counts: counts(1, 0) },
                Queue { what: "spawn", dir: "daemon/spawn", counts: counts(0, 2) },
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
    fn of_many_problems_the_first_are_shown_and_how_many_more_there_are() {
        let mut status = sample();
        let many = 1..=PROBLEMS + 3;
        status.problems = many.map(|n| format!("problem {n:03}")).collect();
        let text = render(&status, 80, false);
        assert_eq!(text.matches("  - problem ").count(), PROBLEMS);
        assert!(
            text.ends_with("  3 more; see 'gastownctl status --problems'\n"),
            "{text}"
        );
        let all = problems(&status, 80, usize::MAX, false);
        assert_eq!(all.matches("  - problem ").count(), PROBLEMS + 3);
        assert!(!all.contains("more;"));
    }

    #[test]
    fn all_fits_the_narrowest_terminal() {
        let mut status = sample();
        status.town = "/srv/a rather long name/of a directory/gt".into();
        (status.target.enabled, status.linger) = (Some(false), Some(false));
        for line in render(&status, LEAST_WIDTH, false).lines() {
            // A problem is wrapped, and has words that are longer.
            let is_fit = line.chars().count() <= LEAST_WIDTH || !line.trim().contains(' ');
            assert!(is_fit, "{line}");
        }
    }

    #[test]
    fn rows_fit_the_narrowest_terminal() {
        let rows = agents(&sample(), LEAST_WIDTH, false);
        for line in rows.lines() {
            assert!(line.chars().count() <= LEAST_WIDTH, "{line}");
        }
        assert!(rows.contains("NOTE"), "{rows}");
        let mut long = sample();
        long.agents[1].agent = "gastown/polecats/furiosa-the-2".into();
        for line in agents(&long, LEAST_WIDTH, false).lines() {
            assert!(line.chars().count() <= LEAST_WIDTH, "{line}");
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
}

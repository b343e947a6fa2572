//! `gastownctl timeline`: what happened, as a picture with one row per agent.

mod picture;
mod svg;

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow};

use super::output::{print, say};
use super::{cli, events, journalctl, status};
use crate::exit::Exit;
use crate::files;
use crate::systemd::Systemd;
use crate::town::Town;
use crate::zone;
use picture::{first, picture};

/// The names of standard output.
const STDOUT: [&str; 2] = ["-", "/dev/stdout"];

/// Draws the events.
///
/// # Errors
/// The time cannot be understood, the journal cannot be read, or the file cannot be written.
pub fn run(args: &cli::Timeline) -> Result<Exit> {
    let town = Town::load()?;
    if let Some(dir) = args.output.as_ref().filter(|path| path.is_dir()) {
        let file = dir.join("town.svg");
        let (dir, file) = (dir.display(), file.display());
        let e = anyhow!("'{dir}' is a directory; name a file, such as '{file}'");
        return Err(e.context(Exit::Usage));
    }
    let mut from = events::moment(args.since.text())?;
    let events = events::load(from, None)?;
    if args.since.text.is_some()
        && let Some(gap) = journalctl::begins_after(from)
    {
        log::info!("{gap}");
    }
    let systemd = Systemd::connect();
    if let Err(e) = &systemd {
        log::warn!("{e:#}; who runs now is shown as the journal has it");
    }
    let status = status::collect(&town, systemd.as_ref().map_err(|e| format!("{e:#}")), None);
    if args.since.text.is_none() {
        from = from.max(first(&events, &status));
    }
    let svg = svg::draw(&picture(from, &events, &status), &zone::local());
    match args.output.as_deref() {
        None => print(&svg)?,
        Some(path) if STDOUT.iter().any(|name| path.as_os_str() == *name) => print(&svg)?,
        Some(path) if !is_replaced(path) => {
            let written = File::options().write(true).open(path);
            let written = written.and_then(|mut file| file.write_all(svg.as_bytes()));
            written.with_context(|| format!("Failed to write '{}'", path.display()))?;
        }
        Some(path) => {
            files::export(&std::path::absolute(path)?, svg.as_bytes())?;
            say(&format!("Drew '{}'", path.display()))?;
        }
    }
    Ok(Exit::Ok)
}

/// Whether an output is a plain file, which is replaced as a whole. A device, a pipe or a process's
/// open file is written to instead.
fn is_replaced(path: &Path) -> bool {
    let is_other = fs::metadata(path).is_ok_and(|meta| !meta.is_file());
    !(is_other || ["/dev", "/proc"].iter().any(|dir| path.starts_with(dir)))
}

#[cfg(test)]
mod tests {
    use super::picture::{Fate, Picture};
    use super::*;
    use crate::agent::Agent;
    use crate::ctl::events::Event;
    use crate::ctl::status::{AgentStatus, Status, Target, Ticks};
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.svg");
        assert!(is_replaced(&file));
        std::fs::write(&file, "").unwrap();
        assert!(is_replaced(&file));
        let link = dir.path().join("full");
        std::os::unix::fs::symlink("/dev/full", &link).unwrap();
        for other in ["/dev/full", "/dev/stdout", "/proc/self/fd/1"] {
            assert!(!is_replaced(Path::new(other)), "{other}");
        }
        assert!(!is_replaced(&link));
    }

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
            linger: Some(true),
            next_tick: None,
            last_tick: None,
            ticks: Ticks::default(),
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
    fn without_a_manager_who_has_not_ended_runs() {
        let events = [
            event(10, "AGENT_STARTED", "mayor", ""),
            event(15, "AGENT_STARTED", "a/polecats/nux", ""),
            event(20, "AGENT_STARTED", "deacon", ""),
            event(30, "AGENT_ENDED", "deacon", "3"),
        ];
        let status = town(60, &[("mayor", "unknown"), ("deacon", "unknown")]);
        let picture = picture(at(0), &events, &status);
        assert_eq!(spans(&picture, "mayor"), [(10, 60, Fate::Runs)]);
        assert_eq!(spans(&picture, "a/polecats/nux"), [(15, 60, Fate::Runs)]);
        assert_eq!(spans(&picture, "deacon"), [(20, 30, Fate::Crashed)]);
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

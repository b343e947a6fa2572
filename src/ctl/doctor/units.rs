//! Whether the units are in order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::mend::Mend;
use super::report::Report;
use crate::agent::Agent;
use crate::ctl::dropins::{self, Ignored};
use crate::ctl::{directory, status, words};
use crate::heartbeat::observe::OWN_UNIT;
use crate::heartbeat::observed::{JOBS, KEPT_UNITS, LOOKS};
use crate::job::{self, starts};
use crate::meant::{self, RESTART};
use crate::session::rival::UNIT as GO_DAEMON;
use crate::systemd::{Properties, Systemd, Unit, typed};
use crate::town::Town;

/// The unit files of the package.
const UNIT_FILES: [&str; 18] = [
    "gastown.slice",
    "gastown.target",
    "gt-agent@.service",
    "gt-alert@.service",
    "gt-heartbeat-changed.service",
    "gt-heartbeat-look.service",
    "gt-heartbeat-next.service",
    "gt-heartbeat.path",
    "gt-heartbeat.service",
    "gt-heartbeat.timer",
    "gt-lifecycle-next.service",
    "gt-lifecycle.path",
    "gt-lifecycle.service",
    "gt-spawn-trigger-next.service",
    "gt-spawn-trigger.path",
    "gt-spawn-trigger.service",
    "gt-tmux.service",
    "gt-town.service",
];

/// What a drop-in must leave as it is.
#[derive(Debug)]
struct Service {
    /// Its name, or how that begins.
    name: &'static str,
    /// Its properties.
    has: &'static [(&'static str, &'static str)],
    /// The program that its command line must have somewhere.
    program: &'static str,
}

/// Our services that would not do their work otherwise.
const SERVICES: [Service; 6] = [
    Service {
        name: "gt-agent@",
        has: &[
            ("Type", "notify"),
            ("KillMode", "mixed"),
            ("Delegate", "yes"),
            ("RemainAfterExit", "no"),
            ("PrivateTmp", "no"),
        ],
        program: "gt-agent",
    },
    Service {
        name: "gt-heartbeat.service",
        has: JOB,
        program: "gt-heartbeat",
    },
    Service {
        name: "gt-lifecycle.service",
        has: JOB,
        program: "gt-lifecycle",
    },
    Service {
        name: "gt-spawn-trigger.service",
        has: JOB,
        program: "gt-spawn-trigger",
    },
    Service {
        name: "gt-tmux.service",
        has: &[("Type", "exec"), ("PrivateTmp", "no")],
        program: "gt-agent",
    },
    Service {
        name: "gt-town.service",
        has: &[("Type", "oneshot"), ("RemainAfterExit", "yes")],
        program: "gt-agent",
    },
];

/// tmux has its sockets in /tmp.
const JOB: &[(&str, &str)] = &[
    ("Type", "notify"),
    ("RemainAfterExit", "no"),
    ("PrivateTmp", "no"),
];

/// Looks at the unit files, and at every unit of ours that is loaded.
///
/// # Errors
/// The manager does not answer.
pub fn units(report: &mut Report, systemd: &Systemd, town: Option<&Town>) -> Result<()> {
    report.fact(
        "systemd",
        format!("{}, {}", systemd.version()?, systemd.state()?),
    );
    if let Some(path) = systemd
        .environment()?
        .iter()
        .find_map(|v| v.strip_prefix("PATH="))
    {
        report.fact("PATH", path);
    }
    let mut files = systemd.unit_files(&UNIT_FILES)?;
    let is_masked = |name: &str| {
        files
            .get(name)
            .is_some_and(|state| state.starts_with("masked"))
    };
    for name in UNIT_FILES {
        // Some are links to the unit of which they are a second one.
        let first = name.replace("-next.", ".");
        match files.get(name).map(String::as_str) {
            Some(_) if first != name && is_masked(&first) => continue,
            None => report.find(
                "units",
                format!("Unit file {name} is not installed"),
                "The town cannot run without it",
                "apt install --reinstall gastown-systemd",
            ),
            Some("masked" | "masked-runtime") => report.find(
                "units",
                format!("{name} is masked, so nothing can start it"),
                "The town cannot run without it",
                format!("systemctl --user unmask {name}"),
            ),
            Some(_) => continue,
        };
    }
    let enabled = files.remove("gastown.target");
    if enabled.is_some_and(|state| state != "enabled") {
        report.find(
            "units",
            "gastown.target is not enabled",
            "The town does not start at boot",
            "systemctl --user enable gastown.target",
        );
    }
    if systemd.unit_file_state(GO_DAEMON)?.as_deref() == Some("enabled") {
        report.find(
            "go-daemon",
            format!("The Go daemon's {GO_DAEMON} is enabled"),
            "It and gastown.target end each other at boot",
            format!("systemctl --user disable --now {GO_DAEMON}"),
        );
    }
    let loaded = systemd.units(&["gt-*", "gastown*"])?;
    let up = loaded
        .get("gastown.target")
        .is_some_and(|u| u.active == "active");
    if !up {
        report.find(
            "units",
            "gastown.target is not active",
            "No agent runs",
            "gastownctl up",
        );
    }
    let ticking = loaded.get(OWN_UNIT).is_some_and(|tick| !tick.is_down());
    let (mut stale, mut roots, mut old) = (Vec::new(), Vec::new(), Vec::new());
    let mut spoiled: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let deacon = Agent::deacon().unit();
    if !loaded.contains_key(&deacon) {
        let what = spoilt(&deacon, &systemd.properties(&deacon)?);
        what.into_iter()
            .for_each(|what| spoiled.entry(what).or_default().push(&deacon));
    }
    for unit in loaded.values() {
        let properties = systemd.properties(&unit.name)?;
        for what in spoilt(&unit.name, &properties) {
            spoiled.entry(what).or_default().push(&unit.name);
        }
        roots.extend(town.and_then(|town| status::elsewhere(town, &properties)));
        if properties.flag("NeedDaemonReload") == Some(true) {
            stale.push(unit.name.as_str());
        }
        if let Some(agent) = Agent::from_unit(&unit.name)
            .ok()
            .filter(|_| is_old(&properties))
        {
            old.push(agent.to_string());
        }
        one_unit(report, unit, &properties);
        // While a tick runs, the timer that has started it waits to be made anew.
        if !ticking {
            timer(report, unit, &properties);
        }
    }
    for (what, names) in spoiled {
        let more = match names.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let first = names[0];
        report.find(
            "units",
            format!("A drop-in spoils {first}{more}: {what}"),
            "It cannot do its work like that",
            format!(
                "systemctl --user cat {}, and mend or remove that drop-in",
                typed(first)
            ),
        );
    }
    ignored(report, systemd, town, &loaded);
    for often in starts::too_often() {
        report.find(
            "units",
            often,
            "It keeps a processor busy, and something starts it again and again",
            "journalctl --user -n 50 -t gt-heartbeat -t gt-lifecycle -t gt-spawn-trigger",
        );
    }
    if !old.is_empty() {
        report.find(
            "units",
            format!(
                "The gt-agent of {} is from before an upgrade",
                words::counted(old.len(), "agent")
            ),
            "What the upgrade mends does not hold for them yet",
            format!("gastownctl restart {}", old.join(" ")),
        );
    }
    if !stale.is_empty() {
        report
            .find(
                "units",
                format!(
                    "Changed on disk since they were loaded: {}",
                    stale.join(", ")
                ),
                "The old text is still in force",
                "systemctl --user daemon-reload",
            )
            .mend = Some(Mend::Reload);
    }
    if up {
        for name in KEPT_UNITS {
            if !loaded
                .get(*name)
                .is_some_and(|u| matches!(u.active.as_str(), "active" | "failed"))
            {
                report.find(
                    "units",
                    format!("{name} does not run"),
                    "The town depends on it",
                    format!("systemctl --user restart {name}"),
                );
            }
        }
    }
    if let Some((what, how)) = town.and_then(|town| status::two_towns(town, systemd, &roots)) {
        report.find(
            "units",
            what,
            "What the old town asks for is not done, and the new one has no agents",
            how.unwrap_or_else(|| RESTART.into()),
        );
    }
    // The generator's drop-ins are as old as the last reload.
    if let Some(town) = town
        && let Some(path) = loaded.get("gt-lifecycle.path")
        && !meant::only_here(systemd, town.root())
    {
        let spool = town.path("daemon/lifecycle/new");
        let watched = systemd.properties(&path.name)?.watched();
        if !watched.iter().any(|path| Path::new(path) == spool) {
            report
                .find(
                    "units",
                    format!("The path units do not watch '{}'", town.root().display()),
                    "Requests and spawns wait for the next tick",
                    RESTART,
                )
                .mend = Some(Mend::Reload);
        }
    }
    Ok(())
}

/// Names what the manager ignores of drop-ins, of agents that are down too.
fn ignored(
    report: &mut Report,
    systemd: &Systemd,
    town: Option<&Town>,
    loaded: &BTreeMap<String, Unit>,
) {
    let agents = town.map(|town| directory::known(town, Some(loaded)));
    let agents = agents.unwrap_or_else(|| [Agent::deacon()].into());
    let mut units: BTreeSet<String> = agents.iter().map(Agent::unit).collect();
    units.extend(loaded.keys().cloned());
    let names: Vec<&str> = units.iter().map(String::as_str).collect();
    match dropins::ignored(systemd, &names) {
        Ok(ignored) => {
            for Ignored { file, what } in ignored {
                report.find(
                    "units",
                    format!("'{file}', {what}"),
                    "systemd goes on as if the line were not there",
                    "mend the line, then run 'systemctl --user daemon-reload'",
                );
            }
        }
        Err(e) => log::warn!("What systemd ignores of drop-ins is not known: {e:#}"),
    }
}

/// What drop-ins have made of one of our services that it cannot be.
fn spoilt(name: &str, properties: &Properties) -> Vec<String> {
    let Some(service) = SERVICES.iter().find(|own| name.starts_with(own.name)) else {
        return Vec::new();
    };
    let value = |key: &str| match properties.flag(key) {
        Some(true) => Some("yes".to_string()),
        Some(false) => Some("no".to_string()),
        None => properties.text(key),
    };
    let lines = properties.commands("ExecStart");
    spoilt_by(service, value, &lines)
}

fn spoilt_by(
    service: &Service,
    value: impl Fn(&str) -> Option<String>,
    lines: &[Vec<String>],
) -> Vec<String> {
    match value("LoadState").as_deref() {
        Some("loaded") => {}
        Some("bad-setting" | "error") => return vec!["the manager cannot load it".into()],
        // Masked, or not installed: that is told otherwise.
        _ => return Vec::new(),
    }
    let mut wrong: Vec<String> = Vec::new();
    for (key, want) in service.has {
        // An older manager may not have it.
        if let Some(is) = value(key).filter(|is| is != want) {
            wrong.push(format!("{key}={is}, which is to be {want}"));
        }
    }
    // It may stand in a line for a shell.
    let ends = |c: char| c.is_whitespace() || "/'\";".contains(c);
    let is_ours = |word: &String| word.split(ends).any(|part| part == service.program);
    if !lines.iter().flatten().any(is_ours) {
        wrong.push(format!("ExecStart= does not run {}", service.program));
    }
    wrong
}

fn one_unit(report: &mut Report, unit: &Unit, properties: &Properties) {
    let name = &unit.name;
    if name == GO_DAEMON {
        if matches!(unit.active.as_str(), "active" | "activating") {
            report.find(
                "go-daemon",
                format!("The Go daemon's {name} is active"),
                "Two supervisors fight over the same sessions",
                format!("systemctl --user disable --now {name}"),
            );
        }
        return;
    }
    if unit.active == "failed" {
        let (why, command) = match Agent::from_unit(name) {
            Ok(agent) => (
                "It gave up, and stays down until it is reset",
                format!("gastownctl logs {agent}, then gastownctl recover {agent}"),
            ),
            Err(_) if name.starts_with("gt-agent@") => (
                "There is no such agent, and never will be",
                status::forget(name),
            ),
            // Started again it would tell of a failure that is over.
            Err(_) if name.starts_with("gt-alert@") => (
                "It could not write its alert down; ticks tell what lasts",
                status::forget(name),
            ),
            Err(_) if !status::is_own(name) => return,
            Err(_) if LOOKS.contains(&name.as_str()) => (
                "Its last run failed; the next one comes when a file changes, or with the next tick",
                format!("journalctl --user -u {name}"),
            ),
            Err(_) if name == OWN_UNIT || JOBS.contains(&name.as_str()) => (
                "Its last run failed; the next one comes with the next tick",
                format!("journalctl --user -u {name}"),
            ),
            // The manager could not watch: inotify instances are few, and all of the user's count.
            Err(_) if properties.text("Result").as_deref() == Some("resources") => (
                "It watches nothing; if its journal says 'Too many open files', there are too few \
                 inotify instances",
                format!(
                    "sysctl fs.inotify.max_user_instances=1024 (as root), then systemctl --user restart {name}"
                ),
            ),
            Err(_) => (
                "It gave up, and stays down until it is reset",
                format!("journalctl --user -u {name}, then systemctl --user restart {name}"),
            ),
        };
        let end = job::trouble(properties).unwrap_or_else(|| status::last_end(properties));
        let what = format!("{name} failed: {end}");
        report.find("units", what, why, command);
    }
}

/// Whether a timer that is up will ever fire again.
fn timer(report: &mut Report, unit: &Unit, properties: &Properties) {
    let name = &unit.name;
    // All of one moment: the list of units is older.
    let is = |property, state| properties.text(property).as_deref() == Some(state);
    let waits = is("SubState", "waiting");
    let never = ["NextElapseUSecMonotonic", "NextElapseUSecRealtime"]
        .iter()
        .all(|key| properties.number(key).is_none_or(|usec| usec == 0));
    if name.ends_with(".timer")
        && is("ActiveState", "active")
        && (is("SubState", "elapsed") || waits && never)
    {
        report
            .find(
                "timers",
                format!("{name} has no next time"),
                "It would never fire again",
                format!("systemctl --user restart {name}"),
            )
            .mend = Some(Mend::Timer(name.clone()));
    }
}

/// Whether a unit's main process runs a program that has been replaced since.
fn is_old(properties: &Properties) -> bool {
    let pid = properties.number("MainPID").filter(|&pid| pid != 0);
    let program = pid.and_then(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
    program.is_some_and(|path| path.to_string_lossy().ends_with(" (deleted)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_that_break_a_service_are_named() {
        const RUN: &str = "/usr/libexec/gastown/gt-agent";
        let agent = &SERVICES[0];
        let good = [
            ("LoadState", "loaded"),
            ("Type", "notify"),
            ("KillMode", "mixed"),
            ("Delegate", "yes"),
            ("RemainAfterExit", "no"),
        ];
        let look = |(key, value): (&str, &str), line: &[&str]| {
            let lines = [line.iter().map(ToString::to_string).collect()];
            let has = |name: &str| match name == key {
                true => Some(value.to_string()),
                false => good
                    .iter()
                    .find(|(k, _)| *k == name)
                    .map(|(_, v)| v.to_string()),
            };
            spoilt_by(agent, has, &lines)
        };
        let fine = ("MemoryMax", "1G");
        assert!(look(fine, &[RUN, "run", "deacon"]).is_empty());
        assert!(look(fine, &["/usr/bin/nice", RUN, "run", "deacon"]).is_empty());
        let login = format!("exec {RUN} run deacon");
        assert!(look(fine, &["/bin/bash", "-lc", &login]).is_empty());
        for (set, line, want) in [
            (fine, &["/bin/true"][..], "ExecStart="),
            (fine, &[], "ExecStart="),
            (("Type", "simple"), &[RUN], "Type=simple"),
            (("KillMode", "none"), &[RUN], "KillMode=none"),
            (("Delegate", "no"), &[RUN], "Delegate=no"),
            (("PrivateTmp", "yes"), &[RUN], "PrivateTmp=yes"),
            (("LoadState", "bad-setting"), &[RUN], "the manager cannot"),
        ] {
            let got = look(set, line);
            assert!(got.len() == 1 && got[0].starts_with(want), "{got:?}");
        }
        assert!(look(("LoadState", "masked"), &[]).is_empty());
    }
}

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
use crate::systemd::{Properties, Systemd, TARGET, Unit, typed};
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

/// What drop-ins must not change in a service of ours.
#[derive(Debug)]
struct Service {
    /// The service's name, or the beginning of it.
    name: &'static str,
    /// Properties, each with the value that it must have.
    has: &'static [(&'static str, &'static str)],
    /// Properties, each with a value that it must not have.
    never: &'static [(&'static str, &'static str)],
    /// The command lines that the service must have, each with a program that it must contain.
    runs: &'static [(&'static str, &'static str)],
}

/// Our services, with what they cannot work without.
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
        never: AGAIN,
        // Without the condition it would start although it is held or its rig is parked.
        runs: &[("ExecCondition", "gt-agent"), ("ExecStart", "gt-agent")],
    },
    Service {
        name: "gt-heartbeat.service",
        has: JOB,
        never: &[],
        runs: &[("ExecStart", "gt-heartbeat")],
    },
    Service {
        name: "gt-lifecycle.service",
        has: JOB,
        never: &[],
        runs: &[("ExecStart", "gt-lifecycle")],
    },
    Service {
        name: "gt-spawn-trigger.service",
        has: JOB,
        never: &[],
        runs: &[("ExecStart", "gt-spawn-trigger")],
    },
    Service {
        name: "gt-tmux.service",
        has: &[("Type", "exec"), ("PrivateTmp", "no")],
        never: AGAIN,
        runs: &[
            ("ExecCondition", "gt-agent"),
            ("ExecStart", "gt-agent"),
            ("ExecStartPost", "gt-agent"),
        ],
    },
    Service {
        name: "gt-town.service",
        has: &[("Type", "oneshot"), ("RemainAfterExit", "yes")],
        never: &[],
        runs: &[("ExecStart", "gt-agent"), ("ExecStop", "gt-agent")],
    },
];

/// Values with which agents never come back, or come back without end.
const AGAIN: &[(&str, &str)] = &[
    ("Restart", "no"),
    ("StartLimitIntervalUSec", "0"),
    ("StartLimitBurst", "0"),
];

/// The slice that holds all units of the town.
const SLICE: &str = "gastown.slice";

/// What a job needs; a private /tmp would hide tmux's sockets from it.
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
    let files = systemd.unit_files(&UNIT_FILES)?;
    let is_masked = |name: &str| {
        files
            .get(name)
            .is_some_and(|state| state.starts_with("masked"))
    };
    for name in UNIT_FILES {
        // A `-next` unit may be a link to the unit of which it is a second one.
        let first = name.replace("-next.", ".");
        match files.get(name).map(String::as_str) {
            Some(_) if first != name && is_masked(&first) => continue,
            None => report.find(
                "units",
                format!("Unit file {name} is not installed"),
                "The town cannot run without it",
                "apt install --reinstall gastown-systemd",
            ),
            Some(state @ ("masked" | "masked-runtime")) => report.find(
                "units",
                format!("{name} is masked, so nothing can start it"),
                "The town cannot run without it",
                match state {
                    "masked" => format!("systemctl --user unmask {name}"),
                    _ => format!("systemctl --user unmask --runtime {name}"),
                },
            ),
            Some(_) => continue,
        };
    }
    let enabled = files.get(TARGET);
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
    let up = loaded.get(TARGET).is_some_and(status::is_on);
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
            stale.push(unit.name.clone());
        }
        if let Some(agent) = Agent::from_unit(&unit.name)
            .ok()
            .filter(|_| is_old(&properties))
        {
            old.push(agent.to_string());
        }
        one_unit(report, unit, &properties);
        // While a tick runs, the timer that has started it does not wait: the tick makes it anew.
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
    if !is_masked("gt-agent@.service") {
        masked(report, systemd, town, &loaded);
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
                    words::names(&stale)
                ),
                "The old text is still in force",
                "systemctl --user daemon-reload",
            )
            .mend = Some(Mend::Reload);
    }
    if up {
        for name in KEPT_UNITS {
            // A unit that is still starting, as tmux does with a long configuration, counts as
            // running.
            let runs =
                |u: &Unit| u.job.is_some() || matches!(u.active.as_str(), "active" | "failed");
            if !is_masked(name) && !loaded.get(*name).is_some_and(runs) {
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
    // The generator writes its drop-ins at each reload: they may be older than the town.
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

/// Names the agents whose units are masked, also those that still run.
fn masked(
    report: &mut Report,
    systemd: &Systemd,
    town: Option<&Town>,
    loaded: &BTreeMap<String, Unit>,
) {
    let agents = town.map(|town| directory::listed(town, Some(loaded)));
    let units: BTreeSet<String> = agents.iter().flatten().map(Agent::unit).collect();
    let is_loaded = |name: &&String| loaded.get(*name).is_some_and(|unit| unit.load == "loaded");
    let units: Vec<&str> = units
        .iter()
        .filter(|name| !is_loaded(name))
        .map(String::as_str)
        .collect();
    for (unit, command) in systemd.masked(&units).unwrap_or_default() {
        report.find(
            "units",
            format!("{unit} is masked"),
            "Once it has ended, nothing can start it",
            command,
        );
    }
}

/// Names what the manager ignores in drop-ins, also in those of agents that are down.
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

/// Where drop-ins have changed what one of our services cannot work without.
fn spoilt(name: &str, properties: &Properties) -> Vec<String> {
    let Some(service) = SERVICES.iter().find(|own| name.starts_with(own.name)) else {
        return Vec::new();
    };
    let value = |key: &str| match properties.flag(key) {
        Some(true) => Some("yes".to_string()),
        Some(false) => Some("no".to_string()),
        None if key == "OnFailure" => Some(properties.texts(key).join(" ")),
        None => properties
            .text(key)
            .or_else(|| Some(properties.number(key)?.to_string())),
    };
    spoilt_by(service, value, |key| properties.commands(key))
}

fn spoilt_by(
    service: &Service,
    value: impl Fn(&str) -> Option<String>,
    lines: impl Fn(&str) -> Vec<Vec<String>>,
) -> Vec<String> {
    match value("LoadState").as_deref() {
        Some("loaded") => {}
        Some("bad-setting" | "error") => return vec!["the manager cannot load it".into()],
        // A masked or missing unit has a finding of its own.
        _ => return Vec::new(),
    }
    let mut wrong: Vec<String> = Vec::new();
    for (key, want) in service.has {
        // An older manager may not have the property.
        if let Some(is) = value(key).filter(|is| is != want) {
            wrong.push(format!("{key}={is}, which is to be {want}"));
        }
    }
    for (key, bad) in service.never {
        if value(key).is_some_and(|is| is == *bad) {
            let key = key.replace("USec", "Sec");
            wrong.push(format!("{key}={bad}, which it may not be"));
        }
    }
    // A slice within ours is fine: it counts against our limits, and ends with ours.
    let is_inside = |slice: &String| slice == SLICE || slice.starts_with("gastown-");
    if let Some(slice) = value("Slice").filter(|slice| !is_inside(slice)) {
        wrong.push(format!("Slice={slice}, which is to be {SLICE}"));
    }
    if value("OnFailure").is_some_and(|units| !units.contains("gt-alert@")) {
        wrong.push("OnFailure= tells nobody".into());
    }
    // The program may stand inside a shell's command line.
    let ends = |c: char| c.is_whitespace() || "/'\";".contains(c);
    for (key, program) in service.runs {
        let is_ours = |word: &String| word.split(ends).any(|part| part == *program);
        if !lines(key).iter().flatten().any(is_ours) {
            wrong.push(format!("{key}= does not run {program}"));
        }
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
            // Started again, the unit would tell of a failure that is over.
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
            // A path unit fails when the manager gets no inotify watch (a user may have only a
            // few), a timer when the manager cannot start its service, such as a masked one.
            Err(_) if name.ends_with(".timer") => (
                "It never fires again until it is started",
                format!("journalctl --user -u {name}, then systemctl --user restart {name}"),
            ),
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

/// Whether a timer is one of ours: a person's own may have done its work, and is not to do it again.
fn is_own_timer(name: &str) -> bool {
    let next = name.strip_suffix("-next.timer");
    let job = next.map(|stem| format!("{stem}.service"));
    name.ends_with(".timer")
        && (status::is_own(name) || job.is_some_and(|job| status::is_own(&job)))
}

/// Whether a timer of ours that is up will ever fire again.
fn timer(report: &mut Report, unit: &Unit, properties: &Properties) {
    let name = &unit.name;
    // From `properties`, which are all of one moment; `unit` is older.
    let is = |property, state| properties.text(property).as_deref() == Some(state);
    let waits = is("SubState", "waiting");
    let never = ["NextElapseUSecMonotonic", "NextElapseUSecRealtime"]
        .iter()
        .all(|key| properties.number(key).is_none_or(|usec| usec == 0));
    if is_own_timer(name)
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
    fn only_our_own_timers_are_looked_at() {
        for (name, is_ours) in [
            ("gt-heartbeat.timer", true),
            ("gt-heartbeat-next.timer", true),
            ("gt-lifecycle-next.timer", true),
            ("gt-spawn-trigger-next.timer", true),
            ("gt-alert@deliver.timer", true),
            ("gt-heartbeat.path", false),
            ("gt-theirs.timer", false),
            ("gt-theirs-next.timer", false),
        ] {
            assert_eq!(is_own_timer(name), is_ours, "{name}");
        }
    }

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
            ("Restart", "always"),
            ("StartLimitIntervalUSec", "900000000"),
            ("StartLimitBurst", "5"),
            ("Slice", "gastown.slice"),
            ("OnFailure", "gt-alert@gt-agent@deacon.service.service"),
        ];
        let look = |(key, value): (&str, &str), line: &[&str]| {
            let line: Vec<String> = line.iter().map(ToString::to_string).collect();
            let check = vec![RUN.to_string(), "check".into()];
            let lines = |name: &str| match name {
                "ExecCondition" if name == key => vec![],
                "ExecCondition" => vec![check.clone()],
                _ => vec![line.clone()],
            };
            let has = |name: &str| match name == key {
                true => Some(value.to_string()),
                false => good
                    .iter()
                    .find(|(k, _)| *k == name)
                    .map(|(_, v)| v.to_string()),
            };
            spoilt_by(agent, has, lines)
        };
        let fine = ("MemoryMax", "1G");
        assert!(look(("Slice", "gastown-big.slice"), &[RUN]).is_empty());
        assert!(look(("Restart", "on-failure"), &[RUN]).is_empty());
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
            (("ExecCondition", ""), &[RUN], "ExecCondition= does not run"),
            (("Restart", "no"), &[RUN], "Restart=no"),
            (
                ("StartLimitIntervalUSec", "0"),
                &[RUN],
                "StartLimitIntervalSec=0",
            ),
            (("StartLimitBurst", "0"), &[RUN], "StartLimitBurst=0"),
            (("Slice", "app.slice"), &[RUN], "Slice=app.slice"),
            (("OnFailure", ""), &[RUN], "OnFailure= tells nobody"),
        ] {
            let got = look(set, line);
            assert!(got.len() == 1 && got[0].starts_with(want), "{got:?}");
        }
        assert!(look(("LoadState", "masked"), &[]).is_empty());
    }
}

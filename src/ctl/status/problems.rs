//! What is wrong with the town, a line each, with what to type.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::agent::{self, AgentStatus};
use super::model::Status;
use crate::agent::Agent;
use crate::alert;
use crate::ctl::{dismiss, user, whose, words};
use crate::files;
use crate::heartbeat::observe::OWN_UNIT;
use crate::heartbeat::observed::{JOBS, KEPT_UNITS, LOOKS};
use crate::job::{self, starts};
use crate::meant;
use crate::session::fit;
use crate::session::whose::{Names, OtherServers};
use crate::spool::Spool;
use crate::systemd::{Systemd, TARGET, Unit, runtime_dir, typed};
use crate::town::docked::Labels;
use crate::town::env_file::ROOT;
use crate::town::marks::{self, Marks};
use crate::town::{self, Town, rigs};

/// Units that other units start or belong to: if one is masked, nobody notices until a start fails.
pub const NEEDED: &[&str] = &[TARGET, OWN_UNIT, "gastown.slice"];

/// Whether a unit is one of the package's.
pub fn is_own(unit: &str) -> bool {
    KEPT_UNITS.contains(&unit)
        || JOBS.contains(&unit)
        || LOOKS.contains(&unit)
        || unit == OWN_UNIT
        || unit.starts_with("gt-alert@")
}

/// Why the town ends at logout or does not start at boot; each with the command that mends it.
pub fn short_lived(enabled: Option<bool>) -> Vec<String> {
    let mut problems = Vec::new();
    if enabled == Some(false) {
        problems.push(
            "The town does not start at boot; run 'systemctl --user enable gastown.target'".into(),
        );
    }
    if user::is_lingering() == Some(false) {
        problems.push(format!(
            "Linger is off, so the town ends at logout; run 'loginctl enable-linger {}'",
            user::name()
        ));
    }
    problems
}

/// The message about agents that run for other towns, given by their roots, with what to type;
/// `None`: [`meant::RESTART`] mends it.
pub fn two_towns(
    town: &Town,
    systemd: &Systemd,
    roots: &[String],
) -> Option<(String, Option<String>)> {
    let root = roots.first()?;
    let run = if roots.len() == 1 { "runs" } else { "run" };
    let what = format!(
        "{} {run} for '{root}', not for '{}'",
        words::counted(roots.len(), "agent"),
        town.root().display()
    );
    // A restart would not help: the units would run for the same town again.
    let here = meant::only_here(systemd, town.root());
    Some(match here {
        true => (
            format!("{what}, which only {ROOT} in this shell names"),
            Some(meant::choice(Path::new(root), whose::ANY)),
        ),
        false => (what, None),
    })
}

/// What of the spools could not be executed, a line for each spool.
pub fn of_spools(town: &Town) -> Vec<String> {
    let line = |(what, dir)| {
        let spool = Spool::at(&town.path(dir));
        // Waiting entries are counted too: if they cannot be read, none will be executed.
        let refused = spool.counts().and_then(|_| dismiss::last(&spool));
        let (count, last) = match refused {
            Ok(refused) => refused?,
            Err(e) => return Some(format!("{e:#}")),
        };
        let (counted, last) = (words::counted(count, what), last.about);
        Some(match count {
            1 => format!(
                "{counted} could not be executed: {last}; once you have seen to it, run 'gastownctl dismiss'"
            ),
            _ => format!(
                "{counted} could not be executed, the last: {last}; see 'gastownctl dismiss --dry-run', \
                 and once you have seen to them, run 'gastownctl dismiss'"
            ),
        })
    };
    dismiss::SPOOLS.into_iter().filter_map(line).collect()
}

/// Rigs whose directory is away, if any of the agents that are to run is theirs.
pub fn of_rigs(town: &Town, wanted: &BTreeSet<Agent>) -> Vec<String> {
    let is_wanted = |rig: &str| wanted.iter().any(|agent| agent.rig() == Some(rig));
    let away = town.homeless_rigs().filter(|(rig, _)| is_wanted(rig));
    let line = |(rig, dir): (&str, PathBuf)| {
        format!(
            "Rig {rig} has no directory '{}', so none of its agents is started; bring it back, or \
             take {rig} out of '{}'",
            dir.display(),
            town.path(rigs::FILE).display()
        )
    };
    away.map(line).collect()
}

/// Which disks are full or read-only: programs that fail to write there cannot tell anybody.
pub fn of_disks(town: &Town) -> Vec<String> {
    let daemon = town.path("daemon");
    let dirs = [Some(town.root().to_path_buf()), Some(daemon), runtime_dir()];
    let mut problems = Vec::new();
    let mut told = BTreeSet::new();
    for dir in dirs.into_iter().flatten() {
        if let Some(full) = files::full(&dir)
            && told.insert(full.disk)
        {
            let (shown, what) = (dir.display(), full.what);
            problems.push(format!(
                "Nothing can be written into '{shown}', for {what}: state, marks and requests are \
                 lost; see: {} '{shown}'",
                full.command
            ));
        }
    }
    problems
}

/// Running agents that could not be started again as things are, by the reason: a person should
/// know before such an agent ends, with a long conversation perhaps.
pub fn of_starts(town: &Town, agents: &[AgentStatus]) -> BTreeMap<String, Vec<String>> {
    let mut lost: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in agents.iter().filter(|one| one.active_state == "active") {
        if let Ok(agent) = one.agent.parse::<Agent>()
            && let Err(why) = fit::check(town, &agent)
        {
            let why = format!("could not be started again: {why:#}");
            lost.entry(why).or_default().push(one.agent.clone());
        }
    }
    lost
}

impl Status {
    /// Adds the problems of [`of_starts`], for all agents or for one. Not for the table: it would
    /// take too long.
    pub fn foresee(&mut self, town: &Town, only: Option<&Agent>) {
        let only = only.map(Agent::to_string);
        let meant = self.agents.iter();
        let meant = meant.filter(|one| only.as_ref().is_none_or(|only| one.agent == *only));
        let meant: Vec<AgentStatus> = meant.cloned().collect();
        for (why, agents) in of_starts(town, &meant) {
            let why = words::one_line(&why);
            for one in &mut self.agents {
                if agents.contains(&one.agent) {
                    one.reason.get_or_insert_with(|| why.clone());
                }
            }
            self.problems
                .push(format!("{} {why}", words::names(&agents)));
        }
    }
}

/// What is wrong with a job that is up or has failed: what it has `said` of itself, or that it is
/// killed again and again, which it cannot say. (The manager restarts no tick for that.)
pub fn of_job(name: &str, said: Option<String>, restarts: Option<u64>) -> Option<String> {
    let restarts = restarts.filter(|_| JOBS.contains(&name));
    said.or_else(|| job::killed(restarts?))
}

/// What is wrong with the town's own units. `troubles` is what the jobs say themselves, `refused`
/// why the manager does not start a unit.
pub fn of_units(
    status: &Status,
    units: &BTreeMap<String, Unit>,
    troubles: &BTreeMap<&str, String>,
    refused: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let on = status.target.active == Some(true);
    if !on {
        let is = match units.get(TARGET).is_some_and(Unit::is_stopping) {
            true => "being stopped",
            false => "stopped",
        };
        problems.push(format!("The town is {is}; run 'gastownctl up' to start it"));
    }
    // What others need comes first: it may be why those do not run.
    let ours = NEEDED.iter().chain(KEPT_UNITS).chain(JOBS).chain(LOOKS);
    for name in ours {
        let failed = units.get(*name).is_some_and(|u| u.active == "failed");
        if let Some(why) = refused.get(*name) {
            problems.push(alert::cannot_start(name, why));
        } else if failed || (on && KEPT_UNITS.contains(name) && is_down(units, name)) {
            let how = match troubles.get(name) {
                Some(why) => &format!("failed: {why}"),
                None if failed => "failed",
                None => "does not run",
            };
            problems.push(format!(
                "{name} {how}; see 'journalctl --user -u {name}', then run 'systemctl --user restart {name}'"
            ));
        } else if let Some(why) = troubles.get(name) {
            problems.push(format!(
                "{name} cannot work: {why}; see 'journalctl --user -u {name}'"
            ));
        }
    }
    for unit in units.values().filter(|unit| unit.active == "failed") {
        if unit.name.starts_with("gt-agent@") && Agent::from_unit(&unit.name).is_err() {
            let (name, command) = (&unit.name, forget(&unit.name));
            problems.push(format!(
                "{name} failed, and there is no such agent; run '{command}'"
            ));
        }
    }
    problems.extend(starts::too_often());
    if on && status.next_tick.is_none() && !is_ticking(units) {
        problems
            .push("No tick is planned; run 'systemctl --user restart gt-heartbeat.timer'".into());
    }
    problems
}

/// Whether a tick runs, or is about to. It sets the time of the next one when it ends.
pub(super) fn is_ticking(units: &BTreeMap<String, Unit>) -> bool {
    units
        .get("gt-heartbeat.service")
        .is_some_and(|u| matches!(u.active.as_str(), "active" | "activating") || u.job.is_some())
}

/// Has the manager forget a unit that failed.
pub fn forget(unit: &str) -> String {
    format!("systemctl --user reset-failed {}", typed(unit))
}

/// Agents that are frozen although no emergency stop says so.
pub fn frozen_for_nothing(marks: &Marks<'_>, agents: &[AgentStatus]) -> Option<String> {
    let has_mark = |rig: Option<&str>| !matches!(marks.estop(rig), Ok(None));
    let is_stopped = |one: &AgentStatus| {
        let agent = one.agent.parse::<Agent>().ok();
        let rig = agent.as_ref().and_then(Agent::rig);
        has_mark(None) || rig.is_some_and(|rig| has_mark(Some(rig)))
    };
    // Agents that ended while they were frozen have a problem of their own.
    let frozen = agents.iter().filter(|agent| agent.stands_still());
    let mut frozen = frozen.filter(|agent| !is_stopped(agent));
    let first = frozen.next()?;
    Some(match frozen.count() {
        0 => format!(
            "{} is frozen, and no emergency stop is for it; 'gastownctl thaw' lets it go on",
            first.agent
        ),
        more => format!(
            "{} and {more} more are frozen, and no emergency stop is for them; 'gastownctl thaw' lets them go on",
            first.agent
        ),
    })
}

/// The marks that keep agents down, of the agents' rigs and of those that are registered; and the
/// marks that cannot be read, once each.
pub fn of_marks(town: &Town, known: &Marks<'_>, agents: &[AgentStatus]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut unknown = BTreeSet::new();
    match known.estop(None) {
        Ok(None) => {}
        Ok(Some(note)) => problems.push(format!(
            "Emergency stop{note}: no agent may run; run 'gastownctl thaw' to end it"
        )),
        Err(why) => _ = unknown.insert(why),
    }
    // An agent may run, or stand still, whose rig was taken out of the registry.
    let agents = agents.iter().flat_map(|one| one.agent.parse::<Agent>());
    let agents: Vec<Agent> = agents.collect();
    let rigs = agents.iter().filter_map(Agent::rig);
    let rigs: BTreeSet<&str> = rigs.chain(town.rigs().names()).collect();
    for rig in rigs {
        match known.estop(Some(rig)) {
            Ok(None) => {}
            Ok(Some(note)) => problems.push(format!(
                "Rig {rig} has an emergency stop{note}: run 'gastownctl thaw {rig}' to end it"
            )),
            Err(why) => _ = unknown.insert(why),
        }
        if let Err(e) = known.of_rig(rig) {
            unknown.insert(format!("{e:#}"));
        }
    }
    if let Err(why) = known.held(&Agent::deacon()) {
        unknown.insert(why);
    } else if let Err(e) = files::names(&town.path(marks::HELD), 1) {
        unknown.insert(format!("{e:#}"));
    }
    if let Err(e) = Labels::load(town) {
        unknown.insert(format!("{e:#}"));
    }
    problems.extend(unknown.into_iter().map(|why| {
        format!(
            "It is not known who may run, so nobody is started or stopped for it: {why}; mend that"
        )
    }));
    if let Err(e) = town::deacon::paused(town) {
        problems.push(format!("Whether the Deacon is paused is not known: {e:#}"));
    }
    problems
}

/// Whether the target says that the town is up. While it is being stopped, its target is active until all
/// its units are down.
pub fn is_on(target: &Unit) -> bool {
    target.active == "active" && !target.is_stopping()
}

/// Whether a unit is active.
fn is_active(units: &BTreeMap<String, Unit>, name: &str) -> bool {
    units.get(name).is_some_and(|unit| unit.active == "active")
}

fn is_down(units: &BTreeMap<String, Unit>, name: &str) -> bool {
    !is_active(units, name) && units.get(name).is_none_or(|unit| unit.job.is_none())
}

/// The alerts that the rest of the status does not tell: it has units from the manager, if that
/// answers, spawns from their spool, and looks for the Go daemon itself. An alert that is over by
/// now is left out too; the next tick ends it.
pub fn of_alerts(town: &Town, agents: &[AgentStatus], units_known: bool) -> Vec<String> {
    let alerts = alert::summaries(town);
    let is_asked = alerts.keys().any(|key| key.starts_with("elsewhere-"));
    let others = is_asked.then(|| OtherServers::look(town).ok()).flatten();
    let is_told = |key: &str| {
        (key.starts_with("unit-") && units_known)
            || key.starts_with("spawn-")
            // Files that are broken now are among the town's problems.
            || (key.starts_with("config-") && key != "config-heartbeat")
            || key == "go-daemon"
            || is_over(town, agents, others.as_ref(), key)
    };
    alerts
        .into_iter()
        .filter(|(key, _)| !is_told(key))
        .map(|(_, summary)| summary)
        .collect()
}

/// Alerts that did not get to everybody.
pub fn of_telling(town: &Town) -> Option<String> {
    let alert::Untold {
        count,
        why,
        by_mail,
    } = alert::untold(town)?;
    let no_mail = match by_mail {
        true => ", and without mail set '\"alert_mail\": false' in 'settings/systemd.json'",
        false => "",
    };
    Some(format!(
        "{} did not get to everybody: {why}; see 'journalctl --user -u gt-alert@deliver'{no_mail}",
        words::counted(count, "alert")
    ))
}

/// Whether an alert about an agent is over by now.
fn is_over(town: &Town, agents: &[AgentStatus], others: Option<&OtherServers>, key: &str) -> bool {
    let (kind, agent) = match key.split_once('-') {
        Some(("elsewhere", unit)) => ("elsewhere", Agent::from_unit(unit).ok()),
        Some((kind, instance)) => (kind, Agent::from_instance(instance).ok()),
        None => (key, Some(Agent::deacon())),
    };
    let Some(agent) = agent else { return false };
    let name = agent.to_string();
    let shown = agents.iter().find(|shown| shown.agent == name);
    let is = |states: &[&str]| shown.is_some_and(|one| states.contains(&&*one.active_state));
    let has_directory = || matches!(town.lacks(&agent), Ok(None));
    let lacks_directory = || matches!(town.lacks(&agent), Ok(Some(_)));
    match kind {
        "deacon" => {
            let since = shown.and_then(|deacon| deacon.since);
            is(&["active"]) && agent::silence(town, since, Timestamp::now()).is_none()
        }
        "asks" | "busy" | "unknown" => {
            let terminal = shown.and_then(|one| one.terminal.as_ref());
            terminal.is_some_and(|state| state.word() != kind)
        }
        "tmux" => agents.iter().any(|one| one.terminal.is_some()),
        "hook" => is(&["active", "activating"]) || lacks_directory(),
        "gone" => has_directory(),
        "rigs" => !agents.iter().any(|one| {
            let rig = one.agent.parse::<Agent>().ok();
            let rig = rig.as_ref().and_then(Agent::rig);
            one.active_state == "active" && rig.is_some_and(|rig| !town.rigs().contains(rig))
        }),
        "elsewhere" => others.is_some_and(|all| all.find(&Names::of(town, &agent)).is_none()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rig_without_its_directory_is_told_if_its_agents_are_to_run() {
        let (_dir, town) = town_with(1, &[("ff/x", "")]);
        let wanted = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        assert!(of_rigs(&town, &wanted(&["deacon", "ff/witness"])).is_empty());
        let told = of_rigs(&town, &wanted(&["gastown/witness", "gastown/refinery"]));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("Rig gastown has no directory '"),
            "{told:?}"
        );
    }

    #[test]
    fn who_could_not_be_started_again_is_told_while_it_runs() {
        let settings = |agent: &str| {
            let text = format!(
                r#"{{"default_agent":"{agent}","agents":{{"sh":{{"command":"/bin/sh"}}}}}}"#
            );
            let (dir, town) = town_with(1, &[("settings/config.json", &text), ("ff/x", "")]);
            let one = |agent: &str, active: &str| AgentStatus {
                agent: agent.into(),
                active_state: active.into(),
                ..AgentStatus::default()
            };
            let mut status = Status {
                agents: vec![
                    one("deacon", "active"),
                    one("mayor", "inactive"),
                    one("ff/witness", "active"),
                ],
                ..Status::default()
            };
            status.foresee(&town, None);
            drop(dir);
            status
        };
        assert_eq!(settings("sh").problems, [""; 0]);
        let lost = settings("cladue");
        assert_eq!(lost.problems.len(), 1, "{:?}", lost.problems);
        let told = &lost.problems[0];
        assert!(
            told.starts_with("deacon, ff/witness could not be started again:"),
            "{told}"
        );
        assert!(told.contains("cladue"), "{told}");
        let why = lost.agents[0].reason.as_deref().unwrap_or_default();
        assert!(why.starts_with("could not be started again:"), "{why}");
        assert_eq!(lost.agents[1].reason, None);
    }
    use crate::ctl::status::model::Target;
    use crate::terminal::{Question, State};
    use crate::town::tests::town_with;
    use jiff::SignedDuration;

    #[test]
    fn every_mark_that_cannot_be_read_is_a_problem() {
        for file in [
            "ESTOP/x",
            ".beads-wisp/config/ff.json",
            "daemon/held/x",
            "daemon/rig-labels.json",
        ] {
            let (_dir, town) = town_with(1, &[]);
            assert!(of_marks(&town, &Marks::of(&town), &[]).is_empty());
            let path = town.path(file);
            let dir = path.parent().unwrap();
            std::fs::create_dir_all(dir.parent().unwrap()).unwrap();
            match file {
                "ESTOP/x" => std::os::unix::fs::symlink(&path, town.path("ESTOP.ff")).unwrap(),
                "daemon/rig-labels.json" => {
                    std::fs::create_dir_all(dir).unwrap();
                    std::os::unix::fs::symlink(&path, &path).unwrap();
                }
                _ => std::os::unix::fs::symlink(dir, dir).unwrap(),
            }
            assert!(
                !of_marks(&town, &Marks::of(&town), &[]).is_empty(),
                "{file}"
            );
        }
    }

    #[test]
    fn what_ends_with_the_town_is_no_problem() {
        let told = |active: &str, job: Option<&str>| {
            let target = Unit {
                name: TARGET.into(),
                description: String::new(),
                active: active.into(),
                sub: active.into(),
                job: job.map(String::from),
                load: "loaded".into(),
            };
            let status = Status {
                target: Target {
                    active: Some(is_on(&target)),
                    enabled: Some(true),
                },
                ..Status::default()
            };
            let units = [(TARGET.to_string(), target)].into();
            of_units(&status, &units, &BTreeMap::new(), &BTreeMap::new())
        };
        for (active, job, first) in [
            ("active", None, "gt-heartbeat.path does not run; "),
            ("active", Some("start"), "gt-heartbeat.path does not run; "),
            ("active", Some("stop"), "The town is being stopped; "),
            ("inactive", None, "The town is stopped; "),
        ] {
            let told = told(active, job);
            assert!(told[0].starts_with(first), "{active} {job:?} {told:?}");
            assert_eq!(told.len() == 1, !first.starts_with("gt-"), "{told:?}");
        }
    }

    #[test]
    fn a_look_that_failed_is_named() {
        let status = Status::default();
        for name in LOOKS.iter().chain(JOBS) {
            let unit = Unit {
                name: name.to_string(),
                description: String::new(),
                active: "failed".into(),
                sub: "failed".into(),
                job: None,
                load: "loaded".into(),
            };
            let units = [(name.to_string(), unit)].into();
            let told = |refused| of_units(&status, &units, &BTreeMap::new(), &refused);
            let has = |told: &[String], begin: &str| told.iter().any(|t| t.starts_with(begin));
            assert!(has(&told(BTreeMap::new()), &format!("{name} failed; ")));
            let refused = told([(name.to_string(), "it is masked".into())].into());
            assert!(has(
                &refused,
                &format!("{name} cannot be started: it is masked")
            ));
            assert!(!has(&refused, &format!("{name} failed")), "{refused:?}");
        }
    }

    #[test]
    fn a_job_that_is_killed_again_and_again_is_told() {
        let killed = "it was killed, or took too long, 3 times in a row";
        for (name, said, restarts, want) in [
            (JOBS[0], None, 2, None),
            (JOBS[0], None, 3, Some(killed)),
            (JOBS[0], Some("no disk"), 3, Some("no disk")),
            (OWN_UNIT, None, 3, None),
        ] {
            let told = of_job(name, said.map(String::from), Some(restarts));
            assert_eq!(told.as_deref(), want, "{name} {restarts}");
        }
    }

    #[test]
    fn only_who_runs_is_frozen_for_nothing() {
        let (_dir, town) = town_with(1, &[("ESTOP.ff", ""), ("ESTOP.gone", "")]);
        let marks = Marks::of(&town);
        let agent = |agent: &str, state: &str, frozen| AgentStatus {
            agent: agent.into(),
            active_state: state.into(),
            frozen,
            ..AgentStatus::default()
        };
        for (name, state, frozen, is_told) in [
            ("deacon", "active", Some(true), true),
            ("deacon", "active", Some(false), false),
            ("deacon", "active", None, false),
            ("deacon", "failed", Some(true), false),
            ("deacon", "inactive", Some(true), false),
            // The stop of a rig is for its own agents.
            ("gastown/witness", "active", Some(true), true),
            ("ff/witness", "active", Some(true), false),
            ("gone/witness", "active", Some(true), false),
        ] {
            let told = frozen_for_nothing(&marks, &[agent(name, state, frozen)]);
            assert_eq!(told.is_some(), is_told, "{name} {state} {frozen:?}");
        }
        // Also when the rig is not registered any more.
        let told = of_marks(&town, &marks, &[agent("gone/witness", "active", None)]);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].contains("'gastownctl thaw gone'"), "{told:?}");
    }

    #[test]
    fn who_has_been_answered_waits_no_more() {
        let (_dir, town) = town_with(1, &[]);
        let asks = State::Asks(Question::menu("Go on?"));
        for kind in ["asks", "busy", "unknown"] {
            alert::raise(&town, &format!("{kind}-deacon"), kind, &[]).unwrap();
        }
        alert::raise(&town, "tmux", "tmux", &[]).unwrap();
        for (terminal, want) in [
            (None, vec!["asks", "busy", "tmux", "unknown"]),
            (Some(asks), vec!["asks"]),
            (Some(State::Busy), vec!["busy"]),
            (Some(State::Unknown), vec!["unknown"]),
            (Some(State::Free), vec![]),
        ] {
            let deacon = AgentStatus {
                agent: "deacon".into(),
                terminal,
                ..AgentStatus::default()
            };
            let mut got = of_alerts(&town, &[deacon], true);
            got.sort();
            assert_eq!(got, want);
        }
    }

    #[test]
    fn what_the_look_refutes_is_left_out() {
        let (_dir, town) = town_with(1, &[("gastown/polecats/nux/x", "")]);
        for key in [
            "hook-gastown-polecats-nux",
            "gone-gastown-polecats-nux",
            "hook-gastown-polecats-lost",
            "gone-gastown-polecats-lost",
            "elsewhere-gt-agent@gastown-polecats-nux.service",
            "deacon",
            "go-daemon",
            "unit-gt-agent@deacon.service",
            "tmux",
            "hook-",
        ] {
            alert::raise(&town, key, key, &[]).unwrap();
        }
        let nux = |state: &str| AgentStatus {
            agent: "gastown/polecats/nux".into(),
            active_state: state.into(),
            ..AgentStatus::default()
        };
        let deacon = |state: &str, age: i64| AgentStatus {
            agent: "deacon".into(),
            active_state: state.into(),
            since: Some(Timestamp::now() - SignedDuration::from_secs(age)),
            ..AgentStatus::default()
        };
        let (waits, silent) = ("hook-gastown-polecats-nux", "deacon");
        for (agents, stay) in [
            (vec![], &[silent, waits][..]),
            (
                vec![nux("inactive"), deacon("inactive", 7)],
                &[silent, waits],
            ),
            (vec![nux("failed"), deacon("active", 7)], &[waits]),
            (vec![nux("unknown"), deacon("unknown", 7)], &[silent, waits]),
            (vec![nux("active"), deacon("active", 86_400)], &[silent]),
            (vec![nux("activating")], &[silent]),
        ] {
            let mut want = vec!["gone-gastown-polecats-lost", "hook-", "tmux"];
            want.extend(stay);
            want.sort_unstable();
            let mut got = of_alerts(&town, &agents, true);
            got.sort();
            assert_eq!(got, want, "{agents:?}");
        }
    }
}

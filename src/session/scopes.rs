//! Scopes that agents make: what one runs by `systemd-run --user --scope` leaves the control group of
//! its unit, and is to end with the agent all the same. Such a process keeps the environment that it
//! was started with, which names the agent's pane; if that is the scope's oldest one, the scope ends as a
//! whole, whatever else is in it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::process;
use crate::agent::Agent;
use crate::systemd::{Systemd, Unit, Verb, started_ticks};
use crate::tmux::Pane;

/// The pattern of all scopes.
pub const SCOPES: &str = "*.scope";

/// How the scopes are called that tmux asks for; what is in them has a pane of its own.
const OF_TMUX: &str = "tmux-spawn-";

/// The scope that the manager itself is in.
const OF_MANAGER: &str = "init.scope";

/// How many times at most we look for scopes, for more may be made while we end the first ones.
const ROUNDS: usize = 10;

/// The pause between two looks, in which the killed processes end.
const PAUSE: Duration = Duration::from_millis(10);

/// The scopes of the user manager in which something may run that an agent has started, each with
/// its processes.
///
/// # Errors
/// The manager does not answer.
pub fn all(systemd: &Systemd) -> Result<Vec<(Unit, Vec<u32>)>> {
    with_processes(systemd, &systemd.units(&[SCOPES])?)
}

/// The scopes that [`all`] gives, out of these units.
fn with_processes(
    systemd: &Systemd,
    units: &BTreeMap<String, Unit>,
) -> Result<Vec<(Unit, Vec<u32>)>> {
    let may_be_agents = |unit: &&Unit| {
        let name = unit.name.as_str();
        name.ends_with(".scope") && name != OF_MANAGER && !name.starts_with(OF_TMUX)
    };
    let with_pids = |unit: Unit| {
        let processes = systemd.processes(&unit.name)?;
        Ok((unit, processes.into_iter().map(|(pid, _)| pid).collect()))
    };
    let units = units.values().filter(may_be_agents).cloned();
    units.map(with_pids).collect()
}

/// Of these scopes, the ones that agents have made which still run, each with its agent.
pub fn of_agents<'a>(scopes: &'a [(Unit, Vec<u32>)], panes: &[Pane]) -> Vec<(Agent, &'a Unit)> {
    let with_agent = |(unit, pids): &'a (Unit, Vec<u32>)| {
        if panes.iter().any(|pane| pids.contains(&pane.server)) {
            return None;
        }
        let environments = origin(pids);
        let pane = environments
            .iter()
            .find_map(|found| pane_in(found, panes))?;
        let agent = Agent::from_instance(pane.owner.as_deref()?).ok()?;
        Some((agent, unit))
    };
    scopes.iter().filter_map(with_agent).collect()
}

/// The pane that an environment names, if it is there and its program has not ended.
pub fn pane_in<'a>(environment: &HashMap<String, String>, panes: &'a [Pane]) -> Option<&'a Pane> {
    let mut panes = panes.iter().filter(|pane| !pane.dead);
    panes.find(|pane| process::names_pane(environment, &pane.id, pane.server))
}

/// The environments that tell who has made a scope: those of its oldest processes, as far as they can
/// be read and have not been cleared. Who was started later may have been asked for from elsewhere: a
/// window of an editor has the environment of whoever asked for it, and is in the scope of the editor.
pub fn origin(pids: &[u32]) -> Vec<HashMap<String, String>> {
    let known = pids.iter().filter_map(|&pid| {
        let environment = process::environment(pid).filter(|found| !found.is_empty())?;
        Some((started_ticks(pid)?, environment))
    });
    oldest(known.collect())
}

/// Those of the earliest time, in clock ticks: what a shell starts at once is as old as the shell.
fn oldest<T>(all: Vec<(u64, T)>) -> Vec<T> {
    let first = all.iter().map(|(ticks, _)| *ticks).min();
    let of_first = all.into_iter().filter(|(ticks, _)| Some(*ticks) == first);
    of_first.map(|(_, one)| one).collect()
}

/// The scopes among units that were made from a pane of a tmux server. A scope that the server itself
/// is in is left out: the server's other panes are in it, too.
///
/// # Errors
/// The manager does not answer.
fn of_pane(
    systemd: &Systemd,
    units: &BTreeMap<String, Unit>,
    pane: &str,
    server: u32,
    before: Option<u32>,
) -> Result<Vec<Unit>> {
    let names_it = |found: &HashMap<_, _>| process::names_pane(found, pane, server);
    let is_before = |pids: &[u32]| {
        before.is_none_or(|root| pids.iter().any(|&pid| process::is_older(pid, root)))
    };
    let is_its = |pids: &[u32]| {
        !pids.contains(&server) && is_before(pids) && origin(pids).iter().any(names_it)
    };
    let scopes = with_processes(systemd, units)?.into_iter();
    Ok(scopes
        .filter(|(_, pids)| is_its(pids))
        .map(|(unit, _)| unit)
        .collect())
}

/// Kills what runs in the scopes of a pane, and returns these scopes. `units` has all scopes as they
/// are now. With `before`, only scopes with processes that are older than that one.
///
/// # Errors
/// The manager does not answer.
pub fn end(
    systemd: &Systemd,
    mut units: BTreeMap<String, Unit>,
    pane: &str,
    server: u32,
    before: Option<u32>,
) -> Result<Vec<Unit>> {
    let mut ended: Vec<Unit> = Vec::new();
    for _ in 0..ROUNDS {
        let found = of_pane(systemd, &units, pane, server, before)?;
        if found.is_empty() {
            break;
        }
        for unit in found {
            // One that has ended meanwhile cannot be killed, and need not be.
            let _ = systemd.signal_all(&unit.name, Signal::SIGKILL as i32);
            // The manager does not always see that a scope is empty without unified control groups.
            let _ = systemd.queue(Verb::Stop, &unit.name);
            if !ended.contains(&unit) {
                ended.push(unit);
            }
        }
        std::thread::sleep(PAUSE);
        units = systemd.units(&[SCOPES])?;
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_whose_oldest_process_it_has() {
        assert_eq!(
            oldest(vec![(7, "window"), (5, "shell"), (5, "its own")]),
            ["shell", "its own"]
        );
        assert!(oldest::<u8>(Vec::new()).is_empty());
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let start = |pane: &str| {
            let mut command = std::process::Command::new("sleep");
            let child = command.arg("60").env("TMUX_PANE", pane).spawn().unwrap();
            // The kernel shows it a moment later.
            while process::environment(child.id()).is_none_or(|found| found.is_empty()) {
                assert!(std::time::Instant::now() < deadline, "no environment");
                std::thread::yield_now();
            }
            child
        };
        let editor = start("");
        let mut window = start("%1");
        while started_ticks(window.id()) == started_ticks(editor.id()) {
            assert!(std::time::Instant::now() < deadline, "no later tick");
            window.kill().unwrap();
            window.wait().unwrap();
            window = start("%1");
        }
        let panes = |pids: &[u32]| -> Vec<String> {
            let found = origin(pids).into_iter();
            found
                .map(|mut found| found.remove("TMUX_PANE").unwrap())
                .collect()
        };
        let found = [
            panes(&[window.id(), editor.id()]),
            panes(&[window.id()]),
            panes(&[]),
        ];
        for mut child in [editor, window] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(found, [vec![String::new()], vec!["%1".into()], Vec::new()]);
    }

    #[test]
    fn an_environment_names_a_pane_of_this_server_that_runs() {
        let pane = |id: &str, dead| Pane {
            id: id.into(),
            pid: 900,
            dead,
            status: None,
            signal: None,
            owner: None,
            home: None,
            server: 812,
            clients: 0,
            created: None,
            report: None,
            session: String::new(),
        };
        let panes = [pane("%1", false), pane("%2", true)];
        for (tmux, id, found) in [
            ("/tmp/tmux-1000/default,812,0", "%1", true),
            ("/tmp/tmux-1000/default,812,0", "%2", false),
            ("/tmp/tmux-1000/default,812,0", "%3", false),
            ("/tmp/tmux-1000/default,813,0", "%1", false),
            ("", "%1", false),
        ] {
            let environment = [("TMUX", tmux), ("TMUX_PANE", id)];
            let environment = environment.map(|(key, value)| (key.into(), value.into()));
            let pane = pane_in(&environment.into(), &panes);
            assert_eq!(pane.is_some(), found, "{tmux} {id}");
        }
    }
}

//! `gastownctl park` and `unpark`.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::change::{each, stopped, tick};
use super::output::say;
use super::words::names;
use super::{cli, directory};
use crate::agent::{Agent, Role, UNITS};
use crate::exit::Exit;
use crate::systemd::{Systemd, Verb};
use crate::town::marks::{self, Mark, Marks};
use crate::town::{Town, wisp};

/// How long one agent's stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// Parks a rig and stops its Witness and its Refinery; from then on every start of one of its
/// agents is refused. Running crew and polecats go on, as with `gt`. The rig is parked even if the
/// manager cannot be asked to stop anybody.
///
/// # Errors
/// The rig is not known, the mark cannot be written, or an agent cannot be stopped.
pub fn park(args: &cli::Rig) -> Result<Exit> {
    let town = Town::load()?;
    let rig = directory::rig(&town, &args.rig)?;
    let manager = Systemd::connect().and_then(|systemd| Ok((running(&systemd, rig)?, systemd)));
    let status = wisp::load(&town, rig).ok().and_then(|found| found.status);
    if status.as_deref() == Some("docked") {
        bail!(
            "{rig} is docked, which keeps its agents down as well; 'gt rig undock {rig}' ends that"
        );
    }
    let (up, systemd) = match &manager {
        Ok((up, systemd)) => (&up[..], Some(systemd)),
        Err(_) => (&[][..], None),
    };
    let (workers, running): (Vec<_>, Vec<_>) =
        up.iter().partition(|agent| agent.role().is_worker());
    if args.change.dry_run {
        say(&match status.as_deref() {
            Some("parked") => format!("{rig} is parked already"),
            _ => format!("Would park {rig}"),
        })?;
        for agent in &workers {
            say(&format!("Would leave {agent} at work"))?;
        }
        return each(&running, |agent| say(&format!("Would stop {agent}")));
    }
    let marked = wisp::set_status(&town, rig, Some("parked"));
    let stop = |agent: &Agent| {
        let systemd = systemd?;
        let job = systemd.queue_awaited(Verb::Stop, &agent.unit());
        Some((systemd, agent.clone(), job))
    };
    let jobs: Vec<_> = running.into_iter().filter_map(stop).collect();
    match marked {
        Ok(true) => say(&format!(
            "Parked {rig}; 'gastownctl unpark {rig}' lets it run again"
        ))?,
        Ok(false) => say(&format!("{rig} was parked already"))?,
        Err(_) => {}
    }
    for agent in &workers {
        say(&format!(
            "Left {agent} at work; 'gastownctl stop {agent}' stops it"
        ))?;
    }
    let exit = each(&jobs, |(systemd, agent, job)| {
        stopped(systemd, agent, job, STOP_LIMIT)?;
        say(&format!("Stopped {agent}"))
    });
    marked.with_context(|| {
        format!(
            "{rig} is not parked: its agents were stopped and will be started again, since the \
             mark is not written; mend that and run 'gastownctl park {rig}' again"
        )
    })?;
    manager.context("Its agents that run are not stopped yet")?;
    exit
}

/// Lets a rig's agents run again, and has a tick start them.
///
/// # Errors
/// The rig is not known, or the mark cannot be written.
pub fn unpark(args: &cli::Rig) -> Result<Exit> {
    let town = Town::load()?;
    let rig = directory::rig(&town, &args.rig)?;
    if wisp::load(&town, rig)?.status.as_deref() != Some("parked") {
        say(&not_parked(&town, rig)?)?;
    } else if args.change.dry_run {
        say(&format!("Would unpark {rig}"))?;
    } else {
        wisp::set_status(&town, rig, None)?;
        tick();
        say(&match still_down(&town, rig) {
            Some(why) => format!("Unparked {rig}, whose agents stay down: {why}"),
            None => format!("Unparked {rig}; {}", who_starts(&town, rig)),
        })?;
    }
    Ok(Exit::Ok)
}

/// The message about a rig whose settings on this machine do not park it.
///
/// # Errors
/// The rig is docked, or parked by something that we cannot end, or this is not known.
fn not_parked(town: &Town, rig: &str) -> Result<String> {
    match Marks::of(town).of_rig(rig)? {
        Some(refusal) if refusal.mark == Mark::Parked => {
            bail!("{rig} was not parked by 'gastownctl': {refusal}")
        }
        Some(refusal) if refusal.mark == Mark::Docked => {
            bail!("{rig} is docked, not parked: {refusal}")
        }
        _ => Ok(format!("{rig} was not parked")),
    }
}

/// Why the rig's agents do not start, parked or not.
fn still_down(town: &Town, rig: &str) -> Option<String> {
    let stopped = Systemd::connect().and_then(|systemd| systemd.town_is_up());
    if let Ok(false) = stopped {
        return Some("the town is stopped; 'gastownctl up' starts it".into());
    }
    let witness = Agent::new(Role::Witness, Some(rig), None).ok()?;
    marks::refusal(town, &witness)
        .filter(|refusal| refusal.mark != Mark::Held)
        .map(|refusal| refusal.to_string())
}

/// Which of the agents of a rig start that may run again, in words.
fn who_starts(town: &Town, rig: &str) -> String {
    let wanted = directory::wanted(town).into_iter();
    let wanted: Vec<Agent> = wanted.filter(|agent| agent.rig() == Some(rig)).collect();
    let is_held = |agent: &&Agent| matches!(marks::held(town, agent), Ok(Some(_)));
    let held = wanted.iter().filter(is_held).map(Agent::to_string);
    let held: Vec<String> = held.collect();
    match (wanted.len(), held.len()) {
        (0, _) => "none of its agents is on a patrol".into(),
        (_, 0) => "its agents start with the next tick".into(),
        (all, count) if count == all => {
            format!("its agents stay down, for they are held; 'gastownctl start {rig}' starts them")
        }
        _ => format!(
            "its agents start with the next tick, but for {}: held",
            names(&held)
        ),
    }
}

/// The rig's agents that are not down.
fn running(systemd: &Systemd, rig: &str) -> Result<Vec<Agent>> {
    let units = systemd.units(&[UNITS])?;
    Ok(units
        .values()
        .filter(|unit| !unit.is_down())
        .filter_map(|unit| Agent::from_unit(&unit.name).ok())
        .filter(|agent| agent.rig() == Some(rig))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::tests::town_with;

    #[test]
    fn who_starts_in_a_rig_that_is_parked_no_more() {
        let (_dir, town) = town_with(1, &[]);
        for (held, want) in [
            ("", "its agents start with the next tick"),
            ("witness", "but for ff/witness: held"),
            ("refinery", "'gastownctl start ff' starts them"),
        ] {
            if !held.is_empty() {
                let agent = Agent::parse(&format!("ff/{held}")).unwrap();
                marks::hold(&town, &agent, "", jiff::Timestamp::now()).unwrap();
            }
            let said = who_starts(&town, "ff");
            assert!(said.ends_with(want), "{said}");
        }
        assert!(who_starts(&town, "none").contains("on a patrol"));
    }

    #[test]
    fn only_what_parks_a_rig_keeps_it_from_being_unparked() {
        const LABELS: &str = "daemon/rig-labels.json";
        const WISP: &str = ".beads-wisp/config/ff.json";
        for (file, text, want) in [
            ("ESTOP", "", Ok("ff was not parked")),
            ("ESTOP.ff", "", Ok("ff was not parked")),
            ("daemon/held/ff-witness", "", Ok("ff was not parked")),
            (
                WISP,
                r#"{"values":{"auto_restart":false}}"#,
                Ok("ff was not parked"),
            ),
            (
                LABELS,
                r#"{"rigs":{"ff":"parked"}}"#,
                Err("gt rig unpark ff"),
            ),
            (
                LABELS,
                r#"{"rigs":{"ff":"docked"}}"#,
                Err("gt rig undock ff"),
            ),
            (
                WISP,
                r#"{"values":{"status":"docked"}}"#,
                Err("gt rig undock ff"),
            ),
        ] {
            // An emergency stop conceals nothing.
            let (_dir, town) = town_with(1, &[("ESTOP", ""), (file, text)]);
            match (not_parked(&town, "ff"), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{file} {text}"),
                (Err(e), Err(want)) => assert!(format!("{e:#}").contains(want), "{e:#}"),
                (got, _) => panic!("{file} {text}: {got:?}"),
            }
        }
        let (_dir, town) = town_with(1, &[]);
        std::os::unix::fs::symlink(LABELS, town.path("daemon")).unwrap();
        assert!(not_parked(&town, "ff").is_err());
    }
}

//! Which agents there are, and whom a person means.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, anyhow};
use strsim::levenshtein;

use super::{cli, journalctl};
use crate::agent::{self, AddressError, Agent, Role, UNITS};
use crate::exit::{self, Exit};
use crate::files;
use crate::heartbeat::memory::Memory;
use crate::session::process;
use crate::systemd::{Systemd, Unit};
use crate::tmux::{Pane, Tmux, is_inside};
use crate::town::left::{self, Left, Note};
use crate::town::{Town, marks, patrols};

/// How many names are offered for an unknown one, at most.
const OFFERED: usize = 3;

/// How many directory entries of one kind are looked at, at most.
const ENTRIES_MAX: usize = 1000;

/// The agents that `status` lists: the roster, those with a unit, and those that are held if the
/// town still has them.
pub fn listed(town: &Town, units: Option<&BTreeMap<String, Unit>>) -> BTreeSet<Agent> {
    let mut agents = wanted(town);
    let loaded = units.into_iter().flat_map(BTreeMap::keys);
    agents.extend(loaded.filter_map(|unit| Agent::from_unit(unit).ok()));
    let held = names_in(town, marks::HELD);
    let held = held.filter_map(|name| Agent::from_instance(&name).ok());
    agents.extend(held.filter(|agent| !matches!(town.lacks(agent), Ok(Some(_)))));
    agents
}

/// The agents that the patrols want; all that they could want, when their file cannot be used.
pub fn wanted(town: &Town) -> BTreeSet<Agent> {
    let roster = town.roster();
    roster.unwrap_or_else(|_| patrols::all(town.rigs()).collect())
}

/// Agents that a tick looks at although they are down and on no patrol: those that asked to wait or
/// were at work, those with work on their hooks, and those whose session was closed after `bd` was
/// last asked about hooks.
pub fn waiting(town: &Town, memory: &Memory) -> BTreeSet<Agent> {
    let is_waiting = |agent: &Agent| match Note::of(town, agent).load().ok().flatten() {
        Some(Left::AtWork) => true,
        Some(Left::Waiting(_)) => !agent.role().is_patrol(),
        Some(Left::Closed(at)) => {
            agent.role().is_worker() && memory.full.is_none_or(|full| full < at)
        }
        None => false,
    };
    let noted = left::noted(town).unwrap_or_default().into_iter();
    noted
        .filter(is_waiting)
        .chain(memory.hooks.keys().cloned())
        .filter(|agent| !matches!(town.lacks(agent), Ok(Some(_))))
        .collect()
}

/// Every agent that could be meant: those listed, those that a patrol could want, and those that
/// have a directory.
pub fn known(town: &Town, units: Option<&BTreeMap<String, Unit>>) -> BTreeSet<Agent> {
    let mut agents = listed(town, units);
    agents.extend(patrols::all(town.rigs()));
    agents.extend(town.workers());
    let dogs = names_in(town, "deacon/dogs");
    agents.extend(dogs.filter_map(|name| match name.as_str() {
        "boot" => Agent::parse("deacon/boot").ok(),
        _ => Agent::new(Role::Dog, None, Some(&name)).ok(),
    }));
    agents
}

/// The agent that `text` means.
///
/// # Errors
/// [`Exit::Usage`]: `text` is no address, or that of two agents. [`Exit::Failure`]: the town has no such agent. Both
/// errors offer the nearest names.
pub fn find(town: &Town, systemd: Option<&Systemd>, text: &str) -> Result<Agent> {
    let units = systemd.and_then(|s| s.units(&[UNITS]).ok());
    let known = known(town, units.as_ref());
    let names: Vec<String> = known.iter().map(Agent::to_string).collect();
    match address(town, text) {
        Ok(agent) if known.contains(&agent) => {
            // Nobody's conversation is ended for another's: `RIG/NAME` may be crew and a polecat.
            let other = Agent::parse(text).ok();
            match other.filter(|other| *other != agent && known.contains(other)) {
                None => Ok(agent),
                Some(other) => Err(
                    anyhow!("'{text}' may be {agent} or {other}; name one of them")
                        .context(Exit::Usage),
                ),
            }
        }
        Ok(agent) => Err(anyhow!(
            "The town has no agent '{agent}'{}",
            offer(text, &names)
        )),
        Err(_) if town.rigs().contains(text) => Err(anyhow!(
            "'{text}' is a rig; name an agent of it, such as '{text}/witness'"
        )
        .context(Exit::Usage)),
        Err(e) => Err(anyhow!("{e}{}", offer(text, &names)).context(Exit::Usage)),
    }
}

/// The agent whose address or unit `text` is, whether the town has it or not.
///
/// # Errors
/// As [`Town::agent`].
pub fn address(town: &Town, text: &str) -> Result<Agent, AddressError> {
    of_unit(text).map_or_else(|| town.agent(text), Ok)
}

/// The agent of a unit's name, as systemctl prints it, with or without its type.
fn of_unit(text: &str) -> Option<Agent> {
    let unit = match text.strip_suffix(".service") {
        Some(_) => text.to_string(),
        None => format!("{text}.service"),
    };
    Agent::from_unit(&unit).ok()
}

/// The agent that `text` names, if it is given; for commands that show the past, so also an agent
/// that is gone, such as a polecat that is done, and also while the town is away.
///
/// # Errors
/// As [`find`]; or the town is away, and the journal has nothing of such an agent.
pub fn named(text: Option<&str>) -> Result<Option<Agent>> {
    let away = |e| log::warn!("{e:#}; the journal is shown all the same");
    match (Town::load(), text) {
        (Ok(_), None) => Ok(None),
        (Err(e), None) => {
            away(e);
            Ok(None)
        }
        (Ok(town), Some(text)) => find(&town, Systemd::connect().ok().as_ref(), text)
            .or_else(|unknown| match town.agent(text) {
                Ok(agent) if journalctl::has(&agent) => Ok(agent),
                _ => Err(unknown),
            })
            .map(Some),
        (Err(e), Some(text)) => match Agent::parse(text) {
            Ok(agent) if journalctl::has(&agent) => {
                away(e);
                Ok(Some(agent))
            }
            _ => Err(e),
        },
    }
}

/// The agents that a person names. `whole` are all agents that the command is for: `--all` means
/// all of them, and a rig's name those that belong to it. An agent that has run this command comes
/// last, for its end may be that of the command.
///
/// # Errors
/// As [`find`], for the first wrong name; nothing has been done to any agent then.
pub fn find_all(
    town: &Town,
    systemd: Option<&Systemd>,
    args: &cli::Agents,
    whole: &BTreeSet<Agent>,
) -> Result<Vec<Agent>> {
    let mut agents = match args.all {
        true => whole.iter().cloned().collect(),
        false => each_of(town, systemd, &args.agents, whole)?,
    };
    agents.sort_by_cached_key(|agent| process::is_in(std::process::id(), &agent.unit()));
    Ok(agents)
}

/// Whether a name means a rig: one that is registered, or, since agents may run whose rig is so no longer,
/// one that `has_agents`.
pub fn is_rig(town: &Town, name: &str, has_agents: impl FnOnce() -> bool) -> bool {
    town.agent(name).is_err() && (town.rigs().contains(name) || has_agents())
}

/// The agents that are meant by several names of agents and rigs, each once, in the given order.
///
/// # Errors
/// As [`find_all`].
pub fn each_of(
    town: &Town,
    systemd: Option<&Systemd>,
    texts: &[String],
    whole: &BTreeSet<Agent>,
) -> Result<Vec<Agent>> {
    let mut agents = Vec::new();
    for text in texts {
        let theirs = whole.iter().filter(|agent| agent.rig() == Some(text));
        let theirs: Vec<Agent> = theirs.cloned().collect();
        let meant = if is_rig(town, text, || !theirs.is_empty()) {
            theirs
        } else {
            let found = find(town, systemd, text);
            vec![found.map_err(|e| match texts.len() {
                1 => e,
                _ => untouched(&e),
            })?]
        };
        for agent in meant {
            if !agents.contains(&agent) {
                agents.push(agent);
            }
        }
    }
    Ok(agents)
}

/// The error about one wrong name among several: it adds that nothing was done to any agent.
fn untouched(e: &anyhow::Error) -> anyhow::Error {
    let told = anyhow!("{:#}; nothing was done to any agent", e.root_cause());
    match exit::of(e) {
        Exit::Failure => told,
        exit => told.context(exit),
    }
}

/// The agent that runs this command: by the mark of its pane, else by its environment.
///
/// # Errors
/// [`Exit::Usage`]: no agent calls.
pub fn myself(town: &Town) -> Result<Agent> {
    let panes = Tmux::on(town.socket()).panes().unwrap_or_default();
    let owner = own_pane(&panes).and_then(|pane| pane.owner.as_deref());
    if let Some(agent) = owner.and_then(|instance| Agent::from_instance(instance).ok()) {
        return Ok(agent);
    }
    ["BD_ACTOR", "GT_ROLE"]
        .iter()
        .filter_map(|key| std::env::var(key).ok())
        .find_map(|text| town.agent(&text).ok())
        .ok_or_else(|| {
            anyhow!("This is not the terminal of an agent; name the agent").context(Exit::Usage)
        })
}

/// The pane that this process runs in. The server counts too: a person's own tmux may have a pane
/// with the same id.
pub fn own_pane(panes: &[Pane]) -> Option<&Pane> {
    let (id, tmux) = (
        std::env::var("TMUX_PANE").ok()?,
        std::env::var("TMUX").ok()?,
    );
    let is_own = |pane: &&Pane| pane.id == id && is_inside(&tmux, pane.server);
    panes.iter().find(is_own)
}

/// The rig that `name` means.
///
/// # Errors
/// As [`find`].
pub fn rig<'a>(town: &Town, name: &'a str) -> Result<&'a str> {
    let names: Vec<String> = town.rigs().names().map(String::from).collect();
    agent::check_rig(name).map_err(|e| {
        anyhow!("'{}' is no rig: {}", name.escape_debug(), e.reason()).context(Exit::Usage)
    })?;
    if let Some(why) = town.rigs_error() {
        log::warn!("{why}, using the rigs known before");
    }
    if town.rigs().contains(name) {
        Ok(name)
    } else {
        Err(anyhow!(
            "The town has no rig '{name}'{}",
            offer(name, &names)
        ))
    }
}

fn offer(text: &str, names: &[String]) -> String {
    match nearest(text, names)[..] {
        [] => String::new(),
        [one] => format!("; did you mean '{one}'?"),
        ref several => format!("; did you mean one of '{}'?", several.join("', '")),
    }
}

/// The names most like `text`, the best first: those with a part that begins with it, then
/// those within a few typing errors.
fn nearest<'a>(text: &str, names: &'a [String]) -> Vec<&'a str> {
    let text: String = text.trim().to_lowercase().chars().take(200).collect();
    let mut scored: Vec<(usize, &str)> = names
        .iter()
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let parts = || lower.split('/').chain([lower.as_str()]);
            let limit = (text.len() / 3).max(1);
            let begins = text.len() >= 2 && parts().any(|part| part.starts_with(&text));
            let typo = parts().map(|part| levenshtein(&text, part)).min()?;
            // A match of the whole name is nearer than one of only a part of it.
            let whole = levenshtein(&text, &lower);
            (begins || typo <= limit).then_some((whole.min(limit + typo + 1), name.as_str()))
        })
        .collect();
    scored.sort();
    scored
        .into_iter()
        .map(|(_, name)| name)
        .take(OFFERED)
        .collect()
}

fn names_in(town: &Town, dir: &str) -> impl Iterator<Item = String> + use<> {
    let names = files::names(&town.path(dir), ENTRIES_MAX).unwrap_or_default();
    names.into_iter().filter_map(|name| name.into_string().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::memory::Hook;
    use crate::town::marks;
    use crate::town::tests::town_with;
    use jiff::{SignedDuration, Timestamp};

    #[test]
    fn who_waits_is_known() {
        let (_dir, town) = town_with(
            1,
            &[
                ("gastown/polecats/worked/x", ""),
                ("gastown/polecats/hooked/x", ""),
                ("gastown/polecats/closed/x", ""),
                ("gastown/polecats/done/x", ""),
                ("gastown/polecats/other/x", ""),
                ("gastown/crew/max/x", ""),
            ],
        );
        let agent = |name: &str| Agent::parse(&format!("gastown/{name}")).unwrap();
        let at: Timestamp = "2026-01-16T10:00:00Z".parse().unwrap();
        let ago = at - SignedDuration::from_mins(9);
        for (name, left) in [
            ("polecats/worked", Left::AtWork),
            ("polecats/nuked", Left::AtWork),
            ("polecats/closed", Left::Closed(at)),
            ("polecats/done", Left::Closed(ago)),
            ("crew/max", Left::Waiting(ago)),
            ("witness", Left::Closed(at)),
            ("refinery", Left::Waiting(at)),
        ] {
            Note::of(&town, &agent(name)).save(left).unwrap();
        }
        let mayor = Note::of(&town, &Agent::mayor());
        mayor.save(Left::Waiting(ago)).unwrap();
        let mut memory = Memory {
            full: Some(at - SignedDuration::from_mins(1)),
            ..Memory::default()
        };
        for name in ["polecats/hooked", "polecats/gone"] {
            let hook = Hook {
                issue: "gt-1".into(),
                since: at,
                started: None,
            };
            memory.hooks.insert(agent(name), hook);
        }
        let want = [
            "crew/max",
            "polecats/worked",
            "polecats/hooked",
            "polecats/closed",
        ];
        let mut want = BTreeSet::from(want.map(agent));
        want.insert(Agent::mayor());
        assert_eq!(waiting(&town, &memory), want);
        // Whose directory cannot be looked into may be there.
        let crew = town.path("gastown/crew");
        std::fs::remove_dir_all(&crew).unwrap();
        std::os::unix::fs::symlink(&crew, &crew).unwrap();
        assert_eq!(waiting(&town, &memory), want);
    }

    #[test]
    fn who_is_held_is_listed_while_the_town_has_it() {
        let agent = |name: &str| Agent::parse(name).unwrap();
        let at: Timestamp = "2026-01-16T10:00:00Z".parse().unwrap();
        let (max, gone) = (agent("gastown/crew/max"), agent("gone/crew/max"));
        let (_dir, town) = town_with(1, &[("gastown/crew/max/x", "")]);
        for held in [&max, &gone, &agent("gastown/crew/left")] {
            marks::hold(&town, held, "", at).unwrap();
        }
        let mut want = town.roster().unwrap();
        want.insert(max);
        assert_eq!(listed(&town, None), want);
        // Nor is anybody left out where it is not known whom the patrols want.
        files::write(&town.path("mayor/daemon.json"), b"{").unwrap();
        assert_eq!(wanted(&town.again().unwrap()).len(), 10);
        // Where it is not known which rigs there are, nobody is left out for that.
        files::write(&town.path("mayor/rigs.json"), b"{").unwrap();
        assert!(listed(&town.again().unwrap(), None).contains(&gone));
    }

    #[test]
    fn units_are_agents_and_one_wrong_name_stops_all() {
        let (_dir, town) = town_with(1, &[]);
        for (text, want) in [
            ("ff/witness", "ff/witness"),
            ("gt-agent@ff-witness.service", "ff/witness"),
            ("gt-agent@ff-witness", "ff/witness"),
            (r"gt-agent@gastown\x2dx-witness", "gastown-x/witness"),
            ("gt-agent@deacon", "deacon"),
        ] {
            assert_eq!(find(&town, None, text).unwrap().to_string(), want);
        }
        let wrong = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
            each_of(&town, None, &texts, &BTreeSet::new()).unwrap_err()
        };
        for (text, exit) in [("no/witness", Exit::Failure), ("a b", Exit::Usage)] {
            let end = "; nothing was done to any agent";
            let (one, two) = (wrong(&[text]), wrong(&["deacon", text]));
            assert!(!one.to_string().ends_with(end));
            assert!(format!("{two:#}").ends_with(end), "{two:#}");
            assert_eq!((exit::of(&one), exit::of(&two)), (exit, exit));
        }
    }

    #[test]
    fn crew_and_a_polecat_of_one_name_are_not_taken_for_each_other() {
        let both = [("ff/crew/max/x", ""), ("ff/polecats/max/x", "")];
        for (files, texts, want) in [
            (&both[..1], &["ff/max", "ff/crew/max"], "ff/crew/max"),
            (
                &both[1..],
                &["ff/max", "ff/polecats/max"],
                "ff/polecats/max",
            ),
            (
                &both,
                &["ff/crew/max", "gt-agent@ff-crew-max"],
                "ff/crew/max",
            ),
        ] {
            let (_dir, town) = town_with(1, files);
            for text in texts {
                assert_eq!(find(&town, None, text).unwrap().to_string(), want);
            }
        }
        let (_dir, town) = town_with(1, &both);
        let e = find(&town, None, "ff/max").unwrap_err();
        let want = "'ff/max' may be ff/crew/max or ff/polecats/max; name one of them";
        assert_eq!(
            (e.root_cause().to_string().as_str(), exit::of(&e)),
            (want, Exit::Usage)
        );
    }

    #[test]
    fn a_rig_whose_agents_run_is_known_although_it_is_no_longer_registered() {
        let (_dir, town) = town_with(1, &[]);
        let agents = ["gone/witness", "gone/crew/max", "ff/witness", "deacon"];
        let whole: BTreeSet<Agent> = agents.map(|name| Agent::parse(name).unwrap()).into();
        let theirs = each_of(&town, None, &["gone".into()], &whole).unwrap();
        assert!(theirs.len() == 2 && theirs.iter().all(|agent| agent.rig() == Some("gone")));
        assert!(each_of(&town, None, &["none".into()], &whole).is_err());
        for (name, has_agents, want) in [
            ("ff", false, true),
            ("gone", true, true),
            ("gone", false, false),
            ("deacon", true, false),
        ] {
            assert_eq!(is_rig(&town, name, || has_agents), want, "{name}");
        }
    }

    #[test]
    fn near_names_are_offered() {
        let names: Vec<String> = [
            "mayor",
            "deacon",
            "gastown/witness",
            "gastown/refinery",
            "gastown/crew/max",
            "beads/witness",
        ]
        .map(String::from)
        .to_vec();
        for (text, want) in [
            ("mayer", &["mayor"][..]),
            ("decon", &["deacon"]),
            ("gastown/witnes", &["gastown/witness"]),
            ("gastwon/witness", &["gastown/witness"]),
            ("witnes", &["beads/witness", "gastown/witness"]),
            ("max", &["gastown/crew/max"]),
            ("refine", &["gastown/refinery"]),
            ("zzz", &[]),
            ("", &[]),
        ] {
            assert_eq!(nearest(text, &names), want, "{text}");
        }
    }
}

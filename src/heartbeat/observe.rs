//! Everything that a decision needs, read once: one listing of units, one of panes, the files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::geteuid;

use super::memory::{Clocks, Memory, Shown};
use super::observed::{
    Activity, Beat, JOBS, KEPT_UNITS, LOOKS, Observed, Refused, Seen, UNIT, UnitState,
};
use super::tips;
use super::watch::ALERTS;
use crate::agent::{Agent, Role, UNITS};
use crate::alert::{self, unit_key};
use crate::digest::digest;
use crate::files;
use crate::hooks::report::Report;
use crate::lifecycle::presync;
use crate::meant;
use crate::said::town_of;
use crate::session::fit;
use crate::session::process::{self, Head};
use crate::session::rival;
use crate::session::run;
use crate::session::server;
use crate::session::whose::{Found, Names, OtherServers};
use crate::spawn::waiting::WORD;
use crate::systemd::{Systemd, TARGET, Unit};
use crate::terminal::{Kind, Reader, State, answer};
use crate::tmux::{Index, Look, Pane, Screen, Sight, Tmux, TmuxError};
use crate::tools::{Tools, bd};
use crate::town::deacon::Freshness;
use crate::town::left::{self, Note};
use crate::town::marks::{self, Marks};
use crate::town::{Town, activity, deacon, patrols};

/// What is looked at.
#[derive(Debug)]
pub struct World<'a> {
    /// The town.
    pub town: &'a Town,
    /// The user manager.
    pub systemd: &'a Systemd,
    /// The town's terminals.
    pub tmux: Tmux,
}

/// The unit of a tick.
pub const OWN_UNIT: &str = "gt-heartbeat.service";

/// The option by which claude runs without asking for permissions.
const BYPASS: &str = "--dangerously-skip-permissions";

/// How many of the last lines of a screen count for [`Shown::hash`].
const SCREEN_LINES: usize = 10;

/// Reads everything. Nothing here waits for long, and nothing is changed.
///
/// # Errors
/// The manager does not answer.
pub fn observe(world: &World<'_>, memory: Memory) -> Result<Observed> {
    let units = world.systemd.units(&["gt-*", TARGET])?;
    // tmux takes about as long as all else. It is asked after the manager: what had a terminal then
    // has one now, unless it has ended.
    thread::scope(|scope| observe_with(world, memory, &units, world.tmux.look(scope)))
}

fn observe_with(
    world: &World<'_>,
    memory: Memory,
    units: &BTreeMap<String, Unit>,
    look: Look,
) -> Result<Observed> {
    let town = world.town;
    let mut problems = problems(town);
    let (heartbeat, paused) = (heartbeat(town), paused(town));
    if let Beat::Unreadable = heartbeat {
        let path = town.path(deacon::HEARTBEAT);
        let summary = format!(
            "Cannot use '{}'; the Deacon writes it anew by 'gastownctl heartbeat'",
            path.display()
        );
        problems.insert("config-heartbeat".into(), summary);
    }
    let mut observed = Observed {
        rules: town.ours(),
        heartbeat,
        paused,
        activity: last_command(town),
        sign: activity::last_event(town.root()),
        problems,
        alerts: alert::summaries(town)
            .into_iter()
            .filter(|(key, _)| is_ours(key))
            .collect(),
        clocks: Some(clocks()?),
        memory,
        ..Observed::default()
    };
    observed.agents = agents(world, units)?;
    if let Some(root) = observed.others_root() {
        let summary = meant::still(Path::new(root), town.root());
        observed.problems.insert("config-town".into(), summary);
    }
    let (stale, very_stale) = (observed.rules.stale, observed.rules.very_stale);
    let beat = match observed.heartbeat {
        Beat::At(time) => Some(time),
        _ => None,
    };
    if let Some(unit) = units.get(&Agent::deacon().unit())
        && deacon::freshness(beat, Timestamp::now(), stale, very_stale) == Freshness::VeryStale
        && let Some(seen) = observed.agents.get_mut(&Agent::deacon())
    {
        seen.cpu = cpu(world.systemd, &unit.name);
    }
    // In a town that was never started, a tick by hand starts agents and nothing else.
    let is_up = units
        .get(TARGET)
        .is_some_and(|t| t.active == "active" || t.job.is_some());
    for &name in KEPT_UNITS.iter().chain(JOBS).chain(LOOKS).filter(|_| is_up) {
        observed.units.insert(name.into(), UnitState::default());
    }
    let known = units
        .values()
        .filter(|unit| observed.units.contains_key(&unit.name));
    // A job that is killed again and again is always just starting.
    let is_asked = |unit: &&Unit| {
        unit.active == "failed" || (!unit.is_down() && JOBS.contains(&unit.name.as_str()))
    };
    let (asked, others): (Vec<&Unit>, Vec<&Unit>) = known.partition(is_asked);
    let others: Vec<(String, UnitState)> = others.into_iter().map(plain).collect();
    observed.units.extend(others);
    observed.units.extend(unit_states(world.systemd, asked)?);
    // The processes of the panes are looked at while tmux tells what they show.
    let panes = look
        .panes()
        .and_then(|panes| trusted(world, panes))
        .and_then(|panes| add_panes(&panes, town, &mut observed.agents).map(|()| panes));
    match panes {
        Ok(panes) => {
            if is_watched(&panes, &observed.agents) {
                observed.sign = Some(Timestamp::now());
            }
            if let Err(e) = add_sights(look, &panes, town, &mut observed.agents) {
                log::warn!("Failed to read the screens, going on without: {e}");
            }
        }
        Err(e) => {
            log::warn!("Failed to list the terminals, going on without: {e}");
            // An agent whose terminal is not known may be alive in it.
            let agents = observed.agents.values_mut();
            agents.for_each(|seen| seen.session = true);
            observed.blind = Some(e.to_string());
        }
    }
    refused_units(world.systemd, units, &mut observed)?;
    Ok(observed)
}

/// Notes which units, of those that this tick may start, the manager refuses to start: if they were
/// tried all the same, each tick would fail.
fn refused_units(
    systemd: &Systemd,
    listed: &BTreeMap<String, Unit>,
    observed: &mut Observed,
) -> Result<()> {
    let hooks = &observed.memory.hooks;
    let may_start = |(agent, seen): &(&Agent, &Seen)| {
        let is_due = seen.wanted || seen.left.is_some() || seen.outside;
        seen.unit.is_down()
            && seen.refusal.is_none()
            && (is_due || seen.unit.is_failed() || hooks.contains_key(agent))
    };
    let agents = observed.agents.iter().filter(may_start);
    let own = observed.units.iter().filter(|(_, unit)| unit.is_down());
    let own = own.map(|(name, _)| name.clone());
    let units: Vec<String> = agents.map(|(agent, _)| agent.unit()).chain(own).collect();
    let names: Vec<&str> = units.iter().map(String::as_str).collect();
    for (unit, reason) in systemd.refused(&names, listed)? {
        if let Some(own) = observed.units.get_mut(&unit) {
            own.refused = Some(reason);
        } else if let Ok(agent) = Agent::from_unit(&unit)
            && let Some(seen) = observed.agents.get_mut(&agent)
        {
            let mark = UNIT.into();
            seen.refusal = Some(Refused { mark, reason });
        }
    }
    Ok(())
}

/// The alerts that a tick begins and ends; other programs have others. The alert about its own
/// failure ends only when a tick has succeeded.
fn is_ours(key: &str) -> bool {
    let starts = [
        "unit-",
        "config-",
        "refusal-",
        "elsewhere-",
        "hook-",
        "gone-",
        "polecats-",
        presync::ALERT,
    ];
    let mut starts = starts.into_iter().chain(ALERTS);
    key != unit_key(OWN_UNIT)
        && (starts.any(|start| key.starts_with(start))
            || ["bd", "deacon", "go-daemon", "mass-death", "rigs", "tmux"].contains(&key))
}

/// What `bd` says of agents, and the agents as they are after that, for `bd` is slow: the real run
/// and the dry one judge beads by this. `Ok(None)`: there is no `bd`.
///
/// # Errors
/// `bd` gave no usable answer, or the manager gave none.
pub fn beads(world: &World<'_>, tools: &Tools, before: &Observed) -> Result<Option<Observed>> {
    let known: Vec<Agent> = before.agents.keys().cloned().collect();
    let Some(beads) = bd::agents(tools, world.town, &known)? else {
        return Ok(None);
    };
    let units = world.systemd.units(&[UNITS])?;
    let mut agents = agents(world, &units)?;
    // What the terminals show is not needed here.
    let panes = world.tmux.panes().and_then(|panes| trusted(world, panes));
    if let Err(e) = panes.and_then(|panes| add_panes(&panes, world.town, &mut agents)) {
        log::debug!("Failed to list the terminals: {e}");
        // An agent whose terminal is not known may be alive in it.
        agents.values_mut().for_each(|seen| seen.session = true);
    }
    Ok(Some(Observed {
        agents,
        beads: Some(beads),
        ..Observed::default()
    }))
}

/// The agents' units as they are now; for a second look after something slow.
///
/// # Errors
/// The manager does not answer.
pub fn agents(world: &World<'_>, units: &BTreeMap<String, Unit>) -> Result<BTreeMap<Agent, Seen>> {
    let town = world.town;
    // Where it is not known which agents are wanted, none is started and none is stopped.
    let (roster, patrols) = (town.roster().unwrap_or_default(), town.patrols().ok());
    let ours = town.ours();
    let mut agents: BTreeMap<Agent, Seen> = patrols::all(town.rigs())
        .map(|agent| (agent, Seen::default()))
        .collect();
    let theirs = units
        .values()
        .filter(|unit| Agent::from_unit(&unit.name).is_ok());
    let is_ours = |root: &String| files::is_same(Path::new(root), town.root());
    for (unit, mut state) in unit_states(world.systemd, theirs.collect())? {
        if let Ok(agent) = Agent::from_unit(&unit) {
            state.theirs = state.theirs.filter(|root| !is_ours(root));
            agents.entry(agent).or_default().unit = state;
        }
    }
    // If the notes cannot be listed, the problems of the town say so.
    let noted = left::noted(town).unwrap_or_default().into_iter();
    let noted = noted.filter(|agent| !agent.role().is_worker());
    for agent in town.workers().into_iter().chain(noted) {
        agents.entry(agent).or_default();
    }
    let marks = Marks::listed(town);
    let unstartable = unstartable(world.systemd, &agents);
    for (agent, seen) in &mut agents {
        seen.wanted = roster.contains(agent);
        let listed = |rig| town.rigs_error().is_some() || town.rigs().contains(rig);
        seen.stray = !agent.rig().is_none_or(listed);
        seen.dismissed = match agent.role() {
            // Somebody may want to talk to a Mayor that is not kept running.
            Role::Mayor => ours.mayor == Some(false),
            role => {
                let patrols = patrols.as_ref().filter(|_| role.is_patrol());
                patrols.is_some_and(|patrols| !patrols.wants(agent))
            }
        };
        seen.usable = unstartable
            .contains(&agent.unit())
            .then(|| fit::by_itself(town, agent).is_ok());
        let left = Note::of(town, agent).load();
        let mut refusal = marks.refusal(agent);
        // If its directory cannot be looked into, it would be started in another one.
        match left.and_then(|left| Ok((left, town.lacks(agent)?))) {
            Ok((left, lack)) => {
                seen.left = left.filter(|_| seen.unit.is_down());
                seen.gone = lack.is_some();
            }
            Err(e) => _ = refusal.get_or_insert(marks::unknown(&e)),
        }
        seen.refusal = refusal.map(|refusal| Refused {
            mark: refusal.mark.name().into(),
            reason: refusal.reason,
        });
    }
    Ok(agents)
}

/// The units of agents that gave up since gt-agent could not use their town or their configuration, or
/// could not start them, by what they say of themselves; none where the manager does not tell.
fn unstartable(systemd: &Systemd, agents: &BTreeMap<Agent, Seen>) -> BTreeSet<String> {
    const TEXT: &str = "StatusText";
    let failed = agents.iter().filter(|(_, seen)| seen.unit.is_failed());
    let failed: BTreeMap<String, i32> = failed
        .map(|(agent, seen)| (agent.unit(), seen.unit.status))
        .collect();
    if failed.is_empty() {
        return BTreeSet::new();
    }
    let names: Vec<&str> = failed.keys().map(String::as_str).collect();
    let read = systemd.read(&names, &[TEXT]).unwrap_or_default();
    let says_so = |unit: &String, status| {
        let text = read.get(unit).and_then(|found| found.text(TEXT));
        text.is_some_and(|text| run::is_unstartable(&text, status))
    };
    let units = failed.into_iter();
    let units = units.filter(|(unit, status)| says_so(unit, *status));
    units.map(|(unit, _)| unit).collect()
}

/// What the manager tells of units, and for which town each says that it runs.
fn unit_states(systemd: &Systemd, units: Vec<&Unit>) -> Result<BTreeMap<String, UnitState>> {
    let names = [
        "Result",
        "ExecMainStatus",
        "ActiveEnterTimestamp",
        "InactiveEnterTimestamp",
        "NRestarts",
        "FreezerState",
        "StatusText",
    ];
    let mut all = systemd.look(&units, &names)?;
    let state = |unit: &Unit| {
        let more = all.remove(&unit.name).unwrap_or_default();
        let (name, state) = plain(unit);
        let said = more.text("StatusText").filter(|_| state.is_active());
        let state = UnitState {
            result: more.text("Result").unwrap_or_default(),
            status: more.int("ExecMainStatus").unwrap_or_default(),
            since: more.time("ActiveEnterTimestamp"),
            down: more.time("InactiveEnterTimestamp"),
            restarts: more.number("NRestarts").unwrap_or_default(),
            frozen: more.is_frozen(),
            theirs: said.and_then(|said| Some(town_of(&said)?.to_string())),
            ..state
        };
        (name, state)
    };
    Ok(units.into_iter().map(state).collect())
}

/// What the listing of units tells.
fn plain(unit: &Unit) -> (String, UnitState) {
    let state = UnitState {
        active: unit.active.clone(),
        sub: unit.sub.clone(),
        job: unit.job.clone(),
        ..UnitState::default()
    };
    (unit.name.clone(), state)
}

/// The panes, if tmux could list them all: a server whose socket is gone has sessions that nobody
/// can list.
fn trusted(world: &World<'_>, panes: Vec<Pane>) -> Result<Vec<Pane>, TmuxError> {
    let is_lost = || server::is_lost(world.systemd, &world.tmux).unwrap_or(true);
    match panes.is_empty() && is_lost() {
        true => Err(TmuxError::NoServer),
        false => Ok(panes),
    }
}

/// Adds to the agents where their terminals are, and what runs there. What tmux does not tell stays
/// unknown.
fn add_panes(
    panes: &[Pane],
    town: &Town,
    agents: &mut BTreeMap<Agent, Seen>,
) -> Result<(), TmuxError> {
    let others = OtherServers::look(town)?;
    let by_owner: HashMap<&str, &Pane> = panes
        .iter()
        .filter(|pane| !pane.dead)
        .filter_map(|pane| Some((pane.owner.as_deref()?, pane)))
        .collect();
    let index = Index::of(panes);
    for (agent, seen) in agents.iter_mut() {
        let names = Names::of(town, agent);
        let runs = |p: &Pane| !p.dead && process::head(p.pid) != Head::IdleShell;
        seen.elsewhere = others.find(&names);
        if seen.elsewhere.is_none() && !seen.unit.is_down() {
            seen.elsewhere = names.beside(town.socket(), &index);
        }
        let (is_marked, is_there) = match names.find(&index) {
            Found::Own(pane) => (true, runs(pane)),
            Found::Session(pane) => (pane.home.is_some(), runs(pane)),
            Found::Taken(_) | Found::Nowhere => (false, false),
        };
        if let Found::Session(pane) = names.find(&index)
            && !pane.dead
            && pane.owner.is_none()
            && pane.home.is_none()
            && process::head(pane.pid) == Head::IdleShell
        {
            seen.appeared = pane.created;
        }
        seen.session = is_there || seen.elsewhere.is_some();
        seen.outside = is_there && !is_marked;
        let own = by_owner.get(agent.instance().as_str());
        seen.pane = own.map(|pane| pane.id.clone());
        let pid = own.map(|pane| pane.pid).filter(|_| seen.unit.is_active());
        seen.strayed = pid.filter(|&pid| process::is_outside(pid, &agent.unit()));
    }
    Ok(())
}

/// Adds what the agents' terminals show.
fn add_sights(
    look: Look,
    panes: &[Pane],
    town: &Town,
    agents: &mut BTreeMap<Agent, Seen>,
) -> Result<(), TmuxError> {
    let reports: HashMap<&str, &Report> = panes
        .iter()
        .filter_map(|pane| Some((pane.id.as_str(), pane.report.as_ref()?)))
        .collect();
    let mut by_pane: HashMap<String, (&Agent, &mut Seen)> = agents
        .iter_mut()
        .filter_map(|(agent, seen)| Some((seen.pane.clone()?, (agent, seen))))
        .collect();
    look.sights(|pane, sight| {
        if let Some((agent, seen)) = by_pane.get_mut(pane) {
            let report = reports.get(pane).copied();
            terminal(seen, &sight, town, agent, report);
            seen.agreed = is_agreed(town, agent, seen, &sight);
        }
    })
}

/// Whether a person looks at an agent.
fn is_watched(panes: &[Pane], agents: &BTreeMap<Agent, Seen>) -> bool {
    let mut attached = panes.iter().filter(|pane| pane.clients > 0);
    attached.any(|pane| {
        let ours = pane.owner.as_ref().or(pane.home.as_ref());
        let who = ours.and_then(|who| Agent::from_instance(who).ok());
        who.is_some_and(|who| agents.contains_key(&who))
    })
}

fn terminal(seen: &mut Seen, sight: &Sight, town: &Town, agent: &Agent, report: Option<&Report>) {
    let reader = reader(town, agent).of_process(sight.pid);
    let (state, disagreement) = reader.judged(&sight.screen, report, Timestamp::now());
    seen.disagreement = disagreement;
    seen.words.clone_from(&sight.words);
    seen.pid = sight.pid;
    seen.screen = Some(shown(&sight.screen));
    // The first text of a new polecat is left to gt-spawn-trigger, which may be typing it just now.
    let of_spawn = sight.typed.as_ref().is_some_and(|typed| typed.text == WORD);
    let is_draft = state == State::Draft;
    let is_poke = || reader.holds(sight, &tips::all()) || reader.is_mixed(sight);
    seen.left_over = is_draft && !of_spawn && is_poke();
    // A draft that is ours is taken back before a text is typed.
    let is_ours = || reader.holds(sight, &ours(town, agent));
    let is_free = reader.takes(&sight.screen, &state) || (is_draft && !of_spawn && is_ours());
    seen.withheld = !(is_free || (state == State::Unknown && reader.is_blind()));
    seen.terminal = Some(state);
}

/// Whether a person has agreed by a setting to what an agent asks: a question that is known word
/// for word, about the agent's own directory if that is the town's, or about how it is started.
fn is_agreed(town: &Town, agent: &Agent, seen: &Seen, sight: &Sight) -> bool {
    let Some(State::Asks(question)) = &seen.terminal else {
        return false;
    };
    let ours = town.ours();
    answer::is_open(sight, question)
        && match question.kind {
            Kind::Trust if ours.trust_town => {
                let dir = town.workdir(agent);
                answer::is_about(question, &dir) && is_the_towns(town, &dir)
            }
            Kind::Bypass if ours.accept_bypass => town
                .launch(agent)
                .is_ok_and(|launch| launch.argv.iter().any(|arg| arg == BYPASS)),
            _ => false,
        }
}

/// Whether a directory is ours and lies in the town, links resolved.
fn is_the_towns(town: &Town, dir: &Path) -> bool {
    let (Ok(root), Ok(real)) = (town.root().canonicalize(), dir.canonicalize()) else {
        return false;
    };
    let is_ours = |meta: std::fs::Metadata| meta.is_dir() && meta.uid() == geteuid().as_raw();
    real.starts_with(&root) && real.metadata().is_ok_and(is_ours)
}

/// How the terminal of an agent is read.
pub(super) fn reader(town: &Town, agent: &Agent) -> Reader {
    let program = town.appearance(agent);
    program.map_or_else(|_| Reader::default(), |program| Reader::of(&program))
}

/// What we may have typed to an agent, or started it with: its program may put that back into its
/// input line, when somebody breaks off the turn.
pub(super) fn ours(town: &Town, agent: &Agent) -> Vec<String> {
    let mut ours = tips::all();
    ours.push(WORD.into());
    ours.extend(town.first_words(agent).all());
    ours
}

/// What is left of a screen when what we typed is taken out: it tells whether the agent did
/// anything.
pub fn shown(screen: &Screen) -> Shown {
    let lines: Vec<&str> = screen
        .lines
        .iter()
        .map(|line| line.split(tips::MARK.trim_end()).next().unwrap_or_default())
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let tail = &lines[lines.len().saturating_sub(SCREEN_LINES)..];
    Shown {
        hash: digest(tail.join("\n"), 8),
        position: screen.history + screen.row as u64,
        column: screen.column,
    }
}

/// The CPU time that a unit has used, in nanoseconds. Where the kernel does not count it for a
/// cgroup, its processes are asked.
fn cpu(systemd: &Systemd, unit: &str) -> Option<u64> {
    let read = systemd.read(&[unit], &["CPUUsageNSec"]).ok()?;
    let counted = read.get(unit)?.number("CPUUsageNSec");
    counted.or_else(|| {
        let processes = systemd.processes(unit).ok()?;
        let pids: Vec<u32> = processes.into_iter().map(|(pid, _)| pid).collect();
        Some(process::cpu_nsec(&pids))
    })
}

fn heartbeat(town: &Town) -> Beat {
    match deacon::load(town) {
        Ok(None) => Beat::Missing,
        Ok(Some(heartbeat)) => heartbeat.timestamp.map_or(Beat::Missing, Beat::At),
        Err(_) => Beat::Unreadable,
    }
}

fn paused(town: &Town) -> Option<String> {
    match deacon::paused(town) {
        Ok(None) => None,
        Ok(Some(pause)) => Some(match pause.reason {
            Some(reason) => format!("it is paused ({})", reason.replace(char::is_control, " ")),
            None => "it is paused".into(),
        }),
        Err(e) => Some(format!("it is not known whether it is paused: {e:#}")),
    }
}

fn last_command(town: &Town) -> Activity {
    match activity::load(town) {
        Ok(Some(activity)) => match activity.honest() {
            Some(time) => Activity::At(time),
            None => Activity::Ours,
        },
        _ => Activity::Missing,
    }
}

fn problems(town: &Town) -> BTreeMap<String, String> {
    let mut problems: BTreeMap<String, String> = town
        .problems()
        .into_iter()
        .map(|p| (key(town.root(), &p), p))
        .collect();
    if let Some((what, command)) = rival::go_daemon(town) {
        problems.insert("go-daemon".into(), format!("{what}; run '{command}'"));
    }
    problems
}

/// The key of a problem: a broken file is one condition, whatever the parser says of it.
fn key(root: &Path, problem: &str) -> String {
    let file = problem
        .split_once(&format!("'{}/", root.display()))
        // The root may have quotes; what is said before the file has none.
        .filter(|(words, _)| !words.contains('\''))
        .and_then(|(_, rest)| rest.split_once('\''));
    format!("config-{}", file.map_or(problem, |(file, _)| file))
}

fn clocks() -> Result<Clocks> {
    let msec = |id| -> Result<i64> {
        let time = clock_gettime(id).context("Failed to read a clock")?;
        Ok(time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000)
    };
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    Ok(Clocks {
        boot_id: boot_id.unwrap_or_default().trim().to_string(),
        monotonic: msec(ClockId::CLOCK_MONOTONIC)?,
        boottime: msec(ClockId::CLOCK_BOOTTIME)?,
        realtime: Timestamp::now(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tmux::Typed;

    /// What a claude shows in whose input line this stands, and the text that is noted in its pane.
    fn claude(line: &str, noted: Option<&str>) -> Sight {
        let rule = "─".repeat(200);
        let line = format!("❯ {line}");
        let lines = ["● Done", &rule, &line, &rule, "  ⏵⏵ bypass permissions on"];
        let lines: Vec<String> = lines.map(String::from).to_vec();
        let screen = Screen {
            column: line.chars().count(),
            row: 2,
            solid: lines.clone(),
            lines,
            size: (200, 50),
            command: "claude".into(),
            title: "✳ Claude Code".into(),
            ..Screen::default()
        };
        let typed = noted.map(|text| Typed {
            text: text.into(),
            enters: 0,
        });
        Sight {
            screen,
            typed,
            ..Sight::default()
        }
    }

    #[test]
    fn what_stands_in_a_terminal_is_a_persons_ours_or_of_a_spawn() {
        let (_dir, town) = crate::town::tests::town_with(2, &[]);
        let agent = Agent::parse("ff/polecats/nux").unwrap();
        let tips = tips::all();
        let poke: &str = &tips[0];
        let beside: &str = &format!("{poke} and mine");
        for (line, noted, left_over, withheld) in [
            ("", None, false, false),
            ("rm -rf", None, false, true),
            // A poke that was not taken, also beside what a person types.
            (poke, Some(poke), true, false),
            (poke, None, true, false),
            (beside, Some(poke), true, true),
            // gt-spawn-trigger may be about to press Enter.
            (WORD, Some(WORD), false, true),
            // One that the program has put back.
            (WORD, None, false, false),
        ] {
            let mut seen = Seen::default();
            terminal(&mut seen, &claude(line, noted), &town, &agent, None);
            let got = (seen.left_over, seen.withheld);
            assert_eq!(got, (left_over, withheld), "{line} {noted:?}");
        }
    }

    #[test]
    fn a_directory_that_leads_out_of_the_town_is_not_the_towns() {
        let (dir, town) = crate::town::tests::town_with(1, &[("ff/witness/x", "")]);
        let beside = tempfile::tempdir().unwrap();
        for (link, to) in [
            ("ff/out", beside.path()),
            ("ff/in", &dir.path().join("ff/witness")),
        ] {
            std::os::unix::fs::symlink(to, town.path(link)).unwrap();
        }
        for (place, want) in [
            ("ff/witness", true),
            ("ff/in", true),
            ("ff/out", false),
            ("ff/witness/x", false),
            ("ff/none", false),
            ("..", false),
        ] {
            assert_eq!(is_the_towns(&town, &town.path(place)), want, "{place}");
        }
    }

    #[test]
    fn a_broken_file_is_one_condition() {
        for root in ["/srv/gt", "/home/o'neil/my 'gt'"] {
            let root = Path::new(root);
            let of = |words: String| key(root, &words);
            let file = root.join("mayor/rigs.json");
            let shown = file.display();
            for why in ["EOF at line 1", "is larger than '4' bytes"] {
                let broken = format!("Cannot use '{shown}': {why}; mend it");
                assert_eq!(of(broken), "config-mayor/rigs.json");
            }
            let other = format!("Rig 'x' is skipped, see '{shown}'");
            assert_eq!(of(other.clone()), format!("config-{other}"));
        }
    }
}

//! Whether the town is as its agents need it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::mend::Mend;
use super::report::{Report, parted};
use crate::agent::{Agent, Role, UNITS};
use crate::alert;
use crate::ctl::{directory, user, words};
use crate::files;
use crate::session::whose::{Names, OtherServers};
use crate::session::{fit, process, rival, scopes, secrets, whose};
use crate::spool::SPOOLS;
use crate::systemd::{Systemd, Unit};
use crate::terminal::look;
use crate::tmux::{self, Index, Tmux};
use crate::tools;
use crate::town::hooks::Hooks;
use crate::town::launch::Launch;
use crate::town::slips;
use crate::town::{Appearance, Town};

/// How long an agent's program may take to tell its version; programs of node take seconds.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// How much is written to see whether anything can be, in bytes.
const PROBE: usize = 4096;

/// Whether the town can be written: else ticks, marks and requests are lost.
pub fn writable(report: &mut Report, town: &Town) {
    let root = town.root();
    let shown = root.display();
    // Write as a tick would: a full disk shows only when something is stored.
    let dir = [town.path("daemon"), root.to_path_buf()];
    let dir = dir.into_iter().find(|dir| dir.is_dir());
    let dir = dir.unwrap_or_else(|| root.to_path_buf());
    let written = tempfile::Builder::new()
        .prefix(files::TEMPORARY)
        .tempfile_in(&dir)
        .and_then(|mut file| {
            file.write_all(&[b'x'; PROBE])?;
            file.as_file().sync_all()
        });
    if let Err(e) = written {
        // By kind: the error names the file, and so has no error number.
        let (why, command) = match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                ("the disk is full", format!("df -h '{shown}'"))
            }
            ErrorKind::ReadOnlyFilesystem => ("it is read-only", format!("findmnt -T '{shown}'")),
            _ => ("see the command", format!("ls -ld '{}'", dir.display())),
        };
        report.find(
            "town",
            format!(
                "Nothing can be written into '{}': {e} ({why})",
                dir.display()
            ),
            "State, marks, requests and alerts are lost",
            command,
        );
    }
}

/// Names mistyped words in files that people write, see [`slips`](crate::town::slips).
pub fn slips(report: &mut Report, town: &Town) {
    for slip in slips::of_town_env().into_iter().chain(slips::all(town)) {
        report.find(
            "settings",
            slip,
            "What it was to change is as if it were not there",
            "mend or remove what is named above",
        );
    }
}

/// Whether the file of secrets can be used: if not, no agent starts.
pub fn secrets(report: &mut Report) {
    if let Err(e) = secrets::load() {
        report.find(
            "secrets",
            format!("{e:#}"),
            "Every start of an agent fails until that is mended",
            "mend the file named above; each line is KEY=VALUE, its mode 0600",
        );
    }
}

/// Whether the directory of tmux sockets is ours: in /tmp anybody may have made it.
pub fn sockets(report: &mut Report) {
    if let Some(what) = tmux::squatted() {
        let (what, command) = parted(&what);
        report.find(
            "server",
            what,
            "tmux refuses to use it, so no agent has a terminal",
            command,
        );
    }
}

/// Whether the agents of the roster can be started, and whether their terminals can be read.
pub fn agents(report: &mut Report, town: &Town) {
    let mut missing: BTreeMap<String, Vec<Agent>> = BTreeMap::new();
    let mut undefined: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut unhooked: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let mut untold: BTreeSet<String> = BTreeSet::new();
    let mut programs: BTreeMap<PathBuf, Launch> = BTreeMap::new();
    for agent in town.roster().unwrap_or_default() {
        match town.launch(&agent) {
            Ok(launch) => {
                if let Some(Hooks::Absent(file)) = &launch.hooks {
                    let agents = unhooked.entry(file.clone()).or_default();
                    agents.push(agent.to_string());
                }
                if launch.lacks_words() {
                    untold.insert(launch.preset.clone());
                }
                let program = launch.argv.first().cloned().unwrap_or_default();
                match fit::program(town, &agent, &launch) {
                    Some(path) => _ = programs.insert(path, launch),
                    None => missing.entry(program).or_default().push(agent.clone()),
                }
            }
            Err(e) => {
                let agents = undefined.entry(format!("{e:#}")).or_default();
                agents.push(agent.to_string());
            }
        }
        let dir = town.workdir(&agent);
        if matches!(files::is_dir(&dir), Ok(false)) {
            report.find(
                "agents",
                format!("{agent} has no directory '{}'", dir.display()),
                "It starts there",
                format!("mkdir -p '{}'", dir.display()),
            );
        }
    }
    for (why, agents) in undefined {
        report.find(
            "agents",
            format!("{} cannot be started: {why}", words::names(&agents)),
            "What they are to run is not known",
            "mend the file named above",
        );
    }
    for (file, agents) in unhooked {
        // A file that exists is for a person to mend; a missing one current gt makes.
        let shown = file.display();
        let command = match file.is_file() {
            true => format!(
                "mv '{shown}' '{shown}.old', or put a SessionStart hook with 'gt prime' into it"
            ),
            false if town.dialect().passes_settings() => "gt hooks sync".into(),
            false => continue,
        };
        report.find(
            "hooks",
            format!(
                "No hook runs 'gt prime' for {}: see '{shown}'",
                words::names(&agents)
            ),
            "They know who they are by their first words alone, and hear of no mail",
            command,
        );
    }
    if !untold.is_empty() {
        let names: Vec<String> = untold.into_iter().collect();
        let fact = format!(
            "{} get no first words; set prompt_mode to \"arg\" in settings/agents.json if they take some",
            names.join(", ")
        );
        report.fact("untold", fact);
    }
    add_workers(town, &mut programs, &mut missing);
    for (path, launch) in programs {
        let name = launch.appearance.kind.unwrap_or(&launch.preset);
        report.fact(name, known(&path, &launch.appearance));
    }
    for (program, agents) in missing {
        let names: Vec<String> = agents.iter().map(Agent::to_string).collect();
        report.find(
            "agents",
            format!(
                "The command '{program}' of {} is not found",
                words::names(&names)
            ),
            "They cannot start",
            fit::cure(town, &agents[0], &program),
        );
    }
}

/// Adds the programs of crew and polecats, also of polecats that are still to come, and the workers whose
/// program is missing.
fn add_workers(
    town: &Town,
    programs: &mut BTreeMap<PathBuf, Launch>,
    missing: &mut BTreeMap<String, Vec<Agent>>,
) {
    let mut found: BTreeMap<String, bool> = BTreeMap::new();
    let polecat = |rig| Agent::new(Role::Polecat, Some(rig), Some("new")).ok();
    let to_come = town.rigs().names().filter_map(polecat);
    let to_come = to_come.map(|agent| (agent, false));
    let workers = town.workers().into_iter().map(|agent| (agent, true));
    for (agent, is_there) in to_come.chain(workers) {
        let Ok(launch) = town.launch(&agent) else {
            continue;
        };
        let name = launch.argv.first().cloned().unwrap_or_default();
        let is_found = *found.entry(name.clone()).or_insert_with(|| {
            let path = fit::program(town, &agent, &launch);
            path.map(|path| programs.insert(path, launch)).is_some()
        });
        if is_there && !is_found {
            missing.entry(name).or_default().push(agent);
        }
    }
}

/// A program with its version, and what is known of that version's screens. Only programs that we know
/// are run: another may take `--version` for a command.
fn known(path: &Path, appearance: &Appearance) -> String {
    const UNSEEN: &str = "nobody has seen its screens, so it may not be told whether it waits";
    let shown = path.display();
    let known = match (appearance.kind, &appearance.ready_prompt) {
        (Some(program), _) => match (version(path), look(program)) {
            (Some(version), Some(look)) => {
                return format!("{shown} {version}: {}", look.known(&version));
            }
            (Some(version), None) => return format!("{shown} {version}: {UNSEEN}"),
            (None, _) => "it does not tell its version".into(),
        },
        (None, Some(prompt)) => format!("of its screens only its prompt '{prompt}' is known"),
        (None, None) => UNSEEN.into(),
    };
    format!("{shown}: {known}")
}

/// What an agent's program prints as its version.
fn version(program: &Path) -> Option<String> {
    let said = tools::run(Command::new(program).arg("--version"), VERSION_LIMIT).ok()?;
    let said = format!("{} {}", said.stdout, said.stderr);
    let is_version =
        |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    let mut words = said.split(|c: char| c.is_whitespace() || "(),".contains(c));
    let version = words.find(is_version)?;
    Some(version.trim_end_matches('.').to_string())
}

/// Whether other users can put entries into the spools. Missing spools are made by the town's start.
pub fn spools(report: &mut Report, town: &Town, up: bool) {
    let me = nix::unistd::geteuid().as_raw();
    let mut links = BTreeSet::new();
    for dir in SPOOLS {
        let path = town.path(dir);
        let shown = path.display().to_string();
        let wrong = match files::metadata(&path) {
            Err(_) if let Some(link) = files::broken_link(&path) => {
                // The spools that lead through one link have one finding.
                if links.insert(link.to_path_buf()) {
                    report.find(
                        "spools",
                        format!("'{}' is a link to nothing", link.display()),
                        "Requests and spawns cannot be put there",
                        format!(
                            "ls -l '{0}', then make what it leads to, or rm '{0}'",
                            link.display()
                        ),
                    );
                }
                None
            }
            Err(_) => Some((
                "cannot be looked into",
                format!("ls -ld '{shown}' '{}'", town.path("daemon").display()),
                false,
            )),
            Ok(None) if !up => None,
            Ok(None) => Some(("is missing", format!("mkdir -p '{shown}'"), true)),
            Ok(Some(meta)) if !meta.is_dir() => Some((
                "is no directory",
                format!("mv '{shown}' '{shown}.old' && mkdir '{shown}'"),
                false,
            )),
            Ok(Some(meta)) if meta.uid() != me => Some((
                "belongs to another user",
                format!("chown {} '{shown}' (as root)", user::name()),
                false,
            )),
            Ok(Some(meta)) if is_shared(&meta) => Some((
                "is writable by others",
                format!("chmod go-w '{shown}'"),
                true,
            )),
            Ok(Some(_)) => None,
        };
        if let Some((what, command, safe)) = wrong {
            report
                .find(
                    "spools",
                    format!("'{shown}' {what}"),
                    match what {
                        "belongs to another user" | "is writable by others" => {
                            "Requests and spawns that are put there are executed"
                        }
                        _ => "Requests and spawns cannot be put there",
                    },
                    command,
                )
                .mend = safe.then(|| Mend::Spool(dir.into()));
        }
    }
}

/// Whether others can replace the files that say which programs run, and where.
pub fn shared(report: &mut Report, town: &Town) {
    for dir in ["", "daemon", "mayor", "roles", "settings"] {
        let path = town.path(dir);
        if fs::metadata(&path).is_ok_and(|meta| is_shared(&meta)) {
            let shown = path.display();
            report.find(
                "town",
                format!("'{shown}' is writable by others"),
                "They can replace the files there, which say what is run in your name",
                format!("chmod go-w '{shown}'"),
            );
        }
    }
}

/// Whether others may write. The user's own group, as Debian gives every user one, does not count.
fn is_shared(meta: &fs::Metadata) -> bool {
    let group = nix::unistd::Group::from_gid(meta.gid().into())
        .ok()
        .flatten();
    let own = group.is_some_and(|g| g.name == user::name() && g.mem.is_empty());
    meta.mode() & if own { 0o002 } else { 0o022 } != 0
}

/// Whether the Go daemon runs beside us.
pub fn go_daemon(report: &mut Report, town: &Town) {
    if let Some((what, command)) = rival::go_daemon(town) {
        let why = "Two supervisors fight over the same sessions";
        report.find("go-daemon", what, why, command);
    }
}

/// Whether the tmux server is ours.
pub fn server(report: &mut Report, town: &Town, systemd: Option<&Systemd>) {
    let pid = match Tmux::on(town.socket()).server() {
        Ok(Some(pid)) => pid,
        Ok(None) => return report.fact("server", "no tmux server answers"),
        Err(e) => {
            report.find(
                "server",
                e.to_string(),
                "Sessions are not known",
                format!("tmux -L {} list-sessions", town.socket()),
            );
            return;
        }
    };
    let unit = systemd
        .context("no user manager")
        .and_then(|systemd| systemd.unit_of(pid))
        .or_else(|_| cgroup_unit(pid));
    match unit {
        Ok(unit) if unit == "gt-tmux.service" => {
            report.fact("server", format!("process {pid} in {unit}"))
        }
        Ok(unit) => {
            report.fact("server", format!("process {pid} in {unit}"));
            report.find("server", format!("The tmux server was started by somebody else, in {unit}"), "It, and every terminal in it, ends when that does; its environment and limits are not the town's", "end its other sessions, then systemctl --user restart gt-tmux.service");
        }
        Err(e) => report.fact("server", format!("process {pid}; {e:#}")),
    }
}

/// Whether each agent's process is in its unit.
pub fn strays(report: &mut Report, town: &Town, systemd: &Systemd) {
    let Ok(units) = systemd.units(&[UNITS]) else {
        return;
    };
    // What tmux does not tell has been said of the server.
    for pane in Tmux::on(town.socket()).panes().unwrap_or_default() {
        let agent = pane.owner.as_deref().map(Agent::from_instance);
        let Some(Ok(agent)) = agent else { continue };
        let unit = agent.unit();
        let is_active = units.get(&unit).is_some_and(|unit| unit.active == "active");
        if is_active && !pane.dead && process::is_outside(pane.pid, &unit) {
            report.find(
                "agents",
                format!("{agent}: its process {} is outside of its unit", pane.pid),
                "No limit reaches it, and what it has started outlives a stop",
                "systemctl --user start gt-heartbeat.service",
            );
        }
    }
}

/// Whether agents run beside their units, or instead of them.
pub fn elsewhere(report: &mut Report, town: &Town, systemd: &Systemd) {
    let Ok(units) = systemd.units(&[UNITS]) else {
        return;
    };
    // What tmux does not tell has been said of the server.
    let socket = town.socket();
    let (Ok(panes), Ok(others)) = (Tmux::on(socket).panes(), OtherServers::look(town)) else {
        return;
    };
    let index = Index::of(&panes);
    for agent in directory::listed(town, Some(&units)) {
        let names = Names::of(town, &agent);
        let place = others.find(&names);
        let is_down = units.get(&agent.unit()).is_none_or(Unit::is_down);
        let (what, why) = if is_down {
            let what = place.map(|place| format!("{agent} runs in {place}, not in its unit"));
            (
                what,
                "It is not started a second time, and no limit reaches it",
            )
        } else {
            let place = place.or_else(|| names.beside(socket, &index));
            let what = place.map(|place| alert::twice(&agent, &place));
            (what, "Both do the same work")
        };
        if let Some(what) = what {
            report.find(
                "agents",
                what,
                why,
                "end the other one as the line above says",
            );
        }
    }
}

/// Names what agents have had the manager run beside their units: scopes that are left over,
/// because gt-agent was killed and so did not end them, and services, of which nobody knows whose
/// they are.
pub fn beside(report: &mut Report, town: &Town, systemd: &Systemd) {
    let services = systemd.units(&["run-*.service", "run-*.timer"]);
    // What tmux does not tell has been said of the server.
    let (Ok(services), Ok(scopes), Ok(panes)) = (
        services,
        scopes::all(systemd),
        Tmux::on(town.socket()).panes(),
    ) else {
        return;
    };
    let shown = |unit: &Unit| format!("{} ({})", unit.name, unit.description);
    let services: Vec<String> = services.values().map(shown).collect();
    if !services.is_empty() {
        let text = format!("{}; none of these ends with an agent", services.join(", "));
        report.fact("systemd-run", text);
    }
    let running = scopes::of_agents(&scopes, &panes).into_iter();
    let running: Vec<String> = running
        .map(|(agent, scope)| format!("{agent}: {}", shown(scope)))
        .collect();
    if !running.is_empty() {
        let text = format!("{}; each ends with its agent", running.join(", "));
        report.fact("scopes", text);
    }
    for (scope, pids) in &scopes {
        // The panes of an agent that somebody runs on another server are there, not among `panes`.
        let is_elsewhere = |server: u32| {
            panes.iter().all(|pane| pane.server != server) && !process::has_ended(server)
        };
        let is_ours = |environment: &HashMap<String, String>| {
            let server = environment
                .get("TMUX")
                .and_then(|tmux| tmux::server_in(tmux));
            server.is_some_and(|server| !is_elsewhere(server))
                && whose::is_of_town(town.root(), environment)
                && scopes::pane_in(environment, &panes).is_none()
        };
        let Some(left) = scopes::origin(pids).into_iter().find(is_ours) else {
            continue;
        };
        let agent = left
            .get("BD_ACTOR")
            .and_then(|name| Agent::parse(name).ok());
        if let Some(agent) = agent {
            report.find(
                "agents",
                format!("{agent} has ended and left {}", shown(scope)),
                "It goes on without the agent, and no limit reaches it",
                format!("systemctl --user stop {}", scope.name),
            );
        }
    }
}

/// The last part of a process's cgroup, for processes of no user unit.
fn cgroup_unit(pid: u32) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .with_context(|| format!("Process {pid} has gone"))?;
    let line = text.lines().find_map(|line| {
        line.strip_prefix("0::")
            .or_else(|| line.split_once("name=systemd:").map(|(_, path)| path))
    });
    line.and_then(|path| path.rsplit('/').find(|part| part.contains('.')))
        .map(String::from)
        .ok_or_else(|| anyhow!("process {pid} is in no unit"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn spools_that_are_not_fit_are_found_and_mended() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let mut report = Report::default();
        spools(&mut report, &town, false);
        assert!(report.findings.is_empty());
        spools(&mut report, &town, true);
        assert_eq!(report.findings.len(), SPOOLS.len());
        for dir in SPOOLS {
            fs::create_dir_all(town.path(dir)).unwrap();
            fs::set_permissions(town.path(dir), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(town.path(SPOOLS[0]), fs::Permissions::from_mode(0o777)).unwrap();
        report = Report::default();
        spools(&mut report, &town, true);
        assert_eq!(report.findings.len(), 1);
        assert!(report.findings[0].command.starts_with("chmod go-w"));

        // The directory of three of them is on a disk that is not there.
        fs::remove_dir_all(town.path("daemon/lifecycle")).unwrap();
        std::os::unix::fs::symlink("/nowhere", town.path("daemon/lifecycle")).unwrap();
        fs::set_permissions(town.path(SPOOLS[3]), fs::Permissions::from_mode(0o700)).unwrap();
        for up in [true, false] {
            report = Report::default();
            spools(&mut report, &town, up);
            assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
            assert!(
                report.findings[0]
                    .what
                    .ends_with("daemon/lifecycle' is a link to nothing")
            );
            assert_eq!(report.findings[0].mend, None);
        }
    }
}

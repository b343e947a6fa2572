//! `gastownctl doctor`: whether the machine, the units and the town are fit for each other.
//!
//! Each check looks at one thing and says what is wrong, why it matters, and what to type.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;

use super::table::{self, Paint};
use super::{cli, logs, print, status};
use crate::agent::Agent;
use crate::exit::Exit;
use crate::files;
use crate::heartbeat::decide::KEPT_UNITS;
use crate::spool::SPOOLS;
use crate::systemd::{Properties, Systemd, Unit};
use crate::tmux::Tmux;
use crate::tools::{self, Tools};
use crate::town::{Town, env_file as env};

/// How long a program may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(5);

/// The oldest tmux that is known to do, as 10 * major + minor.
const TMUX_LEAST: u32 = 33;

/// The unit files of the package that everything starts from.
const UNIT_FILES: [&str; 5] = [
    "gastown.target",
    "gt-agent@.service",
    "gt-tmux.service",
    "gt-heartbeat.timer",
    "gt-lifecycle.path",
];

/// The unit that Gas Town itself installs.
const GO_DAEMON: &str = "gastown-daemon.service";

/// The cgroup controllers that limits and the figures of `status` come from.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check that found it.
    pub check: &'static str,
    /// What is wrong.
    pub what: String,
    /// Why it matters.
    pub why: String,
    /// What to type.
    pub command: String,
    /// It can be mended without asking.
    #[serde(skip)]
    mend: Option<Mend>,
}

/// What `--fix` does: nothing that starts, stops or forgets anything.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mend {
    Linger,
    Reload,
    Spool(String),
    Timer(String),
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is there: programs with paths and versions.
    pub facts: BTreeMap<&'static str, String>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What `--fix` did.
    pub mended: Vec<String>,
}

impl Report {
    fn find(
        &mut self,
        check: &'static str,
        what: impl Into<String>,
        why: &str,
        command: impl Into<String>,
    ) -> &mut Finding {
        self.findings.push(Finding {
            check,
            what: what.into(),
            why: why.into(),
            command: command.into(),
            mend: None,
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    fn fact(&mut self, name: &'static str, text: impl Into<String>) {
        self.facts.insert(name, text.into());
    }
}

/// Looks, mends if asked to, and prints; findings that are left are exit status 1.
///
/// # Errors
/// The report cannot be printed.
pub fn run(args: &cli::Doctor) -> Result<Exit> {
    let mut report = examine();
    if args.fix {
        let mut mended = Vec::new();
        for finding in &report.findings {
            let Some(mend) = &finding.mend else { continue };
            match mend.apply() {
                Ok(done) => mended.push(done),
                Err(e) => log::warn!("{e:#}, not mended"),
            }
        }
        if !mended.is_empty() {
            report = examine();
        }
        report.mended = mended;
    }
    print(&if args.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        render(&report, table::width(), table::colour(cli::Colour::Auto))
    })?;
    Ok(if report.findings.is_empty() {
        Exit::Ok
    } else {
        Exit::Failure
    })
}

fn render(report: &Report, width: usize, colour: bool) -> String {
    let mut out = String::new();
    for (name, text) in &report.facts {
        out += &format!("{name:>10}  {text}\n");
    }
    out.push('\n');
    for done in &report.mended {
        out += &format!("{}  {done}\n", Paint::Good.on("Mended", colour));
    }
    for finding in &report.findings {
        out += &table::wrapped(&format!("{}. {}", finding.what, finding.why), width).replacen(
            "  - ",
            &format!("  {} ", Paint::Bad.on("!", colour)),
            1,
        );
        out += &format!("    {}\n", Paint::Bold.on(&finding.command, colour));
    }
    out += &match report.findings.len() {
        0 => format!("{}\n", Paint::Good.on("Nothing is wrong", colour)),
        n => format!("\n{}\n", table::counted(n, "finding")),
    };
    out
}

fn examine() -> Report {
    let mut report = Report::default();
    login(&mut report);
    journal(&mut report);
    cgroups(&mut report);
    let town = match Town::load() {
        Ok(town) => Some(town),
        Err(e) => {
            report.find(
                "town",
                format!("{e:#}"),
                "Nothing can run without a town",
                format!("gt install, or set {} in ~/{}", env::ROOT, env::FILE),
            );
            None
        }
    };
    let systemd = match Systemd::connect() {
        Ok(systemd) => Some(systemd),
        Err(e) => {
            let uid = nix::unistd::geteuid();
            report.find(
                "manager",
                format!("{e:#}"),
                "The user manager runs the town",
                format!("systemctl start user@{uid}.service (as root)"),
            );
            None
        }
    };
    programs(&mut report, town.as_ref());
    if let Some(systemd) = &systemd
        && let Err(e) = units(&mut report, systemd, town.as_ref())
    {
        report.find(
            "manager",
            format!("{e:#}"),
            "It is not known whether the units are in order",
            "systemctl --user status",
        );
    }
    if let Some(town) = &town {
        report.fact(
            "town",
            format!(
                "{} ({:?}, tmux socket {})",
                town.root().display(),
                town.era(),
                town.socket()
            ),
        );
        for problem in town.problems() {
            report.find(
                "town",
                problem,
                "What the file said before is used until it is mended",
                "mend the file named above",
            );
        }
        agents(&mut report, town);
        spools(&mut report, town);
        go_daemon(&mut report, town);
        server(&mut report, town, systemd.as_ref());
    }
    report
}

fn login(report: &mut Report) {
    if !status::is_lingering() {
        let user = status::user_name();
        report
            .find(
                "linger",
                format!("Linger is off for {user}"),
                "The town ends when you log out, and does not start at boot",
                format!("loginctl enable-linger {user}"),
            )
            .mend = Some(Mend::Linger);
    }
}

fn journal(report: &mut Report) {
    if let Some(why) = logs::unreadable() {
        report.find(
            "journal",
            "The journal cannot be read",
            "logs, history and timeline come from it",
            why,
        );
    }
    if !Path::new("/var/log/journal").is_dir() {
        report.find(
            "journal",
            "The journal is not kept on disk",
            "After a reboot nobody knows why an agent died",
            "mkdir /var/log/journal && systemctl restart systemd-journald (as root)",
        );
    }
}

fn cgroups(report: &mut Report) {
    let uid = nix::unistd::geteuid();
    let path =
        format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers");
    match fs::read_to_string(&path) {
        Ok(text) => {
            let here: Vec<&str> = text.split_whitespace().collect();
            let missing: Vec<&str> = CONTROLLERS
                .into_iter()
                .filter(|c| !here.contains(c))
                .collect();
            report.fact("cgroups", format!("unified; {}", here.join(" ")));
            if !missing.is_empty() {
                report.find("cgroups", format!("The controllers {} are not delegated to you", missing.join(", ")), "Limits by them do nothing, and status cannot show them", "systemctl edit user@.service (as root), with [Service] Delegate=cpu memory pids");
            }
        }
        Err(_) if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() => {
            report.fact("cgroups", "unified; no user manager runs");
        }
        Err(_) => {
            report.fact("cgroups", "not unified");
            report.find("cgroups", "The kernel's cgroups are not unified", "Memory limits and figures are not available, and estop stops agents instead of freezing them", "boot with systemd.unified_cgroup_hierarchy=1");
        }
    }
}

fn programs(report: &mut Report, town: Option<&Town>) {
    let home = env::home().unwrap_or_else(|_| "/".into());
    let dirs = tools::search_path(&home);
    let found = Tools::locate(&home);
    let tmux = tools::find("tmux", &dirs);
    for (name, args, path) in [
        ("tmux", &["-V"][..], tmux.as_deref()),
        ("gt", &["version"], found.path("gt")),
        ("bd", &["version"], found.path("bd")),
        ("git", &["--version"], found.path("git")),
    ] {
        let Some(path) = path else {
            report.fact(name, "not found");
            continue;
        };
        let said = tools::run(Command::new(path).args(args), VERSION_LIMIT);
        let version = match &said {
            Ok(said) if said.status.success() => said
                .stdout
                .lines()
                .next()
                .unwrap_or_default()
                .trim()
                .to_string(),
            Ok(said) => format!("fails: {}", said.complaint()),
            Err(e) => e.to_string(),
        };
        report.fact(name, format!("{}: {version}", path.display()));
        let works = said.is_ok_and(|said| said.status.success());
        if !works {
            report.find(
                "programs",
                format!("'{} {}' {version}", path.display(), args.join(" ")),
                "What needs it cannot work",
                format!("mend or reinstall {name}"),
            );
        } else if name == "tmux" && tmux_version(&version).is_some_and(|v| v < TMUX_LEAST) {
            report.find(
                "programs",
                format!("{version} is older than 3.3"),
                "Agents get their terminals from it",
                "apt install tmux",
            );
        }
    }
    if tmux.is_none() {
        report.find(
            "programs",
            "tmux is not found",
            "Agents get their terminals from it",
            "apt install tmux",
        );
    }
    let is_town = town.is_some_and(|town| town.path("mayor/town.json").exists());
    for (name, why) in [
        (
            "gt",
            "Mail is neither read nor sent: no requests by mail, no alerts by mail",
        ),
        ("bd", "Agents' beads are neither read nor marked"),
    ] {
        if found.path(name).is_none() && is_town {
            let path = dirs
                .iter()
                .map(|d| d.display().to_string())
                .collect::<Vec<_>>()
                .join(":");
            report.find(
                "programs",
                format!("{name} is not found in {path}"),
                why,
                format!("ln -s /path/to/{name} ~/.local/bin/{name}"),
            );
        }
    }
}

/// `tmux 3.5a` as 35; `None` for other forms, such as `tmux master`.
fn tmux_version(text: &str) -> Option<u32> {
    let (major, rest) = text.strip_prefix("tmux ")?.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(major.parse::<u32>().ok()? * 10 + minor.parse::<u32>().ok()?.min(9))
}

fn units(report: &mut Report, systemd: &Systemd, town: Option<&Town>) -> Result<()> {
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
    for name in UNIT_FILES {
        if systemd.unit_file_state(name)?.is_none() {
            report.find(
                "units",
                format!("Unit file {name} is not installed"),
                "The town cannot run without it",
                "apt install --reinstall gastown-systemd",
            );
        }
    }
    let enabled = systemd.unit_file_state("gastown.target")?;
    if enabled.as_deref().is_some_and(|state| state != "enabled") {
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
    let (mut stale, mut roots) = (Vec::new(), Vec::new());
    for unit in loaded.values() {
        let properties = systemd.properties(&unit.name)?;
        roots.extend(town.and_then(|town| status::elsewhere(town, &properties)));
        if properties.flag("NeedDaemonReload") == Some(true) {
            stale.push(unit.name.as_str());
        }
        one_unit(report, unit, &properties);
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
    if let Some(what) = town.and_then(|town| status::two_towns(town, &roots)) {
        report.find(
            "units",
            what,
            "What the old town asks for is not done, and the new one has no agents",
            status::RESTART,
        );
    }
    // The generator's drop-ins are as old as the last reload.
    if let Some(town) = town
        && let Some(path) = loaded.get("gt-lifecycle.path")
    {
        let text = unit_text(&systemd.properties(&path.name)?);
        let usual = env::home().is_ok_and(|home| home.join("gt") == town.root());
        let line = format!("={}/daemon/lifecycle/new", town.root().display()).replace('%', "%%");
        let watches = text.lines().any(|l| l.ends_with(&line)) || usual && text.is_empty();
        if !watches {
            report
                .find(
                    "units",
                    format!("The path units do not watch '{}'", town.root().display()),
                    "Requests and spawns wait for the next tick",
                    status::RESTART,
                )
                .mend = Some(Mend::Reload);
        }
    }
    Ok(())
}

/// The text of a unit's drop-ins.
fn unit_text(properties: &Properties) -> String {
    let paths = properties.texts("DropInPaths");
    paths
        .iter()
        .filter_map(|path| files::read(Path::new(path)).ok().flatten())
        .collect()
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
            Err(_) => (
                "It gave up, and stays down until it is reset",
                format!("journalctl --user -u {name}, then systemctl --user restart {name}"),
            ),
        };
        let what = format!("{name} failed: {}", status::last_end(properties));
        report.find("units", what, why, command);
    }
    let waits = unit.active == "active" && unit.sub == "waiting";
    let never = ["NextElapseUSecMonotonic", "NextElapseUSecRealtime"]
        .iter()
        .all(|key| properties.number(key).is_none_or(|usec| usec == 0));
    if name.ends_with(".timer")
        && unit.active == "active"
        && (!waits && unit.sub == "elapsed" || waits && never)
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

fn agents(report: &mut Report, town: &Town) {
    let home = env::home().unwrap_or_else(|_| "/".into());
    let dirs = tools::search_path(&home);
    let mut missing: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for agent in town.roster().unwrap_or_default() {
        match town.launch(&agent) {
            Ok(launch) => {
                let program = launch.argv.first().cloned().unwrap_or_default();
                if tools::find(&program, &dirs).is_none() {
                    missing.entry(program).or_default().push(agent.to_string());
                }
            }
            Err(e) => {
                report.find(
                    "agents",
                    format!("{agent} cannot be started: {e:#}"),
                    "Its command is not known",
                    "mend the file named above",
                );
            }
        }
        let dir = town.workdir(&agent);
        if !dir.is_dir() {
            report.find(
                "agents",
                format!("{agent} has no directory '{}'", dir.display()),
                "It starts there",
                format!("mkdir -p '{}'", dir.display()),
            );
        }
    }
    for (program, agents) in missing {
        report.find(
            "agents",
            format!(
                "The command '{program}' of {} is not found",
                agents.join(", ")
            ),
            "They cannot start",
            format!(
                "ln -s /path/to/{program} ~/.local/bin/, or name it in '{}/settings/config.json'",
                town.root().display()
            ),
        );
    }
}

fn spools(report: &mut Report, town: &Town) {
    let me = nix::unistd::geteuid().as_raw();
    for dir in SPOOLS {
        let path = town.path(dir);
        let shown = path.display().to_string();
        let wrong = match fs::symlink_metadata(&path) {
            Err(_) => Some(("is missing", format!("mkdir -p '{shown}'"), true)),
            Ok(meta) if !meta.is_dir() => Some((
                "is no directory",
                format!("mv '{shown}' '{shown}.old' && mkdir '{shown}'"),
                false,
            )),
            Ok(meta) if meta.uid() != me => Some((
                "belongs to another user",
                format!("chown {} '{shown}' (as root)", status::user_name()),
                false,
            )),
            Ok(meta) if is_shared(&meta) => Some((
                "is writable by others",
                format!("chmod go-w '{shown}'"),
                true,
            )),
            Ok(_) => None,
        };
        if let Some((what, command, safe)) = wrong {
            report
                .find(
                    "spools",
                    format!("'{shown}' {what}"),
                    "What is in it is executed, or would be",
                    command,
                )
                .mend = safe.then(|| Mend::Spool(dir.into()));
        }
    }
}

/// Whether others may write. A group of one's own, as Debian gives every user, is not others.
fn is_shared(meta: &fs::Metadata) -> bool {
    let group = nix::unistd::Group::from_gid(meta.gid().into())
        .ok()
        .flatten();
    let own = group.is_some_and(|g| g.name == status::user_name() && g.mem.is_empty());
    meta.mode() & if own { 0o002 } else { 0o022 } != 0
}

/// The Go daemon's PID file, checked against /proc. Its lock is not probed: that would make a
/// start of it fail.
fn go_daemon(report: &mut Report, town: &Town) {
    let text = files::read(&town.path("daemon/daemon.pid"))
        .ok()
        .flatten()
        .unwrap_or_default();
    let Some(pid) = text
        .lines()
        .next()
        .and_then(|line| line.trim().parse::<u32>().ok())
    else {
        return;
    };
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = command
        .split(|b| *b == 0)
        .map(|w| String::from_utf8_lossy(w).into_owned())
        .collect();
    let is_gt = words
        .first()
        .is_some_and(|w| w == "gt" || w.ends_with("/gt"));
    if is_gt && words.iter().any(|w| w == "daemon") {
        report.find(
            "go-daemon",
            format!("The Go daemon runs as process {pid}"),
            "Two supervisors fight over the same sessions",
            "gt daemon stop",
        );
    }
}

fn server(report: &mut Report, town: &Town, systemd: Option<&Systemd>) {
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

impl Mend {
    fn apply(&self) -> Result<String> {
        match self {
            Mend::Linger => {
                let user = status::user_name();
                let mut command = Command::new("/usr/bin/loginctl");
                command.args(["--no-ask-password", "enable-linger", &user]);
                // Its exit status says little: only the state counts.
                let said =
                    tools::run(&mut command, VERSION_LIMIT).map_err(|e| anyhow!("loginctl {e}"))?;
                if !status::is_lingering() {
                    bail!(
                        "Failed to enable linger: {}; run 'loginctl enable-linger {user}' as root",
                        said.complaint()
                    );
                }
                Ok(format!("Enabled linger for {user}"))
            }
            Mend::Reload => {
                Systemd::connect()?.reload()?;
                Ok("Reloaded the unit files".into())
            }
            Mend::Spool(dir) => {
                let path = Town::load()?.path(dir);
                fs::create_dir_all(&path)
                    .with_context(|| format!("Failed to make '{}'", path.display()))?;
                let mode = fs::metadata(&path)?.permissions().mode() & 0o755;
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                    .with_context(|| format!("Failed to change '{}'", path.display()))?;
                Ok(format!("Made '{}' fit", path.display()))
            }
            Mend::Timer(name) => {
                let systemd = Systemd::connect()?;
                systemd.run(crate::systemd::Verb::Restart, name, VERSION_LIMIT)?;
                Ok(format!("Restarted {name}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_tmux() {
        for (text, want) in [
            ("tmux 3.3a", Some(33)),
            ("tmux 3.5", Some(35)),
            ("tmux 2.10", Some(29)),
            ("tmux master", None),
            ("screen 4.9", None),
        ] {
            assert_eq!(tmux_version(text), want, "{text}");
        }
    }

    #[test]
    fn a_finding_says_what_why_and_the_command() {
        let mut report = Report::default();
        report.fact("tmux", "/usr/bin/tmux: tmux 3.5a");
        report.find(
            "linger",
            "Linger is off for me",
            "The town ends when you log out",
            "loginctl enable-linger me",
        );
        assert_eq!(
            render(&report, 60, false),
            "      tmux  /usr/bin/tmux: tmux 3.5a\n\n  ! Linger is off for me. The town ends when you log out\n    \
             loginctl enable-linger me\n\n1 finding\n"
        );
        assert!(render(&Report::default(), 60, false).ends_with("Nothing is wrong\n"));
    }

    #[test]
    fn spools_that_are_not_fit_are_found_and_mended() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let mut report = Report::default();
        spools(&mut report, &town);
        assert_eq!(report.findings.len(), SPOOLS.len());
        for dir in SPOOLS {
            fs::create_dir_all(town.path(dir)).unwrap();
            fs::set_permissions(town.path(dir), fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(town.path(SPOOLS[0]), fs::Permissions::from_mode(0o777)).unwrap();
        report = Report::default();
        spools(&mut report, &town);
        assert_eq!(report.findings.len(), 1);
        assert!(report.findings[0].command.starts_with("chmod go-w"));
    }
}

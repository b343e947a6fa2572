//! The tmux server's own service, and what is done when the town starts and stops.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use nix::sys::signal::Signal;

use super::{process, secrets};
use crate::environment;
use crate::exit::Exit;
use crate::files;
use crate::heartbeat::changes;
use crate::spool::SPOOLS;
use crate::systemd::{Systemd, Verb, stop_note};
use crate::tmux::{self, Dress, Pane, Terminal, Tmux};
use crate::tools::gt;
use crate::town::dialect::SOCKET_FILE;
use crate::town::{self, Town, left, poke};

/// The unit of our tmux server.
pub const SERVICE: &str = "gt-tmux.service";

/// The session that keeps the server from being empty, and whose its pane is: no unit instance,
/// and no name that any gt takes for its own.
const PARKED: &str = "gastown";

/// How long a new server may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How often it is asked.
const READY_POLL: Duration = Duration::from_millis(10);

/// How long the tmux service may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// The other directories that path units watch, or that hold marks.
const DIRECTORIES: [&str; 2] = ["daemon/held", "spawn"];

/// Becomes the town's tmux server. If one answers on the socket already, it is used: then this
/// only waits for its end, and fails so that the service is restarted as the server.
///
/// # Errors
/// No town, or tmux cannot be run.
pub fn tmux_server() -> Result<Exit> {
    let town = Town::load()?;
    if let Some(why) = tmux::squatted() {
        bail!("{why}");
    }
    let tmux = server_to_be(&town)?;
    let socket_file = town.path(SOCKET_FILE);
    if town.socket() != tmux.socket() || !files::is_there(&socket_file)? {
        let written = files::write(&socket_file, format!("{}\n", tmux.socket()).as_bytes());
        match written {
            // Without the file the others take the socket that the settings ask for.
            Err(e) if town.socket() == tmux.socket() => log::warn!("{e:#}"),
            written => written?,
        }
    }
    if let Some(pid) = tmux.server()? {
        log::info!(
            "Using the tmux server that already answers on socket '{}' (process {pid})",
            tmux.socket()
        );
        if let Some(end) = process::watch(pid) {
            poll(
                &mut [PollFd::new(end.as_fd(), PollFlags::POLLIN)],
                PollTimeout::NONE,
            )?;
        }
        bail!("The tmux server on socket '{}' has ended", tmux.socket());
    }
    let mut command = tmux.command();
    let error = command
        .arg("-D")
        .current_dir(town::home()?)
        .env_clear()
        .envs(environment::clean().filter(|(key, _)| !is_of_bus(key)))
        .envs(secrets::for_server())
        .exec();
    Err(anyhow!(error).context("Failed to execute tmux; is it installed?"))
}

/// The server that the town is to use. Agents that still run on another one, which the town used
/// before, keep it there; what ended sessions have left is cleared away.
fn server_to_be(town: &Town) -> Result<Tmux> {
    let (old, new) = (town.socket(), town.wanted_socket());
    if old != new {
        let old = Tmux::on(old);
        let mut ours = old.panes()?;
        ours.retain(|pane| pane.owner.is_some());
        if ours.iter().any(|pane| !pane.dead && !is_parked(pane)) {
            return Ok(old);
        }
        for pane in ours {
            old.kill_pane(&pane.id)?;
        }
    }
    Ok(Tmux::on(new))
}

/// Waits until the server answers, gives panes the environment that ours does without, and sees
/// to it that every gt can use it.
///
/// # Errors
/// It does not answer within 30 seconds, or has no room for a session.
pub fn tmux_ready() -> Result<Exit> {
    let town = Town::load()?;
    let tmux = Tmux::on(town.socket());
    let main = std::env::var("MAINPID").ok();
    let main: Option<u32> = main.and_then(|pid| pid.parse().ok());
    let server = wait_for_server(&tmux, main)?;
    // The service may be a mere watcher of somebody else's server.
    if main == Some(server) {
        let bus = std::env::vars().filter(|(key, _)| is_of_bus(OsStr::new(key)));
        tmux.set_global_environment(&bus.collect::<Vec<_>>(), &[])?;
    }
    if town.dialect().needs_session() && tmux.panes()?.is_empty() {
        park(&tmux)?;
    }
    // tmux starts a tick for each new session, so that an agent in it is adopted at once.
    if let Err(e) = tmux.tell_of_sessions(&poke::of_sessions(town.root())) {
        log::warn!("New sessions are found by the next tick only: {e}");
    }
    Ok(Exit::Ok)
}

fn is_parked(pane: &Pane) -> bool {
    pane.owner.as_deref() == Some(PARKED)
}

/// Puts a session of ours on an empty server: gt before v0.5 cannot start anything on one without.
/// No agent runs in it, nobody attaches to it, and it ends with the server.
fn park(tmux: &Tmux) -> Result<()> {
    let argv = ["sleep".to_string(), "infinity".to_string()];
    let terminal = Terminal::Session {
        name: PARKED,
        environment: &[],
        dress: &Dress::default(),
    };
    tmux.open(&terminal, PARKED, false, Path::new("/"), &argv)?;
    Ok(())
}

/// Whether a variable tells a program where the user manager's bus is. Our server does without
/// them: from 3.4 on, tmux asks the manager for a scope for each new pane, which takes time, and
/// takes an agent's process out of its unit again if it comes late. Panes get them all the same.
fn is_of_bus(key: &OsStr) -> bool {
    key == "DBUS_SESSION_BUS_ADDRESS" || key == "XDG_RUNTIME_DIR"
}

/// Waits until a server answers, as long as its process lives, if that is known.
fn wait_for_server(tmux: &Tmux, process: Option<u32>) -> Result<u32> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        if let Some(pid) = tmux.server()? {
            return Ok(pid);
        }
        if process.is_some_and(|pid| process::watch(pid).is_none()) {
            bail!("The tmux server has ended; see 'journalctl --user -u gt-tmux'");
        }
        if Instant::now() >= deadline {
            bail!("The tmux server does not answer; see 'journalctl --user -u gt-tmux'");
        }
        std::thread::sleep(READY_POLL);
    }
}

/// The socket of our server; `None`: the service runs no server.
fn served(systemd: &Systemd) -> Result<Option<String>> {
    let pid = systemd.properties(SERVICE)?.number("MainPID");
    let pid = pid.and_then(|pid| u32::try_from(pid).ok());
    Ok(pid.and_then(process::tmux_socket))
}

/// Whether our server lives and nobody can reach it: something, such as a cleaner of /tmp, has
/// removed its socket. Then it is not known which sessions there are.
///
/// # Errors
/// tmux or the manager does not answer.
pub fn is_lost(systemd: &Systemd, tmux: &Tmux) -> Result<bool> {
    Ok(is_up(systemd)?
        && tmux.server()?.is_none()
        && served(systemd)?.as_deref() == Some(tmux.socket()))
}

/// Has our server make its socket anew where that was removed; tells whether it was.
///
/// # Errors
/// As for [`is_lost`]; or it does not answer all the same.
pub fn find_again(systemd: &Systemd, tmux: &Tmux) -> Result<bool> {
    let is_lost = !tmux.has_socket() && is_lost(systemd, tmux)?;
    if is_lost {
        remake_socket(systemd, tmux)?;
    }
    Ok(is_lost)
}

/// Whether our server has started: one that is just starting has no socket yet, and would die of
/// the signal to make it anew.
fn is_up(systemd: &Systemd) -> Result<bool> {
    let units = systemd.units(&[SERVICE])?;
    let server = units.get(SERVICE);
    Ok(server.is_some_and(|unit| unit.active == "active"))
}

/// A tmux server makes its socket anew on SIGUSR1.
fn remake_socket(systemd: &Systemd, tmux: &Tmux) -> Result<()> {
    if is_up(systemd)? {
        log::warn!("The tmux server's socket was gone, having it made anew");
        systemd.signal_main(SERVICE, Signal::SIGUSR1 as i32)?;
    }
    wait_for_server(tmux, None).map(drop)
}

/// Has a server answer on the socket: one that lost it makes it anew, and where a restart of the
/// whole town has ended it, it is started again.
///
/// # Errors
/// tmux or the manager does not answer, or the service has given up.
pub fn restore_socket(tmux: &Tmux) -> Result<()> {
    if tmux.server()?.is_some() {
        return Ok(());
    }
    let systemd = Systemd::connect()?;
    match served(&systemd)? {
        Some(socket) if socket != tmux.socket() => bail!(
            "{SERVICE} still serves socket '{socket}' of another town; end the sessions there, then run \
             'systemctl --user restart {SERVICE}'"
        ),
        Some(_) => return remake_socket(&systemd, tmux),
        // The service may be a mere watcher, which that signal would end.
        None => {
            let after = systemd.run(Verb::Start, SERVICE, READY_LIMIT * 2)?;
            if after.text("ActiveState").as_deref() == Some("failed") {
                bail!("{SERVICE} has failed, so there is no terminal; run 'gastownctl recover'");
            }
        }
    }
    wait_for_server(tmux, None).map(drop)
}

/// Makes the directories that requests are put into, and forgets what earlier runs of the town
/// counted against its agents: starting a town a few times is no crash loop.
///
/// # Errors
/// There is no town, or a directory cannot be made.
pub fn town_start() -> Result<Exit> {
    gt::refresh();
    let town = Town::load()?;
    for dir in SPOOLS.iter().chain(&DIRECTORIES) {
        files::make_dir(&town.path(dir))?;
    }
    changes::make_directories(&town)?;
    // Made here, so that it is readable by us alone; and now, so that a later tick does not take
    // its appearance for a new session.
    poke::touch(&poke::of_sessions(town.root()));
    if let Some(note) = stop_note() {
        files::remove(&note)?;
    }
    if let Err(e) = files::make_private(&town.path("daemon")) {
        log::warn!("{e:#}, so others can read what is there");
    }
    left::forget_closed(&town)?;
    let systemd = Systemd::connect()?;
    for agent in systemd.units(&["gt-agent@*.service"])?.keys() {
        systemd.reset_failed(agent)?;
    }
    Ok(Exit::Ok)
}

/// Writes down that the town is down, and ends our tmux server, unless somebody else has a session
/// on it. Runs after all agents have ended.
///
/// # Errors
/// An agent is still there, or the server does not stop.
pub fn town_stop() -> Result<Exit> {
    if let Some(note) = stop_note() {
        files::write(&note, b"")?;
    }
    if let Ok(town) = Town::load()
        && let Err(e) = town::state::stopped(&town)
    {
        log::warn!("{e:#}");
    }
    // When the manager itself ends, the bus may go first; then everything ends with it.
    let Ok(systemd) = Systemd::connect() else {
        return Ok(Exit::Ok);
    };
    // The manager may have refused to stop what is frozen.
    let agents = running(&systemd)?.into_iter();
    let stops: Vec<_> = agents
        .map(|agent| systemd.queue_awaited(Verb::Stop, &agent))
        .collect();
    let deadline = Instant::now() + STOP_LIMIT;
    for stop in stops {
        // One that does not stop is told of below, and keeps no other up.
        let limit = deadline.saturating_duration_since(Instant::now());
        if let Err(e) = stop.and_then(|job| systemd.wait(&job, limit)) {
            log::warn!("{e:#}");
        }
    }
    // The server's own word, for the town may be gone by now, or be another one.
    let socket = served(&systemd)?.or_else(|| Some(Town::load().ok()?.socket().to_string()));
    let mut others = Vec::new();
    if let Some(tmux) = socket.map(|socket| Tmux::on(&socket)) {
        let (ours, theirs): (Vec<_>, Vec<_>) = tmux
            .panes()?
            .into_iter()
            .partition(|pane| pane.owner.is_some());
        let ours: Vec<String> = ours.into_iter().map(|pane| pane.id).collect();
        tmux.kill_panes(&ours)?;
        others = theirs;
    }
    let is_ours = |server: u32| systemd.unit_of(server).is_ok_and(|unit| unit == SERVICE);
    match others.first() {
        Some(other) if is_ours(other.server) => log::info!(
            "Leaving the tmux server alone: session '{}' on it is not the town's",
            other.session
        ),
        _ => {
            systemd.run(Verb::Stop, SERVICE, STOP_LIMIT)?;
            // The next start looks anew where the town is to be.
            if let Ok(town) = Town::load() {
                crate::files::remove(&town.path(SOCKET_FILE))?;
            }
        }
    }
    let left = running(&systemd)?;
    if !left.is_empty() {
        bail!("Still running after the stop: {}", left.join(", "));
    }
    Ok(Exit::Ok)
}

fn running(systemd: &Systemd) -> Result<Vec<String>> {
    let units = systemd.units(&["gt-agent@*.service"])?;
    Ok(units
        .into_values()
        .filter(|unit| !unit.is_down())
        .map(|u| u.name)
        .collect())
}

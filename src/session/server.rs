//! The tmux server's own service, and what is done when the town starts and stops.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::process::pidfd_send_signal;

use super::{process, secrets};
use crate::agent::UNITS;
use crate::environment;
use crate::exit::Exit;
use crate::files;
use crate::heartbeat::changes;
use crate::lifecycle;
use crate::spool::SPOOLS;
use crate::systemd::{Systemd, Verb, stop_note};
use crate::tmux::{self, Dress, Pane, Terminal, Tmux, TmuxError};
use crate::tools::gt;
use crate::town::dialect::SOCKET_FILE;
use crate::town::{self, Town, left, poke};

/// The unit of our tmux server.
pub const SERVICE: &str = "gt-tmux.service";

/// The session that keeps the server from being empty, and the owner that its pane is marked with. It
/// is no agent's instance, and no gt takes it for a session of its own.
const PARKED: &str = "gastown";

/// How long a new server may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How long a server whose socket was removed may take to make it anew.
const SOCKET_LIMIT: Duration = Duration::from_secs(10);

/// The pause between two questions whether a server answers.
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
            // Without the file our other programs use the socket that the settings ask for.
            Err(e) if town.socket() == tmux.socket() => log::warn!("{e:#}"),
            written => written?,
        }
    }
    if let Some(pid) = tmux.server()? {
        log::info!(
            "Using the tmux server that already answers on socket '{}' (process {pid})",
            tmux.socket()
        );
        // From these arguments `served` reads which socket that is.
        let mut watch = Command::new(program());
        let watch = watch.args(["tmux-watch", "-L", tmux.socket(), &pid.to_string()]);
        return Err(anyhow!(watch.exec()).context("Failed to execute gt-agent"));
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

/// Watches over a tmux server that was there before the town, and passes the signal on by which a
/// server makes its socket anew.
///
/// # Errors
/// The server has ended, so that the service is restarted as the server; or it cannot be watched.
pub fn tmux_watch(socket: &str, pid: u32) -> Result<Exit> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGUSR1);
    set.thread_block()?;
    let asked = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?;
    while let Some(server) = process::watch(pid)? {
        let mut fds = [
            PollFd::new(server.as_fd(), PollFlags::POLLIN),
            PollFd::new(asked.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut fds, PollTimeout::NONE)?;
        if fds[0].any().unwrap_or_default() {
            break;
        }
        asked.read_signal()?;
        pidfd_send_signal(&server, rustix::process::Signal::USR1)?;
    }
    bail!("The tmux server on socket '{socket}' has ended");
}

/// This program, by the path it was started with, which stays good when a package upgrade replaces
/// the file.
pub(super) fn program() -> String {
    std::env::args().next().unwrap_or_default()
}

/// The server that the town is to use. While agents still run on the one that the town used before,
/// it is that one; else the panes that ended agents have left there are closed.
fn server_to_be(town: &Town) -> Result<Tmux> {
    let (old, new) = (town.socket(), town.wanted_socket());
    if old != new {
        let old = Tmux::on(old);
        let mut ours = old.panes()?;
        ours.retain(|pane| pane.owner.is_some());
        if ours.iter().any(|pane| !pane.dead && !is_parked(pane)) {
            return Ok(old);
        }
        old.kill_panes(&ids(&ours))?;
    }
    Ok(Tmux::on(new))
}

/// Waits until the server answers, gives new panes the variables that our server itself does without,
/// and sees to it that every gt can use the server.
///
/// # Errors
/// The server does not answer within 30 seconds, or has no room for a session.
pub fn tmux_ready() -> Result<Exit> {
    let town = Town::load()?;
    let tmux = Tmux::on(town.socket());
    let main = std::env::var("MAINPID").ok();
    let main: Option<u32> = main.and_then(|pid| pid.parse().ok());
    let server = wait_for_server(&tmux, main, READY_LIMIT)?;
    // The service may be a mere watcher of somebody else's server.
    if main == Some(server) {
        let bus = std::env::vars().filter(|(key, _)| is_of_bus(OsStr::new(key)));
        tmux.set_global_environment(&bus.collect::<Vec<_>>(), &[])?;
    }
    if town.dialect().needs_session() && tmux.panes()?.is_empty() {
        park(&tmux)?;
    }
    // A tick is started for each new session, so that an agent in it is adopted at once.
    let file = poke::of_sessions(town.root());
    let tell = [&program(), "session-made", &file.to_string_lossy()];
    if let Err(e) = tmux.tell_of_sessions(&tell) {
        log::warn!("New sessions are found by the next tick only: {e}");
    }
    Ok(Exit::Ok)
}

fn is_parked(pane: &Pane) -> bool {
    pane.owner.as_deref() == Some(PARKED)
}

/// Puts a session of ours on an empty server, where gt before v0.5 cannot start anything.
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

/// Waits until a server answers, as long as its process lives, if that is known: that is ours.
fn wait_for_server(tmux: &Tmux, process: Option<u32>, limit: Duration) -> Result<u32> {
    let deadline = Instant::now() + limit;
    let answer = || process.map_or_else(|| tmux.server(), |own| tmux.lasting_server(own));
    loop {
        match answer() {
            Ok(Some(pid)) => return Ok(pid),
            // A server that has much to do, or just begins, may answer the next time.
            Err(e) if Instant::now() >= deadline => return Err(e.into()),
            Ok(None) | Err(_) => {}
        }
        if process.is_some_and(process::has_ended) {
            bail!("The tmux server has ended; see 'journalctl --user -u gt-tmux'");
        }
        if Instant::now() >= deadline {
            return Err(TmuxError::NoServer)
                .context("The tmux server does not answer; see 'journalctl --user -u gt-tmux'");
        }
        std::thread::sleep(READY_POLL);
    }
}

/// The socket of our server, or of the one that our service watches; `None`: the service does not run.
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

/// Has our server make its socket anew if something has removed it; tells whether it was removed.
///
/// # Errors
/// As for [`is_lost`]; or the server does not answer all the same.
pub fn find_again(systemd: &Systemd, tmux: &Tmux) -> Result<bool> {
    let was_lost = !tmux.is_listening() && is_lost(systemd, tmux)?;
    if was_lost {
        remake_socket(systemd, tmux)?;
    }
    Ok(was_lost)
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
    let mut limit = READY_LIMIT;
    if is_up(systemd)? {
        log::warn!("The tmux server's socket was gone, having it made anew");
        systemd.signal_main(SERVICE, Signal::SIGUSR1 as i32)?;
        limit = SOCKET_LIMIT;
    }
    wait_for_server(tmux, None, limit).map(drop)
}

/// Sees to it that a server answers on the socket: one that lost its socket makes it anew, and one
/// that has ended, as in a restart of the whole town, is started again.
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
        None => {
            let after = systemd.run(Verb::Start, SERVICE, READY_LIMIT * 2)?;
            if after.text("ActiveState").as_deref() == Some("failed") {
                return Err(TmuxError::NoServer).context(format!(
                    "{SERVICE} has failed, so there is no terminal; run 'gastownctl recover'"
                ));
            }
        }
    }
    wait_for_server(tmux, None, READY_LIMIT).map(drop)
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
    lifecycle::forget_read(&town)?;
    let systemd = Systemd::connect()?;
    for agent in systemd.units(&[UNITS])?.keys() {
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
    // A step that fails does not keep the others from being done; all failures are told in the end.
    let mut failures = Vec::new();
    if let Some(note) = stop_note() {
        keep(&mut failures, files::write(&note, b""));
    }
    if let Ok(town) = Town::load()
        && let Err(e) = town::state::stopped(&town)
    {
        log::warn!("{e:#}");
    }
    // When the manager itself ends, the bus may go first; then everything ends with it.
    let Ok(systemd) = Systemd::connect() else {
        return told(&failures);
    };
    // The manager may have refused to stop what is frozen.
    let agents = keep(&mut failures, running(&systemd)).unwrap_or_default();
    let stops: Vec<_> = agents
        .into_iter()
        .map(|agent| systemd.queue_awaited(Verb::Stop, &agent))
        .collect();
    let deadline = Instant::now() + STOP_LIMIT;
    for stop in stops {
        // An agent that does not stop is told of below; the others are waited for all the same.
        let limit = deadline.saturating_duration_since(Instant::now());
        if let Err(e) = stop.and_then(|job| systemd.wait(&job, limit)) {
            log::warn!("{e:#}");
        }
    }
    // By the server's arguments, for the town may be gone by now, or be another one.
    let socket = keep(&mut failures, served(&systemd)).flatten();
    let socket = socket.or_else(|| Some(Town::load().ok()?.socket().to_string()));
    let other = socket.map_or(Ok(None), |socket| close_ours(&systemd, &Tmux::on(&socket)));
    match other {
        Ok(Some(other)) => {
            log::info!("Leaving the tmux server alone: session '{other}' on it is not the town's")
        }
        Ok(None) => {
            let stopped = systemd.run(Verb::Stop, SERVICE, STOP_LIMIT);
            // The next start decides anew which socket the town uses.
            if keep(&mut failures, stopped).is_some()
                && let Ok(town) = Town::load()
            {
                keep(&mut failures, files::remove(&town.path(SOCKET_FILE)));
            }
        }
        Err(e) => failures.push(format!(
            "{e:#}, so it is not known whose sessions the tmux server has, and it is left alone; \
             'systemctl --user stop {SERVICE}' ends it"
        )),
    }
    let left = keep(&mut failures, running(&systemd)).unwrap_or_default();
    if !left.is_empty() {
        failures.push(format!("Still running after the stop: {}", left.join(", ")));
    }
    told(&failures)
}

/// The result, if there is one; else adds the error to the failures.
fn keep<T>(failures: &mut Vec<String>, result: Result<T>) -> Option<T> {
    let kept = result.map_err(|e| failures.push(format!("{e:#}")));
    kept.ok()
}

fn told(failures: &[String]) -> Result<Exit> {
    match failures {
        [] => Ok(Exit::Ok),
        _ => bail!("{}", failures.join("; ")),
    }
}

/// Closes the town's panes on a server; gives the session of somebody else that keeps a server of
/// ours up.
fn close_ours(systemd: &Systemd, tmux: &Tmux) -> Result<Option<String>> {
    // Nobody can see the sessions of a server whose socket is gone.
    find_again(systemd, tmux)?;
    let (ours, others): (Vec<_>, Vec<_>) = tmux
        .panes()?
        .into_iter()
        .partition(|pane| pane.owner.is_some());
    tmux.kill_panes(&ids(&ours))?;
    let may_be_on_ours = |other: &Pane| !process::is_outside(other.server, SERVICE);
    let mut others = others.into_iter().filter(may_be_on_ours);
    Ok(others.next().map(|other| other.session))
}

fn ids(panes: &[Pane]) -> Vec<(&str, u32)> {
    panes.iter().map(|p| (p.id.as_str(), p.server)).collect()
}

fn running(systemd: &Systemd) -> Result<Vec<String>> {
    let units = systemd.units(&[UNITS])?;
    Ok(units
        .into_values()
        .filter(|unit| !unit.is_down())
        .map(|u| u.name)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stop_of_a_town_has_room_for_all_its_limits() {
        let unit = include_str!("../../units/gt-town.service");
        let line = unit.lines().find_map(|l| l.strip_prefix("TimeoutStopSec="));
        let limit = Duration::from_secs(line.unwrap().trim_end_matches('s').parse().unwrap());
        let tmux = SOCKET_LIMIT + 2 * tmux::LIMIT;
        assert!(limit > STOP_LIMIT + tmux + STOP_LIMIT);
    }
}

//! The tmux server's own service, and what is done when the town starts and stops.

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{clean_environment, process};
use crate::exit::Exit;
use crate::systemd::{Systemd, Verb};
use crate::tmux::Tmux;
use crate::town::{self, Town};

/// The unit of our tmux server.
const SERVICE: &str = "gt-tmux.service";

/// How long a new server may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// How often it is asked.
const READY_POLL: Duration = Duration::from_millis(10);

/// How long the tmux service may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// The directories that producers write to and path units watch.
const DIRECTORIES: &[&str] = &[
    "daemon/held",
    "daemon/lifecycle/new",
    "daemon/lifecycle/cur",
    "daemon/lifecycle/failed",
    "daemon/spawn/new",
    "daemon/spawn/cur",
    "daemon/spawn/failed",
    "deacon",
    "spawn",
];

/// Becomes the town's tmux server. If one answers on the socket already, it is used: then this
/// only waits for its end, and fails so that the service is restarted as the server.
///
/// # Errors
/// No town, or tmux cannot be run.
pub fn tmux_server() -> Result<Exit> {
    let town = Town::load()?;
    let tmux = Tmux::on(town.socket());
    if let Some(pid) = tmux.server()? {
        log::info!(
            "Using the tmux server that already answers on socket '{}' (process {pid})",
            town.socket()
        );
        if let Some(end) = process::watch(pid) {
            poll(
                &mut [PollFd::new(end.as_fd(), PollFlags::POLLIN)],
                PollTimeout::NONE,
            )?;
        }
        bail!("The tmux server on socket '{}' has ended", town.socket());
    }
    let mut command = tmux.command();
    let error = command
        .arg("-D")
        .current_dir(town::home()?)
        .env_clear()
        .envs(clean_environment())
        .exec();
    Err(anyhow!(error).context("Failed to execute tmux; is it installed?"))
}

/// Waits until the server answers.
///
/// # Errors
/// It does not within ten seconds.
pub fn tmux_ready() -> Result<Exit> {
    let town = Town::load()?;
    let tmux = Tmux::on(town.socket());
    let deadline = Instant::now() + READY_LIMIT;
    while tmux.server()?.is_none() {
        if Instant::now() >= deadline {
            bail!(
                "No tmux server answers on socket '{}'; see 'journalctl --user -u gt-tmux'",
                town.socket()
            );
        }
        std::thread::sleep(READY_POLL);
    }
    Ok(Exit::Ok)
}

/// Makes the directories that requests are put into.
///
/// # Errors
/// There is no town, or a directory cannot be made.
pub fn town_start() -> Result<Exit> {
    let town = Town::load()?;
    if !town.root().is_dir() {
        return Err(anyhow!(
            "There is no town at '{}'; make one, or name another by GT_TOWN_ROOT in \
             ~/.config/gastown/town.env and run 'systemctl --user daemon-reload'",
            town.root().display()
        )
        .context(Exit::BadConfig));
    }
    for dir in DIRECTORIES {
        let path = town.path(dir);
        std::fs::create_dir_all(&path)
            .with_context(|| format!("Failed to make directory '{}'", path.display()))?;
    }
    Ok(Exit::Ok)
}

/// Ends our tmux server, unless somebody else has a session on it. Runs after all agents.
///
/// # Errors
/// An agent is still there, or the server does not stop.
pub fn town_stop() -> Result<Exit> {
    let systemd = Systemd::connect()?;
    let tmux = Tmux::on(Town::load()?.socket());
    let (ours, others): (Vec<_>, Vec<_>) =
        tmux.panes()?.into_iter().partition(|p| p.owner.is_some());
    for pane in ours {
        tmux.kill_pane(&pane.id)?;
    }
    let is_ours = |server: u32| systemd.unit_of(server).is_ok_and(|unit| unit == SERVICE);
    match others.first() {
        Some(other) if is_ours(other.server) => log::info!(
            "Leaving the tmux server alone: session '{}' on it is not the town's",
            other.session
        ),
        _ => {
            systemd.run(Verb::Stop, SERVICE, STOP_LIMIT)?;
        }
    }
    let left = systemd.units(&["gt-agent@*.service"])?;
    let left: Vec<&str> = left
        .values()
        .filter(|u| !matches!(u.active.as_str(), "inactive" | "failed"))
        .map(|u| u.name.as_str())
        .collect();
    if !left.is_empty() {
        bail!("Still running after the stop: {}", left.join(", "));
    }
    Ok(Exit::Ok)
}

//! How an agent is started: a pane, its process in the unit, the release.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::Run;
use crate::journal;
use crate::session::exec::Release;
use crate::session::server;
use crate::systemd::{Systemd, runtime_dir};
use crate::terminal::Reader;
use crate::tmux::{Pane, Terminal, Words};
use crate::tools;
use crate::town::poke;
use crate::zone;

/// How long the pane may take to call back, and an exec to succeed or fail.
pub(super) const START_LIMIT: Duration = Duration::from_secs(20);

/// How often we look whether a pane that does not call back is still there.
const CALL_POLL: Duration = Duration::from_millis(500);

impl Run {
    /// Has `gt-agent exec` run in a terminal, moves it into the unit, releases it, and waits until
    /// it is the agent.
    pub(super) fn start(&mut self, terminal: &Terminal<'_>) -> Result<()> {
        let (listener, path) = listen()?;
        let argv = exec_command(&self.instance, &path);
        let (dir, names_pane) = (&self.dir, self.names_pane);
        let opened = self
            .tmux
            .open(terminal, &self.instance, names_pane, dir, &argv);
        let called = opened.map_err(anyhow::Error::from).and_then(|pane| {
            // Meanwhile the pane's process begins.
            let systemd = self.systemd.take().map_or_else(Systemd::connect, Ok)?;
            let (stream, pane) = self.await_call(&listener, pane)?;
            Ok((systemd, stream, pane))
        });
        let _ = std::fs::remove_file(&path);
        let (systemd, mut stream, pane) = called?;
        let pid = pane.pid;
        self.pane = pane.id.clone();
        self.attach(&systemd, &[pid])?;
        self.watch(&pane, pid);
        if self.names_pane {
            self.launch.env.insert("GT_PANE_ID".into(), pane.id);
        }
        let words = self
            .words
            .on(self.occasion, &Timestamp::now().to_zoned(zone::local()));
        let mut line = serde_json::to_string(&Release {
            argv: self.launch.command(&words),
            env: self.launch.env.clone(),
            dir: self.dir.clone(),
        })?;
        line.push('\n');
        if self.launch.types_words() {
            self.note_words(pid, &words)?;
        }
        stream.set_write_timeout(Some(START_LIMIT))?;
        stream.set_read_timeout(Some(START_LIMIT))?;
        stream.write_all(line.as_bytes())?;
        let mut complaint = String::new();
        stream
            .read_to_string(&mut complaint)
            .context("The pane did not become the agent in time")?;
        if !complaint.is_empty() {
            return Err(anyhow!(complaint));
        }
        self.ready();
        log::info!(message_id = journal::AGENT_STARTED, gt_agent:% = self.agent,
            gt_session = self.session.as_str(), gt_pid = pid;
            "{} runs as process {pid} in session '{}'", self.agent, self.session);
        if self.launch.types_words() {
            poke::heartbeat(Path::new(&self.town));
        }
        Ok(())
    }

    /// Leaves the first words for the ticks, which type them once the program waits for them.
    fn note_words(&self, pid: u32, words: &str) -> Result<()> {
        let delay = match Reader::of(&self.launch.appearance).is_blind() {
            true => self.launch.ready_delay(),
            false => Duration::ZERO,
        };
        let text = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let after = Timestamp::now() + delay;
        let words = Words { text, after };
        Ok(self.tmux.note_words(&self.pane, pid, &words)?)
    }

    /// Waits until the pane's process calls; calls of other processes are dropped.
    fn await_call(&self, listener: &UnixListener, mut pane: Pane) -> Result<(UnixStream, Pane)> {
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline {
            let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, tools::timeout(CALL_POLL))? == 0 {
                match self.tmux.pane(&pane.id)? {
                    Some(found) if !found.dead => pane = found,
                    _ => bail!("the pane in session '{}' ended at once", self.names.session),
                }
                continue;
            }
            let (stream, _) = listener.accept()?;
            let peer = getsockopt(&stream, PeerCredentials)?;
            let is_us = peer.uid() == nix::unistd::geteuid().as_raw();
            if is_us && u32::try_from(peer.pid()) == Ok(pane.pid) {
                return Ok((stream, pane));
            }
        }
        bail!(
            "the pane in session '{}' did not call back",
            self.names.session
        );
    }
}

/// A socket in the user's runtime directory, whose name has room in a socket address whatever
/// the agent is called.
fn listen() -> Result<(UnixListener, PathBuf)> {
    let dir = runtime_dir()
        .context("No runtime directory; is this a user service?")?
        .join("gastown");
    match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => {
            return Err(e).with_context(|| format!("Failed to make '{}'", dir.display()));
        }
        _ => {}
    }
    let path = dir.join(format!("{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)
        .with_context(|| format!("Failed to listen on '{}'", path.display()))?;
    Ok((listener, path))
}

/// The pane's command.
fn exec_command(instance: &str, socket: &Path) -> Vec<String> {
    vec![
        server::program(),
        "exec".into(),
        instance.into(),
        socket.to_string_lossy().into_owned(),
    ]
}

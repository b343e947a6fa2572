//! `gt-agent run`: the main process of an agent's service.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Pid;
use sd_notify::NotifyState;

use super::exec::Release;
use super::process::{self, Head};
use super::server;
use crate::agent::{Agent, Role};
use crate::exit::Exit;
use crate::journal;
use crate::lifecycle::{self, Action, Worktree};
use crate::systemd::{Systemd, runtime_dir};
use crate::tmux::{Pane, Tmux};
use crate::tools;
use crate::town::{Era, Town, marks};

/// How long the pane may take to call back, and an exec to succeed or fail.
const START_LIMIT: Duration = Duration::from_secs(20);

/// How long tmux may take to collect the status of a process that has ended.
const REAP_LIMIT: Duration = Duration::from_secs(3);

/// How often it is asked for it.
const REAP_POLL: Duration = Duration::from_millis(10);

/// After this an agent that ignored SIGTERM gets SIGHUP, which interactive shells heed.
const HANGUP_AFTER: Duration = Duration::from_secs(3);

/// After this it gets SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// More clean exits than this within [`CLEAN_WINDOW`] are a failure.
const CLEAN_EXITS: usize = 30;

/// See [`CLEAN_EXITS`].
const CLEAN_WINDOW: Duration = Duration::from_secs(60);

/// How many rounds it takes at most to move a tree that forks meanwhile.
const MOVE_ROUNDS: usize = 10;

/// How much of the screen is kept when an agent ends, in lines.
const SCREEN_LINES: usize = 20;

/// How an agent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Exited(i32),
    Killed(i32),
    OutOfMemory,
    /// Nobody told the status; why.
    Unknown(&'static str),
}

impl End {
    /// What our own exit status says of it: the same, 128 + n for signal n, 1 if unknown.
    fn status(&self) -> u8 {
        match self {
            End::Exited(status) => u8::try_from(*status).unwrap_or(1),
            End::Killed(signal) => u8::try_from(128 + signal).unwrap_or(1),
            End::OutOfMemory => 128 + Signal::SIGKILL as u8,
            End::Unknown(_) => 1,
        }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::Exited(status) => write!(f, "ended with status {status}"),
            End::Killed(signal) => match Signal::try_from(*signal) {
                Ok(name) => write!(f, "was ended by {name}"),
                Err(_) => write!(f, "was ended by signal {signal}"),
            },
            End::OutOfMemory => f.write_str("ran out of memory: the kernel killed a process of it"),
            End::Unknown(why) => write!(f, "ended: {why}"),
        }
    }
}

/// By a person, or by a tool that ends an agent by its session.
const CLOSED: End = End::Unknown("its pane was closed");

/// What woke us.
enum Event {
    Stop,
    AgentEnded,
    ServerEnded,
}

/// What the pane shows after the watched process has ended.
enum After {
    /// Somebody else, such as `gt handoff`, started another process in it.
    Respawned(u32),
    Ended(End),
}

/// Where an agent's pane is, or is to be.
enum Place {
    /// Here, with this process at work in it.
    Running(Pane, u32),
    /// This pane is left of it.
    Dead(String),
    /// Its session is there, without a pane for it.
    Window,
    /// It has no session.
    Nowhere,
}

struct Run {
    agent: Agent,
    instance: String,
    unit: String,
    session: String,
    /// The environment of the session itself, for what people start in it.
    identity: Vec<(String, String)>,
    /// The town's root, as text.
    town: String,
    /// Whether the town's era tells an agent its pane.
    names_pane: bool,
    release: Release,
    tmux: Tmux,
    signals: SignalFd,
    pane: String,
    /// The process whose end is the agent's end.
    pid: u32,
    server: u32,
    /// What [`process::oom_kills`] said at the start.
    oom_kills: u64,
}

/// Runs an agent until it ends or is to be stopped; gives the exit status for systemd.
///
/// # Errors
/// The agent could not be started, or its terminal failed.
pub fn run(instance: &str) -> Result<u8> {
    let run = prepared_and_run(instance);
    if let Err(e) = &run {
        let _ = sd_notify::notify(&[NotifyState::Status(&format!("{e:#}"))]);
    }
    run
}

fn prepared_and_run(instance: &str) -> Result<u8> {
    let signals = catch_signals()?;
    let town = Town::load()?;
    let agent = Agent::from_instance(instance)
        .with_context(|| format!("'{instance}' is not an agent"))
        .context(Exit::BadConfig)?;
    let launch = town.launch(&agent)?;
    let mut env = launch.env;
    let identity = town.environment(&agent).into_iter().collect();
    if let (Era::Current, Ok(id)) = (town.era(), std::env::var("INVOCATION_ID")) {
        env.insert("GT_RUN".into(), id);
    }
    let asked = lifecycle::asked(&town, &agent);
    if asked == Some(Action::Cycle) {
        env.insert("GT_HANDOFF".into(), "1".into());
    }
    let worktree = Worktree::of(&town, &agent, asked.is_some());
    let mut run = Run {
        unit: agent.unit(),
        instance: instance.to_string(),
        session: town.session(&agent),
        identity,
        town: town.root().display().to_string(),
        names_pane: town.era() == Era::Current,
        release: Release {
            argv: launch.argv,
            env,
            dir: town.workdir(&agent),
        },
        tmux: Tmux::on(town.socket()),
        signals,
        pane: String::new(),
        pid: 0,
        server: 0,
        oom_kills: process::oom_kills(),
        agent,
    };
    let waits = marks::waiting_path(&town, &run.agent);
    drop(town);
    crate::files::remove(&waits)?;
    match run.begin(asked.is_some(), worktree.as_ref()) {
        Ok(true) => {}
        Ok(false) => return Ok(0),
        Err(e) => {
            let reason = format!("{e:#}");
            let _ = sd_notify::notify(&[NotifyState::Status(&reason)]);
            log::error!(message_id = journal::AGENT_NOT_STARTED, gt_agent:% = run.agent, gt_reason = reason.as_str();
                "{} could not be started: {reason}", run.agent);
            return Ok(127);
        }
    }
    let status = run.supervise()?;
    // The manager forgets a unit that is down and has not failed, so its status is kept here.
    if status == Exit::TryAgain as u8 {
        crate::files::write(&waits, format!("{}\n", jiff::Timestamp::now()).as_bytes())?;
    }
    Ok(status)
}

/// What the unit says of itself while its agent runs.
fn status_text(pid: u32, session: &str, root: &str) -> String {
    format!("Process {pid} in session '{session}' of town '{root}'")
}

/// The root of the town that a unit runs for, by what it says of itself; `None`: it does not say.
pub fn town_of(status_text: &str) -> Option<&str> {
    // A session's name has no quotes, a root may.
    let (_, root) = status_text.split_once("' of town '")?;
    root.strip_suffix('\'')
}

fn catch_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).context("Failed to catch signals")
}

impl Run {
    /// Finds the agent's place and has a process in it that belongs to the unit; `false`: we are
    /// to stop again already. Whoever was `asked` for a new one does not get the old one.
    fn begin(&mut self, asked: bool, worktree: Option<&Worktree>) -> Result<bool> {
        let mut place = self.place()?;
        if let (Place::Running(pane, pid), true) = (&place, asked) {
            self.take_over(pane, *pid)?;
            self.end_agent();
            self.end_leftovers()?;
            place = self.place()?;
        }
        if let (Some(worktree), Place::Running(..)) = (worktree, &place) {
            worktree.leave();
        } else if let Some(worktree) = worktree {
            self.sync(worktree);
            if self.is_to_stop() {
                return Ok(false);
            }
            place = self.place()?;
        }
        match place {
            Place::Running(pane, pid) => self.adopt(&pane, pid)?,
            Place::Dead(pane) => self.respawn(&pane)?,
            Place::Window => self.start(|run, argv| {
                run.tmux
                    .new_first_window(&run.session, &run.release.dir, argv)
            })?,
            Place::Nowhere => self.start(|run, argv| {
                run.tmux
                    .new_session(&run.session, &run.release.dir, &run.identity, argv)
            })?,
        }
        Ok(true)
    }

    fn place(&self) -> Result<Place> {
        let mut panes = self.tmux.panes()?;
        if panes.is_empty() {
            server::restore_socket(&self.tmux)?;
            panes = self.tmux.panes()?;
        }
        let is_ours = |p: &&Pane| p.owner.as_ref() == Some(&self.instance);
        if let Some(pane) = panes.iter().find(is_ours) {
            return Ok(match process::head(pane.pid) {
                Head::Process(pid) if !pane.dead => Place::Running(pane.clone(), pid),
                _ => Place::Dead(pane.id.clone()),
            });
        }
        let Some(first) = panes.iter().find(|p| p.session == self.session) else {
            return Ok(Place::Nowhere);
        };
        match &first.home {
            Some(other) if *other != self.instance => bail!(
                "session '{}' is that of {} already; rename one of the two",
                self.session,
                Agent::from_instance(other).map_or_else(|_| other.clone(), String::from)
            ),
            None if first.dead => Ok(Place::Dead(first.id.clone())),
            None if let Head::Process(pid) = process::head(first.pid) => {
                Ok(Place::Running(first.clone(), pid))
            }
            // An idle shell, or what people opened beside a pane of ours that is gone.
            _ => Ok(Place::Window),
        }
    }

    /// Brings the worktree up to date while nobody works in it.
    fn sync(&self, worktree: &Worktree) {
        let limit = (worktree.limit() + START_LIMIT * 2).as_micros();
        let _ = sd_notify::notify(&[
            NotifyState::Status("Bringing the worktree up to date"),
            NotifyState::ExtendTimeoutUsec(u32::try_from(limit).unwrap_or(u32::MAX)),
        ]);
        worktree.sync(self.signals.as_fd());
    }

    fn is_to_stop(&self) -> bool {
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|n| n > 0)
    }

    fn respawn(&mut self, pane: &str) -> Result<()> {
        self.start(|run, argv| {
            run.tmux
                .respawn(pane, &run.release.dir, argv)
                .map(|()| pane.to_string())
        })
    }

    /// Has `gt-agent exec` run in a pane that `open` gives, moves it into the unit, releases it,
    /// and waits until it is the agent.
    fn start<F>(&mut self, open: F) -> Result<()>
    where
        F: FnOnce(&Run, &[String]) -> Result<String, crate::tmux::TmuxError>,
    {
        let (listener, path) = listen()?;
        let opened = open(self, &exec_command(&self.instance, &path));
        let stream = opened.map_err(anyhow::Error::from).and_then(|pane| {
            if self.pane != pane {
                self.tmux.own(&pane, &self.instance)?;
                self.pane = pane;
            }
            self.await_call(&listener)
        });
        let _ = std::fs::remove_file(&path);
        let (mut stream, pane) = stream?;
        let pid = pane.pid;
        Systemd::connect()?.attach(&self.unit, &[pid])?;
        self.watch(&pane, pid);
        if self.names_pane {
            self.name_pane()?;
        }
        let mut line = serde_json::to_string(&self.release)?;
        line.push('\n');
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
        log::info!(message_id = journal::AGENT_STARTED, gt_agent:% = self.agent,
            gt_session = self.session.as_str(), gt_pid = pid;
            "{} runs as process {pid} in session '{}'", self.agent, self.session);
        self.ready();
        Ok(())
    }

    /// Tools of the current era look for the agent's pane in these two places.
    fn name_pane(&mut self) -> Result<()> {
        let (key, pane) = ("GT_PANE_ID", self.pane.clone());
        if let Some(pane) = self.tmux.pane(&pane)? {
            self.tmux.set_environment(&pane.session, key, &pane.id)?;
        }
        self.release.env.insert(key.into(), pane);
        Ok(())
    }

    fn await_call(&self, listener: &UnixListener) -> Result<(UnixStream, Pane)> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let wait = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, tools::timeout(wait))? == 0 {
                bail!("the pane in session '{}' did not call back", self.session);
            }
            let (stream, _) = listener.accept()?;
            let peer = getsockopt(&stream, PeerCredentials)?;
            let pid = u32::try_from(peer.pid()).unwrap_or(0);
            let pane = self.tmux.pane(&self.pane)?;
            let is_us = peer.uid() == nix::unistd::geteuid().as_raw();
            if let Some(pane) = pane.filter(|p| is_us && p.pid == pid) {
                return Ok((stream, pane));
            }
        }
    }

    /// Takes over what already runs in a pane: nothing is restarted.
    fn adopt(&mut self, pane: &Pane, pid: u32) -> Result<()> {
        self.take_over(pane, pid)?;
        log::info!(message_id = journal::AGENT_ADOPTED, gt_agent:% = self.agent,
            gt_session = pane.session.as_str(), gt_pid = pid;
            "{} was running in session '{}' already; adopted process {pid}", self.agent, pane.session);
        self.ready();
        Ok(())
    }

    fn take_over(&mut self, pane: &Pane, pid: u32) -> Result<()> {
        self.pane = pane.id.clone();
        self.tmux.own(&pane.id, &self.instance)?;
        self.watch(pane, pid);
        self.move_in(pane.pid)
    }

    /// Moves what runs in our pane into the unit, until none of it is left outside.
    fn move_in(&self, root: u32) -> Result<()> {
        let systemd = Systemd::connect()?;
        let mut failure = None;
        for _ in 0..MOVE_ROUNDS {
            let outside: Vec<u32> = process::pane_members(root, &self.pane, self.server)
                .into_iter()
                .filter(|&pid| !process::is_in(pid, &self.unit))
                .collect();
            if outside.is_empty() {
                return Ok(());
            }
            // One that has ended meanwhile spoils the whole call; the next round has it no more.
            failure = systemd.attach(&self.unit, &outside).err();
        }
        match failure {
            Some(e) => Err(e),
            None => bail!("process {root} forks faster than it can be moved"),
        }
    }

    fn watch(&mut self, pane: &Pane, pid: u32) {
        self.pid = pid;
        self.server = pane.server;
    }

    fn ready(&self) {
        let status = status_text(self.pid, &self.session, &self.town);
        let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// Waits for ends until one is final.
    fn supervise(&mut self) -> Result<u8> {
        let mut clean: VecDeque<Instant> = VecDeque::new();
        loop {
            match self.next_event()? {
                Event::Stop => return self.stop(),
                Event::ServerEnded => {
                    self.end_agent();
                    self.report(&End::Unknown("the tmux server has gone"));
                    return Ok(1);
                }
                Event::AgentEnded => {}
            }
            let end = match self.after_end()? {
                After::Respawned(pid) => {
                    self.pid = pid;
                    self.move_in(pid)?;
                    log::info!(message_id = journal::AGENT_ADOPTED, gt_agent:% = self.agent,
                        gt_session = self.session.as_str(), gt_pid = pid;
                        "{} was started anew in its pane by somebody else; adopted process {pid}", self.agent);
                    self.ready();
                    continue;
                }
                After::Ended(end) => end,
            };
            self.report(&end);
            // A polecat has no patrol to go on with: its work is done, or somebody has closed its
            // session to be rid of it.
            let is_final = matches!(self.agent.role(), Role::Polecat | Role::Dog | Role::Boot);
            if is_final && matches!(end, End::Exited(0) | CLOSED) {
                self.tmux.kill_pane(&self.pane)?;
                return Ok(0);
            }
            if end != End::Exited(0) {
                return Ok(end.status());
            }
            let now = Instant::now();
            clean.push_back(now);
            clean.retain(|&t| now - t < CLEAN_WINDOW);
            if clean.len() > CLEAN_EXITS {
                log::error!(message_id = journal::AGENT_NOT_STARTED, gt_agent:% = self.agent;
                    "{} ended cleanly more than {CLEAN_EXITS} times within a minute", self.agent);
                return Ok(1);
            }
            self.end_leftovers()?;
            let pane = self.pane.clone();
            self.release.env.remove("GT_HANDOFF");
            self.respawn(&pane)?;
        }
    }

    fn next_event(&self) -> Result<Event> {
        let (agent, server) = (process::watch(self.pid), process::watch(self.server));
        let Some(server) = server else {
            return Ok(Event::ServerEnded);
        };
        let Some(agent) = agent else {
            return Ok(Event::AgentEnded);
        };
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(server.as_fd(), PollFlags::POLLIN),
            PollFd::new(agent.as_fd(), PollFlags::POLLIN),
        ];
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => break,
                Err(nix::errno::Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        let hit = |i: usize| fds[i].any().unwrap_or(false);
        Ok(if hit(0) {
            Event::Stop
        } else if hit(1) {
            Event::ServerEnded
        } else {
            Event::AgentEnded
        })
    }

    /// Asks tmux how the agent ended; tmux learns it a moment after us.
    fn after_end(&self) -> Result<After> {
        let deadline = Instant::now() + REAP_LIMIT;
        loop {
            let Some(pane) = self.tmux.pane(&self.pane)? else {
                return Ok(After::Ended(CLOSED));
            };
            match (pane.signal, pane.status) {
                (Some(signal), _) => {
                    let is_oom =
                        signal == Signal::SIGKILL as i32 && process::oom_kills() > self.oom_kills;
                    return Ok(After::Ended(if is_oom {
                        End::OutOfMemory
                    } else {
                        End::Killed(signal)
                    }));
                }
                (None, Some(status)) => return Ok(After::Ended(End::Exited(status))),
                (None, None) if pane.dead => self.have_reaped(),
                (None, None) => {}
            }
            if !pane.dead && pane.pid != self.pid && process::watch(self.pid).is_none() {
                return Ok(match process::head(pane.pid) {
                    Head::Process(pid) if pid == pane.pid => After::Respawned(pid),
                    _ => After::Ended(End::Unknown("it left its shell")),
                });
            }
            if Instant::now() >= deadline {
                return Ok(After::Ended(End::Unknown("tmux does not know its status")));
            }
            std::thread::sleep(REAP_POLL);
        }
    }

    /// tmux 3.3 misses the SIGCHLD at times, and leaves a zombie behind.
    fn have_reaped(&self) {
        let _ = kill(Pid::from_raw(self.server.cast_signed()), Signal::SIGCHLD);
    }

    fn report(&self, end: &End) {
        let screen = self
            .tmux
            .screen(&self.pane, SCREEN_LINES)
            .unwrap_or_default();
        let level = match end {
            End::Exited(0) => log::Level::Info,
            _ => log::Level::Error,
        };
        log::log!(level, message_id = journal::AGENT_ENDED, gt_agent:% = self.agent,
            gt_session = self.session.as_str(), gt_status = end.status(), gt_reason:% = end,
            gt_screen = screen.as_str();
            "{} {end}; its last lines:\n{screen}", self.agent);
    }

    fn stop(&self) -> Result<u8> {
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        if self.is_out_of_memory() {
            self.report(&End::OutOfMemory);
            self.end_agent();
            return Ok(End::OutOfMemory.status());
        }
        self.end_agent();
        let deadline = Instant::now() + REAP_LIMIT;
        let pid = Pid::from_raw(self.pid.cast_signed());
        while kill(pid, None).is_ok() && Instant::now() < deadline {
            self.have_reaped();
            std::thread::sleep(REAP_POLL);
        }
        // Across a restart the pane stays, and with it whoever is attached.
        if !self.is_restarting() {
            self.tmux.kill_pane(&self.pane)?;
        }
        log::info!(message_id = journal::AGENT_STOPPED, gt_agent:% = self.agent;
            "{} was stopped", self.agent);
        Ok(0)
    }

    /// Kills what an agent that has ended left in the unit, as systemd does between two runs.
    fn end_leftovers(&self) -> Result<()> {
        let systemd = Systemd::connect()?;
        for _ in 0..MOVE_ROUNDS {
            let left: Vec<u32> = systemd
                .processes(&self.unit)?
                .into_iter()
                .map(|(pid, _)| pid)
                .filter(|&pid| pid != std::process::id())
                .collect();
            if left.is_empty() {
                return Ok(());
            }
            for pid in left {
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            }
            std::thread::sleep(REAP_POLL);
        }
        Ok(())
    }

    /// Whether we are to stop because the kernel has killed a process of the unit: this is no
    /// stop that anybody wanted, and a new start follows.
    fn is_out_of_memory(&self) -> bool {
        Systemd::connect()
            .and_then(|systemd| systemd.properties(&self.unit))
            .is_ok_and(|unit| unit.text("Result").as_deref() == Some("oom-kill"))
    }

    fn is_restarting(&self) -> bool {
        let units = Systemd::connect().and_then(|s| s.units(&[&self.unit]));
        let units = units.unwrap_or_else(|e| {
            log::warn!("{e:#}, closing the pane");
            BTreeMap::new()
        });
        units
            .get(&self.unit)
            .is_some_and(|unit| matches!(unit.job.as_deref(), Some("restart" | "start")))
    }

    /// Ends the agent, with more force as time goes by. The rest of the cgroup is systemd's.
    fn end_agent(&self) {
        let begin = Instant::now();
        for (signal, until) in [
            (Signal::SIGTERM, HANGUP_AFTER),
            (Signal::SIGHUP, KILL_AFTER),
            (Signal::SIGKILL, KILL_AFTER + REAP_LIMIT),
        ] {
            let Some(end) = process::watch(self.pid) else {
                return;
            };
            for pid in process::tree(self.pid) {
                let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
            }
            let wait = until.saturating_sub(begin.elapsed());
            let mut fds = [PollFd::new(end.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, tools::timeout(wait)).is_ok_and(|n| n > 0) {
                return;
            }
        }
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

/// The pane's command: this program by the path it was started with, which stays good when a
/// package upgrade replaces the file.
fn exec_command(instance: &str, socket: &Path) -> Vec<String> {
    let program = std::env::args().next().unwrap_or_default();
    vec![
        program,
        "exec".into(),
        instance.into(),
        socket.to_string_lossy().into_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_says_for_which_town_it_runs() {
        for root in ["/home/me/gt", "/srv/it's 'my' town'", "/"] {
            let text = status_text(7, "gt-deacon", root);
            assert_eq!(town_of(&text), Some(root));
        }
        assert_eq!(town_of("Process 7 in session 'gt-deacon'"), None);
        assert_eq!(town_of(""), None);
    }
}

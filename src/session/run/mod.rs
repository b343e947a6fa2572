//! `gt-agent run`: the main process of an agent's service.
//!
//! - `place`: where the agent's pane is, and taking over what runs in it.
//! - `start`: a pane, its process in the unit, the release.
//! - `end`: what ended, and how it is stopped.

mod end;
mod place;
mod start;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use sd_notify::NotifyState;

use self::end::{After, End, Event, NOT_STARTED, SILENCE_LIMIT};
pub use self::end::{LOST, is_unstartable, why_failed};
use self::place::Place;
use self::start::START_LIMIT;
use super::whose::{Names, OtherServers};
use super::{fit, looks, process, secrets, server};
use crate::agent::{Agent, Role};
use crate::exit::{self, Exit};
use crate::files;
use crate::journal;
use crate::lifecycle::{self, Action, Worktree};
use crate::meant;
use crate::said::{self, Again};
use crate::systemd::Systemd;
use crate::tmux::{Dress, Index, Pane, Terminal, Tmux, TmuxError};
use crate::tools;
use crate::town::first_words::{FirstWords, Occasion};
use crate::town::launch::Launch;
use crate::town::left::{Left, Note};
use crate::town::marks::{self, Mark, Refusal};
use crate::town::{Town, poke};

/// More clean exits than this within [`CLEAN_WINDOW`] are a failure, after which the manager
/// tries no restart of its own.
const CLEAN_EXITS: usize = 30;

/// See [`CLEAN_EXITS`].
const CLEAN_WINDOW: Duration = Duration::from_secs(60);

/// How long after the agent's start, by us or by somebody else, its process is looked for in the
/// unit once more.
const LOOK_AFTER: Duration = Duration::from_secs(3);

/// How many times at most the processes of a tree that forks meanwhile are moved.
const MOVE_ROUNDS: usize = 10;

/// How long an agent that is started again waits for its program, which an upgrade takes away for a
/// while. After five such waits it gives up.
const UPGRADE_LIMIT: Duration = Duration::from_secs(30);

/// How often we look whether what an agent waits for is there.
const RETRY: Duration = Duration::from_secs(2);

struct Run {
    agent: Agent,
    instance: String,
    unit: String,
    names: Names,
    /// Other tmux servers, on which somebody else may have started the agent.
    others: OtherServers,
    /// The environment of the session itself, for what people start in it.
    identity: Vec<(String, String)>,
    /// The town's root, as text.
    town: String,
    /// Whether the `gt` in use looks for an agent by its pane.
    names_pane: bool,
    /// Whether gt's keys are bound on the server.
    binds_keys: bool,
    launch: Launch,
    words: FirstWords,
    occasion: Occasion,
    /// The working directory.
    dir: PathBuf,
    tmux: Tmux,
    signals: SignalFd,
    /// Signals of a tick that does not find our pane.
    lost: SignalFd,
    pane: String,
    /// What the pane's session is called.
    session: String,
    /// The process whose end is the agent's end.
    pid: u32,
    server: u32,
    /// Whether `server` is that of the town's own unit, which does not end with its last session.
    is_own_server: bool,
    /// When to check once more that the process is still in the unit.
    look: Option<Instant>,
    /// The connection to the manager for the first start; then it is closed.
    systemd: Option<Systemd>,
    /// How many times the agent has begun in this run of its unit.
    starts: u64,
    /// What [`process::oom_kills`] said at the start.
    oom_kills: u64,
    note: Note,
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
    let signals = catch(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])?;
    let lost = catch(&[LOST])?;
    let town = Town::load()?;
    let agent = Agent::from_instance(instance)
        .with_context(|| format!("'{instance}' is not an agent"))
        .context(Exit::BadConfig)?;
    let mut launch = town.launch(&agent)?;
    let identity = town.environment(&agent).into_iter().collect();
    if town.dialect().has_address_roles()
        && let Ok(id) = std::env::var("INVOCATION_ID")
    {
        launch.env.insert("GT_RUN".into(), id);
    }
    let asked = lifecycle::asked(&town, &agent);
    if asked == Some(Action::Cycle) {
        launch.env.insert("GT_HANDOFF".into(), "1".into());
    }
    let unit = agent.unit();
    let systemd = Systemd::connect()?;
    let occasion = match asked {
        Some(Action::Cycle) => Occasion::Handoff,
        Some(_) => Occasion::Restart,
        None if is_restarted(&systemd, &unit) => Occasion::Crash,
        None => Occasion::Start,
    };
    let mut worktree = Worktree::of(&town, &agent, asked.is_some());
    let mut run = Run {
        unit,
        instance: instance.to_string(),
        names: Names::of(&town, &agent),
        others: OtherServers::default(),
        identity,
        town: town.root().display().to_string(),
        names_pane: town.dialect().has_address_roles(),
        binds_keys: town.ours().session_keys,
        launch,
        words: town.first_words(&agent),
        occasion,
        dir: town.workdir(&agent),
        tmux: Tmux::on(town.socket()),
        signals,
        lost,
        pane: String::new(),
        session: String::new(),
        pid: 0,
        server: 0,
        is_own_server: false,
        look: None,
        systemd: Some(systemd),
        starts: 0,
        oom_kills: process::oom_kills(),
        note: Note::of(&town, &agent),
        agent,
    };
    // An agent that a patrol wants needs no note to come back with the town.
    let is_wanted = town
        .patrols()
        .is_ok_and(|patrols| patrols.wants(&run.agent));
    match run.note.load() {
        Ok(Some(Left::AtWork)) if !is_wanted => {}
        // It was at work before it asked to wait, and is to go on even if this start fails.
        Ok(Some(Left::Waiting(_))) if !is_wanted => run.save_note(Left::AtWork),
        _ => run.forget_note(),
    }
    if let Err(e) = secrets::refresh(&run.tmux) {
        log::warn!("{e:#}, leaving the tmux server's environment as it is");
    }
    let begun = run.patiently(|run| {
        run.others = OtherServers::look(&town)?;
        run.begin(&town, asked.is_some(), &mut worktree)
    });
    drop(town);
    match begun {
        Ok(true) => {}
        Ok(false) => return Ok(run.stop_unstarted()),
        Err(_) if run.is_to_stop() => return Ok(run.stop_unstarted()),
        Err(e) => {
            let status = run.unstarted(&e);
            run.note_waiting(status);
            return Ok(status);
        }
    }
    run.systemd = None;
    if !is_wanted {
        run.save_note(Left::AtWork);
    }
    let status = match run.supervise().transpose() {
        None => run.stop()?,
        Some(ended) => {
            run.end_scopes(&run.pane, run.server);
            ended?
        }
    };
    run.note_waiting(status);
    Ok(status)
}

/// Whether systemd starts the unit again because its last run failed.
fn is_restarted(systemd: &Systemd, unit: &str) -> bool {
    const COUNT: &str = "NRestarts";
    let read = systemd.read(&[unit], &[COUNT]);
    let count = read.ok().and_then(|all| all.get(unit)?.number(COUNT));
    count.is_some_and(|count| count > 0)
}

fn catch(signals: &[Signal]) -> Result<SignalFd> {
    let set: SigSet = signals.iter().copied().collect();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).context("Failed to catch signals")
}

impl Run {
    /// Calls `act`, which calls tmux; and calls it again while the tmux server gives no answer, or,
    /// before the first start, is not there. The agent does not fail for that: it gives up after a few
    /// failures.
    fn patiently<T>(&mut self, mut act: impl FnMut(&mut Run) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + SILENCE_LIMIT;
        let mut is_told = false;
        loop {
            let error = match act(self) {
                Err(e) if self.may_pass(&e) => e,
                done => return done,
            };
            if !std::mem::replace(&mut is_told, true) {
                log::warn!(gt_agent:% = self.agent; "{} starts as soon as tmux answers: {error}", self.agent);
            }
            let limit = u32::try_from(SILENCE_LIMIT.as_micros()).unwrap_or(u32::MAX);
            let _ = sd_notify::notify(&[
                NotifyState::Status("Waiting for an answer of the tmux server"),
                NotifyState::ExtendTimeoutUsec(limit),
            ]);
            // `act` has the manager start a server that is not there, so it has to wait for one, but
            // for one that has ended only since.
            let was_there = matches!(error.downcast_ref(), Some(TmuxError::Silent(_)));
            let has_server = || match self.tmux.server() {
                Ok(found) => found.is_some() || was_there,
                Err(e) => matches!(e, TmuxError::Silent(_)),
            };
            loop {
                if self.is_to_stop_within(RETRY) || Instant::now() >= deadline {
                    return Err(error);
                }
                if has_server() {
                    break;
                }
            }
        }
    }

    /// Whether an error of tmux may be over without anybody's doing.
    fn may_pass(&self, error: &anyhow::Error) -> bool {
        match error.downcast_ref() {
            Some(TmuxError::Silent(_)) => true,
            Some(TmuxError::NoServer) => self.server == 0,
            _ => false,
        }
    }

    /// Finds the agent's place and has a process in it that belongs to the unit; `false`: we are
    /// to stop again already. Where a request `asked` for this start, an agent that still runs is
    /// ended first, and a new one is started.
    fn begin(&mut self, town: &Town, asked: bool, worktree: &mut Option<Worktree>) -> Result<bool> {
        let mut place = self.place()?;
        if let (Place::Running(pane, pid), true) = (&place, asked) {
            self.take_over(pane, *pid)?;
            self.end_agent();
            self.await_reaped();
            self.end_leftovers()?;
            place = self.place()?;
        }
        if let (Some(worktree), Place::Running(..)) = (&worktree, &place) {
            worktree.leave();
        } else if let Some(worktree) = worktree.take() {
            self.sync(&worktree);
            if self.is_to_stop() {
                return Ok(false);
            }
            place = self.place()?;
        }
        let is_again = self.occasion == Occasion::Crash;
        if is_again && !matches!(place, Place::Running(..)) && self.has_waited_for_program(town) {
            if self.is_to_stop() {
                return Ok(false);
            }
            place = self.place()?;
        }
        if let Place::Unfit(pane) = &place {
            // In another's session this agent would be taken for the other one.
            self.tmux.kill_panes(&[(&pane.id, pane.server)])?;
            place = self.place()?;
        }
        match place {
            Place::Running(pane, pid) => self.adopt(&pane, pid)?,
            Place::Unfit(pane) => bail!(
                "its pane in session '{}' is of no use, and cannot be closed; run \
                 'tmux -L {} kill-pane -t {}'",
                pane.session,
                self.tmux.socket(),
                pane.id
            ),
            Place::Dead(Pane { id, server, .. }) => {
                // A gt-agent that was killed could not end them itself.
                self.end_scopes(&id, server);
                self.start(&Terminal::Pane { id: &id, server })?;
            }
            Place::Window => {
                let session = self.names.session.clone();
                self.start(&Terminal::Window { session: &session })?;
            }
            Place::Nowhere => {
                let name = self.names.session.clone();
                let environment = self.identity.clone();
                let terminal = Terminal::Session {
                    name: &name,
                    environment: &environment,
                    dress: &self.dress(),
                };
                self.start(&terminal)?;
            }
        }
        Ok(true)
    }

    /// The looks of a session that we make: those of one of gt's.
    fn dress(&self) -> Dress {
        let gt = looks::gt();
        let keys = gt
            .iter()
            .filter(|_| self.binds_keys)
            .flat_map(|gt| looks::keys(gt));
        Dress {
            options: looks::options(&self.agent, &self.names.session, gt.as_deref()),
            keys: keys.collect(),
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

    /// Waits a while for a program that is not there; whether it had to.
    fn has_waited_for_program(&self, town: &Town) -> bool {
        let is_there = || fit::program(town, &self.agent, &self.launch).is_some();
        if is_there() {
            return false;
        }
        let name = self.launch.argv.first().map_or("", String::as_str);
        log::warn!(gt_agent:% = self.agent;
            "{} is to start, and its program '{name}' is not there; waiting up to {} s for it", self.agent,
            UPGRADE_LIMIT.as_secs());
        let limit = (UPGRADE_LIMIT + START_LIMIT * 2).as_micros();
        let _ = sd_notify::notify(&[
            NotifyState::Status(&format!(
                "Waiting for the program '{name}', which is not there"
            )),
            NotifyState::ExtendTimeoutUsec(u32::try_from(limit).unwrap_or(u32::MAX)),
        ]);
        let deadline = Instant::now() + UPGRADE_LIMIT;
        while !is_there() && Instant::now() < deadline && !self.is_to_stop_within(RETRY) {}
        true
    }

    pub(super) fn is_to_stop(&self) -> bool {
        self.is_to_stop_within(Duration::ZERO)
    }

    /// Waits up to `limit` for a signal to stop; tells whether one has come.
    pub(super) fn is_to_stop_within(&self, limit: Duration) -> bool {
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, tools::timeout(limit)).is_ok_and(|n| n > 0)
    }

    /// Tells systemd and the journal why the agent could not be started; gives the exit status.
    fn unstarted(&self, e: &anyhow::Error) -> u8 {
        let reason = format!("{e:#}");
        let _ = sd_notify::notify(&[NotifyState::Status(&reason)]);
        log::error!(message_id = journal::AGENT_NOT_STARTED, gt_agent:% = self.agent, gt_reason = reason.as_str();
            "{} could not be started: {reason}", self.agent);
        match exit::of(e) {
            Exit::TryAgain => Exit::TryAgain as u8,
            _ => NOT_STARTED,
        }
    }

    /// Notes that the agent asks to be left alone for a while, if it ended with that status; the tick
    /// plans when it is tried again.
    fn note_waiting(&self, status: u8) {
        if status == Exit::TryAgain as u8 {
            self.save_note(Left::Waiting(Timestamp::now()));
            poke::heartbeat(Path::new(&self.town));
        }
    }

    fn watch(&mut self, pane: &Pane, pid: u32) {
        self.look = Some(Instant::now() + LOOK_AFTER);
        self.pid = pid;
        self.server = pane.server;
        self.is_own_server = process::is_in(pane.server, server::SERVICE);
        self.session = self.session_of(pane);
    }

    /// The session that a pane is in: of several that a person has grouped, the one that is called as
    /// the agent's is. tmux names the one that was used last.
    fn session_of(&self, pane: &Pane) -> String {
        let own = &self.names.session;
        if pane.session != *own
            && let Ok(panes) = self.tmux.panes_of(&self.instance, &[own])
            && let Some(named) = Index::of(&panes).own(&self.instance, own)
            && named.id == pane.id
        {
            return named.session.clone();
        }
        pane.session.clone()
    }

    fn ready(&mut self) {
        self.rename();
        self.starts += 1;
        let again = Some(Again {
            start: self.starts,
            at: Timestamp::now(),
        });
        let again = again.filter(|again| again.start > 1);
        let status = said::text(self.pid, &self.session, &self.town, again);
        let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// The agent's town, as its files are now.
    ///
    /// # Errors
    /// It cannot be read; or `town.env` names another one by now, to which the agent does not belong
    /// before its unit is started anew.
    fn town_now(&self) -> Result<Town> {
        let town = Town::load()?;
        let own = Path::new(&self.town);
        ensure!(
            files::is_same(own, town.root()),
            meant::still(own, town.root())
        );
        Ok(town)
    }

    /// Takes what settings say by now for the next start in this pane; `Some`: a mark refuses it. A
    /// town that cannot be read changes nothing.
    fn renew(&mut self) -> Result<Option<Refusal>> {
        if let Ok(town) = self.town_now() {
            let refusal = marks::refusal(&town, &self.agent);
            if let Some(refusal) = refusal.filter(|refusal| refusal.mark != Mark::Unknown) {
                return Ok(Some(refusal));
            }
            let run = std::mem::take(&mut self.launch.env).remove_entry("GT_RUN");
            self.launch = town.launch(&self.agent)?;
            self.launch.env.extend(run);
            self.words = town.first_words(&self.agent);
            self.dir = town.workdir(&self.agent);
        }
        self.launch.env.remove("GT_HANDOFF");
        Ok(None)
    }

    /// Waits for ends until one is final, and gives the exit status for it; `None`: we are to stop.
    fn supervise(&mut self) -> Result<Option<u8>> {
        let mut clean: VecDeque<Instant> = VecDeque::new();
        loop {
            let event = self.next_event()?;
            match event {
                Event::Stop => return Ok(None),
                Event::ServerEnded => self.end_agent(),
                Event::Look => {
                    self.stay();
                    continue;
                }
                Event::Lost if self.outlives_pane() => self.end_agent(),
                Event::Lost => continue,
                Event::AgentEnded => {}
            }
            let Some(after) = self.after(event)? else {
                return Ok(None);
            };
            let end = match after {
                After::Respawned(root, pid) => {
                    self.look = Some(Instant::now() + LOOK_AFTER);
                    self.pid = pid;
                    self.move_in(pid)?;
                    if let Err(e) = self.end_predecessors(root) {
                        log::warn!(gt_agent:% = self.agent;
                            "{e:#}; what {} has left by detaching it may go on until its stop", self.agent);
                    }
                    log::info!(message_id = journal::AGENT_ADOPTED, gt_agent:% = self.agent,
                        gt_session = self.session.as_str(), gt_pid = pid;
                        "{} was started anew in its pane by somebody else; adopted process {pid}", self.agent);
                    self.ready();
                    continue;
                }
                After::Ended(end) => end,
            };
            self.report(&end);
            if end == End::Closed {
                self.save_note(Left::Closed(Timestamp::now()));
                poke::heartbeat(Path::new(&self.town));
                return Ok(Some(0));
            }
            // A polecat has no patrol to go on with: its work is done.
            let is_final = matches!(self.agent.role(), Role::Polecat | Role::Dog | Role::Boot);
            if is_final && end == End::Exited(0) {
                self.forget_note();
                self.close_pane();
                return Ok(Some(0));
            }
            if end != End::Exited(0) {
                return Ok(Some(end.status()));
            }
            let now = Instant::now();
            clean.push_back(now);
            clean.retain(|&t| now - t < CLEAN_WINDOW);
            if clean.len() > CLEAN_EXITS {
                let why = format!(
                    "it ended more than {CLEAN_EXITS} times within a minute, with status 0"
                );
                log::error!(message_id = journal::AGENT_NOT_STARTED, gt_agent:% = self.agent;
                    "{}: {why}", self.agent);
                let _ = sd_notify::notify(&[NotifyState::Status(&why)]);
                // Each start may cost its user money, and the next one would end as these did.
                return Ok(Some(Exit::BadConfig as u8));
            }
            self.end_leftovers()?;
            if let Some(refusal) = self.renew()? {
                log::warn!(message_id = journal::AGENT_REFUSED, gt_agent:% = self.agent, gt_reason:% = refusal;
                    "{} is not started again: {refusal}", self.agent);
                self.close_pane();
                return Ok(Some(0));
            }
            let (id, server) = (&self.pane.clone(), self.server);
            self.occasion = Occasion::Start;
            let started = self.patiently(|run| run.start(&Terminal::Pane { id, server }));
            if started.is_err() && self.is_to_stop() {
                return Ok(None);
            }
            if let Err(e) = started {
                return Ok(Some(self.unstarted(&e)));
            }
        }
    }
}

//! Where an agent's pane is, and taking over what runs in it.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use super::{MOVE_ROUNDS, Run};
use crate::exit::Exit;
use crate::journal;
use crate::session::process::{self, Head};
use crate::session::server;
use crate::session::whose::Found;
use crate::systemd::Systemd;
use crate::tmux::{Index, Pane, TmuxError};

/// The scopes that tmux asks for.
const TMUX_SCOPES: &str = "tmux-spawn-*.scope";

/// How long it may take until the manager has made these scopes.
const SCOPE_LIMIT: Duration = Duration::from_secs(10);

/// How often the manager is asked.
const SCOPE_POLL: Duration = Duration::from_millis(5);

/// How long a shell that somebody has opened may take until it has read its start-up files.
const SHELL_LIMIT: Duration = Duration::from_secs(20);

/// How long after that it may take until it runs what was typed there.
const TYPED_LIMIT: Duration = Duration::from_secs(5);

/// How often we look at such a shell.
const SHELL_POLL: Duration = Duration::from_millis(100);

/// Where an agent's pane is, or is to be.
pub(super) enum Place {
    /// In this pane, with this process at work in it.
    Running(Pane, u32),
    /// In this pane, which an agent that has ended has left.
    Dead(Pane),
    /// Such a pane, which is to be closed: somebody has moved it into the session of another agent,
    /// or it is broken.
    Unfit(Pane),
    /// Its session is there, without a pane for it.
    Window,
    /// It has no session.
    Nowhere,
}

/// Whether a process waits to become the agent of a start that was given up: a server that hung opens
/// a pane when nobody waits for it any more.
fn is_orphan(pid: u32) -> bool {
    let arguments = process::arguments(pid);
    arguments.first() == Some(&server::program()) && arguments.get(1).is_some_and(|a| a == "exec")
}

impl Run {
    pub(super) fn place(&self) -> Result<Place> {
        let sessions = self.names.sessions();
        let panes = match self.tmux.panes_of(&self.instance, &sessions) {
            Err(TmuxError::NoServer) => {
                server::restore_socket(&self.tmux)?;
                self.tmux.panes_of(&self.instance, &sessions)?
            }
            found => found?,
        };
        match self.names.find(&Index::of(&panes)) {
            Found::Own(pane) => Ok(match process::head(pane.pid).process() {
                Some(pid) if !pane.dead && !is_orphan(pid) => Place::Running(pane.clone(), pid),
                _ if pane.is_guest(&self.instance) || pane.is_broken() => {
                    Place::Unfit(pane.clone())
                }
                _ => Place::Dead(pane.clone()),
            }),
            Found::Taken(whose) => bail!("session '{}' is {whose}", self.names.session),
            Found::Session(first) if first.home.is_none() && first.is_broken() => {
                Ok(Place::Unfit(first.clone()))
            }
            Found::Session(first) if first.home.is_none() && first.dead => {
                Ok(Place::Dead(first.clone()))
            }
            Found::Session(first)
                if first.home.is_none()
                    && let Some(pid) = self.settled(first.pid).process() =>
            {
                Ok(Place::Running(first.clone(), pid))
            }
            // An idle shell, or what people opened beside a pane of ours that is gone.
            Found::Session(_) => Ok(Place::Window),
            Found::Nowhere => {
                match self.others.find(&self.names) {
                    None => Ok(Place::Nowhere),
                    Some(place) => Err(anyhow!("it runs already, in {place}, and never twice")
                        .context(Exit::TryAgain)),
                }
            }
        }
    }

    /// What runs in a pane that somebody else has opened. Whoever watched a shell that still starts
    /// would not notice the end of the agent that it runs then.
    fn settled(&self, pid: u32) -> Head {
        let mut limit = Instant::now() + SHELL_LIMIT;
        let mut found = process::head(pid);
        if !matches!(found, Head::StartingShell(_)) {
            return found;
        }
        while Instant::now() < limit && !self.is_to_stop_within(SHELL_POLL) {
            found = process::head(pid);
            match found {
                Head::Process(_) => break,
                Head::StartingShell(_) => {}
                Head::IdleShell => limit = limit.min(Instant::now() + TYPED_LIMIT),
            }
        }
        found
    }

    /// A session that another release of `gt` has named gets the name by which the one in use
    /// looks for it.
    pub(super) fn rename(&mut self) {
        if !self.names.others.contains(&self.session) {
            return;
        }
        // The agent runs, whatever its session is called.
        if let Err(e) = self.tmux.rename_session(&self.pane, &self.names.session) {
            log::warn!(
                "Session '{}' of {} keeps its name: {e}",
                self.session,
                self.agent
            );
            return;
        }
        log::info!(gt_agent:% = self.agent, gt_session = self.names.session.as_str();
            "Session '{}' of {} is called '{}' now, as the gt in use has it",
            self.session, self.agent, self.names.session);
        self.session.clone_from(&self.names.session);
    }

    /// Takes over what already runs in a pane: nothing is restarted.
    pub(super) fn adopt(&mut self, pane: &Pane, pid: u32) -> Result<()> {
        self.take_over(pane, pid)?;
        log::info!(message_id = journal::AGENT_ADOPTED, gt_agent:% = self.agent,
            gt_session = pane.session.as_str(), gt_pid = pid;
            "{} was running in session '{}' already; adopted process {pid}", self.agent, pane.session);
        self.ready();
        Ok(())
    }

    pub(super) fn take_over(&mut self, pane: &Pane, pid: u32) -> Result<()> {
        self.pane = pane.id.clone();
        self.tmux.own(&pane.id, &self.instance)?;
        self.tmux.end_respawns(&pane.id)?;
        self.watch(pane, pid);
        self.move_in(pane.pid)
    }

    /// Moves what runs in our pane into the unit, until none of it is left outside.
    pub(super) fn move_in(&self, root: u32) -> Result<()> {
        let systemd = Systemd::connect()?;
        let mut failure = None;
        for _ in 0..MOVE_ROUNDS {
            let outside: Vec<u32> = process::pane_members(root, &self.pane, self.server)
                .into_iter()
                .filter(|&pid| process::is_outside(pid, &self.unit))
                .collect();
            if outside.is_empty() {
                return Ok(());
            }
            // If one of the processes has ended meanwhile, none is moved: the next round lists them anew.
            failure = self.attach(&systemd, &outside).err();
        }
        match failure {
            Some(e) => Err(e),
            None => bail!("process {root} forks faster than it can be moved"),
        }
    }

    /// Moves processes into the unit, after what would take them out of it again: from 3.4 on, tmux
    /// asks the manager for a scope for each new pane, and does not wait for long until it has it.
    pub(super) fn attach(&self, systemd: &Systemd, pids: &[u32]) -> Result<()> {
        let deadline = Instant::now() + SCOPE_LIMIT;
        let is_apart = |pid: &u32| process::is_in_scope(*pid);
        while !pids.iter().all(is_apart)
            && systemd.has_jobs(TMUX_SCOPES)?
            && Instant::now() < deadline
        {
            std::thread::sleep(SCOPE_POLL);
        }
        systemd.attach(&self.unit, pids)
    }

    /// Brings the agent back into its unit, if something has taken it out.
    pub(super) fn stay(&self) {
        if !process::is_outside(self.pid, &self.unit) {
            return;
        }
        let pid = self.pid;
        match self.move_in(pid) {
            Ok(()) => log::warn!(message_id = journal::AGENT_STRAYED, gt_agent:% = self.agent,
                gt_pid = pid;
                "Process {pid} of {} was outside of its unit; brought it back", self.agent),
            Err(e) => log::error!("{e:#}; a later tick tries again"),
        }
    }
}

//! How an agent ends: what woke us, what tmux and the kernel say of it, and how it is stopped.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sd_notify::NotifyState;

use super::{MOVE_ROUNDS, Run};
use crate::agent::{Agent, UNITS};
use crate::exit::Exit;
use crate::journal;
use crate::printable;
use crate::said::town_of;
use crate::session::process::{self, Head};
use crate::session::scopes::{self, SCOPES};
use crate::session::server;
use crate::systemd::{Systemd, TARGET, Unit};
use crate::tmux::{Pane, TmuxError};
use crate::tools;
use crate::town::left::{Left, Note};
use crate::town::marks;

/// How long tmux may take to collect the status of a process that has ended.
const REAP_LIMIT: Duration = Duration::from_secs(3);

/// The longest pause between two times that tmux is asked for that status.
const REAP_POLL: Duration = Duration::from_millis(10);

/// The pause before tmux is asked a second time; it doubles up to [`REAP_POLL`].
const FIRST_REAP_POLL: Duration = Duration::from_millis(1);

/// The pause before we try again to watch a process, if the kernel had no room for that.
const WATCH_RETRY: Duration = Duration::from_secs(2);

/// How long a tmux server may give no answer until we give up an agent's start, or the question how
/// the agent ended. So long that a server which hangs for ever does not make agents give up, as five
/// starts within 15 minutes would.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(300);

/// How long after an agent's end by SIGTERM or Ctrl-C we wait for somebody to close its session.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// How long after its terminals have hung up a server may take to end.
const SERVER_END: Duration = Duration::from_millis(500);

/// The signal by which a tick tells `gt-agent` that it does not find the agent's pane.
pub const LOST: Signal = Signal::SIGUSR1;

/// How long after its pane an agent may take to end.
const OUTLIVES: Duration = Duration::from_secs(3);

/// How long after the end of a server in somebody's session our own stop may come, when the machine
/// stops.
const STOP_FOLLOWS: Duration = Duration::from_secs(3);

/// The longest time from one session to the next when somebody closes them all, as `gt down` does.
const CLOSING: SignedDuration = SignedDuration::from_secs(30);

/// Units whose stop is a stop of the town, and stops its agents, too.
const TOWN_UNITS: [&str; 4] = [TARGET, "gastown.slice", "gt-town.service", server::SERVICE];

/// How often we look whether a session was closed, or whether a silent server answers.
const CLOSE_POLL: Duration = Duration::from_millis(100);

/// Why it is not known how an agent ended whose tmux server has ended.
pub(super) const SERVER_GONE: &str = "the tmux server has gone";

/// After this an agent that ignored SIGTERM gets SIGHUP, which interactive shells heed.
const HANGUP_AFTER: Duration = Duration::from_secs(3);

/// After this it gets SIGKILL.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// How much of the screen is kept when an agent ends, in lines.
const SCREEN_LINES: usize = 20;

/// How an agent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Exited(i32),
    Killed(i32),
    OutOfMemory,
    /// A person, or a tool such as `gt stop`, closed its session.
    Closed,
    /// It ended, and the shell that somebody else had started it from is idle again.
    LeftShell,
    /// Somebody sent a signal to its service, as `systemctl kill` does. That is no stop, so systemd
    /// starts it again.
    Signalled,
    /// The status is not known; why.
    Unknown(&'static str),
}

impl End {
    /// What our own exit status says of it: the same, 128 + n for signal n, 1 if unknown.
    pub(super) fn status(&self) -> u8 {
        match self {
            End::Exited(status) => u8::try_from(*status).unwrap_or(1),
            End::Killed(signal) => u8::try_from(128 + signal).unwrap_or(1),
            End::OutOfMemory => 128 + Signal::SIGKILL as u8,
            End::Signalled => 128 + Signal::SIGTERM as u8,
            End::Closed => 0,
            End::LeftShell | End::Unknown(_) => 1,
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
            End::Closed => f.write_str("ended: somebody closed its session"),
            End::LeftShell => f.write_str("ended: its shell is idle again"),
            End::Signalled => {
                f.write_str("ended: somebody sent a signal to its service, which was not to stop")
            }
            End::Unknown(why) => write!(f, "ended: {why}"),
        }
    }
}

/// How the status text of a unit begins whose agent has failed.
const LAST_WORDS: &str = "Last words: ";

/// The most of an agent's last words that its unit repeats, in characters.
const WORDS: usize = 160;

/// Words of a line, in lower case, by which it seems to tell why a program ended.
const COMPLAINTS: &[&str] = &[
    "error",
    "fail",
    "unable",
    "cannot",
    "can't",
    "could not",
    "couldn't",
    "denied",
    "refused",
    "not found",
    "no such",
    "fatal",
    "panic",
    "invalid",
    "missing",
    "expired",
    "timed out",
];

/// The line of a screen that tells why a program has ended: the first of the last complaints that
/// follow each other, else the last line with words. Complaints further up were about something else.
fn last_words(screen: &str) -> Option<String> {
    let said = |line: &&str| line.contains(char::is_alphanumeric);
    let mut lines = screen.lines().map(str::trim).filter(said).rev();
    let complains = |line: &&str| {
        let line = line.to_lowercase();
        COMPLAINTS.iter().any(|word| line.contains(word))
    };
    let complaints = lines.clone().skip_while(|line| !complains(line));
    let first = complaints.take_while(complains).last();
    let line = first.or_else(|| lines.next())?;
    Some(printable::line(line).chars().take(WORDS).collect())
}

/// The part of a message about an end that shows the screen. A session that was closed has none.
fn last_lines(screen: &str) -> String {
    match screen.trim() {
        "" => String::new(),
        _ => format!("; its last lines:\n{screen}"),
    }
}

/// Why an agent has failed, by what its unit says of itself: the last words of its program, or
/// why there was no start. `status` is how gt-agent ended.
pub fn why_failed(status_text: &str, status: i32) -> Option<String> {
    const FAILED: i32 = NOT_STARTED as i32;
    const BAD_CONFIG: i32 = Exit::BadConfig as i32;
    if let Some(words) = status_text.strip_prefix(LAST_WORDS) {
        return Some(format!("'{}'", printable::line(words)));
    }
    // While an agent runs, this text says where it runs.
    let is_why = !status_text.is_empty() && town_of(status_text).is_none();
    (is_why && matches!(status, FAILED | BAD_CONFIG)).then(|| printable::line(status_text))
}

/// gt-agent's exit status when its agent could not be started, such as for want of a program.
pub(super) const NOT_STARTED: u8 = 127;

/// Whether an agent gave up because gt-agent itself could not use the town or its configuration, or
/// could not start it, by what its unit says of itself. A program that ends with such a status of its
/// own says something else.
pub fn is_unstartable(status_text: &str, status: i32) -> bool {
    let why = Exit::BadConfig;
    if status == why as i32 {
        return status_text.starts_with(&format!("{why}: "));
    }
    status == i32::from(NOT_STARTED)
        && !status_text.starts_with(LAST_WORDS)
        && why_failed(status_text, status).is_some()
}

/// What woke us.
pub(super) enum Event {
    Stop,
    /// It is time to see whether the process is where it belongs.
    Look,
    /// A tick does not find the pane.
    Lost,
    AgentEnded,
    ServerEnded,
}

/// What the pane shows after the watched process has ended.
pub(super) enum After {
    /// Somebody else, such as `gt handoff`, started another process in it: the pane's first process and
    /// the agent.
    Respawned(u32, u32),
    Ended(End),
}

impl Run {
    pub(super) fn next_event(&mut self) -> Result<Event> {
        let mut is_told = false;
        let (agent, server) = loop {
            match (process::watch(self.pid), process::watch(self.server)) {
                (_, Ok(None)) => return Ok(Event::ServerEnded),
                (Ok(None), _) => return Ok(Event::AgentEnded),
                (Ok(Some(agent)), Ok(Some(server))) => break (agent, server),
                (Err(e), _) | (_, Err(e)) => {
                    // Once, for it may last.
                    if !std::mem::replace(&mut is_told, true) {
                        log::warn!(gt_agent:% = self.agent; "Failed to watch {}, trying again: {e}", self.agent);
                    }
                    let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut fds, tools::timeout(WATCH_RETRY))? > 0 {
                        return Ok(Event::Stop);
                    }
                }
            }
        };
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(server.as_fd(), PollFlags::POLLIN),
            PollFd::new(agent.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.lost.as_fd(), PollFlags::POLLIN),
        ];
        loop {
            let wait = self.look.map_or(PollTimeout::NONE, |look| {
                tools::timeout(look.saturating_duration_since(Instant::now()))
            });
            match poll(&mut fds, wait) {
                Ok(0) => {
                    self.look = None;
                    return Ok(Event::Look);
                }
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
        } else if hit(2) {
            Event::AgentEnded
        } else {
            self.lost.read_signal()?;
            Event::Lost
        })
    }

    /// Whether somebody has closed the agent's pane, or started another process in it, and the agent goes
    /// on without a terminal: some programs (gemini 0.61) do not heed the end of theirs.
    pub(super) fn outlives_pane(&self) -> bool {
        let is_ours = matches!(self.tmux.server(), Ok(Some(pid)) if pid == self.server);
        let is_lost = || match self.tmux.pane(&self.pane) {
            Ok(Some(pane)) => process::is_older(self.pid, pane.pid),
            found => found.is_ok(),
        };
        if !is_ours || !is_lost() {
            return false;
        }
        let Ok(Some(agent)) = process::watch(self.pid) else {
            return false;
        };
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(agent.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut fds, tools::timeout(OUTLIVES)) == Ok(0)
    }

    /// The agent's pane. Waits while its server lives but does not answer, for only the server can
    /// tell how the agent ended: one that hangs may go on, and one whose socket was removed makes it
    /// anew on SIGUSR1.
    fn own_pane(&self) -> Result<Option<Pane>, TmuxError> {
        let deadline = Instant::now() + SILENCE_LIMIT;
        let mut is_told = false;
        loop {
            let error = match self.tmux.pane(&self.pane) {
                // Another server that has taken the socket may have a pane with the same id.
                Ok(found) => return Ok(found.filter(|pane| pane.server == self.server)),
                Err(e) => e,
            };
            if process::has_ended(self.server) {
                return Ok(None);
            }
            if self.is_to_stop() || Instant::now() >= deadline {
                return Err(error);
            }
            match error {
                TmuxError::NoServer => {
                    let _ = kill(Pid::from_raw(self.server.cast_signed()), Signal::SIGUSR1);
                }
                _ if std::mem::replace(&mut is_told, true) => {}
                e => {
                    log::warn!(gt_agent:% = self.agent; "{} has ended, and it is not known yet how: {e}", self.agent)
                }
            }
            std::thread::sleep(CLOSE_POLL);
        }
    }

    /// What there is after the end of the watched process, or of its server; `None`: meanwhile we are
    /// to stop.
    pub(super) fn after(&self, event: Event) -> Result<Option<After>> {
        let after = match event {
            Event::ServerEnded => Ok(Some(After::Ended(self.closed()))),
            _ => self.after_end().and_then(|after| match after {
                After::Ended(end) => self.or_closed(end),
                After::Respawned(..) => Ok(Some(after)),
            }),
        };
        match after {
            // tmux has not told, and need not any more.
            Err(_) if self.is_to_stop() => Ok(None),
            Ok(Some(After::Ended(End::Unknown(SERVER_GONE)))) if self.is_to_stop() => Ok(None),
            after => after,
        }
    }

    /// Asks tmux how the agent ended; tmux learns it a moment after us.
    fn after_end(&self) -> Result<After> {
        let mut deadline = None;
        let mut pause = FIRST_REAP_POLL;
        loop {
            let Some(pane) = self.own_pane()? else {
                return Ok(After::Ended(self.closed()));
            };
            // The time runs from tmux's first answer on.
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + REAP_LIMIT);
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
            if !pane.dead && pane.pid != self.pid && process::has_ended(self.pid) {
                return Ok(match self.successor(&pane) {
                    Some(pid) => After::Respawned(pane.pid, pid),
                    None => After::Ended(End::LeftShell),
                });
            }
            if Instant::now() >= deadline {
                return Ok(After::Ended(End::Unknown("tmux does not know its status")));
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(REAP_POLL);
        }
    }

    /// What it means that the pane is gone. The terminals of a server that dies hang up before its own
    /// end can be seen; and another server may have taken its socket.
    pub(super) fn closed(&self) -> End {
        let has_ended = || match process::watch(self.server) {
            Ok(Some(server)) => {
                let mut fds = [PollFd::new(server.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, tools::timeout(SERVER_END)).is_ok_and(|n| n > 0)
            }
            ended => ended.is_ok(),
        };
        let is_another = || matches!(self.tmux.server(), Ok(Some(pid)) if pid != self.server);
        match (has_ended() || is_another()) && (self.is_own_server || self.is_lost_with_others()) {
            true => End::Unknown(SERVER_GONE),
            false => End::Closed,
        }
    }

    /// Whether a server that is not the town's own, and so ends with its last session, has ended by
    /// itself or with the machine, and nobody closed its sessions one after the other: agents beside
    /// this one ran on it, and are to be started again.
    fn is_lost_with_others(&self) -> bool {
        // A stop of the machine ends such a server and our unit at about the same time.
        if self.is_to_stop_within(STOP_FOLLOWS) {
            return true;
        }
        let Ok(units) = Systemd::connect().and_then(|systemd| systemd.units(&[UNITS])) else {
            return false;
        };
        let others: Vec<&Unit> = units
            .values()
            .filter(|unit| unit.name != self.unit)
            .collect();
        let town = self.town_now().ok();
        let is_closed = |unit: &&Unit| {
            let agent = Agent::from_unit(&unit.name).ok();
            let note = agent
                .zip(town.as_ref())
                .map(|(agent, town)| Note::of(town, &agent).load());
            matches!(note, Some(Ok(Some(Left::Closed(at)))) if Timestamp::now().duration_since(at) < CLOSING)
        };
        others.iter().any(|unit| !unit.is_down()) && !others.iter().any(is_closed)
    }

    /// The process that somebody has started in the pane after the agent: in its place, or from the
    /// shell that the agent was started from.
    fn successor(&self, pane: &Pane) -> Option<u32> {
        match process::head(pane.pid) {
            Head::Process(pid) if !pane.dead && pid != self.pid => Some(pid),
            // Whoever watched that shell would not notice the end of the agent that it runs then.
            _ => None,
        }
    }

    /// Waits to see whether somebody ended the agent on purpose: `gt` ends the processes of a session
    /// by Ctrl-C and SIGTERM, and closes the session up to eight seconds later; a person may start
    /// another agent in the shell that this one was started from. `None`: meanwhile we are to stop.
    fn or_closed(&self, end: End) -> Result<Option<After>> {
        const ASKED: [i32; 3] = [
            Signal::SIGTERM as i32,
            Signal::SIGINT as i32,
            Signal::SIGHUP as i32,
        ];
        let was_asked = match end {
            End::Killed(signal) => ASKED.contains(&signal),
            End::Exited(status) => ASKED.contains(&(status - 128)),
            // Only the shell knows how the agent ended.
            End::LeftShell => true,
            _ => false,
        };
        let deadline = Instant::now() + CLOSE_LIMIT;
        while was_asked && Instant::now() < deadline {
            let Some(pane) = self.own_pane()? else {
                return Ok(Some(After::Ended(self.closed())));
            };
            if let Some(pid) = self.successor(&pane) {
                return Ok(Some(After::Respawned(pane.pid, pid)));
            }
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, tools::timeout(CLOSE_POLL))? > 0 {
                return Ok(None);
            }
        }
        Ok(Some(After::Ended(end)))
    }

    /// tmux 3.3 misses the SIGCHLD at times, and leaves a zombie behind.
    fn have_reaped(&self) {
        let _ = kill(Pid::from_raw(self.server.cast_signed()), Signal::SIGCHLD);
    }

    pub(super) fn report(&self, end: &End) {
        let screen = self.tmux.screen(&self.pane, self.server, SCREEN_LINES);
        let screen = screen.unwrap_or_default();
        let level = match end {
            End::Exited(0) | End::Closed => log::Level::Info,
            _ => log::Level::Error,
        };
        log::log!(level, message_id = journal::AGENT_ENDED, gt_agent:% = self.agent,
            gt_session = self.session.as_str(), gt_status = end.status(), gt_reason:% = end,
            gt_screen = screen.as_str();
            "{} {end}{}", self.agent, last_lines(&screen));
        // A program that was killed did not say why.
        if matches!(end, End::Exited(1..))
            && let Some(words) = last_words(&screen)
        {
            let _ = sd_notify::notify(&[NotifyState::Status(&format!("{LAST_WORDS}{words}"))]);
        }
    }

    /// Ends the agent because we got a signal. The signal was a stop only if systemd says so.
    pub(super) fn stop(&self) -> Result<u8> {
        self.forget_if_alone();
        if process::oom_kills() > self.oom_kills && self.is_stopped_for("oom-kill") {
            self.report(&End::OutOfMemory);
            self.end_agent();
            self.end_scopes(&self.pane, self.server);
            return Ok(End::OutOfMemory.status());
        }
        self.end_agent();
        self.await_reaped();
        // Asked as late as possible, for a restart may have become a stop meanwhile; and in one call,
        // for many agents ask at once when a town stops.
        let units = match self.ask() {
            Some((systemd, units)) => {
                let ended = scopes::end(&systemd, units.clone(), &self.pane, self.server, None);
                self.log_scopes(ended);
                units
            }
            None => BTreeMap::new(),
        };
        if !is_stopping(&units, &self.unit) {
            self.report(&End::Signalled);
            return Ok(End::Signalled.status());
        }
        if !keeps_pane(&units, &self.unit) {
            self.close_pane();
        }
        log::info!(message_id = journal::AGENT_STOPPED, gt_agent:% = self.agent;
            "{} was stopped", self.agent);
        Ok(0)
    }

    /// Waits until tmux has collected the status of the agent, which has ended.
    pub(super) fn await_reaped(&self) {
        let deadline = Instant::now() + REAP_LIMIT;
        let pid = Pid::from_raw(self.pid.cast_signed());
        let mut pause = FIRST_REAP_POLL;
        while kill(pid, None).is_ok() && Instant::now() < deadline {
            self.have_reaped();
            std::thread::sleep(pause);
            pause = (2 * pause).min(REAP_POLL);
        }
    }

    /// Closes the pane of the agent, which has ended. If that fails, its next start finds the pane.
    pub(super) fn close_pane(&self) {
        if let Err(e) = self.tmux.kill_panes(&[(&self.pane, self.server)]) {
            log::warn!(gt_agent:% = self.agent; "The pane of {} stays: {e}", self.agent);
        }
    }

    /// Notes for the ticks how the agent has ended, or that it is at work. On a full disk it goes
    /// on all the same.
    pub(super) fn save_note(&self, left: Left) {
        if let Err(e) = self.note.save(left) {
            log::warn!(gt_agent:% = self.agent; "{e:#}; later ticks do not know what {} was doing", self.agent);
        }
    }

    /// Forgets the note, where it can be.
    pub(super) fn forget_note(&self) {
        if let Err(e) = self.note.forget() {
            log::warn!(gt_agent:% = self.agent; "{e:#}; later ticks believe that {} is at work", self.agent);
        }
    }

    /// Forgets that the agent is at work if it alone is to stop, for good.
    fn forget_if_alone(&self) {
        let has_note = !matches!(self.note.load(), Ok(None));
        if has_note && self.is_alone() {
            self.forget_note();
        }
    }

    /// Kills what an agent that has ended left in the unit, as systemd does between two runs.
    pub(super) fn end_leftovers(&self) -> Result<()> {
        self.kill_in_unit(|pid| pid != std::process::id())?;
        self.end_scopes(&self.pane, self.server);
        Ok(())
    }

    /// The same when somebody has started the agent's pane anew: what is older than the pane's first
    /// process was left by the agent before. In a pane whose shell goes on, nothing is.
    pub(super) fn end_predecessors(&self, root: u32) -> Result<()> {
        let own = std::process::id();
        self.kill_in_unit(|pid| pid != own && process::is_older(pid, root))?;
        self.log_scopes(Systemd::connect().and_then(|systemd| {
            let units = systemd.units(&[SCOPES])?;
            scopes::end(&systemd, units, &self.pane, self.server, Some(root))
        }));
        Ok(())
    }

    /// Kills these processes of the unit, with all that they have started.
    fn kill_in_unit(&self, is_to_end: impl Fn(u32) -> bool) -> Result<()> {
        let systemd = Systemd::connect()?;
        for _ in 0..MOVE_ROUNDS {
            let pids = systemd.processes(&self.unit)?;
            let pids: Vec<u32> = pids.into_iter().map(|(pid, _)| pid).collect();
            let left: Vec<u32> = pids.iter().copied().filter(|&pid| is_to_end(pid)).collect();
            if left.is_empty() {
                break;
            }
            for pid in process::trees_among(left, pids.into_iter()) {
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            }
            std::thread::sleep(REAP_POLL);
        }
        Ok(())
    }

    /// Kills what an agent that has ended left in scopes beside its unit; `pane` was the agent's.
    pub(super) fn end_scopes(&self, pane: &str, server: u32) {
        self.log_scopes(Systemd::connect().and_then(|systemd| {
            scopes::end(&systemd, systemd.units(&[SCOPES])?, pane, server, None)
        }));
    }

    fn log_scopes(&self, ended: Result<Vec<Unit>>) {
        match ended {
            Ok(ended) => ended.iter().for_each(|scope| {
                log::info!(gt_agent:% = self.agent; "Ended {}, which {} had started: {}",
                    scope.name, self.agent, printable::line(&scope.description));
            }),
            Err(e) => log::warn!(gt_agent:% = self.agent;
                "{e:#}; what {} has started by 'systemd-run --user --scope' may go on", self.agent),
        }
    }

    /// Whether systemd has us stop for a reason of its own, a `Result` as in systemd.service(5): this
    /// is no stop that anybody wanted, and a new start follows.
    fn is_stopped_for(&self, result: &str) -> bool {
        Systemd::connect()
            .and_then(|systemd| systemd.properties(&self.unit))
            .is_ok_and(|unit| unit.text("Result").as_deref() == Some(result))
    }

    /// Whether this agent alone is to stop, for good. A polecat whose town goes down, or whose rig
    /// is stopped, comes back with them; so does one of which this is not known.
    fn is_alone(&self) -> bool {
        let patterns: Vec<&str> = TOWN_UNITS.into_iter().chain([self.unit.as_str()]).collect();
        let units = Systemd::connect().and_then(|systemd| systemd.units(&patterns));
        let refused = || {
            self.town_now()
                .map(|town| marks::refusal(&town, &self.agent))
        };
        units.is_ok_and(|units| stops_alone(&units, &self.unit)) && matches!(refused(), Ok(None))
    }

    /// Our exit status when a signal ends us before the agent was started.
    pub(super) fn stop_unstarted(&self) -> u8 {
        self.forget_if_alone();
        let units = self.ask().map(|(_, units)| units).unwrap_or_default();
        // A manager that was reloaded has forgotten how long we asked it to wait for our start.
        match is_stopping(&units, &self.unit) && !self.is_stopped_for("timeout") {
            true => 0,
            false => End::Signalled.status(),
        }
    }

    /// Asks the manager for the agent's unit, the town's target and all scopes; `None`: it does not
    /// tell.
    fn ask(&self) -> Option<(Systemd, BTreeMap<String, Unit>)> {
        let asked = Systemd::connect().and_then(|systemd| {
            let units = systemd.units(&[&self.unit, TARGET, SCOPES])?;
            Ok((systemd, units))
        });
        asked
            .inspect_err(|e| {
                log::warn!(gt_agent:% = self.agent; "{e:#}, taking the signal for a stop of {}", self.unit);
            })
            .ok()
    }

    /// Ends the agent, with more force as time goes by. systemd ends the rest of the cgroup.
    pub(super) fn end_agent(&self) {
        let begin = Instant::now();
        for (signal, until) in [
            (Signal::SIGTERM, HANGUP_AFTER),
            (Signal::SIGHUP, KILL_AFTER),
            (Signal::SIGKILL, KILL_AFTER + REAP_LIMIT),
        ] {
            let end = match process::watch(self.pid) {
                Ok(None) => return,
                Ok(end) => end,
                Err(_) => None,
            };
            for pid in process::unit_tree(self.pid) {
                let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
            }
            let wait = until.saturating_sub(begin.elapsed());
            // A process that cannot be watched is given the whole time.
            let mut fds: Vec<PollFd> = end
                .iter()
                .map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN))
                .collect();
            if poll(&mut fds, tools::timeout(wait)).is_ok_and(|n| n > 0) {
                return;
            }
        }
    }
}

/// Whether systemd is stopping the agent's unit, or does not tell.
fn is_stopping(units: &BTreeMap<String, Unit>, agent: &str) -> bool {
    units.get(agent).is_none_or(|unit| {
        matches!(unit.job.as_deref(), Some("stop" | "restart"))
            || !matches!(&*unit.active, "active" | "activating")
    })
}

/// Whether the pane stays, and with it whoever is attached: across a restart. When the whole town
/// stops, `gt-town.service` closes all panes at once.
fn keeps_pane(units: &BTreeMap<String, Unit>, agent: &str) -> bool {
    let job = |unit: &str| units.get(unit).and_then(|unit| unit.job.as_deref());
    matches!(job(agent), Some("restart" | "start"))
        || matches!(job(TARGET), Some("restart" | "stop"))
}

/// Whether an agent's unit is stopped, and the town is not: none of its units has a job. `units` are
/// the agent's and the town's.
fn stops_alone(units: &BTreeMap<String, Unit>, agent: &str) -> bool {
    let up = |target: &Unit| target.active == "active";
    let job = |name: &str| units.get(name).and_then(|unit| unit.job.as_deref());
    units.get(TARGET).is_none_or(up)
        && TOWN_UNITS.iter().all(|name| job(name).is_none())
        && job(agent) == Some("stop")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: &str = "gt-agent@gastown-crew-max.service";

    /// Units by name, state and job.
    fn units(states: &[(&str, &str, Option<&str>)]) -> BTreeMap<String, Unit> {
        let unit = |&(name, active, job): &(&str, &str, Option<&str>)| {
            let unit = Unit {
                name: name.into(),
                description: String::new(),
                active: active.into(),
                sub: String::new(),
                job: job.map(String::from),
                load: "loaded".into(),
            };
            (name.to_string(), unit)
        };
        states.iter().map(unit).collect()
    }

    #[test]
    fn a_signal_is_a_stop_only_where_systemd_knows_of_one() {
        for (states, want) in [
            (&[(AGENT, "active", None)][..], false),
            (&[(AGENT, "activating", Some("start"))], false),
            (&[(AGENT, "deactivating", Some("start"))], true),
            (&[(AGENT, "active", Some("stop"))], true),
            (&[(AGENT, "activating", Some("stop"))], true),
            (&[(AGENT, "deactivating", Some("restart"))], true),
            // Such as a limit that is reached.
            (&[(AGENT, "deactivating", None)], true),
            (&[(TARGET, "active", None)], true),
        ] {
            assert_eq!(is_stopping(&units(states), AGENT), want, "{states:?}");
        }
    }

    #[test]
    fn a_stop_of_the_town_is_nobodys_wish_for_one_agent() {
        let alone = |states: &[(&str, &str, Option<&str>)]| stops_alone(&units(states), AGENT);
        let stop = (AGENT, "deactivating", Some("stop"));
        assert!(alone(&[stop]));
        assert!(alone(&[stop, (TARGET, "active", None)]));
        assert!(!alone(&[stop, (TARGET, "inactive", None)]));
        assert!(!alone(&[(AGENT, "deactivating", Some("restart"))]));
        assert!(!alone(&[]));
        for name in TOWN_UNITS {
            assert!(alone(&[stop, (name, "active", None)]), "{name}");
            for job in ["stop", "restart"] {
                assert!(!alone(&[stop, (name, "active", Some(job))]), "{name}");
            }
        }
    }

    #[test]
    fn last_words_tell_why() {
        for (screen, want) in [
            (
                "Welcome\n\n Unable to connect to Anthropic services\n\n Failed to connect: ECONNREFUSED\n\n Note: more",
                Some("Unable to connect to Anthropic services"),
            ),
            ("$ agent\nbye\n ---\n", Some("bye")),
            (
                "> fix the error in main.rs\n* I cannot reproduce it\n\n* Ready\nFatal: no space left\n",
                Some("Fatal: no space left"),
            ),
            ("\u{7}error: no\u{1b}[31mthing", Some("error: no[31mthing")),
            ("\n ...\n", None),
            ("", None),
        ] {
            let words = last_words(screen);
            assert_eq!(words.as_deref(), want, "{screen}");
        }
        for (text, status, want) in [
            ("Last words: bye", 3, Some("'bye'")),
            ("No such file 'claude'", 127, Some("No such file 'claude'")),
            ("Bringing the worktree up to date", 1, None),
            (
                &crate::said::text(7, "gt-deacon", "/home/me/gt", None),
                78,
                None,
            ),
            ("", 78, None),
        ] {
            assert_eq!(why_failed(text, status).as_deref(), want, "{text}");
            let can_be = status == 127 && want.is_some();
            assert_eq!(is_unstartable(text, status), can_be, "{text}");
        }
        let error = anyhow::anyhow!("There is no town").context(Exit::BadConfig);
        let text = format!("{error:#}");
        assert!(is_unstartable(&text, 78) && !is_unstartable(&text, 1));
        for status in [78, 127] {
            assert!(!is_unstartable(&format!("{LAST_WORDS}{text}"), status));
        }
        assert_eq!(last_lines("\n "), "");
        assert_eq!(last_lines(" hm\n"), "; its last lines:\n hm\n");
        assert_eq!(last_words(&"x".repeat(1000)).map(|w| w.len()), Some(WORDS));
    }
}

//! One run of `gt-lifecycle`: takes requests from the spool and from mail, and has them done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use sd_notify::NotifyState;

use super::post::Post;
use super::request::Action;
use super::state::State;
use super::{SPOOL, STATE};
use crate::agent::Agent;
use crate::exit::Exit;
use crate::spool::{Entry, Spool};
use crate::systemd::Systemd;
use crate::town::Town;

/// How often jobs, mail and spool are looked at.
const POLL: Duration = Duration::from_millis(10);

/// After this what is new is left to the next run: the service may run for 5 min.
const LONG: Duration = Duration::from_secs(90);

/// How long another run may hold the lock before we give up.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// For how long a run that fails is tried again. It is the pace of the path unit too, which starts
/// the next run at once where requests could not even be claimed.
const RETRY_LIMIT: Duration = Duration::from_secs(45);

/// How often.
const RETRY_EVERY: Duration = Duration::from_secs(3);

/// Runs `gt-lifecycle` once. `spooled`: the spool's path unit started us, so mail can wait. As a
/// service it does not give up at once: a disk that is full may have room in a moment.
///
/// # Errors
/// The town, the manager or the spool cannot be used, or something is to be tried again.
pub fn run(spooled: bool) -> Result<Exit> {
    let is_service = std::env::var_os("NOTIFY_SOCKET").is_some();
    let begin = Instant::now();
    let mut told = false;
    let errors = loop {
        match attempt(spooled) {
            Err(e) if is_service && begin.elapsed() < RETRY_LIMIT => {
                if !told {
                    log::warn!("{e:#}; trying again for {} s", RETRY_LIMIT.as_secs());
                    told = true;
                }
                let _ = sd_notify::notify(&[NotifyState::Status(&format!("{e:#}"))]);
                std::thread::sleep(RETRY_EVERY);
            }
            done => break done?,
        }
    };
    match errors.is_empty() {
        true => Ok(Exit::Ok),
        false => Err(anyhow!("{}", errors.join("; "))),
    }
}

/// Does all there is to do; gives what did not work meanwhile. What it began and an error cut off,
/// the next one finds on disk.
fn attempt(spooled: bool) -> Result<Vec<String>> {
    let town = Town::load()?;
    let systemd = Systemd::connect()?;
    let spool = Spool::open(&town.path(SPOOL))?;
    let _lock = take_lock(&spool)?;
    let state = State::load(&spool.dir(STATE))?;
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let mut run = Run {
        town,
        systemd,
        spool,
        state,
        pending: BTreeMap::new(),
        held_back: BTreeSet::new(),
        errors: Vec::new(),
        executed: 0,
        refused: 0,
    };
    run.work(spooled)?;
    if run.executed + run.refused > 0 {
        log::info!(
            "{} requests executed, {} refused",
            run.executed,
            run.refused
        );
    }
    Ok(run.errors)
}

/// A request that has been taken on.
pub(super) struct Taken {
    pub entry: Entry,
    pub action: Action,
    pub mail: Option<String>,
    pub reason: Option<String>,
}

/// What is being done to one agent: the manager has a job for its unit.
pub(super) struct Pending {
    pub begun: Timestamp,
    pub since: Instant,
    pub taken: Vec<Taken>,
}

pub(super) struct Run {
    pub town: Town,
    pub systemd: Systemd,
    pub spool: Spool,
    pub state: State,
    pub pending: BTreeMap<Agent, Pending>,
    /// Entries in `cur/` whose mails are being deleted first.
    pub held_back: BTreeSet<PathBuf>,
    pub errors: Vec<String>,
    pub executed: usize,
    pub refused: usize,
}

impl Run {
    fn work(&mut self, spooled: bool) -> Result<()> {
        let begin = Instant::now();
        let mut post = Post::Unread;
        let mut claim = true;
        loop {
            let has_new = self.spool.has_new();
            if has_new && matches!(post, Post::Done) && begin.elapsed() > LONG {
                // The next run, which the path unit starts, goes on with what is under way.
                return Ok(());
            }
            let more = (claim || has_new) && self.claim()?;
            // What is waiting now goes first; mail is slow.
            if matches!(post, Post::Unread) {
                post = self.begin_mail(spooled)?;
            }
            claim = self.mail(&mut post)? | self.advance()? | more;
            let idle = self.pending.is_empty() && matches!(post, Post::Done);
            if idle && !claim && !self.spool.has_new() {
                // A plan whose requests are all gone has been carried out.
                if !self.state.planned.is_empty() {
                    self.state.planned.clear();
                    self.state.save(Timestamp::now())?;
                }
                return Ok(());
            }
            if !claim {
                std::thread::sleep(POLL);
            }
        }
    }
}

/// Waits until no other run works on the spool.
fn take_lock(spool: &Spool) -> Result<File> {
    let path = spool.dir("lock");
    let failed = || format!("Failed to lock '{}'", path.display());
    let mut options = File::options();
    let lock = options.create(true).append(true).open(&path);
    let lock = lock.with_context(failed)?;
    let deadline = Instant::now() + LOCK_LIMIT;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(POLL);
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(anyhow!("Another gt-lifecycle is at work").context(Exit::TryAgain));
            }
            Err(std::fs::TryLockError::Error(e)) => return Err(e).with_context(failed),
        }
    }
}

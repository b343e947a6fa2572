//! One run of `gt-lifecycle`: takes requests from the spool and from mail, and has them done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;

use super::post::Post;
use super::run::Run;
use super::state::State;
use super::{SPOOL, STATE};
use crate::exit::Exit;
use crate::job::{self, Desk, Done, Job};
use crate::spool::Spool;

/// How soon jobs, mail and spool are looked at again; it doubles while nothing happens.
const POLL: Duration = Duration::from_millis(10);

/// The longest such pause.
const LONGEST_POLL: Duration = Duration::from_millis(160);

/// After this what is new is left to the next run: the service may run for 5 min.
const LONG: Duration = Duration::from_secs(90);

/// When requests that were put off are looked at again.
const PUT_OFF: Duration = Duration::from_secs(60);

/// One run.
const JOB: Job = Job {
    name: "gt-lifecycle",
    lock: "daemon/lifecycle/lock",
    lock_limit: Duration::from_secs(10),
    patience: Duration::from_secs(45),
    needs_disk: true,
    arms_first: false,
};

/// Runs `gt-lifecycle` once.
///
/// # Errors
/// The town, the manager or the spool cannot be used, or something is to be tried again.
pub fn run() -> Result<Exit> {
    job::run(&JOB, attempt)
}

/// Does all there is to do; gives what did not work meanwhile. If an error cuts it off, the next
/// attempt finds on disk what was begun.
fn attempt(desk: &Desk<'_>) -> Result<Done> {
    let spool = Spool::open(&desk.town.path(SPOOL))?;
    let mut state = State::load(&spool.dir(STATE))?;
    // Before anything new is claimed: a new request may have the name of one that is gone.
    if state.forget_gone(&spool.shown("cur")?) {
        state.save(Timestamp::now())?;
    }
    job::ready();
    let mut run = Run {
        town: desk.town,
        systemd: desk.systemd,
        spool,
        state,
        pending: BTreeMap::new(),
        held_back: BTreeSet::new(),
        put_off: BTreeSet::new(),
        stuck: None,
        errors: Vec::new(),
        executed: 0,
        refused: 0,
    };
    run.work()?;
    if run.refused > 0 {
        run.spool.tidy()?;
    }
    if run.executed + run.refused > 0 {
        log::info!(
            "{} requests executed, {} refused",
            run.executed,
            run.refused
        );
    }
    let put_off = (!run.put_off.is_empty()).then(|| {
        let what = "Requests That Cannot Be Judged Yet";
        (Instant::now() + PUT_OFF, what.to_string())
    });
    let next = [run.next_mail(), put_off].into_iter().flatten();
    Ok(Done {
        starts: Vec::new(),
        next: next.min().filter(|_| !desk.stopped),
        failures: run.errors,
    })
}

impl Run<'_> {
    fn work(&mut self) -> Result<()> {
        let begin = Instant::now();
        let spooled = self.spool.has_new()?;
        let mut post = Post::Unread;
        let mut claim = true;
        let mut pause = POLL;
        loop {
            let has_new = self.has_new()?;
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
            if idle && !claim && !self.has_new()? {
                // A plan whose requests are all gone has been carried out.
                if self.stuck.is_none() && self.put_off.is_empty() && !self.state.planned.is_empty()
                {
                    self.state.planned.clear();
                    self.state.save(Timestamp::now())?;
                }
                return self.stuck.take().map_or(Ok(()), Err);
            }
            pause = match claim {
                true => POLL,
                false => {
                    std::thread::sleep(pause);
                    (2 * pause).min(LONGEST_POLL)
                }
            };
        }
    }

    /// Whether there is something new that can be claimed, as far as is known.
    fn has_new(&self) -> Result<bool> {
        Ok(self.stuck.is_none() && self.spool.has_new()?)
    }
}

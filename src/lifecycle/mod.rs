//! Requests to cycle, restart or shut down an agent: never lost, never done twice.
//!
//! A request is a file of the spool `daemon/lifecycle`; mail to the Deacon becomes such files
//! too. `gt-lifecycle` claims them, judges them ([`decide`]), and has the user manager do what is
//! asked for. So a request is carried out even if the agent that made it is ended by it.
//!
//! Exactly once, wherever the program is killed:
//!
//! 1. a request is in `new/` or `cur/` until it is finished;
//! 2. before anything is done, `state.json` says what is done to which invocation of the unit;
//! 3. a later run that finds such a plan looks at the unit: with another invocation the restart
//!    has happened, with the same one it is done now. A start in between looks at the plan
//!    ([`asked`]), so it hands off and has its worktree synced, no matter what caused the start;
//! 4. what was done is written down before its requests are removed; a run begins by forgetting
//!    what is planned for requests that are gone, for new ones may have the same names;
//! 5. a mail's id is remembered until the mail has left the inbox, before its request is removed.
//!
//! `tests/model/requests.rs` goes through every course of these steps, which it calls as [`step`]
//! does. Who changes their order changes it there first.

mod claim;
pub mod decide;
mod execute;
mod finish;
pub mod mail;
mod post;
pub mod presync;
pub mod request;
mod run;
mod state;
mod work;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use jiff::Timestamp;

use crate::agent::Agent;
use crate::exit::Exit;
use crate::files;
use crate::spool::Spool;
use crate::tools::Tools;
use crate::town::{self, Town, agent_state};
pub use post::forget_read;
pub use presync::Worktree;
pub use request::Action;
use request::Written;

use state::State;
pub use work::run;

/// The file in the spool that says what is under way.
const STATE: &str = "state.json";

/// The spool, below the town's root.
pub const SPOOL: &str = "daemon/lifecycle";

/// How often [`wait`] looks.
const WAIT_POLL: Duration = Duration::from_millis(20);

/// Asks for an action in the name of the agent; gives the request's file. Where the town wants
/// it, the agent's state file confirms the request.
///
/// # Errors
/// [`Exit::Usage`]: with its reason it is larger than a request may be. Any other: the state file
/// or the spool cannot be written.
pub fn submit(town: &Town, agent: &Agent, action: Action, reason: &str) -> Result<PathBuf> {
    let now = Timestamp::now();
    let written = Written {
        from: agent.to_string(),
        action: action.name().into(),
        timestamp: now.to_string(),
        reason: Some(reason.to_string()).filter(|r| !r.is_empty()),
        mail: None,
    };
    let text = serde_json::to_string_pretty(&written)?;
    if text.len() as u64 > files::ENTRY_LIMIT {
        let limit = files::ENTRY_LIMIT >> 10;
        let e = anyhow!("The reason is too long: a request has at most {limit} KiB");
        return Err(e.context(Exit::Usage));
    }
    if town.ours().verify_requests {
        agent_state::set(town, agent, action.name(), now)?;
    }
    let name = format!(
        "{}-{}-{action}",
        now.as_nanosecond(),
        nix::unistd::Pid::this()
    );
    Spool::open(&town.path(SPOOL))?.put(&name, &written)
}

/// Waits until the request of that file, as [`submit`] gave it, is executed, at most `limit`;
/// tells whether it is. A refusal is told to the caller, so nobody else need see to it.
///
/// # Errors
/// It was refused, its agent did not come up, or it is not known what became of it.
pub fn wait(town: &Town, path: &Path, limit: Duration) -> Result<bool> {
    let dir = town.path(SPOOL);
    let name = path.file_name().unwrap_or_default();
    let deadline = Instant::now() + limit;
    // In the order in which a request goes through them.
    let is_pending = || -> Result<bool> {
        Ok(files::is_there(&dir.join("new").join(name))?
            || files::is_there(&dir.join("cur").join(name))?)
    };
    while is_pending()? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(WAIT_POLL);
    }
    // No other request has its name, so it keeps the name in `failed/`.
    let failed = dir.join("failed").join(name);
    let spool = Spool::at(&dir);
    if !files::is_there(&failed)? {
        // A request that went with the spool was not executed.
        let is_here = files::is_dir(&dir.join("failed"))?;
        let (town, dir) = (town.root().display(), dir.display());
        ensure!(
            is_here,
            "'{dir}' has gone; bring the town '{town}' back and ask again"
        );
        return Ok(true);
    }
    let reason = spool.reason(&failed);
    spool.dismiss(&failed)?;
    bail!(
        "The request came to nothing: {}",
        reason.as_deref().unwrap_or("see 'gastownctl history'")
    )
}

/// The action that a start of the agent now carries out: a cycle or a restart that is planned and not
/// finished. Any start of the agent counts, whatever caused it, as it does for [`run()`].
pub fn asked(town: &Town, agent: &Agent) -> Option<Action> {
    let spool = Spool::at(&town.path(SPOOL));
    let planned = State::read(&spool.dir(STATE)).ok()?.planned.remove(agent)?;
    let is_there = |name: &String| planned.entries.contains_key(name);
    let asked = planned.action != Action::Shutdown && spool.shown("cur").ok()?.iter().any(is_there);
    asked.then_some(planned.action)
}

/// Whether there is anything to do for `gt-lifecycle`, as far as is known.
pub fn has_work(town: &Town) -> bool {
    let home = town::home();
    Spool::at(&town.path(SPOOL)).has_work()
        || home.map_or(true, |home| post::is_due(town, &Tools::locate(&home)))
}

/// Where the crash tests end the program, as by `kill -9`: at the step that GASTOWN_STOP_AT names.
fn step(name: &str) {
    if std::env::var_os("GASTOWN_STOP_AT").is_some_and(|at| at == name) {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::tests::town_with;

    #[test]
    fn a_request_that_goes_with_its_town_is_not_done() {
        let (_dir, town) = town_with(1, &[]);
        let asked = submit(&town, &Agent::deacon(), Action::Cycle, "").unwrap();
        let wait = || wait(&town, &asked, Duration::ZERO);
        assert!(!wait().unwrap());
        let (spool, away) = (town.path(SPOOL), town.path("away"));
        std::fs::rename(&spool, &away).unwrap();
        let told = wait().unwrap_err().to_string();
        assert!(told.contains("has gone"), "{told}");
        std::fs::rename(&away, &spool).unwrap();
        std::fs::remove_file(&asked).unwrap();
        assert!(wait().unwrap());
    }

    #[test]
    fn a_reason_that_is_too_long_is_refused_at_once() {
        let (_dir, town) = town_with(1, &[]);
        let ask = |reason: &str| submit(&town, &Agent::deacon(), Action::Cycle, reason);
        assert!(ask(&"x".repeat(60_000)).is_ok());
        // Each of these takes two bytes there.
        let e = ask(&"\n".repeat(40_000)).unwrap_err();
        assert_eq!(crate::exit::of(&e), Exit::Usage);
        assert!(format!("{e:#}").contains("64 KiB"));
        let counts = Spool::at(&town.path(SPOOL)).counts().unwrap();
        assert_eq!(counts.new, 1);
    }
}

//! What a run of `gt-lifecycle` knows while it works.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use jiff::Timestamp;

use super::request::Action;
use super::state::State;
use crate::agent::Agent;
use crate::spool::{Entry, Spool};
use crate::systemd::Systemd;
use crate::town::Town;

/// A request that has been taken on.
pub(super) struct Taken {
    pub entry: Entry,
    pub action: Action,
    pub mail: Option<String>,
    pub reason: Option<String>,
}

/// What is being done to one agent: the manager has a job for its unit.
pub(super) struct Pending {
    /// When it was begun; `None`: by an earlier run, so it may have been done before any moment of ours.
    pub begun: Option<Timestamp>,
    /// When this run took it on.
    pub since: Instant,
    pub taken: Vec<Taken>,
    /// What is planned has been queued, or was found done: not while the unit has a job of an
    /// earlier run.
    pub queued: bool,
}

/// A run: what it works on, and how far it is.
pub(super) struct Run<'a> {
    pub town: &'a Town,
    pub systemd: &'a Systemd,
    pub spool: Spool,
    pub state: State,
    pub pending: BTreeMap<Agent, Pending>,
    /// Entries in `cur/` whose mails are being deleted first.
    pub held_back: BTreeSet<PathBuf>,
    /// Entries in `cur/` that wait until it is known whether they may be executed; a later run looks at
    /// them again.
    pub put_off: BTreeSet<PathBuf>,
    /// Why something cannot be claimed. As long as it is there the path unit starts runs at once, so
    /// this run fails in the end.
    pub stuck: Option<anyhow::Error>,
    pub errors: Vec<String>,
    pub executed: usize,
    pub refused: usize,
}

//! The end of every request: done, done with another one, or refused; each in the journal.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use jiff::Timestamp;

use super::request::{Action, Request};
use super::run::{Run, Taken};
use super::step;
use crate::agent::Agent;
use crate::exit::{self, Exit};
use crate::journal;
use crate::spool::Entry;
use crate::town::agent_state;

impl Run<'_> {
    /// Reports and removes requests that were executed; without `executed`, an earlier request has
    /// done for them.
    pub(super) fn finish(
        &mut self,
        agent: &Agent,
        taken: Vec<Taken>,
        executed: Option<Action>,
    ) -> Result<()> {
        if self.town.ours().verify_requests {
            let actions: BTreeSet<Action> = taken.iter().map(|t| t.action).collect();
            for action in actions {
                if let Err(e) = agent_state::clear(self.town, agent, action.name()) {
                    log::warn!("{e:#}, ignoring");
                }
            }
        }
        step("cleared");
        let mails = taken.iter().filter_map(|t| t.mail.clone());
        self.remember(mails)?;
        self.spool.done_all(taken.iter().map(|t| &t.entry))?;
        step("removed");
        self.executed += taken.len();
        // Of requests for the strongest action the first counts as executed, all others as done with it.
        let mut told = executed.is_none();
        for taken in &taken {
            let name = taken.entry.name.as_str();
            let reason = taken.reason.as_deref().unwrap_or_default();
            if !told && executed == Some(taken.action) {
                told = true;
                log::info!(message_id = journal::REQUEST_DONE, gt_agent:% = agent,
                    gt_action:% = taken.action, gt_request = name, gt_reason = reason;
                    "{} of {agent} done, as request '{name}' asked", sentence(taken.action));
            } else {
                log::info!(message_id = journal::REQUEST_JOINED, gt_agent:% = agent,
                    gt_action:% = taken.action, gt_request = name, gt_reason = reason;
                    "{} of {agent} was done with another request, so '{name}' is done too",
                    sentence(taken.action));
            }
        }
        Ok(())
    }

    /// Leaves a request to a later run: what would tell whether it may be executed cannot be read.
    pub(super) fn put_off(&mut self, entry: &Entry, why: &str) {
        let name = entry.name.as_str();
        if self.put_off.insert(entry.path.clone()) {
            log::warn!(gt_request = name, gt_reason = why; "Request '{name}' waits: {why}");
        }
    }

    /// Puts off all requests for an agent that were begun and came to nothing: a later run judges
    /// them anew, so nothing is planned any more.
    pub(super) fn put_off_all(&mut self, agent: &Agent, why: &str) -> Result<()> {
        let pending = self.pending.remove(agent);
        if self.state.planned.remove(agent).is_some() {
            self.state.save(Timestamp::now())?;
        }
        for taken in pending.into_iter().flat_map(|pending| pending.taken) {
            self.put_off(&taken.entry, why);
        }
        Ok(())
    }

    /// As [`Run::give_up`], for an error. If the manager has gone, what is planned stays planned, and
    /// the next try goes on with it.
    pub(super) fn give_up_by(&mut self, agent: &Agent, why: anyhow::Error) -> Result<()> {
        match exit::of(&why) {
            Exit::NoManager => Err(why),
            _ => self.give_up(agent, &format!("{why:#}")),
        }
    }

    /// Puts all requests for an agent aside that were begun and came to nothing.
    pub(super) fn give_up(&mut self, agent: &Agent, why: &str) -> Result<()> {
        let Some(pending) = self.pending.remove(agent) else {
            return Ok(());
        };
        // The plan is dropped before the requests are put aside: a start of the agent in between would
        // take itself for the one that was asked for, and hand over.
        if self.state.planned.remove(agent).is_some() {
            self.state.save(Timestamp::now())?;
        }
        step("giving-up");
        for taken in &pending.taken {
            let about = Some((agent, taken.action));
            self.put_aside(&taken.entry, taken.mail.as_deref(), about, why, true)?;
        }
        Ok(())
    }

    /// Puts a request aside; gives its new path, and `None` where somebody has taken it away.
    pub(super) fn refuse(
        &mut self,
        entry: &Entry,
        mail: Option<&str>,
        request: Option<&Request>,
        why: &str,
    ) -> Result<Option<PathBuf>> {
        let about = request.map(|r| (&r.agent, r.action));
        self.put_aside(entry, mail, about, why, false)
    }

    fn put_aside(
        &mut self,
        entry: &Entry,
        mail: Option<&str>,
        about: Option<(&Agent, Action)>,
        why: &str,
        begun: bool,
    ) -> Result<Option<PathBuf>> {
        self.remember(mail.map(String::from))?;
        step("refusing");
        let path = self.spool.fail(entry, why)?;
        self.refused += 1;
        let name = entry.name.as_str();
        match about {
            Some((agent, action)) if begun => {
                log::warn!(message_id = journal::REQUEST_REFUSED, gt_agent:% = agent,
                    gt_action:% = action, gt_request = name, gt_reason = why;
                    "Request '{name}' to {action} {agent} came to nothing: {why}");
            }
            Some((agent, action)) => {
                log::warn!(message_id = journal::REQUEST_REFUSED, gt_agent:% = agent,
                    gt_action:% = action, gt_request = name, gt_reason = why;
                    "Refused request '{name}' to {action} {agent}: {why}");
            }
            None => {
                log::warn!(message_id = journal::REQUEST_REFUSED, gt_request = name,
                    gt_reason = why; "Refused request '{name}': {why}");
            }
        }
        Ok(path)
    }

    /// Notes mails whose requests are finished, so that none comes again.
    fn remember(&mut self, mails: impl IntoIterator<Item = String>) -> Result<()> {
        let before = self.state.mails.len();
        self.state.mails.extend(mails);
        if self.state.mails.len() > before {
            self.state.save(Timestamp::now())?;
        }
        Ok(())
    }
}

fn sentence(action: Action) -> &'static str {
    match action {
        Action::Cycle => "Cycle",
        Action::Restart => "Restart",
        Action::Shutdown => "Shutdown",
    }
}

//! From a plan to its end: what the user manager is asked to do, and what came of it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};

use super::request::Action;
use super::run::Run;
use super::state::Planned;
use super::step;
use crate::agent::{Agent, UNITS};
use crate::files;
use crate::session::fit;
use crate::systemd::{Unit, Verb, typed};
use crate::town::left::{Left, Note};
use crate::town::marks::{self, Mark};

/// How long a unit's job may take, the sync of a worktree apart: its own limits for stop and
/// start, and a reserve.
const JOB_LIMIT: Duration = Duration::from_secs(120);

/// An agent that is restarted sooner than this after its start has had a short life.
const SHORT_LIFE: SignedDuration = SignedDuration::from_secs(20);

/// After so many short lives within [`LOOP_WINDOW`](super::state::LOOP_WINDOW) an agent is in a
/// loop, such as one whose hook requests a restart at every start: it is left as it is.
const LOOP: usize = 8;

impl Run<'_> {
    /// Begins what is planned for an agent, or finds that an earlier run has done it: only a
    /// plan that was `resumed` can have been carried out.
    pub(super) fn begin(&mut self, agent: &Agent, resumed: bool) -> Result<()> {
        let planned = self.planned(agent)?.clone();
        let unit = agent.unit();
        let properties = self.systemd.properties(&unit)?;
        if resumed && properties.job().is_some() {
            // What the earlier run has queued may be done between our look and our own job:
            // `advance` comes back when it is.
            return Ok(());
        }
        if let Some(pending) = self.pending.get_mut(agent) {
            pending.queued = true;
        }
        let down = properties.text("ActiveState").as_deref() == Some("inactive");
        let renewed = resumed
            && properties.invocation() != planned.invocation
            && !(down && planned.action != Action::Shutdown);
        if planned.action == Action::Shutdown {
            // An earlier run of ours has stopped the agent. If somebody has started it since, or is
            // about to, that was after the request.
            if planned.held && (renewed || (resumed && down)) {
                return Ok(());
            }
            if !matches!(marks::held(self.town, agent), Ok(Some(_))) {
                let reason = self.reason(agent);
                marks::hold(self.town, agent, &reason, Timestamp::now())?;
            }
            step("held");
            // From here on only somebody who has lifted the hold can start it.
            let invocation = self.systemd.properties(&unit)?.invocation();
            if let Some(planned) = self.state.planned.get_mut(agent) {
                (planned.held, planned.invocation) = (true, invocation);
            }
            self.state.save(Timestamp::now())?;
            step("hold-noted");
            // Who asks for that has seen to it that the agent gave up.
            if properties.text("ActiveState").as_deref() == Some("failed") {
                self.systemd.reset_failed(&unit)?;
            }
            self.systemd.queue(Verb::Stop, &unit)?;
            return Ok(());
        }
        if renewed {
            return Ok(());
        }
        // The agent was allowed to run when this was planned; that may be long ago.
        if let Some(refusal) = marks::refusal(self.town, agent).filter(|_| resumed) {
            if refusal.mark == Mark::Unknown {
                return self.put_off_all(agent, &refusal.reason);
            }
            bail!("{agent} may not run: {refusal}");
        }
        if let (true, Err(e)) = (resumed, self.fit(agent)) {
            let why = fit::lost(agent, &e);
            if files::may_pass(&e) || e.is::<fit::Away>() {
                return self.put_off_all(agent, &why);
            }
            bail!(why);
        }
        let now = Timestamp::now();
        let lived = properties.main_started().map(|at| now.duration_since(at));
        let is_up = properties.text("ActiveState").as_deref() == Some("active");
        if is_up && lived.is_some_and(|lived| lived < SHORT_LIFE && !lived.is_negative()) {
            // A person who has raised the unit's limit of starts means requests, too.
            let limit = properties.number("StartLimitBurst");
            let limit = limit.map_or(LOOP, |burst| LOOP.max(burst as usize));
            let short_lives = self.state.short_lives(agent, now);
            if short_lives.len() >= limit {
                bail!(
                    "requests have restarted {agent} {limit} times within 15 min, each less than \
                     20 s after its start; it is left running, 'gastownctl restart {agent}' \
                     restarts it"
                );
            }
            short_lives.push(now);
        }
        // A restart that was asked for must not count for the limit that ends a crash loop.
        self.systemd.reset_failed(&unit)?;
        self.systemd.queue(Verb::Restart, &unit)?;
        Ok(())
    }

    /// Whether the agent has ended with status 75, which is no failure of its unit.
    fn asked_to_wait(&self, agent: &Agent) -> bool {
        matches!(
            Note::of(self.town, agent).load(),
            Ok(Some(Left::Waiting(_)))
        )
    }

    fn planned(&self, agent: &Agent) -> Result<&Planned> {
        let planned = self.state.planned.get(agent);
        planned.with_context(|| format!("There is no plan for {agent}"))
    }

    fn reason(&self, agent: &Agent) -> String {
        let taken = self.pending.get(agent).map(|p| &p.taken);
        let said = taken
            .into_iter()
            .flatten()
            .find_map(|t| t.reason.as_deref());
        match said {
            Some(said) => format!("shutdown requested: {said}"),
            None => "shutdown requested".into(),
        }
    }

    /// Goes on with every agent that can go on; tells whether one is finished.
    pub(super) fn advance(&mut self) -> Result<bool> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        let units = self.systemd.units(&[UNITS])?;
        // The manager starts an agent that failed again, until its limit is reached: `activating`.
        let is_busy = |unit: &Unit| unit.job.is_some() || unit.active == "activating";
        let presync: Duration = self
            .town
            .ours()
            .presync_limit
            .try_into()
            .unwrap_or_default();
        let limit = JOB_LIMIT + presync;
        let (mut free, mut done, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for (agent, pending) in &self.pending {
            if !units.get(&agent.unit()).is_some_and(is_busy) {
                let list = if pending.queued { &mut done } else { &mut free };
                list.push(agent.clone());
            } else if pending.since.elapsed() > limit {
                late.push(agent.clone());
            }
        }
        for agent in &free {
            if let Err(e) = self.begin(agent, true) {
                self.give_up_by(agent, e)?;
            }
        }
        let mut finished = Vec::new();
        for agent in &done {
            finished.extend(self.settle(agent)?.map(|action| (agent, action)));
        }
        // If this run is killed from here on, the next one knows by this that requests which were made
        // meanwhile are done, too: see `Verdict::Overtaken`.
        if !finished.is_empty() {
            self.state.save(Timestamp::now())?;
        }
        step("noted");
        for (agent, action) in finished {
            let taken = self.pending.remove(agent).map(|pending| pending.taken);
            self.finish(agent, taken.unwrap_or_default(), Some(action))?;
            self.state.planned.remove(agent);
        }
        for agent in &late {
            let why = format!(
                "it is not done after {} s; see 'systemctl --user status {}'",
                limit.as_secs(),
                typed(&agent.unit())
            );
            self.give_up(agent, &why)?;
        }
        if done.is_empty() && late.is_empty() {
            return Ok(false);
        }
        self.state.save(Timestamp::now())?;
        step("finished");
        Ok(true)
    }

    /// Asks the manager what became of an agent whose job is done; notes and gives what was done.
    /// Requests that came to nothing are given up.
    fn settle(&mut self, agent: &Agent) -> Result<Option<Action>> {
        step("job-done");
        let properties = self.systemd.properties(&agent.unit())?;
        let active = properties.text("ActiveState").unwrap_or_default();
        let planned = self.planned(agent)?;
        let renewed = properties.invocation() != planned.invocation;
        let (action, was_held) = (planned.action, planned.held);
        let runs = matches!(active.as_str(), "active" | "reloading" | "deactivating");
        let failure = match action {
            Action::Shutdown if !runs && active != "activating" => None,
            // Somebody has lifted the hold and started the agent since.
            Action::Shutdown if was_held && renewed => None,
            Action::Shutdown => Some(format!("{agent} is still {active}")),
            _ if renewed && runs => None,
            _ => Some(match marks::refusal(self.town, agent) {
                Some(refusal) if refusal.mark == Mark::Unknown => {
                    self.put_off_all(agent, &refusal.reason)?;
                    return Ok(None);
                }
                Some(refusal) => format!("{agent} may not run: {refusal}"),
                None if active == "inactive" && self.asked_to_wait(agent) => {
                    format!("{agent} asked to wait, and a later tick starts it")
                }
                None => format!(
                    "{agent} did not start ({}); see 'gastownctl logs {agent}'",
                    properties.text("Result").unwrap_or(active)
                ),
            }),
        };
        if let Some(why) = failure {
            self.give_up(agent, &why)?;
            return Ok(None);
        }
        let started = properties.main_started();
        let at = match action {
            // The agent has been started again since its stop, so a later request means the new run.
            Action::Shutdown if runs => None,
            Action::Shutdown => Some(Timestamp::now()),
            _ => Some(started.unwrap_or_else(Timestamp::now)),
        };
        if let Some(at) = at {
            self.state.done.insert(agent.clone(), (action, at));
        }
        Ok(Some(action))
    }
}

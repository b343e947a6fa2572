//! From the spool to a plan: what is refused, what is done with already, and what is about to be
//! done to whom.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use jiff::Timestamp;

use super::decide::{Standing, Verdict, judge};
use super::request::{Action, Request, Written};
use super::run::{Pending, Run, Taken};
use super::state::Planned;
use super::step;
use crate::agent::Agent;
use crate::files;
use crate::said;
use crate::session::{fit, process};
use crate::spool::{CLAIM_LIMIT, Claimed};
use crate::systemd::Properties;
use crate::town::marks::{self, Mark};
use crate::town::{Town, agent_state};

impl Run<'_> {
    /// Claims what is there, refuses what must be refused, and begins the rest; tells whether
    /// there may be more.
    pub(super) fn claim(&mut self) -> Result<bool> {
        let busy: BTreeSet<PathBuf> = self
            .pending
            .values()
            .flat_map(|p| p.taken.iter().map(|t| t.entry.path.clone()))
            .chain(self.held_back.iter().cloned())
            .chain(self.put_off.iter().cloned())
            .collect();
        let Claimed {
            entries,
            unread,
            stuck,
        } = self
            .spool
            .claim_others(CLAIM_LIMIT, |path| busy.contains(path))?;
        self.stuck = stuck;
        let seen_to = |run: &Self| run.executed + run.refused + run.put_off.len();
        let (all, before) = (entries.len(), seen_to(self));
        for entry in unread {
            if self.put_off.insert(entry.path) {
                self.errors.extend(entry.text.err());
            }
        }
        step("claimed");
        let now = Timestamp::now();
        let stopped = self.systemd.town_is_stopped()?;
        let mut standings = BTreeMap::new();
        let mut wanted: BTreeMap<Agent, Vec<Taken>> = BTreeMap::new();
        let mut joined = false;
        let mut waiting = Vec::new();
        // Agents that were being restarted, and for which a shutdown has come since.
        let mut stopping = BTreeSet::new();
        for entry in entries {
            let written = entry.text.clone().and_then(|text| Written::parse(&text));
            let mail = written
                .as_ref()
                .ok()
                .and_then(|w| Some(w.mail.as_ref()?.id.clone()));
            let max_age = self.town.ours().request_max_age;
            let may_wait = written.as_ref().is_ok_and(|w| w.is_younger(max_age, now));
            let unsure = Cell::new(false);
            let agent = |text: &str| {
                asker(self.town, text).map_err(|(why, is_unsure)| {
                    unsure.set(is_unsure);
                    why
                })
            };
            let request = match written.and_then(|w| Request::of(&w, agent)) {
                Ok(request) => request,
                Err(why) if unsure.get() && may_wait => {
                    self.put_off(&entry, &why);
                    continue;
                }
                Err(why) => {
                    self.refuse(&entry, mail.as_deref(), None, &why)?;
                    continue;
                }
            };
            let taken = Taken {
                action: request.action,
                reason: request.reason.clone(),
                entry,
                mail,
            };
            let agent = &request.agent;
            if stopped {
                let why = "the town is stopped; start it with 'gastownctl up'";
                self.refuse(&taken.entry, taken.mail.as_deref(), Some(&request), why)?;
                continue;
            }
            let planned = self.state.planned.get(agent);
            if planned.is_some_and(|p| p.entries.contains_key(&taken.entry.name)) {
                wanted.entry(agent.clone()).or_default().push(taken);
                continue;
            }
            if !standings.contains_key(agent) {
                standings.insert(agent.clone(), self.standing(agent)?);
            }
            let (mut standing, invocation) = standings[agent].clone();
            standing.unconfirmed = self.unconfirmed(&request);
            if let (Some(pending), Some(planned)) = (self.pending.get(agent), planned) {
                // Until the agent has been started anew, all requests mean its present run, so they
                // are one, and the strongest action is done.
                let stops = planned.action == Action::Shutdown;
                let joins = (!stops && invocation == planned.invocation)
                    || match request.action > planned.action {
                        true => request.action == Action::Shutdown,
                        false => pending.begun.is_some_and(|at| request.made.is_before(at)),
                    };
                if !joins {
                    // Its turn comes when what is being done now is done.
                    continue;
                }
                // The request counts although the unit may have been started since it was made.
                standing.started = None;
            } else if planned.is_some() {
                // An earlier run of ours has begun something for this agent. That is finished first: this
                // request may be done with it.
                waiting.push((agent.clone(), taken.entry));
                continue;
            }
            match judge(&request, &standing, max_age, now) {
                Verdict::Wait(why) => self.put_off(&taken.entry, &why),
                Verdict::Refuse(why) => {
                    self.refuse(&taken.entry, taken.mail.as_deref(), Some(&request), &why)?;
                }
                Verdict::Moot(why) => {
                    let mail = taken.mail.as_deref();
                    if let Some(path) = self.refuse(&taken.entry, mail, Some(&request), &why)? {
                        self.spool.excuse(&path)?;
                    }
                }
                Verdict::Overtaken => self.finish(agent, vec![taken], None)?,
                Verdict::Execute => match self.pending.get_mut(agent) {
                    Some(pending) => {
                        if let Some(planned) = self.state.planned.get_mut(agent) {
                            let name = taken.entry.name.clone();
                            planned.entries.insert(name, taken.action);
                            if taken.action > planned.action {
                                planned.action = taken.action;
                                if planned.action == Action::Shutdown {
                                    stopping.insert(agent.clone());
                                }
                            }
                        }
                        joined = true;
                        pending.taken.push(taken);
                    }
                    None => wanted.entry(agent.clone()).or_default().push(taken),
                },
            }
        }
        let (soon, later): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|(agent, _)| wanted.contains_key(agent));
        for (agent, entry) in later {
            let why = format!("it is not known what {agent} was asked for before");
            self.put_off(&entry, &why);
        }
        let resumed = self.plan(&wanted, &standings, joined, now)?;
        for agent in stopping {
            if let Err(e) = self.begin(&agent, false) {
                self.give_up_by(&agent, e)?;
            }
        }
        for (agent, taken) in wanted {
            let is_resumed = resumed.contains(&agent);
            let pending = Pending {
                begun: (!is_resumed).then_some(now),
                since: Instant::now(),
                taken,
                queued: false,
            };
            self.pending.insert(agent.clone(), pending);
            if let Err(e) = self.begin(&agent, is_resumed) {
                self.give_up_by(&agent, e)?;
            }
        }
        step("queued");
        Ok(!soon.is_empty() || (all == CLAIM_LIMIT && seen_to(self) > before))
    }

    /// Writes down what is about to be done, and tells for which agents an earlier run has written
    /// that down already.
    fn plan(
        &mut self,
        wanted: &BTreeMap<Agent, Vec<Taken>>,
        standings: &BTreeMap<Agent, (Standing, String)>,
        joined: bool,
        now: Timestamp,
    ) -> Result<BTreeSet<Agent>> {
        let mut changed = joined;
        let mut resumed = BTreeSet::new();
        for (agent, taken) in wanted {
            if self.state.planned.contains_key(agent) {
                resumed.insert(agent.clone());
                continue;
            }
            let Some(action) = taken.iter().map(|t| t.action).max() else {
                continue;
            };
            let invocation = standings.get(agent).map(|(_, id)| id.clone());
            let entries = taken.iter().map(|t| (t.entry.name.clone(), t.action));
            let planned = Planned {
                action,
                invocation: invocation.unwrap_or_default(),
                held: false,
                entries: entries.collect(),
            };
            self.state.planned.insert(agent.clone(), planned);
            changed = true;
        }
        if changed {
            self.state.save(now)?;
            step("planned");
        }
        Ok(resumed)
    }

    /// What is known of an agent, and its unit's invocation.
    fn standing(&self, agent: &Agent) -> Result<(Standing, String)> {
        let properties = self.systemd.properties(&agent.unit())?;
        // A request must not make an agent that the town lacks.
        let (unknown, unsure) = match self.town.lacks(agent) {
            Ok(lack) => (
                lack.filter(|_| properties.text("ActiveState").as_deref() != Some("active")),
                None,
            ),
            Err(e) => (None, Some(format!("it is not known where it works: {e:#}"))),
        };
        let refusal = marks::refusal(self.town, agent);
        let (unread, refusal) = match refusal {
            Some(r) if r.mark == Mark::Unknown => (Some(r.reason), None),
            other => (None, other.map(|r| r.reason)),
        };
        let mut standing = Standing {
            unknown,
            started: started(&properties),
            refusal,
            unsure: unsure.or(unread),
            last: self.state.done.get(agent).copied(),
            ..Standing::default()
        };
        if standing.unsure.is_none()
            && let Err(e) = self.fit(agent)
        {
            let why = match &e {
                e if e.is::<fit::Away>() => &mut standing.away,
                e if files::may_pass(e) => &mut standing.unsure,
                _ => &mut standing.unfit,
            };
            *why = Some(fit::lost(agent, &e));
        }
        Ok((standing, properties.invocation()))
    }

    /// As [`fit::check`], by the files as they are now: somebody may have mended them during our run.
    pub(super) fn fit(&self, agent: &Agent) -> Result<()> {
        let now = self.town.again();
        fit::check(now.as_ref().unwrap_or(self.town), agent)
    }

    fn unconfirmed(&self, request: &Request) -> Result<Option<String>, String> {
        if !self.town.ours().verify_requests {
            return Ok(None);
        }
        let (agent, action) = (&request.agent, request.action.name());
        let unconfirmed = agent_state::unconfirmed(self.town, agent, action);
        unconfirmed.map_err(|e| format!("it is not known whether {agent} asked for it: {e:#}"))
    }
}

/// Whose request it is; the error: why nobody's, and whether that is just not known now. `gt` signs
/// the mail of crew and of polecats alike, as `RIG/NAME`: where there are both, none is restarted for
/// the other.
fn asker(town: &Town, text: &str) -> Result<Agent, (String, bool)> {
    let agent = town
        .agent(text)
        .map_err(|e| (e.to_string(), e.is_unsure()))?;
    let polecat = Agent::parse(text).ok().filter(|polecat| *polecat != agent);
    let Some(polecat) = polecat else {
        return Ok(agent);
    };
    let [rig, name] = [polecat.rig(), polecat.name()].map(Option::unwrap_or_default);
    match files::is_dir(&town.path(rig).join("polecats").join(name)) {
        Ok(false) => Ok(agent),
        Ok(true) => Err((
            format!("it may be from {agent} or from {polecat}; 'gastownctl request' tells which"),
            false,
        )),
        Err(e) => Err((format!("{e:#}"), true)),
    }
}

/// When the agent's present run began. An agent that was adopted began before its unit did, and
/// requests from the time in between mean this run.
fn started(unit: &Properties) -> Option<Timestamp> {
    let process = unit
        .text("StatusText")
        .and_then(|text| said::process_of(&text));
    let process = process.and_then(process::started);
    let unit = unit.main_started()?;
    Some(process.map_or(unit, |process| process.min(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::tests::town_with;
    use std::fs;

    #[test]
    fn of_two_agents_of_one_name_none_is_taken_for_the_other() {
        let (_dir, town) = town_with(1, &[]);
        let asks = |text| asker(&town, text).map(|agent| agent.to_string());
        fs::create_dir_all(town.path("gastown/crew/max")).unwrap();
        assert_eq!(asks("gastown/max").unwrap(), "gastown/crew/max");
        let polecat = town.path("gastown/polecats/max");
        fs::create_dir_all(&polecat).unwrap();
        let (why, is_unsure) = asks("gastown/max/").unwrap_err();
        assert!(why.contains("gastown/polecats/max") && !is_unsure, "{why}");
        for text in ["gastown/crew/max", "gastown/polecats/max"] {
            assert_eq!(asks(text).unwrap(), text);
        }
        fs::remove_dir(&polecat).unwrap();
        std::os::unix::fs::symlink(&polecat, &polecat).unwrap();
        assert!(asks("gastown/max").unwrap_err().1);
    }
}

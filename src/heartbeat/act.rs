//! Carries a plan out. One step that fails does not stop the next; all failures are reported.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use super::decide::{SILENT_KEY, dead_beads};
use super::memory::{Hook, Memory};
use super::observe::{self, OWN_UNIT, World};
use super::observed::{Observed, Seen};
use super::plan::{Action, Plan, Step};
use super::{changes, pokes, tips};
use crate::agent::{Agent, Role};
use crate::alert::{self, unit_key};
use crate::journal;
use crate::session::{process, run};
use crate::systemd::{TARGET, Verb};
use crate::terminal::{self, Once, Outcome, State, Text, answer};
use crate::tools::{Tools, bd, mail};
use crate::town::docked::Labels;
use crate::town::left::Left;
use crate::town::{Town, home, marks, state};

/// The stem of the service that path units start, and of the transient one among them: see
/// [`changes`].
const CHANGED: &str = "gt-heartbeat-changed";

/// After this, nothing slow is begun; the unit may take 5 min.
const TOOL_LIMIT: Duration = Duration::from_secs(180);

/// Why a text is not typed where it would not be seen, so that nobody could tell whether it is taken.
const UNSEEN: &str = "what was typed there last did not show, so nothing more is typed until its screen changes, and \
     nothing at all after the third time; 'ready_prompt_prefix' in the settings tells what its input line begins with";

const NO_ROOM: &str = "its window is too small to show a text; attach to it from a larger one";

/// How soon a tick of which a part failed is followed by the next one.
const RETRY: SignedDuration = SignedDuration::from_secs(60);

/// Carries out what [`super::decide`] decided, and remembers it. Agents come first and calls of
/// `bd` and `gt` last, so that a hanging one delays no restart. Gives what failed of the plan, in
/// words, and when the next tick is due, and what for.
pub fn act(
    world: &World<'_>,
    observed: &Observed,
    mut plan: Plan,
    full: bool,
    begin: Instant,
) -> (Vec<String>, (Instant, String)) {
    let mut acting = Acting {
        world,
        observed,
        memory: plan.memory.clone(),
        failures: Vec::new(),
    };
    if let Some(gap) = &plan.gap {
        log::info!(message_id = journal::NOBODY_JUDGED, gt_reason = gap.as_str();
            "Nobody is judged this time: {gap}");
    }
    // A mail that is not sent yet must not count as sent if this run is killed.
    acting.set_told(&plan.steps, false);
    // First, because an action that is not remembered would be done again by each tick.
    if !plan.steps.is_empty() {
        let remembered = acting.memory.save(world.town);
        if !acting.note(remembered) {
            let counted;
            (counted, plan.steps) = plan
                .steps
                .into_iter()
                .partition(|step| step.action.is_counted());
            let agents = counted.iter().filter_map(|step: &Step| step.action.agent());
            agents.for_each(|agent| acting.restore_record(agent));
        }
    }
    acting.steps(&plan.steps);
    acting.lost_panes();
    for agent in &plan.forget {
        let forgot = world.systemd.reset_failed(&agent.unit());
        acting.note(forgot);
    }
    acting.agree(&plan.steps, begin);
    acting.pokes(&plan);
    let decided = Instant::now();
    acting.alerts(&plan);
    acting.watch(&plan);
    if !acting.mails(&plan.steps, begin) {
        let now = Timestamp::now();
        let pause = mail_pause(observed, &plan.steps, now);
        plan.bring_forward(now, Some(now + pause), "a mail that could not be sent");
    }
    if full {
        acting.beads(begin);
    }
    // Where the labels have changed, the next tick starts or stops agents for that.
    if (full || closes(observed, Timestamp::now())) && acting.docked(begin) {
        let now = Timestamp::now();
        plan.bring_forward(now, Some(now), "what is docked has changed");
    }
    if full {
        acting.memory.full = acting.memory.ticked;
    }
    let kept = world.town.keep_good();
    acting.note(kept);
    let counted = acting.state();
    acting.note(counted);
    if acting.failures.is_empty() {
        let over = "The heartbeat works again";
        acting.note(alert::clear(world.town, &unit_key(OWN_UNIT), over));
    }
    if !acting.failures.is_empty() {
        let now = Timestamp::now();
        plan.bring_forward(now, Some(now + RETRY), "what failed is tried again");
    }
    acting.memory.next.clone_from(&plan.memory.next);
    let saved = acting.memory.save(world.town);
    acting.note(saved);
    let failures = acting.failures;
    super::report(observed, &plan, begin, failures.len(), full);
    // At least a second from now: what is due sooner falls into this run.
    let due = decided + Duration::from_secs(plan.next.seconds);
    let due = due.max(Instant::now() + Duration::from_secs(1));
    (
        failures,
        (
            due,
            format!("Next Gas Town Heartbeat: {}", plan.next.reason),
        ),
    )
}

struct Acting<'a> {
    world: &'a World<'a>,
    observed: &'a Observed,
    memory: Memory,
    failures: Vec<String>,
}

/// Whether somebody has just closed the session of an agent of a rig, as `gt rig dock` does.
fn closes(observed: &Observed, now: Timestamp) -> bool {
    let pause = observed.rules.closed_pause;
    let is_recent = |since| (SignedDuration::ZERO..=pause).contains(&now.duration_since(since));
    observed.agents.iter().any(|(agent, seen)| {
        let closed = matches!(seen.left, Some(Left::Closed(since)) if is_recent(since));
        closed && seen.wanted && agent.rig().is_some()
    })
}

/// Whether what was to stop an agent is over: somebody may have started it again since this tick has
/// looked, and that start must not be taken back.
fn may_run_now(town: &Town, agent: &Agent, seen: &Seen) -> bool {
    !seen.dismissed && seen.refusal.is_some() && marks::refusal(town, agent).is_none()
}

/// How long until a mail that could not be sent is tried again: ever longer, as long as the agent that
/// it tells of has been down; of several agents, the one that went down last.
fn mail_pause(observed: &Observed, steps: &[Step], now: Timestamp) -> SignedDuration {
    let down = |step: &Step| match &step.action {
        Action::Tell { agent, .. } => observed.agents.get(agent)?.unit.down,
        _ => None,
    };
    let since = steps.iter().filter_map(down).max();
    let lasted = since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
    observed.rules.tick_interval.max(lasted)
}

impl Acting<'_> {
    /// Reports a failure, and goes on.
    fn note(&mut self, result: Result<()>) -> bool {
        if let Err(e) = &result {
            log::error!("{e:#}");
            self.failures.push(format!("{e:#}"));
        }
        result.is_ok()
    }

    /// Gives an agent the record that it had before the plan: an action that failed did not happen.
    fn restore_record(&mut self, agent: &Agent) {
        match self.observed.memory.agents.get(agent) {
            Some(before) => _ = self.memory.agents.insert(agent.clone(), before.clone()),
            None => _ = self.memory.agents.remove(agent),
        }
        if let Some(hook) = self.observed.memory.hooks.get(agent) {
            self.memory.hooks.insert(agent.clone(), hook.clone());
        }
    }

    fn steps(&mut self, steps: &[Step]) {
        // Before the first start: the start of a polecat is refused while many others have failed.
        for step in steps {
            if let Action::Retry { agent, .. } = &step.action {
                let forgot = self.world.systemd.reset_failed(&agent.unit());
                self.note(forgot);
            }
        }
        for step in steps {
            if let Action::Stop { agent } | Action::Restart { agent } = &step.action
                && self.is_frozen(agent)
            {
                log::info!("Leaving {agent}, which was frozen a moment ago");
                continue;
            }
            if let Action::Stop { agent } = &step.action
                && let Some(seen) = self.observed.agents.get(agent)
                && may_run_now(self.world.town, agent, seen)
            {
                log::info!("Leaving {agent}, which may run since a moment ago");
                continue;
            }
            let result = self.step(&step.action);
            let Some(result) = result else { continue };
            if self.note(result.map(drop)) {
                self.log_done(step);
            } else if let Some(agent) = step.action.agent() {
                self.restore_record(agent);
            }
        }
    }

    /// Whether an agent is frozen now. An emergency stop first freezes the agent and then sets its
    /// mark, so this tick may have seen the agent before it was frozen, and the mark.
    fn is_frozen(&self, agent: &Agent) -> bool {
        let now = self.world.systemd.properties(&agent.unit());
        now.is_ok_and(|unit| unit.is_frozen())
    }

    /// Has the manager do a step; `None`: the step is none of the manager's.
    fn step(&self, action: &Action) -> Option<Result<()>> {
        let systemd = self.world.systemd;
        let queue = |verb, unit: &str| systemd.queue(verb, unit).map(drop);
        Some(match action {
            Action::Stop { agent } => queue(Verb::Stop, &agent.unit()),
            Action::Restart { agent } => queue(Verb::Restart, &agent.unit()),
            // Starts that were asked for must not use up the limit that ends a crash loop.
            Action::Start { agent } | Action::Retry { agent, .. } => systemd
                .reset_failed(&agent.unit())
                .and_then(|()| queue(Verb::Start, &agent.unit())),
            Action::Restore { unit } => systemd
                .reset_failed(unit)
                .and_then(|()| queue(Verb::Start, unit)),
            Action::BringBack { agent, pid } => {
                let unit = agent.unit();
                let outside = process::tree(*pid).into_iter();
                let outside = outside.filter(|&pid| process::is_outside(pid, &unit));
                systemd.attach(&unit, &outside.collect::<Vec<u32>>())
            }
            Action::Poke { .. }
            | Action::Instruct { .. }
            | Action::TakeBack { .. }
            | Action::Agree { .. }
            | Action::Tell { .. }
            | Action::MarkDead { .. } => return None,
        })
    }

    fn log_done(&self, step: &Step) {
        let (id, level) = match &step.action {
            Action::Start { .. } | Action::Restore { .. } => {
                (journal::TICK_STARTED, log::Level::Info)
            }
            Action::Stop { .. } => (journal::TICK_STOPPED, log::Level::Info),
            Action::Retry { .. } => (journal::AGENT_RETRIED, log::Level::Info),
            Action::Restart { .. } => (journal::DEACON_STUCK, log::Level::Warn),
            Action::BringBack { .. } => (journal::AGENT_STRAYED, log::Level::Warn),
            Action::Poke { .. } => (journal::POKED, log::Level::Info),
            Action::Instruct { .. } => (journal::INSTRUCTED, log::Level::Info),
            Action::Tell { .. } => (journal::CRASH_TOLD, log::Level::Warn),
            Action::Agree { .. } => (journal::QUESTION_AGREED, log::Level::Warn),
            Action::TakeBack { .. } => (journal::POKE_UNANSWERED, log::Level::Info),
            Action::MarkDead { .. } => (journal::BEAD_MARKED_DEAD, log::Level::Warn),
        };
        let agent = step
            .action
            .agent()
            .map(Agent::to_string)
            .unwrap_or_default();
        log::log!(level, message_id = id, gt_agent = agent.as_str(), gt_action:% = step.action.name(),
            gt_reason = step.reason.as_str(); "{}: {}", step.action.done(), step.reason);
    }

    /// Has `gt-agent` look for the panes that this tick does not find, or finds with a process that is not
    /// in the unit: each knows its own best.
    fn lost_panes(&self) {
        let is_lost = |seen: &Seen| {
            seen.unit.is_active()
                && seen.unit.sub == "running"
                && !seen.unit.frozen
                && (seen.pane.is_none() || seen.strayed.is_some())
        };
        let agents = self.observed.agents.iter();
        let agents = agents.filter(|(_, seen)| self.observed.blind.is_none() && is_lost(seen));
        for (agent, _) in agents {
            let told = self
                .world
                .systemd
                .signal_main(&agent.unit(), run::LOST as i32);
            // It may have ended meanwhile.
            told.unwrap_or_else(|e| log::info!("{e:#}, ignoring"));
        }
    }

    /// Agrees to what agents ask, where the settings say so. When that has taken too long, the next
    /// tick goes on with it.
    fn agree(&mut self, steps: &[Step], begin: Instant) {
        for step in steps {
            let Action::Agree { agent, pane } = &step.action else {
                continue;
            };
            if begin.elapsed() > TOOL_LIMIT {
                return;
            }
            let seen = self.observed.agents.get(agent);
            let Some(State::Asks(question)) = seen.and_then(|seen| seen.terminal.clone()) else {
                continue;
            };
            let reader = observe::reader(self.world.town, agent);
            match answer::agree(&self.world.tmux, pane, &reader, &question) {
                Ok(true) => self.log_done(&Step {
                    reason: format!(
                        "it asked '{}'",
                        question.headline().replace(char::is_control, " ")
                    ),
                    ..step.clone()
                }),
                Ok(false) => log::info!("{agent} still asks, so a person has to answer"),
                Err(e) => {
                    self.note(Err(anyhow::anyhow!("Failed to answer {agent}: {e}")));
                }
            }
        }
    }

    /// Types all that is to be typed, at once.
    fn pokes(&mut self, plan: &Plan) {
        for (agent, why) in &plan.waits {
            log_wait(agent, why);
        }
        for (agent, how) in &plan.disagreements {
            let name = agent.to_string();
            log::info!(message_id = journal::REPORT_DISAGREES, gt_agent = name.as_str(),
                gt_reason = how.as_str(); "What {agent} reports is not what it shows: {how}");
        }
        let (steps, texts): (Vec<(&Step, &Agent)>, Vec<Text>) = plan
            .steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::Poke { agent, pane, text } => {
                    Some(((step, agent), self.text(agent, pane, text)))
                }
                Action::Instruct { agent, pane, text } => {
                    let text = self.text(agent, pane, text);
                    let once = Some(Once::words(text.pid));
                    Some(((step, agent), Text { once, ..text }))
                }
                Action::TakeBack { agent, pane } => {
                    let ours = tips::all();
                    let text = self.text(agent, pane, "");
                    Some(((step, agent), Text { ours, ..text }))
                }
                _ => None,
            })
            .unzip();
        let outcomes = terminal::tell(&self.world.tmux, texts);
        for ((step, agent), outcome) in steps.into_iter().zip(outcomes) {
            let name = agent.to_string();
            match outcome {
                Ok(Outcome::Told) => {
                    self.log_done(step);
                    if let Action::Instruct { pane, .. } = &step.action {
                        let forgot = self.world.tmux.forget_words(pane);
                        self.note(forgot.map_err(anyhow::Error::from));
                    }
                }
                Ok(Outcome::NoRoom) => {
                    self.restore_record(agent);
                    self.note_wait(agent, NO_ROOM.into());
                }
                Ok(Outcome::Taken(hold)) => {
                    self.restore_record(agent);
                    self.note_wait(agent, hold.words().into());
                }
                // The poke counts as one that was not answered: the screen stands still.
                Ok(Outcome::Unseen) => {
                    let before = self.observed.memory.agents.get(agent);
                    let before = before.and_then(|record| record.pokes.waits.clone());
                    self.memory.record(agent).pokes.waits = before;
                    self.note_wait(agent, UNSEEN.into());
                }
                // The next tick goes on with the first words.
                Ok(_) if matches!(step.action, Action::Instruct { .. }) => {}
                // The poke was typed, so it counts: a stuck agent gives no sign of it.
                Ok(Outcome::NotShown | Outcome::NotTaken) => {
                    log::warn!(message_id = journal::POKE_UNANSWERED, gt_agent = name.as_str(),
                        gt_reason = step.reason.as_str();
                        "Poked {agent}, but its screen does not show that it was taken");
                }
                Ok(Outcome::Waits(state)) => {
                    self.restore_record(agent);
                    let why = pokes::why_unfit(&state).unwrap_or_else(|| "it was too slow".into());
                    self.note_wait(agent, why);
                }
                Ok(Outcome::Gone) => self.restore_record(agent),
                Err(e) => {
                    self.note(Err(anyhow::anyhow!("Failed to poke {agent}: {e}")));
                    self.restore_record(agent);
                }
            }
        }
    }

    /// Tells why nothing is typed to an agent, when that begins.
    fn note_wait(&mut self, agent: &Agent, why: String) {
        let waits_for = &mut self.memory.record(agent).pokes.waits;
        if waits_for.replace(why.clone()).as_ref() != Some(&why) {
            log_wait(agent, &why);
        }
    }

    fn text(&self, agent: &Agent, pane: &str, text: &str) -> Text {
        let seen = self.observed.agents.get(agent);
        let reader = observe::reader(self.world.town, agent);
        Text {
            pane: pane.into(),
            pid: seen.map_or(0, |seen| seen.pid),
            text: text.into(),
            ours: observe::ours(self.world.town, agent),
            is_ready: seen.is_some_and(|seen| seen.terminal == Some(State::Free))
                && reader.look.is_none(),
            reader,
            once: None,
        }
    }

    /// Asks `bd` which rigs are docked; tells whether that has changed.
    fn docked(&mut self, begin: Instant) -> bool {
        let Ok(home) = home() else { return false };
        let town = self.world.town;
        if town.dialect().is_first() || begin.elapsed() > TOOL_LIMIT {
            return false;
        }
        match bd::rig_labels(&Tools::locate(&home), town, begin + TOOL_LIMIT) {
            Ok(None) => false,
            Ok(Some(labels)) => {
                let learned = Labels::learn(town, labels);
                let is_new = matches!(learned, Ok(true));
                self.note(learned.map(drop));
                is_new
            }
            Err(e) => {
                log::warn!("Whether rigs are docked is as it was: {e:#}");
                false
            }
        }
    }

    /// Marks the beads of agents that died without saying so. `bd` is slow, so the units are
    /// looked at again after it.
    fn beads(&mut self, begin: Instant) {
        let Ok(home) = home() else { return };
        if begin.elapsed() > TOOL_LIMIT {
            return;
        }
        let tools = Tools::locate(&home);
        let listed = Instant::now();
        let now = match observe::beads(self.world, &tools, self.observed) {
            Ok(None) => {
                self.memory.bd_failures = 0;
                return;
            }
            Ok(Some(now)) => now,
            Err(e) => {
                self.memory.bd_failures = self.memory.bd_failures.saturating_add(1);
                log::warn!("Nothing is known about beads, going on without: {e:#}");
                return;
            }
        };
        self.memory.bd_failures = 0;
        let beads = now.beads.as_deref().unwrap_or_default();
        for step in dead_beads(&now, beads) {
            if begin.elapsed() > TOOL_LIMIT {
                log::warn!("The tick took too long, leaving the other beads to the next");
                return;
            }
            let Action::MarkDead { bead, .. } = &step.action else {
                continue;
            };
            let Some(bead) = beads.iter().find(|b| b.id == *bead) else {
                continue;
            };
            match bd::mark_dead(&tools, self.world.town, bead, listed.elapsed()) {
                Ok(true) => self.log_done(&step),
                Ok(false) => {}
                Err(e) => _ = self.note(Err(e)),
            }
        }
        self.hooks(&tools, &now.agents, begin);
    }

    /// Learns what is on the hooks of polecats that are down. The next tick sees to it.
    fn hooks(&mut self, tools: &Tools, agents: &BTreeMap<Agent, Seen>, begin: Instant) {
        let town = self.world.town;
        if town.rigs_error().is_none() {
            let is_listed =
                |agent: &Agent| agent.rig().is_some_and(|rig| town.rigs().contains(rig));
            self.memory.hooks.retain(|agent, _| is_listed(agent));
        }
        let is_down = |seen: &Seen| seen.unit.is_down() && !seen.session;
        let down = agents
            .iter()
            .filter(|(agent, seen)| agent.role() == Role::Polecat && is_down(seen));
        let known = self.memory.hooks.keys();
        let rigs = down.map(|(agent, _)| agent).chain(known);
        let rigs: BTreeSet<String> = rigs
            .filter_map(|agent| agent.rig().map(String::from))
            .collect();
        let ask = |dir: &Path| match bd::hooked(tools, town, dir) {
            Ok(hooked) => hooked,
            Err(e) => {
                log::warn!("What is on hooks is as it was: {e:#}");
                None
            }
        };
        if rigs.is_empty() {
            return;
        }
        let Some(of_town) = ask(town.root()) else {
            return;
        };
        for rig in rigs {
            if begin.elapsed() > TOOL_LIMIT {
                return;
            }
            let Some(mut hooked) = ask(&town.path(&rig)) else {
                continue;
            };
            hooked.extend_from_slice(&of_town);
            hooked.retain(|(_, agent)| agent.rig() == Some(&rig));
            let is_hooked = |agent: &Agent, hook: &Hook| {
                agent.rig() != Some(&rig) || hooked.contains(&(hook.issue.clone(), agent.clone()))
            };
            self.memory
                .hooks
                .retain(|agent, hook| is_hooked(agent, hook));
            for (issue, agent) in hooked {
                if !self.memory.hooks.contains_key(&agent) && agents.get(&agent).is_none_or(is_down)
                {
                    let since = Timestamp::now();
                    let hook = Hook {
                        issue,
                        since,
                        started: None,
                    };
                    self.memory.hooks.insert(agent, hook);
                }
            }
        }
    }

    /// Notes whether the Witnesses have been told of the crashes that are to be told.
    fn set_told(&mut self, steps: &[Step], told: bool) {
        for step in steps {
            if let Action::Tell { agent, .. } = &step.action {
                self.memory.record(agent).told = told;
            }
        }
    }

    /// Mails the Witness of its rig that a polecat crashed, in the words of current `gt`. The next
    /// tick tries again those that were perhaps not sent. Tells whether all were sent.
    fn mails(&mut self, steps: &[Step], begin: Instant) -> bool {
        let Ok(home) = home() else { return true };
        let tools = Tools::locate(&home);
        if tools.path("gt").is_none() {
            self.set_told(steps, true);
            return true;
        }
        for step in steps {
            let Action::Tell { agent, to, issue } = &step.action else {
                continue;
            };
            let name = agent.name().unwrap_or_default();
            let rig = agent.rig().unwrap_or_default();
            let subject = format!("CRASHED_POLECAT: {rig}/{name} detected");
            let seen = self.observed.agents.get(agent);
            let gave_up = seen.filter(|seen| seen.unit.is_failed());
            let what_next = match gave_up {
                // If it runs again, the manager does not tell how its last run ended.
                None => "systemd starts it again, up to five times within 15 minutes".into(),
                Some(seen) => {
                    let why = alert::end(&seen.unit.result, seen.unit.status);
                    format!("It gave up: {why}; 'gastownctl recover {agent}' starts it again")
                }
            };
            let body = format!(
                "Polecat {name} crashed.\n\nhook_bead: {}\n\n{what_next}; \
                 'gastownctl status {agent}' tells what has become of it.",
                issue.as_deref().unwrap_or("unknown"),
            );
            if begin.elapsed() > TOOL_LIMIT {
                return false;
            }
            match mail::send(
                &tools,
                self.world.town.root(),
                &to.to_string(),
                &subject,
                &body,
            ) {
                Ok(()) => {
                    self.memory.record(agent).told = true;
                    self.log_done(step);
                }
                // A `gt` that hangs would take its whole time limit for each mail.
                Err(e) => {
                    log::warn!("Failed to tell {to} that {agent} crashed, trying again: {e}");
                    return false;
                }
            }
        }
        true
    }

    fn alerts(&mut self, plan: &Plan) {
        let town = self.world.town;
        if !plan.mass_death.is_empty() {
            let names: Vec<String> = plan.mass_death.iter().map(Agent::to_string).collect();
            let names = names.join(" ");
            log::warn!(message_id = journal::MASS_DEATH, gt_agents = names.as_str();
                "Agents died together: {names}");
        }
        for (key, summary) in &plan.raise {
            let fields = fields(key);
            let fields: Vec<_> = fields.iter().map(|(name, text)| (*name, &**text)).collect();
            self.note(alert::raise(town, key, summary, &fields));
        }
        for (key, summary) in &plan.clear {
            self.note(alert::clear(town, key, summary));
        }
        if alert::is_due(town) || alert::is_homeless() {
            alert::wake();
        }
    }

    /// Has a transient path unit bring the next tick forward for what the installed ones cannot name:
    /// emergency stops, and activity in an idle town.
    fn watch(&mut self, plan: &Plan) {
        let (town, systemd) = (self.world.town, self.world.systemd);
        self.note(changes::make_directories(town));
        let what = "Gas Town Heartbeat on";
        let watched = systemd.watch(CHANGED, what, &changes::wanted(town, plan.next.wake));
        self.note(watched);
    }

    fn state(&mut self) -> Result<()> {
        let town = self.world.town;
        // What `gt status` shows; when it is junk, there is nothing in it to keep.
        let mut state = state::load(town).unwrap_or_default();
        let systemd = self.world.systemd;
        let since = "ActiveEnterTimestamp";
        let target = systemd.read(&[TARGET], &[since])?.remove(TARGET);
        state.running = true;
        state.pid = std::process::id().into();
        state.started_at = target
            .and_then(|target| target.time(since))
            .or(state.started_at);
        let now = Timestamp::now();
        state.last_heartbeat = Some(now);
        self.memory.count(&mut state, now);
        state.save(town)
    }
}

/// The agent that an alert of a tick is about, by the alert's key.
fn agent_of(key: &str) -> Option<Agent> {
    if key == SILENT_KEY {
        return Some(Agent::deacon());
    }
    match key.split_once('-')? {
        ("unit" | "elsewhere", unit) => Agent::from_unit(unit).ok(),
        ("asks" | "busy" | "unknown" | "hook" | "gone", instance) => {
            Agent::from_instance(instance).ok()
        }
        _ => None,
    }
}

/// What an alert of a tick is about, for the journal and a person's program, by the alert's key.
fn fields(key: &str) -> Vec<(&'static str, String)> {
    let unit = key.strip_prefix("unit-").map(String::from);
    let agent = agent_of(key).map(|agent| agent.to_string());
    let fields = [("GT_UNIT", unit), ("GT_AGENT", agent)].into_iter();
    fields
        .filter_map(|(name, text)| Some((name, text?)))
        .collect()
}

fn log_wait(agent: &Agent, why: &str) {
    let name = agent.to_string();
    log::info!(message_id = journal::POKE_WAITS, gt_agent = name.as_str(), gt_reason = why;
        "The poke of {agent} waits: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartbeat::observed::Refused;

    #[test]
    fn an_alert_says_whom_it_is_about() {
        let unit = "gt-agent@deacon.service";
        let both = [("GT_UNIT", unit.into()), ("GT_AGENT", "deacon".into())];
        assert_eq!(fields(&format!("unit-{unit}")), both);
        assert_eq!(fields("mass-death"), []);
        for kind in super::super::watch::ALERTS {
            assert!(agent_of(&format!("{kind}a-witness")).is_some(), "{kind}");
        }
        for (key, want) in [
            ("unit-gt-agent@a-witness.service", Some("a/witness")),
            ("unit-gt-tmux.service", None),
            ("elsewhere-gt-agent@mayor.service", Some("mayor")),
            ("asks-a-crew-max", Some("a/crew/max")),
            ("polecats-mayor", None),
            ("config-mayor/daemon.json", None),
            ("deacon", Some("deacon")),
        ] {
            let agent = agent_of(key).map(|agent| agent.to_string());
            assert_eq!(agent.as_deref(), want, "{key}");
        }
    }

    #[test]
    fn who_is_no_longer_refused_is_not_stopped_for_it() {
        let (_dir, town) = crate::town::tests::town_with(1, &[]);
        let agent = Agent::deacon();
        marks::hold(&town, &agent, "", Timestamp::UNIX_EPOCH).unwrap();
        let refusal = marks::refusal(&town, &agent).unwrap();
        let refused = Refused {
            mark: refusal.mark.name().into(),
            reason: refusal.reason,
        };
        let held = Seen {
            refusal: Some(refused),
            ..Seen::default()
        };
        assert!(!may_run_now(&town, &agent, &held));
        marks::release(&town, &agent).unwrap();
        assert!(may_run_now(&town, &agent, &held));
        let dismissed = Seen {
            dismissed: true,
            ..held
        };
        assert!(!may_run_now(&town, &agent, &dismissed));
    }

    #[test]
    fn a_mail_about_one_that_is_down_for_long_is_tried_again_ever_later() {
        let now: Timestamp = "2026-01-16T10:00:00Z".parse().unwrap();
        let agent = Agent::parse("a/polecats/nux").unwrap();
        let step = Step {
            action: Action::Tell {
                agent: agent.clone(),
                to: Agent::parse("a/witness").unwrap(),
                issue: None,
            },
            reason: String::new(),
        };
        for (down, want) in [(None, 5), (Some(1), 5), (Some(5), 5), (Some(50), 50)] {
            let mut observed = Observed::default();
            let down = down.map(|minutes| now - SignedDuration::from_mins(minutes));
            observed.agents.entry(agent.clone()).or_default().unit.down = down;
            let pause = mail_pause(&observed, std::slice::from_ref(&step), now);
            assert_eq!(pause, SignedDuration::from_mins(want), "{down:?}");
        }
    }
}

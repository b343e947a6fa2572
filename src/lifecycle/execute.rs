//! `gt-lifecycle`: takes requests from the spool and from mail, and has them done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use jiff::Timestamp;
use sd_notify::NotifyState;

use super::decide::{Standing, Verdict, judge};
use super::request::{Action, Request, Written};
use super::state::{Planned, State};
use super::{SPOOL, mail, step};
use crate::agent::{Agent, Role};
use crate::exit::Exit;
use crate::spool::{CLAIM_LIMIT, Entry, Spool};
use crate::systemd::{Properties, Systemd, Unit, Verb};
use crate::tools::git::{self, Synced};
use crate::tools::mail::{self as gt_mail, Mail};
use crate::tools::{self, Tools};
use crate::town::{self, Town, agent_state, marks};
use crate::{files, journal};

/// How often jobs, mail and spool are looked at.
const POLL: Duration = Duration::from_millis(10);

/// How long a unit's job may take: its own limits for stop and start, and a reserve.
const JOB_LIMIT: Duration = Duration::from_secs(120);

/// After this no more is claimed: the service may run for 5 min.
const CLAIM_UNTIL: Duration = Duration::from_secs(90);

/// How often mail is read by runs that the spool started.
const MAIL_EVERY: Duration = Duration::from_secs(60);

/// After so many failures no more mails are deleted in this run.
const DELETE_FAILURES: usize = 3;

/// How long another run may hold the lock before we give up.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// How long `bd sync` may take.
const BD_LIMIT: Duration = Duration::from_secs(20);

/// Runs `gt-lifecycle` once. `spooled`: the spool's path unit started us, so mail can wait.
///
/// # Errors
/// The town, the manager or the spool cannot be used, or something is to be tried again.
pub fn run(spooled: bool) -> Result<Exit> {
    let town = Town::load()?;
    let systemd = Systemd::connect()?;
    let spool = Spool::open(&town.path(SPOOL))?;
    let _lock = take_lock(&spool)?;
    let state = State::load(&spool.dir("state.json"))?;
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
    match run.errors.is_empty() {
        true => Ok(Exit::Ok),
        false => Err(anyhow!("{}", run.errors.join("; "))),
    }
}

/// A request that has been taken on.
struct Taken {
    entry: Entry,
    action: Action,
    mail: Option<String>,
    reason: Option<String>,
}

enum Phase {
    /// Its worktree is being brought up to date.
    Sync(JoinHandle<()>),
    /// The manager has a job for its unit.
    Job,
}

/// What is being done to one agent.
struct Pending {
    phase: Phase,
    begun: Timestamp,
    since: Instant,
    taken: Vec<Taken>,
}

struct Run {
    town: Town,
    systemd: Systemd,
    spool: Spool,
    state: State,
    pending: BTreeMap<Agent, Pending>,
    /// Entries in `cur/` whose mails are being deleted first.
    held_back: BTreeSet<PathBuf>,
    errors: Vec<String>,
    executed: usize,
    refused: usize,
}

impl Run {
    fn work(&mut self, spooled: bool) -> Result<()> {
        let begin = Instant::now();
        let mut post = Post::Unread;
        let mut claim = true;
        loop {
            let open = begin.elapsed() < CLAIM_UNTIL;
            let more = open && (claim || self.spool.has_new()) && self.claim()?;
            // What is waiting now goes first; mail is slow.
            if matches!(post, Post::Unread) {
                post = self.begin_mail(spooled)?;
            }
            claim = self.mail(&mut post)? | self.advance()? | more;
            let idle = self.pending.is_empty() && matches!(post, Post::Done);
            if idle && !claim && !(open && self.spool.has_new()) {
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

    /// Claims what is there, refuses what must be refused, and begins the rest; tells whether
    /// there may be more.
    fn claim(&mut self) -> Result<bool> {
        let entries = self.spool.claim(CLAIM_LIMIT)?;
        step("claimed");
        let now = Timestamp::now();
        let stopped = self.systemd.town_is_stopped()?;
        let busy: BTreeSet<PathBuf> = self
            .pending
            .values()
            .flat_map(|p| p.taken.iter().map(|t| t.entry.path.clone()))
            .chain(self.held_back.iter().cloned())
            .collect();
        let (all, before) = (entries.len(), self.executed + self.refused);
        let mut standings = BTreeMap::new();
        let mut wanted: BTreeMap<Agent, Vec<Taken>> = BTreeMap::new();
        let mut joined = false;
        for entry in entries.into_iter().filter(|e| !busy.contains(&e.path)) {
            let written = entry.text.clone().and_then(|text| Written::parse(&text));
            let mail = written
                .as_ref()
                .ok()
                .and_then(|w| Some(w.mail.as_ref()?.id.clone()));
            let request = written.and_then(|w| Request::of(&w, |text| self.town.agent(text)));
            let request = match request {
                Ok(request) => request,
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
                let why =
                    "the town is stopped; start it with 'systemctl --user start gastown.target'";
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
            let (mut standing, _) = standings[agent].clone();
            standing.unconfirmed = self.unconfirmed(&request);
            if let Some(pending) = self.pending.get_mut(agent) {
                let stronger = planned.is_none_or(|p| request.action > p.action);
                if stronger || !request.made.is_before(pending.begun) {
                    // Its turn comes when what is being done now is done.
                    continue;
                }
                // The unit may have been started since this one was made.
                standing.started = None;
            }
            match judge(&request, &standing, self.town.ours().request_max_age, now) {
                Verdict::Refuse(why) => {
                    self.refuse(&taken.entry, taken.mail.as_deref(), Some(&request), &why)?;
                }
                Verdict::Overtaken => self.finish(agent, vec![taken], None)?,
                Verdict::Execute => match self.pending.get_mut(agent) {
                    Some(pending) => {
                        if let Some(planned) = self.state.planned.get_mut(agent) {
                            let name = taken.entry.name.clone();
                            planned.entries.insert(name, taken.action);
                        }
                        joined = true;
                        pending.taken.push(taken);
                    }
                    None => wanted.entry(agent.clone()).or_default().push(taken),
                },
            }
        }
        let resumed = self.plan(&mut wanted, &standings, joined, now)?;
        for (agent, taken) in wanted {
            let pending = Pending {
                phase: Phase::Job,
                begun: now,
                since: Instant::now(),
                taken,
            };
            self.pending.insert(agent.clone(), pending);
            if let Err(e) = self.begin(&agent, resumed.contains(&agent)) {
                self.give_up(&agent, &format!("{e:#}"))?;
            }
        }
        step("queued");
        Ok(all == CLAIM_LIMIT && self.executed + self.refused > before)
    }

    /// Writes down what is about to be done. An agent whose earlier plan is not finished keeps
    /// that one first; tells which these are.
    fn plan(
        &mut self,
        wanted: &mut BTreeMap<Agent, Vec<Taken>>,
        standings: &BTreeMap<Agent, (Standing, String)>,
        joined: bool,
        now: Timestamp,
    ) -> Result<BTreeSet<Agent>> {
        let mut changed = joined;
        let mut resumed = BTreeSet::new();
        for (agent, taken) in wanted.iter_mut() {
            let planned = self.state.planned.get(agent);
            if let Some(planned) =
                planned.filter(|p| taken.iter().any(|t| p.entries.contains_key(&t.entry.name)))
            {
                taken.retain(|t| planned.entries.contains_key(&t.entry.name));
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
        let standing = Standing {
            unknown: self.unknown(agent, &properties),
            started: properties.time("ExecMainStartTimestamp"),
            refusal: marks::refusal(&self.town, agent).map(|r| r.to_string()),
            unconfirmed: None,
            last: self.state.done.get(agent).copied(),
        };
        Ok((standing, properties.invocation()))
    }

    /// Why there is no such agent: a request must not make one.
    fn unknown(&self, agent: &Agent, properties: &Properties) -> Option<String> {
        if properties.text("ActiveState").as_deref() == Some("active") {
            return None;
        }
        let rig = agent.rig().unwrap_or_default();
        let name = agent.name().unwrap_or_default();
        if agent.rig().is_some() && !self.town.rigs().contains(rig) {
            return Some(format!(
                "the town has no rig '{rig}'; see 'mayor/rigs.json'"
            ));
        }
        let dir = match agent.role() {
            Role::Dog => format!("deacon/dogs/{name}"),
            Role::Crew => format!("{rig}/crew/{name}"),
            Role::Polecat => format!("{rig}/polecats/{name}"),
            _ => return None,
        };
        let exists = self.town.path(&dir).is_dir();
        (!exists).then(|| format!("the town has no agent {agent}: there is no '{dir}'"))
    }

    fn unconfirmed(&self, request: &Request) -> Option<String> {
        if !self.town.ours().verify_requests {
            return None;
        }
        let (agent, action) = (&request.agent, request.action.name());
        let verified = agent_state::verify(&self.town, agent, action);
        verified.err().map(|e| format!("{e:#}"))
    }

    /// Begins what is planned for an agent, or finds that an earlier run has done it: only a
    /// plan that was `resumed` can have been carried out.
    fn begin(&mut self, agent: &Agent, resumed: bool) -> Result<()> {
        let planned = self.planned(agent)?.clone();
        let unit = agent.unit();
        let renewed = resumed && {
            let properties = self.systemd.properties(&unit)?;
            let down = properties.text("ActiveState").as_deref() == Some("inactive");
            properties.invocation() != planned.invocation
                && !(down && planned.action != Action::Shutdown)
        };
        if planned.action == Action::Shutdown {
            if planned.held && renewed {
                // It was stopped, and somebody has started it since.
                return Ok(());
            }
            if marks::held(&self.town, agent).is_none() {
                let reason = self.reason(agent);
                marks::hold(&self.town, agent, &reason, Timestamp::now())?;
            }
            step("held");
            if let Some(planned) = self.state.planned.get_mut(agent) {
                planned.held = true;
            }
            self.state.save(Timestamp::now())?;
            step("hold-noted");
            self.systemd.queue(Verb::Stop, &unit)?;
            return Ok(());
        }
        if renewed {
            return Ok(());
        }
        if !matches!(agent.role(), Role::Refinery | Role::Crew) {
            return self.restart(agent);
        }
        let sync = Sync::new(&self.town, agent)?;
        if let Some(pending) = self.pending.get_mut(agent) {
            pending.phase = Phase::Sync(std::thread::spawn(move || sync.run()));
        }
        Ok(())
    }

    fn planned(&self, agent: &Agent) -> Result<&Planned> {
        let planned = self.state.planned.get(agent);
        planned.with_context(|| format!("There is no plan for {agent}"))
    }

    /// Has the manager stop the agent, if it runs, and start it.
    fn restart(&mut self, agent: &Agent) -> Result<()> {
        let handoff = self.handoff(agent);
        if self.planned(agent)?.action == Action::Cycle {
            files::write(&handoff, b"")?;
        } else {
            files::remove(&handoff)?;
        }
        step("handoff");
        let unit = agent.unit();
        self.systemd.reset_failed(&unit)?;
        self.systemd.queue(Verb::Restart, &unit)?;
        if let Some(pending) = self.pending.get_mut(agent) {
            pending.phase = Phase::Job;
            pending.since = Instant::now();
        }
        Ok(())
    }

    fn handoff(&self, agent: &Agent) -> PathBuf {
        self.town.path("daemon/handoff").join(agent.instance())
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
    fn advance(&mut self) -> Result<bool> {
        if self.pending.is_empty() {
            return Ok(false);
        }
        let synced: Vec<Agent> = self
            .pending
            .iter()
            .filter(|(_, p)| matches!(&p.phase, Phase::Sync(thread) if thread.is_finished()))
            .map(|(agent, _)| agent.clone())
            .collect();
        for agent in synced {
            step("synced");
            if let Err(e) = self.restart(&agent) {
                self.give_up(&agent, &format!("{e:#}"))?;
            }
        }
        let units = self.systemd.units(&["gt-agent@*.service"])?;
        let has_job = |unit: &Unit| unit.job.is_some();
        let (mut done, mut late) = (Vec::new(), Vec::new());
        for (agent, pending) in &self.pending {
            if !matches!(pending.phase, Phase::Job) {
                continue;
            }
            if !units.get(&agent.unit()).is_some_and(has_job) {
                done.push(agent.clone());
            } else if pending.since.elapsed() > JOB_LIMIT {
                late.push(agent.clone());
            }
        }
        for agent in &done {
            self.settle(agent)?;
        }
        for agent in &late {
            let unit = agent.unit();
            let why = format!(
                "its job is not done after {} s; see 'systemctl --user status {unit}'",
                JOB_LIMIT.as_secs()
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

    /// Asks the manager what became of an agent whose job is done.
    fn settle(&mut self, agent: &Agent) -> Result<()> {
        step("job-done");
        let properties = self.systemd.properties(&agent.unit())?;
        let active = properties.text("ActiveState").unwrap_or_default();
        let planned = self.planned(agent)?;
        let renewed = properties.invocation() != planned.invocation;
        let (action, was_held) = (planned.action, planned.held);
        let runs = matches!(active.as_str(), "active" | "reloading" | "deactivating");
        let failure = match action {
            Action::Shutdown if !runs && active != "activating" => None,
            // Somebody has started it since, and lifted the hold for it.
            Action::Shutdown if was_held && renewed => None,
            Action::Shutdown => Some(format!("{agent} is still {active}")),
            _ if renewed && runs => None,
            _ => Some(match marks::refusal(&self.town, agent) {
                Some(refusal) => format!("{agent} may not run: {refusal}"),
                None => format!(
                    "{agent} did not start ({}); see 'gastownctl logs {agent}'",
                    properties.text("Result").unwrap_or(active)
                ),
            }),
        };
        if let Some(why) = failure {
            return self.give_up(agent, &why);
        }
        let started = properties.time("ExecMainStartTimestamp");
        let at = match action {
            Action::Shutdown => Timestamp::now(),
            _ => started.unwrap_or_else(Timestamp::now),
        };
        let Some(pending) = self.pending.remove(agent) else {
            return Ok(());
        };
        self.state.done.insert(agent.clone(), (action, at));
        self.finish(agent, pending.taken, Some(action))?;
        self.state.planned.remove(agent);
        Ok(())
    }

    /// Reports and removes requests that were executed; without `executed`, they were done with
    /// by an earlier one.
    fn finish(&mut self, agent: &Agent, taken: Vec<Taken>, executed: Option<Action>) -> Result<()> {
        if self.town.ours().verify_requests {
            let actions: BTreeSet<Action> = taken.iter().map(|t| t.action).collect();
            for action in actions {
                if let Err(e) = agent_state::clear(&self.town, agent, action.name()) {
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
        // The first of the strongest is the one that was executed, the others came with it.
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

    /// Puts all requests for an agent aside that were begun and came to nothing.
    fn give_up(&mut self, agent: &Agent, why: &str) -> Result<()> {
        let Some(pending) = self.pending.remove(agent) else {
            return Ok(());
        };
        // A handoff that nobody has taken must not meet a later start.
        files::remove(&self.handoff(agent))?;
        for taken in &pending.taken {
            let about = Some((agent, taken.action));
            self.put_aside(&taken.entry, taken.mail.as_deref(), about, why)?;
        }
        self.state.planned.remove(agent);
        Ok(())
    }

    fn refuse(
        &mut self,
        entry: &Entry,
        mail: Option<&str>,
        request: Option<&Request>,
        why: &str,
    ) -> Result<()> {
        let about = request.map(|r| (&r.agent, r.action));
        self.put_aside(entry, mail, about, why)
    }

    fn put_aside(
        &mut self,
        entry: &Entry,
        mail: Option<&str>,
        about: Option<(&Agent, Action)>,
        why: &str,
    ) -> Result<()> {
        self.remember(mail.map(String::from))?;
        step("refusing");
        self.spool.fail(entry, why)?;
        self.refused += 1;
        let name = entry.name.as_str();
        match about {
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
        Ok(())
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

    /// Has the inbox read apart from us: `gt` may hang, and no request waits for it.
    fn begin_mail(&self, spooled: bool) -> Result<Post> {
        let stamp = self.spool.dir("mail-read");
        let age = || stamp.metadata().ok()?.modified().ok()?.elapsed().ok();
        if spooled && age().is_some_and(|age| age < MAIL_EVERY) {
            return Ok(Post::Done);
        }
        let tools = Tools::locate(&town::home()?);
        if tools.path("gt").is_none() {
            return Ok(Post::Done);
        }
        std::fs::write(&stamp, "")
            .with_context(|| format!("Failed to write '{}'", stamp.display()))?;
        let root = self.town.root().to_path_buf();
        let (news_out, news) = mpsc::channel();
        let (orders, orders_in) = mpsc::channel::<Vec<Mail>>();
        std::thread::spawn(move || {
            let _ = news_out.send(News::Inbox(gt_mail::inbox(&tools, &root, mail::IDENTITY)));
            let Ok(mails) = orders_in.recv() else { return };
            // Where `gt` is sick, each call may take its whole limit: a few failures are enough.
            let failures = mails
                .iter()
                .filter_map(|mail| gt_mail::delete(&tools, &root, mail).err());
            let _ = news_out.send(News::Deleted(failures.take(DELETE_FAILURES).collect()));
        });
        Ok(Post::Awaited { news, orders })
    }

    /// Takes what came by mail; tells whether there may be something to claim.
    fn mail(&mut self, post: &mut Post) -> Result<bool> {
        let Post::Awaited { news, orders } = post else {
            return Ok(false);
        };
        match news.try_recv() {
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => {
                *post = Post::Done;
                Ok(false)
            }
            Ok(News::Inbox(Err(e))) => {
                self.errors.push(e.to_string());
                *post = Post::Done;
                Ok(false)
            }
            Ok(News::Inbox(Ok(inbox))) => {
                let mails = self.spool_mails(inbox)?;
                step("mail-spooled");
                if mails.is_empty() || orders.send(mails).is_err() {
                    *post = Post::Done;
                }
                Ok(false)
            }
            Ok(News::Deleted(failures)) => {
                for e in failures {
                    log::warn!("A mail stays in the inbox, its request is executed once: {e}");
                }
                step("mail-deleted");
                self.held_back.clear();
                *post = Post::Done;
                Ok(true)
            }
        }
    }

    /// Makes entries of the mails that ask for something, and gives those to be deleted.
    fn spool_mails(&mut self, inbox: Vec<Mail>) -> Result<Vec<Mail>> {
        let known = self.state.mails.len();
        self.state
            .mails
            .retain(|id| inbox.iter().any(|mail| mail.id == *id));
        if self.state.mails.len() < known {
            self.state.save(Timestamp::now())?;
        }
        let is_agent = mail::is_address(|text| self.town.agent(text).ok());
        let mut mails = Vec::new();
        for mail in inbox.into_iter().filter(mail::is_request) {
            if !self.state.mails.contains(&mail.id) {
                let path = self
                    .spool
                    .put(&mail::stem(&mail.id), &mail::written(&mail, &is_agent))?;
                let name = path.file_name().unwrap_or_default();
                self.held_back.insert(self.spool.dir("cur").join(name));
            }
            mails.push(mail);
        }
        Ok(mails)
    }
}

enum News {
    Inbox(Result<Vec<Mail>, gt_mail::Unknown>),
    /// Those that failed.
    Deleted(Vec<gt_mail::Unknown>),
}

/// How far we are with the mail.
enum Post {
    Unread,
    Awaited {
        news: Receiver<News>,
        orders: Sender<Vec<Mail>>,
    },
    Done,
}

/// What the sync of a worktree needs, apart from the run.
struct Sync {
    agent: Agent,
    tools: Tools,
    dir: PathBuf,
    branch: String,
    limit: Duration,
}

impl Sync {
    fn new(town: &Town, agent: &Agent) -> Result<Sync> {
        let rig = agent.rig().unwrap_or_default();
        let branch = town.default_branch(rig).unwrap_or_else(|e| {
            log::warn!("{e:#}, using main");
            "main".into()
        });
        Ok(Sync {
            agent: agent.clone(),
            tools: Tools::locate(&town::home()?),
            dir: town.workdir(agent),
            branch,
            limit: town.ours().presync_limit.try_into().unwrap_or_default(),
        })
    }

    /// A failure is told, and the agent starts all the same.
    fn run(&self) {
        let begin = Instant::now();
        let (agent, dir) = (&self.agent, self.dir.display());
        match git::sync(&self.tools, &self.dir, &self.branch, self.limit) {
            Ok(Synced::Done) => {}
            Ok(Synced::NoWorktree) => return,
            Err(why) => log::warn!(gt_agent:% = agent, gt_reason = why.as_str();
                "The worktree '{dir}' of {agent} is not up to date, starting it all the same: {why}"),
        }
        let left = self.limit.saturating_sub(begin.elapsed()).min(BD_LIMIT);
        let Some(mut bd) = self.tools.command("bd", &self.dir) else {
            return;
        };
        match tools::run(bd.arg("sync"), left) {
            Ok(out) if out.status.success() => {}
            // Later versions have no such command.
            Ok(out) => log::debug!("'bd sync' in '{dir}' failed: {}", out.complaint()),
            Err(e) => log::warn!(gt_agent:% = agent; "'bd sync' in '{dir}' {e}, ignoring"),
        }
    }
}

fn sentence(action: Action) -> &'static str {
    match action {
        Action::Cycle => "Cycle",
        Action::Restart => "Restart",
        Action::Shutdown => "Shutdown",
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

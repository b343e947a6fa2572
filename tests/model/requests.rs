//! `gt-lifecycle`: requests for one agent, from the spool to what the user manager does to its
//! unit. See `src/lifecycle`; each [`Step`] is called as the step of the code after which it stands.

use stateright::{Checker, HasDiscoveries, Model, Property};

/// A town with one agent, and what may happen in it.
#[derive(Clone, Default)]
struct Requests {
    /// What each request asks for; they arrive at any time.
    asked: Vec<Action>,
    /// Their files have one name, as far as the spool allows it.
    one_name: bool,
    /// How many runs may be there at once, as the path unit, a tick and a person start them.
    runs: usize,
    /// How often a run is killed.
    kills: u8,
    /// How often a person starts or restarts the agent.
    person: u8,
    /// How often the agent ends by itself, and is started again by its unit.
    deaths: u8,
    /// What is left out, to see that the model would notice.
    without: Option<Defect>,
}

/// Ways to get it wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Defect {
    /// A claim takes the request out of the spool instead of moving it to `cur/`.
    NoCur,
    /// Runs do not wait for each other.
    NoLock,
    /// The restart is queued before it is written down what is planned.
    PlanAfterQueue,
    /// A plan that an earlier run has left is carried out without a look at the invocation.
    NoLookAtInvocation,
    /// Whatever was made before a run began joins what an earlier run has begun.
    JoinsResumed,
    /// Others are judged before it is known what became of an earlier run's plan.
    JudgesTooEarly,
    /// It takes a look at the unit while the manager does what an earlier run has queued.
    NoWaitForJob,
    /// An agent that is held and down is stopped again.
    StopsAgain,
    /// A start since a hold is told by the invocation of before the hold.
    HeldAsPlanned,
    /// A shutdown after which somebody has started the agent does for what was asked since.
    DoneThoughUp,
    /// The requests are removed before the job is queued.
    RemoveFirst,
    /// It is not written down that the agent is held already.
    NoHoldNoted,
    /// The requests are removed before it is written down what was done.
    RemoveBeforeDone,
    /// A plan that a run has left names requests that are gone, and may come again by their names.
    KeepsGone,
}

/// What is asked for; the later is the stronger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Action {
    Restart,
    Shutdown,
}

/// Where a request is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Place {
    /// Not written yet.
    Nowhere,
    New,
    Cur,
    /// Executed, or done with another one.
    Done,
    /// Refused, with a reason.
    Failed,
    Lost,
}

/// Some of the requests, a bit each.
type Set = u8;

fn has(set: Set, request: usize) -> bool {
    set & (1 << request) != 0
}

/// `planned` in `state.json`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Plan {
    action: Action,
    /// Before what is planned; once the agent is held, before it is stopped.
    invocation: u8,
    held: bool,
    /// By the names of their files.
    entries: Set,
}

/// `state.json`.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
struct State {
    plan: Option<Plan>,
    /// `done`: what was done last, and which requests had been made by then.
    done: Option<(Action, Set)>,
}

/// The agent's unit.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Unit {
    runs: bool,
    /// Counts its starts.
    invocation: u8,
    /// The manager has forgotten it, as it does with units that do not run.
    collected: bool,
}

impl Unit {
    /// Its invocation, as the manager gives it.
    fn id(&self) -> u8 {
        if self.collected { 0 } else { self.invocation }
    }
}

/// The job of the unit, and for which requests it is; none: it is a person's.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Job {
    Start,
    Stop(Set),
    Restart(Set),
}

/// The last step that a run has done.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Step {
    /// It has read `state.json`, or is done with an agent: it claims.
    Finished,
    /// Everything is in `cur/`. It has looked at the unit: when it was started, and its invocation.
    Claimed(Option<u8>, u8),
    /// It is written down what is done.
    Planned {
        resumed: bool,
    },
    /// It has looked at the unit, and the plan has not been carried out.
    Looked,
    Held,
    HoldNoted,
    Queued,
    JobDone,
    /// It is written down what was done.
    Noted,
    Removed,
    GivingUp,
}

/// A run, and what it keeps in memory.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Run {
    step: Step,
    state: State,
    /// `pending`: what it has taken on, and which requests were made before it did so; none where an
    /// earlier run has begun it.
    taken: Set,
    begun: Set,
    /// Something joined what is being done, and it must be stopped for it.
    joined: bool,
    stopping: bool,
    /// What is planned is queued, or was found done; not while there is a job of an earlier run.
    queued: bool,
    /// It claims again before it waits.
    again: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    place: Vec<Place>,
    /// The invocation that ran when the request was written.
    made: Vec<u8>,
    /// The name of its file in `cur/`.
    name: Vec<usize>,
    state: State,
    /// The agent's mark in `daemon/held`.
    held: bool,
    unit: Unit,
    job: Option<Job>,
    runs: Vec<Option<Run>>,
    /// How often our jobs have ended the agent for each request.
    ended: Vec<u8>,
    /// The requests after which the agent was down.
    down: Set,
    kills: u8,
    person: u8,
    deaths: u8,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    Arrive(usize),
    /// A run begins, or does its next step.
    Run(usize),
    /// One that waits for a job claims what is new.
    Claim(usize),
    Kill(usize),
    /// The manager goes on with its job.
    Manager,
    Collect,
    /// A person starts the agent, and so lifts the hold.
    Start,
    /// A person has the manager restart it.
    Restart,
    Death,
}

impl World {
    /// All that have been made.
    fn placed(&self) -> Set {
        let is_made = |r: &usize| self.place[*r] != Place::Nowhere;
        (0..self.place.len()).filter(is_made).map(|r| 1 << r).sum()
    }

    fn first(&self, place: Place) -> Option<usize> {
        self.place.iter().position(|p| *p == place)
    }

    /// What is in `cur/`, by name.
    fn names(&self) -> Set {
        let in_cur = |r: &usize| self.place[*r] == Place::Cur;
        let all = (0..self.place.len()).filter(in_cur);
        all.map(|r| 1 << self.name[r]).sum()
    }

    /// Moves a request to `cur/`.
    fn claim(&mut self, request: usize, model: &Requests) {
        let is_free = !has(self.names(), 0);
        self.name[request] = if model.one_name && is_free {
            0
        } else {
            request
        };
        self.place[request] = Place::Cur;
    }

    /// The agent has ended, by our job for these requests or otherwise.
    fn down(&mut self, set: Set) {
        self.unit.runs = false;
        self.down |= self.placed();
        for request in (0..self.ended.len()).filter(|r| has(set, *r)) {
            self.ended[request] += 1;
        }
    }

    /// The condition of a unit that is held is not met.
    fn start(&mut self) {
        if !self.unit.runs {
            self.unit.invocation += 1;
            self.unit.collected = false;
            self.unit.runs = !self.held;
        }
    }

    fn manager(&mut self) {
        match self.job.take() {
            Some(Job::Start) => self.start(),
            Some(Job::Stop(set)) if self.unit.runs => self.down(set),
            // Its second half is a start.
            Some(Job::Restart(set)) if self.unit.runs => {
                self.down(set);
                self.job = Some(Job::Start);
            }
            Some(Job::Restart(_)) => self.start(),
            Some(Job::Stop(_)) | None => {}
        }
    }

    /// What a run queues for the requests of its plan that ask for that.
    fn queue(&mut self, plan: &Plan, asked: &[Action]) {
        let of = |r: &usize| {
            let is_planned = self.place[*r] == Place::Cur && has(plan.entries, self.name[*r]);
            is_planned && asked[*r] == plan.action
        };
        let set = (0..asked.len()).filter(of).map(|r| 1 << r).sum();
        self.job = Some(match plan.action {
            Action::Shutdown => Job::Stop(set),
            Action::Restart => Job::Restart(set),
        });
    }

    /// The next step of a run; `None`: it has ended.
    fn step(&mut self, mut run: Run, model: &Requests) -> Option<Run> {
        match run.step {
            Step::Finished => match self.first(Place::New) {
                Some(request) => self.claim(request, model),
                None => {
                    run.again = false;
                    let started = Some(self.unit.invocation).filter(|_| !self.unit.collected);
                    run.step = Step::Claimed(started, self.unit.id());
                }
            },
            Step::Claimed(started, id) => return self.judge(run, started, id, model),
            Step::Planned { resumed: true }
                if self.job.is_some() && model.without != Some(Defect::NoWaitForJob) =>
            {
                (run.queued, run.step) = (false, Step::Queued);
            }
            Step::Planned { resumed } => {
                run.queued = true;
                let plan = run.state.plan.clone()?;
                let down = !self.unit.runs;
                let looks = model.without != Some(Defect::NoLookAtInvocation);
                let renewed = resumed
                    && looks
                    && self.unit.id() != plan.invocation
                    && !(down && plan.action == Action::Restart);
                run.step = match plan.action {
                    Action::Shutdown if plan.held && renewed => Step::Queued,
                    Action::Shutdown
                        if plan.held && down && model.without != Some(Defect::StopsAgain) =>
                    {
                        Step::Queued
                    }
                    Action::Restart if renewed => Step::Queued,
                    Action::Restart if resumed && self.held => {
                        run.state.plan = None;
                        self.state = run.state.clone();
                        Step::GivingUp
                    }
                    _ => Step::Looked,
                };
            }
            Step::Looked if run.state.plan.as_ref()?.action == Action::Shutdown => {
                self.held = true;
                run.step = Step::Held;
            }
            Step::Held => {
                let plan = run.state.plan.as_mut()?;
                plan.held = model.without != Some(Defect::NoHoldNoted);
                if model.without != Some(Defect::HeldAsPlanned) {
                    plan.invocation = self.unit.id();
                }
                self.state = run.state.clone();
                run.step = Step::HoldNoted;
            }
            Step::Looked | Step::HoldNoted => {
                if model.without == Some(Defect::RemoveFirst) {
                    self.remove(&run);
                }
                let plan = run.state.plan.clone()?;
                self.queue(&plan, &model.asked);
                run.step = Step::Queued;
            }
            Step::Queued => {
                if model.without == Some(Defect::PlanAfterQueue) {
                    self.state = run.state.clone();
                }
                run.step = match run.queued {
                    true => Step::JobDone,
                    false => Step::Planned { resumed: true },
                };
            }
            Step::JobDone => self.settle(&mut run, model),
            Step::Noted => {
                self.remove(&run);
                run.step = Step::Removed;
            }
            Step::Removed => {
                run.state.plan = None;
                self.state = run.state.clone();
                (run.taken, run.again, run.step) = (0, true, Step::Finished);
            }
            Step::GivingUp => match (0..self.place.len()).find(|r| has(run.taken, *r)) {
                Some(request) => {
                    self.place[request] = Place::Failed;
                    run.taken &= !(1 << request);
                }
                None => (run.again, run.step) = (true, Step::Finished),
            },
        }
        Some(run)
    }

    /// A new run, which forgets what is planned for requests that are gone.
    fn begin(&mut self, model: &Requests) -> Run {
        if model.without != Some(Defect::KeepsGone) {
            let names = self.names();
            let plan = self.state.plan.take();
            self.state.plan = plan.map(|plan| Plan {
                entries: plan.entries & names,
                ..plan
            });
            self.state.plan.take_if(|plan| plan.entries == 0);
        }
        Run {
            step: Step::Finished,
            state: self.state.clone(),
            taken: 0,
            begun: 0,
            joined: false,
            stopping: false,
            queued: false,
            again: false,
        }
    }

    fn remove(&mut self, run: &Run) {
        for request in (0..self.place.len()).filter(|r| has(run.taken, *r)) {
            self.place[request] = Place::Done;
        }
    }

    /// Refuses what must be refused, one at a time, and plans the rest.
    fn judge(
        &mut self,
        mut run: Run,
        started: Option<u8>,
        id: u8,
        model: &Requests,
    ) -> Option<Run> {
        let mut wanted = 0;
        for request in 0..self.place.len() {
            if self.place[request] != Place::Cur || has(run.taken, request) {
                continue;
            }
            let (action, name) = (model.asked[request], self.name[request]);
            let mut started = started;
            match run.state.plan.as_mut() {
                Some(plan) if has(plan.entries, name) => {
                    wanted |= 1 << request;
                    continue;
                }
                Some(plan) if run.taken != 0 => {
                    let joins = (plan.action != Action::Shutdown && id == plan.invocation)
                        || match action > plan.action {
                            true => true,
                            false => has(run.begun, request),
                        };
                    if !joins {
                        continue;
                    }
                    started = None;
                }
                Some(_) if model.without != Some(Defect::JudgesTooEarly) => {
                    run.again = true;
                    continue;
                }
                _ => {}
            }
            let is_done = |(done, by): (Action, Set)| action <= done && has(by, request);
            if run.state.done.is_some_and(is_done) {
                self.place[request] = Place::Done;
                return Some(run);
            }
            let is_late = started.is_some_and(|started| self.made[request] < started);
            if is_late || (self.held && action == Action::Restart) {
                self.place[request] = Place::Failed;
                return Some(run);
            }
            match run.state.plan.as_mut() {
                Some(plan) if run.taken != 0 => {
                    plan.entries |= 1 << name;
                    run.stopping |= action > plan.action;
                    plan.action = plan.action.max(action);
                    run.taken |= 1 << request;
                    run.joined = true;
                }
                _ => wanted |= 1 << request,
            }
        }
        let resumed = run.state.plan.is_some() && run.taken == 0;
        if wanted != 0 && !resumed {
            let all = || (0..self.place.len()).filter(|r| has(wanted, *r));
            run.state.plan = Some(Plan {
                action: all().map(|r| model.asked[r]).max()?,
                invocation: id,
                held: false,
                entries: all().map(|r| 1 << self.name[r]).sum(),
            });
            run.joined = true;
        }
        if run.joined && model.without != Some(Defect::PlanAfterQueue) {
            self.state = run.state.clone();
        }
        let begins = wanted != 0 || run.stopping;
        (run.joined, run.stopping) = (false, false);
        if wanted != 0 {
            let known = !resumed || model.without == Some(Defect::JoinsResumed);
            (run.taken, run.begun) = (wanted, if known { self.placed() } else { 0 });
        }
        run.step = match () {
            () if begins => Step::Planned { resumed },
            () if run.taken != 0 => Step::Queued,
            () if run.again || self.first(Place::New).is_some() => Step::Finished,
            () => {
                // A plan whose requests are all gone has been carried out.
                self.state.plan = None;
                return None;
            }
        };
        Some(run)
    }

    /// What became of the agent whose job is done.
    fn settle(&mut self, run: &mut Run, model: &Requests) {
        let Some(plan) = run.state.plan.clone() else {
            return;
        };
        let renewed = self.unit.id() != plan.invocation;
        let is_done = match plan.action {
            Action::Shutdown => !self.unit.runs || (plan.held && renewed),
            Action::Restart => self.unit.runs && renewed,
        };
        run.step = if is_done {
            let placed = self.placed();
            let before = |r: &usize| self.made[*r] < self.unit.invocation;
            let overtaken = match plan.action {
                Action::Shutdown => placed,
                // Until its start.
                Action::Restart => {
                    let before = (0..self.made.len()).filter(before).map(|r| 1 << r);
                    placed & before.sum::<Set>()
                }
            };
            let is_up = plan.action == Action::Shutdown && self.unit.runs;
            if !is_up || model.without == Some(Defect::DoneThoughUp) {
                run.state.done = Some((plan.action, overtaken));
            }
            if model.without != Some(Defect::RemoveBeforeDone) {
                self.state = run.state.clone();
            }
            Step::Noted
        } else {
            run.state.plan = None;
            self.state = run.state.clone();
            Step::GivingUp
        };
    }
}

impl Model for Requests {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            place: vec![Place::Nowhere; self.asked.len()],
            made: vec![0; self.asked.len()],
            name: vec![0; self.asked.len()],
            state: State::default(),
            held: false,
            unit: Unit {
                runs: true,
                invocation: 1,
                collected: false,
            },
            job: None,
            runs: vec![None; self.runs],
            ended: vec![0; self.asked.len()],
            down: 0,
            kills: self.kills,
            person: self.person,
            deaths: self.deaths,
        }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        let is_new = world.first(Place::New).is_some();
        // In `new/` the second would take the place of the first.
        if !(is_new && self.one_name) {
            events.extend(world.first(Place::Nowhere).map(Event::Arrive));
        }
        let work = is_new || world.first(Place::Cur).is_some() || world.state.plan.is_some();
        let is_free = |i: usize| {
            self.without == Some(Defect::NoLock)
                || (0..self.runs).all(|j| i == j || world.runs[j].is_none())
        };
        for (i, run) in world.runs.iter().enumerate() {
            let Some(run) = run else {
                if work && is_free(i) {
                    events.push(Event::Run(i));
                }
                continue;
            };
            let waits = run.step == Step::Queued;
            if !waits || world.job.is_none() {
                events.push(Event::Run(i));
            }
            if waits && (is_new || run.again) {
                events.push(Event::Claim(i));
            }
            if world.kills > 0 {
                events.push(Event::Kill(i));
            }
        }
        if world.job.is_some() {
            events.push(Event::Manager);
        } else if !world.unit.runs && !world.unit.collected {
            events.push(Event::Collect);
        }
        if world.person > 0 {
            events.extend([Event::Start, Event::Restart]);
        }
        if world.deaths > 0 && world.unit.runs && world.job.is_none() {
            events.push(Event::Death);
        }
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        match event {
            Event::Arrive(request) => {
                next.place[request] = Place::New;
                next.made[request] = world.unit.invocation;
                // The next start is one after it.
                next.down |= u8::from(!world.unit.runs) << request;
            }
            Event::Run(i) => {
                next.runs[i] = match next.runs[i].take() {
                    Some(run) => next.step(run, self),
                    None => Some(next.begin(self)),
                };
            }
            Event::Claim(i) => next.runs[i].as_mut()?.step = Step::Finished,
            Event::Kill(i) => {
                next.runs[i] = None;
                next.kills -= 1;
                if self.without == Some(Defect::NoCur) {
                    let lost = next.place.iter_mut().filter(|p| **p == Place::Cur);
                    lost.for_each(|place| *place = Place::Lost);
                }
            }
            Event::Manager => next.manager(),
            Event::Collect => next.unit.collected = true,
            Event::Start => {
                next.held = false;
                next.person -= 1;
                // The manager merges a start with a restart.
                if !matches!(next.job, Some(Job::Restart(_))) {
                    next.job = Some(Job::Start);
                }
            }
            Event::Restart => {
                next.person -= 1;
                if !matches!(next.job, Some(Job::Restart(_))) {
                    next.job = Some(Job::Restart(0));
                }
            }
            Event::Death => {
                next.deaths -= 1;
                next.down(0);
                next.start();
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is done twice", |_, w: &World| {
                w.ended.iter().all(|count| *count <= 1)
            }),
            Property::always("nothing is lost", |m: &Requests, w: &World| {
                let mut events = Vec::new();
                m.actions(w, &mut events);
                // What people and agents may still do is not needed for it.
                let needed = |e: &Event| !matches!(e, Event::Start | Event::Restart | Event::Death);
                let ended = |place: &Place| matches!(place, Place::Done | Place::Failed);
                events.iter().any(needed) || (w.place.iter().all(ended) && w.state.plan.is_none())
            }),
            Property::always("whoever was asked was down since", |_, w: &World| {
                let done = (0..w.place.len()).filter(|r| w.place[*r] == Place::Done);
                done.into_iter().all(|request| has(w.down, request))
            }),
            Property::always("no kill makes a refusal", |m: &Requests, w: &World| {
                // One for an earlier run is refused, if no other has done for it.
                let alike = m.asked.iter().all(|action| *action == m.asked[0]);
                let alone = m.person + m.deaths == 0 && alike && !w.held;
                !alone || w.first(Place::Failed).is_none()
            }),
            Property::sometimes("both are done by one job", |_, w: &World| {
                let done = w.place.iter().all(|place| *place == Place::Done);
                done && w.ended.iter().sum::<u8>() <= 2 && w.unit.invocation <= 2
            }),
        ]
    }
}

use Action::{Restart, Shutdown};

const PAIRS: [[Action; 2]; 4] = [
    [Restart, Restart],
    [Restart, Shutdown],
    [Shutdown, Restart],
    [Shutdown, Shutdown],
];

#[test]
fn requests_are_done_once_however_runs_end() {
    for asked in PAIRS {
        for (one_name, kills, person, deaths) in [
            (false, 2, 0, 0),
            (true, 2, 0, 0),
            (true, 2, 1, 1),
            (false, 1, 2, 0),
        ] {
            let model = Requests {
                asked: asked.to_vec(),
                one_name,
                runs: 2,
                kills,
                person,
                deaths,
                without: None,
            };
            let checker = model.checker().spawn_bfs().join();
            checker.assert_properties();
            println!(
                "{asked:?}, {kills} kills, {person} by a person, {deaths} deaths: {} states",
                checker.unique_state_count()
            );
        }
    }
}

#[test]
fn the_model_notices_defects() {
    for (defect, breaks) in [
        (Defect::NoCur, "nothing is lost"),
        (Defect::NoLock, "nothing is done twice"),
        (Defect::PlanAfterQueue, "nothing is done twice"),
        (Defect::NoLookAtInvocation, "nothing is done twice"),
        (Defect::JoinsResumed, "whoever was asked was down since"),
        (Defect::JudgesTooEarly, "no kill makes a refusal"),
        (Defect::NoWaitForJob, "nothing is done twice"),
        (Defect::StopsAgain, "nothing is done twice"),
        (Defect::HeldAsPlanned, "whoever was asked was down since"),
        (Defect::DoneThoughUp, "whoever was asked was down since"),
        (Defect::RemoveFirst, "whoever was asked was down since"),
        (Defect::NoHoldNoted, "nothing is done twice"),
        (Defect::RemoveBeforeDone, "no kill makes a refusal"),
        (Defect::KeepsGone, "whoever was asked was down since"),
    ] {
        let found = PAIRS.into_iter().any(|asked| {
            let model = Requests {
                asked: asked.to_vec(),
                one_name: defect == Defect::KeepsGone,
                runs: 2,
                kills: 2,
                person: u8::from(matches!(
                    defect,
                    Defect::NoHoldNoted | Defect::StopsAgain | Defect::DoneThoughUp
                )),
                deaths: u8::from(defect == Defect::DoneThoughUp),
                without: Some(defect),
            };
            let failed = HasDiscoveries::AnyOf([breaks].into());
            let checker = model.checker().finish_when(failed).spawn_bfs().join();
            checker.discovery(breaks).is_some()
        });
        assert!(found, "{defect:?}");
    }
}

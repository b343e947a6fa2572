//! `gt-lifecycle`: requests for one agent, from the spool to a new invocation of its unit.

use stateright::{Checker, Model, Property};

/// How many requests arrive, how often a run is killed, and how often a person restarts the unit.
#[derive(Clone)]
struct Requests {
    arrive: usize,
    kills: u8,
    person: u8,
    /// What is left out, to see that the model would notice.
    without: Option<Defect>,
}

/// Ways to get it wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Defect {
    /// The restart is queued before it is written down what is planned.
    PlanAfterQueue,
    /// A plan that an earlier run has left is carried out without a look at the invocation.
    NoLookAtInvocation,
    /// The requests are removed before the job is queued.
    RemoveFirst,
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
}

/// What `state.json` says.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Plan {
    invocation: u8,
    entries: Vec<usize>,
}

/// The last step that the present run has done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    Claimed,
    Planned,
    Queued,
    JobDone,
    Removed,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    place: Vec<Place>,
    /// The invocation that ran when the request was written; it asks for a later one.
    made: Vec<u8>,
    plan: Option<Plan>,
    invocation: u8,
    /// The manager has been asked for a restart and has not done it yet: one job, however often.
    job: bool,
    /// Each present run: its step, and whether it goes on with the plan of an earlier one.
    run: Option<(Step, bool)>,
    /// How many restarts we have caused for the plan of each request.
    caused: Vec<u8>,
    kills: u8,
    person: u8,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    Arrive(usize),
    /// The path unit starts a run, or the run does its next step.
    Run,
    Kill,
    /// The manager does its job.
    Manager,
    /// A person restarts the unit.
    Person,
}

impl World {
    fn at(&self, place: Place) -> Vec<usize> {
        (0..self.place.len())
            .filter(|r| self.place[*r] == place)
            .collect()
    }

    /// The requests of the plan that are still there.
    fn planned(&self) -> Vec<usize> {
        let plan = self.plan.iter().flat_map(|plan| plan.entries.clone());
        plan.filter(|r| self.place[*r] == Place::Cur).collect()
    }

    fn remove(&mut self) {
        for request in self.planned() {
            self.place[request] = Place::Done;
        }
    }

    /// One step of a run; gives the step.
    fn step(&mut self, without: Option<Defect>) {
        let Some((step, resumed)) = self.run else {
            for request in self.at(Place::New) {
                self.place[request] = Place::Cur;
            }
            self.run = Some((Step::Claimed, false));
            return;
        };
        let renewed = |world: &World| {
            let plan = world.plan.as_ref();
            plan.is_some_and(|plan| plan.invocation != world.invocation)
        };
        self.run = match step {
            Step::Claimed if !self.planned().is_empty() => Some((Step::Planned, true)),
            Step::Claimed => {
                // One that was started after the request was made needs no restart for it.
                for request in self.at(Place::Cur) {
                    if self.made[request] < self.invocation {
                        self.place[request] = Place::Done;
                    }
                }
                let entries = self.at(Place::Cur);
                if entries.is_empty() {
                    None
                } else {
                    if without == Some(Defect::PlanAfterQueue) {
                        self.job = true;
                    }
                    self.plan = Some(Plan {
                        invocation: self.invocation,
                        entries,
                    });
                    Some((Step::Planned, false))
                }
            }
            Step::Planned => {
                if without == Some(Defect::RemoveFirst) {
                    self.remove();
                }
                let looks = without != Some(Defect::NoLookAtInvocation);
                if !(resumed && looks && renewed(self)) {
                    self.job = true;
                }
                Some((Step::Queued, resumed))
            }
            // It waits for the job.
            Step::Queued if self.job => Some((Step::Queued, resumed)),
            Step::Queued => Some((Step::JobDone, resumed)),
            Step::JobDone => {
                self.remove();
                Some((Step::Removed, resumed))
            }
            Step::Removed => {
                self.plan = None;
                None
            }
        };
    }
}

impl Model for Requests {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            place: vec![Place::Nowhere; self.arrive],
            made: vec![0; self.arrive],
            plan: None,
            invocation: 1,
            job: false,
            run: None,
            caused: vec![0; self.arrive],
            kills: self.kills,
            person: self.person,
        }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        let arrives = world.at(Place::Nowhere).into_iter().map(Event::Arrive);
        events.extend(arrives);
        let work = !world.at(Place::New).is_empty() || !world.at(Place::Cur).is_empty();
        let waits = matches!(world.run, Some((Step::Queued, _))) && world.job;
        if (world.run.is_some() && !waits) || (world.run.is_none() && work) {
            events.push(Event::Run);
        }
        if world.run.is_some() && world.kills > 0 {
            events.push(Event::Kill);
        }
        if world.job {
            events.push(Event::Manager);
        }
        if world.person > 0 {
            events.push(Event::Person);
        }
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        match event {
            Event::Arrive(request) => {
                next.place[request] = Place::New;
                next.made[request] = world.invocation;
            }
            Event::Run => next.step(self.without),
            Event::Kill => {
                next.run = None;
                next.kills -= 1;
            }
            Event::Manager => {
                next.job = false;
                next.invocation += 1;
                for request in 0..self.arrive {
                    let is_planned = world.plan.as_ref();
                    if is_planned.is_some_and(|plan| plan.entries.contains(&request)) {
                        next.caused[request] += 1;
                    }
                }
            }
            Event::Person => {
                // Of two restarts that wait, the manager makes one.
                next.job = false;
                next.invocation += 1;
                next.person -= 1;
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "what is done was answered by a later start",
                |_, w: &World| {
                    w.at(Place::Done)
                        .iter()
                        .all(|request| w.invocation > w.made[*request])
                },
            ),
            Property::always("nothing is done twice", |_, w: &World| {
                w.caused.iter().all(|count| *count <= 1)
            }),
            Property::eventually("nothing is lost", |m: &Requests, w: &World| {
                w.at(Place::Done).len() == m.arrive && w.run.is_none()
            }),
            Property::sometimes("two are done by one restart", |_, w: &World| {
                w.at(Place::Done).len() == 2 && w.caused == [1, 1] && w.invocation == 2
            }),
        ]
    }
}

#[test]
fn requests_are_done_once_however_runs_end() {
    let model = Requests {
        arrive: 2,
        kills: 3,
        person: 2,
        without: None,
    };
    let checker = model.checker().spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn the_model_notices_defects() {
    for (defect, breaks) in [
        (Defect::PlanAfterQueue, "nothing is done twice"),
        (Defect::NoLookAtInvocation, "nothing is done twice"),
        (
            Defect::RemoveFirst,
            "what is done was answered by a later start",
        ),
    ] {
        let model = Requests {
            arrive: 2,
            kills: 2,
            person: 0,
            without: Some(defect),
        };
        let checker = model.checker().spawn_bfs().join();
        assert!(checker.discovery(breaks).is_some(), "{defect:?}");
    }
}

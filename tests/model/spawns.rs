//! `gt-spawn-trigger`: one spawn, from the spool to the word that its agent takes. See
//! `src/spawn` and `src/terminal/typing.rs`, whose notes and marks the steps have their names from.

use stateright::{Checker, HasDiscoveries, Model, Property};

/// What may happen to one spawn.
#[derive(Clone, Default)]
struct Spawns {
    /// How many runs may be there at once.
    runs: usize,
    /// How often a run is killed.
    kills: u8,
    /// How often the agent's process is replaced, in its pane or with the whole server.
    restarts: u8,
    /// How often the program drops the word that was typed, or an Enter.
    drops: u8,
    /// How often a person types something, or empties the line.
    person: u8,
    /// What is left out, to see that the model would notice.
    without: Option<Defect>,
}

impl Spawns {
    /// Something besides runs may keep it from being told.
    fn disturbed(&self) -> bool {
        self.restarts + self.drops + self.person > 0
    }
}

/// Ways to get it wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Defect {
    /// Runs do not wait for each other.
    NoLock,
    /// A claim takes the spawn out of the spool instead of moving it to `cur/`.
    NoCur,
    /// It is written down that the word may have been typed when it was taken.
    NotedLate,
    /// The pane is not marked when the word is typed.
    NoTyped,
    /// The pane is not marked when Enter is pressed.
    NoEntered,
    /// Keys go out wherever the cursor is by then.
    NoCursor,
    /// Keys go out to whatever process is there by then.
    NoPid,
    /// The entry is renamed when Enter is pressed, whether or not that was taken.
    DoneUnseen,
    /// That the word may have been typed is believed of a pane whose marks say that it was not.
    TypingForever,
}

/// Where the spawn is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Place {
    New,
    Cur,
    Done,
    /// Failed, and a person is told.
    Failed,
    Lost,
}

/// What stands in the input line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Line {
    /// The program does not show one yet.
    Hidden,
    Empty,
    /// The word.
    Ours,
    /// What a person types.
    Draft,
    /// The word, glued to something else.
    Glued,
}

/// A process in a pane of a server. No number comes again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Process {
    server: u8,
    pid: u8,
}

/// The agent's pane, as tmux shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Pane {
    process: Process,
    line: Line,
    /// The mark of the word, with the process it was typed for.
    typed: Option<u8>,
    /// The mark of its Enter.
    entered: bool,
}

/// The spawn's record in `state.json`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Record {
    seen: Option<Process>,
    typing: bool,
}

/// The last step that a run has done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    Claimed,
    /// It has looked at the pane, and the word is to be typed there.
    Looked,
    /// The record says that the word may have been typed.
    Noted,
    /// It has typed the word, or finds it typed: whether it did so itself, and how often it has
    /// pressed Enter.
    Typed {
        began: bool,
        enters: u8,
    },
    /// The screen showed that the word was taken.
    Taken,
}

/// A run: what it has done, what it has seen of the pane since, and what it has noted in memory.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Run {
    step: Step,
    sight: Option<Pane>,
    record: Record,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    place: Place,
    record: Record,
    pane: Pane,
    /// The deadline has passed. It is far away: how many runs have begun since the last other event.
    late: bool,
    passes: u8,
    /// How often an agent has taken the word, and how often that went wrong: it was glued to
    /// something else, or typed for another process.
    told: u8,
    wrong: u8,
    runs: Vec<Option<Run>>,
    kills: u8,
    restarts: u8,
    drops: u8,
    person: u8,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    /// A run begins, looks at the pane, or does its next step with what it has seen.
    Run(usize),
    /// The same, with keys that the program does not take.
    Swallow(usize),
    Kill(usize),
    /// The program shows its input line.
    Ready,
    /// The program drops the word before Enter was pressed. After it nobody could tell that from
    /// a word that was taken, nor a person's Enter from a program that dropped the word.
    Drop,
    /// Another process in the pane, or in another server's.
    Respawn,
    ServerGone,
    /// A person types, or empties the line.
    Person,
    Deadline,
}

impl World {
    /// What a run types or presses, as one step of the server with what it notes.
    fn strike(&mut self, run: &Run, seen: Pane, enter: bool, swallow: bool, model: &Spawns) {
        let is = |defect| model.without == Some(defect);
        let pane = &mut self.pane;
        if (Some(pane.process) != run.record.seen && !is(Defect::NoPid))
            || (pane.line != seen.line && !is(Defect::NoCursor))
        {
            return;
        }
        if enter {
            pane.entered |= !is(Defect::NoEntered);
            if !swallow {
                self.told += u8::from(pane.line == Line::Ours);
                self.wrong += u8::from(pane.line == Line::Glued);
                pane.line = Line::Empty;
            }
        } else if pane.typed.is_none() {
            if !is(Defect::NoTyped) {
                pane.typed = run.record.seen.map(|seen| seen.pid);
            }
            self.wrong += u8::from(Some(pane.process) != run.record.seen);
            pane.line = match pane.line {
                line if swallow => line,
                Line::Hidden => Line::Hidden,
                Line::Empty => Line::Ours,
                _ => Line::Glued,
            };
        }
    }

    /// The run ends, and so does the spawn when its time is over.
    fn wait(&mut self) -> Option<Run> {
        if self.late { self.fail() } else { None }
    }

    fn fail(&mut self) -> Option<Run> {
        self.place = Place::Failed;
        None
    }

    /// The next step of a run; `None`: it has ended.
    fn step(&mut self, mut run: Run, swallow: bool, model: &Spawns) -> Option<Run> {
        let Some(sight) = run.sight.take() else {
            run.sight = Some(self.pane);
            return Some(run);
        };
        match run.step {
            Step::Claimed => return self.decide(run, sight, model),
            Step::Looked => {
                run.record.typing = true;
                if model.without != Some(Defect::NotedLate) {
                    self.record = run.record;
                }
                run.step = Step::Noted;
            }
            Step::Noted => return self.tell(run, sight, (false, 0), swallow, model),
            Step::Typed { began, enters } => {
                return self.tell(run, sight, (began, enters), swallow, model);
            }
            Step::Taken => {
                self.record = run.record;
                self.place = Place::Done;
                return None;
            }
        }
        Some(run)
    }

    /// As `spawn::decide`.
    fn decide(&mut self, mut run: Run, sight: Pane, model: &Spawns) -> Option<Run> {
        let here = |seen: Process| seen.server == sight.process.server;
        let record = &mut run.record;
        if model.without != Some(Defect::TypingForever) {
            record.typing &= sight.typed.is_some() || !record.seen.is_some_and(here);
        }
        if !record.typing {
            record.seen = Some(sight.process);
        }
        match sight.typed {
            Some(pid) if pid != sight.process.pid => return self.fail(),
            Some(_) => {}
            // Nobody can know whether it was typed there.
            None if record.typing && !record.seen.is_some_and(here) => return self.fail(),
            None if sight.line != Line::Empty => return self.wait(),
            None => {}
        }
        run.step = Step::Looked;
        Some(run)
    }

    /// As `typing::Attempt`; `mine`: whether this run has typed the word, and how often it has
    /// pressed Enter.
    fn tell(
        &mut self,
        mut run: Run,
        sight: Pane,
        mine: (bool, u8),
        swallow: bool,
        model: &Spawns,
    ) -> Option<Run> {
        if Some(sight.process) != run.record.seen {
            // The next look finds out what that means.
            return None;
        }
        let (began, enters) = mine;
        let without = |defects: &[Defect]| model.without.is_some_and(|d| defects.contains(&d));
        // Without the marks a run knows but what it did itself.
        let typed = sight.typed.is_some() || (began && without(&[Defect::NoTyped]));
        let unmarked = without(&[Defect::NoTyped, Defect::NoEntered]);
        let entered = sight.entered || (enters > 0 && unmarked);
        run.step = match (typed, entered, sight.line) {
            (_, true, Line::Empty | Line::Draft) => Step::Taken,
            (true, entered, Line::Ours) if !entered || enters < 3 => {
                self.strike(&run, sight, true, swallow, model);
                match model.without {
                    Some(Defect::DoneUnseen) => Step::Taken,
                    _ => Step::Typed {
                        began,
                        enters: enters + 1,
                    },
                }
            }
            // Two runs have not seen it: it was lost, and may be typed again.
            (true, false, Line::Empty) if !began => {
                self.pane.typed = None;
                return self.wait();
            }
            (false, false, Line::Empty) if !began => {
                self.strike(&run, sight, false, swallow, model);
                Step::Typed {
                    began: true,
                    enters,
                }
            }
            _ => return self.wait(),
        };
        Some(run)
    }
}

impl Model for Spawns {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            place: Place::New,
            record: Record::default(),
            pane: Pane {
                process: Process { server: 1, pid: 1 },
                line: Line::Hidden,
                typed: None,
                entered: false,
            },
            late: false,
            passes: 0,
            told: 0,
            wrong: 0,
            runs: vec![None; self.runs],
            kills: self.kills,
            restarts: self.restarts,
            drops: self.drops,
            person: self.person,
        }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        let is_open = matches!(world.place, Place::New | Place::Cur);
        let is_free = |i: usize| {
            self.without == Some(Defect::NoLock)
                || (0..self.runs).all(|j| i == j || world.runs[j].is_none())
        };
        for (i, run) in world.runs.iter().enumerate() {
            match run {
                None if is_open && is_free(i) && world.passes <= PASSES => {
                    events.push(Event::Run(i));
                }
                None => {}
                Some(_) => {
                    events.push(Event::Run(i));
                    if world.drops > 0 {
                        events.push(Event::Swallow(i));
                    }
                    if world.kills > 0 {
                        events.push(Event::Kill(i));
                    }
                }
            }
        }
        if !is_open {
            return;
        }
        let pane = &world.pane;
        if pane.line == Line::Hidden {
            events.push(Event::Ready);
        }
        if world.drops > 0 && pane.line == Line::Ours && !pane.entered {
            events.push(Event::Drop);
        }
        if world.restarts > 0 {
            events.extend([Event::Respawn, Event::ServerGone]);
        }
        if world.person > 0 && pane.line != Line::Hidden {
            events.push(Event::Person);
        }
        if !world.late && world.passes >= PASSES && (self.disturbed() || pane.line != Line::Hidden)
        {
            events.push(Event::Deadline);
        }
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        if !matches!(event, Event::Run(_)) {
            next.passes = 0;
        }
        match event {
            Event::Run(i) | Event::Swallow(i) => {
                let swallow = matches!(event, Event::Swallow(_));
                next.drops -= u8::from(swallow);
                next.runs[i] = match next.runs[i].take() {
                    Some(run) => next.step(run, swallow, self),
                    None => {
                        next.passes += 1;
                        next.place = Place::Cur;
                        Some(Run {
                            step: Step::Claimed,
                            sight: None,
                            record: world.record,
                        })
                    }
                };
            }
            Event::Kill(i) => {
                next.runs[i] = None;
                next.kills -= 1;
                if self.without == Some(Defect::NoCur) && next.place == Place::Cur {
                    next.place = Place::Lost;
                }
            }
            Event::Ready => next.pane.line = Line::Empty,
            Event::Drop => {
                next.pane.line = Line::Empty;
                next.drops -= 1;
            }
            Event::Respawn => {
                next.pane.process.pid += 1;
                next.pane.line = Line::Hidden;
                next.restarts -= 1;
            }
            Event::ServerGone => {
                next.pane = Pane {
                    process: Process {
                        server: world.pane.process.server + 1,
                        pid: world.pane.process.pid + 1,
                    },
                    line: Line::Hidden,
                    typed: None,
                    entered: false,
                };
                next.restarts -= 1;
            }
            Event::Person => {
                next.person -= 1;
                next.pane.line = match world.pane.line {
                    Line::Empty => Line::Draft,
                    Line::Ours => Line::Glued,
                    _ => Line::Empty,
                };
            }
            Event::Deadline => next.late = true,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no agent is told twice", |_, w: &World| w.told <= 1),
            Property::always("nobody else gets anything else", |_, w: &World| {
                w.wrong == 0
            }),
            Property::always("who is done was told", |_, w: &World| {
                w.place != Place::Done || w.told == 1
            }),
            Property::always("nothing is lost", |_, w: &World| w.place != Place::Lost),
            Property::always("after its deadline it ends", |_, w: &World| {
                !w.late || w.passes <= PASSES
            }),
            Property::always("no kill makes a failure", |m: &Spawns, w: &World| {
                m.disturbed() || w.place != Place::Failed
            }),
            Property::sometimes("it is told after a kill", |_, w: &World| {
                w.place == Place::Done && w.kills == 0
            }),
        ]
    }
}

/// A deadline comes after so many runs with nothing in between, and after so many more it is over.
const PASSES: u8 = 2;

#[test]
fn a_spawn_is_told_once_however_runs_end() {
    for (restarts, drops, person) in [(0, 0, 0), (2, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 2)] {
        let model = Spawns {
            runs: 2,
            kills: 2,
            restarts,
            drops,
            person,
            without: None,
        };
        let checker = model.checker().spawn_bfs().join();
        println!(
            "{restarts} restarts, {drops} drops, {person} by a person: {} states",
            checker.unique_state_count()
        );
        checker.assert_properties();
    }
}

#[test]
fn the_model_notices_defects() {
    for (defect, breaks) in [
        (Defect::NoLock, "no agent is told twice"),
        (Defect::NoCur, "nothing is lost"),
        (Defect::NotedLate, "no agent is told twice"),
        (Defect::NoTyped, "no kill makes a failure"),
        (Defect::NoEntered, "no agent is told twice"),
        (Defect::NoCursor, "nobody else gets anything else"),
        (Defect::NoPid, "nobody else gets anything else"),
        (Defect::DoneUnseen, "who is done was told"),
        (Defect::TypingForever, "after its deadline it ends"),
    ] {
        let disturbed = u8::from(defect != Defect::NoTyped);
        let model = Spawns {
            runs: 2,
            kills: 2,
            restarts: disturbed,
            drops: disturbed,
            person: disturbed,
            without: Some(defect),
        };
        let failed = HasDiscoveries::AnyOf([breaks].into());
        let checker = model.checker().finish_when(failed).spawn_bfs().join();
        assert!(checker.discovery(breaks).is_some(), "{defect:?}");
    }
}

//! Alerts: conditions that begin and end while somebody is being told of them.

use stateright::{Checker, Model, Property};

/// How often the condition begins or ends, and how often the one who tells is killed.
#[derive(Clone)]
struct Alerts {
    changes: u8,
    kills: u8,
    /// What is left out, to see that the model would notice.
    without: Option<Defect>,
}

/// Ways to get it wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Defect {
    /// What was told is written over what has happened meanwhile.
    SettleOverwrites,
    /// It is not written down that an end is about to be told.
    NoTrying,
    /// A condition that begins again forgets that its first beginning was told, and its end not.
    BeginForgets,
}

/// The file of the condition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct File {
    /// Which beginning it is.
    since: u8,
    told: bool,
    /// Its end.
    end: Option<Over>,
    /// There is something to be told.
    due: bool,
}

/// The end of a condition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Over {
    /// Which change it is.
    change: u8,
    told: bool,
    /// Somebody may have told it: written down before the attempt.
    tried: bool,
}

/// What the person's program has been called with last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Heard {
    Nothing,
    Begin,
    End,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    holds: bool,
    changes: u8,
    file: Option<File>,
    /// One that tells: what it has read, and what it has told of that.
    teller: Option<(File, File)>,
    heard: Heard,
    /// How often it heard the same twice in a row.
    repeated: u8,
    kills: u8,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Event {
    Begin,
    End,
    Read,
    /// The program is called for the beginning, or for the end.
    Tell,
    Settle,
    Kill,
}

impl World {
    fn hear(&mut self, what: Heard) {
        self.repeated += u8::from(self.heard == what);
        self.heard = what;
    }
}

impl Model for Alerts {
    type State = World;
    type Action = Event;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            holds: false,
            changes: 0,
            file: None,
            teller: None,
            heard: Heard::Nothing,
            repeated: 0,
            kills: self.kills,
        }]
    }

    fn actions(&self, world: &World, events: &mut Vec<Event>) {
        if world.changes < self.changes {
            events.push(if world.holds {
                Event::End
            } else {
                Event::Begin
            });
        }
        match &world.teller {
            Some((_, told)) => {
                let untold = !told.told || told.end.is_some_and(|end| !end.told);
                events.push(if untold { Event::Tell } else { Event::Settle });
                if world.kills > 0 {
                    events.push(Event::Kill);
                }
            }
            None if world.file.is_some_and(|file| file.due) => events.push(Event::Read),
            None => {}
        }
    }

    fn next_state(&self, world: &World, event: Event) -> Option<World> {
        let mut next = world.clone();
        match event {
            Event::Begin => {
                next.holds = true;
                next.changes += 1;
                // Nobody has heard of the end, so for them it goes on.
                let unheard = |end: Over| !end.tried || self.without == Some(Defect::NoTrying);
                let goes_on = world.file.filter(|file| file.end.is_some_and(unheard));
                next.file = Some(match goes_on {
                    Some(file) if self.without != Some(Defect::BeginForgets) => File {
                        end: None,
                        due: true,
                        ..file
                    },
                    _ => File {
                        since: next.changes,
                        told: false,
                        end: None,
                        due: true,
                    },
                });
            }
            Event::End => {
                next.holds = false;
                next.changes += 1;
                if let Some(file) = &mut next.file {
                    file.end = Some(Over {
                        change: next.changes,
                        told: false,
                        tried: false,
                    });
                    file.due = true;
                }
            }
            Event::Read => {
                let file = next.file.as_mut()?;
                if let Some(end) = &mut file.end {
                    end.tried = true;
                }
                next.teller = Some((*file, *file));
            }
            Event::Tell => {
                let (_, told) = next.teller.as_mut()?;
                if !told.told {
                    told.told = true;
                    next.hear(Heard::Begin);
                } else if let Some(end) = &mut told.end {
                    end.told = true;
                    next.hear(Heard::End);
                }
            }
            Event::Settle => {
                let (read, told) = next.teller.take()?;
                if self.without == Some(Defect::SettleOverwrites) {
                    next.file = Some(File { due: false, ..told });
                } else if let Some(file) = next.file.as_mut().filter(|f| f.since == read.since) {
                    let change = |file: &File| file.end.map(|end| end.change);
                    file.told = told.told;
                    if change(file) == change(&told) {
                        file.end = told.end;
                    }
                    file.due = change(file) != change(&told);
                }
                let over = |file: &File| file.told && file.end.is_some_and(|end| end.told);
                next.file = next.file.filter(|file| !over(file));
            }
            Event::Kill => {
                next.teller = None;
                next.kills -= 1;
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::eventually(
                "in the end a person knows what is so",
                |m: &Alerts, w: &World| {
                    let idle = w.changes == m.changes && w.teller.is_none();
                    let knows = match w.holds {
                        true => w.heard == Heard::Begin,
                        false => w.heard != Heard::Begin,
                    };
                    idle && knows && w.file.is_none_or(|file| !file.due)
                },
            ),
            Property::always(
                "a person hears nothing twice but after a kill",
                |m: &Alerts, w: &World| w.repeated <= m.kills - w.kills,
            ),
        ]
    }
}

#[test]
fn a_person_knows_what_is_so() {
    for changes in 1..=5 {
        let model = Alerts {
            changes,
            kills: 2,
            without: None,
        };
        model.checker().spawn_bfs().join().assert_properties();
    }
}

#[test]
fn the_model_notices_defects() {
    for defect in [
        Defect::SettleOverwrites,
        Defect::BeginForgets,
        Defect::NoTrying,
    ] {
        let model = Alerts {
            changes: 3,
            kills: 0,
            without: Some(defect),
        };
        let found = model.checker().spawn_bfs().join().discoveries();
        assert!(!found.is_empty(), "{defect:?}");
    }
}

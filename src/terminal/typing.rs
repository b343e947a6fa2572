//! What to do next with a text that is to be typed into a terminal. Pure: no clock, no tmux.
//!
//! A text is typed into an empty input line, seen there, sent with Enter, and seen to be gone.
//! Keys go out only while the cursor is where it was when the screen was read, so nothing that
//! opens in between gets them. What was typed is noted in the pane; what was not taken is
//! finished by the next caller that types the same text there, and taken back by any other caller.

use std::time::Duration;

use jiff::Timestamp;

use super::{Look, State, Typing, input, judge, look, read};
use crate::hooks::report::Report;
use crate::tmux::{Keys, Mark, Screen, Sight, Strokes, Typed};
use crate::town::launch::Appearance;

/// Between a text and its Enter: an Enter too early is taken for a part of a paste.
pub const DEBOUNCE: Duration = Duration::from_millis(500);

/// How long a terminal may take until it is fit for the text, when it was fit a moment ago.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the screen of a program that we do not know must have been still.
const STILL: Duration = Duration::from_millis(300);

/// How long a text may take until it shows; a program that works shows it late.
const SHOWN: Duration = Duration::from_secs(3);

/// How long each Enter may take to be taken; after each but the last it is pressed again.
const ENTERS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
];

/// How long a text that is taken back may take to be gone.
const BACK: Duration = Duration::from_millis(500);

/// How many times that is tried.
const BACKS: u32 = 3;

/// After this no Enter is pressed any more.
const LIMIT: Duration = Duration::from_secs(10);

/// Between two looks where nothing else says how long to wait.
const LOOK: Duration = Duration::from_millis(100);

/// How to read an agent's terminal.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// What its program looks like, if that is known.
    pub look: Option<&'static Look>,
    /// What its input line begins with by the settings, in addition.
    pub prompts: Vec<String>,
}

/// What stands in the input line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Empty,
    /// The text in question, and nothing else.
    Ours,
    /// The same more than once, from a try that was given up too early.
    Twice,
    /// The end of it: the beginning was taken for commands, as in the normal mode of vi.
    Tail,
    /// Anything else.
    Other,
    /// No input line is seen.
    Hidden,
}

impl Reader {
    /// What the terminal is ready for.
    pub fn state(&self, screen: &Screen) -> State {
        read(screen, self.look, &self.prompts)
    }

    /// How an agent's terminal is read, by the settings of its program.
    pub fn of(program: &Appearance) -> Reader {
        let prompts = program.ready_prompt.iter().filter(|p| !p.trim().is_empty());
        Reader {
            look: program.kind.and_then(look),
            prompts: prompts.cloned().collect(),
        }
    }

    /// The same, held against what the agent has reported of itself; and how the two disagree.
    pub fn judged(
        &self,
        screen: &Screen,
        report: Option<&Report>,
        now: Timestamp,
    ) -> (State, Option<String>) {
        let shown = self.state(screen);
        let (state, disagree) = judge(shown.clone(), report, self.look, now);
        let report = report.filter(|_| disagree);
        let how = report.map(|report| {
            let (shown, said) = (shown.word(), report.word.name());
            format!(
                "its screen shows '{shown}', and its hooks said '{said}' at {:.0}",
                report.at
            )
        });
        (state, how)
    }

    /// Whether the program takes a text in this state.
    pub fn takes(&self, state: &State) -> bool {
        let queues = |look: &Look| look.while_busy == Typing::Queues;
        *state == State::Free || (*state == State::Busy && self.look.is_some_and(queues))
    }

    /// Nothing tells how the program's input line looks.
    pub fn is_blind(&self) -> bool {
        self.look.is_none() && self.prompts.is_empty()
    }

    /// Whether a text that was typed, and noted, still stands in the input line, and it alone.
    pub fn holds(&self, sight: &Sight) -> bool {
        matches!(self.left(sight), Some(Line::Ours | Line::Twice))
    }

    /// What stands in the input line, by the text that was typed there and noted.
    fn left(&self, sight: &Sight) -> Option<Line> {
        let typed = sight.typed.as_ref()?;
        Some(self.line(&sight.screen, &typed.text))
    }

    fn line(&self, screen: &Screen, text: &str) -> Line {
        let ours = solid(text);
        let standing = match input(screen, self.look, &self.prompts) {
            Some(input) => solid(&input),
            None if self.look.is_none() && before_cursor(screen).ends_with(&ours) => ours.clone(),
            None if self.is_blind() => String::new(),
            None => return Line::Hidden,
        };
        match () {
            () if standing.is_empty() => Line::Empty,
            () if standing == ours => Line::Ours,
            () if !ours.is_empty() && standing.replace(&ours, "").is_empty() => Line::Twice,
            () if ours.ends_with(&standing) => Line::Tail,
            () => Line::Other,
        }
    }

    /// The keys that take back what is typed.
    fn clear(&self, screen: &Screen, text: &str) -> Keys {
        let keys = self.look.and_then(|look| look.clear.first());
        match keys {
            // Some clear but the row that is shown.
            Some(key) => {
                let rows = input(screen, self.look, &self.prompts);
                let rows = rows.map_or(1, |input| input.lines().count().max(1));
                Keys::Named(key.to_string(), rows)
            }
            // More than was typed do no harm, and it may have been typed twice.
            None => Keys::Named("BSpace".into(), 2 * text.chars().count()),
        }
    }
}

/// A text without blanks: programs wrap what is typed as they like.
fn solid(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// What stands before the cursor, without blanks, in its row and those above it. Nothing, where
/// the cursor is at the beginning of a row: there an Enter has put it.
fn before_cursor(screen: &Screen) -> String {
    let rows = screen.lines.iter().take(screen.row);
    let last = screen.lines.get(screen.row).map_or("", String::as_str);
    let last: String = last.chars().take(screen.column).collect();
    match solid(&last).is_empty() {
        true => String::new(),
        false => rows
            .map(String::as_str)
            .chain([last.as_str()])
            .map(solid)
            .collect(),
    }
}

/// A text for a terminal.
#[derive(Debug, Clone, Default)]
pub struct Text {
    /// The pane's id.
    pub pane: String,
    /// The process that it is for.
    pub pid: u32,
    /// What is typed; a line without control characters. Nothing: what was typed before and not
    /// taken is taken back.
    pub text: String,
    /// How the terminal is read.
    pub reader: Reader,
    /// The agent has said that it is ready, so that its screen need not be understood.
    pub is_ready: bool,
    /// The marks of a text that is typed at most once, and sent at most once.
    pub once: Option<Once>,
}

impl Text {
    /// The same without words, which takes back what was typed of it before and not taken.
    pub fn taken_back(&self) -> Text {
        Text {
            text: String::new(),
            once: None,
            ..self.clone()
        }
    }
}

/// The marks that a pane gets with a text and with its Enter, in letters and digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// It was typed.
    pub typed: String,
    /// It was sent.
    pub entered: String,
}

impl Once {
    /// For the first words of a process.
    pub fn words(pid: u32) -> Once {
        Once {
            typed: format!("w{pid}w"),
            entered: format!("v{pid}v"),
        }
    }
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The text was seen in the input line, sent, and seen to be gone from there.
    Told,
    /// Nothing was sent, because the terminal is not fit for it.
    Waits(State),
    /// It was typed and did not show, so it was not sent.
    NotShown,
    /// It was sent, and stayed where it was.
    NotTaken,
    /// The process has ended.
    Gone,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Look again after so long.
    Wait(Duration),
    /// Send these keys, and look again after so long.
    Send(Strokes, Duration),
    /// It is over. The notes in the pane may be out of date, and are mended by these strokes.
    End(Outcome, Option<Strokes>),
}

/// A text on its way.
#[derive(Debug)]
pub struct Attempt {
    text: Text,
    /// When keys were last given out.
    since: Duration,
    /// It was given out by this attempt.
    began: bool,
    /// How many times this attempt gave out Enter.
    enters: usize,
    /// What a terminal that we cannot read shows, and since when.
    still: Option<(Screen, Duration)>,
    /// It is taken back, with this result; and how many times that was tried.
    retreat: Option<Outcome>,
    backs: u32,
}

/// How far a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Typed,
    Sent,
}

impl Attempt {
    /// A text of which nothing is known but what is noted in its pane.
    pub fn new(text: Text) -> Attempt {
        Attempt {
            text,
            since: Duration::ZERO,
            began: false,
            enters: 0,
            still: None,
            retreat: None,
            backs: 0,
        }
    }

    /// The pane it is for.
    pub fn pane(&self) -> &str {
        &self.text.pane
    }

    /// What to do when the pane is like this, so long after the first look. Whether the keys of a
    /// step were sent is read from the pane.
    pub fn next(&mut self, sight: Option<&Sight>, now: Duration) -> Step {
        let Some(sight) = sight.filter(|s| s.pid == self.text.pid && !s.dead) else {
            return Step::End(Outcome::Gone, None);
        };
        let state = self.text.reader.state(&sight.screen);
        let line = self.text.reader.line(&sight.screen, &self.text.text);
        let stage = self.stage(sight);
        let passed = now.saturating_sub(self.since);
        if let Some(outcome) = self.retreat.clone() {
            return self.retreat(sight, stage, outcome, now);
        }
        match stage {
            Stage::New => self.begin(sight, state, line, passed, now),
            Stage::Typed => self.typed(sight, state, line, passed, now),
            Stage::Sent => self.sent(sight, state, line, passed, now),
        }
    }

    fn stage(&self, sight: &Sight) -> Stage {
        let noted = sight.typed.as_ref().filter(|t| t.text == self.text.text);
        let sent = noted.is_some_and(|typed| typed.enters > 0);
        let has = |mark: &String| sight.marks.contains(mark);
        match &self.text.once {
            Some(once) if has(&once.entered) => Stage::Sent,
            Some(once) if has(&once.typed) => Stage::Typed,
            None if self.began && sent => Stage::Sent,
            None if self.began && noted.is_some() => Stage::Typed,
            _ => Stage::New,
        }
    }

    fn begin(
        &mut self,
        sight: &Sight,
        state: State,
        line: Line,
        passed: Duration,
        now: Duration,
    ) -> Step {
        // What changes all the time may be missed by each stroke.
        if now > LIMIT {
            return Step::End(Outcome::Waits(state), None);
        }
        if let Some(old) = &sight.typed {
            match self.text.reader.line(&sight.screen, &old.text) {
                Line::Ours | Line::Twice if !matches!(state, State::Asks(_)) => {
                    return self.back(sight, Outcome::Waits(state), now);
                }
                Line::Empty => {
                    return Step::Send(self.strokes(sight, Keys::None, None, None), LOOK);
                }
                _ => {}
            }
        }
        if self.text.text.is_empty() {
            return Step::End(Outcome::Told, None);
        }
        let is_still = match &self.still {
            Some((screen, since)) if *screen == sight.screen => now.saturating_sub(*since) >= STILL,
            _ => {
                self.still = Some((sight.screen.clone(), now));
                false
            }
        };
        let reader = &self.text.reader;
        let is_fit = match state {
            State::Unknown => self.text.is_ready || (reader.is_blind() && is_still),
            _ => line == Line::Empty && reader.takes(&state),
        };
        if !is_fit {
            return match passed < PATIENCE {
                true => Step::Wait(LOOK),
                false => Step::End(Outcome::Waits(state), None),
            };
        }
        (self.began, self.since) = (true, now);
        let keys = Keys::Text(self.text.text.clone());
        let mark = self.text.once.as_ref();
        let mark = mark.map(|once| Mark::Once(once.typed.clone()));
        Step::Send(self.strokes(sight, keys, Some(0), mark), DEBOUNCE)
    }

    fn typed(
        &mut self,
        sight: &Sight,
        state: State,
        line: Line,
        passed: Duration,
        now: Duration,
    ) -> Step {
        if passed < DEBOUNCE {
            return Step::Wait(DEBOUNCE.saturating_sub(passed));
        }
        match line {
            // Left there, it would be taken for a person's draft, and nothing be typed any more.
            Line::Tail if self.began => self.back(sight, Outcome::Waits(state), now),
            Line::Other | Line::Tail => Step::End(Outcome::Waits(state), None),
            Line::Ours if now > LIMIT => self.back(sight, Outcome::Waits(state), now),
            Line::Ours if matches!(state, State::Draft | State::Unknown) => self.enter(sight, now),
            Line::Twice | Line::Ours if state == State::Shell => {
                self.back(sight, Outcome::Waits(state), now)
            }
            Line::Twice => self.back(sight, Outcome::NotShown, now),
            _ if passed < SHOWN => Step::Wait(LOOK),
            // Two runs have not seen it: it was lost, and may be typed again.
            Line::Empty if !self.began => {
                let notes = self.strokes(sight, Keys::None, None, self.unmark());
                Step::End(Outcome::NotShown, Some(notes))
            }
            Line::Empty => Step::End(Outcome::NotShown, None),
            Line::Ours | Line::Hidden => Step::End(Outcome::Waits(state), None),
        }
    }

    fn sent(
        &mut self,
        sight: &Sight,
        state: State,
        line: Line,
        passed: Duration,
        now: Duration,
    ) -> Step {
        let screen = &sight.screen;
        let told = || {
            Step::End(
                Outcome::Told,
                Some(self.strokes(sight, Keys::None, None, None)),
            )
        };
        let is_asking = matches!(state, State::Asks(_));
        match line {
            Line::Empty => told(),
            Line::Hidden if state == State::Busy || shows_sent(screen, &self.text.text) => told(),
            Line::Hidden if self.text.reader.look.is_none() && !is_asking => told(),
            Line::Other | Line::Tail if !holds_both(&self.text.reader, screen, &self.text.text) => {
                told()
            }
            Line::Other | Line::Tail | Line::Twice => Step::End(Outcome::Waits(state), None),
            Line::Ours if !is_asking => match ENTERS.get(self.enters) {
                Some(limit) if passed < *limit => Step::Wait(LOOK),
                Some(_) => self.enter(sight, now),
                None if passed < ENTERS[ENTERS.len() - 1] => Step::Wait(LOOK),
                None if self.text.once.is_some() => Step::End(Outcome::NotTaken, None),
                None => self.back(sight, Outcome::NotTaken, now),
            },
            _ if passed < SHOWN => Step::Wait(LOOK),
            _ => Step::End(Outcome::Waits(state), None),
        }
    }

    fn enter(&mut self, sight: &Sight, now: Duration) -> Step {
        self.since = now;
        self.enters += 1;
        let noted = sight.typed.as_ref().map_or(0, |typed| typed.enters);
        let once = self.text.once.as_ref();
        // Later ones are for an Enter that was not taken.
        let mark = once.filter(|once| !sight.marks.contains(&once.entered));
        let mark = mark.map(|once| Mark::Once(once.entered.clone()));
        let keys = Keys::Named("Enter".into(), 1);
        Step::Send(self.strokes(sight, keys, Some(noted + 1), mark), LOOK)
    }

    /// Takes back the text of ours that stands in the input line, then ends with `outcome`.
    fn back(&mut self, sight: &Sight, outcome: Outcome, now: Duration) -> Step {
        let stage = self.stage(sight);
        // What is there from before is no reason to end.
        if stage != Stage::New || self.backs >= BACKS {
            self.retreat = Some(outcome.clone());
        }
        self.retreat(sight, stage, outcome, now)
    }

    fn retreat(&mut self, sight: &Sight, stage: Stage, outcome: Outcome, now: Duration) -> Step {
        let left = self.text.reader.left(sight);
        let is_ours = matches!(left, Some(Line::Ours | Line::Twice | Line::Tail));
        if !is_ours || self.backs >= BACKS {
            let unmark = self.unmark().filter(|_| stage == Stage::Typed);
            let notes = self.strokes(sight, Keys::None, None, unmark);
            return Step::End(outcome, Some(notes));
        }
        self.backs += 1;
        self.since = now;
        let typed = sight.typed.clone().unwrap_or_default();
        let keys = self.text.reader.clear(&sight.screen, &typed.text);
        let mut strokes = self.strokes(sight, keys, None, None);
        strokes.typed = Some(typed);
        Step::Send(strokes, BACK)
    }

    fn unmark(&self) -> Option<Mark> {
        let once = self.text.once.as_ref();
        once.map(|once| Mark::Gone(once.typed.clone()))
    }

    /// Keys for the pane as it was seen; `enters`: it is noted that the text stands there, and how
    /// many times it was sent.
    fn strokes(
        &self,
        sight: &Sight,
        keys: Keys,
        enters: Option<u32>,
        mark: Option<Mark>,
    ) -> Strokes {
        Strokes {
            pane: self.text.pane.clone(),
            pid: self.text.pid,
            cursor: (sight.screen.column, sight.screen.row),
            keys,
            typed: enters.map(|enters| Typed {
                text: self.text.text.clone(),
                enters,
            }),
            mark,
        }
    }
}

/// Whether a text stands in a line of its own, behind whatever sign, as what was sent does.
fn shows_sent(screen: &Screen, text: &str) -> bool {
    let text = solid(text);
    let is_it =
        |line: &String| solid(line.trim_start_matches(|c: char| !c.is_alphanumeric())) == text;
    screen.lines.iter().any(is_it)
}

/// Whether the input line holds the text together with something else.
fn holds_both(reader: &Reader, screen: &Screen, text: &str) -> bool {
    let input = input(screen, reader.look, &reader.prompts);
    input.is_some_and(|input| solid(&input).contains(&solid(text)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A program with an input line, as its terminal shows it, and what a person does with it.
    #[derive(Debug, Clone, Default)]
    struct Program {
        line: String,
        asks: bool,
        busy: bool,
        /// It reads keys only now and then.
        hangs: bool,
        /// It takes so many characters for commands, before it takes text.
        commands: usize,
        unread: Vec<Keys>,
        typed: Option<Typed>,
        marks: Vec<String>,
        /// What was sent, a text each.
        sent: Vec<String>,
        /// How often an Enter answered a question.
        answered: usize,
    }

    impl Program {
        fn sight(&self) -> Sight {
            let rule = "─".repeat(40);
            let line = format!("❯ {}", self.line);
            let lines: Vec<String> = match (self.asks, self.busy) {
                (true, _) => ["Delete it?", "❯ 1. Yes", "  2. No", "Enter to select"]
                    .map(String::from)
                    .to_vec(),
                (false, busy) => {
                    let above = if busy { "✽ Working… (3s)" } else { "Hello" };
                    [above, &rule, &line, &rule, "  ? for shortcuts"]
                        .map(String::from)
                        .to_vec()
                }
            };
            let (column, row) = match self.asks {
                true => (0, 1),
                false => (line.chars().count(), 2),
            };
            Sight {
                screen: Screen {
                    solid: lines.clone(),
                    lines,
                    column,
                    row,
                    ..Screen::default()
                },
                pid: 7,
                dead: false,
                marks: self.marks.clone(),
                typed: self.typed.clone(),
                words: None,
            }
        }

        /// As [`crate::tmux::Tmux::strike`].
        fn strike(&mut self, strokes: &Strokes) {
            let screen = self.sight().screen;
            if strokes.keys != Keys::None && strokes.cursor != (screen.column, screen.row) {
                return;
            }
            match &strokes.mark {
                Some(Mark::Once(mark)) if self.marks.contains(mark) => return,
                Some(Mark::Once(mark)) => self.marks.push(mark.clone()),
                Some(Mark::Gone(mark)) => self.marks.retain(|m| m != mark),
                None => {}
            }
            self.typed.clone_from(&strokes.typed);
            self.unread.push(strokes.keys.clone());
            self.read();
        }

        fn read(&mut self) {
            while !self.hangs && !self.unread.is_empty() {
                match self.unread.remove(0) {
                    Keys::None => {}
                    Keys::Text(_) if self.asks => {}
                    Keys::Text(text) => {
                        let text = text.chars().skip(std::mem::take(&mut self.commands));
                        self.line.extend(text);
                    }
                    Keys::Named(key, _) if key == "Enter" && self.asks => {
                        self.answered += 1;
                        self.asks = false;
                    }
                    Keys::Named(key, _) if key == "Enter" => {
                        if !self.line.is_empty() {
                            self.sent.push(std::mem::take(&mut self.line));
                        }
                    }
                    Keys::Named(_, _) if self.asks => {}
                    Keys::Named(..) => self.line.clear(),
                }
            }
        }

        /// Tells it a text; `event` happens before each look.
        fn told(&mut self, text: Text, mut event: impl FnMut(&mut Program, usize)) -> Outcome {
            let mut attempt = Attempt::new(text);
            let mut now = Duration::ZERO;
            for look in 0..1000 {
                event(self, look);
                self.read();
                match attempt.next(Some(&self.sight()), now) {
                    Step::Wait(wait) => now += wait,
                    Step::Send(strokes, wait) => {
                        self.strike(&strokes);
                        now += wait;
                    }
                    Step::End(outcome, notes) => {
                        notes.iter().for_each(|notes| self.strike(notes));
                        return outcome;
                    }
                }
            }
            panic!("it has no end: {self:?}");
        }
    }

    fn text(text: &str) -> Text {
        Text {
            pane: "%1".into(),
            pid: 7,
            text: text.into(),
            reader: Reader {
                look: look("claude"),
                prompts: Vec::new(),
            },
            ..Text::default()
        }
    }

    #[test]
    fn typed_seen_sent_and_seen_to_be_gone() {
        let mut free = Program::default();
        assert_eq!(free.told(text("hello"), |_, _| {}), Outcome::Told);
        assert_eq!((free.sent, free.typed), (vec!["hello".into()], None));
        let mut busy = Program {
            busy: true,
            ..Program::default()
        };
        assert_eq!(busy.told(text("hello"), |_, _| {}), Outcome::Told);
        // A program that would break off its turn gets the text later.
        let mut steered = text("hello");
        steered.reader.look = look("codex");
        let screen = Screen {
            lines: vec!["• word".into(), "".into(), "› ".into()],
            solid: vec!["• word".into(), "".into(), "› ".into()],
            title: "⠸ proj".into(),
            ..Screen::default()
        };
        let sight = Sight {
            screen,
            pid: 7,
            ..Sight::default()
        };
        let end = Attempt::new(steered).next(Some(&sight), PATIENCE);
        assert_eq!(end, Step::End(Outcome::Waits(State::Busy), None));
    }

    #[test]
    fn what_is_left_of_a_text_whose_beginning_was_taken_for_commands_is_taken_back() {
        let mut program = Program {
            commands: 3,
            ..Program::default()
        };
        let outcome = program.told(text("hello"), |_, _| {});
        assert_eq!(outcome, Outcome::Waits(State::Draft));
        let left = (&*program.line, program.sent.len(), &program.typed);
        assert_eq!(left, ("", 0, &None));
        assert_eq!(program.told(text("hello"), |_, _| {}), Outcome::Told);
        assert_eq!(program.sent, ["hello"]);
    }

    #[test]
    fn what_is_not_free_gets_nothing() {
        for program in [
            Program {
                asks: true,
                ..Program::default()
            },
            Program {
                line: "my half typed draft".into(),
                ..Program::default()
            },
        ] {
            let mut now = program.clone();
            let outcome = now.told(text("hello"), |_, _| {});
            assert!(matches!(outcome, Outcome::Waits(_)), "{outcome:?}");
            assert_eq!((now.line, now.answered), (program.line, 0));
            assert_eq!((now.sent, now.typed), (Vec::new(), None));
        }
    }

    #[test]
    fn a_dialog_that_opens_in_between_gets_no_enter() {
        for at in 1..4 {
            let mut program = Program::default();
            let outcome = program.told(text("hello"), |p, look| p.asks |= look == at);
            if outcome != Outcome::Told {
                assert!(
                    matches!(outcome, Outcome::Waits(State::Asks(_))),
                    "{outcome:?}"
                );
            }
            assert_eq!(program.answered, 0, "{at}");
            // Once it is answered, the next text is not glued to what stands there.
            program.asks = false;
            assert_eq!(program.told(text("again"), |_, _| {}), Outcome::Told);
            assert_eq!(program.sent.last().unwrap(), "again");
            assert!(program.sent.len() <= 2);
        }
    }

    #[test]
    fn who_does_not_read_is_not_told_and_gets_it_taken_back() {
        let mut program = Program {
            hangs: true,
            ..Program::default()
        };
        assert_eq!(program.told(text("hello"), |_, _| {}), Outcome::NotShown);
        // It reads on, and what was typed stands there.
        program.hangs = false;
        program.read();
        assert_eq!(program.line, "hello");
        assert_eq!(
            program.told(text("").taken_back(), |_, _| {}),
            Outcome::Told
        );
        assert_eq!((program.line.as_str(), program.typed), ("", None));
        assert!(program.sent.is_empty());
    }

    #[test]
    fn a_program_without_a_look_is_to_be_still() {
        let mut blind = text("hello");
        blind.reader = Reader::default();
        let show = |line: &str| Sight {
            screen: Screen {
                lines: vec![line.into()],
                solid: vec![line.into()],
                column: line.len(),
                cursor: true,
                ..Screen::default()
            },
            pid: 7,
            ..Sight::default()
        };
        let mut attempt = Attempt::new(blind.clone());
        let at = Duration::from_millis;
        assert!(matches!(
            attempt.next(Some(&show("a")), at(0)),
            Step::Wait(_)
        ));
        assert!(matches!(
            attempt.next(Some(&show("b")), at(400)),
            Step::Wait(_)
        ));
        assert!(matches!(
            attempt.next(Some(&show("b")), at(600)),
            Step::Wait(_)
        ));
        assert!(matches!(
            attempt.next(Some(&show("b")), at(750)),
            Step::Send(..)
        ));
        let mut attempt = Attempt::new(blind);
        let end = attempt.next(Some(&show("Overwrite? [y/n]")), PATIENCE);
        assert!(
            matches!(end, Step::End(Outcome::Waits(State::Asks(_)), None)),
            "{end:?}"
        );
    }

    proptest! {
        #[test]
        fn nothing_is_answered_mixed_or_told_twice(
            events in proptest::collection::vec(0u8..10, 0..80),
            once in any::<bool>(),
        ) {
            let mut program = Program::default();
            let mut events = events.into_iter();
            let (mut told, mut theirs) = (0, Vec::new());
            for _ in 0..3 {
                let mut text = text("hello");
                text.once = once.then(|| Once { typed: "t1".into(), entered: "e1".into() });
                let outcome = program.told(text, |p, _| match events.next() {
                    // What has been sent and not been read is out of our hands.
                    Some(0) => p.asks |= p.unread.is_empty(),
                    Some(1) => p.asks = false,
                    Some(2) => p.busy = !p.busy,
                    Some(3) if !p.asks && !p.hangs => p.unread.push(Keys::Text("x".into())),
                    Some(4) if !p.asks && !p.line.is_empty() && p.unread.is_empty() => {
                        // A person who sees our text and sends it has been told of it.
                        theirs.push(std::mem::take(&mut p.line));
                    }
                    Some(5) => p.hangs = true,
                    Some(6) => p.hangs = false,
                    None => p.hangs = false,
                    _ => {}
                });
                told += usize::from(outcome == Outcome::Told);
                if once && outcome == Outcome::Told {
                    break;
                }
            }
            prop_assert_eq!(program.answered, 0);
            prop_assert!(program.sent.iter().all(|sent| sent == "hello"), "{:?}", program.sent);
            prop_assert!(program.sent.len() + theirs.len() >= told);
            if once {
                prop_assert!(program.sent.len() <= 1);
            }
        }
    }
}

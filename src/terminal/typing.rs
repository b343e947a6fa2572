//! What to do next with a text that is to be typed into a terminal. Pure: no clock, no tmux.
//!
//! A text is typed into an empty input line, seen there, sent with Enter, and seen to be gone. tmux
//! sends keys only while the cursor is where it was when the screen was read, so that nothing that
//! opens in between gets them. What was typed is noted in the pane. If the program does not take a
//! text, the next caller with the same text finishes it, and a caller with another text takes it
//! back. A caller also takes back a text of ours that the program has put back into its input line,
//! as some programs do when a turn is broken off.
//!
//! A person may type at the same moment, so that both texts stand in the input line. Then no Enter
//! is pressed, and only our text is taken out, once the person pauses.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Look, Question, State, Typing, input, judge, look, queues, read, room, takes_commands, vi,
};
use crate::digest::digest;
use crate::hooks::report::Report;
use crate::tmux::{Hold, Keys, Mark, Screen, Sight, Strokes, Typed};
use crate::town::Appearance;

/// The pause between a text and its Enter: programs take an earlier Enter for a part of a paste.
pub const DEBOUNCE: Duration = Duration::from_millis(500);

/// How long we wait for a terminal to become fit for a text.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the screen of a program that we do not know must be still before we type there.
const STILL: Duration = Duration::from_millis(300);

/// How long a text may take until it shows; a program that works shows it late.
const SHOWN: Duration = Duration::from_secs(3);

/// How long we wait for each Enter to have an effect; after each but the last we press it again.
const ENTERS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
];

/// How long we wait for a text that we take back to be gone.
const BACK: Duration = Duration::from_millis(500);

/// How many times we try to take a text back.
const BACKS: u32 = 3;

/// How long a person must have typed nothing before we take our text out from beside theirs.
const PAUSE: Duration = Duration::from_millis(1500);

/// After this time an attempt types nothing and presses no first Enter any more.
const LIMIT: Duration = Duration::from_secs(10);

/// The pause between two looks, where no other is given.
const LOOK: Duration = Duration::from_millis(100);

/// How to read an agent's terminal.
#[derive(Debug, Clone, Default)]
pub struct Reader {
    /// What the agent's program looks like, if that is known.
    pub look: Option<&'static Look>,
    /// What the input line may begin with by the agent's settings, besides the prompts of its look.
    pub prompts: Vec<String>,
    /// The program's own settings say that the input line is edited as in vi.
    pub is_modal: bool,
}

/// The question that stands for an input line in vi's normal mode.
const COMMANDS: &str = "Its input line takes commands of vi: press 'i' there";

/// How many texts may fail to show in a program of which nothing is known, before we type no more.
const UNSEEN: usize = 3;

/// What stands in the input line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Empty,
    /// Our text, and nothing else.
    Ours,
    /// Our text more than once: an earlier try was given up too early.
    Twice,
    /// The end of our text: its beginning was taken for commands, as in the normal mode of vi.
    Tail,
    /// Our text, and something before or behind it that somebody else has typed.
    Mixed,
    /// Anything else.
    Other,
    /// No input line is seen.
    Hidden,
}

impl Reader {
    /// What the terminal is ready for.
    pub fn state(&self, screen: &Screen) -> State {
        match read(screen, self.look, &self.prompts) {
            State::Free if self.takes_commands(screen) => State::Asks(Question::menu(COMMANDS)),
            state => state,
        }
    }

    /// How an agent's terminal is read, by the settings of its program.
    pub fn of(program: &Appearance) -> Reader {
        let prompts = program.ready_prompt.iter().filter(|p| !p.trim().is_empty());
        Reader {
            look: program.kind.and_then(look),
            prompts: prompts.cloned().collect(),
            is_modal: false,
        }
    }

    /// The same for a running process: its own settings may say that it edits as vi does.
    pub fn of_process(self, pid: u32) -> Reader {
        let vi = self.look.and_then(|look| look.vi.as_ref());
        let is_modal = vi.is_some_and(|vi| vi.inserts.is_some()) && vi::is_set(pid);
        Reader { is_modal, ..self }
    }

    /// Whether the input line is in vi's normal mode: letters are commands, and so may be other
    /// keys.
    fn takes_commands(&self, screen: &Screen) -> bool {
        self.look
            .is_some_and(|look| takes_commands(screen, look, self.is_modal))
    }

    /// What the terminal is ready for by its screen and by what the agent has reported of itself;
    /// and, if the two disagree, how, in words.
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

    /// Whether the program takes a text in this state. Nothing is added to a queue that is not
    /// empty: a person who takes a text of theirs back from it, to edit, would get ours with it.
    pub fn takes(&self, screen: &Screen, state: &State) -> bool {
        let takes = |look: &Look| look.while_busy == Typing::Queues && !queues(screen, look);
        let queues = || self.look.is_some_and(takes) && !self.takes_commands(screen);
        *state == State::Free || (*state == State::Busy && queues())
    }

    /// Whether nothing is known of what the program's input line looks like.
    pub fn is_blind(&self) -> bool {
        self.look.is_none() && self.prompts.is_empty()
    }

    /// Whether the input line holds only the text that is noted in the pane, or only texts of
    /// `ours`, which the program has put back there.
    pub fn holds(&self, sight: &Sight, ours: &[String]) -> bool {
        let left = matches!(self.left(sight), Some(Line::Ours | Line::Twice));
        left || self.shows_only(&sight.screen, ours)
    }

    /// Whether the input line holds the text that is noted in the pane beside what somebody else
    /// has typed.
    pub fn is_mixed(&self, sight: &Sight) -> bool {
        self.left(sight) == Some(Line::Mixed)
    }

    /// Whether the input line holds some of these texts and nothing else. All digits count as the
    /// same: a text may have a time in it.
    pub fn shows_only(&self, screen: &Screen, ours: &[String]) -> bool {
        let plain = |text: &str| solid(text).replace(|c: char| c.is_ascii_digit(), "0");
        let Some(input) = input(screen, self.look, &self.prompts) else {
            return false;
        };
        let standing = plain(&input);
        let ours: Vec<String> = ours.iter().map(|text| plain(text)).collect();
        let mut rest = standing.as_str();
        while let Some(less) = ours
            .iter()
            .filter(|text| !text.is_empty())
            .find_map(|text| rest.strip_prefix(text.as_str()))
        {
            rest = less;
        }
        rest.is_empty() && !standing.is_empty()
    }

    /// Whether the input line would show the whole of a text.
    fn has_room(&self, screen: &Screen, text: &str) -> bool {
        let room = room(screen, self.look, &self.prompts);
        room.is_none_or(|(columns, rows)| rows_of(text, columns) <= rows)
    }

    /// What stands in the input line, compared with the text that is noted in the pane, if one is.
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
            () if !ours.is_empty() && standing.contains(&ours) => Line::Mixed,
            () => Line::Other,
        }
    }

    /// The keys that take back what is typed.
    fn clear(&self, screen: &Screen, text: &str) -> Keys {
        let keys = self.look.and_then(|look| look.clear.first());
        let standing = input(screen, self.look, &self.prompts).unwrap_or_default();
        Keys::Named(vec![match keys {
            // In some programs one press clears a single row, or only the break between two rows.
            Some(key) => (key, 2 * standing.lines().count().max(1)),
            // The text may stand there twice, and more presses than needed do no harm.
            None => {
                let typed = text.chars().count().max(standing.chars().count());
                ("BSpace", 2 * typed)
            }
        }])
    }

    /// The keys that take a text out of the input line, and leave what stands before and behind it.
    /// The cursor must be behind all that. `None`: it is not certain where the text ends, or what
    /// the program does with such keys.
    fn cut(&self, screen: &Screen, text: &str) -> Option<Keys> {
        self.look.filter(|look| look.cuts)?;
        let input = solid(&input(screen, self.look, &self.prompts)?);
        let (_, behind) = input.rsplit_once(&solid(text))?;
        let before: Vec<char> = screen.lines.get(screen.row)?.chars().collect();
        // The screen is without the blanks at the end of a row. Where a character may be wider than
        // one column, columns cannot be counted.
        let is_narrow = before
            .iter()
            .all(|c| NARROW.iter().any(|some| some.contains(c)));
        let blanks = screen.column.saturating_sub(before.len());
        let before = before.iter().take(screen.column).rev();
        let mut before = std::iter::repeat_n(&' ', blanks).chain(before).peekable();
        let mut back = 0;
        for c in behind.chars().rev() {
            while before.next_if(|c| c.is_whitespace()).is_some() {
                back += 1;
            }
            before.next_if_eq(&&c)?;
            back += 1;
        }
        while before.next_if(|c| c.is_whitespace()).is_some() {
            back += 1;
        }
        before.next_if_eq(&&text.trim_end().chars().next_back()?)?;
        let keys = [
            ("Left", back),
            ("BSpace", text.chars().count()),
            ("Right", back),
        ];
        let keys = keys.into_iter().filter(|(_, times)| *times > 0);
        is_narrow.then(|| Keys::Named(keys.collect()))
    }
}

#[cfg(test)]
impl Reader {
    /// How a tick reads the terminals of agents whose settings only name this program.
    pub(crate) fn usual(program: &str) -> Reader {
        let settings = format!(r#"{{"default_agent":"{program}"}}"#);
        let files = [("settings/config.json", settings.as_str())];
        let (_dir, town) = crate::town::tests::town_with(2, &files);
        Reader::of(&town.appearance(&crate::agent::Agent::deacon()).unwrap())
    }
}

/// Characters that take one column each: those of western alphabets, and signs of prompts and borders.
/// Among the other signs are some that take two.
const NARROW: [std::ops::Range<char>; 4] = [
    '\0'..'\u{300}',
    '\u{2010}'..'\u{2060}',
    '\u{2500}'..'\u{25fd}',
    '\u{2758}'..'\u{2795}',
];

/// How many rows a text takes when it is wrapped between its words.
fn rows_of(text: &str, columns: usize) -> usize {
    let columns = columns.max(1);
    let (mut rows, mut used) = (1, 0);
    for word in text.split_whitespace().map(|word| word.chars().count()) {
        let wanted = if used == 0 { word } else { used + 1 + word };
        if wanted <= columns {
            used = wanted;
            continue;
        }
        rows += usize::from(used > 0) + word.saturating_sub(1) / columns;
        used = (word - 1) % columns + 1;
    }
    rows
}

/// A text without blanks: programs wrap what is typed as they like.
fn solid(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

/// What stands before the cursor, without blanks, in its row and all rows above. Nothing when the
/// cursor is at the beginning of a row: an Enter has put it there.
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

/// A text that is to be typed into a terminal.
#[derive(Debug, Clone, Default)]
pub struct Text {
    /// The pane's id.
    pub pane: String,
    /// The process that the text is for.
    pub pid: u32,
    /// What is typed; a line without control characters. Empty: only an earlier text, which the
    /// program has not taken, is taken back.
    pub text: String,
    /// How the terminal is read.
    pub reader: Reader,
    /// The agent has said that it is ready, so that its screen need not be understood.
    pub is_ready: bool,
    /// Texts of ours that the program may have put back into its input line.
    pub ours: Vec<String>,
    /// The marks of a text that is typed at most once, and sent at most once.
    pub once: Option<Once>,
}

impl Text {
    /// The same with an empty text: only takes back what was typed before.
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
    /// The text was typed.
    pub typed: String,
    /// Enter was pressed after it.
    pub entered: String,
}

impl Once {
    /// The marks of the first words for a process.
    pub fn words(pid: u32) -> Once {
        Once {
            typed: format!("w{pid}w"),
            entered: format!("v{pid}v"),
        }
    }
}

/// How an attempt to type a text ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The text was seen in the input line, sent, and seen to be gone from there.
    Told,
    /// The text was not sent, because the terminal is in this state.
    Waits(State),
    /// Nothing was typed, because the window is too small to show the whole text.
    NoRoom,
    /// No more keys were sent, because a person has the pane for something else. What was typed
    /// before stays noted.
    Taken(Hold),
    /// The text was typed and did not show, so it was not sent.
    NotShown,
    /// Nothing was typed: nothing is known of the program, and an earlier text did not show on this
    /// very screen, or too many did not show.
    Unseen,
    /// Enter was pressed, and the text stayed where it was.
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
    /// The attempt has ended. These strokes, if any, bring the notes in the pane up to date.
    End(Outcome, Option<Strokes>),
}

/// One attempt to type a text.
#[derive(Debug)]
pub struct Attempt {
    text: Text,
    /// When this attempt last gave out keys.
    since: Duration,
    /// Whether this attempt gave out the text; an earlier one may have.
    began: bool,
    /// How many times this attempt gave out Enter.
    enters: usize,
    /// What the terminal shows unchanged, and since when.
    still: Option<(Screen, Duration)>,
    /// Set while the text is taken back: the outcome to end with.
    retreat: Option<Outcome>,
    /// How many times keys were given out to take a text back.
    backs: u32,
}

/// How far the attempt has come, by the notes and marks in the pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Typed,
    Sent,
}

impl Attempt {
    /// An attempt that has not begun.
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

    /// The pane that the text is for.
    pub fn pane(&self) -> &str {
        &self.text.pane
    }

    /// The next step for a pane that looks like `sight`, at the time `now` since the first look.
    /// Whether the keys of the step before were sent is read from the pane.
    pub fn next(&mut self, sight: Option<&Sight>, now: Duration) -> Step {
        let Some(sight) = sight.filter(|s| s.pid == self.text.pid && !s.dead) else {
            return Step::End(Outcome::Gone, None);
        };
        let state = self.text.reader.state(&sight.screen);
        let line = self.text.reader.line(&sight.screen, &self.text.text);
        let stage = self.stage(sight);
        let passed = now.saturating_sub(self.since);
        let step = match (self.retreat.clone(), stage) {
            (Some(outcome), _) => self.retreat(sight, stage, outcome, now),
            (None, Stage::New) => self.begin(sight, state, line, passed, now),
            (None, Stage::Typed) => self.typed(sight, state, line, passed, now),
            (None, Stage::Sent) => self.sent(sight, state, line, passed, now),
        };
        match (&step, sight.hold) {
            // An Enter, or the keys that take a text back, are for this pane alone, and would end a
            // person's reading as a text would.
            (Step::Send(strokes, _), Some(hold)) if strokes.keys != Keys::None => {
                Step::End(Outcome::Taken(hold), None)
            }
            _ => step,
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
        // The cursor of a screen that changes all the time moves before our keys arrive, each time.
        if now > LIMIT {
            return Step::End(Outcome::Waits(state), None);
        }
        let left = self.text.reader.left(sight);
        if left == Some(Line::Empty) {
            return Step::Send(self.strokes(sight, Keys::None, None, None), LOOK);
        }
        let commands = self.text.reader.takes_commands(&sight.screen);
        if self.is_ours(sight) && !commands && !matches!(state, State::Asks(_)) {
            return self.back(sight, Outcome::Waits(state), now);
        }
        if self.text.text.is_empty() {
            let forget = || self.strokes(sight, Keys::None, None, None);
            return Step::End(Outcome::Told, (self.backs > 0).then(forget));
        }
        let is_still = self.is_still(&sight.screen, STILL, now);
        let reader = &self.text.reader;
        let is_fit = match state {
            State::Unknown => self.text.is_ready || (reader.is_blind() && is_still),
            _ => line == Line::Empty && reader.takes(&sight.screen, &state),
        };
        if !is_fit {
            return match passed < PATIENCE {
                true => Step::Wait(LOOK),
                false => Step::End(Outcome::Waits(state), None),
            };
        }
        let covered = sight.screen.alternate && reader.is_blind() && !self.text.is_ready;
        if let Some(hold) = sight.hold.or(covered.then_some(Hold::Covered)) {
            return Step::End(Outcome::Taken(hold), None);
        }
        if reader.is_blind() && is_unseen(sight) {
            return Step::End(Outcome::Unseen, None);
        }
        if !reader.has_room(&sight.screen, &self.text.text) {
            return Step::End(Outcome::NoRoom, None);
        }
        (self.began, self.since) = (true, now);
        let keys = Keys::Text(self.text.text.clone());
        let mark = self.text.once.as_ref();
        let mark = mark.map(|once| Mark::Once(once.typed.clone()));
        Step::Send(self.strokes(sight, keys, Some(0), mark), DEBOUNCE)
    }

    /// Whether the screen has not changed for the time `long`.
    fn is_still(&mut self, screen: &Screen, long: Duration, now: Duration) -> bool {
        match &self.still {
            Some((still, since)) if still == screen => now.saturating_sub(*since) >= long,
            _ => {
                self.still = Some((screen.clone(), now));
                false
            }
        }
    }

    /// Whether something of ours stands in the input line that is to be taken back.
    fn is_ours(&self, sight: &Sight) -> bool {
        let Text { reader, ours, .. } = &self.text;
        reader.holds(sight, ours) || reader.is_mixed(sight)
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
            // If we left it there, we would take it for a person's draft and never type again.
            Line::Tail if self.began => self.back(sight, Outcome::Waits(state), now),
            Line::Mixed => self.back(sight, Outcome::Waits(state), now),
            // Our text may still show, behind what a person has typed.
            Line::Other if self.began && passed < SHOWN => Step::Wait(LOOK),
            Line::Other | Line::Tail => Step::End(Outcome::Waits(state), None),
            Line::Ours if now > LIMIT => self.back(sight, Outcome::Waits(state), now),
            Line::Ours if matches!(state, State::Draft | State::Unknown) => self.enter(sight, now),
            Line::Twice | Line::Ours if state == State::Shell => {
                self.back(sight, Outcome::Waits(state), now)
            }
            Line::Twice => self.back(sight, Outcome::NotShown, now),
            _ if passed < SHOWN && self.backs == 0 => Step::Wait(LOOK),
            Line::Empty if self.text.reader.is_blind() => self.unseen(sight, now),
            // An earlier attempt typed it, and it does not show now either: it was lost, and may be
            // typed again.
            Line::Empty if !self.began => {
                let notes = self.strokes(sight, Keys::None, None, self.unmark());
                Step::End(Outcome::NotShown, Some(notes))
            }
            Line::Empty => Step::End(Outcome::NotShown, None),
            Line::Ours | Line::Hidden => Step::End(Outcome::Waits(state), None),
        }
    }

    /// Takes back a text that an unknown program does not show, so that nobody sends it unseen.
    /// Then marks the pane with this screen, so that no text is typed there again, see
    /// [`is_unseen`].
    fn unseen(&mut self, sight: &Sight, now: Duration) -> Step {
        self.since = now;
        self.backs += 1;
        let kept = |keys, mark| Strokes {
            typed: sight.typed.clone(),
            ..self.strokes(sight, keys, None, mark)
        };
        match self.backs {
            1 => Step::Send(kept(Keys::Named(vec![("C-u", 1)]), None), BACK),
            2 => Step::Send(kept(Keys::None, Some(Mark::Once(unseen_mark(sight)))), LOOK),
            _ => {
                let notes = self.strokes(sight, Keys::None, None, self.unmark());
                Step::End(Outcome::NotShown, Some(notes))
            }
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
            Line::Other | Line::Tail => told(),
            Line::Mixed | Line::Twice => Step::End(Outcome::Waits(state), None),
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
        // Only the first Enter sets the mark; later ones repeat it because it had no effect.
        let mark = once.filter(|once| !sight.marks.contains(&once.entered));
        let mark = mark.map(|once| Mark::Once(once.entered.clone()));
        let keys = Keys::Named(vec![("Enter", 1)]);
        Step::Send(self.strokes(sight, keys, Some(noted + 1), mark), LOOK)
    }

    /// Takes back the text of ours that stands in the input line, then ends with `outcome`.
    fn back(&mut self, sight: &Sight, outcome: Outcome, now: Duration) -> Step {
        let stage = self.stage(sight);
        // After an earlier text is taken back, this attempt goes on with its own.
        if stage != Stage::New || self.backs >= BACKS {
            self.retreat = Some(outcome.clone());
        }
        self.retreat(sight, stage, outcome, now)
    }

    fn retreat(&mut self, sight: &Sight, stage: Stage, outcome: Outcome, now: Duration) -> Step {
        let screen = &sight.screen;
        let is_still = self.is_still(screen, PAUSE, now);
        let reader = &self.text.reader;
        let text = sight.typed.as_ref().map_or("", |typed| &typed.text);
        let left = reader.left(sight);
        let is_mixed = left == Some(Line::Mixed);
        let keys = match left {
            _ if reader.takes_commands(screen) => None,
            // The program may not have read the first keys yet: more could take out a person's
            // text.
            Some(Line::Mixed) if self.backs > 0 || now > LIMIT => None,
            // In a menu that hangs below the input line, the keys would mean something else.
            Some(Line::Mixed) if reader.state(screen) != State::Draft => None,
            Some(Line::Mixed) => reader.cut(screen, text),
            _ if self.backs >= BACKS => None,
            Some(Line::Tail) => Some(reader.clear(screen, text)),
            _ if reader.holds(sight, &self.text.ours) => Some(reader.clear(screen, text)),
            _ => None,
        };
        if is_mixed && keys.is_some() && !is_still {
            return Step::Wait(LOOK);
        }
        let Some(keys) = keys else {
            // A text of ours beside a person's stays noted: a later attempt takes it out.
            let unmark = self.unmark().filter(|_| stage == Stage::Typed);
            let notes = self.strokes(sight, Keys::None, None, unmark);
            return Step::End(outcome, (!is_mixed).then_some(notes));
        };
        self.backs += 1;
        self.since = now;
        let mut strokes = self.strokes(sight, keys, None, None);
        strokes.typed.clone_from(&sight.typed);
        Step::Send(strokes, BACK)
    }

    fn unmark(&self) -> Option<Mark> {
        let once = self.text.once.as_ref();
        once.map(|once| Mark::Gone(once.typed.clone()))
    }

    /// Keys for the pane as it was seen. With `enters` the pane gets a note of the text and of how
    /// many times Enter was pressed; without, its note is removed.
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

/// The mark that says that a text did not show on this screen.
fn unseen_mark(sight: &Sight) -> String {
    let Screen {
        lines, column, row, ..
    } = &sight.screen;
    let shown = digest(format!("{column} {row} {}", lines.join("\n")), 8);
    format!("u{}h{shown}", sight.pid)
}

/// Whether a text is not expected to show: an earlier one did not on this very screen, or too many
/// did not on others.
fn is_unseen(sight: &Sight) -> bool {
    let its = format!("u{}h", sight.pid);
    let its = sight.marks.iter().filter(|mark| mark.starts_with(&its));
    its.count() >= UNSEEN || sight.marks.contains(&unseen_mark(sight))
}

/// Whether a text has a line of its own on the screen, after any sign, as programs show what was
/// sent.
fn shows_sent(screen: &Screen, text: &str) -> bool {
    let text = solid(text);
    let is_it =
        |line: &String| solid(line.trim_start_matches(|c: char| !c.is_alphanumeric())) == text;
    screen.lines.iter().any(is_it)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A program with an input line, as its terminal shows it, and what a person does with it.
    #[derive(Debug, Clone, Default)]
    struct Program {
        line: String,
        /// How many characters stand behind the cursor.
        behind: usize,
        /// `None`: as tmux makes it.
        size: Option<(usize, usize)>,
        /// What a person has the pane for.
        hold: Option<Hold>,
        asks: bool,
        busy: bool,
        /// It reads keys only now and then.
        hangs: bool,
        /// It takes so many characters for commands, before it takes text.
        commands: usize,
        /// It shows this instead, and nothing of what is typed.
        silent: Option<&'static str>,
        alternate: bool,
        footer: Option<&'static str>,
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
                    let footer = self.footer.unwrap_or("  ? for shortcuts");
                    [above, &rule, &line, &rule, footer]
                        .map(String::from)
                        .to_vec()
                }
            };
            let silent = self.silent.map(|shown| vec![shown.to_string()]);
            let (column, row) = match self.asks {
                _ if silent.is_some() => (0, 1),
                true => (0, 1),
                false => (line.chars().count() - self.behind, 2),
            };
            let lines = silent.unwrap_or(lines);
            Sight {
                screen: Screen {
                    solid: lines.clone(),
                    lines,
                    column,
                    row,
                    size: self.size.unwrap_or((200, 50)),
                    alternate: self.alternate,
                    command: "claude".into(),
                    title: "✳ Claude Code".into(),
                    ..Screen::default()
                },
                pid: 7,
                dead: false,
                hold: self.hold,
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
                    Keys::Named(keys) => {
                        for (key, times) in keys {
                            (0..times).for_each(|_| self.press(key));
                        }
                    }
                }
            }
        }

        fn press(&mut self, key: &str) {
            match key {
                "Enter" if self.asks => {
                    self.answered += 1;
                    self.asks = false;
                }
                _ if self.asks => {}
                "Enter" if self.line.is_empty() => {}
                "Enter" => self.sent.push(std::mem::take(&mut self.line)),
                "C-u" => self.line.clear(),
                "Left" => self.behind += 1,
                "Right" => self.behind -= 1,
                "BSpace" => {
                    let at = self.line.chars().count() - self.behind - 1;
                    let mut line: Vec<char> = self.line.chars().collect();
                    line.remove(at);
                    self.line = line.into_iter().collect();
                }
                key => panic!("{key} is pressed"),
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
            reader: Reader::usual("claude"),
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
        steered.reader = Reader::usual("codex");
        let screen = Screen {
            lines: vec!["• word".into(), "".into(), "›".into()],
            solid: vec!["• word".into(), "".into(), "›".into()],
            title: "⠸ proj".into(),
            command: "codex".into(),
            column: 2,
            row: 2,
            cursor: true,
            size: (200, 50),
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

    /// Whoever types many texts at once looks at each as often as at the one that is most urgent.
    #[test]
    fn enter_comes_after_a_pause_however_often_somebody_looks() {
        let mut program = Program::default();
        let mut attempt = Attempt::new(text("hello"));
        let at = |ms| Duration::from_millis(ms);
        let Step::Send(strokes, wait) = attempt.next(Some(&program.sight()), at(0)) else {
            panic!("nothing is typed");
        };
        assert_eq!(wait, DEBOUNCE);
        program.strike(&strokes);
        for early in [1, 100, 499] {
            let step = attempt.next(Some(&program.sight()), at(early));
            assert!(matches!(step, Step::Wait(_)), "{early}: {step:?}");
        }
        let step = attempt.next(Some(&program.sight()), at(500));
        let Step::Send(strokes, _) = step else {
            panic!("no Enter: {step:?}");
        };
        assert_eq!(strokes.keys, Keys::Named(vec![("Enter", 1)]));
    }

    /// A cursor that moves between each look and the keys, so that tmux sends none of them.
    #[test]
    fn a_program_that_never_rests_is_given_up() {
        let program = Program::default();
        let mut attempt = Attempt::new(text("hello"));
        let mut now = Duration::ZERO;
        let outcome = loop {
            match attempt.next(Some(&program.sight()), now) {
                Step::Send(_, wait) | Step::Wait(wait) => now += wait,
                Step::End(outcome, _) => break outcome,
            }
            assert!(now < 2 * LIMIT, "it has no end");
        };
        assert_eq!(outcome, Outcome::Waits(State::Free));
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
    fn nothing_is_typed_into_a_pane_that_a_person_has_for_something_else() {
        for hold in [Hold::Mode, Hold::Synchronized] {
            let mut program = Program {
                hold: Some(hold),
                ..Program::default()
            };
            assert_eq!(program.told(text("x"), |_, _| {}), Outcome::Taken(hold));
            assert_eq!((program.line.as_str(), program.sent.len()), ("", 0));
        }
    }

    #[test]
    fn nor_is_enter_pressed_or_a_text_taken_back_there() {
        for hold in [Hold::Mode, Hold::Synchronized] {
            for once in [false, true] {
                let mut hello = text("hello");
                hello.once = once.then(|| Once::words(7));
                let mut program = Program::default();
                let outcome = program.told(hello.clone(), |p, look| {
                    p.hold = (look > 0).then_some(hold);
                });
                assert_eq!(outcome, Outcome::Taken(hold));
                assert_eq!((program.line.as_str(), program.sent.len()), ("hello", 0));
                let again = program.told(hello.clone(), |_, _| {});
                assert_eq!(again, Outcome::Taken(hold));
                assert_eq!((program.line.as_str(), program.sent.len()), ("hello", 0));
                program.hold = None;
                assert_eq!(program.told(hello, |_, _| {}), Outcome::Told);
                assert_eq!((program.sent.len(), &program.typed), (1, &None));
            }
            let mut program = Program {
                line: "hello".into(),
                hold: Some(hold),
                ..Program::default()
            };
            let mut back = text("");
            back.ours = vec!["hello".into()];
            let outcome = program.told(back, |_, _| {});
            assert_eq!(outcome, Outcome::Taken(hold));
            assert_eq!(program.line, "hello");
        }
    }

    /// Without echo, or by a program that takes letters for commands.
    #[test]
    fn what_does_not_show_is_taken_back_and_not_typed_again_and_again() {
        for once in [false, true] {
            let mut blind = text("hello");
            blind.reader = Reader::default();
            blind.once = once.then(|| Once::words(7));
            let mut program = Program {
                silent: Some("Listening"),
                ..Program::default()
            };
            let told = |program: &mut Program| {
                let outcome = program.told(blind.clone(), |_, _| {});
                assert_eq!((program.line.as_str(), program.sent.len()), ("", 0));
                assert_eq!(program.typed, None);
                outcome
            };
            assert_eq!(told(&mut program), Outcome::NotShown);
            assert_eq!(told(&mut program), Outcome::Unseen);
            program.silent = Some("Listening\n");
            assert_eq!(told(&mut program), Outcome::NotShown);
            program.silent = Some("12:00");
            assert_eq!(told(&mut program), Outcome::NotShown);
            program.silent = Some("12:01");
            assert_eq!(told(&mut program), Outcome::Unseen);
        }
    }

    #[test]
    fn an_unknown_program_on_the_alternate_screen_is_no_prompt() {
        let mut program = Program {
            silent: Some("GNU nano"),
            alternate: true,
            ..Program::default()
        };
        let mut unknown = text("hello");
        unknown.reader = Reader::default();
        let outcome = program.told(unknown, |_, _| {});
        assert_eq!(outcome, Outcome::Taken(Hold::Covered));
        assert!(program.line.is_empty() && program.typed.is_none());
    }

    #[test]
    fn letters_that_would_be_commands_are_not_typed() {
        for (footer, is_modal, want) in [
            (None, false, true),
            (None, true, false),
            (Some("  -- INSERT -- ⏵⏵ bypass"), true, true),
            (Some("  -- INSERT -- ⏵⏵ bypass"), false, true),
            (Some("  -- VISUAL --"), false, false),
        ] {
            for busy in [false, true] {
                let mut program = Program {
                    footer,
                    busy,
                    ..Program::default()
                };
                let mut text = text("hello");
                text.reader.is_modal = is_modal;
                text.ours = vec!["put back".into()];
                let outcome = program.told(text.clone(), |_, _| {});
                assert_eq!(outcome == Outcome::Told, want, "{footer:?} {is_modal}");
                assert_eq!(
                    (program.line.as_str(), program.sent.len()),
                    ("", want as usize)
                );
                // Nor are other keys.
                program.line = "put back".into();
                program.told(text, |_, _| {});
                assert_eq!(program.line.is_empty(), want);
            }
        }
    }

    #[test]
    fn no_text_is_put_behind_one_that_waits_in_the_queue() {
        for (line, want) in [("  ❯ a person's", false), ("● word", true)] {
            let queued = format!(
                "✽ Working… (3s)\n\n{line}\n{0}\n❯ \n{0}\n  ⏵⏵",
                "─".repeat(40)
            );
            let lines: Vec<String> = queued.lines().map(String::from).collect();
            let screen = Screen {
                solid: lines.clone(),
                lines,
                column: 2,
                row: 4,
                ..Screen::default()
            };
            let reader = text("").reader;
            assert_eq!(reader.state(&screen), State::Busy);
            assert_eq!(reader.takes(&screen, &State::Busy), want);
        }
    }

    #[test]
    fn what_would_not_be_seen_is_not_typed() {
        let long = "HEARTBEAT: close what is finished, so that it stops waiting";
        // Two rows stand below the input line.
        for (size, want) in [
            ((12, 3), Outcome::NoRoom),
            ((12, 10), Outcome::NoRoom),
            ((40, 6), Outcome::NoRoom),
            ((40, 7), Outcome::Told),
            ((80, 5), Outcome::NoRoom),
            ((80, 6), Outcome::Told),
            ((0, 0), Outcome::Told),
        ] {
            let mut program = Program {
                size: Some(size),
                ..Program::default()
            };
            assert_eq!(program.told(text(long), |_, _| {}), want, "{size:?}");
            let told = usize::from(want == Outcome::Told);
            assert_eq!((program.line.as_str(), program.sent.len()), ("", told));
        }
        for (text, columns, rows) in [
            ("", 5, 1),
            ("one two", 7, 1),
            ("one two", 6, 2),
            ("one abcdefghij", 5, 3),
            ("abcdefghij ab", 5, 3),
            ("abcdefghi a", 5, 3),
            ("abcdefgh a", 5, 2),
        ] {
            assert_eq!(rows_of(text, columns), rows, "{text} {columns}");
        }
    }

    /// Some programs put what was sent back into the input line when somebody breaks off the turn,
    /// and two texts that were queued together.
    #[test]
    fn what_the_program_has_put_back_is_taken_back() {
        for (line, ours) in [
            ("hello", true),
            ("at 10:15 begin", true),
            ("helloat 23:59 begin", true),
            ("hello there", false),
            ("at noon begin", false),
        ] {
            let mut program = Program {
                line: line.into(),
                ..Program::default()
            };
            let again = Text {
                ours: vec!["hello".into(), "at 00:00 begin".into()],
                ..text("again")
            };
            let sight = program.sight();
            assert_eq!(again.reader.shows_only(&sight.screen, &again.ours), ours);
            let outcome = program.told(again.taken_back(), |_, _| {});
            assert_eq!(outcome, Outcome::Told, "{line}");
            assert_eq!(program.line.is_empty(), ours, "{line}");
            program.line = line.into();
            let outcome = program.told(again, |_, _| {});
            assert_eq!(outcome == Outcome::Told, ours, "{line}");
            assert_eq!(program.sent.is_empty(), !ours);
        }
    }

    #[test]
    fn only_ours_is_taken_out_from_beside_what_a_person_types() {
        for (before, behind, want) in [
            ("", "xy", "xy"),
            ("x", "", "x"),
            ("x", " and more", "x and more"),
            ("hel", "o", "helo"),
        ] {
            let mut program = Program::default();
            let outcome = program.told(text("hello"), |p, look| match look {
                // So shortly before our keys that the cursor does not show it yet.
                0 => {
                    p.hangs = true;
                    p.unread.push(Keys::Text(before.into()));
                }
                1 => {
                    p.hangs = false;
                    p.unread.push(Keys::Text(behind.into()));
                }
                _ => {}
            });
            assert_eq!(outcome, Outcome::Waits(State::Draft), "{want}");
            assert_eq!(
                (program.line.as_str(), program.behind, program.typed),
                (want, 0, None)
            );
            assert!(program.sent.is_empty());
        }
    }

    /// The keys that take ours out may be read late: as many again would take out theirs.
    #[test]
    fn ours_is_taken_out_once_from_beside_what_a_person_types() {
        let mut program = Program::default();
        let outcome = program.told(text("hello"), |p, look| {
            if look == 0 {
                p.hangs = true;
                p.unread.push(Keys::Text("x".into()));
            } else {
                p.hangs = p.line == "xhello";
            }
        });
        assert_eq!(outcome, Outcome::Waits(State::Draft));
        assert_eq!(program.line, "xhello");
        program.hangs = false;
        program.read();
        assert_eq!((program.line.as_str(), program.sent.len()), ("x", 0));
    }

    #[test]
    fn nothing_is_taken_out_beside_what_may_be_wider() {
        for (behind, columns, is_certain) in [("xy", 2, true), ("✅", 2, false), ("…", 1, true)]
        {
            let program = Program {
                line: format!("hello{behind}"),
                ..Program::default()
            };
            let mut screen = program.sight().screen;
            screen.column = "❯ hello".chars().count() + columns;
            let keys = text("").reader.cut(&screen, "hello");
            assert_eq!(keys.is_some(), is_certain, "{behind}");
        }
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

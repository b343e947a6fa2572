//! From a screen to a [`State`].
//!
//! A program keeps the cursor in its input line, even a hidden one, and draws a dialog in the place
//! of that line. So the input line is where the cursor is; what looks like one elsewhere is old
//! output.

use std::ops::Range;

use super::looks::{BRAILLE, PLAIN};
use super::{Area, Kind, Look, Question, State};
use crate::tmux::Screen;
use crate::tools;

/// How many of the last non-empty lines count: further up are old questions and spinners.
const LAST: usize = 16;

/// How many of the last lines may hold a dialog's footer, see [`FOOTERS`].
const FOOTER: usize = 3;

/// How many lines of a question's text are kept.
const TEXT: usize = 20;

/// How far above an input line a spinner may be, in non-empty lines.
const SPINNER: usize = 6;

/// How many rows a program may need above its input line.
const FRAME: usize = 3;

/// What dialogs and menus of any program say in their last lines, in lower case.
const FOOTERS: &[&str] = &[
    "enter to ",
    "enter submit",
    "enter confirm",
    "enter select",
    "enter continue",
    "enter resume",
    "enter save",
    "press enter",
    "esc to cancel",
    "esc to clear",
    "esc to close",
    "esc to dismiss",
    "esc to exit",
    "esc to go back",
    "esc back",
    "esc cancel",
    "· esc close",
    "esc dismiss",
    "q close",
    "q to quit",
    "to navigate",
    "to select",
    "(y/n)",
    "[y/n]",
    "(yes/no)",
];

/// What stands before the choice that Enter would take.
const MARKS: &[char] = &['❯', '›', '>', '●', '▶', '→', '▸'];

/// The question that stands for another program which has the whole terminal.
const COVERED: &str = "An editor, a pager or the like is open there: leave it";

/// What a terminal is ready for. `prompts` are from the agent's settings: what its input line may
/// begin with, besides the prompts of its look.
pub fn read(screen: &Screen, look: Option<&Look>, prompts: &[String]) -> State {
    let view = View { screen };
    let input = view.input(look, prompts);
    // Some versions draw on the alternate screen, too, but seldom show a cursor there.
    let covers = screen.alternate && screen.cursor && look.is_some_and(|look| look.inline);
    if covers && !view.has_cursor(input.as_ref()) {
        return State::Asks(Question::menu(COVERED));
    }
    let below = input.as_ref().map_or(0, |input| input.rows.end);
    let above = input.as_ref().map_or(view.end(), |input| input.rows.start);
    let permission = look.and_then(|look| view.permission(above, look));
    // What only the settings call an input line may be a line of a dialog, such as one to search.
    let is_guess = input.as_ref().is_some_and(|input| input.is_guess);
    let from = if is_guess { 0 } else { below };
    if let Some(question) = permission.or_else(|| view.question(from, look)) {
        return State::Asks(question);
    }
    let look = look.unwrap_or(&PLAIN);
    let busy = view.is_busy(above, below, look) || (input.is_some() && view.starts(below, look));
    match input {
        Some(input) if input.shell => State::Shell,
        Some(input) if !input.text.is_empty() => State::Draft,
        _ if busy => State::Busy,
        Some(_) => State::Free,
        None if view.is_covered(look) => State::Asks(Question::menu(COVERED)),
        None if view.is_shell() => State::Shell,
        None => State::Unknown,
    }
}

/// Whether the input line is in vi's normal mode, so that letters are commands. `is_modal`: the
/// program's settings say that the line is edited as in vi.
pub fn takes_commands(screen: &Screen, look: &Look, is_modal: bool) -> bool {
    let view = View { screen };
    let below = view
        .input(Some(look), &[])
        .map_or(screen.row, |input| input.rows.end);
    let shows = |sign: &str| {
        let mut rows = view.last(below).into_iter();
        rows.any(|row| view.line(row).contains(sign))
    };
    let vi = look.vi.as_ref();
    vi.is_some_and(|vi| {
        let inserts = vi.inserts.is_none_or(shows);
        vi.commands.iter().any(|sign| shows(sign)) || (is_modal && !inserts)
    })
}

/// Whether texts wait in the program's queue, for the end of its turn.
pub fn queues(screen: &Screen, look: &Look) -> bool {
    let view = View { screen };
    let says = |row: &usize| {
        let line = view.line(*row).to_lowercase();
        look.queued.iter().any(|sign| line.contains(sign))
    };
    let Some(input) = view.input(Some(look), &[]) else {
        return false;
    };
    let above = (0..input.rows.start).rev();
    let above = above.skip_while(|row| is_rule(view.line(*row)));
    let mut above = above.take_while(|row| !view.is_empty(*row));
    let is_queue = |row: usize| {
        look.queue
            .iter()
            .any(|sign| view.line(row).starts_with(sign))
    };
    view.last(0).iter().any(says) || above.any(is_queue)
}

/// What stands in the input line, in lines; `None` when there is no input line on the screen.
pub fn input(screen: &Screen, look: Option<&Look>, prompts: &[String]) -> Option<String> {
    Some(View { screen }.input(look, prompts)?.text)
}

/// How many columns and rows a text may take in the input line and still be seen as a whole; `None`
/// when the terminal's size is not known. In most programs the line grows upwards, and what is
/// below it stays.
pub fn room(screen: &Screen, look: Option<&Look>, prompts: &[String]) -> Option<(usize, usize)> {
    let (columns, rows) = screen.size;
    if columns == 0 || rows == 0 {
        return None;
    }
    let view = View { screen };
    let Some(input) = view.input(look, prompts) else {
        return Some((columns, rows - 1));
    };
    // The frame is as wide on the right of the line as on its left. A cursor elsewhere tells nothing.
    let frame = usize::from(input.rows.contains(&screen.row)) * screen.column;
    let columns = columns.saturating_sub(2 * frame + 2).max(1);
    let below = view.end().saturating_sub(input.rows.end);
    Some((columns, rows.saturating_sub(below + FRAME)))
}

/// An input line.
struct Input {
    /// The rows that the line takes.
    rows: Range<usize>,
    /// What is typed there.
    text: String,
    /// A shell would run the text.
    shell: bool,
    /// The program is known, and by its look this is none.
    is_guess: bool,
}

struct View<'a> {
    screen: &'a Screen,
}

impl View<'_> {
    fn line(&self, row: usize) -> &str {
        self.screen.lines.get(row).map_or("", String::as_str)
    }

    /// Whether another program, such as an editor, has the alternate screen: a cursor is shown, and
    /// no input line is seen, though this program shows its cursor only in its input line.
    fn is_covered(&self, look: &Look) -> bool {
        let screen = self.screen;
        screen.alternate && screen.cursor && look.shows_cursor && self.end() > 0
    }

    /// Whether the cursor is in the input line, and the last line on the screen is indented as the
    /// programs' own are. No editor's is, even where a text like an input line is edited.
    fn has_cursor(&self, input: Option<&Input>) -> bool {
        let last = self.line(self.end().saturating_sub(1)).strip_prefix("  ");
        let is_indented = last.is_some_and(|rest| !rest.starts_with(' '));
        is_indented && input.is_some_and(|input| input.rows.contains(&self.screen.row))
    }

    /// A line of an input line, without borders and hints.
    fn typed(&self, row: usize) -> &str {
        bare(self.screen.solid.get(row).map_or("", String::as_str))
    }

    fn is_empty(&self, row: usize) -> bool {
        bare(self.line(row)).is_empty()
    }

    /// The row after the last non-empty one.
    fn end(&self) -> usize {
        let last = (0..self.screen.lines.len()).rfind(|row| !self.is_empty(*row));
        last.map_or(0, |row| row + 1)
    }

    /// Those of the last [`LAST`] non-empty rows that are not above the row `from`.
    fn last(&self, from: usize) -> Vec<usize> {
        let mut rows: Vec<usize> = (0..self.end()).filter(|row| !self.is_empty(*row)).collect();
        rows.drain(..rows.len().saturating_sub(LAST));
        rows.retain(|row| *row >= from);
        rows
    }

    fn input(&self, look: Option<&Look>, prompts: &[String]) -> Option<Input> {
        if look.is_some_and(|look| look.shows_cursor) && !self.screen.cursor {
            return None;
        }
        let by_look = look.and_then(|look| match look.area {
            Area::Open => {
                let input = self.open(look, |row| self.prompted(row, look));
                input.map(|input| self.with_more(input))
            }
            Area::Ruled => self.ruled(look),
            Area::Headed => {
                let input = self.headed(look).map(|input| self.with_more(input));
                input.or_else(|| self.ruled(look))
            }
            Area::Barred => self.barred(look),
        });
        by_look.or_else(|| {
            // Of a prompt that the look knows, it also knows when it marks a choice.
            let is_known = |prompt: &&str| look.is_some_and(|look| look.prompts.contains(prompt));
            let start = |row: usize| {
                let prompts = prompts.iter().map(|p| p.trim());
                let mut prompts = prompts.filter(|p| !p.is_empty() && !is_known(p));
                let begins = |prompt: &&str| after(bare(self.line(row)), prompt).is_some();
                let prompt = prompts.find(begins)?;
                let typed = self.typed(row);
                let on_it = self.is_on(row, prompt);
                (!on_it).then_some((after(typed, prompt).unwrap_or(typed), false))
            };
            let input = self.open(look.unwrap_or(&PLAIN), start)?;
            let is_guess = look.is_some();
            Some(Input { is_guess, ..input })
        })
    }

    /// What is typed behind a prompt in this row, and whether a shell would run it. `None` too when
    /// the cursor is on the prompt: then that is the mark of a choice.
    fn prompted(&self, row: usize, look: &Look) -> Option<(&str, bool)> {
        let line = bare(self.line(row));
        let shell = look.shell.iter().find(|sign| line.starts_with(**sign));
        let begins = |prompt: &&&str| after(line, prompt).is_some();
        let prompt = shell.or_else(|| look.prompts.iter().find(begins))?;
        let typed = self.typed(row);
        // In `typed` a faint prompt is blank already.
        let typed = typed.strip_prefix(prompt).unwrap_or(typed).trim();
        (!self.is_on(row, prompt)).then_some((typed, shell.is_some()))
    }

    /// Whether the cursor is on the prompt of this row.
    fn is_on(&self, row: usize, prompt: &str) -> bool {
        let indent = self.line(row).chars().take_while(|c| is_border(*c)).count();
        row == self.screen.row
            && !prompt.is_empty()
            && self.screen.column < indent + prompt.chars().count()
    }

    /// The input line from the last prompt above the cursor to the first empty line below it.
    fn open<'s>(
        &self,
        look: &Look,
        start: impl Fn(usize) -> Option<(&'s str, bool)>,
    ) -> Option<Input> {
        let cursor = self.screen.row;
        let row = (0..=cursor).rev().find(|row| start(*row).is_some())?;
        let (first, shell) = start(row)?;
        let end = (cursor + 1..self.end()).find(|row| self.is_empty(*row));
        let rows = row..end.unwrap_or_else(|| self.end().max(cursor + 1));
        // An unindented line below the prompt means that the prompt was sent and this is the
        // answer; a number behind the prompt means that it marks a choice.
        let indented = |row: usize| self.is_empty(row) || self.line(row).starts_with("  ");
        let whole = rows.clone().skip(1).all(indented) && choice(first).is_none();
        whole.then(|| self.prompted_by(rows, first, shell, look))
    }

    /// Which rows are rules that may frame the input line. What is much shorter than the widest one
    /// stands in the line itself: somebody has typed it.
    fn frames(&self) -> impl Fn(&usize) -> bool {
        let width = |row: usize| match self.line(row) {
            line if is_rule(line) => line.chars().count(),
            _ => 0,
        };
        let widest = (0..self.end()).map(width).max().unwrap_or_default();
        move |row| width(*row) > widest * 9 / 10
    }

    /// An input line whose first paragraph is empty, with those below it: all that is indented down
    /// to the last lines on the screen, which are about the program.
    fn with_more(&self, input: Input) -> Input {
        let last = (0..self.end()).rev().take_while(|row| !self.is_empty(*row));
        let last = last.last().unwrap_or_default();
        let below = (input.rows.end..last).filter(|row| self.line(*row).starts_with("  "));
        let below: Vec<&str> = below.map(|row| self.typed(row)).collect();
        let below = below.join("\n").trim().to_string();
        match input.text.is_empty() && !below.is_empty() {
            true => Input {
                rows: input.rows.start..last,
                text: below,
                ..input
            },
            false => input,
        }
    }

    /// The input line between the rules above and below the cursor. A program that draws a cursor
    /// of its own may leave the real one, hidden, below all else: then between the last two rules.
    fn ruled(&self, look: &Look) -> Option<Input> {
        let is_frame = self.frames();
        let last = (0..self.end()).rfind(&is_frame)?;
        let is_below = |up| !self.screen.cursor && self.screen.row + up >= self.end();
        let is_below = look.hides_cursor.is_some_and(is_below);
        let inside = if is_below { last } else { self.screen.row };
        let start = (0..inside).rfind(&is_frame)? + 1;
        let end = (inside..self.end()).find(&is_frame)?;
        let (first, shell) = self.prompted(start, look)?;
        // A list of choices has a line like this to search it.
        let begins = |row: usize, sign| after(bare(self.line(row)), sign).is_some();
        let lists = |row: usize| begins(row, "→") || begins(row, "›");
        let searches = look.prompts == [""] && (is_below || begins(self.screen.row, ">"));
        let is_menu = searches && (start..end).any(lists);
        (!is_menu).then(|| self.prompted_by(start..end, first, shell, look))
    }

    /// The input line below a rule and a line about the mode, to the first empty line below the
    /// cursor.
    fn headed(&self, look: &Look) -> Option<Input> {
        let cursor = self.screen.row;
        let top = (0..cursor).rfind(self.frames())?;
        let boxed = |row: &usize| self.line(*row).trim_start().starts_with('│');
        let start = (top + 1..=cursor).find(|row| self.prompted(*row, look).is_some())?;
        let end = (cursor + 1..self.end()).find(|row| self.is_empty(*row))?;
        let (first, shell) = self.prompted(start, look).filter(|_| !boxed(&start))?;
        Some(self.prompted_by(start..end, first, shell, look))
    }

    /// The input line in a block of lines behind bars that ends with `╹`, without the block's last
    /// line, which is about the model. Right above the block may be a list of commands, which has
    /// bars on both sides. In a wide window something else stands to the right of the block, which is
    /// as wide as its last border.
    fn barred(&self, look: &Look) -> Option<Input> {
        let cursor = self.screen.row;
        let begins = |row: usize, sign| self.line(row).trim_start().starts_with(sign);
        let end = (cursor..self.end()).find(|row| !begins(*row, '┃'))?;
        if !begins(end, '╹') {
            return None;
        }
        let border = self.line(end).chars();
        let border = border.take_while(|c| c.is_whitespace() || "╹▀".contains(*c));
        let width = border.collect::<String>().trim_end().chars().count();
        // A bar elsewhere in a line is one that somebody has typed.
        let is_listed = |row| self.line(row).chars().nth(width - 1) == Some('┃');
        let is_its = |row: &usize| begins(*row, '┃') && !is_listed(*row);
        let start = (0..=cursor).rev().take_while(is_its).last()?;
        let typed = |row: usize| {
            let line = self.screen.solid.get(row).map_or("", String::as_str);
            let end = line.char_indices().nth(width).map(|(end, _)| end);
            bare(&line[..end.unwrap_or(line.len())])
        };
        let last = (start..end).rfind(|row| !typed(*row).is_empty())?;
        let shell = look.shell.is_some_and(|sign| typed(last).starts_with(sign));
        let rows = start..last.max(start + 1);
        let text: Vec<&str> = rows.clone().map(typed).collect();
        Some(self.taken(rows, text.join("\n"), shell, look))
    }

    /// The input line that takes these rows and has `first` in the first of them.
    fn prompted_by(&self, rows: Range<usize>, first: &str, shell: bool, look: &Look) -> Input {
        let more = rows.clone().skip(1).map(|row| self.typed(row));
        let text: Vec<&str> = std::iter::once(first).chain(more).collect();
        let mut input = self.taken(rows, text.join("\n"), shell, look);
        let row = self.screen.row;
        // Somebody has typed breaks, or what the program shows as blanks.
        if input.text.is_empty() && input.rows.contains(&row) && row > input.rows.start {
            input.text = "\n".repeat(row - input.rows.start);
        }
        input
    }

    /// The input line that takes these rows and holds this text or a hint.
    fn taken(&self, rows: Range<usize>, text: String, shell: bool, look: &Look) -> Input {
        let mut text = text.trim().to_string();
        let is_hint = |hint: &&str| text.starts_with(*hint) && !self.is_behind(&rows, hint);
        if look.hints.iter().any(is_hint) {
            text.clear();
        }
        Input {
            rows,
            text,
            shell,
            is_guess: false,
        }
    }

    /// Whether the cursor is behind the beginning of these words in an input line: then somebody has
    /// typed them.
    fn is_behind(&self, rows: &Range<usize>, words: &str) -> bool {
        let (row, column) = (self.screen.row, self.screen.column);
        let begin = |row: usize| Some((row, self.line(row).split_once(words)?.0.chars().count()));
        let begin = rows.clone().find_map(begin);
        rows.contains(&row) && begin.is_some_and(|begin| (row, column) > begin)
    }

    /// Whether the program says that it works: in its title, below its input line, or by a spinner
    /// above that. The same words elsewhere may be a quotation.
    fn is_busy(&self, above: usize, below: usize, look: &Look) -> bool {
        let says = |row: &usize| {
            let line = self.line(*row).to_lowercase();
            look.busy.iter().any(|sign| line.contains(sign))
        };
        let spins = |row: &usize| {
            let line = self.line(*row).trim_start();
            let Some(rest) =
                line.strip_prefix(|c| BRAILLE.contains(&c) || look.spinners.contains(&c))
            else {
                return false;
            };
            rest.starts_with(' ') && (rest.contains(look.spun) || says(row))
        };
        let filled = (0..above).rev().filter(|row| !self.is_empty(*row));
        let title = self.screen.title.trim_start();
        title.starts_with(|c| BRAILLE.contains(&c) || look.titles.contains(&c))
            || self.last(below).iter().any(says)
            || filled
                .take(SPINNER)
                .any(|row| spins(&row) || self.uses_tool(row, look))
    }

    /// Whether a line says that a tool is used. What an answer says is indented, or stands behind a
    /// faint spinner.
    fn uses_tool(&self, row: usize, look: &Look) -> bool {
        let line = self.line(row);
        let is_faint = |c: &char| line.starts_with(*c) && !self.typed(row).starts_with(*c);
        let answers = look.spinners.first().is_some_and(is_faint);
        let words = line.strip_prefix(look.spinners).map(str::trim_start);
        let uses = |words: &str| look.tools.iter().any(|tool| words.starts_with(tool));
        !answers && words.is_some_and(uses)
    }

    /// Whether the program is still starting: a dialog may yet open, so nothing is typed.
    fn starts(&self, below: usize, look: &Look) -> bool {
        let settled = |row| {
            look.settled
                .iter()
                .any(|sign| self.line(row).contains(sign))
        };
        !look.settled.is_empty() && !(below..self.end()).any(settled)
    }

    fn is_shell(&self) -> bool {
        let screen = self.screen;
        let here = screen.cursor && screen.row + 1 == self.end();
        let prompt = self.line(screen.row).ends_with(['$', '#', '%']);
        here && match screen.command.as_str() {
            "" => prompt,
            command => tools::is_shell(command),
        }
    }

    /// The permission that is asked for above an input line, see [`Look::permission`].
    fn permission(&self, input: usize, look: &Look) -> Option<Question> {
        let sign = look.permission?;
        let framed = |row: usize| {
            let behind = self.line(row).trim_start().strip_prefix('┃')?;
            Some(behind.split_once('┃')?.0.trim())
        };
        let is_it = |row: &usize| framed(*row).is_some_and(|line| line.to_lowercase() == sign);
        let last = (0..input).rfind(is_it)?;
        let above = (0..last).rev().map_while(framed);
        let above = above.filter(|line| line.contains(char::is_alphabetic));
        let mut text: Vec<&str> = above.take(TEXT).collect();
        text.reverse();
        let choices = framed(last).unwrap_or_default().split("  ");
        Some(Question {
            kind: Kind::Permission,
            text: text.join("\n"),
            headline: String::new(),
            choices: choices.map(String::from).collect(),
            marked: None,
        })
    }

    /// What is asked below a row.
    fn question(&self, below: usize, look: Option<&Look>) -> Option<Question> {
        let rows = self.last(below);
        let lower = |row: usize| self.line(row).to_lowercase();
        let is_marked = |row: &usize| {
            let line = bare(self.line(*row)).strip_prefix(MARKS);
            line.is_some_and(|rest| choice(rest.trim_start()).is_some())
        };
        let look = look.unwrap_or(&PLAIN);
        let is_footer = |row: &usize| {
            let line = lower(*row);
            let busy = look.busy.iter().any(|sign| line.contains(sign));
            !busy && FOOTERS.iter().any(|footer| line.contains(footer))
        };
        let known = |row: usize| {
            let line = lower(row);
            let known = look.dialogs.iter().find(|(says, _)| line.contains(says));
            known.map(|(_, kind)| *kind)
        };
        let is_known = |row: &usize| known(*row).is_some();
        // With an input line on the screen only menus count: a program may go on to show below that
        // line what it has asked before.
        let is_menu = |row: &usize| is_footer(row) || known(*row) == Some(Kind::Menu);
        let said = rows.iter().rev().filter(|row| !is_rule(self.line(**row)));
        let here = Some(self.screen.row).filter(|row| *row >= below);
        let asks = rows.iter().chain(&here).any(is_marked)
            || said.take(FOOTER).any(is_menu)
            || (below == 0 && rows.iter().any(is_known));
        asks.then(|| self.asked(below, look, is_footer, is_known))
    }

    /// The dialog at the end of the screen. Its text is what stands above its choices, from a rule
    /// or a marked line (an earlier prompt or spinner) on.
    fn asked(
        &self,
        below: usize,
        look: &Look,
        is_footer: impl Fn(&usize) -> bool,
        is_known: impl Fn(&usize) -> bool,
    ) -> Question {
        let rows = below..self.end();
        let plain = |row: usize| {
            let line = bare(self.line(row));
            line.strip_prefix(MARKS).unwrap_or(line).trim_start()
        };
        let is_first = |row: &usize| choice(plain(*row)).is_some() && plain(*row).starts_with('1');
        let first = rows.clone().rfind(is_first);
        let last = |is: &dyn Fn(&usize) -> bool| rows.clone().rfind(is).map(|row| row + 1);
        let beside = rows
            .clone()
            .rfind(|row| !choices_beside(plain(*row)).is_empty());
        let listed = self.listed(rows.clone()).filter(|list| {
            let says = |row| {
                let line = self.line(row).to_lowercase();
                let mut known = look.dialogs.iter();
                known.any(|(says, kind)| *kind != Kind::Menu && line.contains(says))
            };
            first.is_none() && (rows.start..list.start).any(says)
        });
        let first = first
            .or(beside)
            .or(listed.as_ref().map(|list| list.start))
            .or_else(|| last(&is_footer))
            .or_else(|| last(&is_known));
        let first = first.unwrap_or(rows.end);
        let barred = self.line(first.saturating_sub(1)).contains('┃');
        let mut text: Vec<&str> = Vec::new();
        let mut ruled = false;
        for row in (rows.start..first).rev() {
            let raw = self.line(row);
            // An indented rule belongs to a box in the dialog, such as a search field.
            let ends = (is_rule(raw) && !raw.starts_with("  "))
                || (barred && !raw.contains('┃'))
                || raw.starts_with(|c| MARKS.contains(&c) || look.spinners.contains(&c));
            match (ends, text.is_empty()) {
                (true, true) => {}
                (true, false) => {
                    ruled = is_rule(raw);
                    break;
                }
                // A line without letters is a rule or a picture.
                _ if !raw.contains(char::is_alphabetic) => {}
                _ => text.push(bare(raw).trim_end_matches('─')),
            }
        }
        // A menu below a rule begins with its title.
        let title = text.last().copied().filter(|_| ruled);
        text.truncate(TEXT);
        text.reverse();
        let choices = (first..rows.end).flat_map(|row| match choice(plain(row)) {
            _ if listed.as_ref().is_some_and(|list| list.contains(&row)) => vec![plain(row)],
            Some(choice) => vec![choice],
            None => choices_beside(plain(row)),
        });
        let choices: Vec<String> = choices.map(String::from).collect();
        let all = text.join(" ").to_lowercase();
        let known = look.dialogs.iter().find(|(says, _)| all.contains(says));
        let says = |line: &&&str| {
            let line = line.to_lowercase();
            known.is_some_and(|(says, _)| line.contains(says))
        };
        let asks = text.iter().any(|line| line.ends_with('?'));
        let other = if asks { Kind::Other } else { Kind::Menu };
        let kind = known.map_or(other, |(_, kind)| *kind);
        let title = title.filter(|_| kind == Kind::Menu);
        let headline = text.iter().find(says).copied().or(title);
        // Behind a title, two blanks apart, stand a menu's tabs or other words.
        let headline = headline.and_then(|line| line.split("  ").next());
        Question {
            kind,
            text: text.join("\n"),
            headline: headline.unwrap_or_default().into(),
            choices,
            marked: listed.and_then(|mut list| list.position(|row| self.is_marked(row))),
        }
    }

    /// Whether a choice without a number stands in this row, and Enter would take it.
    fn is_marked(&self, row: usize) -> bool {
        self.line(row).trim_start().starts_with("❯ ")
    }

    /// The rows of choices without numbers, of which one is marked: they begin below each other.
    fn listed(&self, mut rows: Range<usize>) -> Option<Range<usize>> {
        let (top, end) = (rows.start, rows.end);
        let marked = rows.rfind(|row| self.is_marked(*row))?;
        let indent = |row: usize| {
            let begin = self.line(row).chars();
            begin.take_while(|c| matches!(c, ' ' | '❯')).count()
        };
        let is_beside = |row: &usize| !self.is_empty(*row) && indent(*row) == indent(marked);
        let start = (top..marked).rev().take_while(is_beside).last();
        let end = (marked..end).take_while(is_beside).last()? + 1;
        let list = start.unwrap_or(marked)..end;
        (list.len() > 1).then_some(list)
    }
}

/// What follows `1.` or `1)`, with any number.
fn choice(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest
        .strip_prefix(['.', ')'])
        .filter(|_| rest.len() < line.len())?;
    Some(rest.trim()).filter(|rest| !rest.is_empty())
}

/// Choices that stand beside each other in a line that ends with the keys to choose among them.
fn choices_beside(line: &str) -> Vec<&str> {
    let parts = line
        .split("  ")
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let begins = |part: &&str| part.starts_with(char::is_uppercase);
    match line.contains("⇆ select") {
        true => parts.take_while(begins).collect(),
        false => Vec::new(),
    }
}

/// Whether a line is a horizontal border; it may have a title in it.
fn is_rule(line: &str) -> bool {
    let line = line.trim_start_matches(' ');
    line.chars()
        .take(2)
        .filter(|c| "─━═▀▄▔╭╰┌└╌".contains(*c))
        .count()
        == 2
}

/// A line without the borders of a box and blanks.
fn bare(line: &str) -> &str {
    line.trim_matches(is_border)
}

fn is_border(c: char) -> bool {
    c.is_whitespace() || matches!(c, '│' | '┃')
}

/// What stands behind a prompt; `None` when the line does not begin with it.
fn after<'a>(line: &'a str, prompt: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(prompt)?;
    let apart = prompt.is_empty() || rest.is_empty() || rest.starts_with(char::is_whitespace);
    apart.then(|| rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::Reader;

    /// As a tick reads it of agents whose settings only name the program.
    fn read_by(program: &str, screen: &Screen) -> State {
        Reader::usual(program).state(screen)
    }

    fn screen(text: &str, column: usize, row: usize) -> Screen {
        let lines: Vec<String> = text.lines().map(String::from).collect();
        Screen {
            solid: lines.clone(),
            lines,
            column,
            row,
            size: (200, 50),
            ..Screen::default()
        }
    }

    #[test]
    fn claude_is_read() {
        let rule = "─".repeat(60);
        for (middle, want) in [
            ("❯\u{a0}", State::Free),
            ("❯\u{a0}half a draft", State::Draft),
            ("❯\u{a0}\n  more", State::Draft),
            ("!\u{a0}rm", State::Shell),
        ] {
            let text = format!("● Done\n\n{rule}\n{middle}\n{rule}\n  ⏵⏵ bypass permissions on");
            assert_eq!(read_by("claude", &screen(&text, 2, 3)), want, "{middle}");
        }
        let text = format!("✽ Gusting… (1s)\n\n{rule}\n❯\u{a0}\n{rule}\n  esc to interrupt");
        assert_eq!(read_by("claude", &screen(&text, 2, 3)), State::Busy);
        let text = format!(
            "{rule}\n ☐ Danger\n\n Delete it?\n\n ❯ 1. Yes delete\n      drop all\n   2. No keep\n\n Enter to select"
        );
        let State::Asks(question) = read_by("claude", &screen(&text, 1, 5)) else {
            panic!("not asked");
        };
        assert_eq!(question.headline(), "Delete it?");
        assert_eq!(question.choices, ["Yes delete", "No keep"]);
    }

    /// In whatever way a program draws its choices, the cursor is on the mark of one of them.
    #[test]
    fn a_prompt_with_the_cursor_on_it_marks_a_choice() {
        let rule = "─".repeat(60);
        let text = format!("Go on?\n{rule}\n❯ Yes, go on\n  No, stop\n{rule}");
        let state = read_by("claude", &screen(&text, 0, 2));
        assert!(!matches!(state, State::Free | State::Draft), "{state:?}");
        let state = read_by("claude", &screen(&text, 12, 2));
        assert_eq!(state, State::Draft);
    }

    #[test]
    fn what_an_answer_or_a_draft_begins_with_says_nothing() {
        let codex = |answer: &str| {
            let text = format!("{answer}\n\n› \n\n  mock default · ~/town");
            let row = text.lines().count() - 3;
            let shown = screen(&text, 2, row);
            let shown = Screen {
                cursor: true,
                ..shown
            };
            read_by("codex", &shown)
        };
        assert_eq!(codex("• Waiting for the next round…"), State::Free);
        assert_eq!(codex("• Working (3s • esc to interrupt)"), State::Busy);
        assert_eq!(codex("• Running make"), State::Busy);
        assert_eq!(codex("◦ Exploring\n  └ Read notes"), State::Busy);
        assert_eq!(codex("• All of it:\n\n  • Running make"), State::Free);
        let rule = "─".repeat(60);
        let text = format!("● Done\n\n{rule}\n❯\u{a0}Try \"make\" first\n{rule}\n  ⏵⏵");
        let draft = read_by("claude", &screen(&text, 18, 3));
        assert_eq!(draft, State::Draft);
    }

    #[test]
    fn a_draft_may_begin_as_a_hint_does() {
        for (column, want) in [(3, State::Free), (25, State::Draft)] {
            let text = "┃\n┃  Ask anything if unclear\n┃\n┃  Build · mock\n╹▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀";
            let shown = Screen {
                cursor: true,
                ..screen(text, column, 1)
            };
            assert_eq!(read_by("opencode", &shown), want, "{column}");
        }
    }

    #[test]
    fn a_draft_may_have_rules_in_it() {
        let rule = "─".repeat(60);
        for (program, draft) in [
            ("pi", "look at\n├── a\n└── b\n"),
            ("pi", "┌────────┐\n└────────┘\n"),
            ("claude", "❯ look at\n  └── b\n  "),
            ("claude", "❯ look at\n  ────────\n  > "),
        ] {
            let text = format!("{rule}\n{draft}\n{rule}\n  ⏵⏵ bypass permissions on");
            let row = draft.split('\n').count();
            let column = draft.rsplit('\n').next().unwrap().chars().count();
            let state = read_by(program, &screen(&text, column, row));
            assert_eq!(state, State::Draft, "{draft}");
        }
        let text = format!("{rule}\n YOLO\n * look at\n   ────────\n   >\n\n ~/town");
        let state = read_by("gemini", &screen(&text, 5, 4));
        assert_eq!(state, State::Draft);
        let text = "  ┃\n  ┃  ┃ Name ┃\n  ┃\n  ┃\n  ┃  Build · mock\n  ╹▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀▀";
        let shown = Screen {
            cursor: true,
            ..screen(text, 5, 2)
        };
        assert_eq!(read_by("opencode", &shown), State::Draft);
        // Copilot shows what borders are made of as blanks.
        let text = format!("{rule}\n❯\n\n\n{rule}\n Interactive");
        for (row, want) in [(1, State::Free), (2, State::Draft), (3, State::Draft)] {
            let shown = Screen {
                cursor: true,
                ..screen(&text, 2, row)
            };
            assert_eq!(read_by("copilot", &shown), want, "{row}");
        }
    }

    /// The cursor is in the empty first line.
    #[test]
    fn a_draft_may_begin_with_empty_lines() {
        let rule = "─".repeat(60);
        for (program, text, column, row) in [
            ("codex", "•\n\n›\n\n  more\n\n  mock · ~/town", 2, 2),
            ("codex", "•\n\n›\n\n\n\n  more\n\n  mock · ~/town", 2, 2),
            (
                "gemini",
                &format!("{rule}\n YOLO\n *\n\n   more\n\n ~/town"),
                3,
                2,
            ),
        ] {
            let draft = Screen {
                cursor: true,
                ..screen(text, column, row)
            };
            assert_eq!(read_by(program, &draft), State::Draft, "{text}");
            let free = Screen {
                cursor: true,
                ..screen(&text.replace("more", ""), column, row)
            };
            assert_eq!(read_by(program, &free), State::Free, "{text}");
        }
    }

    #[test]
    fn a_prompt_of_the_settings_counts_where_the_cursor_is() {
        let prompts = ["> ".to_string()];
        let read = |text, column| {
            let shown = screen(text, column, 0);
            read(
                &Screen {
                    cursor: true,
                    ..shown
                },
                None,
                &prompts,
            )
        };
        assert_eq!(read(">", 2), State::Free);
        assert_eq!(read("> x", 3), State::Draft);
        assert_eq!(read("working", 3), State::Unknown);
    }
}

//! From a screen to a [`State`].

use std::ops::Range;

use super::looks::BRAILLE;
use super::{Area, Kind, Look, Question, State};
use crate::tmux::Screen;

/// How many of the last lines count that are not empty: further up are old prompts and spinners.
const LAST: usize = 12;

/// How many of the last lines may be the last words of a dialog.
const FOOTER: usize = 3;

/// What a dialog or menu says in its last lines, in lower case, whoever drew it.
const FOOTERS: &[&str] = &[
    "enter to confirm",
    "enter to select",
    "enter to continue",
    "enter to submit",
    "enter to accept",
    "enter submit",
    "enter confirm",
    "enter select",
    "esc to cancel",
    "esc to close",
    "esc to exit",
    "esc to go back",
    "esc dismiss",
    "esc cancel",
    "to navigate",
    "to select",
    "(y/n)",
    "[y/n]",
    "(yes/no)",
];

/// What stands before the choice that Enter would take.
const MARKS: &[char] = &['❯', '›', '>', '●', '▶', '→', '▸'];

/// Programs that run what is typed.
const SHELLS: &[&str] = &["bash", "sh", "dash", "zsh", "fish", "ksh"];

/// What a terminal is ready for. `prompts` are those of an agent's settings: what its input line
/// begins with, in addition to what its look says.
pub fn read(screen: &Screen, look: Option<&Look>, prompts: &[String]) -> State {
    let view = View::of(screen);
    let input = view.input(look, prompts);
    let below = input.as_ref().map_or(0, |input| input.rows.end);
    if let Some(question) = view.question(below, look) {
        return State::Asks(question);
    }
    let Some(input) = input else {
        return match () {
            () if view.is_shell() => State::Shell,
            () if look.is_some_and(|look| view.is_busy(view.end, look)) => State::Busy,
            () => State::Unknown,
        };
    };
    match () {
        () if input.shell => State::Shell,
        () if !input.text.is_empty() => State::Draft,
        () if look.is_some_and(|look| view.is_busy(input.rows.start, look)) => State::Busy,
        () => State::Free,
    }
}

/// What stands in the input line, in lines; empty when it is empty, `None` when none is seen.
pub fn input(screen: &Screen, look: Option<&Look>, prompts: &[String]) -> Option<String> {
    Some(View::of(screen).input(look, prompts)?.text)
}

/// An input line.
struct Input {
    /// The rows it takes.
    rows: Range<usize>,
    /// What is typed there.
    text: String,
    /// A shell would run it.
    shell: bool,
}

/// A screen, and which of its lines count.
struct View<'a> {
    screen: &'a Screen,
    /// The first row that counts.
    start: usize,
    /// The row after the last that is not empty.
    end: usize,
}

impl View<'_> {
    fn of(screen: &Screen) -> View<'_> {
        let mut filled = (0..screen.lines.len()).rev();
        let mut filled = filled
            .by_ref()
            .filter(|row| !screen.lines[*row].trim().is_empty());
        let last = filled.next();
        let start = filled.take(LAST - 1).last().or(last);
        View {
            screen,
            start: start.unwrap_or(0),
            end: last.map_or(0, |row| row + 1),
        }
    }

    fn line(&self, row: usize) -> &str {
        self.screen.lines.get(row).map_or("", String::as_str)
    }

    /// A line without borders, of what is typed there.
    fn typed(&self, row: usize) -> String {
        let line = self
            .screen
            .solid
            .get(row)
            .unwrap_or(&self.screen.lines[row]);
        bare(line).to_string()
    }

    /// The lowest input line.
    fn input(&self, look: Option<&Look>, prompts: &[String]) -> Option<Input> {
        let by_look = look.and_then(|look| match look.area {
            Area::Open => self.open(look.prompts.iter().copied(), look),
            Area::Ruled => self.ruled(look),
            Area::Barred => self.barred(look),
        });
        let cursor = self.screen.row;
        let by_prompt = || {
            let prompts = prompts.iter().map(|p| p.trim()).filter(|p| !p.is_empty());
            let none = Look {
                ..super::looks::PLAIN
            };
            self.open(prompts, look.unwrap_or(&none))
                .filter(|input| self.screen.cursor && input.rows.contains(&cursor))
        };
        by_look.or_else(by_prompt)
    }

    fn open<'p>(
        &self,
        prompts: impl Iterator<Item = &'p str> + Clone,
        look: &Look,
    ) -> Option<Input> {
        let starts = |row: &usize| {
            let line = bare(self.line(*row));
            prompts.clone().any(|prompt| after(line, prompt).is_some())
        };
        let row = (self.start..self.end).rev().find(starts)?;
        let is_empty = |row: &usize| self.line(*row).trim().is_empty();
        let end = (row..self.end).find(is_empty).unwrap_or(self.end);
        let typed = self.typed(row);
        let first = prompts.clone().find_map(|prompt| after(&typed, prompt));
        self.taken(row..end, first.unwrap_or_default(), false, look)
    }

    fn ruled(&self, look: &Look) -> Option<Input> {
        let mut rules = (0..self.end).rev().filter(|row| is_rule(self.line(*row)));
        let mut end = rules.next()?;
        for start in rules {
            if end < self.start {
                return None;
            }
            let rows = start + 1..end;
            end = start;
            if rows.is_empty() {
                continue;
            }
            let typed = self.typed(rows.start);
            let with = |prompt: &str| after(&typed, prompt).map(String::from);
            if let Some(text) = look.shell.and_then(with) {
                return self.taken(rows, &text, true, look);
            }
            let here = rows.contains(&self.screen.row);
            let mut prompts = look.prompts.iter().filter(|p| here || !p.is_empty());
            if let Some(text) = prompts.find_map(|prompt| with(prompt)) {
                return self.taken(rows, &text, false, look);
            }
        }
        None
    }

    fn barred(&self, look: &Look) -> Option<Input> {
        let cursor = self.screen.row;
        let is_barred = |row: &usize| self.line(*row).trim_start().starts_with('┃');
        if !self.screen.cursor || !is_barred(&cursor) {
            return None;
        }
        let above = (0..cursor).rev().take_while(is_barred).last();
        let end = (cursor..self.end).find(|row| !is_barred(row));
        let rows = above.unwrap_or(cursor)..end.unwrap_or(self.end);
        let texts: Vec<String> = rows.clone().map(|row| self.typed(row)).collect();
        // What is typed, an empty line, and what answers it.
        let text: Vec<String> = texts
            .into_iter()
            .skip_while(String::is_empty)
            .take_while(|line| !line.is_empty())
            .collect();
        self.taken(rows.start..rows.start, &text.join("\n"), false, look)
            .map(|input| Input { rows, ..input })
    }

    /// An input line whose first line is known.
    fn taken(&self, rows: Range<usize>, first: &str, shell: bool, look: &Look) -> Option<Input> {
        let mut text = first.to_string();
        for row in rows.clone().skip(1) {
            text.push('\n');
            text.push_str(&self.typed(row));
        }
        let mut text = text.trim().to_string();
        if look.hints.iter().any(|hint| text.starts_with(hint)) {
            text.clear();
        }
        Some(Input { rows, text, shell })
    }

    fn is_busy(&self, above: usize, look: &Look) -> bool {
        let says = |row: usize| {
            let line = self.line(row).to_lowercase();
            look.busy.iter().any(|sign| line.contains(sign))
        };
        let spins = |row: usize| {
            let line = self.line(row).trim_start();
            let spinner = line.strip_prefix(look.spinners);
            spinner.is_some_and(|rest| rest.starts_with(' ') && rest.contains('…'))
        };
        let title = self.screen.title.trim_start();
        title.starts_with(|c| BRAILLE.contains(&c) && c != '\u{2800}')
            || (self.start..self.end).any(says)
            || (self.start..above).any(spins)
    }

    fn is_shell(&self) -> bool {
        let screen = self.screen;
        let last = self.line(self.end.saturating_sub(1));
        let here = screen.cursor && screen.row + 1 == self.end;
        let prompt = last.ends_with(['$', '#', '%']);
        here && match screen.command.as_str() {
            "" => prompt,
            command => SHELLS.contains(&command.trim_start_matches('-')),
        }
    }

    /// What is asked from this row on.
    fn question(&self, below: usize, look: Option<&Look>) -> Option<Question> {
        let start = self.start.max(below);
        let rows: Vec<usize> = (start..self.end)
            .filter(|row| !self.line(*row).trim().is_empty())
            .collect();
        let lower = |row: &usize| self.line(*row).to_lowercase();
        let marked = |row: &usize| {
            let line = bare(self.line(*row)).strip_prefix(MARKS);
            line.is_some_and(|rest| choice(rest.trim_start()).is_some())
        };
        let is_footer = |row: &usize| FOOTERS.iter().any(|footer| lower(row).contains(footer));
        let last = rows.len().saturating_sub(FOOTER);
        let known = |row: &usize| {
            let dialogs = look.map_or(&[][..], |look| look.dialogs);
            dialogs.iter().any(|(says, _)| lower(row).contains(says))
        };
        let is_busy = |row: &usize| {
            look.is_some_and(|look| look.busy.iter().any(|sign| lower(row).contains(sign)))
        };
        let asks = rows.iter().any(marked)
            || rows[last..]
                .iter()
                .any(|row| is_footer(row) && !is_busy(row))
            || rows.iter().any(known);
        asks.then(|| self.asked(below, look))
    }

    /// The dialog that ends the screen: its text is what stands above its choices.
    fn asked(&self, below: usize, look: Option<&Look>) -> Question {
        let mut text: Vec<String> = Vec::new();
        let mut choices: Vec<String> = Vec::new();
        let top = (below..self.end)
            .rev()
            .skip(2)
            .find(|row| is_rule(self.line(*row)))
            .map_or(below, |row| row + 1);
        for row in top..self.end {
            let line = bare(self.line(row));
            let plain = line.strip_prefix(MARKS).unwrap_or(line).trim_start();
            match choice(plain) {
                Some(choice) => choices.push(choice.to_string()),
                None if choices.is_empty() && !line.is_empty() && !is_rule(line) => {
                    text.push(line.to_string());
                }
                None => {}
            }
        }
        let all = text.join(" ").to_lowercase();
        let dialogs = look.map_or(&[][..], |look| look.dialogs);
        let kind = dialogs.iter().find(|(says, _)| all.contains(says));
        Question {
            kind: kind.map_or(Kind::Other, |(_, kind)| *kind),
            text: text.join("\n"),
            choices,
        }
    }
}

/// What follows a number with a point.
fn choice(line: &str) -> Option<&str> {
    let rest = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest
        .strip_prefix(['.', ')'])
        .filter(|_| rest.len() < line.len())?;
    Some(rest.trim())
}

/// A line of a horizontal border; a title may be in it.
fn is_rule(line: &str) -> bool {
    let line = line.trim_start_matches([' ', '│', '┃']);
    line.chars()
        .take(2)
        .filter(|c| "─━═▀▄╭╰┌└╌".contains(*c))
        .count()
        == 2
}

/// A line without the borders of a box and blanks.
fn bare(line: &str) -> &str {
    let is_border = |c: char| c.is_whitespace() || matches!(c, '│' | '┃' | '|' | '▌');
    line.trim_matches(is_border)
}

/// What stands behind a prompt.
fn after<'a>(line: &'a str, prompt: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(prompt)?;
    let apart = prompt.is_empty() || rest.is_empty() || rest.starts_with(char::is_whitespace);
    apart.then(|| rest.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::look;

    fn screen(text: &str, column: usize, row: usize) -> Screen {
        let lines: Vec<String> = text.lines().map(String::from).collect();
        Screen {
            solid: lines.clone(),
            lines,
            column,
            row,
            ..Screen::default()
        }
    }

    #[test]
    fn claude_is_read() {
        let rule = "─".repeat(60);
        let claude = look("claude");
        for (middle, want) in [
            ("❯\u{a0}", State::Free),
            ("❯\u{a0}half a draft", State::Draft),
            ("❯\u{a0}\n  more", State::Draft),
            ("!\u{a0}rm", State::Shell),
        ] {
            let text = format!("● Done\n\n{rule}\n{middle}\n{rule}\n  ⏵⏵ bypass permissions on");
            assert_eq!(read(&screen(&text, 2, 3), claude, &[]), want, "{middle}");
        }
        let text = format!("✽ Gusting… (1s)\n\n{rule}\n❯\u{a0}\n{rule}\n  esc to interrupt");
        assert_eq!(read(&screen(&text, 2, 3), claude, &[]), State::Busy);
        let text = format!(
            "{rule}\n ☐ Danger\n\n Delete it?\n\n ❯ 1. Yes delete\n      drop all\n   2. No keep\n\n Enter to select"
        );
        let State::Asks(question) = read(&screen(&text, 1, 5), claude, &[]) else {
            panic!("not asked");
        };
        assert_eq!(question.headline(), "Delete it?");
        assert_eq!(question.choices, ["Yes delete", "No keep"]);
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

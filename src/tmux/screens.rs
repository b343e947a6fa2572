//! What panes show.

use std::collections::HashMap;

use super::ansi;
use super::server::{Tmux, TmuxError, quoted};

/// The most panes whose screens come back in one call: [`tools::OUTPUT_LIMIT`] holds them.
const SCREENS: usize = 50;

/// What a pane shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screen {
    /// Its lines, without trailing blanks.
    pub lines: Vec<String>,
    /// The same lines with blanks for what is shown faint, as hints are.
    pub solid: Vec<String>,
    /// The column of the cursor, from 0.
    pub column: usize,
    /// The line of the cursor, from 0; it may be below `lines`.
    pub row: usize,
    /// Whether the cursor is shown; programs that hide it draw their own elsewhere.
    pub cursor: bool,
    /// How many lines have scrolled off.
    pub history: u64,
    /// What its process group in the foreground is called.
    pub command: String,
    /// Its title, which the program in it sets.
    pub title: String,
}

impl Screen {
    /// A pane's id and its screen: from `#{pane_id} #{cursor_x} #{cursor_y} #{cursor_flag}
    /// #{history_size} #{pane_current_command}`, a tab and `#{pane_title}`, and the lines that
    /// `capture-pane -e` prints.
    pub fn parse<'a>(
        head: &str,
        shown: impl IntoIterator<Item = &'a str>,
    ) -> Option<(String, Screen)> {
        let (numbers, title) = head.split_once('\t')?;
        let mut fields = numbers.splitn(6, ' ');
        let pane = fields.next()?.to_string();
        let mut number = || fields.next()?.parse::<u32>().ok();
        let (column, row, cursor, history) = (number()?, number()?, number()?, number()?);
        let mut text = ansi::parse(shown);
        while text.lines.last().is_some_and(String::is_empty) {
            text.lines.pop();
            text.solid.pop();
        }
        let screen = Screen {
            lines: text.lines,
            solid: text.solid,
            column: column as usize,
            row: row as usize,
            cursor: cursor == 1,
            history: history.into(),
            command: fields.next()?.to_string(),
            title: title.trim().to_string(),
        };
        Some((pane, screen))
    }

    /// Whether something is typed behind one of these prompts and not sent: the cursor is behind
    /// it. A hint that a program shows there does not move the cursor.
    pub fn is_drafted(&self, prompts: &[String]) -> bool {
        let plain = |text: &str| text.replace('\u{a0}', " ");
        let line = self.lines.get(self.row).map_or("", String::as_str);
        let before: String = plain(line).chars().take(self.column).collect();
        let typed = |prompt: &String| {
            let typed = before.trim_start().strip_prefix(&plain(prompt));
            typed.is_some_and(|typed| !typed.trim().is_empty())
        };
        let prompts = prompts.iter().filter(|prompt| !prompt.trim().is_empty());
        self.cursor && prompts.clone().any(typed)
    }

    /// Whether an Enter after `text` was not taken: the screen is as it was before it, or at
    /// least the line with the cursor is, and ends with the text.
    pub(super) fn still_waits(&self, typed: &Screen, text: &str) -> bool {
        let cursor = |screen: &Screen| (screen.history + screen.row as u64, screen.column);
        let line = |screen: &Screen| screen.lines.get(screen.row).cloned().unwrap_or_default();
        let end: String = text
            .chars()
            .skip(text.chars().count().saturating_sub(20))
            .collect();
        let shows = line(self).contains(end.trim()) && line(self) == line(typed);
        self == typed || (shows && cursor(self) == cursor(typed))
    }
}

impl Tmux {
    /// What panes show, by pane id; one call for up to 50. A pane that is gone is not in it.
    ///
    /// # Errors
    /// As for [`Tmux::once`].
    pub fn screens(&self, panes: &[String]) -> Result<HashMap<String, Screen>, TmuxError> {
        // Nothing that a pane shows can be taken for this.
        let stamp = jiff::Timestamp::now().as_nanosecond();
        let rule = format!("screen-{stamp:x}-{}", std::process::id());
        let mut found = HashMap::new();
        for panes in panes.chunks(SCREENS) {
            let text = self.each_apart(panes.iter().map(|pane| {
                let target = quoted(pane);
                let commands = format!(
                    "display-message -p -t {target} '{rule} #{{pane_id}} #{{cursor_x}} \
                     #{{cursor_y}} #{{cursor_flag}} #{{history_size}}'; capture-pane -p -t {target}"
                );
                (pane.clone(), "#{pane_id}".to_string(), commands)
            }))?;
            found.extend(parse_screens(&text, &rule));
        }
        Ok(found)
    }

    /// The last lines of a pane's screen, at most `lines`, without trailing blanks and without
    /// the line that tmux itself writes into a dead pane.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn screen(&self, pane: &str, lines: usize) -> Result<String, TmuxError> {
        // To write into a dead pane, tmux first moves the screen's first line into the history.
        let text = self.run(&["capture-pane", "-p", "-S", "-1", "-t", pane])?;
        let mut shown: Vec<&str> = text.lines().map(str::trim_end).collect();
        let is_filler = |line: &&str| line.is_empty() || line.starts_with("Pane is dead (");
        while shown.last().is_some_and(is_filler) {
            shown.pop();
        }
        let skip = shown.len().saturating_sub(lines);
        Ok(shown[skip..].join("\n"))
    }
}

/// Screens as [`Tmux::screens`] asks for them: each behind a line of `rule` and what
/// [`Screen::parse`] takes.
fn parse_screens(text: &str, rule: &str) -> HashMap<String, Screen> {
    let mut screens = HashMap::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(head) = line.strip_prefix(rule) {
            let is_shown = |line: &&str| !line.starts_with(rule);
            let shown = std::iter::from_fn(|| lines.next_if(is_shown));
            screens.extend(Screen::parse(head.trim_start(), shown));
        }
    }
    screens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_before_the_cursor() {
        let prompts = ["❯ ".to_string(), "> ".to_string()];
        for (line, column, cursor, want) in [
            ("> ", 2, true, false),
            ("> rm -rf", 10, true, true),
            ("  > x", 5, true, true),
            ("❯\u{a0}Try \"edit\"", 2, true, false),
            ("❯\u{a0}Try it", 8, true, true),
            ("> x", 3, false, false),
            ("working", 7, true, false),
            ("", 0, true, false),
        ] {
            let screen = Screen {
                lines: vec![line.to_string()],
                column,
                row: 0,
                cursor,
                ..Screen::default()
            };
            assert_eq!(screen.is_drafted(&prompts), want, "{line:?} {column}");
        }
    }

    #[test]
    fn screens_are_told_apart() {
        let text = "R %1 3 1 1 7 vi x\ta title\nhello  \n> R %2\n\n\nR %2 0 0 0 0 sh\t\n\n";
        let screens = parse_screens(text, "R ");
        assert_eq!(screens.len(), 2);
        assert_eq!(screens["%1"].lines, ["hello", "> R %2"]);
        let one = &screens["%1"];
        assert_eq!(
            (one.column, one.row, one.cursor, one.history),
            (3, 1, true, 7)
        );
        assert_eq!((&*one.command, &*one.title), ("vi x", "a title"));
        assert!(screens["%2"].lines.is_empty());
    }
}

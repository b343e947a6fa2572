//! What `tmux capture-pane -e` prints: text among the escape sequences that colour it.

/// Captured lines, and the same lines with blanks for what is shown faint.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Each line, without trailing blanks.
    pub lines: Vec<String>,
    /// Each line with blanks for its faint characters: a program writes a faint hint into an empty
    /// input line.
    pub solid: Vec<String>,
}

/// How characters are shown, as far as it matters here.
#[derive(Debug, Clone, Copy, Default)]
struct Style {
    faint: bool,
    inverse: bool,
}

/// Takes captured lines apart. A style lasts until the next sequence, also into the next line.
pub fn parse<'a>(captured: impl IntoIterator<Item = &'a str>) -> Text {
    let mut style = Style::default();
    let mut text = Text::default();
    for line in captured {
        let cells = cells(line, &mut style);
        let shown: String = cells.iter().map(|(c, _)| c).collect();
        let solid: String = (0..cells.len()).map(|i| solid(&cells, i)).collect();
        text.lines.push(shown.trim_end().to_string());
        text.solid.push(solid.trim_end().to_string());
    }
    text
}

/// The character at `at`, or a blank if it is faint. A program that draws its own cursor shows the
/// first character of a faint hint inverse: that one counts as faint too.
fn solid(cells: &[(char, Style)], at: usize) -> char {
    let (c, style) = cells[at];
    let drawn = style.inverse && cells.get(at + 1).is_some_and(|(_, next)| next.faint);
    if style.faint || drawn { ' ' } else { c }
}

fn cells(line: &str, style: &mut Style) -> Vec<(char, Style)> {
    let mut cells = Vec::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => match chars.next() {
                Some('[') => {
                    let mut parameters = String::new();
                    // A sequence ends with the first character from '@' on.
                    let end = chars.find(|c| match c {
                        '@'..='~' => true,
                        _ => {
                            parameters.push(*c);
                            false
                        }
                    });
                    if end == Some('m') {
                        apply(&parameters, style);
                    }
                }
                // A link: up to its end, which is ESC \ or BEL.
                Some(']') => {
                    chars.find(|c| matches!(c, '\x1b' | '\x07'));
                    if chars.as_str().starts_with('\\') {
                        chars.next();
                    }
                }
                _ => {}
            },
            c if c.is_control() => {}
            c => cells.push((c, *style)),
        }
    }
    cells
}

fn apply(parameters: &str, style: &mut Style) {
    let mut numbers = parameters.split(';');
    while let Some(number) = numbers.next() {
        match number {
            "" | "0" => *style = Style::default(),
            "2" => style.faint = true,
            "22" => style.faint = false,
            "7" => style.inverse = true,
            "27" => style.inverse = false,
            // A colour: 5 and its number, or 2 and three parts.
            "38" | "48" | "58" => match numbers.next() {
                Some("5") => drop(numbers.next()),
                Some("2") => drop(numbers.by_ref().take(3).count()),
                _ => {}
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_faint() {
        for (captured, line, solid) in [
            ("plain  ", "plain", "plain"),
            ("> \x1b[7mT\x1b[0;2mry \"x\"\x1b[0m", "> Try \"x\"", ">"),
            ("> \x1b[2mAsk\x1b[0m me", "> Ask me", ">     me"),
            ("> ab\x1b[7mc\x1b[0m", "> abc", "> abc"),
            ("\x1b[38;5;2mgreen\x1b[48;2;2;2;2m", "green", "green"),
            ("\x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\", "link", "link"),
            ("a\x1b[1;2", "a", "a"),
            ("a\x1b", "a", "a"),
        ] {
            let text = parse([captured]);
            assert_eq!(text.lines, [line], "{captured:?}");
            assert_eq!(text.solid, [solid], "{captured:?}");
        }
    }

    #[test]
    fn colours_last_over_the_ends_of_lines() {
        let text = parse(["\x1b[2mone", "two\x1b[22m three"]);
        assert_eq!(text.solid, ["", "    three"]);
    }
}

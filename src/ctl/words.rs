//! Spans, sizes and long lines in words that people read.

use jiff::SignedDuration;

pub use crate::printable::{line as one_line, lines as printable, names};

/// A span in words, in its two largest units at most: `42 s`, `5 min`, `3 h 12 min`, `4 d 3 h`.
pub fn age(span: SignedDuration) -> String {
    let seconds = span.as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |first: i64, one: &str, second: i64, two: &str| match second {
        0 => format!("{first} {one}"),
        _ => format!("{first} {one} {second} {two}"),
    };
    match () {
        () if minutes == 0 => format!("{seconds} s"),
        () if hours == 0 => format!("{minutes} min"),
        () if days == 0 => pair(hours, "h", minutes % 60, "min"),
        () => pair(days, "d", hours % 24, "h"),
    }
}

/// As [`age`], for a column: `42s`, `5m`, `3h 12m`, `4d 3h`.
pub fn short(span: SignedDuration) -> String {
    let age = age(span);
    [(" min", "m"), (" s", "s"), (" h", "h"), (" d", "d")]
        .iter()
        .fold(age, |text, (long, short)| text.replace(long, short))
}

/// `3 requests`, `1 request`.
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A size, in units of 1024: `840B`, `2.1M`.
pub fn bytes(n: u64) -> String {
    let mut value = n as f64;
    for unit in ["B", "K", "M", "G", "T"] {
        if value < 1024.0 || unit == "T" {
            return if value < 10.0 && unit != "B" {
                format!("{value:.1}{unit}")
            } else {
                format!("{value:.0}{unit}")
            };
        }
        value /= 1024.0;
    }
    unreachable!("the last unit returns")
}

/// CPU time, given in nanoseconds: `4.2s`, `3m`.
pub fn cpu(nsec: u64) -> String {
    let seconds = nsec as f64 / 1e9;
    if seconds < 60.0 {
        format!("{seconds:.1}s")
    } else {
        short(SignedDuration::from_nanos(
            nsec.try_into().unwrap_or(i64::MAX),
        ))
    }
}

/// The text, cut to `room` columns with an ellipsis.
pub fn clipped(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        text.to_string()
    } else {
        let kept: String = text.chars().take(room.saturating_sub(1)).collect();
        kept.trim_end().to_string() + "…"
    }
}

/// A list item over as many lines as it takes; a word that is longer than a line stays whole.
pub fn wrapped(text: &str, width: usize) -> String {
    let (first, rest) = ("  - ", "    ");
    let mut out = String::new();
    let mut line = first.to_string();
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > width && line.trim().len() > 1 {
            out += line.trim_end();
            out.push('\n');
            line = rest.to_string();
        }
        line += word;
        line.push(' ');
    }
    out + line.trim_end() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes() {
        let secs = SignedDuration::from_secs;
        for (span, want) in [
            (-5, "0 s"),
            (59, "59 s"),
            (3599, "59 min"),
            (3600, "1 h"),
            (11_520, "3 h 12 min"),
            (360_000, "4 d 4 h"),
        ] {
            assert_eq!(age(secs(span)), want);
        }
        for (size, want) in [
            (0, "0B"),
            (1023, "1023B"),
            (2_202_010, "2.1M"),
            (734_003_200, "700M"),
            (u64::MAX, "16777216T"),
        ] {
            assert_eq!(bytes(size), want);
        }
        assert_eq!(cpu(83_500_000_000), "1m");
        assert_eq!(cpu(4_210_000_000), "4.2s");
    }

    #[test]
    fn long_texts_are_wrapped_and_clipped() {
        assert_eq!(
            wrapped("one two three four", 15),
            "  - one two\n    three four\n"
        );
        assert_eq!(clipped("abcdef", 4), "abc…");
        assert_eq!(clipped("abcd", 4), "abcd");
    }
}

//! How a [`Picture`] looks: a self-contained SVG.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::picture::{Fate, Mark, Picture, Row, Span};
use crate::agent::Agent;
use crate::ctl::events::Kind;
use crate::ctl::words::age;

/// The width of the part with the spans, in pixels.
const PLOT: f64 = 1300.0;

/// The height of a row, in pixels.
const ROW: f64 = 20.0;

/// The height of a span in its row, in pixels.
const BAR: f64 = 12.0;

/// Above and below the rows, for the title and the legend, in pixels.
const MARGIN: f64 = 66.0;

/// The width of a letter of the labels, in pixels.
const LETTER: f64 = 7.3;

/// A span is drawn at least this wide, in pixels, so that a short life is seen.
const LEAST: f64 = 2.0;

/// Marks of a kind that are nearer than this, in pixels, are drawn as one.
const REACH: f64 = 9.0;

/// The same for pokes, of which a town has hundreds.
const POKE_REACH: f64 = 1.5;

/// How many of several texts a title shows.
const TEXTS: usize = 3;

/// The kinds of marks with their words, in the order in which they are drawn: the last is on top.
const KINDS: [(Kind, &str); 6] = [
    (Kind::Poke, "poke"),
    (Kind::Note, "note"),
    (Kind::Spawn, "spawn"),
    (Kind::Request, "request"),
    (Kind::Refused, "start refused"),
    (Kind::Alert, "alert"),
];

/// The steps of the time axis, in minutes.
const STEPS: [i64; 12] = [1, 5, 10, 30, 60, 120, 180, 360, 720, 1440, 2880, 10_080];

/// At most so many lines on the time axis, where a step is long enough.
const LINES_MAX: i64 = 16;

const STYLE: &str = "\
text{font:12px 'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#222}\
.title{font-size:15px;font-weight:bold}.small{font-size:11px;fill:#555}\
.stripe{fill:#f5f6f8}.grid{stroke:#d4d8de}\
.runs{fill:#4caf6d}.clean{fill:#5b8def}.stopped{fill:#a9b0ba}.crashed{fill:#d64545}.lost{fill:#e8973a}\
.poke{stroke:#7a3fd0;stroke-width:1.4}.request{fill:#0b7285}.alert{fill:#c2185b;stroke:#fff}.refused{stroke:#b45309;stroke-width:2}\
.note,.spawn{fill:#3b4252}";

/// The picture as a self-contained SVG.
pub fn draw(picture: &Picture, zone: &TimeZone) -> String {
    let labels: Vec<String> = picture
        .rows
        .keys()
        .map(|agent| label(agent.as_ref()))
        .collect();
    let longest = labels.iter().map(String::len).max().unwrap_or(4);
    let left = 16.0 + longest as f64 * LETTER;
    let total = picture.to.duration_since(picture.from).as_secs_f64();
    let mut canvas = Canvas {
        out: String::new(),
        zone,
        from: picture.from,
        scale: PLOT / total.max(1.0),
        left,
        width: left + PLOT + 24.0,
        bottom: MARGIN + ROW * labels.len() as f64,
    };
    canvas.head(picture);
    canvas.axis(picture);
    for (i, (name, row)) in labels.iter().zip(picture.rows.values()).enumerate() {
        canvas.row(MARGIN + ROW * i as f64, &xml(name), row);
    }
    canvas.legend();
    canvas.out + "</svg>\n"
}

fn label(agent: Option<&Agent>) -> String {
    agent.map_or_else(|| "town".into(), Agent::to_string)
}

/// What is drawn so far, and where things go, in pixels.
struct Canvas<'a> {
    out: String,
    zone: &'a TimeZone,
    from: Timestamp,
    /// Pixels a second.
    scale: f64,
    left: f64,
    width: f64,
    bottom: f64,
}

impl Canvas<'_> {
    fn add(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.out.write_fmt(text);
        self.out.push('\n');
    }

    fn x(&self, time: Timestamp) -> f64 {
        let x = time.duration_since(self.from).as_secs_f64() * self.scale;
        self.left + x.clamp(0.0, PLOT)
    }

    fn shown(&self, time: Timestamp, format: &str) -> String {
        time.to_zoned(self.zone.clone())
            .strftime(format)
            .to_string()
    }

    fn head(&mut self, picture: &Picture) {
        let (width, height) = (self.width, self.bottom + MARGIN);
        let town = xml(&picture.town);
        let from = self.shown(picture.from, "%F %H:%M");
        let to = self.shown(picture.to, "%F %H:%M %Z");
        self.add(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n\
             <title>Gas Town {town}</title>\n<style>{STYLE}</style>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text class=\"title\" x=\"12\" y=\"22\">Gas Town {town}</text>\n\
             <text class=\"small\" x=\"12\" y=\"40\">{from} to {to}</text>"
        ));
        for i in (0..picture.rows.len()).step_by(2) {
            let y = MARGIN + ROW * i as f64;
            self.add(format_args!(
                "<rect class=\"stripe\" x=\"0\" y=\"{y}\" width=\"{width:.0}\" height=\"{ROW}\"/>"
            ));
        }
    }

    fn axis(&mut self, picture: &Picture) {
        let bottom = self.bottom;
        for (time, format) in axis(picture.from, picture.to, self.zone) {
            let (x, text) = (self.x(time), self.shown(time, format));
            self.add(format_args!(
                "<path class=\"grid\" d=\"M{x:.1} {MARGIN}V{bottom}\"/>"
            ));
            for y in [MARGIN - 4.0, bottom + 14.0] {
                self.add(format_args!(
                    "<text class=\"small\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>"
                ));
            }
        }
    }

    fn row(&mut self, y: f64, name: &str, row: &Row) {
        let (end, line) = (self.left - 8.0, y + 14.0);
        self.add(format_args!(
            "<text x=\"{end:.1}\" y=\"{line:.1}\" text-anchor=\"end\">{name}</text>"
        ));
        for (span, lives) in self.lives(&row.spans) {
            let (x, end) = (self.x(span.from), self.x(span.to));
            let until = self.shown(span.to, "%F %T");
            let (words, long) = (span.fate.words(), age(span.to.duration_since(span.from)));
            let lived = match lives {
                1 => format!("{words} for {long} until {until}"),
                _ => format!("{lives} short lives, {words}, in {long} until {until}"),
            };
            let title = format!("{name}, {lived}{}", xml(&below(&[&span.why])));
            let wide = (end - x - 0.5).max(LEAST);
            let bar = bar(span.fate, x, wide, y + (ROW - BAR) / 2.0, &title);
            self.add(format_args!("{bar}"));
        }
        for (kind, words) in KINDS {
            for group in self.groups(kind, &row.marks) {
                let (Some(first), Some(last)) = (group.first(), group.last()) else {
                    continue;
                };
                let (from, to) = (first.time, last.time);
                let mut title = self.shown(from, "%F %T");
                if group.len() > 1 {
                    title += &format!(
                        " to {}, {words} {} times",
                        self.shown(to, "%T"),
                        group.len()
                    );
                }
                let texts: Vec<&str> = group.iter().map(|mark| mark.text.as_str()).collect();
                title += &below(&texts);
                self.mark(kind, (self.x(from) + self.x(to)) / 2.0, y, &title);
            }
        }
    }

    fn mark(&mut self, kind: Kind, x: f64, y: f64, title: &str) {
        let (shape, title) = (shape(kind, x, y + ROW / 2.0), xml(title));
        self.add(format_args!("<g>{shape}<title>{title}</title></g>"));
    }

    /// Spans to draw, each with how many lives it stands for: those too short to be told apart
    /// are drawn as one, if they ended alike.
    fn lives(&self, spans: &[Span]) -> Vec<(Span, usize)> {
        let short = |span: &Span| self.x(span.to) - self.x(span.from) < LEAST;
        let mut lives: Vec<(Span, usize)> = Vec::new();
        for span in spans {
            match lives.last_mut() {
                Some((last, count))
                    if last.fate == span.fate
                        && short(span)
                        && (*count > 1 || short(last))
                        && self.x(span.from) - self.x(last.to) < LEAST =>
                {
                    *count += 1;
                    (last.to, last.why) = (span.to, span.why.clone());
                }
                _ => lives.push((span.clone(), 1)),
            }
        }
        lives
    }

    /// The marks of a kind; those that would hide each other are in one group.
    fn groups<'m>(&self, kind: Kind, marks: &'m [Mark]) -> Vec<Vec<&'m Mark>> {
        let reach = match kind {
            Kind::Poke => POKE_REACH,
            _ => REACH,
        };
        let mut groups: Vec<Vec<&Mark>> = Vec::new();
        for mark in marks.iter().filter(|mark| mark.kind == kind) {
            match groups.last_mut() {
                Some(group) if self.x(mark.time) - self.x(group[0].time) < reach => {
                    group.push(mark)
                }
                _ => groups.push(vec![mark]),
            }
        }
        groups
    }

    fn legend(&mut self) {
        let (mut at, y) = (self.left, self.bottom + 38.0);
        let fates = Fate::ALL.map(|fate| (bar(fate, 0.0, 12.0, -6.0, ""), fate.words()));
        let kinds = KINDS.map(|(kind, words)| (shape(kind, 6.0, 0.0), words));
        for (drawn, words) in fates.into_iter().chain(kinds) {
            self.add(format_args!(
                "<g transform=\"translate({at:.1} {y:.1})\">{drawn}<text class=\"small\" x=\"17\" y=\"4\">{words}</text></g>"
            ));
            at += 34.0 + words.len() as f64 * LETTER;
        }
    }
}

/// Texts below a title, a few of many.
fn below(texts: &[&str]) -> String {
    let texts = texts.iter().filter(|text| !text.is_empty());
    let mut out: String = texts
        .clone()
        .take(TEXTS)
        .map(|text| format!("\n{text}"))
        .collect();
    if texts.count() > TEXTS {
        out += "\n...";
    }
    out
}

fn bar(fate: Fate, x: f64, width: f64, y: f64, title: &str) -> String {
    let class = fate.class();
    format!(
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"1.5\">\
         <title>{title}</title></rect>"
    )
}

fn shape(kind: Kind, x: f64, y: f64) -> String {
    match kind {
        Kind::Poke => format!("<path class=\"poke\" d=\"M{x:.1} {:.1}v5\"/>", y + 4.0),
        Kind::Request => format!(
            "<path class=\"request\" d=\"M{x:.1} {:.1}l5 5l-5 5l-5 -5z\"/>",
            y - 5.0
        ),
        Kind::Alert => format!(
            // Drawn above the bar, so as not to hide it.
            "<circle class=\"alert\" cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\"/>",
            y - 5.0
        ),
        Kind::Refused => format!(
            "<path class=\"refused\" d=\"M{:.1} {:.1}l7 7m0 -7l-7 7\"/>",
            x - 3.5,
            y - 3.5
        ),
        Kind::Spawn => format!(
            "<path class=\"spawn\" d=\"M{:.1} {:.1}h8l-4 -8z\"/>",
            x - 4.0,
            y + 4.0
        ),
        _ => format!("<circle class=\"note\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>"),
    }
}

/// Round moments of local time, few enough to be read.
fn axis(from: Timestamp, to: Timestamp, zone: &TimeZone) -> Vec<(Timestamp, &'static str)> {
    let minutes = (to.duration_since(from).as_secs() / 60).max(1);
    let longest = STEPS[STEPS.len() - 1];
    let step = STEPS
        .into_iter()
        .find(|step| minutes / step < LINES_MAX)
        .unwrap_or(longest * (minutes / longest / LINES_MAX + 1));
    let format = if step >= 1440 { "%m-%d" } else { "%H:%M" };
    // Steps are counted on the clock on the wall, from a midnight.
    let offset = i64::from(zone.to_offset(from).seconds());
    let step = step * 60;
    let first = (from.as_second() + offset).div_euclid(step) * step + step - offset;
    (0..)
        .map_while(|i| {
            Timestamp::from_second(first + i * step)
                .ok()
                .filter(|time| *time <= to)
        })
        .take(100)
        .map(|time| (time, format))
        .collect()
}

/// Text for XML: escaped, and without the characters that XML cannot have.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\n' => out += "&#10;",
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + minute * 60).unwrap()
    }

    #[test]
    fn the_axis_has_round_times_and_few() {
        for (minutes, first, count) in [
            (5, 1, 5),
            (60, 5, 12),
            (1440, 120, 12),
            (7 * 1440, 720, 14),
            (400 * 1440, 0, 15),
        ] {
            let lines = axis(at(0), at(minutes), &TimeZone::UTC);
            if first > 0 {
                assert_eq!(lines[0].0, at(first), "{minutes}");
            }
            assert!(
                lines.len().abs_diff(count) <= 1,
                "{minutes}: {}",
                lines.len()
            );
        }
    }
}

//! What each program looks like: one entry per preset of the same name.

use super::Kind;

/// Where a program keeps its input line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Between two horizontal lines, or in a box.
    Ruled,
    /// From the last prompt on the screen to the next empty line.
    Open,
    /// Below a horizontal line and a line of other words.
    Headed,
    /// Behind a bar at the left.
    Barred,
}

/// What becomes of a text that is sent while the program works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    /// It waits, and is sent when the turn ends.
    Queues,
    /// It breaks into the turn.
    Steers,
    /// Nobody has tried.
    Untried,
}

/// What a program looks like.
#[derive(Debug)]
pub struct Look {
    /// The name of its preset.
    pub program: &'static str,
    /// The versions whose screens are in `tests/screens`; none when nobody has seen it.
    pub seen: &'static [&'static str],
    /// Where its input line is.
    pub area: Area,
    /// What an input line begins with, besides borders. Empty: nothing.
    pub prompts: &'static [&'static str],
    /// What it begins with when a shell would run what is typed; behind a bar, its last line.
    pub shell: Option<&'static str>,
    /// How what it writes into an empty input line begins, where it is not faint.
    pub hints: &'static [&'static str],
    /// What stands below its input line once it has started, if it shows one before.
    pub settled: Option<&'static str>,
    /// What it says only while it works, in lower case.
    pub busy: &'static [&'static str],
    /// What a line above the input line begins with while it works, when `…` follows.
    pub spinners: &'static [char],
    /// What its title begins with while it works; all do with a sign of braille.
    pub titles: &'static [char],
    /// What its dialogs say, in lower case, and which they are.
    pub dialogs: &'static [(&'static str, Kind)],
    /// It draws a cursor of its own, and some versions leave the real one, hidden, below all that
    /// they draw.
    pub hides_cursor: bool,
    /// The cursor is shown while its input line takes what is typed, and hidden in its dialogs, of which
    /// some float above that line.
    pub shows_cursor: bool,
    /// What becomes of a text that is sent while it works.
    pub while_busy: Typing,
    /// Its hooks report also when it begins to work, so that their "free" counts against a screen
    /// that looks busy, see [`super::judge`].
    pub reports_begin: bool,
    /// The keys, as tmux calls them, that take back what is typed.
    pub clear: &'static [&'static str],
    /// `Left`, `BSpace` and `Right`, many at once, have been seen to take out a part of what is
    /// typed, and nothing else.
    pub cuts: bool,
}

/// What all have that say nothing else.
pub(super) const PLAIN: Look = Look {
    program: "",
    seen: &[],
    area: Area::Open,
    prompts: &[],
    shell: None,
    hints: &[],
    settled: None,
    busy: &[],
    spinners: &[],
    titles: &[],
    dialogs: &[],
    hides_cursor: false,
    shows_cursor: false,
    while_busy: Typing::Untried,
    reports_begin: false,
    clear: &[],
    cuts: false,
};

/// The signs of braille, of which most spinners are made.
pub(super) const BRAILLE: std::ops::RangeInclusive<char> = '\u{2800}'..='\u{28ff}';

/// All of them.
pub const LOOKS: &[Look] = &[
    Look {
        program: "claude",
        reports_begin: true,
        hides_cursor: true,
        seen: &["1.0.128", "2.0.60", "2.1.197"],
        area: Area::Ruled,
        // The second is that of 2.0 and earlier.
        prompts: &["❯", ">"],
        shell: Some("!"),
        hints: &["Try \""],
        busy: &["esc to interrupt"],
        spinners: &['·', '✢', '✳', '✶', '✻', '✽', '*'],
        dialogs: &[
            ("one you trust?", Kind::Trust),
            ("do you trust the files in this folder", Kind::Trust),
            ("running in bypass permissions mode", Kind::Bypass),
            ("do you want to use this api key", Kind::Key),
            ("choose the text style", Kind::Theme),
            ("select login method", Kind::Login),
            ("paste code here if prompted", Kind::Login),
            ("do you want to ", Kind::Permission),
            // By Ctrl-Z: nobody but a person continues it, by SIGCONT or a restart.
            ("claude code has been suspended", Kind::Other),
            // By Ctrl-O: what is typed there is lost.
            ("showing detailed transcript", Kind::Menu),
            // By Ctrl-R: what is typed below the input line is searched for in what was said.
            ("search prompts:", Kind::Menu),
            ("no matching prompt:", Kind::Menu),
        ],
        while_busy: Typing::Queues,
        clear: &["C-u"],
        cuts: true,
        ..PLAIN
    },
    Look {
        program: "codex",
        shows_cursor: true,
        seen: &["0.169.0"],
        prompts: &["›"],
        shell: Some("!"),
        settled: Some(" · "),
        busy: &["s • esc to interrupt)"],
        spinners: &['•', '◦'],
        dialogs: &[
            ("trust this folder?", Kind::Trust),
            ("do you trust the contents of this directory", Kind::Trust),
            ("sign in with", Kind::Login),
            ("how you want to use codex", Kind::Login),
            ("would you like to run", Kind::Permission),
            (
                "would you like to make the following edits",
                Kind::Permission,
            ),
            // By /side: what is typed there is not for the agent's own thread.
            ("side from main thread", Kind::Menu),
        ],
        while_busy: Typing::Steers,
        clear: &["C-u"],
        cuts: true,
        ..PLAIN
    },
    Look {
        program: "opencode",
        shows_cursor: true,
        reports_begin: true,
        seen: &["1.18.33"],
        area: Area::Barred,
        prompts: &[""],
        shell: Some("Shell"),
        hints: &["Ask anything"],
        busy: &["esc interrupt", "esc again to interrupt"],
        dialogs: &[("permission required", Kind::Permission)],
        while_busy: Typing::Queues,
        clear: &["C-u"],
        cuts: true,
        ..PLAIN
    },
    Look {
        program: "gemini",
        reports_begin: true,
        seen: &["0.61.0"],
        area: Area::Headed,
        prompts: &[">", "*"],
        shell: Some("!"),
        hints: &["Type your message"],
        busy: &["(esc to cancel"],
        titles: &['✦'],
        dialogs: &[
            ("do you trust the files in this folder", Kind::Trust),
            ("how would you like to authenticate", Kind::Login),
            ("apply this change?", Kind::Permission),
            ("allow execution", Kind::Permission),
        ],
        while_busy: Typing::Queues,
        clear: &["C-u"],
        ..PLAIN
    },
    Look {
        program: "pi",
        reports_begin: true,
        seen: &["0.73.1"],
        area: Area::Ruled,
        prompts: &[""],
        shell: Some("!"),
        busy: &["working..."],
        dialogs: &[("model name: ", Kind::Menu)],
        while_busy: Typing::Steers,
        clear: &["C-u"],
        cuts: true,
        ..PLAIN
    },
    Look {
        program: "copilot",
        shows_cursor: true,
        seen: &["1.0.102"],
        area: Area::Ruled,
        prompts: &["❯"],
        shell: Some("!"),
        busy: &["esc interrupt", "● loading:"],
        dialogs: &[
            ("do you trust the files in this folder", Kind::Trust),
            ("do you want to run this command", Kind::Permission),
        ],
        while_busy: Typing::Queues,
        clear: &["C-u"],
        ..PLAIN
    },
    // Without an account it is not seen at work: its words then are what people have reported.
    Look {
        program: "amp",
        seen: &["0.0.1790142911"],
        area: Area::Ruled,
        prompts: &[">"],
        busy: &["esc to cancel"],
        dialogs: &[("would you like to log in", Kind::Login)],
        ..PLAIN
    },
    // These two are not to be had from npm: all that is said of them is what people have reported.
    Look {
        program: "cursor",
        area: Area::Ruled,
        prompts: &["→", ">"],
        hints: &["Plan, search, build anything", "Add a follow-up"],
        busy: &["ctrl+c to stop"],
        dialogs: &[
            ("do you trust the contents of this directory", Kind::Trust),
            ("run this command?", Kind::Permission),
        ],
        ..PLAIN
    },
    Look {
        program: "vibe",
        area: Area::Ruled,
        prompts: &["❯", ">"],
        busy: &["esc to interrupt"],
        ..PLAIN
    },
];

/// What a program looks like, by the name of its preset.
pub fn look(program: &str) -> Option<&'static Look> {
    let program = if program == "mistral" {
        "vibe"
    } else {
        program
    };
    LOOKS.iter().find(|look| look.program == program)
}

impl Look {
    /// What is known of the screens of a version, in words.
    pub fn known(&self, version: &str) -> String {
        let series = |version: &str| {
            let mut parts = version.splitn(3, '.');
            (
                parts.next().map(String::from),
                parts.next().map(String::from),
            )
        };
        match self.seen {
            [] => "nobody has seen its screens, so it may not be told whether it waits".into(),
            seen if seen.contains(&version) => "its screens are known".into(),
            seen if seen.iter().any(|s| series(s) == series(version)) => {
                format!("its screens are known as those of {}", seen.join(", "))
            }
            seen => format!(
                "its screens are not known, only those of {}: it may not be told whether it waits",
                seen.join(", ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_version() {
        for (program, version, want) in [
            ("claude", "2.1.197", "its screens are known"),
            ("claude", "2.1.300", "its screens are known as those of"),
            ("claude", "3.0.1", "its screens are not known"),
            ("claude", "odd", "its screens are not known"),
            ("vibe", "1.0.0", "nobody has seen"),
        ] {
            let said = look(program).expect("a look").known(version);
            assert!(said.starts_with(want), "{program} {version}: {said}");
        }
    }
}

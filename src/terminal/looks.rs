//! What each program looks like: one entry per preset of the same name.

use super::Kind;

/// Where a program keeps its input line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Between two horizontal lines, or in a box.
    Ruled,
    /// From the last prompt on the screen to the next empty line.
    Open,
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
    /// What it begins with when a shell would run what is typed.
    pub shell: Option<&'static str>,
    /// How what it writes into an empty input line begins, where it is not faint.
    pub hints: &'static [&'static str],
    /// What it says only while it works, in lower case.
    pub busy: &'static [&'static str],
    /// What a line above the input line begins with while it works, when `…` follows.
    pub spinners: &'static [char],
    /// What its dialogs say, in lower case, and which they are.
    pub dialogs: &'static [(&'static str, Kind)],
    /// What becomes of a text that is sent while it works.
    pub while_busy: Typing,
    /// Its hooks report also when it begins to work, so that their "free" counts against a screen
    /// that looks busy, see [`super::judge`].
    pub reports_begin: bool,
    /// The keys, as tmux calls them, that take back what is typed.
    pub clear: &'static [&'static str],
}

/// What all have that say nothing else.
pub(super) const PLAIN: Look = Look {
    program: "",
    seen: &[],
    area: Area::Open,
    prompts: &[],
    shell: None,
    hints: &[],
    busy: &[],
    spinners: &[],
    dialogs: &[],
    while_busy: Typing::Untried,
    reports_begin: false,
    clear: &[],
};

/// The signs of braille, of which most spinners are made.
pub(super) const BRAILLE: std::ops::RangeInclusive<char> = '\u{2800}'..='\u{28ff}';

/// All of them.
pub const LOOKS: &[Look] = &[
    Look {
        program: "claude",
        reports_begin: true,
        seen: &["2.1.197"],
        area: Area::Ruled,
        prompts: &["❯", ">"],
        shell: Some("!"),
        hints: &["Try \""],
        busy: &["esc to interrupt"],
        spinners: &['·', '✢', '✳', '✶', '✻', '✽', '*'],
        dialogs: &[
            (
                "is this a project you created or one you trust",
                Kind::Trust,
            ),
            ("do you trust the files in this folder", Kind::Trust),
            ("running in bypass permissions mode", Kind::Bypass),
            ("do you want to use this api key", Kind::Key),
            ("choose the text style", Kind::Theme),
            ("select login method", Kind::Login),
            ("paste code here if prompted", Kind::Login),
            ("do you want to", Kind::Permission),
        ],
        while_busy: Typing::Queues,
        clear: &["C-u"],
    },
    Look {
        program: "codex",
        seen: &["0.169.0"],
        area: Area::Open,
        prompts: &["›"],
        busy: &["esc to interrupt"],
        dialogs: &[
            ("do you trust the contents of this directory", Kind::Trust),
            (
                "would you like to run the following command",
                Kind::Permission,
            ),
            (
                "would you like to make the following edits",
                Kind::Permission,
            ),
            ("sign in with chatgpt", Kind::Login),
            ("update model permissions", Kind::Menu),
        ],
        while_busy: Typing::Steers,
        clear: &["C-u"],
        ..PLAIN
    },
    Look {
        program: "opencode",
        reports_begin: true,
        area: Area::Barred,
        prompts: &[""],
        hints: &["Ask anything"],
        busy: &["esc interrupt", "esc again to interrupt"],
        dialogs: &[("permission required", Kind::Permission)],
        ..PLAIN
    },
    Look {
        program: "gemini",
        reports_begin: true,
        area: Area::Ruled,
        prompts: &["*", ">", "!"],
        hints: &["Type your message"],
        busy: &["esc to cancel"],
        dialogs: &[("do you trust the files in this folder", Kind::Trust)],
        ..PLAIN
    },
    Look {
        program: "pi",
        reports_begin: true,
        area: Area::Ruled,
        prompts: &[""],
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

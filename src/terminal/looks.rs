//! What each program looks like: one entry per preset of the same name.

use super::Kind;

/// Where a program keeps its input line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Between two horizontal lines, or in a box.
    Ruled,
    /// From the last prompt on the screen to the next empty line.
    Open,
    /// Below a horizontal line and a line about the program's mode, or in a box.
    Headed,
    /// Behind a bar at the left.
    Barred,
}

/// What becomes of a text that is sent while the program works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    /// The text waits, and is sent when the turn ends.
    Queues,
    /// The model gets the text at once, in the middle of its turn.
    Steers,
    /// Nobody has tried.
    Untried,
}

/// How a program shows that its input line is edited as in vi.
#[derive(Debug)]
pub struct Vi {
    /// What stands below the line while letters are commands.
    pub commands: &'static [&'static str],
    /// What stands there while letters are text. Given for a program that shows nothing while
    /// letters are commands: then only its settings tell whether it has a mode at all.
    pub inserts: Option<&'static str>,
}

/// What a program looks like.
#[derive(Debug)]
pub struct Look {
    /// The name of the program's preset.
    pub program: &'static str,
    /// The versions whose screens are in `tests/screens`; none when nobody has seen any.
    pub seen: &'static [&'static str],
    /// Where the input line is.
    pub area: Area,
    /// What the input line begins with, besides borders. Empty: nothing.
    pub prompts: &'static [&'static str],
    /// What the input line begins with when a shell would run what is typed. With [`Area::Barred`]:
    /// what the last line of its block begins with then.
    pub shell: Option<&'static str>,
    /// How a hint begins that the program writes into an empty input line, and does not draw faint.
    pub hints: &'static [&'static str],
    /// What stands below the input line once the program has started, if it shows that line before:
    /// one of these.
    pub settled: &'static [&'static str],
    /// What the program says only while it works, in lower case.
    pub busy: &'static [&'static str],
    /// What a line with [`Look::spun`] in it above the input line begins with while the program
    /// works, besides braille.
    pub spinners: &'static [char],
    /// See [`Look::spinners`]. Not `…` for a program whose answers begin as such a line does.
    pub spun: &'static str,
    /// What follows a spinner above the input line while a tool is used, for versions that show
    /// nothing else of their work then. Behind the first of [`Look::spinners`] only where that is
    /// not drawn faint, as it is where an answer begins.
    pub tools: &'static [&'static str],
    /// What the title begins with while the program works, besides braille.
    pub titles: &'static [char],
    /// What each dialog says, in lower case, and its kind.
    pub dialogs: &'static [(&'static str, Kind)],
    /// What the last line of a permission says that some versions ask for above their input line,
    /// which stays as it is, in lower case. It stands behind a bar.
    pub permission: Option<&'static str>,
    /// The program draws a cursor of its own, and some versions leave the real one, hidden, below
    /// all that they draw, or this many rows further up.
    pub hides_cursor: Option<usize>,
    /// The program shows the cursor while its input line takes what is typed, and hides it in its
    /// dialogs, some of which float above that line.
    pub shows_cursor: bool,
    /// The program shows no cursor on the terminal's alternate screen, or only in its input line: who
    /// else does is an editor or a pager that was opened from it.
    pub inline: bool,
    /// How the program shows a mode of vi, if it has one.
    pub vi: Option<Vi>,
    /// What becomes of a text that is sent while the program works.
    pub while_busy: Typing,
    /// What the program shows, in lower case, while texts wait in its queue, from which a person
    /// may take them back to edit them.
    pub queued: &'static [&'static str],
    /// What a line right above the input line begins with while texts wait in the queue.
    pub queue: &'static [&'static str],
    /// The program's hooks report also when it begins to work. So their "free" counts against a
    /// screen that looks busy, see [`super::judge`].
    pub reports_begin: bool,
    /// The keys, by their names in tmux, that take back what is typed.
    pub clear: &'static [&'static str],
    /// `Left`, `BSpace` and `Right`, many at once, have been seen to take out a part of what is
    /// typed, and nothing else.
    pub cuts: bool,
}

/// The defaults of a look.
pub(super) const PLAIN: Look = Look {
    program: "",
    seen: &[],
    area: Area::Open,
    prompts: &[],
    shell: None,
    hints: &[],
    settled: &[],
    busy: &[],
    spinners: &[],
    spun: "…",
    tools: &[],
    titles: &[],
    dialogs: &[],
    permission: None,
    hides_cursor: None,
    shows_cursor: false,
    inline: false,
    vi: None,
    while_busy: Typing::Untried,
    queued: &[],
    queue: &[],
    reports_begin: false,
    clear: &[],
    cuts: false,
};

/// The characters of braille, of which most spinners are made.
pub(super) const BRAILLE: std::ops::RangeInclusive<char> = '\u{2800}'..='\u{28ff}';

/// The looks of all programs that we know.
pub const LOOKS: &[Look] = &[
    Look {
        program: "claude",
        reports_begin: true,
        hides_cursor: Some(0),
        inline: true,
        vi: Some(Vi {
            commands: &["-- VISUAL"],
            inserts: Some("-- INSERT --"),
        }),
        seen: &["1.0.128", "2.0.60", "2.1.197", "2.1.330"],
        area: Area::Ruled,
        // ">" is the prompt of 2.0 and earlier.
        prompts: &["❯", ">"],
        shell: Some("!"),
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
            ("allow external claude.md file imports?", Kind::Other),
            // After Ctrl-Z: only a person continues the program, by SIGCONT or a restart.
            ("claude code has been suspended", Kind::Other),
            ("claude code is suspended", Kind::Other),
            // After Ctrl-O: what is typed there is lost.
            ("showing detailed transcript", Kind::Menu),
            // After Ctrl-R: what is typed there is searched for among earlier prompts.
            ("search prompts:", Kind::Menu),
            ("no matching prompt:", Kind::Menu),
            // After /stats.
            ("r to cycle dates", Kind::Menu),
        ],
        while_busy: Typing::Queues,
        // Since 2.1.3xx, below each text that waits.
        queued: &["press up to edit queued messages", " to send now"],
        queue: &["  ❯ ", "  > "],
        clear: &["C-u"],
        cuts: true,
        ..PLAIN
    },
    Look {
        program: "codex",
        shows_cursor: true,
        vi: Some(Vi {
            commands: &["Vim: Normal", "Vim: Replace"],
            inserts: None,
        }),
        seen: &["0.63.0", "0.80.0", "0.101.0", "0.169.0"],
        prompts: &["›"],
        shell: Some("!"),
        // 0.101 tells only how much of its context is left or, if it cannot know that, used.
        settled: &[" · ", "context left", " used"],
        busy: &["s • esc to interrupt)"],
        spinners: &['•', '◦'],
        spun: "s • esc to interrupt)",
        // 0.80 and earlier show only these once they have said something in a turn. Up to 0.101
        // nothing at all tells an answer that still comes, in lines, from one that is complete.
        tools: &["Running ", "Exploring", "Calling ", "Searching "],
        dialogs: &[
            ("trust this folder?", Kind::Trust),
            ("since this folder is ", Kind::Trust),
            ("do you trust the contents of this directory", Kind::Trust),
            ("sign in with", Kind::Login),
            ("how you want to use codex", Kind::Login),
            ("would you like to run", Kind::Permission),
            (
                "would you like to make the following edits",
                Kind::Permission,
            ),
            // After /side: what is typed there does not go to the agent's own thread.
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
        seen: &["1.0.185", "1.18.33"],
        area: Area::Barred,
        prompts: &[""],
        shell: Some("Shell"),
        hints: &["Ask anything"],
        busy: &["esc interrupt", "esc again to interrupt"],
        dialogs: &[
            ("permission required", Kind::Permission),
            // 1.0 shows this below its input line in windows of up to 120 columns, also when what is
            // asked has been scrolled away.
            ("◉ ", Kind::Menu),
            // This ends like a menu's title, see below, and is none.
            ("esc exit shell mode", Kind::Other),
            // Stands to the right of each menu's title: some menus have no other constant words.
            ("     esc", Kind::Menu),
        ],
        // Up to 1.0. Enter allows, `a` and `d` answer too, so nothing must be typed there.
        permission: Some("enter accept  a accept always  d deny"),
        while_busy: Typing::Queues,
        clear: &["C-u"],
        cuts: true,
        ..PLAIN
    },
    Look {
        program: "gemini",
        reports_begin: true,
        inline: true,
        vi: Some(Vi {
            commands: &["[NORMAL]"],
            inserts: None,
        }),
        // Up to 0.2x at least, where the input line is in a box.
        hides_cursor: Some(0),
        seen: &["0.22.4", "0.61.0"],
        area: Area::Headed,
        prompts: &[">", "*"],
        shell: Some("!"),
        hints: &[
            "Type your message",
            "Press 'Esc' for NORMAL mode.",
            "Press 'i' for INSERT mode",
        ],
        busy: &["(esc to cancel"],
        titles: &['✦'],
        dialogs: &[
            ("do you trust the files in this folder", Kind::Trust),
            ("do you trust this folder?", Kind::Trust),
            ("how would you like to authenticate", Kind::Login),
            ("apply this change?", Kind::Permission),
            ("allow execution", Kind::Permission),
        ],
        while_busy: Typing::Queues,
        queued: &["queued (press ↑ to edit)"],
        clear: &["C-u"],
        ..PLAIN
    },
    Look {
        program: "pi",
        reports_begin: true,
        inline: true,
        // Up to 0.3x at least, and of today's its menus.
        hides_cursor: Some(1),
        seen: &["0.30.2", "0.73.1"],
        area: Area::Ruled,
        prompts: &[""],
        shell: Some("!"),
        busy: &["working..."],
        dialogs: &[
            ("model name: ", Kind::Menu),
            ("only showing models", Kind::Menu),
            ("resume session", Kind::Menu),
            ("session tree", Kind::Menu),
            ("select provider to login", Kind::Login),
        ],
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
    // We have no account for it, so nobody here has seen it work: what it shows then is by hearsay.
    Look {
        program: "amp",
        seen: &["0.0.1790142911"],
        area: Area::Ruled,
        prompts: &[">"],
        busy: &["esc to cancel"],
        dialogs: &[("would you like to log in", Kind::Login)],
        ..PLAIN
    },
    // These two are not on npm, so nobody here has seen them: all of this is by hearsay.
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

    /// What each program asks at its first start is in a man page.
    #[test]
    fn each_first_start_is_described() {
        let page = include_str!("../../packaging/man/gastown-agents.7");
        let (_, starts) = page.split_once("THE FIRST START").unwrap();
        let (starts, _) = starts.split_once(".SH").unwrap();
        let entries: Vec<&str> = starts.split("\n.TP\n").skip(1).collect();
        for look in LOOKS {
            let is_its = |entry: &&str| {
                let head = entry.lines().next().unwrap_or_default();
                head.split([' ', '"', ',']).any(|word| word == look.program)
            };
            assert!(entries.iter().any(is_its), "{}", look.program);
        }
    }

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

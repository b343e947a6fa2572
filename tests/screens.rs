//! What the screens of real programs are read as. `tests/agents/capture` has captured them, and
//! each is called as what it is: `free`, `draft-two-lines`, `asks-trust`... Beside a question,
//! `NAME.question` has its kind, its text and its choices.
//!
//! `SCREENS_WRITE=1 cargo test --test screens` writes missing `.question` files; read them before
//! you commit them. Nothing is written otherwise.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use gastown::agent::Agent;
use gastown::terminal::{LOOKS, Question, Reader, State, Typing, input, look, read, room};
use gastown::tmux::Screen;
use gastown::town::Town;
use proptest::prelude::*;

fn screens() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens");
    for dir in root.read_dir().unwrap() {
        let dir = dir.unwrap();
        let name = dir.file_name().into_string().unwrap();
        let (program, _) = name.split_once('-').unwrap();
        for file in dir.path().read_dir().unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none() {
                found.push((program.to_string(), path));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// A screen as a look at its pane gives it.
fn load(path: &Path) -> Screen {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let rows = lines.clone().count();
    // By the windows of `tests/agents/screens.sh`.
    let columns = match rows {
        7 => 80,
        24 => 130,
        50 => 200,
        _ => 120,
    };
    let screen = Screen::parse(head, lines);
    let (_, screen) = screen.unwrap_or_else(|| panic!("{}: no screen", path.display()));
    Screen {
        size: (columns, rows),
        ..screen
    }
}

/// How a tick reads the terminals of agents for whom a town's settings name this program. `prompt`:
/// what its input line begins with, where they say that too.
fn of_town(program: &str, prompt: Option<&str>) -> Reader {
    let dir = tempfile::tempdir().unwrap();
    let own = prompt.map(|prompt| format!(r#""{program}":{{"ready_prompt_prefix":"{prompt}"}}"#));
    let own = own.unwrap_or_default();
    for (file, text) in [
        (
            "mayor/town.json",
            r#"{"type":"town","version":2,"name":"gt"}"#,
        ),
        ("mayor/rigs.json", r#"{"version":1,"rigs":{}}"#),
        (
            "settings/config.json",
            &format!(
                r#"{{"type":"town-settings","version":1,"default_agent":"{program}","agents":{{{own}}}}}"#
            ),
        ),
    ] {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let town = Town::at(dir.path(), None).unwrap();
    let reader = Reader::of(&town.appearance(&Agent::deacon()).unwrap());
    assert_eq!(reader.look.map(|look| look.program), Some(program));
    reader
}

/// How a screen of this name is read. A shell is what is left of an agent, whatever its program. What
/// is called `vi` has that set.
fn readers(program: &str, name: &str) -> Vec<Reader> {
    let programs = match program {
        "shell" => LOOKS.iter().map(|look| look.program).collect(),
        program => vec![program],
    };
    let is_modal = name.contains("-vi-");
    let readers = programs.into_iter().map(|program| Reader {
        is_modal,
        ..of_town(program, None)
    });
    readers.collect()
}

fn reader(program: &str, name: &str) -> Reader {
    readers(program, name).remove(0)
}

fn described(question: &Question) -> String {
    let Question {
        kind,
        text,
        choices,
        ..
    } = question;
    let choices: String = choices.iter().map(|c| format!("- {c}\n")).collect();
    format!("{}\n\n{text}\n\n{choices}", kind.word())
}

#[test]
fn each_is_what_it_is_called() {
    let mut wrong = Vec::new();
    for (program, path) in screens() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let is = name.split('-').next().unwrap();
        let screen = load(&path);
        for reader in readers(&program, name) {
            let state = reader.state(&screen);
            if state.word() != is {
                let by = reader.look.unwrap().program;
                wrong.push(format!("{} is read as {state:?} by {by}", path.display()));
            }
        }
        let State::Asks(question) = reader(&program, name).state(&screen) else {
            continue;
        };
        let beside = path.with_extension("question");
        if std::env::var_os("SCREENS_WRITE").is_some() && !beside.exists() {
            std::fs::write(&beside, described(&question)).unwrap();
        }
        let want = std::fs::read_to_string(&beside).unwrap_or_default();
        if described(&question) != want {
            wrong.push(format!("{program} {name} asks:\n{}", described(&question)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_says_most_is_told() {
    for (screen, want) in [
        (
            "claude-2.1.197/asks-trust",
            "Quick safety check: Is this a project you created or one you trust?",
        ),
        (
            "claude-2.1.197/asks-theme",
            "Choose the text style that looks best with your terminal",
        ),
        ("claude-2.1.197/asks-login", "Select login method:"),
        (
            "claude-2.1.197/asks-question",
            "Delete the production database?",
        ),
        ("claude-2.1.197/asks-config", "Settings"),
        ("claude-2.1.197/asks-help", "Help"),
        ("claude-2.1.197/asks-model", "Select model"),
        ("claude-2.1.197/asks-permissions", "Permissions"),
        ("claude-2.1.197/asks-resume", "Resume session"),
        (
            "claude-2.1.197/asks-transcript",
            "Showing detailed transcript · ctrl+o to toggle · ctrl+e to show all",
        ),
        ("codex-0.169.0/asks-trust", "Trust this folder?"),
        (
            "codex-0.169.0/asks-login",
            "Choose how you want to use Codex.",
        ),
        ("codex-0.169.0/asks-permissions", "Update Model Permissions"),
        ("codex-0.169.0/asks-model", "Select Model and Effort"),
        ("opencode-1.18.33/asks-permission", "△ Permission required"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/screens")
            .join(screen);
        let program = screen.split('-').next().unwrap();
        let State::Asks(question) = reader(program, screen).state(&load(&path)) else {
            panic!("{screen} asks nothing");
        };
        assert_eq!(question.headline(), want, "{screen}");
    }
}

#[test]
fn what_is_typed_is_seen() {
    for (program, path) in screens() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let typed = match name {
            "draft"
            | "draft-cursor-at-start"
            | "draft-after-answers"
            | "draft-vi-insert"
            | "draft-vi-normal" => "half a draft",
            "draft-two-lines" => "first line\nsecond line",
            "draft-while-busy" => "typed meanwhile",
            name if name.starts_with("free") || name.starts_with("busy") => "",
            _ => continue,
        };
        let reader = reader(&program, name);
        let seen = input(&load(&path), reader.look, &reader.prompts);
        assert_eq!(seen.as_deref(), Some(typed), "{program} {name}");
    }
}

/// A text is put into no queue in which one waits, and is not typed where letters are commands.
#[test]
fn what_works_takes_a_text() {
    for (program, path) in screens() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let reader = reader(&program, name);
        let takes = reader.takes(&load(&path), &State::Busy);
        let queues = look(&program).is_some_and(|look| look.while_busy == Typing::Queues);
        match name {
            "busy" => assert_eq!(takes, queues, "{program}"),
            "busy-queued" | "busy-queued-without-hint" | "busy-vi-normal" => {
                // These two show nothing of what is queued.
                let is_silent = ["copilot", "opencode"].contains(&&*program);
                assert_eq!(takes, is_silent, "{program} {name}");
            }
            _ => {}
        }
    }
}

/// They were captured in windows where a poke has room in all of them.
#[test]
fn a_text_has_room() {
    for (program, path) in screens() {
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("free") {
            continue;
        }
        let mut screen = load(&path);
        let reader = reader(&program, name);
        let room = |screen: &Screen| room(screen, reader.look, &reader.prompts);
        let (columns, rows) = room(&screen).unwrap();
        assert!(
            columns >= 60 && rows >= 8,
            "{program} {name}: {columns}x{rows}"
        );
        screen.size = (12, 3);
        let (columns, rows) = room(&screen).unwrap();
        assert!(columns * rows < 60, "{program} {name}: {columns}x{rows}");
        screen.size = (0, 0);
        assert_eq!(room(&screen), None, "{program} {name}");
    }
}

/// A person's settings may name a prompt that the program does not show, such as that of years ago.
#[test]
fn a_prompt_of_the_settings_hides_nothing_that_is_known() {
    let mut wrong = Vec::new();
    for (program, path) in screens() {
        let name = path.file_name().unwrap().to_str().unwrap();
        if program == "shell" {
            continue;
        }
        let screen = load(&path);
        let usual = reader(&program, name);
        for prompt in ["> ", ">", "❯", "› "] {
            let theirs = Reader {
                is_modal: usual.is_modal,
                ..of_town(&program, Some(prompt))
            };
            let (state, want) = (theirs.state(&screen), usual.state(&screen));
            if state != want {
                wrong.push(format!(
                    "{} with '{prompt}' is read as {state:?}, not {want:?}",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A look has been seen in the versions whose screens are kept, and in no others.
#[test]
fn what_is_said_to_be_seen_was_seen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screens");
    for look in LOOKS {
        let kept = root.read_dir().unwrap().filter_map(|dir| {
            let name = dir.unwrap().file_name().into_string().unwrap();
            Some(
                name.strip_prefix(look.program)?
                    .strip_prefix('-')?
                    .to_string(),
            )
        });
        let mut kept: Vec<String> = kept.collect();
        // From the oldest to the newest, as doctor tells them.
        kept.sort_by_key(|version| {
            let parts = version.split('.').map(str::parse::<u64>);
            parts.map(Result::unwrap).collect::<Vec<_>>()
        });
        assert_eq!(look.seen, kept, "{}", look.program);
    }
}

proptest! {
    #[test]
    fn no_screen_is_too_odd(
        lines in prop::collection::vec("[ -~─│┃╭╰❯›>●!✻…\u{a0}\u{2800}-\u{28ff}]{0,40}|─{3,9}|❯ .{0,9}", 0..30),
        column in 0..200usize, row in 0..60usize, cursor: bool, alternate: bool, program in 0..=LOOKS.len(),
        title in ".{0,9}", command in "bash|claude|",
        prompts in prop::collection::vec("> |❯|.{0,3}", 0..3),
    ) {
        let solid = lines.clone();
        let size = (0, 0);
        let screen = Screen { lines, solid, column, row, size, cursor, history: 0, alternate, title, command };
        let look = LOOKS.get(program);
        let state = read(&screen, look, &prompts);
        let typed = input(&screen, look, &prompts);
        if state == State::Free {
            prop_assert_eq!(typed.as_deref(), Some(""));
        }
        if state == State::Draft {
            prop_assert!(!typed.unwrap().is_empty());
        }
    }

    #[test]
    fn a_choice_at_the_end_is_never_free(
        lines in prop::collection::vec("[ -~─│❯›>]{0,40}|─{3,9}|❯|>|›", 0..30),
        mark in "[❯›>●]", question in "[A-Za-z ]{1,30}\\?",
        choices in prop::collection::vec("[A-Za-z][A-Za-z ]{0,20}", 2..5),
        row in 0..40usize, cursor: bool, program in 0..=LOOKS.len(),
    ) {
        let mut lines = lines;
        lines.extend([String::new(), question, String::new()]);
        for (number, choice) in choices.iter().enumerate() {
            let mark = if number == 0 { &mark } else { " " };
            lines.push(format!(" {mark} {}. {choice}", number + 1));
        }
        let solid = lines.clone();
        let screen = Screen { lines, solid, row, cursor, ..Screen::default() };
        let state = read(&screen, LOOKS.get(program), &["> ".to_string()]);
        prop_assert_ne!(state, State::Free);
    }

    /// A question that is asked stays one, whatever scrolls by above it.
    #[test]
    fn what_has_scrolled_by_does_not_count(
        above in prop::collection::vec("[ -~❯›>●✻…]{0,40}", 0..30),
        (program, path) in prop::sample::select(screens()),
    ) {
        let mut screen = load(&path);
        let reader = reader(&program, "");
        let look = reader.look.filter(|_| program != "shell");
        // Where nothing tells which line is the input line, what looks like a choice counts wherever it is.
        let is_choice = |line: &&String| look.is_none() && line.trim_start().starts_with(MARKS);
        // On a screen that is hardly filled it would stand just above the input line, as what spins there does.
        let spins = |line: &&String| line.trim_start().starts_with(['*', '✻']) && line.contains('…');
        let above = above.iter().filter(|line| !is_choice(line) && !spins(line));
        let above: Vec<String> = above.cloned().collect();
        let prompts = if look.is_some() { &reader.prompts[..] } else { &[] };
        let before = read(&screen, look, prompts);
        if before != State::Unknown {
            screen.lines.splice(0..0, above.iter().cloned());
            screen.solid.splice(0..0, above.iter().cloned());
            screen.row += above.len();
            let after = read(&screen, look, prompts);
            prop_assert_eq!(before.word(), after.word(), "{}", path.display());
        }
    }
}

/// What stands before a choice.
const MARKS: [char; 7] = ['❯', '›', '>', '●', '▶', '→', '▸'];

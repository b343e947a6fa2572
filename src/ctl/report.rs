//! `gastownctl report`: an agent says what it does. Called by the hooks of its program, at every
//! use of a tool, so it is quick and quiet, and outside of a town it does nothing.

use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;

use super::cli::{self, Word as Given};
use crate::exit::Exit;
use crate::hooks::events;
use crate::hooks::report::Word;
use crate::session::process;
use crate::systemd::{Systemd, Verb};
use crate::tmux::Tmux;
use crate::town::env_file::locate;
use crate::town::poke;

/// How long an event on standard input is waited for: some programs leave a pipe open.
const INPUT: Duration = Duration::from_secs(2);

/// How much of an event is read, in bytes, at most: it contains the output of a tool.
const SIZE: u64 = 16 << 20;

/// Keeps the report in the pane, and starts the job that waits for it.
///
/// # Errors
/// None: a hook that fails disturbs the agent, so what goes wrong is a message for debugging.
pub fn run(args: &cli::Report) -> Result<Exit> {
    if let Err(e) = report(args) {
        log::debug!("{e:#}, so the report is not kept");
    }
    Ok(Exit::Ok)
}

fn report(args: &cli::Report) -> Result<()> {
    let var = |key: &str| std::env::var(key).ok().filter(|value| !value.is_empty());
    let (Some(tmux), Some(pane), Some(_)) = (var("TMUX"), var("TMUX_PANE"), var("GT_ROLE")) else {
        return Ok(());
    };
    // The socket's path may have commas.
    let mut parts = tmux.rsplitn(3, ',');
    let (Some(_session), Some(server), Some(socket)) = (parts.next(), parts.next(), parts.next())
    else {
        return Ok(());
    };
    let (Some(word), Ok(server)) = (word(args)?, server.parse()) else {
        return Ok(());
    };
    if !process::is_agents_own(server) {
        return Ok(());
    }
    let before = Tmux::on(socket).report(&pane, &word, Timestamp::now())?;
    let before = before.map(|report| report.word);
    // The tick raises the alert about a question; the spawn job tells a ready polecat to begin.
    let asks = |word: &Word| matches!(word, Word::Asks(_));
    if before.as_ref().is_some_and(asks) != asks(&word) {
        // A tick that is under way may have looked at the pane before.
        if let Ok(town) = locate() {
            poke::heartbeat(&town.root);
        }
        start("gt-heartbeat.service")?;
    }
    if before.is_none() && word == Word::Free && var("GT_POLECAT").is_some() {
        start("gt-spawn-trigger.service")?;
    }
    Ok(())
}

fn word(args: &cli::Report) -> Result<Option<Word>> {
    let question = args.question.clone().unwrap_or_default();
    Ok(match (args.word, args.from, &args.event) {
        (Some(Given::Free), ..) => Some(Word::Free),
        (Some(Given::Busy), ..) => Some(Word::Busy),
        (Some(Given::Asks), ..) => Some(Word::Asks(question)),
        (None, Some(source), Some(event)) => events::word(source, &serde_json::from_str(event)?),
        (None, Some(source), None) => events::word(source, &serde_json::from_slice(&input())?),
        (None, None, _) => None,
    })
}

fn input() -> Vec<u8> {
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        let mut event = Vec::new();
        let _ = std::io::stdin().lock().take(SIZE).read_to_end(&mut event);
        let _ = tx.send(event);
    });
    rx.recv_timeout(INPUT).unwrap_or_default()
}

fn start(unit: &str) -> Result<()> {
    let systemd = Systemd::connect()?;
    if systemd.town_is_up()? {
        systemd.queue(Verb::Start, unit)?;
    }
    Ok(())
}

//! Types texts into terminals: the part that waits and talks to tmux.

use std::time::{Duration, Instant};

use super::typing::{Attempt, Outcome, Step, Text};
use crate::tmux::{Strokes, Tmux, TmuxError};

/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(20);

/// Types each text into its pane and gives the outcomes in the order of the texts. One call looks
/// at all panes, and one sends all keys that are due. No two texts may be for one pane.
pub fn tell(tmux: &Tmux, texts: Vec<Text>) -> Vec<Result<Outcome, TmuxError>> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; texts.len()];
    let texts = texts.into_iter().map(|text| Text {
        reader: text.reader.of_process(text.pid),
        ..text
    });
    let mut attempts: Vec<Attempt> = texts.map(Attempt::new).collect();
    let failed = run(tmux, &mut attempts, &mut outcomes).err();
    let failed = failed.map_or_else(String::new, |e| e.to_string());
    let outcomes = outcomes.into_iter();
    outcomes
        .map(|outcome| outcome.ok_or_else(|| TmuxError::Failed(failed.clone())))
        .collect()
}

fn run(
    tmux: &Tmux,
    attempts: &mut [Attempt],
    outcomes: &mut [Option<Outcome>],
) -> Result<(), TmuxError> {
    let begin = Instant::now();
    loop {
        let open: Vec<usize> = (0..attempts.len())
            .filter(|i| outcomes[*i].is_none())
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        let panes: Vec<String> = open
            .iter()
            .map(|i| attempts[*i].pane().to_string())
            .collect();
        let before = begin.elapsed();
        let sights = tmux.sights(&panes)?;
        let now = begin.elapsed();
        let looking = now - before;
        let mut strokes: Vec<Strokes> = Vec::new();
        let mut pause: Option<Duration> = None;
        for i in open {
            let wait = match attempts[i].next(sights.get(attempts[i].pane()), now) {
                Step::Wait(wait) => wait,
                Step::Send(keys, wait) => {
                    strokes.push(keys);
                    wait
                }
                Step::End(outcome, notes) => {
                    strokes.extend(notes);
                    outcomes[i] = Some(outcome);
                    continue;
                }
            };
            pause = Some(pause.map_or(wait, |pause| pause.min(wait)));
        }
        if !strokes.is_empty() {
            tmux.strike(&strokes)?;
        }
        if let Some(pause) = pause {
            // At most half of the time is spent looking, however many panes there are.
            std::thread::sleep(pause.max(SHORTEST).max(looking));
        }
    }
}

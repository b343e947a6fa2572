//! What pokes say: one reminder each, short enough for one line of any terminal.

/// How every poke begins.
pub const MARK: &str = "HEARTBEAT: ";

/// For the Deacon.
pub const DEACON: &[&str] = &[
    "walk the town and see who is quiet",
    "look into your inbox before anything else",
    "write your heartbeat when a round is done",
    "ask a silent Witness what it sees",
    "a rig with work and no worker needs you",
    "close what is finished, so that it stops waiting",
    "check that merges are moving",
    "name one thing that is stuck, and move it",
    "hand off before your context is full",
    "tell the Mayor what you cannot settle",
    "old requests first, new ones after",
    "when all is well, say so in your heartbeat",
];

/// For Witnesses.
pub const WITNESS: &[&str] = &[
    "look at each polecat of your rig",
    "who has work on the hook and shows nothing?",
    "read your inbox, then look around",
    "finished work goes to the Refinery",
    "ask a worker that has been silent for long",
    "tell the Deacon about what you cannot solve",
    "a clean worktree is a finished one",
];

/// The text after the one with number `last`, and its own number: never the same twice in a row.
pub fn after(tips: &'static [&'static str], last: Option<usize>) -> (usize, String) {
    let number = last.map_or(0, |last| last.wrapping_add(1) % tips.len());
    (number, format!("{MARK}{}", tips[number]))
}

/// All of them, as they are typed.
pub fn all() -> Vec<String> {
    let tips = DEACON.iter().chain(WITNESS);
    tips.map(|tip| format!("{MARK}{tip}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_the_same_twice_in_a_row() {
        for tips in [DEACON, WITNESS] {
            let (mut number, mut text) = after(tips, None);
            for _ in 0..40 {
                let (next, other) = after(tips, Some(number));
                assert_ne!(text, other);
                assert!(other.len() <= 70, "{other}");
                (number, text) = (next, other);
            }
        }
        assert!(DEACON.len() >= 10 && WITNESS.len() >= 6);
        after(DEACON, Some(usize::MAX));
    }
}

//! What `gt-agent` says in its unit's status text while its agent runs:
//! `Process 812 in session 'gt-deacon' of town '/home/me/gt'`.

use jiff::Timestamp;

/// The unit's status text while its agent runs; `again`: the number and time of the agent's start, if
/// it was not started together with its unit.
pub fn text(pid: u32, session: &str, root: &str, again: Option<Again>) -> String {
    let again = again.map_or_else(String::new, |Again { start, at }| {
        format!(" since {at:.0}, start {start} of its unit,")
    });
    format!("Process {pid}{again} in session '{session}' of town '{root}'")
}

/// An agent that was started in a unit that ran already: its predecessor has ended with status 0, or
/// somebody has put another one into its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Again {
    /// The number of this start, from 2.
    pub start: u64,
    /// When that was.
    pub at: Timestamp,
}

impl Again {
    /// Reads it from the unit's status text; `None`: the agent was started together with its unit.
    pub fn parse(status_text: &str) -> Option<Again> {
        let (_, text) = status_text
            .strip_prefix("Process ")?
            .split_once(" since ")?;
        let (at, text) = text.split_once(", start ")?;
        let (start, _) = text.split_once(" of its unit,")?;
        Some(Again {
            start: start.parse().ok()?,
            at: at.parse().ok()?,
        })
    }
}

/// The root of the town that a unit runs for, from its status text; `None`: the text does not say.
pub fn town_of(status_text: &str) -> Option<&str> {
    // A session's name has no quotes, a root may.
    let (_, root) = status_text.split_once("' of town '")?;
    root.strip_suffix('\'')
}

/// The agent's process, from its unit's status text.
pub fn process_of(status_text: &str) -> Option<u32> {
    let (pid, _) = status_text.strip_prefix("Process ")?.split_once(' ')?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_says_for_which_town_it_runs() {
        for root in ["/home/me/gt", "/srv/it's 'my' town'", "/"] {
            let at = Timestamp::from_second(9).unwrap();
            for again in [None, Some(Again { start: 3, at })] {
                let text = text(7, "gt-deacon", root, again);
                assert_eq!(town_of(&text), Some(root));
                assert_eq!(process_of(&text), Some(7));
                assert_eq!(Again::parse(&text), again, "{text}");
            }
        }
        assert_eq!(town_of("Process 7 in session 'gt-deacon'"), None);
        assert_eq!(town_of(""), None);
    }
}

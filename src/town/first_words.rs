//! What an agent is told first: who it is, why it was started, and what to do.
//!
//! Hooks do not make an agent begin to work: without these words it sits at an empty prompt. By
//! their first line people find the session again in Claude's `/resume`.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::Town;
use crate::agent::{Agent, Role};

/// Why an agent is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The agent was not running.
    Start,
    /// Its last run has crashed.
    Crash,
    /// Somebody asked for a restart.
    Restart,
    /// Its last run ended with a handoff to this one.
    Handoff,
}

/// The first words for an agent, without the occasion and the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstWords {
    recipient: String,
    topic: &'static str,
    who: String,
    task: String,
}

impl Town {
    /// What the agent is told first.
    pub fn first_words(&self, agent: &Agent) -> FirstWords {
        let role = agent.role();
        let prime = self.dialect().prime();
        let (topic, task) = match role {
            Role::Mayor => (
                "cold-start",
                format!("Run `{prime}`, see your hook and your mail, and act on them."),
            ),
            Role::Deacon | Role::Witness | Role::Refinery => {
                ("patrol", format!("Run `{prime}` and begin your patrol."))
            }
            Role::Boot => ("triage", "Run `gt boot triage` now.".to_string()),
            Role::Dog => (
                "assigned",
                format!("Run `{prime}` and begin the work that you were given."),
            ),
            Role::Polecat => (
                "assigned",
                format!("Work waits on your hook: run `{prime}` and begin it at once."),
            ),
            Role::Crew => (
                "start",
                format!(
                    "Run `{prime}` and see your hook: if work waits on it, begin it at once; \
                     if none does, wait for instructions."
                ),
            ),
        };
        let beacon = agent.beacon();
        let mut who = format!("You are {beacon} in this Gas Town.");
        // Classic Gas Town puts a CLAUDE.md for the Mayor into the town's root, and all agents read
        // it.
        if self.dialect().has_mayor_text()
            && role != Role::Mayor
            && self.path("CLAUDE.md").is_file()
        {
            who += " Where a CLAUDE.md above your directory speaks to the Mayor, it does not mean you.";
        }
        FirstWords {
            recipient: match self.dialect().has_address_roles() {
                true => beacon,
                false => agent.to_string(),
            },
            topic,
            who,
            task,
        }
    }
}

impl FirstWords {
    /// The words for each occasion, with an arbitrary time: to recognise them on a screen.
    pub fn all(&self) -> Vec<String> {
        use Occasion::{Crash, Handoff, Restart, Start};
        let at = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        let on = |occasion| self.on(occasion, &at);
        [Start, Crash, Restart, Handoff].map(on).into()
    }

    /// The words: a line that names recipient, time and topic, and a paragraph.
    pub fn on(&self, occasion: Occasion, at: &Zoned) -> String {
        let (topic, why) = match occasion {
            Occasion::Start => (self.topic, ""),
            Occasion::Crash => (
                "restart",
                " Your predecessor has crashed: see what it left half done.",
            ),
            Occasion::Restart => ("lifecycle-restart", " You were restarted on request."),
            Occasion::Handoff => (
                "handoff",
                " Your predecessor has handed over to you: see the handoff in your mail.",
            ),
        };
        let FirstWords {
            recipient,
            who,
            task,
            ..
        } = self;
        let time = at.strftime("%Y-%m-%dT%H:%M");
        format!("[GAS TOWN] {recipient} <- daemon • {time} • {topic}\n\n{who}{why} {task}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::tests::{town, town_with};

    fn at() -> Zoned {
        "2026-01-16T09:30:59[UTC]".parse().unwrap()
    }

    #[test]
    fn every_role_hears_who_it_is_and_what_to_do() {
        let (_classic, classic) = town(1);
        let (_current, current) = town(2);
        for (who, recipient, topic, name, task) in [
            ("mayor", "mayor", "cold-start", "mayor", "act on them"),
            ("deacon", "deacon", "patrol", "deacon", "begin your patrol"),
            ("boot", "deacon/boot", "triage", "boot", "`gt boot triage`"),
            (
                "dog a",
                "deacon/dogs/a",
                "assigned",
                "dog a",
                "begin the work",
            ),
            (
                "gastown/witness",
                "gastown/witness",
                "patrol",
                "witness (rig: gastown)",
                "begin your patrol",
            ),
            (
                "gastown/crew/max",
                "gastown/crew/max",
                "start",
                "crew max (rig: gastown)",
                "see your hook",
            ),
            (
                "gastown/polecats/nux",
                "gastown/polecats/nux",
                "assigned",
                "polecat nux (rig: gastown)",
                "Work waits on your hook",
            ),
        ] {
            let agent = Agent::parse(who).unwrap();
            for (town, recipient, has_option) in
                [(&classic, recipient, false), (&current, name, true)]
            {
                let words = town.first_words(&agent).on(Occasion::Start, &at());
                let beacon =
                    format!("[GAS TOWN] {recipient} <- daemon • 2026-01-16T09:30 • {topic}\n\n");
                let rest = words.strip_prefix(&beacon).expect(&words);
                let start = format!("You are {name} in this Gas Town. ");
                assert!(rest.starts_with(&start) && rest.contains(task), "{words}");
                let primes = rest.contains("`gt prime") && rest.contains("--hook");
                assert_eq!(primes, has_option && who != "boot", "{words}");
            }
        }
    }

    #[test]
    fn why_it_was_started_is_told() {
        let (_dir, town) = town(2);
        let words = town.first_words(&Agent::deacon());
        for (occasion, topic, said) in [
            (Occasion::Start, "patrol", "Town. Run `"),
            (Occasion::Crash, "restart", "has crashed: "),
            (
                Occasion::Restart,
                "lifecycle-restart",
                "restarted on request",
            ),
            (Occasion::Handoff, "handoff", "handed over to you"),
        ] {
            let words = words.on(occasion, &at());
            let (beacon, rest) = words.split_once("\n\n").unwrap();
            assert!(beacon.ends_with(&format!(" • {topic}")), "{words}");
            assert!(
                rest.contains(said) && rest.ends_with("begin your patrol."),
                "{words}"
            );
        }
    }

    #[test]
    fn a_text_for_the_mayor_is_for_the_mayor() {
        let words = |version, who: &str| {
            let (_dir, town) = town_with(version, &[("CLAUDE.md", "# Mayor Context")]);
            let agent = Agent::parse(who).unwrap();
            town.first_words(&agent).on(Occasion::Start, &at())
        };
        for (version, who, want) in [
            (1, "deacon", true),
            (1, "gastown/refinery", true),
            (1, "mayor", false),
            (2, "deacon", false),
        ] {
            assert_eq!(words(version, who).contains("CLAUDE.md"), want, "{who}");
        }
    }
}

//! What a session that we make looks like to a person who attaches to it: like one that `gt` makes.

use std::path::{Path, PathBuf};

use crate::agent::{Agent, Role};
use crate::tmux::Key;
use crate::tools::{self, search_path};
use crate::town;

/// How often tmux runs `gt` for the right side of the bar, in seconds. It does so only for sessions
/// that somebody is attached to.
const INTERVAL: &str = "5";

/// The path of `gt`; `None` also if a shell, by which tmux runs it, would not take it literally.
pub fn gt() -> Option<PathBuf> {
    let path = tools::find("gt", &search_path(&town::home().ok()?))?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    path.to_str()?.chars().all(is_plain).then_some(path)
}

/// The options of an agent's session.
pub fn options(agent: &Agent, session: &str, gt: Option<&Path>) -> Vec<(&'static str, String)> {
    let icon = match agent.role() {
        Role::Mayor => "🎩",
        Role::Deacon => "🐺",
        Role::Boot | Role::Dog => "🐕",
        Role::Witness => "🦉",
        Role::Refinery => "🏭",
        Role::Crew => "👷",
        Role::Polecat => "😺",
    };
    let who = match (agent.role(), agent.rig(), agent.name()) {
        (Role::Polecat, Some(rig), Some(name)) => format!("{rig}/{name}"),
        _ => agent.to_string(),
    };
    let mut options = vec![
        ("mouse", "on".to_string()),
        ("set-titles", "on".to_string()),
        ("set-titles-string", format!("{who} #T")),
        ("status-left-length", "25".to_string()),
        ("status-left", format!("{icon} {who} ")),
    ];
    if let Some(gt) = gt {
        let line = format!(
            "#({} status-line --session={session} 2>/dev/null)",
            gt.display()
        );
        options.extend([
            ("status-right-length", "80".to_string()),
            ("status-interval", INTERVAL.to_string()),
            ("status-right", format!("{line} %H:%M")),
        ]);
    }
    options
}

/// Keys that `gt` binds on a server, after the prefix: to the next and the previous session of its
/// kind, and to the feed. In sessions that are not Gas Town's they keep their usual meaning. A session
/// may have been renamed to what a shell would run, so its name is quoted.
pub fn keys(gt: &Path) -> [Key; 3] {
    [
        ("n", "cycle next --session #{q:session_name}", "next-window"),
        (
            "p",
            "cycle prev --session #{q:session_name}",
            "previous-window",
        ),
        (
            "a",
            "feed --window",
            "display-message 'No session of Gas Town'",
        ),
    ]
    .map(|(key, command, elsewhere)| Key {
        key,
        program: format!("{} {command}", gt.display()),
        elsewhere,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_says_whose_it_is() {
        let option = |who: &str, gt: Option<&str>, name: &str| {
            let agent = Agent::parse(who).unwrap();
            let options = options(&agent, "s-1", gt.map(Path::new));
            let found = options.into_iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| value)
        };
        for (who, left) in [
            ("mayor", "🎩 mayor "),
            ("gastown/witness", "🦉 gastown/witness "),
            ("gastown/crew/max", "👷 gastown/crew/max "),
            ("gastown/polecats/nux", "😺 gastown/nux "),
        ] {
            assert_eq!(option(who, None, "status-left").unwrap(), left);
        }
        assert_eq!(option("mayor", None, "status-right"), None);
        assert_eq!(
            option("mayor", Some("/usr/bin/gt"), "status-right").unwrap(),
            "#(/usr/bin/gt status-line --session=s-1 2>/dev/null) %H:%M"
        );
    }
}

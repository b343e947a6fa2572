//! `state.json` of an agent, which writes what it likes there. We use the keys
//! `requesting_<action>` and `requesting_time`, by which an agent of a classic town confirms that
//! it asked for an action.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::Town;
use super::json::Object;
use crate::agent::{Agent, Role};
use crate::files;

const TIME: &str = "requesting_time";

/// The file of an agent; `None` for roles that have none.
pub fn path(town: &Town, agent: &Agent) -> Option<PathBuf> {
    let rig = || town.path(agent.rig().unwrap_or_default());
    let dir = match agent.role() {
        Role::Mayor => town.path("mayor"),
        Role::Witness | Role::Refinery => rig().join(agent.role_name()),
        Role::Crew => rig().join("crew").join(agent.name()?),
        _ => return None,
    };
    Some(dir.join("state.json"))
}

fn load(path: &Path) -> Result<Option<Object>> {
    files::read(path)?
        .map(|text| Object::parse(&text))
        .transpose()
        .with_context(|| format!("Cannot use '{}'", path.display()))
}

fn key(action: &str) -> String {
    format!("requesting_{action}")
}

/// Why the agent has not asked for `action` (`cycle`, `restart`, `shutdown`): the file is missing
/// or not an object, or the key is missing, not a boolean, or false. `None`: the agent has asked,
/// or its role has no state file.
///
/// # Errors
/// The file cannot be read.
pub fn unconfirmed(town: &Town, agent: &Agent, action: &str) -> Result<Option<String>> {
    let Some(path) = path(town, agent) else {
        return Ok(None);
    };
    let (key, shown) = (key(action), path.display());
    let Some(text) = files::read(&path)? else {
        return Ok(Some(format!(
            "'{shown}' is missing, so {agent} did not ask for it"
        )));
    };
    let asked = Object::parse(&text).and_then(|state| state.get::<bool>(&key));
    Ok(match asked {
        Ok(Some(true)) => None,
        Ok(Some(false)) => Some(format!("'{key}' is false in '{shown}'")),
        Ok(None) => Some(format!("'{key}' is missing in '{shown}'")),
        Err(e) => Some(format!("Cannot use '{shown}': {e:#}")),
    })
}

/// Notes that the agent asks for `action`; makes the file if need be.
///
/// # Errors
/// The file is there and not an object, or cannot be written.
pub fn set(town: &Town, agent: &Agent, action: &str, now: Timestamp) -> Result<()> {
    let Some(path) = path(town, agent) else {
        return Ok(());
    };
    let mut state = load(&path)?.unwrap_or_default();
    state.set(&key(action), &true)?;
    state.set(TIME, &now)?;
    files::write(&path, state.to_text()?.as_bytes())
}

/// Takes the note away once the action is done; all else in the file stays as it is.
///
/// # Errors
/// The file is there and not an object, or cannot be written.
pub fn clear(town: &Town, agent: &Agent, action: &str) -> Result<()> {
    let Some(path) = path(town, agent) else {
        return Ok(());
    };
    let Some(mut state) = load(&path)? else {
        return Ok(());
    };
    let asked = state.remove(&key(action));
    if state.remove(TIME) || asked {
        files::write(&path, state.to_text()?.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_by_role() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        for (agent, want) in [
            ("mayor", Some("mayor/state.json")),
            ("deacon", None),
            ("deacon/dogs/x", None),
            ("a/witness", Some("a/witness/state.json")),
            ("a/refinery", Some("a/refinery/state.json")),
            ("a/crew/max", Some("a/crew/max/state.json")),
            ("a/polecats/nux", None),
        ] {
            let got = path(&town, &Agent::parse(agent).unwrap());
            assert_eq!(got, want.map(|file| town.path(file)), "{agent}");
        }
    }

    #[test]
    fn only_true_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let agent = Agent::parse("a/witness").unwrap();
        let path = path(&town, &agent).unwrap();
        let check = || unconfirmed(&town, &agent, "cycle").unwrap();
        let missing = check().unwrap();
        assert!(missing.ends_with("is missing, so a/witness did not ask for it"));
        for (text, want) in [
            (r#"{"requesting_cycle":true}"#, None),
            (
                r#"{"requesting_cycle":false}"#,
                Some("'requesting_cycle' is false in"),
            ),
            (
                r#"{"requesting_restart":true}"#,
                Some("'requesting_cycle' is missing in"),
            ),
            (
                r#"{"requesting_cycle":null}"#,
                Some("'requesting_cycle' is missing in"),
            ),
            (r#"{"requesting_cycle":"true"}"#, Some("Cannot use")),
            (r#"{"requesting_cycle":1}"#, Some("Cannot use")),
            ("[]", Some("Cannot use")),
            ("", Some("Cannot use")),
        ] {
            files::write(&path, text.as_bytes()).unwrap();
            match (check(), want) {
                (None, None) => {}
                (Some(got), Some(want)) => assert!(got.starts_with(want), "{text}: {got}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
        // What cannot be read is neither a yes nor a no.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(unconfirmed(&town, &agent, "cycle").is_err());
        assert_eq!(unconfirmed(&town, &Agent::deacon(), "cycle").unwrap(), None);
    }

    #[test]
    fn set_and_clear_change_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        let agent = Agent::parse("a/crew/max").unwrap();
        let path = path(&town, &agent).unwrap();
        let now = "2026-01-16T10:00:00Z".parse().unwrap();
        let text = "{\n  \"z\": 1.50,\n  \"big\": 12345678901234567890123,\n  \"a\": null\n}\n";
        files::write(&path, text.as_bytes()).unwrap();
        clear(&town, &agent, "cycle").unwrap();
        set(&town, &agent, "cycle", now).unwrap();
        assert_eq!(unconfirmed(&town, &agent, "cycle").unwrap(), None);
        clear(&town, &agent, "cycle").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);

        fs::write(&path, "junk").unwrap();
        assert!(set(&town, &agent, "cycle", now).is_err());
        assert!(clear(&town, &agent, "cycle").is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "junk");

        fs::remove_file(&path).unwrap();
        clear(&town, &agent, "cycle").unwrap();
        assert!(!path.exists());
        set(&town, &agent, "restart", now).unwrap();
        assert_eq!(unconfirmed(&town, &agent, "restart").unwrap(), None);
    }
}

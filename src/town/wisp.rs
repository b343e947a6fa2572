//! `.beads-wisp/config/<rig>.json`: settings of a rig for this machine only: whether it is parked
//! or docked, and whether its agents are restarted. Written by `gt rig park`, `gt rig config` and
//! `gastownctl park`.
//!
//! `{"rig":"gastown","values":{"status":"parked","auto_restart":false},"blocked":[]}`

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Town;
use super::json::Object;
use crate::{agent, files};

/// The directory of the files, below the town's root.
pub const DIR: &str = ".beads-wisp/config";

/// What the file says of a rig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wisp {
    /// `parked`, `docked`, or anything else, which has no meaning here.
    pub status: Option<String>,
    /// Whether the rig's agents may be started, by a tick or by a person.
    pub auto_restart: bool,
}

impl Default for Wisp {
    fn default() -> Self {
        Wisp {
            status: None,
            auto_restart: true,
        }
    }
}

/// Reads the file.
///
/// # Errors
/// The text is not an object, or a value in it is of the wrong kind.
pub fn parse(text: &str) -> Result<Wisp> {
    let file = Object::parse(text)?;
    let values: Object = file.get("values")?.unwrap_or_default();
    let blocked: Vec<String> = file.get("blocked")?.unwrap_or_default();
    let off = matches!(
        values.get::<Value>("auto_restart")?,
        Some(Value::Bool(false))
    ) || values
        .get::<String>("auto_restart")
        .ok()
        .flatten()
        .as_deref()
        == Some("false");
    Ok(Wisp {
        status: values.get("status")?,
        auto_restart: !off && !blocked.iter().any(|key| key == "auto_restart"),
    })
}

/// The rig's file.
///
/// # Errors
/// `rig` is not a valid name.
pub fn path(town: &Town, rig: &str) -> Result<PathBuf> {
    agent::check_rig(rig)?;
    Ok(town.path(DIR).join(name(rig)))
}

/// The name of the rig's file.
pub fn name(rig: &str) -> String {
    format!("{rig}.json")
}

/// What the rig's file says; without a file the rig is neither parked nor docked.
///
/// # Errors
/// The file is there and cannot be used; the error names it.
pub fn load(town: &Town, rig: &str) -> Result<Wisp> {
    let path = path(town, rig)?;
    match files::read(&path)? {
        Some(text) => parse(&text).with_context(|| format!("Cannot use '{}'", path.display())),
        None => Ok(Wisp::default()),
    }
}

/// Sets the rig's status, such as `parked`, or takes it away; all else in the file stays.
/// Tells whether that changed anything.
///
/// # Errors
/// The file is there and cannot be used, or it cannot be written.
pub fn set_status(town: &Town, rig: &str, status: Option<&str>) -> Result<bool> {
    let path = path(town, rig)?;
    let text = files::read(&path)?;
    let current = text.as_deref().map(parse).transpose();
    let bad = || format!("Cannot use '{}'; mend or remove it", path.display());
    if current
        .with_context(bad)?
        .unwrap_or_default()
        .status
        .as_deref()
        == status
    {
        return Ok(false);
    }
    let text = text.unwrap_or_else(|| json!({"rig": rig, "values": {}, "blocked": []}).to_string());
    let mut file = Object::parse(&text)?;
    let mut values: Object = file.get("values")?.unwrap_or_default();
    match status {
        Some(status) => values.set("status", &status)?,
        None => _ = values.remove("status"),
    }
    file.set("values", &values)?;
    files::write(&path, file.to_text()?.as_bytes())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn parked_docked_blocked() {
        for (text, status, auto_restart) in [
            ("{}", None, true),
            (r#"{"values":null,"blocked":null}"#, None, true),
            (
                r#"{"rig":"a","values":{"status":"parked"},"blocked":[]}"#,
                Some("parked"),
                true,
            ),
            (
                r#"{"values":{"auto_restart":false,"x":1e999}}"#,
                None,
                false,
            ),
            (r#"{"values":{"auto_restart":"false"}}"#, None, false),
            (r#"{"values":{"auto_restart":true}}"#, None, true),
            (
                r#"{"values":{"status":"docked"},"blocked":["auto_restart"]}"#,
                Some("docked"),
                false,
            ),
        ] {
            let want = Wisp {
                status: status.map(String::from),
                auto_restart,
            };
            assert_eq!(parse(text).unwrap(), want, "{text}");
        }
        for text in [
            "",
            "[]",
            r#"{"values":[]}"#,
            r#"{"values":{"status":1}}"#,
            r#"{"blocked":1}"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn parking_changes_only_the_status() {
        let dir = tempfile::tempdir().unwrap();
        let town = Town::at(dir.path(), None).unwrap();
        assert!(!set_status(&town, "gastown", None).unwrap());
        assert!(set_status(&town, "gastown", Some("parked")).unwrap());
        assert!(!set_status(&town, "gastown", Some("parked")).unwrap());
        assert_eq!(
            load(&town, "gastown").unwrap().status.as_deref(),
            Some("parked")
        );

        let path = path(&town, "gastown").unwrap();
        let text = r#"{"values":{"n":1.0,"status":"docked"},"more":[1.50]}"#;
        fs::write(&path, text).unwrap();
        assert!(set_status(&town, "gastown", None).unwrap());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("1.0") && text.contains("[1.50]"), "{text}");
        assert_eq!(load(&town, "gastown").unwrap(), Wisp::default());

        fs::write(&path, "junk").unwrap();
        assert!(set_status(&town, "gastown", Some("parked")).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "junk");
        assert!(set_status(&town, "../x", Some("parked")).is_err());
    }
}

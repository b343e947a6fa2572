//! Whether claude's settings say that its input line is edited as in vi. The screen does not tell:
//! in vi's normal mode claude looks as it does without vi, and takes each letter for a command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use crate::files;
use crate::session::process;

#[derive(Deserialize)]
struct Settings {
    #[serde(rename = "editorMode")]
    editor: Option<String>,
}

/// Whether the settings of a claude process say so. The first of its files that names an editor
/// mode decides, now and not only at its start: a running claude follows these files.
pub fn is_set(pid: u32) -> bool {
    let environment = process::environment(pid).unwrap_or_default();
    let value = |key: &str| environment.get(key).map(PathBuf::from);
    let files = files(
        process::directory(pid).as_deref(),
        value("HOME").as_deref(),
        value("CLAUDE_CONFIG_DIR").as_deref(),
    );
    let editor = files.iter().find_map(|file| named(file));
    editor.as_deref() == Some("vim")
}

/// The editor mode that a file names. Many agents share a file, which may have megabytes: it is read
/// once until it changes.
fn named(file: &Path) -> Option<String> {
    static NAMED: Mutex<BTreeMap<PathBuf, (String, Option<String>)>> = Mutex::new(BTreeMap::new());
    let stamp = files::stamp(&file.metadata().ok()?);
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    match named.get(file) {
        Some((then, editor)) if *then == stamp => editor.clone(),
        _ => {
            let text = files::read(file).ok().flatten().unwrap_or_default();
            let settings: Option<Settings> = serde_json::from_str(&text).ok();
            let editor = settings.and_then(|settings| settings.editor);
            named.insert(file.into(), (stamp, editor.clone()));
            editor
        }
    }
}

/// Claude's files of settings, the one that decides first.
fn files(directory: Option<&Path>, home: Option<&Path>, config: Option<&Path>) -> Vec<PathBuf> {
    let local = ["settings.local.json", "settings.json"];
    let local = local.map(|name| Some(directory?.join(".claude").join(name)));
    // Claude up to 2.0 kept the mode in the last one, and later ones still read it.
    let user = match (config, home) {
        (Some(config), _) => [config.join("settings.json"), config.join(".claude.json")].map(Some),
        (None, Some(home)) => [
            home.join(".claude/settings.json"),
            home.join(".claude.json"),
        ]
        .map(Some),
        (None, None) => [None, None],
    };
    local.into_iter().chain(user).flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_first_file_that_names_an_editor_decides() {
        let dir = tempfile::tempdir().unwrap();
        let (home, work) = (dir.path().join("home"), dir.path().join("work"));
        for dir in [&home, &work] {
            std::fs::create_dir_all(dir.join(".claude")).unwrap();
        }
        let mut child = Command::new("cat")
            .current_dir(&work)
            .env_clear()
            .env("HOME", &home)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let write = |path: PathBuf, text: &str| std::fs::write(path, text).unwrap();
        assert!(!is_set(child.id()));
        write(
            home.join(".claude.json"),
            r#"{"projects":{"/x":{}},"editorMode":"vim"}"#,
        );
        assert!(is_set(child.id()));
        write(home.join(".claude/settings.json"), r#"{"hooks":{}}"#);
        assert!(is_set(child.id()));
        write(
            home.join(".claude/settings.json"),
            r#"{"editorMode":"normal"}"#,
        );
        assert!(!is_set(child.id()));
        write(
            work.join(".claude/settings.json"),
            r#"{"editorMode":"vim"}"#,
        );
        assert!(is_set(child.id()));
        write(work.join(".claude/settings.local.json"), "no JSON");
        assert!(is_set(child.id()));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!is_set(child.id()));
    }

    #[test]
    fn a_directory_for_settings_of_its_own() {
        let files = files(None, Some(Path::new("/h")), Some(Path::new("/c")));
        assert_eq!(
            files,
            [Path::new("/c/settings.json"), Path::new("/c/.claude.json")]
        );
    }
}

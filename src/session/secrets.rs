//! `~/.config/gastown/secrets.env`: what agents need and nobody else may read.
//!
//! Our own agents get these variables at their start. What others, such as `gt sling`, start in our
//! tmux server gets them from the server's environment: the server is started with them, and is told
//! of changes by its socket. They stand in no command line. The environment of a server and of its
//! processes is readable by its user only.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::environment::is_foreign;
use crate::systemd::{Systemd, runtime_dir};
use crate::tmux::Tmux;
use crate::{files, town};

/// The file, below the home directory.
const FILE: &str = ".config/gastown/secrets.env";

/// The note of what our server has been given, below the runtime directory, which is removed when the
/// user manager ends.
const GIVEN: &str = "gastown/server-environment.json";

/// A note of what a server has, without a value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Given {
    /// The pid of the server.
    server: u32,
    /// The file as it was read: inode, size, and time of the last change in nanoseconds.
    file: Option<(u64, u64, i128)>,
    /// The names of the variables.
    names: BTreeSet<String>,
}

/// KEY=VALUE lines of the file, which must be readable by us alone; none if there is no file.
///
/// # Errors
/// Others can read the file, or it cannot be read or parsed.
pub fn load() -> Result<Vec<(String, String)>> {
    load_from(&path()?)
}

fn load_from(path: &Path) -> Result<Vec<(String, String)>> {
    if !files::is_there(path)? {
        return Ok(Vec::new());
    }
    let meta = path
        .metadata()
        .with_context(|| format!("Failed to read '{}'", path.display()))?;
    if meta.permissions().mode() & 0o077 != 0 {
        bail!(
            "'{0}' can be read by others; run: chmod 600 '{0}'",
            path.display()
        );
    }
    let text = files::read(path)?.unwrap_or_default();
    town::env_file::parse(&text).with_context(|| format!("Failed to parse '{}'", path.display()))
}

/// The variables that the tmux server gets: all but those of a single process, session or agent.
/// Notes that the server, which this process is about to become, has them.
pub fn for_server() -> Vec<(String, String)> {
    let stamp = stamp();
    let secrets = shareable().unwrap_or_else(|e| {
        log::warn!("{e:#}, starting the tmux server without it");
        Vec::new()
    });
    let given = Given {
        server: std::process::id(),
        file: stamp,
        names: secrets.iter().map(|(key, _)| key.clone()).collect(),
    };
    if let Err(e) = given.note() {
        log::warn!("{e:#}, ignoring");
    }
    secrets
}

/// Tells our server what has changed in the file since the server was told last; a server that is
/// not ours is left as it is. Does not call tmux if nothing has changed.
///
/// # Errors
/// The file cannot be used, or tmux fails: then the next call tries again.
pub fn refresh(tmux: &Tmux) -> Result<()> {
    let stamp = stamp();
    let Some(given) = Given::load().filter(|given| given.file != stamp) else {
        return Ok(());
    };
    if tmux.server()? != Some(given.server) {
        return Ok(());
    }
    let mut secrets = shareable()?;
    let count = secrets.len();
    let names: BTreeSet<String> = secrets.iter().map(|(key, _)| key.clone()).collect();
    let mut gone: Vec<&str> = given.names.difference(&names).map(String::as_str).collect();
    if !gone.is_empty() {
        // A variable that was taken out of the file gets the manager's value again, if it has one.
        let manager = Systemd::connect()?.environment()?;
        for (key, value) in manager.iter().filter_map(|line| line.split_once('=')) {
            if let Some(at) = gone.iter().position(|name| *name == key) {
                gone.swap_remove(at);
                secrets.push((key.into(), value.into()));
            }
        }
    }
    tmux.set_global_environment(&secrets, &gone)?;
    Given {
        server: given.server,
        file: stamp,
        names,
    }
    .note()?;
    log::info!("Gave the tmux server the {count} variables of '~/{FILE}' anew");
    Ok(())
}

fn shareable() -> Result<Vec<(String, String)>> {
    Ok(of_nobody(load()?))
}

/// Without what is one process's, session's or agent's own.
fn of_nobody(mut secrets: Vec<(String, String)>) -> Vec<(String, String)> {
    secrets.retain(|(key, _)| !is_foreign(key));
    secrets
}

fn path() -> Result<PathBuf> {
    Ok(town::home()?.join(FILE))
}

fn stamp() -> Option<(u64, u64, i128)> {
    let meta = path().ok()?.metadata().ok()?;
    let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
    Some((meta.ino(), meta.size(), changed))
}

impl Given {
    fn path() -> Option<PathBuf> {
        Some(runtime_dir()?.join(GIVEN))
    }

    fn load() -> Option<Given> {
        let text = files::read(&Self::path()?).ok()??;
        serde_json::from_str(&text).ok()
    }

    fn note(&self) -> Result<()> {
        let path = Self::path().context("There is no runtime directory")?;
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        files::write(&path, serde_json::to_string(self)?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secrets.env");
        assert_eq!(load_from(&file).unwrap(), Vec::new());
        std::fs::write(&file, "KEY=x\n").unwrap();
        for (mode, is_used) in [
            (0o600, true),
            (0o400, true),
            (0o640, false),
            (0o604, false),
            (0o660, false),
        ] {
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            match load_from(&file) {
                Ok(secrets) => assert!(is_used && secrets == [("KEY".into(), "x".into())]),
                Err(e) => assert!(!is_used && e.to_string().contains("chmod 600"), "{e}"),
            }
        }
    }

    #[test]
    fn what_is_one_agents_own_is_not_for_the_server() {
        let pairs = ["API_KEY", "GT_ROLE", "TMUX", "BD_ACTOR"].map(|key| (key.into(), "x".into()));
        assert_eq!(of_nobody(pairs.into()), [("API_KEY".into(), "x".into())]);
    }
}

//! `gt-agent exec`: waits in the pane until it has been moved into the unit, then becomes the
//! agent. The socket to `gt-agent run` closes on a successful exec; a failure is written to it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

use super::secrets;
use crate::{environment, tools, town};

/// How long the pane waits for its release.
const RELEASE_LIMIT: Duration = Duration::from_secs(60);

/// What `gt-agent run` sends to release the pane, as one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Release {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What is added to the environment; nothing secret.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub dir: PathBuf,
}

/// Becomes the agent. Returns only when that failed.
///
/// # Errors
/// The socket, the secrets file or the agent's program is not usable. The error has been reported
/// to `gt-agent run` already, if that was possible.
pub fn exec(socket: &Path) -> Result<()> {
    let mut stream = UnixStream::connect(socket)
        .with_context(|| format!("Failed to connect to '{}'", socket.display()))?;
    stream.set_read_timeout(Some(RELEASE_LIMIT))?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    if line.is_empty() {
        bail!("The service gave up before it released this pane");
    }
    let error = become_agent(&line);
    let _ = write!(stream, "{error:#}");
    Err(error)
}

fn become_agent(line: &str) -> anyhow::Error {
    let prepared = serde_json::from_str(line)
        .context("Failed to read the release")
        .and_then(command);
    match prepared {
        Ok((mut command, program)) => {
            let e = command.exec();
            let what = match (e.kind(), interpreter(Path::new(&program))) {
                (ErrorKind::NotFound, Some(name)) => {
                    format!("'{name}', which is to run it, is not there; install it")
                }
                _ => format!("{e}; check the agent's command in settings"),
            };
            anyhow!("Failed to execute '{program}': {what}")
        }
        Err(e) => e,
    }
}

/// What runs a script, by its first line: a path, or the name that `env` looks for.
pub(super) fn interpreter(script: &Path) -> Option<String> {
    let mut head = Vec::new();
    File::open(script)
        .ok()?
        .take(256)
        .read_to_end(&mut head)
        .ok()?;
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let mut words = str::from_utf8(line).ok()?.split_ascii_whitespace();
    let program = Path::new(words.next()?);
    let is_env = program.is_absolute() && program.file_name()? == "env";
    match is_env {
        // What its other options mean is not looked into.
        true => words
            .find(|word| *word != "-S" && !word.contains('='))
            .filter(|name| !name.starts_with('-') && !name.contains('/'))
            .map(Into::into),
        false => Some(program.to_str()?.into()).filter(|_| program.is_absolute()),
    }
}

/// The directories where the program of an agent with these variables is looked for.
///
/// # Errors
/// There is no home directory.
pub fn search_path(env: &BTreeMap<String, String>) -> Result<Vec<PathBuf>> {
    let mut dirs = tools::search_path(&town::home()?);
    if let Some(own) = env.get("PATH") {
        dirs.splice(
            0..0,
            std::env::split_paths(own).filter(|dir| dir.is_absolute()),
        );
    }
    Ok(dirs)
}

fn command(release: Release) -> Result<(Command, String)> {
    let dirs = search_path(&release.env)?;
    let (name, args) = release.argv.split_first().context("Empty agent command")?;
    // Found here, so that the agent's own PATH need not be the user manager's poor one.
    let program = tools::find(name, &dirs).with_context(|| {
        format!(
            "Failed to execute '{name}': there is no such program; give its absolute path in \
                 the settings, or its directory as PATH in the agent's 'env' there"
        )
    })?;
    std::env::set_current_dir(&release.dir).with_context(|| {
        let dir = release.dir.display();
        format!("Failed to enter '{dir}', where the agent works; see 'ls -ld {dir}'")
    })?;
    let mut command = Command::new(&program);
    command.args(args).env_clear().envs(environment::clean());
    // These name the pane itself.
    for own in ["TMUX", "TMUX_PANE"] {
        if let Some(value) = std::env::var_os(own) {
            command.env(own, value);
        }
    }
    if let Ok(path) = std::env::join_paths(&dirs) {
        command.env("PATH", path);
    }
    command.envs(&release.env).envs(secrets::load()?);
    Ok((command, program.display().to_string()))
}

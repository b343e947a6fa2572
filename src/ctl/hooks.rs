//! `gastownctl hooks`: what makes the programs of agents report what they do.

use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, bail};

use super::cli;
use super::output::say;
use crate::exit::Exit;
use crate::files;
use crate::hooks::config::Program;
use crate::town;

/// Shows, installs or removes the hooks of a program.
///
/// # Errors
/// The program's file is not what it should be, has somebody else's hook where ours belongs, or
/// cannot be written.
pub fn run(args: &cli::Hooks) -> Result<Exit> {
    let path = match &args.file {
        Some(file) => file.clone(),
        None => usual(args.program, &town::home()?),
    };
    // Write to what a link leads to, such as a collection of such files: the link stays.
    let path = path.canonicalize().or_else(|_| absolute(&path))?;
    let refused = || format!("Cannot use '{}'", path.display());
    let before = files::read(&path)?.unwrap_or_default();
    if args.remove {
        let after = args.program.remove(&before).with_context(refused)?;
        let name = args.program.name();
        match after {
            Some(after) if after == before => {
                say(&format!("'{}' has no hooks of ours", path.display()))?;
                return Ok(Exit::Ok);
            }
            Some(after) => {
                files::write(&path, after.as_bytes())?;
                say(&format!("Took the hooks out of '{}'", path.display()))?;
            }
            None => {
                files::remove(&path)?;
                say(&format!("Removed '{}'", path.display()))?;
            }
        }
        say(&format!(
            "Agents that run {name} have them until they restart"
        ))?;
        return Ok(Exit::Ok);
    }
    let after = args
        .program
        .install(&before, &ctl()?)
        .with_context(refused)?;
    if !args.install {
        let name = args.program.name();
        say(&format!(
            "'gastownctl hooks {name} --install' would make this of '{}':\n\n{}",
            path.display(),
            after.trim_end()
        ))?;
    } else if after == before {
        say(&format!("'{}' has the hooks already", path.display()))?;
    } else {
        files::write(&path, after.as_bytes())?;
        say(&format!("Wrote the hooks to '{}'", path.display()))?;
        let name = args.program.name();
        say(&format!(
            "Agents that run {name} use them from their next start"
        ))?;
    }
    Ok(Exit::Ok)
}

fn usual(program: Program, home: &Path) -> PathBuf {
    let (variable, dir, file) = program.file();
    let other = variable.and_then(std::env::var_os);
    let other = other.map(PathBuf::from).filter(|dir| dir.is_absolute());
    other.unwrap_or_else(|| home.join(dir)).join(file)
}

/// The path under which hooks call us. It is written into a shell command in the program's file.
fn ctl() -> Result<String> {
    let path = std::env::current_exe().context("Failed to find the path of gastownctl")?;
    let path = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if !path.chars().all(plain) {
        bail!("'{path}' cannot stand in a hook; run the installed gastownctl");
    }
    Ok(path.into_owned())
}

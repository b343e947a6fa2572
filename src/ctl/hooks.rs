//! `gastownctl hooks`: what makes the programs of agents report what they do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context, Result, bail};

use super::output::say;
use super::{cli, directory, words};
use crate::exit::Exit;
use crate::files;
use crate::hooks::config::Program;
use crate::town::{self, Town};

/// Shows, installs or removes the hooks of a program.
///
/// # Errors
/// The program's file is not what it should be, has somebody else's hook where ours belongs, or
/// cannot be written.
pub fn run(args: &cli::Hooks) -> Result<Exit> {
    let exit = change(args)?;
    let town = Town::load().ok().filter(|_| args.file.is_none());
    for (file, agents) in town.map_or_else(BTreeMap::new, |town| others(&town, args.program)) {
        let (file, agents) = (file.display(), words::names(&agents));
        say(&format!(
            "By the settings {agents} read '{file}'; add \"--file '{file}'\" for them"
        ))?;
    }
    Ok(exit)
}

/// The files that agents of the town read instead of the usual one, and which agents: an account of
/// Claude, for example, has a directory of its own.
fn others(town: &Town, program: Program) -> BTreeMap<PathBuf, Vec<String>> {
    let mut others: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let (Some(variable), _, file) = program.file() else {
        return others;
    };
    let usual = town::home().ok().map(|home| usual(program, &home));
    for agent in directory::known(town, None) {
        let Ok(launch) = town.launch(&agent) else {
            continue;
        };
        let is_its = launch.appearance.kind == Some(program.name());
        let dir = launch.env.get(variable).filter(|_| is_its);
        if let Some(file) = dir.map(|dir| Path::new(dir).join(file))
            && Some(&file) != usual.as_ref()
        {
            others.entry(file).or_default().push(agent.to_string());
        }
    }
    others
}

fn change(args: &cli::Hooks) -> Result<Exit> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::tests::town_with;

    #[test]
    fn who_reads_another_file() {
        let accounts = r#"{"default":"me","accounts":{"me":{"config_dir":"/c"}}}"#;
        for (version, program, want) in [
            (2, Program::Claude, vec![PathBuf::from("/c/settings.json")]),
            (1, Program::Claude, vec![]),
            (2, Program::Codex, vec![]),
            (2, Program::Pi, vec![]),
        ] {
            let (_dir, town) = town_with(version, &[("mayor/accounts.json", accounts)]);
            let others = others(&town, program);
            assert!(others.keys().eq(&want), "{program:?}");
            assert!(others.values().flatten().any(|agent| agent == "deacon") != want.is_empty());
        }
    }
}

//! Checks what every start of an agent needs, without starting it. Whoever stops a running agent in
//! order to start it again checks first.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::{check, exec, secrets};
use crate::agent::Agent;
use crate::files;
use crate::tmux::Tmux;
use crate::tools;
use crate::town::launch::Launch;
use crate::town::{Town, settings};

/// An agent's program is not found, as for a moment during its upgrade; why, and what mends that.
#[derive(Debug)]
pub struct Away(String);

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Away {}

/// Checks whether a start of the agent could succeed now. Does not look at its marks.
///
/// # Errors
/// Why every start would fail now, and what mends that. An error of which [`files::may_pass`] is true
/// may go away by itself, and so may [`Away`].
pub fn check(town: &Town, agent: &Agent) -> Result<()> {
    if let Some(storm) = check::storm(agent) {
        bail!(storm);
    }
    by_itself(town, agent)
}

/// As [`check`], whatever has become of the other polecats of its rig: their starts are refused because
/// so many have failed, so for those who failed this would never change.
///
/// # Errors
/// As of [`check`].
pub fn by_itself(town: &Town, agent: &Agent) -> Result<()> {
    if let Some(lack) = town.lack(agent) {
        bail!(lack);
    }
    let secrets = secrets::load()?;
    let launch = town.launch(agent)?;
    let name = launch.argv.first().context("It has no command")?;
    let Some(program) = program(town, agent, &launch) else {
        let cure = cure(town, agent, name);
        bail!(Away(format!("The command '{name}' is not found; {cure}")))
    };
    let path = secrets.iter().rfind(|(key, _)| key == "PATH");
    let dirs: Vec<PathBuf> =
        path.map_or_else(Vec::new, |(_, path)| std::env::split_paths(path).collect());
    match exec::interpreter(&program) {
        Some(name)
            if in_path(town, &launch, &name).is_none() && tools::find(&name, &dirs).is_none() =>
        {
            bail!(Away(format!(
                "'{name}', which is to run '{}', is not found; install it, or give its directory as PATH in the \
                 agent's 'env' in '{}'",
                program.display(),
                town.path(settings::AGENTS_FILE).display()
            )))
        }
        _ => Ok(()),
    }
}

/// The message that an agent is neither restarted nor cycled; `why` is the error of [`check`].
pub fn lost(agent: &Agent, why: &anyhow::Error) -> String {
    format!("{agent} is not stopped, for it could not be started again: {why:#}")
}

/// The agent's program, where its start finds it.
pub fn program(town: &Town, agent: &Agent, launch: &Launch) -> Option<PathBuf> {
    let name = launch.argv.first()?;
    if name.contains('/') {
        let path = town.workdir(agent).join(name);
        return tools::find(path.to_str()?, &[]);
    }
    in_path(town, launch, name)
}

/// A program by its absolute path, or by its name where the agent's start looks for it.
fn in_path(town: &Town, launch: &Launch, name: &str) -> Option<PathBuf> {
    let dirs = exec::search_path(&launch.env).ok()?;
    tools::find(name, &dirs).or_else(|| {
        // Its pane has the PATH of the tmux server, which may be another one than ours.
        let path = Tmux::on(town.socket()).global("PATH").ok()??;
        tools::find(name, &std::env::split_paths(&path).collect::<Vec<_>>())
    })
}

/// What to do when an agent's program is not found.
pub fn cure(town: &Town, agent: &Agent, program: &str) -> String {
    if !program.contains('/') {
        let file = town.path(settings::FILE);
        return format!(
            "ln -s /path/to/{program} ~/.local/bin/, or name it in '{}'",
            file.display()
        );
    }
    let dirs = agent.rig().map(|rig| town.path(rig));
    let dirs = dirs.into_iter().chain([town.root().to_path_buf()]);
    let mut files =
        dirs.flat_map(|dir| [settings::FILE, settings::AGENTS_FILE].map(|f| dir.join(f)));
    let has_it = |file: &PathBuf| {
        let text = files::read(file).ok().flatten();
        text.is_some_and(|text| text.contains(program))
    };
    match files.find(has_it) {
        Some(file) => format!("mend the path in '{}'", file.display()),
        None => "mend the path where the settings name it".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::town::tests::town_with;

    const TOWN: &str = "settings/config.json";
    const AGENTS: &str = "settings/agents.json";

    #[test]
    fn the_program_of_an_agent() {
        for (command, env, want) in [
            ("/bin/sh", "", Ok(())),
            ("sh", "", Ok(())),
            // Relative to the agent's directory, and by a PATH of its own.
            ("./own", "", Ok(())),
            ("own", r#""PATH":"ROOT/deacon""#, Ok(())),
            ("own", "", Err("ln -s /path/to/own ~/.local/bin/")),
            (
                "~/none",
                "",
                Err("mend the path in 'ROOT/settings/agents.json'"),
            ),
            (
                "/opt/agnet",
                "",
                Err("mend the path in 'ROOT/settings/agents.json'"),
            ),
        ] {
            let (dir, town) =
                town_with(1, &[("deacon/own", ""), (TOWN, r#"{"default_agent":"a"}"#)]);
            let root = dir.path().display().to_string();
            let own = dir.path().join("deacon/own");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(own, mode).unwrap();
            let text = format!(r#"{{"agents":{{"a":{{"command":"{command}","env":{{{env}}}}}}}}}"#);
            std::fs::write(town.path(AGENTS), text.replace("ROOT", &root)).unwrap();
            let (town, deacon) = (town.again().unwrap(), Agent::deacon());
            let launch = town.launch(&deacon).unwrap();
            match (program(&town, &deacon, &launch), want) {
                (Some(_), Ok(())) => {}
                (None, Err(want)) => {
                    let (got, want) = (cure(&town, &deacon, command), want.replace("ROOT", &root));
                    assert!(got.starts_with(&want), "{command}: {got}");
                }
                (got, _) => panic!("{command} {env}: {got:?}"),
            }
        }
    }

    #[test]
    fn what_runs_a_script() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        for (text, want) in [
            ("#!/usr/bin/python3 -u\nx", Some("/usr/bin/python3")),
            ("#! /bin/sh", Some("/bin/sh")),
            ("#!/usr/bin/env node\n", Some("node")),
            ("#!/usr/bin/env -S A=b node --x\n", Some("node")),
            ("#!/usr/bin/env -u A node\n", None),
            ("#!/usr/bin/env ./own\n", None),
            ("#!bin/own\n", None),
            ("#!\n", None),
            ("echo\n", None),
            ("", None),
        ] {
            std::fs::write(&script, text).unwrap();
            assert_eq!(exec::interpreter(&script).as_deref(), want, "{text}");
        }
        assert_eq!(exec::interpreter(&dir.path().join("none")), None);
    }

    #[test]
    fn a_script_without_its_interpreter_is_not_found() {
        let deacon = Agent::deacon();
        for (line, want) in [
            ("#!/bin/sh", None),
            ("#!/usr/bin/env sh", None),
            ("#!/none/python", Some("'/none/python', which is to run '")),
            (
                "#!/usr/bin/env none-at-all",
                Some("'none-at-all', which is to run '"),
            ),
        ] {
            let own = r#"{"default_agent":"a","agents":{"a":{"command":"./own"}}}"#;
            let (_dir, town) = town_with(1, &[("deacon/own", line), (TOWN, own)]);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(town.path("deacon/own"), mode).unwrap();
            let told = by_itself(&town, &deacon).err();
            assert!(told.as_ref().is_none_or(|e| e.is::<Away>()));
            let told = told.map(|e| e.to_string());
            assert_eq!(told.is_some(), want.is_some(), "{told:?}");
            assert!(
                told.unwrap_or_default()
                    .starts_with(want.unwrap_or_default())
            );
        }
    }

    #[test]
    fn who_cannot_be_started() {
        let witness = Agent::parse("gastown/witness").unwrap();
        for (files, want) in [
            (
                &[(
                    TOWN,
                    r#"{"default_agent":"a","agents":{"a":{"command":"/bin/sh"}}}"#,
                )][..],
                "",
            ),
            (
                &[(TOWN, r#"{"default_agent":"cladue"}"#)],
                "names the agent \"cladue\"",
            ),
            (&[(TOWN, "{")], "settings/config.json"),
            (
                &[(
                    TOWN,
                    r#"{"default_agent":"a","agents":{"a":{"command":"/none"}}}"#,
                )],
                "The command '/none' is not found; mend the path in",
            ),
        ] {
            let (_dir, town) = town_with(1, files);
            std::fs::create_dir_all(town.path("gastown")).unwrap();
            let told = check(&town, &witness).err().map(|e| format!("{e:#}"));
            let told = told.unwrap_or_default();
            assert_eq!(told.is_empty(), want.is_empty(), "{told}");
            assert!(told.contains(want), "{told}");
        }
        let (_dir, town) = town_with(1, &[]);
        std::fs::remove_dir_all(town.path("gastown")).ok();
        assert!(check(&town, &witness).is_err());
    }
}

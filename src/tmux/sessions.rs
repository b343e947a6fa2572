//! Sessions and their panes: made, filled, and closed.

use std::path::Path;

use super::panes::{HOME, READY_ENV};
use super::server::{Tmux, TmuxError, argument, quoted};

/// The place of our commands among those of a hook: others, of people and of `gt`, have the first.
const HOOK: &str = "session-created[7641]";

impl Tmux {
    /// Gives the session of a pane another name.
    ///
    /// # Errors
    /// The pane is gone, the name is taken, or tmux fails.
    pub fn rename_session(&self, pane: &str, name: &str) -> Result<(), TmuxError> {
        self.run(&["rename-session", "-t", pane, "--", name])
            .map(drop)
    }

    /// Has the server write `file` whenever a session appears that `gt-agent` did not make. tmux
    /// does that itself, without a shell: what it writes is a buffer of that name.
    ///
    /// # Errors
    /// tmux fails.
    pub fn tell_of_sessions(&self, file: &Path) -> Result<(), TmuxError> {
        let file = quoted(&file.to_string_lossy().replace('#', "##"));
        let buffer = "-b gastown-session";
        let write =
            format!("set-buffer {buffer} new; save-buffer {buffer} {file}; delete-buffer {buffer}");
        let others = "#{?#{m:*gt-agent exec *,#{pane_start_command}},0,1}";
        let command = format!("if-shell -F '{others}' {}", quoted(&write));
        self.run(&["set-hook", "-g", HOOK, &command]).map(drop)
    }

    /// Makes a detached session whose pane runs `argv` in `dir`; gives the pane's id.
    ///
    /// # Errors
    /// The session exists, or tmux fails.
    pub fn new_session(
        &self,
        name: &str,
        dir: &Path,
        env: &[(String, String)],
        argv: &[String],
    ) -> Result<String, TmuxError> {
        let mut args: Vec<String> = ["new-session", "-d", "-P", "-F", "#{pane_id}"]
            .map(String::from)
            .to_vec();
        args.extend(["-s".into(), name.into(), "-x".into(), "200".into()]);
        args.extend(["-y".into(), "50".into()]);
        args.extend(["-c".into(), dir.to_string_lossy().into_owned()]);
        for (key, value) in env {
            args.extend(["-e".into(), format!("{key}={}", argument(value))]);
        }
        args.push("--".into());
        args.extend(argv.iter().map(|a| argument(a)));
        // A person's tmux.conf may have sessions destroyed that nobody is attached to.
        let target = format!("={name}:");
        args.extend(
            [
                ";",
                "set-option",
                "-t",
                &target,
                "destroy-unattached",
                "off",
            ]
            .map(String::from),
        );
        Ok(self.run(&args)?.trim().to_string())
    }

    /// Makes a window before all others of an existing session; gives its pane's id.
    ///
    /// # Errors
    /// The session is gone, or tmux fails.
    pub fn new_first_window(
        &self,
        session: &str,
        dir: &Path,
        argv: &[String],
    ) -> Result<String, TmuxError> {
        let target = format!("={session}:^");
        let dir = dir.to_string_lossy();
        let mut args = vec!["new-window", "-b", "-P", "-F", "#{pane_id}", "-t", &target];
        args.extend(["-c", &dir, "--"]);
        args.extend(argv.iter().map(String::as_str));
        Ok(self.run(&args)?.trim().to_string())
    }

    /// Runs `argv` in a pane, ending what runs there. What said that it is ready has ended then.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn respawn(&self, pane: &str, dir: &Path, argv: &[String]) -> Result<(), TmuxError> {
        let dir = dir.to_string_lossy();
        let mut args = vec!["set-environment", "-u", "-t", pane, READY_ENV, ";"];
        args.extend(["respawn-pane", "-k", "-t", pane, "-c", &dir, "--"]);
        args.extend(argv.iter().map(String::as_str));
        self.run(&args).map(drop)
    }

    /// Closes a pane, and its session with it when it is the last; a pane that is gone is closed.
    ///
    /// # Errors
    /// tmux fails.
    pub fn kill_pane(&self, pane: &str) -> Result<(), TmuxError> {
        match self.run(&["kill-pane", "-t", pane]) {
            Ok(_) | Err(TmuxError::NoServer | TmuxError::NotFound) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Sets a variable in the environment of a session, for processes that start later.
    ///
    /// # Errors
    /// The session is gone, or tmux fails.
    pub fn set_environment(&self, session: &str, key: &str, value: &str) -> Result<(), TmuxError> {
        let target = format!("={session}");
        self.run(&["set-environment", "-t", &target, key, &argument(value)])
            .map(drop)
    }

    /// Sets options of a session.
    ///
    /// # Errors
    /// The session is gone, or tmux fails.
    pub fn set_options(&self, session: &str, options: &[(&str, String)]) -> Result<(), TmuxError> {
        let target = format!("={session}:");
        let mut args: Vec<String> = Vec::new();
        for (name, value) in options {
            if !args.is_empty() {
                args.push(";".into());
            }
            args.extend(["set-option", "-t", &target, name].map(String::from));
            args.push(argument(value));
        }
        self.run(&args).map(drop)
    }

    /// Binds a key behind the prefix, on the whole server: in sessions in which an agent has, or
    /// had, its pane it runs a program, elsewhere a command of tmux.
    ///
    /// # Errors
    /// No server answers, or tmux fails.
    pub fn bind(&self, key: &str, program: &str, elsewhere: &str) -> Result<(), TmuxError> {
        let run = format!("run-shell {}", quoted(program));
        let condition = format!("#{{{HOME}}}");
        self.run(&[
            "bind-key", key, "if-shell", "-F", &condition, &run, elsewhere,
        ])
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tmux::lab::Lab;

    #[test]
    fn a_session_of_others_is_told_of_and_ours_is_not() {
        let lab = Lab::new("told");
        let tmux = &lab.0;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("it's #H of \"a\" $HOME;");
        tmux.tell_of_sessions(&file).unwrap();
        let ours = ["sh", "-c", "exec cat", "/x/gt-agent exec deacon /y"].map(String::from);
        tmux.new_session("ours", Path::new("/"), &[], &ours)
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!file.exists());
        tmux.new_session("theirs", Path::new("/"), &[], &["cat".to_string()])
            .unwrap();
        lab.wait("the file", |_| file.exists());
        assert_eq!(tmux.run(&["list-buffers"]).unwrap(), "");
    }
}

//! Sessions and their panes: made, filled, and closed.

use std::path::Path;

use super::panes::{HOME, PANE_FORMAT, Pane, READY_ENV, ownership, parse_pane};
use super::server::{Tmux, TmuxError, argument, quoted};

/// The place of our commands among those of a hook: others, of people and of `gt`, have the first.
const HOOK: &str = "session-created[7641]";

/// Where an agent's process is to run.
#[derive(Debug)]
pub enum Terminal<'a> {
    /// In a new detached session of that name.
    Session {
        /// The session's name.
        name: &'a str,
        /// Variables for all that is started in it.
        environment: &'a [(String, String)],
        /// What it looks like.
        dress: &'a Dress,
    },
    /// In a new window before all others of a session that is there.
    Window {
        /// The session's name.
        session: &'a str,
    },
    /// In a pane that is there, whose process is ended if it lives.
    Pane {
        /// tmux's own id of it.
        id: &'a str,
    },
}

/// What a session looks like to a person, and the keys that are bound for it on its server.
#[derive(Debug, Clone, Default)]
pub struct Dress {
    /// Its options, as name and value; one that tmux does not know is passed over.
    pub options: Vec<(&'static str, String)>,
    /// The keys.
    pub keys: Vec<Key>,
}

/// A key after the prefix.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name.
    pub key: &'static str,
    /// What tmux runs by a shell in the session of an agent; formats in it are expanded.
    pub program: String,
    /// tmux's own command in any other session.
    pub elsewhere: &'static str,
}

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

    /// Runs `argv` in `dir`, in the terminal of an agent, and gives its pane: all in one call. The
    /// pane is marked as the agent's, and outlives its process so that the status is kept; with
    /// `names_pane` the session's environment names it, too.
    ///
    /// # Errors
    /// The session exists, or the session or pane to be used is gone, or tmux fails.
    pub fn open(
        &self,
        terminal: &Terminal<'_>,
        instance: &str,
        names_pane: bool,
        dir: &Path,
        argv: &[String],
    ) -> Result<Pane, TmuxError> {
        let mut args: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| args.extend(words.iter().map(ToString::to_string));
        let print = ["-P", "-F", PANE_FORMAT];
        let target = match terminal {
            Terminal::Session {
                name, environment, ..
            } => {
                add(&["new-session", "-d", "-s", name, "-x", "200", "-y", "50"]);
                add(&print);
                for (key, value) in *environment {
                    add(&["-e", &format!("{key}={}", argument(value))]);
                }
                format!("={name}:")
            }
            Terminal::Window { session } => {
                add(&["new-window", "-b", "-t", &format!("={session}:^")]);
                add(&print);
                format!("={session}:")
            }
            Terminal::Pane { id } => {
                // What said that it is ready ends now.
                add(&["set-environment", "-u", "-t", id, READY_ENV, ";"]);
                add(&["respawn-pane", "-k", "-t", id]);
                id.to_string()
            }
        };
        add(&["-c", &argument(&dir.to_string_lossy()), "--"]);
        for word in argv {
            add(&[&argument(word)]);
        }
        add(&[";"]);
        if let Terminal::Session { dress, .. } = terminal {
            for (name, value) in &dress.options {
                let set = ["set-option", "-q", "-t", &target, name];
                add(&set);
                add(&[&argument(value), ";"]);
            }
            for key in &dress.keys {
                let run = format!("run-shell {}", quoted(&key.program));
                let condition = format!("#{{{HOME}}}");
                add(&["bind-key", key.key, "if-shell", "-F", &condition, &run]);
                add(&[key.elsewhere, ";"]);
            }
            // A person's tmux.conf may have sessions destroyed that nobody is attached to.
            add(&[
                "set-option",
                "-t",
                &target,
                "destroy-unattached",
                "off",
                ";",
            ]);
        }
        add(&ownership(&target, instance));
        if names_pane {
            let key = ["set-environment", "-F", "-t", &target, "GT_PANE_ID"];
            add(&[";"]);
            add(&key);
            add(&["#{pane_id}"]);
        }
        if let Terminal::Pane { id } = terminal {
            add(&[";", "display-message", "-p", "-t", id, PANE_FORMAT]);
        }
        parse_pane(self.run(&args)?.trim_end())
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

    /// Closes panes, in few calls; those that are gone are closed.
    ///
    /// # Errors
    /// tmux fails.
    pub fn kill_panes(&self, panes: &[String]) -> Result<(), TmuxError> {
        let closed = self.each_apart(panes.iter().map(|pane| {
            let commands = format!("kill-pane -t {}", quoted(pane));
            (pane.clone(), "1".to_string(), commands)
        }));
        match closed {
            Ok(_) | Err(TmuxError::NoServer) => Ok(()),
            Err(e) => Err(e),
        }
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

//! Sessions and their panes: made, filled, and closed.

use std::path::Path;

use super::panes::{HOME, PANE_FORMAT, Pane, READY_ENV, ownership, parse_pane};
use super::server::{Tmux, TmuxError, is_server, quoted, text};

/// The hook with the index of our command in it: people and `gt` use the first indexes.
const HOOK: &str = "session-created[7641]";

/// The pane that a window is made with: a hook of a person's tmux.conf may split it at once.
const FIRST: &str = ".{top-left}";

/// Where an agent's process is to run.
#[derive(Debug)]
pub enum Terminal<'a> {
    /// In a new detached session of that name.
    Session {
        /// The session's name.
        name: &'a str,
        /// Variables for all that is started in it.
        environment: &'a [(String, String)],
        /// What the session looks like.
        dress: &'a Dress,
    },
    /// In a new window, before all others, of an existing session.
    Window {
        /// The session's name.
        session: &'a str,
    },
    /// In an existing pane; a process that still runs there is ended.
    Pane {
        /// The pane's id.
        id: &'a str,
        /// The pid of the pane's server: the next server gives the same id to another pane.
        server: u32,
    },
}

/// What a session looks like to a person, and the keys that are bound for it on its server.
#[derive(Debug, Clone, Default)]
pub struct Dress {
    /// The session's options, as name and value; one that tmux does not know is passed over.
    pub options: Vec<(&'static str, String)>,
    /// The keys.
    pub keys: Vec<Key>,
}

/// A key after the prefix.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name.
    pub key: &'static str,
    /// The shell command that tmux runs for the key in an agent's session; it expands formats in
    /// it.
    pub program: String,
    /// The tmux command that it runs for the key in any other session.
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

    /// Has the server run `argv`, in the background, whenever a session appears that `gt-agent` did
    /// not make. (tmux must not write a file itself: if somebody put a FIFO there, the server would
    /// hang until it is read. tmux runs programs only by a shell, so `argv` is quoted for one.)
    ///
    /// # Errors
    /// tmux fails.
    pub fn tell_of_sessions(&self, argv: &[&str]) -> Result<(), TmuxError> {
        // A shell reads these quotes as tmux does.
        let words: Vec<String> = argv.iter().map(|word| quoted(word)).collect();
        // tmux would show the program's output or failure on top of the session.
        let line = format!("{} >/dev/null 2>&1 || :", words.join(" "));
        let run = format!("run-shell -b {}", quoted(&line.replace('#', "##")));
        let others = "#{?#{m:*gt-agent exec *,#{pane_start_command}},0,1}";
        let command = format!("if-shell -F '{others}' {}", quoted(&run));
        self.run(&["set-hook", "-g", HOOK, &command]).map(drop)
    }

    /// Runs `argv` in `dir`, in the terminal of an agent, and gives its pane, in one call. The pane
    /// is marked as the agent's and outlives its process, so that the exit status is kept. With
    /// `names_pane` the session's environment gets `GT_PANE_ID`.
    ///
    /// # Errors
    /// The session exists, or the session or pane to be used is gone or broken, or tmux fails.
    pub fn open(
        &self,
        terminal: &Terminal<'_>,
        instance: &str,
        names_pane: bool,
        dir: &Path,
        argv: &[String],
    ) -> Result<Pane, TmuxError> {
        let mut first: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| first.extend(words.iter().map(ToString::to_string));
        let target = match terminal {
            Terminal::Session {
                name, environment, ..
            } => {
                add(&["new-session", "-d", "-s", name, "-x", "200", "-y", "50"]);
                add(&["-P", "-F", PANE_FORMAT]);
                for (key, value) in *environment {
                    add(&["-e", &format!("{key}={value}")]);
                }
                format!("={name}:{FIRST}")
            }
            Terminal::Window { session } => {
                add(&["new-window", "-b", "-t", &format!("={session}:^")]);
                add(&["-P", "-F", PANE_FORMAT]);
                format!("={session}:{FIRST}")
            }
            Terminal::Pane { id, .. } => {
                add(&["respawn-pane", "-k", "-t", id]);
                id.to_string()
            }
        };
        add(&["-c", &dir.to_string_lossy(), "--"]);
        first.extend_from_slice(argv);
        let mut commands: Vec<Vec<String>> = Vec::new();
        let mut add =
            |words: &[&str]| commands.push(words.iter().map(ToString::to_string).collect());
        if let Terminal::Pane { id, .. } = terminal {
            // The process that said that it is ready ends now.
            add(&["set-environment", "-u", "-t", id, READY_ENV]);
        }
        add(&first.iter().map(String::as_str).collect::<Vec<_>>());
        if let Terminal::Session { dress, .. } = terminal {
            for (name, value) in &dress.options {
                add(&["set-option", "-q", "-t", &target, name, value]);
            }
            for key in &dress.keys {
                let run = format!("run-shell {}", quoted(&key.program));
                let condition = format!("#{{{HOME}}}");
                let bind = ["bind-key", key.key, "if-shell", "-F"];
                add(&[&bind[..], &[&condition, &run, key.elsewhere]].concat());
            }
            // A person's tmux.conf may tell tmux to destroy sessions that nobody is attached to.
            add(&["set-option", "-t", &target, "destroy-unattached", "off"]);
        }
        for command in ownership(&target, instance) {
            add(&command);
        }
        if names_pane {
            let set = ["set-environment", "-F", "-t", &target, "GT_PANE_ID"];
            add(&[&set[..], &["#{pane_id}"]].concat());
        }
        let Terminal::Pane { id, server } = *terminal else {
            return parse_pane(self.run_all(&commands)?.trim_end());
        };
        // See [`Pane::is_broken`].
        let may_be = format!("#{{&&:{},#{{!=:#{{pane_pid}},-1}}}}", is_server(server));
        let commands = text(&commands);
        let bound = ["if-shell", "-F", "-t", id, &may_be, &commands];
        let show = ["display-message", "-p", "-t", id, PANE_FORMAT];
        let pane = parse_pane(self.run_all(&[bound.to_vec(), show.to_vec()])?.trim_end())?;
        match pane.server == server && !pane.is_broken() {
            true => Ok(pane),
            false => Err(TmuxError::NotFound),
        }
    }

    /// Takes those hooks out of a pane's window that respawn a pane whose program has ended, as gt makes
    /// them for Mayor and Deacon: the agent's unit knows when it is started again.
    ///
    /// # Errors
    /// The pane is gone, or tmux fails.
    pub fn end_respawns(&self, pane: &str) -> Result<(), TmuxError> {
        let hooks = self.run(&["show-hooks", "-w", "-t", pane])?;
        let respawns = hooks.lines().filter_map(|line| {
            let (name, command) = line.split_once(' ')?;
            (name.starts_with("pane-died") && command.contains("respawn-pane")).then_some(name)
        });
        for name in respawns {
            self.run(&["set-hook", "-u", "-w", "-t", pane, name])?;
        }
        Ok(())
    }

    /// Closes panes, each given by its id and the pid of its server, in few calls. A session ends
    /// with its last pane. A pane that is gone counts as closed.
    ///
    /// # Errors
    /// tmux fails.
    pub fn kill_panes(&self, panes: &[(&str, u32)]) -> Result<(), TmuxError> {
        let closed = self.each_apart(panes.iter().map(|(pane, server)| {
            let commands = format!("kill-pane -t {}", quoted(pane));
            (pane.to_string(), is_server(*server), commands)
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
    fn a_pane_of_another_server_is_left_alone() {
        let lab = Lab::new("another");
        let tmux = &lab.0;
        let before = tmux.panes().unwrap();
        let server = before[0].server;
        let respawn = |server| {
            let pane = Terminal::Pane { id: "%0", server };
            let cat = ["sh", "-c", "exec cat", "it's;"].map(String::from);
            tmux.open(&pane, "lab", true, Path::new("/"), &cat)
        };
        assert!(matches!(respawn(server + 1), Err(TmuxError::NotFound)));
        tmux.kill_panes(&[("%0", server + 1)]).unwrap();
        assert_eq!(tmux.screen("%0", server + 1, 9).unwrap(), "");
        assert_eq!(tmux.panes().unwrap(), before);
        let after = respawn(server).unwrap();
        assert_eq!(tmux.panes().unwrap(), std::slice::from_ref(&after));
        assert!(after.pid != before[0].pid && after.owner.as_deref() == Some("lab"));
        let environment = tmux.run(&["show-environment", "-t", "%0"]).unwrap();
        assert!(environment.contains("GT_PANE_ID=%0"));
        tmux.kill_panes(&[("%9", server), ("%0", server)]).unwrap();
        lab.wait("the end of the pane", |tmux| {
            tmux.panes().is_ok_and(|panes| panes.is_empty())
        });
    }

    #[test]
    fn a_pane_that_a_hook_opens_beside_it_is_not_the_agents() {
        let lab = Lab::new("split");
        let tmux = &lab.0;
        for hook in ["after-new-session", "after-new-window"] {
            tmux.run(&["set-hook", "-g", hook, "split-window cat"])
                .unwrap();
        }
        let (environment, dress) = ([], Dress::default());
        let session = Terminal::Session {
            name: "own",
            environment: &environment,
            dress: &dress,
        };
        for terminal in [session, Terminal::Window { session: "own" }] {
            let cat = ["sh", "-c", "exec cat", "lab;"].map(String::from);
            let made = tmux.open(&terminal, "lab", true, Path::new("/"), &cat);
            let made = made.unwrap();
            let panes = tmux.panes().unwrap();
            let owned = panes.iter().filter(|pane| pane.owner.is_some());
            let owned: Vec<&str> = owned.map(|pane| pane.id.as_str()).collect();
            assert_eq!(owned, [&made.id]);
            let environment = tmux.run(&["show-environment", "-t", "=own:"]).unwrap();
            assert!(environment.contains(&format!("GT_PANE_ID={}\n", made.id)));
            tmux.run(&["set-option", "-pu", "-t", &made.id, "@gastown_agent"])
                .unwrap();
        }
    }

    #[test]
    fn only_the_unit_starts_an_agent_again() {
        let lab = Lab::new("respawns");
        let tmux = &lab.0;
        let respawn = "run-shell -b 'sleep 3 && tmux respawn-pane -k -t =first: || true'";
        for (name, command) in [
            ("pane-died[0]", respawn),
            ("pane-died[1]", "run-shell 'gt log crash'"),
            ("pane-exited[0]", "display-message respawn-pane"),
        ] {
            tmux.run(&["set-hook", "-w", "-t", "%0", name, command])
                .unwrap();
        }
        tmux.end_respawns("%0").unwrap();
        let left = tmux.run(&["show-hooks", "-w", "-t", "%0"]).unwrap();
        let left: Vec<&str> = left
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        assert_eq!(left, ["pane-died[1]", "pane-exited[0]"]);
        tmux.end_respawns("%0").unwrap();
    }

    #[test]
    fn a_session_of_others_is_told_of_and_ours_is_not() {
        let lab = Lab::new("told");
        let tmux = &lab.0;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("it's #H of \"a\" $HOME;");
        tmux.tell_of_sessions(&["touch", file.to_str().unwrap()])
            .unwrap();
        let ours = ["sh", "-c", "exec cat", "/x/gt-agent exec deacon /y"].map(String::from);
        tmux.new_session("ours", Path::new("/"), &[], &ours)
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!file.exists());
        tmux.new_session("theirs", Path::new("/"), &[], &["cat".to_string()])
            .unwrap();
        lab.wait("the file", |_| file.exists());
    }

    #[test]
    fn nobody_waits_for_what_is_told_of_a_session() {
        let lab = Lab::new("told-late");
        let tmux = &lab.0;
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let wait = ["sh", "-c", ": >\"$0\"; false", fifo.to_str().unwrap()];
        tmux.tell_of_sessions(&wait).unwrap();
        let theirs = tmux.new_session("theirs", Path::new("/"), &[], &["cat".to_string()]);
        let pane = theirs.unwrap();
        assert_eq!(tmux.panes().unwrap().len(), 2);
        // What waits ends with its reader; that it failed is not shown over the session's screen.
        let (done, read) = std::sync::mpsc::channel();
        std::thread::spawn(move || done.send(std::fs::read(&fifo).unwrap()));
        read.recv_timeout(std::time::Duration::from_secs(20))
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let mode = tmux.run(&["display-message", "-p", "-t", &pane, "#{pane_in_mode}"]);
        assert_eq!(mode.unwrap().trim(), "0");
    }
}

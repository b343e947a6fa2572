//! A tmux server for a test.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::sessions::Terminal;
use super::{Tmux, TmuxError};
use crate::tools;

/// What a person's server has been told.
const CONF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tmux.conf");

/// A server that only one test uses, and that ends with the test.
pub(super) struct Lab(pub(super) Tmux);

impl Lab {
    pub(super) fn new(name: &str) -> Lab {
        static LABS: AtomicU32 = AtomicU32::new(0);
        // Tests run at the same time, and may have the same name.
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let socket = format!("gt-test-{name}-{}-{number}", std::process::id());
        let lab = Lab(Tmux::on(&socket));
        let mut command = lab.0.command();
        command.args(["-f", CONF, "new-session", "-d", "-s", "first", "cat"]);
        assert!(command.status().unwrap().success());
        lab
    }

    /// Ends what runs in a pane, and runs `argv` there.
    pub(super) fn respawn(&self, id: &str, argv: &[String]) -> Result<(), TmuxError> {
        let server = self.0.server()?.expect("a server");
        let pane = Terminal::Pane { id, server };
        self.0
            .open(&pane, "lab", false, Path::new("/"), argv)
            .map(drop)
    }

    /// Has the server fail to fork for a pane that it respawns: it may open too few files for that.
    pub(super) fn break_pane(&self, id: &str) {
        let server = self.0.server().unwrap().expect("a server");
        let pid = Pid::from_raw(server.cast_signed());
        let maximum = getrlimit(Resource::Nofile).maximum;
        let allow = |current| {
            let limit = Rlimit { current, maximum };
            prlimit(pid, Resource::Nofile, limit).unwrap().current
        };
        let is_used = |file: &u64| Path::new(&format!("/proc/{server}/fd/{file}")).is_symlink();
        let used = (0..).take_while(is_used).count() as u64;
        let list = ["list-panes", "-t", id, "-F", "#{pane_pid}"];
        for files in used..used + 9 {
            let before = allow(Some(files));
            let mut command = self.0.command();
            command.args(["-N", "respawn-pane", "-k", "-t", id, "cat"]);
            // Without a file to spare, the server does not even answer.
            let _ = tools::run(&mut command, Duration::from_secs(1));
            allow(before);
            if self.0.run(&list).unwrap().trim() == "-1" {
                return;
            }
        }
        panic!("{id} is not broken");
    }

    pub(super) fn wait(&self, what: &str, done: impl Fn(&Tmux) -> bool) {
        for _ in 0..400 {
            if done(&self.0) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{what} did not happen");
    }
}

impl Tmux {
    /// Makes a session that belongs to no agent; gives its pane's id.
    pub(super) fn new_session(
        &self,
        name: &str,
        dir: &Path,
        env: &[(String, String)],
        argv: &[String],
    ) -> Result<String, TmuxError> {
        let mut args: Vec<String> = ["new-session", "-d", "-P", "-F", "#{pane_id}", "-s", name]
            .map(String::from)
            .to_vec();
        args.extend(["-c".into(), dir.display().to_string(), "-x".into()]);
        args.extend(["200", "-y", "50"].map(String::from));
        for (key, value) in env {
            args.extend(["-e".into(), format!("{key}={value}")]);
        }
        args.push("--".into());
        args.extend(argv.iter().cloned());
        Ok(self.run(&args)?.trim().to_string())
    }

    /// Sets a variable in the environment of a session.
    pub(super) fn set_environment(
        &self,
        session: &str,
        key: &str,
        value: &str,
    ) -> Result<(), TmuxError> {
        let target = format!("={session}");
        self.run(&["set-environment", "-t", &target, key, value])
            .map(drop)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.0.run(&["kill-server"]);
    }
}

//! A tmux server of its own for a test.

use std::time::Duration;

use super::Tmux;

/// A server of its own for a test, ended with it.
pub(super) struct Lab(pub(super) Tmux);

impl Lab {
    pub(super) fn new(name: &str) -> Lab {
        let lab = Lab(Tmux::on(&format!("gt-test-{name}-{}", std::process::id())));
        let mut command = lab.0.command();
        command.args(["-f", "/dev/null", "new-session", "-d", "-s", "first", "cat"]);
        assert!(command.status().unwrap().success());
        lab
    }

    pub(super) fn wait(&self, what: &str, done: impl Fn(&Tmux) -> bool) {
        for _ in 0..100 {
            if done(&self.0) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{what} did not happen");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.0.run(&["kill-server"]);
    }
}

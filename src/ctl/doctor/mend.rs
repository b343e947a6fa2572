//! What `--fix` does.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::ctl::user;
use crate::files;
use crate::systemd::{Systemd, Verb};
use crate::tools;
use crate::town::Town;

/// How long one mend may take.
const LIMIT: Duration = Duration::from_secs(15);

/// One thing to mend: nothing that starts, stops or forgets anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    Linger,
    Reload,
    Spool(String),
    Timer(String),
}

impl Mend {
    /// Mends it, and says what was done.
    ///
    /// # Errors
    /// It cannot be mended; the error names the next step.
    pub fn apply(&self) -> Result<String> {
        match self {
            Mend::Linger => {
                let user = user::name();
                let mut command = Command::new(tools::of_system("loginctl"));
                command.args(["--no-ask-password", "enable-linger", &user]);
                // loginctl's exit status says little: look whether the state has changed.
                let said = tools::run(&mut command, LIMIT).map_err(|e| anyhow!("loginctl {e}"))?;
                if user::is_lingering() != Some(true) {
                    bail!(
                        "Failed to enable linger: {}; run 'loginctl enable-linger {user}' as root",
                        said.complaint()
                    );
                }
                Ok(format!("Enabled linger for {user}"))
            }
            Mend::Reload => {
                Systemd::connect()?.reload()?;
                Ok("Reloaded the unit files".into())
            }
            Mend::Spool(dir) => {
                let path = Town::load()?.path(dir);
                files::make_dir(&path)?;
                files::make_private(&path)?;
                Ok(format!("Made '{}' fit", path.display()))
            }
            Mend::Timer(name) => {
                let systemd = Systemd::connect()?;
                systemd.run(Verb::Restart, name, LIMIT)?;
                Ok(format!("Restarted {name}"))
            }
        }
    }
}

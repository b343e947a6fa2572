//! gastownctl: operate a Gas Town that is kept alive by systemd.

use gastown::ctl::{self, cli::Cli};
use gastown::exit;

fn main() -> std::process::ExitCode {
    gastown::journal::init_command("gastownctl");
    match exit::parse::<Cli>() {
        Ok(cli) => exit::report(ctl::run(&cli)),
        Err(status) => status,
    }
}

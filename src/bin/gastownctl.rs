//! gastownctl: operate a Gas Town that is kept alive by systemd.

use clap::Parser;
use gastown::ctl::{self, cli::Cli};

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    gastown::journal::init("gastownctl");
    gastown::exit::report(ctl::run(&cli))
}

//! gt-lifecycle: executes requests to cycle, restart or shut down agents. Run by
//! gt-lifecycle.path and by each tick.

use std::process::ExitCode;

use clap::Parser;
use gastown::{exit, lifecycle};

#[derive(Parser)]
#[command(
    version,
    about = "Executes requests to cycle, restart or shut down agents"
)]
#[command(
    after_help = "Run by systemd; see gt-lifecycle(8). 'gastownctl request' writes a request."
)]
struct Cli {}

fn main() -> ExitCode {
    let Cli {} = Cli::parse();
    gastown::journal::init("gt-lifecycle");
    exit::report(lifecycle::run())
}

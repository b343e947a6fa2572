//! gt-spawn-trigger: tells spawned polecats to begin when they are ready. Run by
//! gt-spawn-trigger.path, by each tick, and by its own timer while any waits.

use std::process::ExitCode;

use clap::Parser;
use gastown::{exit, spawn};

#[derive(Parser)]
#[command(
    version,
    about = "Tells spawned polecats to begin, once each, when they are ready"
)]
#[command(
    after_help = "Run by systemd; see gt-spawn-trigger(8). 'gastownctl status' shows what waits."
)]
struct Cli {}

fn main() -> ExitCode {
    let Cli {} = Cli::parse();
    gastown::journal::init("gt-spawn-trigger");
    exit::report(spawn::run())
}

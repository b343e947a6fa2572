//! gastown-generator: points path units at GT_TOWN_ROOT. Run by the user manager at every reload.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use gastown::exit::{self, Exit};
use gastown::{generator, town};

fn main() -> ExitCode {
    gastown::journal::init("gastown-generator");
    exit::report(run())
}

fn run() -> Result<Exit> {
    let dirs: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [normal, _early, _late] = dirs.as_slice() else {
        bail!("Usage: gastown-generator NORMAL-DIR EARLY-DIR LATE-DIR; see systemd.generator(7)");
    };
    generator::generate(&town::env_file::locate()?.root, &town::home()?, normal)?;
    Ok(Exit::Ok)
}

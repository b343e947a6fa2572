//! `gastownctl tick`: has a tick look after the agents now.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::cli;
use super::output::say;
use super::status::last_end;
use crate::exit::Exit;
use crate::systemd::{Properties, Systemd, Unit, Verb};

const UNIT: &str = "gt-heartbeat.service";

/// How long a tick may take: the limit of its unit, and a reserve.
const LIMIT: Duration = Duration::from_secs(330);

/// The first and the longest pause between two looks whether the tick has ended: pauses grow, so
/// that many who wait do not keep the manager busy.
const POLL: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

/// Waits for a tick that is under way, starts another, and waits for that.
///
/// # Errors
/// There is no manager, the town is stopped, or the tick fails or does not end.
pub fn run(args: cli::Change) -> Result<Exit> {
    let systemd = Systemd::connect()?;
    if !systemd.town_is_up()? {
        bail!("The town is stopped; run 'gastownctl up' first");
    }
    if args.dry_run {
        say("Would do what 'gastownctl plan' shows")?;
        return Ok(Exit::Ok);
    }
    ended(&systemd)?;
    systemd.reset_failed(UNIT)?;
    systemd.run(Verb::Start, UNIT, LIMIT)?;
    let after = ended(&systemd)?;
    if after.text("Result").as_deref() != Some("success") {
        bail!(
            "The tick failed: {}; see 'journalctl --user -u {UNIT}'",
            last_end(&after)
        );
    }
    say("The tick is done; see 'gastownctl history'")?;
    Ok(Exit::Ok)
}

/// Waits until no tick runs; gives the properties of the tick's unit.
fn ended(systemd: &Systemd) -> Result<Properties> {
    let deadline = Instant::now() + LIMIT;
    let [mut pause, longest] = POLL;
    loop {
        let units = systemd.units(&[UNIT])?;
        if units.get(UNIT).is_none_or(Unit::is_down) {
            return systemd.properties(UNIT);
        }
        if Instant::now() >= deadline {
            bail!("A tick does not end; see 'systemctl --user status {UNIT}'");
        }
        std::thread::sleep(pause);
        pause = (2 * pause).min(longest);
    }
}

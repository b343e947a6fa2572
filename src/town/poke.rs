//! `daemon/poke`: whoever writes a file there has a tick run. `gt-heartbeat.path` watches it.

use std::path::Path;

/// The directory, below the town's root.
pub const DIR: &str = "daemon/poke";

/// Has a tick run soon, for an agent that has ended and is to come back later. The regular tick
/// does the same, so nothing depends on it, and it need not be durable.
pub fn heartbeat(root: &Path) {
    let file = root.join(DIR).join("agent");
    if let Err(e) = std::fs::write(&file, "") {
        log::debug!("Failed to write '{}': {e}", file.display());
    }
}

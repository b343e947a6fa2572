//! Gas Town, kept alive by systemd: every agent is a unit, and small programs
//! started by timers and path units do what a polling daemon used to do.
//!
//! The map, one line per room:
//!
//! - [`files`]: careful reads and durable writes of small files.

pub mod files;

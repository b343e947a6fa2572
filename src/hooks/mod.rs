//! What agents say of themselves: their programs' hooks call `gastownctl report`, and the tick
//! holds that against what their terminals show.
//!
//! - [`report`]: one report, as it is kept in its pane.
//! - [`events`]: what an event of a program's hooks says.
//! - [`config`]: what to write into a program's configuration, and taking it out again.

pub mod config;
pub mod events;
pub mod report;

//! gt-heartbeat: not written yet.
fn main() {}

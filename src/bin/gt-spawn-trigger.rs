//! gt-spawn-trigger: not written yet.
fn main() {}

//! gt-agent: not written yet.
fn main() {}

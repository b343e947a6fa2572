//! gastown-generator: not written yet.
fn main() {}

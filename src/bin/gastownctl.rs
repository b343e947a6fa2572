//! gastownctl: not written yet.
fn main() {}

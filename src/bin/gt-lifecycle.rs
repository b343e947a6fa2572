//! gt-lifecycle: not written yet.
fn main() {}

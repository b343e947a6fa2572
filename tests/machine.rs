//! What `cargo test` alone leaves out, so that it says so.

use std::process::Command;

#[test]
#[ignore = "tests/machine/* and tests/vm/* need booted Debian machines and root: run tests/run"]
fn machine_tests() {
    for args in [
        &["--machine", "bookworm"][..],
        &["--machine", "trixie"],
        &["--vm"],
    ] {
        let status = Command::new("tests/run").args(args).status().unwrap();
        assert!(status.success(), "tests/run {args:?}");
    }
}

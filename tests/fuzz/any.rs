//! Any of the targets, by its name in the environment variable TARGET.

#![no_main]

mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use targets::{TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.0 == name);
    target.expect("TARGET is the name of a target")
});

fuzz_target!(|text: &str| TARGET.1(text));

//! Hostile texts for everything that reads what others have written: the corpus, and mutations of
//! it. None may panic, take more than a second of processor time, or more than 64 MiB.
//!
//! `cargo test` tries a thousand for each target. More, by command, with the number for all
//! targets together:
//!
//! ```text
//! FUZZ=10000000 cargo test --release --test fuzz -- --nocapture
//! ```
//!
//! What fails is written to `target/fuzz-TARGET`; put it into `tests/corpus/TARGET/` when it is
//! mended. cargo-fuzz looks for more texts to put there, see `tests/fuzz/Cargo.toml`.

#![allow(clippy::unwrap_used)]

#[path = "fuzz/targets.rs"]
mod targets;

use std::alloc::System;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cap::Cap;
use nix::time::{ClockId, clock_gettime};
use targets::{TARGETS, Target};

/// The most that one text may take, in bytes.
const MEMORY: usize = 64 << 20;

/// Without optimisation everything takes longer, and a run is to be short.
const SLOW: usize = if cfg!(debug_assertions) { 64 } else { 1 };

/// The longest that one text may take, in processor time.
const LIMIT: Duration = Duration::from_secs(SLOW as u64);

/// The longest mutated text, in bytes.
const LENGTH: usize = 16 << 10;

/// The longest file that is read, in bytes, and of what it is made.
const LONGEST: usize = gastown::files::CONFIG_LIMIT as usize;
#[rustfmt::skip]
const LONG: &[&str] = &[
    "[", "{\"a\":", "\"", "a", "\n", "a\n", "A=1\n", "\u{1b}[1m", "❯ a\n", "[a]\n", "a.", "(", "/a", "a=[",
];

/// Counts what is in use; who takes more than the limit is ended.
#[global_allocator]
static MEMORY_IN_USE: Cap<System> = Cap::new(System, usize::MAX);

/// What parsers care about.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "{", "}", "[", "]", "\"", ":", ",", "null", "true", "false", "0", "-1", "1e999", "1.5", "9223372036854775807",
    "18446744073709551616", "\"\\ud800\"", "\\u0000", "2026-01-16T10:00:00Z", "-009999-01-02T01:59:59Z", "9999-12-31T23:59:59Z", "../",
    "/", "-", "\\x2d", "%n", "$(", "`", ";", "#{", "\n", "\r\n", "\t", "\0", "\u{1b}[31m", "\u{1b}]0;", "\u{202e}", "\u{feff}", "\u{ff}", "é",
    "999999999999h", "1ns", "=", "'", "export ", " ", "crew", "polecats", "witness", "deacon", "❯ ", "> ", "│", "─────", "(y/n)", "esc to cancel",
];

/// Xorshift: fast, and the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let begin = self.below(len + 1);
        // Short ones are more likely.
        let most = [1, 4, 32, len][self.below(4)];
        begin..(begin + self.below(most + 1)).min(len)
    }
}

fn mutated(texts: &[Vec<u8>], dice: &mut Dice, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&texts[dice.below(texts.len())]);
    for _ in 0..=dice.below(6) {
        let range = dice.range(out.len());
        match dice.below(7) {
            0 => drop(out.drain(range)),
            1 => {
                let word = WORDS[dice.below(WORDS.len())];
                drop(out.splice(range, word.bytes()));
            }
            2 => {
                let times = 1 + dice.below(5);
                let part = out[range.clone()].repeat(times);
                drop(out.splice(range, part));
            }
            3 => {
                let other = &texts[dice.below(texts.len())];
                let part = other[dice.range(other.len())].to_vec();
                drop(out.splice(range, part));
            }
            4 if !range.is_empty() => out[range.start] ^= 1 << dice.below(8),
            5 => {
                let other = dice.range(out.len());
                let part = out[other].to_vec();
                drop(out.splice(range, part));
            }
            _ => out.insert(range.start, dice.below(256) as u8),
        }
    }
    out.truncate(LENGTH);
}

/// The target's texts: its own, and those of `tests/corpus` and of what real programs have shown.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut texts: Vec<Vec<u8>> = target
        .2
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    texts.extend(below(&tests.join("corpus").join(target.0)));
    match target.0 {
        "screen" => texts.extend(below(&tests.join("screens"))),
        "mails" | "beads" | "release" => texts.extend(below(&tests.join("fixtures"))),
        _ => {}
    }
    texts
}

fn below(dir: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = dir
        .read_dir()
        .into_iter()
        .flatten()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    let content = |path: PathBuf| {
        if path.is_dir() {
            below(&path)
        } else {
            vec![std::fs::read(path).unwrap()]
        }
    };
    paths.into_iter().flat_map(content).collect()
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// Tries one text. What fails is kept.
fn attempt(target: &Target, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let begin = processor_time();
    let tried = catch_unwind(AssertUnwindSafe(|| target.1(&text)));
    let took = processor_time().saturating_sub(begin);
    if tried.is_err() || took > LIMIT {
        let kept = format!("{}/fuzz-{}", env!("CARGO_TARGET_TMPDIR"), target.0);
        std::fs::write(&kept, bytes).unwrap();
        panic!("'{}' does not take '{kept}', in {took:?}", target.0);
    }
}

fn run(target: &Target, times: usize) {
    let texts = corpus(target);
    texts.iter().for_each(|text| attempt(target, text));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ times as u64);
    let mut bytes = Vec::new();
    for _ in 0..times {
        mutated(&texts, &mut dice, &mut bytes);
        attempt(target, &bytes);
    }
}

#[test]
fn whatever_is_read() {
    let all: usize = std::env::var("FUZZ").map_or(1000 * TARGETS.len(), |n| n.parse().unwrap());
    MEMORY_IN_USE
        .set_limit(MEMORY_IN_USE.allocated() + MEMORY)
        .unwrap();
    // What is as long as a file may be, and nested as deep as it can be.
    for target in TARGETS {
        for part in LONG {
            let text = part.repeat(LONGEST / SLOW / part.len());
            attempt(target, text.as_bytes());
        }
    }
    let tried = AtomicU64::new(0);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(target) = TARGETS.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                {
                    let times = all.div_ceil(TARGETS.len());
                    let begin = processor_time();
                    run(target, times);
                    tried.fetch_add(times as u64, Ordering::Relaxed);
                    println!("{}: {times} in {:.1?}", target.0, processor_time() - begin);
                }
            });
        }
    });
    println!("{} executions", tried.into_inner());
}

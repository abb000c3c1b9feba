//! The corpus and the descriptions, without a fuzzer: `cargo test` in this folder.

use std::fs;
use std::path::{Path, PathBuf};

use arbitrary::{Arbitrary, Unstructured};
use maplog_fuzz::folder::segments;
use maplog_fuzz::forge::{describe, forge};
use maplog_fuzz::recipe::Recipe;
use maplog_fuzz::{open_bytes, ops};

fn fuzz() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn understood<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> T {
    T::arbitrary_take_rest(Unstructured::new(bytes)).unwrap()
}

fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(fuzz().join("corpus").join(target)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// So that the fuzzer starts from real logs and not from something that looks like them.
#[test]
fn descriptions_of_the_golden_logs_give_their_very_bytes() {
    let mut logs = 0;
    for entry in fs::read_dir(fuzz().join("../tests/golden")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let files = segments(&path);
            let recipe = describe(&files).unwrap();
            assert!(forge(&recipe) == files, "{}", path.display());
            assert!(understood::<Recipe>(&recipe.encode()) == recipe, "{}", path.display());
            logs += 1;
        }
    }
    assert_eq!(logs, 6);
}

#[test]
fn every_input_of_the_corpus_of_open_bytes_passes() {
    let inputs = inputs("open_bytes");
    for (path, bytes) in &inputs {
        println!("{}", path.display());
        open_bytes::run(&understood(bytes));
    }
    assert!(inputs.len() >= 6);
}

#[test]
fn every_input_of_the_corpus_of_ops_passes() {
    let inputs = inputs("ops");
    for (path, bytes) in &inputs {
        println!("{}", path.display());
        ops::run(&understood(bytes));
    }
    assert!(!inputs.is_empty());
}

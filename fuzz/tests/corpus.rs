//! The corpus and the descriptions, without a fuzzer: `cargo test` in this folder.

use std::fs;
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use maplog_fuzz::case::Case;
use maplog_fuzz::folder::segments;
use maplog_fuzz::forge::{case, describe, forge};
use maplog_fuzz::recipe::Recipe;
use maplog_fuzz::{fixed, open_bytes, ops};

fn fuzz() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn understood<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> T {
    T::arbitrary_take_rest(Unstructured::new(bytes)).unwrap()
}

fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    fixed::inputs(&fuzz().join("corpus").join(target))
}

/// So that the fuzzer starts from real logs and not from something that looks like them.
#[test]
fn golden_logs_written_down_and_described_give_their_very_bytes() {
    let mut logs = 0;
    for entry in fs::read_dir(fuzz().join("../tests/golden")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let files = segments(&path);
            let recipe = describe(&files).unwrap();
            assert!(forge(&recipe) == files, "{}", path.display());
            assert!(understood::<Recipe>(&recipe.encode()) == recipe, "{}", path.display());
            let case = Case { files, page: Some(Vec::new()), appends: vec![7], gets: vec![8, 9] };
            assert!(Case::decode(&case.encode()) == case, "{}", path.display());
            logs += 1;
        }
    }
    assert_eq!(logs, 6);
}

#[test]
fn every_input_of_the_corpus_of_open_bytes_passes() {
    let inputs = inputs("open_bytes");
    for (path, bytes) in &inputs {
        println!("{path}");
        open_bytes::run(&Case::decode(bytes));
    }
    assert!(inputs.len() >= 12);
}

#[test]
fn every_input_of_the_corpus_of_open_described_passes() {
    let inputs = inputs("open_described");
    for (path, bytes) in &inputs {
        println!("{path}");
        open_bytes::run(&case(&understood(bytes)));
    }
    assert!(inputs.len() >= 6);
}

#[test]
fn every_input_of_the_corpus_of_ops_passes() {
    let inputs = inputs("ops");
    for (path, bytes) in &inputs {
        println!("{path}");
        ops::run(&understood(bytes));
    }
    assert!(!inputs.is_empty());
}

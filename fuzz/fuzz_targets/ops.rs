//! Operations, with crashes between them: see `maplog_fuzz::ops`.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use maplog_fuzz::fixed;

fuzz_target!(|script: maplog_fuzz::ops::Script| maplog_fuzz::ops::run(&script));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    fixed::mutated(&mut data[..max_size], fixed::change_bytes, |data| {
        fuzzer_mutate(data, size, max_size)
    })
});

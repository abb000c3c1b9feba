//! A log described field by field, opened: see `maplog_fuzz::open_bytes` and `maplog_fuzz::recipe`.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use maplog_fuzz::fixed;

fuzz_target!(|recipe: maplog_fuzz::recipe::Recipe| maplog_fuzz::open_bytes::run(
    &maplog_fuzz::forge::case(&recipe)
));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, _seed: u32| {
    fixed::mutated(&mut data[..max_size], fixed::change_bytes, |data| {
        fuzzer_mutate(data, size, max_size)
    })
});

//! Whole files, opened: see `maplog_fuzz::open_bytes`, and `maplog_fuzz::mutate` for how they change.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use maplog_fuzz::case::Case;
use maplog_fuzz::mutate::mutate;
use maplog_fuzz::{fixed, open_bytes};

fuzz_target!(|bytes: &[u8]| open_bytes::run(&Case::decode(bytes)));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = |one: &[u8], random: &mut _, change_bytes: &mut dyn FnMut(&mut [u8], &mut _)| {
        let mut case = Case::decode(one);
        mutate(&mut case, random, change_bytes);
        case.encode()
    };
    fixed::mutated(
        &mut data[..max_size],
        |one, _, random| changed(one, random, &mut |bytes, random| random.fill(bytes)),
        |data| {
            let mut random = fastrand::Rng::with_seed(seed.into());
            let bytes = changed(&data[..size], &mut random, &mut |bytes, _| {
                // It may give fewer back; the rest stays.
                fuzzer_mutate(bytes, bytes.len(), bytes.len());
            });
            // What became too long stays as it was.
            match data.get_mut(..bytes.len()) {
                Some(place) => {
                    place.copy_from_slice(&bytes);
                    bytes.len()
                }
                None => size,
            }
        },
    )
});

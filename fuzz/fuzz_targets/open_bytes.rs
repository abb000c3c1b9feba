//! Whole files, opened: see `maplog_fuzz::open_bytes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|recipe: maplog_fuzz::recipe::Recipe| {
    maplog_fuzz::open_bytes::run(&recipe);
});

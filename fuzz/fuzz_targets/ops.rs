//! Operations, with crashes between them: see `maplog_fuzz::ops`.
#![no_main]

libfuzzer_sys::fuzz_target!(|script: maplog_fuzz::ops::Script| {
    maplog_fuzz::ops::run(&script);
});

//! What the fuzz targets do, as a library: so that `cargo test` replays their corpus without a fuzzer.

pub mod case;
pub mod fixed;
pub mod folder;
pub mod forge;
pub mod judge;
pub mod live;
pub mod mutate;
pub mod open_bytes;
pub mod ops;
pub mod recipe;
pub mod second;
pub mod ways;

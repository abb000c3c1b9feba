//! The tests' second reader, which is written from docs/format.md alone and shares no line with the crate:
//! the truth that the targets hold maplog to.
#![allow(dead_code)]

#[path = "../../tests/it/golden/format.rs"]
pub mod format;
#[path = "../../tests/it/golden/reader.rs"]
pub mod reader;

pub mod script {
    use std::collections::BTreeMap;

    /// The segment files of a log: name and bytes.
    pub type Files = BTreeMap<String, Vec<u8>>;
}

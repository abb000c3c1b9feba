//! The names of a log's files. A segment's name says its base sequence number and its id, so that a
//! directory listing alone shows which segment holds what.

const SUFFIX: &str = ".seg";
const BASE_DIGITS: usize = 20;

/// The coordination page (docs/format.md, "shared").
pub(crate) const SHARED: &str = "shared";
/// The file that carries the kernel's locks.
pub(crate) const LOCK: &str = "lock";
/// The wake words (docs/format.md, "wake").
pub(crate) const WAKE: &str = "wake";

/// The folder of the consumers' files.
pub(crate) const CONSUMERS: &str = "consumers";

/// What a segment's file name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentName {
    /// Grows by one a segment and is never used again; the order of ids is the order of creation.
    pub(crate) id: u64,
    pub(crate) base_seq: u64,
}

impl SegmentName {
    pub(crate) fn file_name(self) -> String {
        format!("{:020}-{}{SUFFIX}", self.base_seq, self.id)
    }

    /// `None` for every name that [`file_name`](Self::file_name) would not have given.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (base, id) = name.strip_suffix(SUFFIX)?.split_at_checked(BASE_DIGITS)?;
        let parsed =
            SegmentName { base_seq: base.parse().ok()?, id: id.strip_prefix('-')?.parse().ok()? };
        (parsed.file_name() == name && parsed.base_seq <= super::frame::MAX_SEQ).then_some(parsed)
    }
}

/// True for a name that some part of a log has, or may have had while it was made; and for what a new
/// file system has in its root.
pub(crate) fn may_lie_in_a_log(name: &str) -> bool {
    let known = [".", "..", SHARED, LOCK, WAKE, CONSUMERS, "lost+found"];
    known.contains(&name)
        || is_next_name(name)
        || is_copy_name(name)
        || SegmentName::parse(name).is_some()
}

/// The private name under which participant `n` builds a segment before it gets its own.
pub(crate) fn next_name(participant: u64) -> String {
    format!("next-{participant}")
}

/// True for every name that [`next_name`] gives.
pub(crate) fn is_next_name(name: &str) -> bool {
    let number = name.strip_prefix("next-").and_then(|digits| digits.parse().ok());
    number.is_some_and(|number| next_name(number) == name)
}

/// The private name of the `index`-th copy that is made of what a failed sync left in doubt.
pub(crate) fn copy_name(index: usize) -> String {
    format!("copy-{index}")
}

/// True for every name that [`copy_name`] gives.
pub(crate) fn is_copy_name(name: &str) -> bool {
    let index = name.strip_prefix("copy-").and_then(|index| index.parse().ok());
    index.is_some_and(|index| copy_name(index) == name)
}

/// True for a name that a consumer may have, which is also its file's: letters, digits, `-`, `_` and `.`,
/// not at the start, at most 100 in all.
pub(crate) fn is_consumer_name(name: &str) -> bool {
    let may_stand = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=100).contains(&name.len()) && !name.starts_with('.') && name.chars().all(may_stand)
}

/// The private name, with a random part, under which a consumer's file is made; no consumer's own.
pub(crate) fn next_consumer_name(random: [u8; 8]) -> String {
    format!("{NEXT_CONSUMER}{:016x}", u64::from_le_bytes(random))
}

/// True for every name that [`next_consumer_name`] gives.
pub(crate) fn is_next_consumer_name(name: &str) -> bool {
    name.starts_with(NEXT_CONSUMER)
}

const NEXT_CONSUMER: &str = ".next-";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_have_names_that_are_safe_as_files() {
        for name in ["billing", "a", "B-2_x.y", &"n".repeat(100)] {
            assert!(is_consumer_name(name), "{name}");
        }
        let long = "n".repeat(101);
        for name in ["", ".", "..", ".hidden", "a/b", "a b", "ä", "a\0", &long] {
            assert!(!is_consumer_name(name), "{name}");
        }
        let private = next_consumer_name([7; 8]);
        assert!(is_next_consumer_name(&private) && !is_consumer_name(&private));
    }

    #[test]
    fn only_names_that_we_give_are_those_of_segments_being_made() {
        assert!(is_next_name("next-0") && is_next_name("next-17"));
        for foreign in ["next-", "next-00", "next-+1", "next-a", "next", "next-1.bak"] {
            assert!(!is_next_name(foreign), "{foreign}");
        }
    }

    #[test]
    fn only_names_that_we_write_are_segments() {
        let name = SegmentName { base_seq: 300, id: 4 };
        assert_eq!(name.file_name(), "00000000000000000300-4.seg");
        assert_eq!(SegmentName::parse("00000000000000000300-4.seg"), Some(name));
        for foreign in [
            "",
            ".seg",
            "300-4.seg",
            "00000000000000000300-04.seg",
            "00000000000000000300-+4.seg",
            "00000000000000000300-4.seg.bak",
            "00000000000000000300_4.seg",
            "99999999999999999999-4.seg",
            "0000000000000000030é-4.seg",
            "00000000000000000300-99999999999999999999.seg",
        ] {
            assert_eq!(SegmentName::parse(foreign), None, "{foreign}");
        }
    }
}

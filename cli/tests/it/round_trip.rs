//! What goes in comes out.

use crate::support::{Scratch, numbered};

/// Bytes that look like nothing, newlines among them, the same at every run.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn text_comes_back_as_it_was() {
    let here = Scratch::new();
    let source = include_bytes!("round_trip.rs");
    here.write("source.rs", source);
    here.append(&["log", "source.rs"], b"");
    assert!(here.cat(&["log"]) == source);
}

#[test]
fn empty_lines_and_carriage_returns_stay() {
    for text in ["\n", "\n\n\n", "a\r\n\r\nb\r\n", " \n\ta \n", "\na\n\n", "\0\n\0\0\n"] {
        let here = Scratch::new();
        let said = here.append(&["log"], text.as_bytes());
        assert_eq!(here.cat(&["log"]), text.as_bytes(), "{text:?}");
        let records = text.matches('\n').count();
        assert!(said.contains(&format!("(0..{records})")), "{said}");
    }
}

#[test]
fn bytes_that_are_no_text_come_back_and_a_last_line_without_newline_gets_one() {
    for len in [1, 300_000, 1_000_003] {
        let here = Scratch::new();
        let mut bytes = noise(len);
        *bytes.last_mut().unwrap() = 0xFF;
        here.append(&["log", "--segment-size", "64K"], &bytes);
        bytes.push(b'\n');
        assert!(here.cat(&["log"]) == bytes, "{len} bytes");
    }
}

#[test]
fn lines_longer_than_any_buffer_come_back() {
    let here = Scratch::new();
    let long = noise(3_000_000).into_iter().filter(|byte| *byte != b'\n').collect::<Vec<_>>();
    let text = [b"short\n", &long[..], b"\n\nshort\n"].concat();
    here.append(&["log"], &text);
    assert!(here.cat(&["log"]) == text);
}

#[test]
fn nothing_makes_an_empty_log() {
    let here = Scratch::new();
    assert!(here.append(&["log"], b"").starts_with("appended 0 records (0..0), 0 bytes in "));
    assert_eq!(here.cat(&["log"]), b"");
    assert_eq!(here.stat("records"), "0");
}

#[test]
fn several_files_follow_one_another_each_ending_its_last_line() {
    let here = Scratch::new();
    here.write("one", "a\nb");
    here.write("two", "");
    here.write("three", "c\n");
    let said = here.append(&["log", "one", "two", "-", "three"], b"from stdin");
    assert_eq!(here.cat(&["log"]), b"a\nb\nfrom stdin\nc\n");
    assert!(said.starts_with("appended 4 records (0..4), 13 bytes in "), "{said}");
}

#[test]
fn many_segments_of_many_appends_are_one_log() {
    let here = Scratch::new();
    for start in (0..3000).step_by(1000) {
        here.append(&["log", "--segment-size", "16K"], &numbered(start..start + 1000));
    }
    assert!(here.cat(&["log"]) == numbered(0..3000));
    let segments = here.segments().len();
    assert!(segments > 3, "{segments}");
    assert_eq!(here.stat("segments"), segments.to_string());
}

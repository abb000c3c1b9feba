//! `maplog cat` and `maplog stat` on a log that is well.

use crate::support::{Scratch, numbered};

#[test]
fn cat_starts_and_stops_where_it_is_told() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K"], &numbered(0..1500));
    assert!(here.segments().len() > 1);
    let cases: [(&[&str], _); 8] = [
        (&["--from", "0"], 0..1500),
        (&["--from", "1499"], 1499..1500),
        (&["--from", "1500"], 1500..1500),
        (&["-n", "0"], 0..0),
        (&["-n", "3"], 0..3),
        (&["--from", "700", "-n", "2"], 700..702),
        (&["--from", "1490", "-n", "100"], 1490..1500),
        (&["--from", "7", "-n", "18446744073709551615"], 7..1500),
    ];
    for (args, expected) in cases {
        assert!(here.cat(&[&["log"], args].concat()) == numbered(expected), "{args:?}");
    }
}

#[test]
fn cat_from_behind_the_end_names_the_end() {
    let here = Scratch::new();
    here.append(&["log"], &numbered(0..10));
    let ran = here.run(&["cat", "log", "--from", "11"]);
    ran.assert_refused(2, "record 11 does not exist yet; the next is 10");
}

#[test]
fn stat_tells_how_much_there_is() {
    let here = Scratch::new();
    here.append(&["log", "--segment-size", "16K", "--sync"], &numbered(0..2000));
    here.append(&["log", "--segment-size", "16K"], &numbered(2000..2001));
    let files = here.segments();
    let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert_eq!((files.len(), bytes), (8, 131_072));
    let ran = here.run(&["stat", "log"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        ran.text(),
        "log       log\nrecords   2,001\nfirst     0\nnext      2001\ndurable   2000\n\
         segments  8\nbytes     131,072\n"
    );
}

#[test]
fn reading_leaves_no_trace() {
    let here = Scratch::new();
    here.append(&["log"], b"a\n");
    // As a copy has it: without what the appending process needed.
    for name in ["lock", "shared", "wake"] {
        let _may_not_exist = std::fs::remove_file(here.path().join("log").join(name));
    }
    let before = here.names("log");
    assert_eq!(before, ["00000000000000000000-1.seg"]);
    assert_eq!(here.cat(&["log"]), b"a\n");
    assert_eq!(here.stat("next"), "1");
    assert_eq!(here.names("log"), before);
}

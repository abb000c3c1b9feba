//! Standard output that ends early.

use std::process::{Command, Stdio};

use crate::support::{Ran, Scratch, numbered};

#[test]
fn a_reader_of_the_output_that_wants_no_more_is_no_error() {
    let here = Scratch::new();
    // More than the pipe and all buffers hold, so that the command does meet the broken pipe.
    here.append(&["log"], &numbered(0..100_000));
    let mut cat = here.command(&["cat", "log"]).spawn().unwrap();
    let mut head = Command::new("head");
    head.arg("-1").stdin(cat.stdout.take().unwrap()).stdout(Stdio::piped());
    let first = Ran::from(head.output().unwrap());
    // It holds this process's end of the pipe.
    drop(head);
    assert_eq!(first.text(), "record 0\n");
    let cat = Ran::from(cat.wait_with_output().unwrap());
    assert_eq!((cat.code, cat.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_pipe_that_nobody_reads_is_no_error_to_any_command() {
    let here = Scratch::new();
    here.append(&["log"], b"a\n");
    for args in [&["cat", "log"][..], &["stat", "log"], &["append", "log"]] {
        let mut command = here.command(args);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = Ran::from(command.stdout(writer).output().unwrap());
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn a_full_disk_behind_the_output_is_an_error() {
    let here = Scratch::new();
    here.append(&["log"], b"a\n");
    for args in [["cat", "log"], ["stat", "log"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let ran = Ran::from(here.command(&args).stdout(full).output().unwrap());
        ran.assert_refused(2, "standard output: No space left on device (os error 28)");
    }
}

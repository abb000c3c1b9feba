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

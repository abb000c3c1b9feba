//! Every `--help` has an example, and the examples work.

use std::process::Command;

use crate::support::{MAPLOG, Ran, Scratch};

fn help(args: &[&str]) -> String {
    let ran = Scratch::new().run(&[args, &["--help"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    ran.text()
}

/// The commands of the example that ends the help.
fn example(help: &str) -> &str {
    help.split_once("\nExample:\n").unwrap_or_else(|| panic!("no example in {help}")).1
}

fn run(script: &str) -> String {
    let here = Scratch::new();
    let bin = std::path::Path::new(MAPLOG).parent().unwrap().display();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-euc", script]).env("PATH", path).current_dir(here.path());
    let ran = Ran::from(shell.output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{script}");
    ran.text()
}

#[test]
fn the_examples_do_what_they_show() {
    let general = run(example(&help(&[])));
    assert!(general.ends_with(" durable\none\ntwo\n"), "{general}");

    let append = run(example(&help(&["append"])));
    let lines: Vec<_> = append.lines().collect();
    assert_eq!(lines.len(), 2, "{append}");
    assert!(lines[0].starts_with("appended 2 records (0..2), 6 bytes in "), "{append}");
    assert!(lines[1].starts_with("appended 1 record (2..3), 5 bytes in "), "{append}");
    assert!(lines[1].ends_with(", durable"), "{append}");

    let cat = run(example(&help(&["cat"])));
    assert!(cat.ends_with(" durable\none\ntwo\nthree\ntwo\nthree\ntwo\none\n"), "{cat}");

    let get = run(example(&help(&["get"])));
    assert!(get.ends_with(" durable\nthree\none\n"), "{get}");

    let stat = run(example(&help(&["stat"])));
    assert!(
        stat.contains("\nlog       demo.log\nrecords   2\nfirst     0\nnext      2\n"),
        "{stat}"
    );
}

#[test]
fn the_examples_of_checking_and_repairing_do_what_they_show() {
    let verify = run(example(&help(&["verify"])));
    let lines: Vec<_> = verify.lines().skip(1).collect();
    assert_eq!(lines[0], "segment 1: 2 records, 65,536 bytes");
    assert_eq!(lines[1], "2 records (0..2) in 1 segment, 65,536 bytes: intact");
    assert!(lines[2].starts_with("{\"cut\":[],") && lines[2].ends_with('}'), "{verify}");

    let repair = run(example(&help(&["repair"])));
    let what = "set aside 00000000000000000001-2.seg (65,536 bytes): a copy of ";
    let lines: Vec<_> = repair.lines().skip(1).collect();
    assert!(lines[0].starts_with(&format!("would {what}")), "{repair}");
    assert_eq!(lines[1], "1 file to set aside");
    assert!(lines[2].starts_with(what), "{repair}");
    assert!(lines[3].ends_with("/demo.log.quarantine-1"), "{repair}");
    assert_eq!(lines[4..], ["one", "two"]);
}

#[test]
fn every_help_tells_the_exit_codes_and_the_short_one_is_the_same_example() {
    let commands: [&[&str]; 8] =
        [&[], &["append"], &["cat"], &["get"], &["tail"], &["stat"], &["verify"], &["repair"]];
    for command in commands {
        let long = help(command);
        assert!(long.contains("\nExit status: 0 all is well, "), "{long}");
        assert!(long.contains(" 2 wrong usage or an error"), "{long}");
        let short = Scratch::new().run(&[command, &["-h"]].concat()).text();
        assert_eq!(example(&short), example(&long));
    }
    for command in [&[][..], &["cat"], &["get"], &["verify"]] {
        let help = help(command);
        assert!(help.contains(" 1 damage was found") || help.contains(" 1 records are damaged"));
    }
}

//! Every `--help` has an example, and the examples work.

use std::process::Command;

use crate::support::{MAPLOG, Ran, Scratch};

fn help(args: &[&str]) -> String {
    let ran = Scratch::new().run(&[args, &["--help"]].concat());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    ran.text()
}

/// The commands as the general help lists them; what it says of help is none.
fn commands() -> Vec<String> {
    let help = help(&[]);
    let list = help.split_once("\nCommands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<_> =
        names.filter(|name| !["", "help"].contains(name)).map(str::to_owned).collect();
    assert!(names.len() > 8 && names.contains(&"repair".to_owned()), "{names:?}");
    names
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
fn every_command_has_an_example_that_works() {
    for command in commands() {
        let example = help(&[&command]);
        let example = example.split_once("\nExample:\n").unwrap_or_else(|| panic!("{example}")).1;
        assert!(example.contains(&format!("maplog {command}")), "{example}");
        run(example);
    }
}

#[test]
fn the_examples_do_what_they_show() {
    let general = run(example(&help(&[])));
    assert!(general.ends_with(" durable\none\ntwo\n"), "{general}");

    let append = run(example(&help(&["append"])));
    let lines: Vec<_> = append.lines().collect();
    assert_eq!(lines.len(), 3, "{append}");
    assert!(lines[0].starts_with("appended 2 records (0..2), 6 bytes in "), "{append}");
    assert!(lines[1].starts_with("appended 1 record (2..3), 5 bytes in "), "{append}");
    assert!(lines[1].ends_with(", durable"), "{append}");
    assert!(lines[2].contains("\"appended\":1,\"bytes\":8,"), "{append}");

    let cat = run(example(&help(&["cat"])));
    let written = "\none\ntwo\nthree\ntwo\nthree\ntwo\none\n{\"seq\":0,\"data\":\"one\"}\n";
    assert!(cat.ends_with(&format!(" durable{written}")), "{cat}");

    let get = run(example(&help(&["get"])));
    assert!(get.ends_with(" durable\nthree\none\n{\"seq\":1,\"data\":\"two\"}\n"), "{get}");

    let tail = run(example(&help(&["tail"])));
    assert!(tail.ends_with(" durable\ntwo\nthree\n{\"seq\":2,\"data\":\"three\"}\n"), "{tail}");

    let stat = run(example(&help(&["stat"])));
    assert!(
        stat.contains("\nlog       demo.log\nrecords   2\nfirst     0\nnext      2\n"),
        "{stat}"
    );
}

#[test]
fn the_examples_of_trimming_do_what_they_show() {
    let trim = run(example(&help(&["trim"])));
    let lines: Vec<_> = trim.lines().skip(1).collect();
    assert_eq!(
        lines[0],
        "dropped 100 records (0..100), freed 0 segments, 0 bytes; left are 100..5000"
    );
    assert!(
        lines[1].starts_with("dropped 3,948 records (100..4048), freed 16 segments, "),
        "{trim}"
    );
    assert!(lines[2].starts_with("{\"dropped\":506,\"first_seq\":4554,"), "{trim}");
    assert_eq!(lines[3..], ["4555"]);
}

#[test]
fn the_examples_of_carrying_records_elsewhere_do_what_they_show() {
    let export = run(example(&help(&["export"])));
    let lines: Vec<_> = export.lines().skip(1).collect();
    assert!(lines[0].starts_with("appended 2 records (0..2), 8 bytes in "), "{export}");
    assert_eq!(lines[1..], ["two", "three", "{\"seq\":0,\"data\":\"one\"}"]);

    let import = run(example(&help(&["import"])));
    let lines: Vec<_> = import.lines().skip(1).collect();
    assert!(lines[0].starts_with("appended 2 records (0..2), 6 bytes in "), "{import}");
    assert!(lines[1].contains("\"durable\":true,\"first_seq\":2,\"lost\":0,"), "{import}");
    assert_eq!(lines[2..], ["one", "two", "one", "two"]);
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
    assert!(lines[2].starts_with("{\"dry_run\":true,\"quarantine\":null,\"set_aside\":[{"));
    assert!(lines[3].starts_with(what), "{repair}");
    assert!(lines[4].ends_with("/demo.log.quarantine-1"), "{repair}");
    assert_eq!(lines[5..], ["one", "two"]);
}

#[test]
fn every_help_tells_the_exit_codes_and_the_short_one_is_the_same_example() {
    for command in [vec![String::new()], commands()].concat() {
        let command: &[&str] = if command.is_empty() { &[] } else { &[&command] };
        let long = help(command);
        assert!(long.contains("\nExit status: 0 all is well, "), "{long}");
        assert!(long.contains("2 wrong usage or an error"), "{long}");
        let short = Scratch::new().run(&[command, &["-h"]].concat()).text();
        assert_eq!(example(&short), example(&long));
    }
    for command in [&[][..], &["cat"], &["get"], &["tail"], &["export"], &["verify"]] {
        let help = help(command);
        assert!(help.contains(" 1 damage was found") || help.contains(" 1 records are damaged"));
    }
}

#[test]
fn every_command_has_a_page_that_man_can_show() {
    for command in [vec![String::new()], commands()].concat() {
        let args: &[&str] = if command.is_empty() { &["man"] } else { &["man", &command] };
        let here = Scratch::new();
        let ran = here.run(args);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        let name = format!("maplog {command}");
        let title = format!(".TH {} 1 ", name.trim_end().replace(' ', "-"));
        assert!(ran.text().contains(&title), "{}", ran.text());
        here.write("page", &ran.stdout);
        let mut groff = Command::new("groff");
        groff.args(["-man", "-Tascii", "-P-cbou", "-ww", "page"]).current_dir(here.path());
        let Ok(shown) = groff.output() else {
            eprintln!("skipped: needs `groff` to format the page");
            return;
        };
        let shown = Ran::from(shown);
        assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""), "{command}");
        let help = if command.is_empty() { help(&[]) } else { help(&[&command]) };
        // The example stands there line by line.
        let shown = shown.text();
        for line in example(&help).lines() {
            assert!(shown.contains(line.trim()), "{line:?} in {shown}");
        }
    }
    Scratch::new().run(&["man", "none"]).assert_refused(2, "no command none; see `maplog --help`");
}

#[test]
fn every_shell_gets_completions_that_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let here = Scratch::new();
        let ran = here.run(&["completions", shell]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        let script = ran.text();
        for command in commands() {
            assert!(script.contains(&command), "{command} for {shell}");
        }
    }
    // bash reads its own without complaint, and completes by it.
    let here = Scratch::new();
    here.write("completions", here.run(&["completions", "bash"]).stdout);
    let mut bash = Command::new("bash");
    let line = "set -eu; . ./completions; COMP_WORDS=(maplog ver) COMP_CWORD=1; _maplog maplog ver maplog; \
                echo \"${COMPREPLY[@]}\"";
    let ran = Ran::from(bash.args(["-c", line]).current_dir(here.path()).output().unwrap());
    assert_eq!((ran.code, ran.text().as_str()), (Some(0), "verify\n"), "{}", ran.stderr);
}

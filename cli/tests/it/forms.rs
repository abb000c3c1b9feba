//! Records out and in, in every form.

use serde_json::{Value, json};

use crate::damage::{hundred, rot};
use crate::support::{Ran, Scratch, numbered};

/// Records that no line could hold, and some that are text.
fn hostile() -> Vec<Vec<u8>> {
    let mut records = vec![
        b"".to_vec(),
        b"\n".to_vec(),
        b"a\0b\r\n".to_vec(),
        "\u{1F600} \"quoted\" \\ \u{7f}\u{85}\u{2028}".as_bytes().to_vec(),
        b"\xff\xfe".to_vec(),
        b"text, and then \xc3".to_vec(),
        (0..=255).collect(),
        vec![b'x'; 70_000],
        vec![0x80; 70_001],
    ];
    records.extend((0..200u8).map(|byte| vec![byte; usize::from(byte)]));
    records
}

fn prefixed(records: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for record in records {
        stream.extend((record.len() as u32).to_le_bytes());
        stream.extend(record);
    }
    stream
}

/// A log of these records.
fn log_of(records: &[Vec<u8>]) -> Scratch {
    let here = Scratch::new();
    here.append(&["log", "--length-prefixed", "--segment-size", "256K"], &prefixed(records));
    here
}

/// Runs what must work.
fn out(here: &Scratch, args: &[&str]) -> Vec<u8> {
    let ran = here.run(args);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{args:?}");
    ran.stdout
}

fn objects(ran: &[u8]) -> Vec<Value> {
    str::from_utf8(ran).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn any_bytes_come_back_from_every_command_in_every_form() {
    let records = hostile();
    let here = log_of(&records);
    let count = records.len().to_string();
    let seqs: Vec<_> = (0..records.len()).map(|seq| seq.to_string()).collect();
    let get: Vec<&str> = ["get", "log"].into_iter().chain(seqs.iter().map(|s| &s[..])).collect();
    let ways = [&["cat", "log"][..], &["tail", "log", "-n", &count], &get];
    for way in ways {
        let run = |form: &str| out(&here, &[way, &[form]].concat());
        assert!(run("--raw") == records.concat(), "{}", way[0]);
        assert!(run("--length-prefixed") == prefixed(&records), "{}", way[0]);
        for (seq, (object, record)) in objects(&run("--json")).iter().zip(&records).enumerate() {
            match str::from_utf8(record) {
                Ok(text) => assert_eq!(object, &json!({ "seq": seq, "data": text })),
                Err(_) => {
                    let text = object["base64"].as_str().unwrap();
                    assert_eq!(object, &json!({ "seq": seq, "base64": text }));
                    assert_eq!(text.len(), record.len().div_ceil(3) * 4);
                }
            }
        }
    }
    let reversed = out(&here, &["cat", "log", "--reverse", "--raw", "-n", "1"]);
    assert_eq!(reversed, vec![199; 199]);
}

#[test]
fn one_form_at_a_time() {
    let here = hundred(false);
    for command in ["cat", "tail", "get"] {
        let ran = here.run(&[command, "log", "--raw", "--json"]);
        assert_eq!((ran.code, ran.text().as_str()), (Some(2), ""), "{command}");
    }
}

#[test]
fn a_file_is_one_record_and_comes_back_as_it_was() {
    let here = Scratch::new();
    let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    here.write("picture", &bytes);
    here.write("empty", "");
    let said = here.append(&["log", "--raw", "picture", "empty", "-"], b"a\nb");
    assert!(said.starts_with("appended 3 records (0..3), 1,200,003 bytes in "), "{said}");
    assert!(out(&here, &["get", "log", "0", "--raw"]) == bytes);
    assert_eq!(
        out(&here, &["cat", "log", "--from", "1", "--length-prefixed"]),
        b"\0\0\0\0\x03\0\0\0a\nb"
    );
    let ran = here.run(&["append", "small", "--raw", "--segment-size", "16K", "picture"]);
    ran.assert_refused(2, "picture: too large: a record of ");
    assert_eq!(here.append(&["small"], b"").split(' ').nth(1), Some("0"));
}

#[test]
fn a_log_carried_over_as_a_stream_is_the_same_log() {
    let records = hostile();
    let here = log_of(&records);
    for json in [&[][..], &["--json"]] {
        let stream = out(&here, &[&["export", "log"], json].concat());
        let ran = here.run_with(&[&["import", "copy", "--first-seq", "7"], json].concat(), &stream);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
        if json.is_empty() {
            assert!(stream == prefixed(&records));
            assert!(ran.text().starts_with("appended 209 records (7..216), "), "{}", ran.text());
        } else {
            let told = &objects(&ran.stdout)[0];
            let lost_and_next = (&told["lost"], &told["next_seq"]);
            assert_eq!(lost_and_next, (&json!(0), &json!(216)));
        }
        assert!(out(&here, &["cat", "copy", "--length-prefixed"]) == prefixed(&records));
        std::fs::remove_dir_all(here.path().join("copy")).unwrap();
    }
}

#[test]
fn a_stream_cut_in_the_middle_says_where_and_what_was_appended() {
    let here = Scratch::new();
    let stream = prefixed(&[b"one".to_vec(), b"".to_vec(), b"three".to_vec()]);
    here.write("stream", &stream[..stream.len() - 2]);
    let sentence = "stream, byte 11: the input ends at byte 18 inside this record, 3 of its 5 bytes \
                    are there";
    here.run(&["import", "log", "stream"]).assert_refused(
        2,
        &format!("{sentence}; appended 2 records (0..2) until then, not synced"),
    );
    assert_eq!(out(&here, &["cat", "log", "--raw"]), b"one");
    let ran =
        here.run_with(&["append", "log", "--length-prefixed", "--sync", "--json"], &stream[..9]);
    let [told, error] = &objects(&ran.stdout)[..] else { panic!("{ran:?}") };
    assert_eq!((ran.code, &told["appended"], &told["durable"]), (Some(2), &json!(1), &json!(true)));
    let sentence = "standard input, byte 7: the input ends at byte 9 inside this record, 2 of the 4 \
                    bytes of its length are there";
    assert_eq!(error, &json!({ "error": { "kind": "Input", "message": sentence } }));
    assert_eq!(ran.stderr, format!("maplog: {sentence}\n"));
}

#[test]
fn lines_of_the_wrong_shape_are_named_and_those_before_are_in() {
    let here = Scratch::new();
    let lines =
        "{\"seq\":4,\"data\":\"a\"}\n{\"seq\":5,\"base64\":\"/w==\"}\n{\"seq\":4,\"data\":\"b\"}\n";
    let ran = here.run_with(&["import", "log", "--json"], lines.as_bytes());
    let sentence =
        "standard input, line 3: record 4 comes behind record 5, expected ascending ones";
    let [told, error] = &objects(&ran.stdout)[..] else { panic!("{ran:?}") };
    assert_eq!((ran.code, &told["appended"], &told["next_seq"]), (Some(2), &json!(2), &json!(2)));
    assert_eq!(error["error"]["message"], sentence);
    assert_eq!(out(&here, &["cat", "log", "--raw"]), b"a\xff");
    let ran = here.run_with(&["import", "log", "--json"], b"not it\n");
    assert!(ran.stderr.starts_with("maplog: standard input, line 1: this is no JSON ("), "{ran:?}");
}

#[test]
fn an_input_that_cannot_be_read_creates_nothing() {
    let here = Scratch::new();
    here.run(&["import", "log", "none"]).assert_refused(2, "none: No such file or directory");
    here.run(&["import", "log", "."]).assert_refused(2, ".: is a directory; nothing was appended");
    assert_eq!(here.names(""), [""; 0]);
}

/// In JSON a loss stands where the records would, and standard error has its sentence as always.
#[test]
fn losses_stand_between_the_records_in_json_and_are_counted_by_import() {
    let here = hundred(true);
    for record in [40, 41, 60] {
        rot(&here.segments()[0], record);
    }
    for way in [&["cat", "log"][..], &["export", "log"], &["tail", "log", "-n", "100"]] {
        let ran = here.run(&[way, &["--json"]].concat());
        assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 2), "{way:?}");
        let told = objects(&ran.stdout);
        assert_eq!(told.len(), 97 + 2);
        for (at, from, to) in [(40, 40, 42), (59, 60, 61)] {
            let object = &told[at];
            assert_eq!(object["lost"], json!({ "from": from, "to": to }), "{way:?}");
            let sentence = format!("maplog: {}", object["message"].as_str().unwrap());
            assert!(ran.stderr.lines().any(|line| line == sentence), "{object}");
        }
        assert_eq!(told[41], json!({ "seq": 42, "data": "record 42" }));
    }
    let ran = here.run(&["get", "log", "--json", "39", "40", "42"]);
    let told = objects(&ran.stdout);
    assert_eq!((ran.code, told.len()), (Some(1), 3));
    assert_eq!(told[1]["lost"], json!({ "from": 40, "to": 41 }));
    let stream = here.run(&["export", "log", "--json"]).stdout;
    let ran = here.run_with(&["import", "copy", "--json"], &stream);
    assert_eq!((ran.code, &objects(&ran.stdout)[0]["lost"]), (Some(1), &json!(3)));
    let rest = [numbered(0..40), numbered(42..60), numbered(61..100)].concat();
    assert!(here.cat(&["copy"]) == rest);
}

#[test]
fn in_json_a_failure_is_the_last_object_and_a_sentence_on_standard_error() {
    let here = hundred(false);
    let cases: [(&[&str], &str); 10] = [
        (&["cat", "none"], "NotFound"),
        (&["get", "none", "0"], "NotFound"),
        (&["tail", "none"], "NotFound"),
        (&["stat", "none"], "NotFound"),
        (&["verify", "none"], "NotFound"),
        (&["repair", "none"], "NotFound"),
        (&["export", "none"], "NotFound"),
        (&["cat", "log", "--from", "101"], "OutOfRange"),
        (&["get", "log", "100"], "OutOfRange"),
        (&["append", "log", "--segment-size", "1"], "InvalidOption"),
    ];
    for (args, kind) in cases {
        let ran: Ran = here.run(&[args, &["--json"]].concat());
        assert_eq!(ran.code, Some(2), "{args:?}");
        let [object] = &objects(&ran.stdout)[..] else { panic!("{ran:?}") };
        assert_eq!(object["error"]["kind"], kind, "{args:?}");
        let sentence = object["error"]["message"].as_str().unwrap();
        assert_eq!(ran.stderr, format!("maplog: {sentence}\n"));
    }
}

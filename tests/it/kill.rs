//! Filled in by its own commit.
use std::path::Path;

/// Runs a child that appends at least `records` to the log and is killed.
pub fn killed_after(log: &Path, records: usize) {
    use std::io::BufRead;
    let mut child =
        crate::support::child("kill::appends_until_it_dies", &[("LOG", log.to_str().unwrap())]);
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    let told =
        out.lines().map_while(Result::ok).filter(|line| line.starts_with("seq ")).take(records);
    assert_eq!(told.count(), records);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "a child"]
fn appends_until_it_dies() {
    use std::io::Write;
    let log = crate::support::open(std::env::var("LOG").unwrap()).unwrap();
    loop {
        let seq = log.append(format!("record {}", log.next_seq())).unwrap();
        writeln!(std::io::stdout(), "seq {seq}").unwrap();
    }
}

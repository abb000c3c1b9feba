//! Style as a test: imports go down only, and each room keeps what only it may do
//! (docs/architecture.md).

use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(sources(&path)),
            false => files.push(path),
        }
    }
    let is_test =
        |path: &Path| path.to_str().unwrap().ends_with("tests.rs") || room(path) == "crash_images";
    files.retain(|path| !is_test(path));
    files.sort();
    files
}

/// The code of a file: without comments and without its test module.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
    let text = text.split("#[cfg(all(test, loom))]").next().unwrap().to_owned();
    let lines = text.lines().map(|line| line.split("//").next().unwrap().to_owned());
    (1..).zip(lines).collect()
}

/// A file's room: its name, or its directory's.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(src()).unwrap();
    inside
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap()
        .trim_end_matches(".rs")
        .to_owned()
}

/// A file's path in the house.
fn file(path: &Path) -> String {
    path.strip_prefix(src()).unwrap().with_extension("").to_str().unwrap().to_owned()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The floor of each room, as docs/architecture.md has it.
fn floors() -> Vec<(String, u32)> {
    let document =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md"))
            .unwrap();
    let mut floors = Vec::new();
    for line in document.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let Some(Ok(floor)) = cells.get(1).map(|cell| cell.parse()) else { continue };
        for file in cells[2].split(',') {
            let name = file.trim().trim_matches('`').trim_end_matches('/').trim_end_matches(".rs");
            floors.push((name.to_owned(), floor));
        }
    }
    floors
}

#[test]
fn imports_go_down_only() {
    let floors = floors();
    let floor = |room: &str| floors.iter().find(|(name, _)| name == room).map(|(_, floor)| *floor);
    let mut imports = 0;
    for path in sources(&src()) {
        let own = room(&path);
        if own == "hook" || own == "trace" {
            continue;
        }
        let own_floor =
            floor(&own).unwrap_or_else(|| panic!("{own} has no floor in docs/architecture.md"));
        for (line, text) in code(&path) {
            for other in text.match_indices("crate::").map(|(at, _)| &text[at + "crate::".len()..])
            {
                let other: String =
                    other.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(other_floor) = floor(&other) else { continue };
                imports += 1;
                assert!(
                    other == own || other_floor < own_floor,
                    "{}:{line}: {own} (floor {own_floor}) uses {other} (floor {other_floor})",
                    path.display()
                );
            }
        }
    }
    assert!(imports > 50, "{imports} imports were seen");
}

#[test]
fn rooms_keep_what_only_they_may_do() {
    let rules: [(&str, &[&str]); 4] = [
        ("Ordering::", &["map"]),
        ("std::fs", &["dir"]),
        ("unsafe {", &["map", "lock", "log", "segment", "view", "format/crc"]),
        ("from_raw_parts", &["map"]),
    ];
    for path in sources(&src()) {
        for (line, text) in code(&path) {
            for (word, rooms) in rules {
                let names = [room(&path), file(&path)];
                let allowed =
                    names.iter().any(|name| name == "hook" || rooms.contains(&name.as_str()));
                assert!(allowed || !text.contains(word), "{}:{line}: {word}", path.display());
            }
        }
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    for path in sources(&src()) {
        let lines = code(&path).len();
        let limit = 400;
        assert!(lines <= limit, "{} has {lines} lines", path.display());
    }
}

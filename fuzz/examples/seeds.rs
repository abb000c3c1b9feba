//! Writes the seeds of `open_bytes` and `open_described`, the golden logs, into the corpus: after a power cut
//! and on a live page, also one of a process that died inside an append, as files and as descriptions: `cargo run --example seeds`.

use std::fs;
use std::path::Path;

use maplog_fuzz::case::{Case, Patch, base_and_id};
use maplog_fuzz::folder::segments;
use maplog_fuzz::forge::describe;
use maplog_fuzz::live::{ENDS, EPOCH};
use maplog_fuzz::second::format::{HEADER_BYTES, SINGLE};
use maplog_fuzz::second::reader::{Segment, read};
use maplog_fuzz::second::script::Files;

fn main() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = |target| fuzz.join("corpus").join(target);
    for target in ["open_bytes", "open_described"] {
        fs::create_dir_all(corpus(target)).unwrap();
    }
    for entry in fs::read_dir(fuzz.join("../tests/golden")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let name = path.file_name().unwrap().to_str().unwrap();
            let files = segments(&path);
            let (appends, gets) = (vec![1, 0, 200], vec![0, 1, 2, 128, 255]);
            let mut recipe = describe(&files).unwrap();
            (recipe.appends, recipe.gets) = (appends.clone(), gets.clone());
            let described = corpus("open_described").join(format!("golden-{name}"));
            fs::write(described, recipe.encode()).unwrap();
            let pages = [
                (None, "cut"),
                (Some(Vec::new()), "live"),
                (Some(before_the_last_append(&files)), "killed"),
            ];
            for (page, state) in pages {
                let case = Case {
                    files: files.clone(),
                    page,
                    appends: appends.clone(),
                    gets: gets.clone(),
                };
                let file = corpus("open_bytes").join(format!("golden-{name}-{state}"));
                fs::write(file, case.encode()).unwrap();
            }
        }
    }
}

/// What a page says whose writer died before it stored the new end.
fn before_the_last_append(files: &Files) -> Vec<Patch> {
    let end = read(files).end;
    let (_, bytes) = files.iter().find(|(name, _)| base_and_id(name).1 == end.segment_id).unwrap();
    let segment = Segment::new(end.segment_id, bytes, 0..u64::MAX);
    let mut places = (HEADER_BYTES..end.offset as usize).step_by(16);
    let last = places.find_map(|at| {
        let (kind, number, _, _, next) = segment.frame(at, 0)?;
        (kind == SINGLE && next as u64 == end.offset).then_some([at as u64, number])
    });
    let [at, number] = last.unwrap_or([end.offset, end.seq]);
    let word = |place: usize, word: u64| Patch {
        at: (place - EPOCH) as u64,
        bytes: word.to_le_bytes().to_vec(),
    };
    ENDS.iter().flat_map(|end| [word(end + 8, at), word(end + 16, number)]).collect()
}

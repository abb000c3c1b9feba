//! Writes the seeds of `open_bytes` and `open_described`, the golden logs, into the corpus: after a power cut
//! and on a live page, as files and as descriptions: `cargo run --example seeds`.

use std::fs;
use std::path::Path;

use maplog_fuzz::case::Case;
use maplog_fuzz::folder::segments;
use maplog_fuzz::forge::describe;

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
            for (page, state) in [(None, "cut"), (Some(Vec::new()), "live")] {
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

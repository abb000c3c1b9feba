//! Writes the golden logs into the corpus of `open_bytes`: `cargo run --example seeds`.

use std::fs;
use std::path::Path;

use maplog_fuzz::folder::segments;
use maplog_fuzz::forge::describe;

fn main() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = fuzz.join("corpus/open_bytes");
    fs::create_dir_all(&corpus).unwrap();
    for entry in fs::read_dir(fuzz.join("../tests/golden")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let mut recipe = describe(&segments(&path)).unwrap();
            recipe.appends = vec![1, 0, 200];
            recipe.gets = vec![0, 1, 2, 128, 255];
            let name = format!("golden-{}", path.file_name().unwrap().to_str().unwrap());
            fs::write(corpus.join(name), recipe.encode()).unwrap();
        }
    }
}

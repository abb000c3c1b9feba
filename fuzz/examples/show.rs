//! What an input of `open_bytes` is, and what both readers read in it: `cargo run --example show FILE`.

use std::fs;

use arbitrary::{Arbitrary, Unstructured};
use maplog_fuzz::folder::Folder;
use maplog_fuzz::forge::forge;
use maplog_fuzz::judge::{everything, oddities, open, read};
use maplog_fuzz::recipe::Recipe;
use maplog_fuzz::second;

fn main() {
    let bytes = fs::read(std::env::args().nth(1).expect("an input file")).unwrap();
    let recipe = Recipe::arbitrary_take_rest(Unstructured::new(&bytes)).unwrap();
    for segment in &recipe.segments {
        println!("{:?}", maplog_fuzz::recipe::Segment { frames: Vec::new(), ..segment.clone() });
        segment.frames.iter().for_each(|frame| println!("  {frame:?}"));
    }
    println!("page {:?}, appends {:?}, gets {:?}", recipe.page, recipe.appends, recipe.gets);
    let files = forge(&recipe);
    println!("files {:?}, {:?}", files.keys().collect::<Vec<_>>(), oddities(&files));
    let folder = Folder::of(&files);
    match read(folder.path()) {
        Ok(reader) => {
            let all = everything(&reader);
            let seqs: Vec<u64> = all.records.iter().map(|record| record.0).collect();
            println!("reader: {:?}, records {seqs:?}", reader);
            println!("lost {:?}, refused {:?}", all.lost, all.refused);
        }
        Err(error) => println!("reader: {error}"),
    }
    match open(folder.path()) {
        Ok(log) => println!("{:?}", log.recovery()),
        Err(error) => println!("log: {error}"),
    }
    let reading = second::reader::read(&files);
    let seqs: Vec<u64> = reading.records.iter().map(|record| record.0).collect();
    println!(
        "second: records {seqs:?}, {:?}",
        second::reader::Reading { records: Vec::new(), ..reading }
    );
}

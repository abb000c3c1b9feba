//! What an input means, and what both readers read in it: `cargo run --example show TARGET FILE`.

use std::fs;

use arbitrary::{Arbitrary, Unstructured};
use maplog_fuzz::case::Case;
use maplog_fuzz::folder::Folder;
use maplog_fuzz::judge::{everything, oddities, open, read};
use maplog_fuzz::live::{Page, with_live_page};
use maplog_fuzz::ops::Script;
use maplog_fuzz::recipe::{Recipe, Segment};
use maplog_fuzz::second::reader::{self, Reading};
use maplog_fuzz::{forge, second};

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(target), Some(file)) = (args.next(), args.next()) else {
        panic!("a target and an input file");
    };
    let bytes = fs::read(file).unwrap();
    match &target[..] {
        "ops" => println!("{:#?}", understood::<Script>(&bytes)),
        "open_described" => {
            let recipe: Recipe = understood(&bytes);
            for segment in &recipe.segments {
                println!("{:?}", Segment { frames: Vec::new(), ..segment.clone() });
                segment.frames.iter().for_each(|frame| println!("  {frame:?}"));
            }
            println!("{:?}", recipe.page);
            show(&forge::case(&recipe));
        }
        _ => show(&Case::decode(&bytes)),
    }
}

fn understood<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> T {
    T::arbitrary_take_rest(Unstructured::new(bytes)).unwrap()
}

fn show(case: &Case) {
    let files = &case.files;
    println!("page {:?}, appends {:?}, gets {:?}", case.page, case.appends, case.gets);
    for (name, bytes) in files {
        println!("{name}, {} bytes", bytes.len());
        show_segment(bytes);
    }
    println!("{:?}", oddities(files));
    let folder = match &case.page {
        None => Folder::of(files),
        Some(patches) => with_live_page(files, patches),
    };
    if case.page.is_some() {
        println!("{:?}", Page::in_folder(folder.path()));
    }
    match read(folder.path()) {
        Ok(reader) => {
            let all = everything(&reader);
            println!("reader: {reader:?}, records {:?}", seqs(&all.records));
            println!("lost {:?}, refused {:?}", all.lost, all.refused);
        }
        Err(error) => println!("reader: {error}"),
    }
    match open(folder.path()) {
        Ok(log) => println!("{:?}\n{:?}", log.recovery(), Page::in_folder(folder.path())),
        Err(error) => println!("log: {error}"),
    }
    let reading = second::reader::read(files);
    let records = seqs(&reading.records);
    println!("second: records {records:?}, {:?}", Reading { records: Vec::new(), ..reading });
}

fn show_segment(bytes: &[u8]) {
    let segment = reader::Segment::new(0, bytes, 0..u64::MAX);
    println!("  {:?}\n  newest {:?}", segment.header, segment.newest());
    let places = (8192..bytes.len().saturating_sub(15)).step_by(16);
    for at in places.filter(|at| second::format::u32_at(bytes, *at) != 0) {
        if let Some((kind, number, _, payload, next)) = segment.frame(at, 0) {
            println!("  {at}..{next}: kind {kind}, number {number}, {} bytes", payload.len());
        }
    }
}

fn seqs(records: &[(u64, Vec<u8>)]) -> Vec<u64> {
    records.iter().map(|record| record.0).collect()
}

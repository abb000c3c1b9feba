//! xchannel: one writer, any number of readers, over a mapped file.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use xchannel::{Helper, Reader, ReaderBuilder, Writer, WriterBuilder};

use crate::peer::{About, Peer, Setup, Threads};
use crate::records::Feed;

/// `HELPED` gives the writer a thread that touches its pages ahead, as maplog has.
pub struct Xchannel<const HELPED: bool> {
    writer: Mutex<Writer>,
    path: PathBuf,
}

fn append(writer: &mut Writer, record: &[u8]) {
    writer.try_reserve(record.len()).expect("room").copy_from_slice(record);
    writer.commit(1, record.len() as u32, 0).expect("a commit");
}

impl<const HELPED: bool> Xchannel<HELPED> {
    fn reader(&self) -> Reader {
        ReaderBuilder::new(&self.path).late_join().build().expect("the channel")
    }
}

impl<const HELPED: bool> Peer for Xchannel<HELPED> {
    const ABOUT: About = About {
        name: if HELPED { "xchannel-helper" } else { "xchannel" },
        settings: match HELPED {
            false => "regions of 16 MiB and files of 1 GiB, as in its authors' benchmark",
            true => "the same with its helper thread, which is off by default",
        },
        lacks: "no checksum; never syncs; one writer; no batches; to get a record it walks from the file's start",
        threads: Threads::Mutex,
    };
    const ONLY_APPENDS: bool = HELPED;
    const BATCHES: bool = false;
    const SYNCS: bool = false;

    fn open(dir: &Path, _setup: Setup) -> Self {
        let path = dir.join("channel");
        let builder = WriterBuilder::new(&path).region_size(16 << 20).file_roll_size(1 << 30);
        let builder = if HELPED { builder.helper(Helper::inherit()) } else { builder };
        Xchannel { writer: Mutex::new(builder.build().expect("a channel")), path }
    }

    fn append_all(&mut self, records: &mut Feed) {
        let writer = self.writer.get_mut().expect("no panic");
        while let Some(record) = records.next() {
            append(writer, record);
        }
    }

    fn append_beside(&self, _thread: usize, records: &mut Feed) {
        while let Some(record) = records.next() {
            append(&mut self.writer.lock().expect("no panic"), record);
        }
    }

    fn walk(&mut self, take: &mut impl FnMut(&[u8])) {
        let mut reader = self.reader();
        while let Some(batch) = reader.try_read_batch(None).expect("a channel") {
            batch.iter().for_each(|message| take(message.payload()));
        }
    }

    fn get_all(&mut self, order: &[u64], take: &mut impl FnMut(&[u8])) {
        let mut reader = self.reader();
        for index in order {
            reader.seek(*index).expect("a record");
            take(reader.try_read().expect("a channel").expect("a record").payload());
        }
    }
}

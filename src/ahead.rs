//! The thread that touches pages ahead of appends: one for each log that somebody appends to at a pace,
//! started by the first append that gains by it; asleep, without a clock, when there is nothing to touch.
//!
//! A page's first touch costs many times what is stored in it, and this pays it on another core. Nothing
//! is wrong without it: who appends touches what was not touched yet. What is touched too early is
//! written to the disk twice, so the [`Pace`] of appends and syncs says how far ahead. Does not know: frames,
//! files, who appends.

use std::ops::Range;
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::format::PAGE_BYTES;
use crate::map::{Flag, Pages};
use crate::monitor::Monitor;
use crate::thread::OwnThread;

/// Pages are touched as far ahead as appends come in this time: longer than a thread takes to wake up, and
/// so short that what a sync finds touched and empty is little beside what came since the last.
const TIME_AHEAD: Duration = Duration::from_millis(20);
/// But no further than this.
const MOST_BYTES: u64 = 16 << 20;
/// Who needs less in that time does as well alone.
const LEAST_BYTES: u64 = 512 * 1024;
/// Touched at once: so soon it is found, and so soon the thread hears of something else.
const PIECE_BYTES: u64 = 64 * 1024;
/// The part of a window that is worth waking the thread for. The kernel makes pages by the readahead of the disk,
/// some MiB at once, for milliseconds, and the rest of the window has to last for so long.
const WORTH_WAKING: u64 = 4;
/// Of a thread that calls the kernel and nothing else.
const STACK_BYTES: usize = 128 * 1024;

/// Of what lies between two syncs, no more than this part is touched ahead.
const PART_OF_A_SYNC: u64 = 16;

/// How fast a log grows, and how much of that each sync takes.
pub(crate) struct Pace {
    /// When the last look was, and where the end was then.
    since: Instant,
    end: u64,
    /// Bytes that came since the first look, and those that the last sync found.
    came: u64,
    synced: u64,
    /// Bytes between the last two syncs; at first there is no telling.
    between: u64,
    durable_seq: Option<u64>,
}

impl Pace {
    /// Of who did not append yet.
    pub(crate) fn new() -> Self {
        let (end, came, synced, durable_seq) = Default::default();
        Pace { since: Instant::now(), end, came, synced, between: u64::MAX, durable_seq }
    }

    /// How many bytes behind `end` are worth touching now. An end below the last one is a new segment's.
    pub(crate) fn window(&mut self, end: u64, durable_seq: u64) -> u64 {
        let window = self.window_at(Instant::now(), end, durable_seq);
        // So that whatever this crate's tests do to a log, they do with the thread at work in it.
        if cfg!(test) { MOST_BYTES } else { window }
    }

    fn window_at(&mut self, now: Instant, end: u64, durable_seq: u64) -> u64 {
        let took = (now - self.since).as_nanos().max(1);
        let came = match self.durable_seq {
            Some(_) => end.checked_sub(self.end).unwrap_or(end),
            // The first look: nobody knows since when the log is as long as it is.
            None => 0,
        };
        (self.since, self.end) = (now, end);
        self.came += came;
        if self.durable_seq.replace(durable_seq).is_some_and(|before| before != durable_seq) {
            (self.between, self.synced) = (self.came - self.synced, self.came);
        }
        let in_time = u128::from(came) * TIME_AHEAD.as_nanos() / took;
        let at_once = self.between.max(self.came - self.synced) / PART_OF_A_SYNC;
        // A file grows for this, and that of a small log stays small: no further than what came.
        let most = at_once.min(self.came).min(MOST_BYTES);
        let bytes = u64::try_from(in_time).unwrap_or(u64::MAX).min(most);
        if bytes < LEAST_BYTES { 0 } else { bytes }
    }
}

/// The thread, or what will start it.
pub(crate) struct Ahead {
    allowed: Flag,
    thread: Mutex<Option<OwnThread>>,
    work: Arc<Monitor<Work>>,
}

#[derive(Default)]
struct Work {
    /// What is still to be touched, of these pages.
    rest: Option<(Arc<Pages>, Range<u64>)>,
    asleep: bool,
    is_running: bool,
    stop: bool,
}

impl Ahead {
    /// One that may start its thread, or not.
    pub(crate) fn new(allowed: bool) -> Self {
        let (thread, work) = Default::default();
        Ahead { allowed: Flag::new(allowed), thread, work }
    }

    /// False if nothing is touched ahead, for good.
    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed.is_set()
    }

    /// Has the whole pages in `range`, which are allocated, touched by and by; what was touched, or is about
    /// to be, is not touched again. Nobody is woken for less than a quarter of it.
    pub(crate) fn touch(&self, pages: &Arc<Pages>, range: Range<u64>) {
        if !self.allowed.is_set() || range.is_empty() {
            return;
        }
        let end = range.end & !(PAGE_BYTES - 1);
        let mut work = self.work.lock();
        let start = match &work.rest {
            Some((known, rest)) if Arc::ptr_eq(known, pages) => rest.start,
            _ => pages.touched_from(range.start),
        };
        let start = start.max(range.start) & !(PAGE_BYTES - 1);
        if start + (range.end - range.start) / WORTH_WAKING > end {
            return;
        }
        work.rest = Some((pages.clone(), start..end));
        if work.asleep {
            self.work.tell();
        }
        let is_running = work.is_running;
        drop(work);
        if !is_running {
            self.start();
        }
    }

    /// If no thread can be had now, the next call tries again.
    #[cold]
    fn start(&self) {
        let mut thread = self.thread.lock();
        let work = self.work.clone();
        let run = move || run(&work);
        let thread_of = Builder::new().name("maplog-ahead".into()).stack_size(STACK_BYTES);
        let started = OwnThread::start(thread_of, run);
        self.work.lock().is_running = started.is_ok();
        *thread = started.ok();
    }

    /// Ends the thread, for good.
    pub(crate) fn stop(&self) {
        self.allowed.set(false);
        let mut work = self.work.lock();
        (work.stop, work.rest) = (true, None);
        self.work.tell();
        drop(work);
        if let Some(thread) = self.thread.lock().take() {
            thread.join();
        }
    }
}

fn run(shared: &Monitor<Work>) {
    let mut work = shared.lock();
    while !work.stop {
        let Some((pages, piece)) = work.next_piece() else {
            work.asleep = true;
            work = shared.wait(work);
            work.asleep = false;
            continue;
        };
        drop(work);
        let touched = pages.touch_ahead(piece);
        work = shared.lock();
        if touched.is_err() {
            // Who appends comes to these pages, and is told what is wrong with them.
            work.rest = None;
        }
    }
}

impl Work {
    /// The next piece of the rest, less it. The mapping is kept for no longer than something is to be done.
    fn next_piece(&mut self) -> Option<(Arc<Pages>, Range<u64>)> {
        let (pages, mut rest) = self.rest.take()?;
        let piece = rest.start..rest.end.min(rest.start + PIECE_BYTES);
        rest.start = piece.end;
        if !rest.is_empty() {
            self.rest = Some((pages.clone(), rest));
        }
        Some((pages, piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::MIN_SEGMENT_BYTES;
    use crate::map::WriteMap;

    const STEP: u64 = 128 * 1024;

    /// The last window of so many steps, one each `micros`, with a sync every `synced` steps.
    fn window_after(pace: &mut Pace, steps: u64, micros: u64, synced: u64) -> u64 {
        let (since, from) = (pace.since, pace.end);
        let step = |step: u64| {
            let now = since + Duration::from_micros(step * micros);
            pace.window_at(now, from + step * STEP, step / synced)
        };
        (1..=steps).map(step).last().unwrap()
    }

    #[test]
    fn a_window_is_what_comes_in_twenty_milliseconds_within_bounds() {
        for (micros, expected) in [(3, MOST_BYTES), (1000, 20 * STEP), (10_000, 0)] {
            assert_eq!(window_after(&mut Pace::new(), 200, micros, u64::MAX), expected);
        }
    }

    #[test]
    fn a_window_is_no_longer_than_what_came() {
        assert_eq!(window_after(&mut Pace::new(), 10, 3, u64::MAX), 9 * STEP);
    }

    #[test]
    fn a_log_that_was_idle_has_no_window() {
        let mut pace = Pace::new();
        assert!(window_after(&mut pace, 10, 100, u64::MAX) > 0);
        assert_eq!(window_after(&mut pace, 1, 60_000_000, u64::MAX), 0);
        assert!(window_after(&mut pace, 1, 100, u64::MAX) > 0);
    }

    #[test]
    fn a_window_is_a_small_part_of_what_each_sync_takes() {
        for (synced, expected) in [(1, 0), (16, 0), (128, 8 * STEP), (2048, MOST_BYTES)] {
            let window = window_after(&mut Pace::new(), 4 * synced, 3, synced);
            assert_eq!(window, expected, "a sync every {synced} steps");
        }
    }

    #[test]
    fn a_new_segment_goes_on_at_the_same_pace() {
        let mut pace = Pace::new();
        let now = pace.since + Duration::from_millis(1);
        assert_eq!(pace.window_at(now, 1 << 30, 1), 0, "what was there before came at no pace");
        let now = now + Duration::from_millis(1);
        assert_eq!(pace.window_at(now, (1 << 30) + (32 << 20), 1), MOST_BYTES);
        let end = 10 * STEP;
        assert_eq!(pace.window_at(now + Duration::from_millis(10), end, 1), 2 * end);
    }

    fn mapped(allocated: u64) -> (std::fs::File, WriteMap) {
        let file = tempfile::tempfile().unwrap();
        crate::dir::allocate(&file, 0, allocated).unwrap();
        let map = WriteMap::new(&file, MIN_SEGMENT_BYTES * 1024, 0).unwrap();
        (file, map)
    }

    fn until(what: impl Fn() -> bool) {
        let since = Instant::now();
        while !what() {
            assert!(since.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_was_asked_for_is_touched_and_no_more() {
        let (_file, map) = mapped(4 << 20);
        let ahead = Ahead::new(true);
        ahead.touch(map.pages(), 100..1 << 20);
        until(|| map.pages().touched_from(100) == 1 << 20);
        // Less than a quarter of it is new.
        ahead.touch(map.pages(), 400 << 10..1200 << 10);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(map.pages().touched_from(0), 1 << 20);
        // Not adjoining: a run of its own.
        ahead.touch(map.pages(), 2 << 20..3 << 20);
        until(|| map.pages().touched_from(2 << 20) == 3 << 20);
        assert_eq!(map.pages().touched_from(1 << 20), 1 << 20);
        ahead.stop();
        ahead.touch(map.pages(), 3 << 20..4 << 20);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(map.pages().touched_from(3 << 20), 3 << 20);
    }

    #[test]
    fn pages_behind_the_files_end_are_left_alone() {
        let (file, map) = mapped(1 << 20);
        let ahead = Ahead::new(true);
        ahead.touch(map.pages(), 0..2 << 20);
        until(|| map.pages().touched_from(0) == 1 << 20);
        // What is asked for after an error is touched all the same, once it is there.
        crate::dir::allocate(&file, 1 << 20, 4 << 20).unwrap();
        until(|| {
            ahead.touch(map.pages(), 1 << 20..4 << 20);
            map.pages().touched_from(0) == 4 << 20
        });
        ahead.stop();
    }

    /// G9: whatever is stored meanwhile, and whoever else stores, stays.
    #[test]
    fn touching_pages_changes_nothing_that_is_stored_to_them_meanwhile() {
        const BYTES: u64 = 2 << 20;
        let (file, mut map) = mapped(BYTES);
        map.make_ready(BYTES).unwrap();
        let pages = map.pages().clone();
        let done = Flag::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.is_set() {
                    pages.touch_ahead(0..BYTES).unwrap();
                }
            });
            for turn in 1..=20_u8 {
                let bytes = map.unpublished_mut(16..BYTES).unwrap();
                bytes.fill(turn);
                crate::dir::write_at(&file, 0, &[turn; 16]).unwrap();
                // Clean pages are those that a touch makes dirty again.
                crate::dir::sync_data(&file).unwrap();
                assert!(map.unpublished(16..BYTES).unwrap().iter().all(|byte| *byte == turn));
            }
            done.set(true);
        });
        let mut bytes = vec![0; BYTES as usize];
        assert_eq!(crate::dir::read_at(&file, 0, &mut bytes).unwrap(), bytes.len());
        assert!(bytes.iter().all(|byte| *byte == 20));
    }
}

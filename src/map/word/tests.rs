use super::*;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, AtomicU64};
use loom::sync::{Arc, Mutex};
use loom::thread;

struct Memory {
    words: [AtomicU32; 3],
    payloads: [UnsafeCell<u64>; 2],
}

/// G3, G10: a reader sees a frame whole or not at all, and the word behind it before the
/// writer's next frame.
#[test]
fn a_frame_is_seen_whole_or_not_at_all() {
    loom::model(|| {
        let memory = Arc::new(Memory {
            // The word behind the first frame holds what an abandoned reservation left.
            words: [AtomicU32::new(0), AtomicU32::new(77), AtomicU32::new(78)],
            payloads: [UnsafeCell::new(0), UnsafeCell::new(0)],
        });
        let writer = Arc::clone(&memory);
        let appending = thread::spawn(move || {
            for (at, value) in [(0, 10), (1, 11)] {
                // SAFETY: loom checks that no reader looks at this payload meanwhile.
                writer.payloads[at].with_mut(|payload| unsafe { *payload = value });
                publish(&writer.words[at + 1], &writer.words[at], at as u32 + 1);
            }
        });
        for at in 0..2 {
            let seen = observe(&memory.words[at]);
            if seen == 0 {
                break;
            }
            assert_eq!(seen, at as u32 + 1, "left-over taken for a frame");
            // SAFETY: loom checks that the writer is done with this payload.
            let value = memory.payloads[at].with(|payload| unsafe { *payload });
            assert_eq!(value, at as u64 + 10);
        }
        appending.join().unwrap();
    });
}

struct Words {
    turn: AtomicU64,
    copies: [[AtomicU64; 3]; 2],
}

fn words() -> Arc<Words> {
    let word = |_| AtomicU64::new(0);
    let copy = |_| std::array::from_fn(word);
    Arc::new(Words { turn: word(0), copies: std::array::from_fn(copy) })
}

fn twin(words: &Words) -> Twin<'_, AtomicU64> {
    Twin { turn: &words.turn, copies: &words.copies }
}

/// A reader never gets an end made of two, however the stores interleave.
#[test]
fn an_end_is_never_made_of_two() {
    loom::model(|| {
        let words = words();
        let writer = Arc::clone(&words);
        let appending = thread::spawn(move || {
            for end in 1..=3 {
                twin(&writer).store([end, end, end]);
            }
        });
        if let Some([a, b, c]) = twin(&words).load() {
            assert!(a == b && b == c, "{a} {b} {c}");
        }
        appending.join().unwrap();
        assert_eq!(twin(&words).load(), Some([3, 3, 3]));
    });
}

/// G3: whoever reads an end sees every frame below it.
#[test]
fn what_lies_below_an_end_is_visible() {
    loom::model(|| {
        let words = words();
        let payloads: Arc<[UnsafeCell<u64>; 2]> =
            Arc::new([UnsafeCell::new(0), UnsafeCell::new(0)]);
        let (end, written) = (Arc::clone(&words), Arc::clone(&payloads));
        let appending = thread::spawn(move || {
            for at in 0..2 {
                // SAFETY: loom checks that no reader looks at this payload meanwhile.
                written[at].with_mut(|payload| unsafe { *payload = 10 + at as u64 });
                let next = at as u64 + 1;
                twin(&end).store([next, next, next]);
            }
        });
        if let Some([end, ..]) = twin(&words).load() {
            for (at, payload) in payloads.iter().enumerate().take(end as usize) {
                // SAFETY: loom checks that the writer is done with this payload.
                assert_eq!(payload.with(|payload| unsafe { *payload }), 10 + at as u64);
            }
        }
        appending.join().unwrap();
    });
}

/// The kernel's side of a wake word: it compares and puts to sleep in one step. Who is put to sleep
/// here ends; what counts is whether anybody is still asleep when all is done.
struct Futex {
    word: AtomicU32,
    asleep: Mutex<u32>,
    news: AtomicU32,
}

impl Futex {
    fn new() -> Arc<Self> {
        let [word, news] = std::array::from_fn(|_| AtomicU32::new(0));
        Arc::new(Futex { word, asleep: Mutex::new(0), news })
    }

    fn wait(&self, seen: u32) {
        let mut asleep = self.asleep.lock().unwrap();
        if self.word.load_relaxed() == seen {
            *asleep += 1;
        }
    }

    fn wake(&self) {
        *self.asleep.lock().unwrap() = 0;
    }

    fn publish(&self, news: u32, within_reach: bool) {
        self.news.store_relaxed(news);
        match within_reach {
            true => bump_if_awaited(&self.word, || self.wake()),
            false => bump(&self.word, || self.wake()),
        }
    }

    fn wait_for(&self, news: u32, way: Way) {
        if self.news.load_relaxed() < news {
            let barrier = || {
                if way.has_barrier {
                    fence(Ordering::SeqCst)
                }
            };
            let seen = announce(&self.word, barrier);
            if !way.looks_again || self.news.load_relaxed() < news {
                self.wait(seen);
            }
        }
    }
}

/// How the two sides go about it.
#[derive(Clone, Copy)]
struct Way {
    /// Who has news only looks while nobody waits.
    within_reach: bool,
    has_barrier: bool,
    looks_again: bool,
}

const ADDS: Way = Way { within_reach: false, has_barrier: false, looks_again: true };
const LOOKS: Way = Way { within_reach: true, has_barrier: true, looks_again: true };

/// True if, in any order of steps (of three threads, with up to three preemptions), one of `waiters` sleeps through the last news. `others` have
/// news of another kind, such as poison, and hold no lock either.
fn sleeps_through_news(waiters: usize, news: u32, others: usize, way: Way) -> bool {
    let slept = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let found = slept.clone();
    let mut model = loom::model::Builder::new();
    // Three threads have too many orders to try all of them.
    model.preemption_bound = (waiters + others > 1).then_some(3);
    model.check(move || {
        let futex = Futex::new();
        let mut threads: Vec<_> = (0..waiters)
            .map(|_| {
                let futex = Arc::clone(&futex);
                thread::spawn(move || futex.wait_for(news, way))
            })
            .collect();
        threads.extend((0..others).map(|_| {
            let futex = Arc::clone(&futex);
            thread::spawn(move || bump(&futex.word, || futex.wake()))
        }));
        (1..=news).for_each(|news| futex.publish(news, way.within_reach));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        if *futex.asleep.lock().unwrap() > 0 {
            found.store(true, Ordering::Relaxed);
        }
    });
    slept.load(Ordering::Relaxed)
}

#[test]
fn nobody_sleeps_through_news() {
    for (waiters, news) in [(1, 1), (1, 2), (2, 1)] {
        assert!(!sleeps_through_news(waiters, news, 0, ADDS), "{waiters} wait for {news}");
    }
}

#[test]
fn nobody_sleeps_through_news_of_who_only_looks() {
    for (waiters, news) in [(1, 1), (1, 2), (2, 1)] {
        assert!(!sleeps_through_news(waiters, news, 0, LOOKS), "{waiters} wait for {news}");
    }
}

#[test]
fn nobody_sleeps_through_news_between_two_who_wake() {
    for way in [ADDS, LOOKS] {
        assert!(!sleeps_through_news(1, 1, 1, way));
    }
}

/// The model can tell.
#[test]
fn who_does_not_look_again_sleeps_through_news() {
    for way in [ADDS, LOOKS] {
        assert!(sleeps_through_news(1, 1, 0, Way { looks_again: false, ..way }));
    }
}

/// The model can tell: what is looked at without a barrier may be stale.
#[test]
fn who_waits_without_a_barrier_sleeps_through_news() {
    assert!(sleeps_through_news(1, 1, 0, Way { has_barrier: false, ..LOOKS }));
}

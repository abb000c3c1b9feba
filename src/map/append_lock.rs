//! The append lock: one word in the coordination page, for all threads of all processes, and the value
//! that its holder alone may touch.
//!
//! | bits of the word | say |
//! |---|---|
//! | 0 | held |
//! | 1 | somebody sleeps until it is free |
//! | 2 | somebody has waited long: who comes now waits too |
//! | 3..8 | zero |
//! | 8..16 | the participant that holds it, or held it last |
//! | 16..64 | that participant's attachment, a number never used again |
//!
//! | seen | done by | becomes |
//! |---|---|---|
//! | free, not urgent | who comes | held, of its token |
//! | free, urgent | who has waited long | held, of its token, not urgent |
//! | held | its holder | free, of the same token |
//! | held by a process that is dead | who holds that participant's byte | held, of its token |
//!
//! Since a dead process's token never stands there again, the last row swaps nothing but what it saw.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::futex;
use super::process::Birth;
use super::shared::PageMap;

const HELD: u64 = 1;
const SLEEPERS: u64 = 2;
const URGENT: u64 = 4;
const FLAGS: u64 = 0xff;
const PARTICIPANT_SHIFT: u32 = 8;
const ATTACHMENT_SHIFT: u32 = 16;

/// Who takes the lock: one attachment of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u64);

impl Token {
    /// `participant` is below 256.
    pub(crate) const fn new(attachment: u64, participant: usize) -> Self {
        Token(attachment << ATTACHMENT_SHIFT | (participant as u64) << PARTICIPANT_SHIFT)
    }

    pub(crate) const fn participant(self) -> usize {
        (self.0 >> PARTICIPANT_SHIFT) as u8 as usize
    }

    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    pub(crate) const fn of_word(word: u64) -> Self {
        Token(word & !FLAGS)
    }
}

/// What the word said at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen(u64);

impl Seen {
    pub(crate) const fn of_word(word: u64) -> Self {
        Seen(word)
    }

    pub(crate) fn is_held(self) -> bool {
        self.0 & HELD != 0
    }

    /// Who holds it, or held it last.
    pub(crate) fn token(self) -> Token {
        Token::of_word(self.0)
    }
}

/// The atomic steps that the protocol is made of, so that loom can check it.
trait Steps {
    fn look(&self) -> u64;
    /// Replaces `old` by `new`, or says what stood there.
    fn swap_if(&self, old: u64, new: u64) -> Result<(), u64>;
    fn subtract_release(&self, bits: u64) -> u64;
    fn set(&self, bits: u64);
    fn clear(&self, bits: u64);
}

macro_rules! steps {
    ($atomic:ty) => {
        impl Steps for $atomic {
            #[inline]
            fn look(&self) -> u64 {
                self.load(Ordering::Relaxed)
            }
            #[inline]
            fn swap_if(&self, old: u64, new: u64) -> Result<(), u64> {
                // Acquire pairs with the release of `subtract_release`: who has the lock sees all that
                // was stored under it before. It also holds after a death, by way of the kernel's
                // lock on the dead participant's byte.
                self.compare_exchange(old, new, Ordering::Acquire, Ordering::Relaxed).map(drop)
            }
            #[inline]
            fn subtract_release(&self, bits: u64) -> u64 {
                self.fetch_sub(bits, Ordering::Release)
            }
            fn set(&self, bits: u64) {
                self.fetch_or(bits, Ordering::Relaxed);
            }
            fn clear(&self, bits: u64) {
                self.fetch_and(!bits, Ordering::Relaxed);
            }
        }
    };
}

steps!(AtomicU64);
#[cfg(loom)]
steps!(loom::sync::atomic::AtomicU64);

/// How somebody asks for the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Lets those go first that have waited long.
    Polite,
    /// As `Polite`, after having slept: others may sleep too.
    Slept,
    /// Has waited long, and may have slept.
    Urgent,
}

/// Takes the lock if it is free; says what stood there before, or stands there now.
#[inline]
fn take<W: Steps>(word: &W, token: Token, manner: Manner) -> Result<Seen, Seen> {
    let seen = word.look();
    let closed = if manner == Manner::Urgent { HELD } else { HELD | URGENT };
    if seen & closed != 0 {
        return Err(Seen(seen));
    }
    let sleepers = if manner == Manner::Polite { seen & SLEEPERS } else { SLEEPERS };
    match word.swap_if(seen, token.0 | HELD | sleepers) {
        Ok(()) => Ok(Seen(seen)),
        Err(now) => Err(Seen(now)),
    }
}

/// Takes the lock from a dead process that was `seen` to hold it. False if something else stands there
/// by now.
fn inherit<W: Steps>(word: &W, seen: Seen, token: Token) -> bool {
    word.swap_if(seen.0, token.0 | HELD | SLEEPERS).is_ok()
}

/// Gives the lock back; true if somebody is to be woken.
#[inline]
fn give_back<W: Steps>(word: &W) -> bool {
    word.subtract_release(HELD) & SLEEPERS != 0
}

/// A value that belongs to the holder of the append lock.
pub(crate) struct Guarded<T> {
    page: Arc<PageMap>,
    token: Token,
    birth: Birth,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached through `Held` alone, of which there is at most one among all threads:
// it is made where the word was changed from free, or from a dead process, to held, and nobody changes
// it back before `Held` is dropped. So the value moves between threads, for which `T: Send` is enough.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    /// `token` is this attachment's alone, and the process makes one such value for it.
    pub(super) fn new(page: Arc<PageMap>, token: Token, birth: Birth, value: T) -> Self {
        Guarded { page, token, birth, value: UnsafeCell::new(value) }
    }

    #[inline]
    pub(crate) fn try_lock(&self, manner: Manner) -> Result<Held<'_, T>, Seen> {
        take(self.page.lock_word(), self.token, manner).map(|before| self.held(before))
    }

    /// Takes the lock from a dead process that was `seen` to hold it; the caller holds that
    /// participant's byte, so nobody else does and nobody attaches in its place.
    pub(crate) fn inherit(&self, seen: Seen) -> Option<Held<'_, T>> {
        inherit(self.page.lock_word(), seen, self.token).then(|| self.held(seen))
    }

    #[inline]
    fn held(&self, before: Seen) -> Held<'_, T> {
        Held { guarded: self, before, _stays_on_its_thread: PhantomData }
    }

    /// From now on those who come later wait for those who are here.
    pub(crate) fn urge(&self) {
        self.page.lock_word().set(URGENT);
    }

    /// Sleeps until the lock was given back, or something else happened, or `timeout` is over.
    pub(crate) fn sleep(&self, seen: Seen, timeout: Duration) {
        let word = self.page.lock_word();
        let asleep = seen.0 | SLEEPERS;
        if seen.is_held() && (seen.0 == asleep || word.swap_if(seen.0, asleep).is_ok()) {
            futex::wait_low_half(word, asleep, timeout);
        }
    }

    #[cold]
    fn wake_one(&self) {
        let word = self.page.lock_word();
        // Who wakes and finds others asleep cannot know: it sets the bit again.
        word.clear(SLEEPERS);
        futex::wake_low_half(word, 1);
    }
}

/// The append lock, held.
pub(crate) struct Held<'l, T> {
    guarded: &'l Guarded<T>,
    before: Seen,
    _stays_on_its_thread: PhantomData<*const ()>,
}

impl<T> Held<'_, T> {
    /// True if nobody else had the lock since this process had it.
    #[inline]
    pub(crate) fn is_in_sequence(&self) -> bool {
        self.before.token() == self.guarded.token
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this is the one `Held` there is (see `Sync`), and it is borrowed.
        unsafe { &*self.guarded.value.get() }
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this is the one `Held` there is (see `Sync`), and it is borrowed exclusively.
        unsafe { &mut *self.guarded.value.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // A child of `fork` has a copy of this value, and none of the lock.
        if self.guarded.birth.is_this_process() && give_back(self.guarded.page.lock_word()) {
            self.guarded.wake_one();
        }
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64;
    use loom::thread;

    struct Memory {
        word: AtomicU64,
        value: UnsafeCell<u64>,
    }

    impl Memory {
        fn new(word: u64) -> Arc<Self> {
            Arc::new(Memory { word: AtomicU64::new(word), value: UnsafeCell::new(0) })
        }

        fn add_one(&self) {
            // SAFETY: loom checks that nobody else touches the value meanwhile.
            self.value.with_mut(|value| unsafe { *value += 1 });
        }
    }

    /// G4: one holder at a time, who sees what the one before did.
    #[test]
    fn the_lock_has_one_holder_who_sees_what_the_last_did() {
        loom::model(|| {
            let memory = Memory::new(0);
            let tokens = [Token::new(1, 0), Token::new(2, 1)];
            let threads = tokens.map(|token| {
                let memory = memory.clone();
                thread::spawn(move || {
                    for manner in [Manner::Polite, Manner::Slept] {
                        if take(&memory.word, token, manner).is_ok() {
                            memory.add_one();
                            give_back(&memory.word);
                            return 1;
                        }
                    }
                    0
                })
            });
            let taken: u64 = threads.map(|thread| thread.join().unwrap()).into_iter().sum();
            // SAFETY: all threads have ended.
            let value = memory.value.with(|value| unsafe { *value });
            assert!(taken > 0 && value == taken, "{taken} holders added {value}");
        });
    }

    /// Attack 12: of all who saw a dead process hold the lock, one inherits it, whatever happened to
    /// it since.
    #[test]
    fn a_dead_holders_lock_is_inherited_once() {
        loom::model(|| {
            let dead = Token::new(1, 0);
            let memory = Memory::new(dead.0 | HELD);
            let tokens = [Token::new(2, 1), Token::new(3, 2)];
            let threads = tokens.map(|token| {
                let memory = memory.clone();
                thread::spawn(move || {
                    let seen = Seen(dead.0 | HELD);
                    let inherited = inherit(&memory.word, seen, token);
                    if inherited {
                        memory.add_one();
                        give_back(&memory.word);
                    }
                    u64::from(inherited)
                })
            });
            let heirs: u64 = threads.map(|thread| thread.join().unwrap()).into_iter().sum();
            assert_eq!(heirs, 1);
        });
    }

    /// Who sleeps is woken: after it said so, the lock is not given back without a look at the bit.
    #[test]
    fn a_sleeper_is_seen_by_who_gives_the_lock_back() {
        loom::model(|| {
            let holder = Token::new(1, 0);
            let memory = Memory::new(holder.0 | HELD);
            let waiter = memory.clone();
            let sleeping = thread::spawn(move || {
                let seen = holder.0 | HELD;
                waiter.word.swap_if(seen, seen | SLEEPERS).is_ok()
            });
            let wakes = give_back(&memory.word);
            assert_eq!(sleeping.join().unwrap(), wakes);
        });
    }
}

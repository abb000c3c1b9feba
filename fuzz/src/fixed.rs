//! Inputs in a fixed order, for CI: each is one of the corpus, changed by random numbers that nothing but
//! the seed and its place in the order decide.
//!
//! What libFuzzer tries next follows from the coverage of all before, and that is not the same twice: logs
//! draw ids and salts, look at the clock, hash at random. So what it finds in a minute is luck. Here it only
//! executes, watches and counts.

use std::env;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use fastrand::Rng;

struct Fixed {
    corpus: Vec<Vec<u8>>,
    random: Rng,
}

static FIXED: OnceLock<Option<Mutex<Fixed>>> = OnceLock::new();

/// If MAPLOG_FUZZ_FIXED names a corpus, its next input, changed by `change`, which fits into `data`: its
/// length. Else what `guided` makes of it.
pub fn mutated(
    data: &mut [u8],
    change: impl Fn(&[u8], &[u8], &mut Rng) -> Vec<u8>,
    guided: impl FnOnce(&mut [u8]) -> usize,
) -> usize {
    let Some(fixed) = FIXED.get_or_init(Fixed::from_environment) else { return guided(data) };
    let mut fixed = fixed.lock().unwrap();
    let Fixed { corpus, random } = &mut *fixed;
    let [one, other] = [random.usize(..corpus.len()), random.usize(..corpus.len())];
    // What is done with one input does not move those behind it.
    let mut own = Rng::with_seed(random.u64(..));
    let mut bytes = change(&corpus[one], &corpus[other], &mut own);
    bytes.truncate(data.len());
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}

impl Fixed {
    fn from_environment() -> Option<Mutex<Fixed>> {
        let folder = env::var_os("MAPLOG_FUZZ_FIXED")?;
        let seed = env::var("MAPLOG_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok());
        let corpus = inputs(Path::new(&folder)).into_iter().map(|(_, bytes)| bytes).collect();
        Some(Mutex::new(Fixed { corpus, random: Rng::with_seed(seed.unwrap_or(1)) }))
    }
}

/// The inputs in a folder, by name.
pub fn inputs(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut inputs: Vec<_> =
        paths.map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect();
    inputs.sort();
    inputs
}

/// Changes a few bytes of `one`, or takes some from `other`: for inputs of which any bytes mean something.
pub fn change_bytes(one: &[u8], other: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut bytes = one.to_vec();
    for _ in 0..random.u8(1..=4) {
        let at = random.usize(..=bytes.len());
        let few = (1 + random.usize(..4).pow(2)).min(bytes.len() - at);
        match random.u8(..8) {
            0 => drop(bytes.drain(at..at + few)),
            1 => drop(bytes.splice(at..at, (0..few).map(|_| random.u8(..)))),
            2 => {
                let copy = bytes[at..at + few].to_vec();
                let to = random.usize(..=bytes.len());
                drop(bytes.splice(to..to, copy));
            }
            3 => {
                let from = random.usize(..=other.len());
                let part = &other[from..(from + random.usize(..64)).min(other.len())];
                let until = if random.bool() { at } else { (at + part.len()).min(bytes.len()) };
                drop(bytes.splice(at..until, part.iter().copied()));
            }
            4 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.u8(..8)),
            5 => bytes.iter_mut().skip(at).take(1).for_each(|byte| {
                *byte = byte.wrapping_add(random.u8(..9).wrapping_sub(4));
            }),
            _ => bytes.iter_mut().skip(at).take(few).for_each(|byte| *byte = random.u8(..)),
        }
    }
    bytes
}

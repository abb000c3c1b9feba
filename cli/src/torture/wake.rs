//! Readers that sleep: an append wakes them.

use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use super::crew::PATIENCE;
use super::round::{Round, close_log, open_log, read_log};
use super::stop::{Found, Stop, broke, loss};
use super::tally::Fault;

const TIMES: usize = 16;
/// A reader that nobody wakes looks for itself after 100 ms.
const SLOW: Duration = Duration::from_millis(40);

pub(crate) fn run(round: &mut Round) -> Found {
    let path = round.log();
    let log = open_log(&path, &round.plan())?;
    let mut tail = read_log(&path)?.tail_from(0).spin(Duration::ZERO);
    let (tell, told) = channel();
    let reader = thread::spawn(move || -> Found {
        for _ in 0..TIMES {
            let seq = tail.recv().map_err(|error| broke("a sleeping tail", error))?.seq();
            if tell.send(seq).is_err() {
                break;
            }
        }
        Ok(())
    });
    let mut woken = 0;
    for time in 0..TIMES as u64 {
        round.trying(Fault::Asleep);
        // Long enough to fall asleep, and well before it looks for itself.
        sleep(Duration::from_millis(round.rng.u64(5..12)));
        let start = Instant::now();
        let seq = log.append(time.to_le_bytes()).map_err(|error| broke("appending", error))?;
        if seq != time || heard(&told)? != seq {
            return loss(format!("record {time} was appended as {seq} and read as another"));
        }
        round.tally.compared += 1;
        woken += usize::from(start.elapsed() < SLOW);
    }
    round.tally.appended += TIMES as u64;
    close_log(log)?;
    match reader.join() {
        Ok(done) => done?,
        Err(_) => return loss("a sleeping reader panicked"),
    }
    // On a busy machine one or the other may be slow.
    match woken {
        0 => loss(format!("{TIMES} times a reader slept on, at least {SLOW:?}, and was not woken")),
        _ => Ok(()),
    }
}

fn heard(told: &Receiver<u64>) -> Result<u64, Stop> {
    match told.recv_timeout(PATIENCE) {
        Ok(seq) => Ok(seq),
        Err(_) => loss(format!("a sleeping reader was not woken in {PATIENCE:?}")),
    }
}

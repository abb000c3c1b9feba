//! The verdict where a valid run of frames ends: one pure table.
//!
//! Does not know: files, mappings, frames. `survey/` sees and asks, the holder of the lock acts.

/// Why a run of valid frames ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A zero commit word, or the end of the file: nothing was committed there.
    Vacant,
    /// The segment's end frame.
    EndFrame,
    /// Bytes that are no valid frame.
    Invalid,
    /// A batch of which a part is missing.
    BrokenBatch,
    /// The segment has no valid header, so nothing in it can be read.
    NoHeader,
}

/// The next segment, by its base sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Successor {
    None,
    /// Its base is where this run ended.
    Fits,
    /// Its base is higher: numbers are missing between.
    Beyond,
}

/// The two slots of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotsSeen {
    /// Both valid, or one never written; the newer says closed, at this very place.
    ClosedHere,
    /// The newest valid one says something else, or the other one is damaged.
    Open,
    /// Neither is valid, or a segment behind has none that is: with its name it had one.
    NoneValid,
}

/// What was seen where a valid run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scene {
    /// The coordination page is live: the page cache is the truth.
    pub(crate) live: bool,
    pub(crate) stop: Stop,
    /// The run ended below what is known to have been durable (or, on a live page, committed).
    pub(crate) below_evidence: bool,
    pub(crate) slots: SlotsSeen,
    pub(crate) successor: Successor,
}

/// What follows from a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The log goes on in the next segment.
    NextSegment,
    /// The log ends here, and the next frame goes here too.
    GoOnHere,
    /// The log ends here; what follows is cut and the next frame goes into a new segment.
    EndOfLog,
    /// Records are lost: they are reported, and reading goes on behind them.
    Damage,
}

/// The table of docs/durability.md, first matching row.
pub(crate) fn judge(scene: Scene) -> Verdict {
    let Scene { live, stop, below_evidence, slots, successor } = scene;
    match (successor, stop, slots) {
        // What stands behind the successor's base was cut, whatever it is; an end frame is a
        // courtesy, since its writer may have died before it.
        (Successor::Fits, ..) => Verdict::NextSegment,

        // Records were here and were durable. Nothing is cut, however the bytes look now.
        _ if below_evidence => Verdict::Damage,

        // Without header or slots there is no telling what was durable, and nothing is cut on a
        // guess.
        (_, Stop::NoHeader, _) | (_, _, SlotsSeen::NoneValid) => Verdict::Damage,

        // Nothing was durable from here on, so the gap is a torn tail; a segment that was made
        // behind it never held a promise, and its numbers do not join.
        (Successor::Beyond, ..) => Verdict::EndOfLog,

        // Closed here and nothing came after: the slot is reopened, durably, before the first
        // append, so this cannot be a log that went on and lost what it wrote.
        (Successor::None, Stop::Vacant, SlotsSeen::ClosedHere) => Verdict::GoOnHere,

        // Only processes died, and stores reach the page cache in order: a zero word says that the
        // one at work had not committed.
        (Successor::None, Stop::Vacant, _) if live => Verdict::GoOnHere,

        // Everything else that ends the log may have left frames behind that are not in its place
        // any more: writing over them could join what never belonged together. A new segment has a
        // salt of its own.
        (Successor::None, ..) => Verdict::EndOfLog,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_scenes() -> impl Iterator<Item = Scene> {
        let stops =
            [Stop::Vacant, Stop::EndFrame, Stop::Invalid, Stop::BrokenBatch, Stop::NoHeader];
        let slots = [SlotsSeen::ClosedHere, SlotsSeen::Open, SlotsSeen::NoneValid];
        let successors = [Successor::None, Successor::Fits, Successor::Beyond];
        let bools = [false, true];
        bools.into_iter().flat_map(move |live| {
            stops.into_iter().flat_map(move |stop| {
                bools.into_iter().flat_map(move |below_evidence| {
                    slots.into_iter().flat_map(move |slots| {
                        successors.into_iter().map(move |successor| Scene {
                            live,
                            stop,
                            below_evidence,
                            slots,
                            successor,
                        })
                    })
                })
            })
        })
    }

    /// G6: each promise, asked of every combination, in words that are not the table's.
    #[test]
    fn every_combination_keeps_every_promise() {
        let mut scenes = 0;
        for scene in all_scenes() {
            scenes += 1;
            let verdict = judge(scene);
            let durable_records_missing =
                scene.below_evidence && scene.successor != Successor::Fits;
            if durable_records_missing {
                assert_eq!(
                    verdict,
                    Verdict::Damage,
                    "durable records vanish without a word: {scene:?}"
                );
            }
            if verdict == Verdict::GoOnHere {
                assert_eq!(scene.stop, Stop::Vacant, "would write over bytes: {scene:?}");
                assert_eq!(scene.successor, Successor::None, "would write behind a cut: {scene:?}");
                assert!(
                    scene.live || scene.slots == SlotsSeen::ClosedHere,
                    "would write where a power cut may have left frames: {scene:?}"
                );
            }
            if verdict == Verdict::NextSegment {
                assert_eq!(scene.successor, Successor::Fits, "would jump over numbers: {scene:?}");
            }
            if verdict == Verdict::EndOfLog {
                assert!(
                    scene.slots != SlotsSeen::NoneValid && scene.stop != Stop::NoHeader,
                    "would cut on a guess: {scene:?}"
                );
            }
        }
        assert_eq!(scenes, 2 * 5 * 2 * 3 * 3);
    }

    /// The rows of docs/durability.md, one by one.
    #[test]
    fn every_row_of_the_document_holds() {
        use SlotsSeen::{ClosedHere, NoneValid, Open};
        use Successor::{Beyond, Fits, None};
        let rows = [
            ("closed cleanly", false, Stop::Vacant, false, ClosedHere, None, Verdict::GoOnHere),
            (
                "power cut, nothing behind",
                false,
                Stop::Vacant,
                false,
                Open,
                None,
                Verdict::EndOfLog,
            ),
            ("power cut, torn record", false, Stop::Invalid, false, Open, None, Verdict::EndOfLog),
            (
                "power cut, torn batch",
                false,
                Stop::BrokenBatch,
                false,
                Open,
                None,
                Verdict::EndOfLog,
            ),
            ("successor lost", false, Stop::EndFrame, false, Open, None, Verdict::EndOfLog),
            ("killed", true, Stop::Vacant, false, Open, None, Verdict::GoOnHere),
            (
                "killed, odd bytes at the end",
                true,
                Stop::Invalid,
                false,
                Open,
                None,
                Verdict::EndOfLog,
            ),
            (
                "rotten below what was durable",
                false,
                Stop::Invalid,
                true,
                Open,
                None,
                Verdict::Damage,
            ),
            (
                "zeros below what was durable",
                false,
                Stop::Vacant,
                true,
                Open,
                None,
                Verdict::Damage,
            ),
            ("closed, then rotten", false, Stop::Invalid, true, ClosedHere, None, Verdict::Damage),
            ("no slot", false, Stop::Invalid, false, NoneValid, None, Verdict::Damage),
            ("no header", false, Stop::NoHeader, false, NoneValid, Beyond, Verdict::Damage),
            ("no slot behind", false, Stop::Vacant, false, NoneValid, Beyond, Verdict::Damage),
            (
                "chain hole, never synced",
                false,
                Stop::Vacant,
                false,
                Open,
                Beyond,
                Verdict::EndOfLog,
            ),
            ("chain hole, synced", false, Stop::Vacant, true, Open, Beyond, Verdict::Damage),
            ("rolled", false, Stop::EndFrame, false, Open, Fits, Verdict::NextSegment),
            (
                "rolled, died before the end frame",
                true,
                Stop::Vacant,
                false,
                Open,
                Fits,
                Verdict::NextSegment,
            ),
        ];
        for (what, live, stop, below_evidence, slots, successor, verdict) in rows {
            let scene = Scene { live, stop, below_evidence, slots, successor };
            assert_eq!(judge(scene), verdict, "{what}");
        }
    }
}

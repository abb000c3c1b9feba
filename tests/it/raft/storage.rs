//! What openraft's conformance suite asks of a log store, and what raft-rs and hashicorp/raft ask beyond
//! that, asked of the store of `examples/raft_log.rs`: the calls, the situations and their outcomes. Each time the
//! store is closed and opened again, and answers the same.

use std::ops::Range;
use std::sync::mpsc;

use maplog::{ErrorKind, Log};
use tempfile::TempDir;

use crate::support::{image, tempdir};

#[path = "../../../examples/raft_log.rs"]
#[allow(dead_code, reason = "its main")]
mod example;

use example::{Entry, LogId, LogState, Store, Vote, entries};

fn id(term: u64, index: u64) -> LogId {
    LogId { term, index }
}

fn blank(term: u64, index: u64) -> Entry {
    Entry { id: id(term, index), command: Vec::new() }
}

/// A store in a directory of its own.
struct Node {
    home: TempDir,
    store: Option<Store>,
}

impl Node {
    fn new() -> Self {
        Node::in_home(tempdir())
    }

    fn in_home(home: TempDir) -> Self {
        let store = Some(Store::open(&home.path().join("node"), 0).unwrap());
        Node { home, store }
    }

    /// Entry 0 of term 0, 1 to 10 of term 1, and a vote.
    fn with_ten() -> Self {
        let mut node = Node::new();
        node.append(&[blank(0, 0)]);
        (1..11).for_each(|index| node.append(&[blank(1, index)]));
        node.store().save_vote(Vote { term: 1, node: 0 }).unwrap();
        node
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    /// Returns when the callback says that the entries are durable.
    fn append(&mut self, entries: &[Entry]) {
        let (sender, told) = mpsc::channel();
        self.store().append(entries, move |flushed| sender.send(flushed).unwrap()).unwrap();
        assert_eq!(told.recv().unwrap(), Ok(()));
        let last = entries.last().unwrap().id.index;
        assert!(read_entries(self).durable_seq() > last, "told before it was durable");
    }

    fn purge(&mut self, id: LogId) {
        self.store().purge(id).unwrap();
    }

    /// What is there, before and after it was closed and opened; and on a disk whose power failed.
    fn has(&mut self, last_purged: Option<LogId>, last: Option<LogId>, indexes: Range<u64>) {
        self.looks_like(last_purged, last, indexes.clone());
        self.reopen();
        self.looks_like(last_purged, last, indexes.clone());
        self.after_a_power_cut().looks_like(last_purged, last, indexes);
    }

    fn looks_like(&mut self, last_purged: Option<LogId>, last: Option<LogId>, indexes: Range<u64>) {
        let store = self.store();
        assert_eq!(store.log_state().unwrap(), LogState { last_purged, last });
        let all = store.entries(0..u64::MAX).unwrap();
        assert!(all.iter().map(|entry| entry.id.index).eq(indexes), "{all:?}");
        for entry in all {
            assert_eq!(store.term(entry.id.index).unwrap(), Some(entry.id.term));
        }
    }

    fn reopen(&mut self) {
        self.store.take().unwrap().close().unwrap();
        self.store = Some(Store::open(&self.home.path().join("node"), 0).unwrap());
    }

    /// The store as the files are now: a page that was copied is not live.
    fn after_a_power_cut(&self) -> Node {
        let home = tempdir();
        std::fs::create_dir(home.path().join("node")).unwrap();
        for log in ["entries", "state"] {
            let copy = image(&self.home.path().join("node").join(log)).keep();
            std::fs::rename(copy, home.path().join("node").join(log)).unwrap();
        }
        Node::in_home(home)
    }
}

#[test]
fn a_new_store_has_no_entry_no_vote_and_nothing_purged() {
    let mut node = Node::new();
    node.has(None, None, 0..0);
    assert_eq!(node.store().read_vote(), None);
    assert_eq!(node.store().term(0).unwrap(), None);
}

/// `get_initial_state_with_state`, `last_id_in_log`.
#[test]
fn the_last_id_is_that_of_the_last_entry() {
    let mut node = Node::new();
    node.append(&[blank(0, 0), blank(1, 1), blank(3, 2)]);
    node.has(None, Some(id(3, 2)), 0..3);
}

/// `get_initial_state_re_apply_committed` and others, which begin at 1, 2 or 5; raft-rs begins at 1.
#[test]
fn the_first_entry_of_an_empty_store_has_any_index() {
    for first in [1, 2, 1 << 40] {
        let mut node = Node::new();
        node.append(&[blank(1, first), blank(1, first + 1)]);
        node.has(None, Some(id(1, first + 1)), first..first + 2);
        node.purge(id(1, first - 1));
        node.has(Some(id(1, first - 1)), Some(id(1, first + 1)), first..first + 2);
    }
}

/// `save_vote`.
#[test]
fn the_last_vote_is_kept_whatever_happens_to_the_entries() {
    let mut node = Node::with_ten();
    let vote = Some(Vote { term: 300, node: 5 });
    // Many, so that older ones are dropped, and their segments with them.
    for term in 1..=300 {
        node.store().save_vote(Vote { term, node: 5 }).unwrap();
    }
    assert_eq!(node.after_a_power_cut().store().read_vote(), vote);
    node.store().truncate(0).unwrap();
    node.purge(id(300, 1000));
    assert_eq!(node.store().read_vote(), vote);
    node.reopen();
    assert_eq!(node.store().read_vote(), vote);
    node.has(Some(id(300, 1000)), Some(id(300, 1000)), 0..0);
    node.store.take().unwrap().close().unwrap();
    // SAFETY: nobody else has it open.
    let state = unsafe { Log::open(node.home.path().join("node/state")) }.unwrap();
    assert!(state.len() <= 65 && state.next_seq() == 302, "{state:?}");
}

/// `get_log_entries`, `limited_get_log_entries`, `entries_stream`; raft-rs: at least one, whatever the limit.
#[test]
fn entries_come_by_range_as_far_as_they_are_there_and_within_a_limit() {
    let mut node = Node::with_ten();
    let store = node.store();
    let indexes = |range: Range<u64>| -> Vec<u64> {
        store.entries(range).unwrap().iter().map(|entry| entry.id.index).collect()
    };
    assert!(indexes(3..3).is_empty());
    assert_eq!(indexes(5..7), [5, 6]);
    assert_eq!(indexes(0..3), [0, 1, 2]);
    assert_eq!(indexes(8..100), [8, 9, 10]);
    assert!(indexes(11..100).is_empty());
    assert_eq!(indexes(0..11), (0..11).collect::<Vec<_>>());

    let mut node = Node::new();
    let sized = |index, bytes| Entry { id: id(1, index), command: vec![b'c'; bytes] };
    node.append(&[sized(0, 100), sized(1, 10), sized(2, 10), sized(3, 10)]);
    let count =
        |range, most| node.store.as_ref().unwrap().entries_up_to(range, most).unwrap().len();
    assert_eq!(count(0..4, 5), 1, "one entry, however long");
    assert_eq!(count(0..4, 110), 2);
    assert_eq!(count(1..4, 20), 2);
    assert_eq!(count(1..4, 19), 1);
    assert_eq!(count(1..1, 0), 0);
}

/// `try_get_log_entry`, `get_log_id`; raft-rs: the term of the entry before the first one is known.
#[test]
fn an_entry_that_was_purged_or_is_not_there_yet_has_no_term_but_the_last_one_purged() {
    let mut node = Node::with_ten();
    node.purge(id(1, 3));
    let terms = [0, 2, 3, 4, 10, 11].map(|index| node.store().term(index).unwrap());
    assert_eq!(terms, [None, None, Some(1), Some(1), Some(1), None]);
    let reader = read_entries(&node);
    assert_eq!(reader.get(2).unwrap_err().kind(), ErrorKind::Trimmed);
}

fn read_entries(node: &Node) -> maplog::Reader {
    crate::support::read(node.home.path().join("node/entries")).unwrap()
}

/// `get_log_state`, `purge_logs_upto_0`, `_5` and `_20`.
#[test]
fn a_purge_up_to_the_first_some_all_and_more_than_there_is() {
    for (purged, left) in [(id(0, 0), 1..11), (id(1, 5), 6..11)] {
        let mut node = Node::with_ten();
        node.purge(purged);
        node.has(Some(purged), Some(id(1, 10)), left);
    }
    for (purged, next) in [(id(1, 10), 11), (id(1, 20), 21)] {
        let mut node = Node::with_ten();
        node.purge(purged);
        node.has(Some(purged), Some(purged), 0..0);
        // An older purge that comes late.
        node.purge(id(1, 4));
        node.has(Some(purged), Some(purged), 0..0);
        node.append(&[blank(2, next)]);
        node.has(Some(purged), Some(id(2, next)), next..next + 1);
    }
}

/// `delete_logs_since_11` and `_0`, and from the middle.
#[test]
fn a_truncation_of_nothing_of_some_and_of_all() {
    for (from, last) in
        [(11, Some(id(1, 10))), (15, Some(id(1, 10))), (4, Some(id(1, 3))), (0, None)]
    {
        let mut node = Node::with_ten();
        node.store().truncate(from).unwrap();
        node.has(None, last, 0..from.min(11));
    }
    // All that a purge left.
    let mut node = Node::with_ten();
    node.purge(id(1, 5));
    node.store().truncate(6).unwrap();
    node.has(Some(id(1, 5)), Some(id(1, 5)), 0..0);
    node.append(&[blank(2, 6)]);
    node.has(Some(id(1, 5)), Some(id(2, 6)), 6..7);
}

/// `append_to_log`.
#[test]
fn an_append_after_a_purge_follows_the_last_entry() {
    let mut node = Node::with_ten();
    node.purge(id(0, 0));
    node.append(&[blank(2, 11)]);
    node.has(Some(id(0, 0)), Some(id(2, 11)), 1..12);
}

/// hashicorp/raft deletes the conflicting rest first, raft-rs hands over entries that take its place.
#[test]
fn another_leaders_entries_take_the_place_of_those_they_conflict_with() {
    let mut node = Node::with_ten();
    let reader = read_entries(&node);
    let old = reader.get(9).unwrap().unwrap();
    node.append(&entries(2, 8..10));
    node.has(None, Some(id(2, 9)), 0..10);
    assert_eq!(node.store().entries(8..10).unwrap(), entries(2, 8..10));
    assert_eq!(node.store().term(7).unwrap(), Some(1));
    assert_eq!(old.data(), 1_u64.to_le_bytes(), "what replication had read stays as it is");
}

#[test]
fn entries_that_leave_a_hole_are_refused_and_change_nothing() {
    let mut node = Node::with_ten();
    let refused = node.store().append(&[blank(1, 12)], |_| unreachable!());
    assert!(refused.unwrap_err().to_string().contains("hole"));
    node.has(None, Some(id(1, 10)), 0..11);
}

/// All writes are in order: what was appended before a vote, a truncation or a purge is durable, and said to
/// be, before that.
#[test]
fn callbacks_are_told_in_order_and_before_any_later_write_returns() {
    let mut node = Node::new();
    let (sender, told) = mpsc::channel();
    let mut given = 0;
    for round in 0..60 {
        let first = node.store().log_state().unwrap().last.map_or(0, |last| last.index + 1);
        for index in first..first + 20 {
            let (sender, number) = (sender.clone(), given);
            let flushed = move |flushed| sender.send((number, flushed)).unwrap();
            node.store().append(&[blank(1, index)], flushed).unwrap();
            given += 1;
        }
        match round % 4 {
            0 => node.store().save_vote(Vote { term: round, node: 1 }).unwrap(),
            1 => node.store().truncate(first + 10).unwrap(),
            2 => node.store().append(&entries(2, first + 1..first + 2), |_| ()).unwrap(),
            _ => node.purge(id(9, first + 50)),
        }
        let all = told.try_iter();
        assert!(all.eq((given - 20..given).map(|number| (number, Ok(())))), "round {round}");
    }
}

/// The term of the last entry is noted before it goes: a crash in between leaves a purge to be finished.
#[test]
fn a_purge_that_a_crash_interrupted_is_finished_by_the_next_opening() {
    for (purged, left) in [(id(1, 5), 6..11), (id(2, 30), 0..0)] {
        let mut node = Node::with_ten();
        let before = node.after_a_power_cut();
        node.purge(purged);
        let after = node.after_a_power_cut();
        // Its note is there, and nothing was dropped yet.
        let home = tempdir();
        let mixed = home.path().join("node");
        std::fs::create_dir(&mixed).unwrap();
        for (from, log) in [(&before, "entries"), (&after, "state")] {
            let copy = image(&from.home.path().join("node").join(log)).keep();
            std::fs::rename(copy, mixed.join(log)).unwrap();
        }
        let last = if left.is_empty() { purged } else { id(1, 10) };
        Node::in_home(home).has(Some(purged), Some(last), left);
    }
}

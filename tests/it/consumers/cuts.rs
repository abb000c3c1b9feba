//! Attack 15: a consumer ahead of its log. Numbers that mean other records are never passed over.

use std::fs;

use maplog::ErrorKind;

use super::{append, append_durably, assert_nothing, expect, open_manual};
use crate::support::{copy_folder, flip, image, open, records, segments, tempdir};

fn rewound(consumer: &mut maplog::Consumer) -> u64 {
    let error = consumer.try_recv().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rewound, "{error}");
    assert_eq!(consumer.next_seq(), error.seq().unwrap());
    error.seq().unwrap()
}

/// The place reached the disk, records before it did not, and their numbers are given again.
#[test]
fn attack_15_a_place_ahead_of_what_a_power_cut_left_is_set_back() {
    for appended in [0, 1, 15, 40] {
        let home = tempdir();
        let log = open_manual(home.path());
        append_durably(&log, 10);
        append(&log, 20);
        let mut consumer = log.consumer("a").unwrap().include_volatile();
        expect(&mut consumer, 0..30);
        consumer.ack(24).unwrap();
        consumer.sync().unwrap();
        let cut = image(home.path());
        let last = segments(cut.path()).pop().unwrap();
        let torn = records(&last).into_iter().find(|frame| frame.seq == 20).unwrap();
        flip(&last, torn.payload_at());

        let log = open_manual(cut.path());
        assert_eq!(log.next_seq(), 20);
        append_durably(&log, appended);
        let mut consumer = log.consumer("a").unwrap();
        assert_eq!(rewound(&mut consumer), 20, "{appended} appended");
        expect(&mut consumer, 20..20 + appended);
        assert_nothing(&mut consumer);
        if let Some(last) = appended.checked_sub(1) {
            consumer.ack(20 + last).unwrap();
            drop(consumer);
            let mut consumer = log.consumer("a").unwrap();
            append_durably(&log, 3);
            expect(&mut consumer, 20 + appended..23 + appended);
        }
    }
}

#[test]
fn attack_15_a_place_beyond_a_cut_is_set_back_in_this_process_and_later() {
    for reopened in [false, true] {
        let home = tempdir();
        let log = open(home.path()).unwrap();
        append_durably(&log, 100);
        let mut consumer = log.consumer("a").unwrap();
        expect(&mut consumer, 0..90);
        consumer.ack(79).unwrap();
        log.truncate_from(50).unwrap();
        if reopened {
            drop(consumer);
            consumer = log.consumer("a").unwrap();
            assert_eq!(consumer.acked_seq(), 80, "not told yet");
        }
        append_durably(&log, 60);
        assert_eq!(rewound(&mut consumer), 50);
        assert_eq!(consumer.acked_seq(), 50);
        expect(&mut consumer, 50..110);
        consumer.ack(109).unwrap();
        drop(consumer);
        assert_eq!(log.consumer("a").unwrap().next_seq(), 110);
    }
}

/// A place of the same number is another place under another epoch.
#[test]
fn the_number_that_was_stored_before_a_cut_is_stored_again_behind_it() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 100);
    let mut consumer = log.consumer("a").unwrap();
    expect(&mut consumer, 0..80);
    consumer.ack(79).unwrap();
    log.truncate_from(50).unwrap();
    append_durably(&log, 50);
    assert_eq!(rewound(&mut consumer), 50);
    expect(&mut consumer, 50..80);
    consumer.ack(79).unwrap();
    drop(consumer);
    expect(&mut log.consumer("a").unwrap(), 80..100);
}

/// A worker that had a record before the cut must not say that the one of the same number is done.
#[test]
fn an_acker_from_before_a_cut_acknowledges_nothing_behind_it() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 100);
    let mut consumer = log.consumer("a").unwrap();
    let before = consumer.acker();
    expect(&mut consumer, 0..100);
    before.ack_one(90).unwrap();
    log.truncate_from(50).unwrap();
    append_durably(&log, 50);
    assert_eq!(rewound(&mut consumer), 50);
    expect(&mut consumer, 50..95);
    for seq in [10, 60, 94] {
        assert_eq!(before.ack_one(seq).unwrap_err().kind(), ErrorKind::Rewound);
        assert_eq!(before.ack(seq).unwrap_err().kind(), ErrorKind::Rewound);
    }
    assert_eq!(consumer.acked_seq(), 0);
    consumer.acker().ack(89).unwrap();
    // 90 was done under another epoch.
    assert_eq!(consumer.acked_seq(), 90);
}

#[test]
fn what_is_reset_and_trimmed_is_told() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 100);
    let mut consumer = log.consumer("a").unwrap();
    expect(&mut consumer, 0..50);
    consumer.ack(39).unwrap();
    log.trim_before(70).unwrap();
    let error = consumer.try_recv().unwrap_err();
    assert_eq!((error.kind(), error.seq()), (ErrorKind::Trimmed, Some(70)));
    assert_eq!(consumer.acked_seq(), 70, "nobody waits for what is gone");
    expect(&mut consumer, 70..100);
    log.reset(20).unwrap();
    append_durably(&log, 5);
    assert_eq!(rewound(&mut consumer), 20);
    expect(&mut consumer, 20..25);
    consumer.ack(24).unwrap();
    log.reset(1000).unwrap();
    append_durably(&log, 5);
    let error = consumer.try_recv().unwrap_err();
    assert_eq!((error.kind(), error.seq()), (ErrorKind::Trimmed, Some(1000)));
    expect(&mut consumer, 1000..1005);
}

/// Records that are damaged are told once; the place does not wait for them.
#[test]
fn lost_records_are_named_and_count_as_done() {
    let home = tempdir();
    let log = open(home.path()).unwrap();
    append_durably(&log, 30);
    drop(log.consumer("a").unwrap());
    log.close().unwrap();
    let file = segments(home.path()).remove(0);
    let hit = records(&file).into_iter().find(|frame| frame.seq == 12).unwrap();
    flip(&file, hit.payload_at());
    let log = open(home.path()).unwrap();
    let mut consumer = log.consumer("a").unwrap();
    expect(&mut consumer, 0..12);
    assert_eq!(consumer.try_recv().unwrap_err().lost(), Some(12..13));
    expect(&mut consumer, 13..30);
    (0..30).filter(|seq| *seq != 12).for_each(|seq| consumer.ack_one(seq).unwrap());
    assert_eq!(consumer.acked_seq(), 30);
}

/// A copy taken file by file while the log was cut: the segments are from before, the place from after.
#[test]
fn a_place_of_an_epoch_that_the_log_never_had_is_set_back_to_the_first_record() {
    for appended in [0, 40] {
        let home = tempdir();
        let log = open(home.path()).unwrap();
        append_durably(&log, 100);
        let copy = image(home.path());
        log.truncate_from(50).unwrap();
        append_durably(&log, 100);
        let mut consumer = log.consumer("a").unwrap();
        expect(&mut consumer, 0..90);
        consumer.ack(79).unwrap();
        drop(consumer);
        fs::create_dir(copy.path().join("consumers")).unwrap();
        copy_folder(&home.path().join("consumers"), &copy.path().join("consumers"));

        let log = open(copy.path()).unwrap();
        // Opening notes it: whatever epochs come, the place stays back.
        append_durably(&log, appended);
        log.truncate_from(90).unwrap();
        log.truncate_from(85).unwrap();
        let mut consumer = log.consumer("a").unwrap();
        assert_eq!(rewound(&mut consumer), 0);
        expect(&mut consumer, 0..85);
        assert_eq!(consumer.user_data(), b"");
        drop(consumer);
        let mut consumer = log.consumer("a").unwrap();
        assert_eq!(rewound(&mut consumer), 0, "told until something was acknowledged");
        expect(&mut consumer, 0..3);
        consumer.ack(2).unwrap();
        drop(consumer);
        expect(&mut log.consumer("a").unwrap(), 3..85);
    }
}

"""Arbitrary bytes give records, losses or the package's own errors, after bounded work."""

import os
import random
import struct
import time
import unittest
from unittest.mock import patch

import maplog
from maplog import format as layout
from maplog import page as pages
from maplog.scan import SEARCH_FACTOR, Frames
from forge import Directory, frame, golden_names, live_page, mutate, page_end

ROUNDS = 500
SALT = 0x1122334455667788
MIB = 1 << 20


def read_out(path):
    """Reads all of a log in every way. True if it could be."""
    try:
        log = maplog.Log(path)
        seq, whole = log.first_seq, 0
        for item in log:
            start, stop = item if isinstance(item, maplog.Lost) else (item.seq, item.seq + 1)
            assert start == seq < stop, (item, seq)
            whole += isinstance(item, maplog.Record)
            seq = stop
        assert seq == log.next_seq, (seq, log.next_seq)
        report = maplog.verify(path)
        assert report.records == whole, (report.records, whole)
        tail = maplog.Tail(path, log.first_seq)
        assert sum(isinstance(item, maplog.Record) for item in iter(tail.try_recv, None)) == whole
        return True
    except maplog.Error:
        return False


class HostileBytes(unittest.TestCase):
    def test_forged_segments_are_read_or_refused(self):
        rng = random.Random(1)
        names = [name for name in golden_names() if name != "version-2"]
        could_be_read = 0
        for _ in range(ROUNDS):
            with Directory(rng.choice(names)) as log:
                path = rng.choice(log.files())
                with open(path, "rb") as file:
                    data = bytearray(file.read())
                salt = layout.decode_header([data, data[layout.BLOCK_BYTES:]]).salt
                mutate(data, rng, salt)
                log.write(os.path.basename(path), data)
                began = time.monotonic()
                could_be_read += read_out(log.path)
                self.assertLess(time.monotonic() - began, 5)
        self.assertGreater(could_be_read, ROUNDS // 3)
        self.assertLess(could_be_read, ROUNDS)

    @patch("maplog.log._ATTEMPTS", 3)
    def test_a_live_page_that_lies_is_survived(self):
        rng = random.Random(2)
        could_be_read = 0
        for _ in range(300):
            with Directory("closed") as log:
                words = {at: rng.choice((0, 1, 2, 8192, 40, 58, 1 << 63, rng.getrandbits(64))) for at in range(512)}
                offset, seq = rng.choice((0, 8, 8192, 9000, 12304, 1 << 63)), rng.choice((0, 50, 58, 70))
                words.update({pages._DIRECTORY: 0, **page_end(rng.choice((1, 2, 2, 2, 3)), offset, seq)})
                live_page(log, words)
                could_be_read += read_out(log.path)
        self.assertGreater(could_be_read, 100)

    def test_a_search_through_claims_of_the_whole_segment_is_bounded(self):
        claim = struct.pack("<IIQ", layout.SINGLE << layout.LENGTH_BITS | MIB // 2, 1, 0)
        data = memoryview(bytes(layout.HEADER_BYTES) + claim * (MIB // len(claim)))
        frames = Frames(data, len(data), SALT, MIB, layout.SEQ_END)
        self.assertIsNone(frames.search(layout.HEADER_BYTES, 0))
        self.assertLessEqual(frames._checksummed, SEARCH_FACTOR * MIB + MIB)

    def test_a_batch_without_end_is_none(self):
        start, data, tie = layout.HEADER_BYTES, bytearray(layout.HEADER_BYTES), 0
        for seq in range(1000):
            kind = layout.MIDDLE if seq else layout.FIRST
            data += frame(SALT, len(data), kind, seq, tie=tie)
            if seq == 0:
                tie = layout.decode_frame(data, start)[1]
        frames = Frames(memoryview(data), len(data), SALT, MIB, layout.SEQ_END)
        self.assertIsNone(frames.frame_at(start, 0))

    def test_random_bytes_are_no_header_and_no_slots(self):
        rng = random.Random(3)
        for _ in range(300):
            block = rng.randbytes(rng.choice((0, 1, 12, 511, 512, 640, 4096)))
            self.assertIsNone(layout.decode_header([block, block]))
            self.assertIsNone(layout.decode_slots([block, block], SALT).newest)


if __name__ == "__main__":
    unittest.main()

"""The layout against the example in docs/format.md, and rule by rule."""

import os
import re
import unittest
from zlib import crc32

import maplog
from maplog import format as layout
from maplog.errors import Unsupported
from maplog.scan import Frames
from forge import Directory, frame

DOCUMENT = os.path.join(os.path.dirname(__file__), "..", "..", "..", "docs", "format.md")
SALT = 0x1122334455667788
START = layout.HEADER_BYTES


def example():
    """The name and the bytes of the segment that the document shows."""
    with open(DOCUMENT, encoding="utf-8") as file:
        text = re.search(r"```hex\nfile (\S+), (\d+) bytes.*?\n(.*?)```", file.read(), re.DOTALL)
    data = bytearray(int(text[2]))
    for line in text[3].splitlines():
        at, *digits = line.split()
        row = bytes.fromhex("".join(digits))
        data[int(at, 16):int(at, 16) + len(row)] = row
    return text[1], bytes(data)


def frames_of(*made, share_end=layout.SEQ_END):
    """A segment in which frames adjoin each other; each is made by what is given its offset."""
    data = bytearray(START)
    for make in made:
        data += make(len(data))
    data += bytes(64)
    return Frames(memoryview(bytes(data)), len(data), SALT, layout.MIN_SEGMENT_BYTES, share_end)


def single(seq, payload=b"", kind=layout.SINGLE):
    return lambda offset: frame(SALT, offset, kind, seq, payload)


class Example(unittest.TestCase):
    def test_it_is_read_as_the_document_says(self):
        name, data = example()
        with Directory() as log:
            log.write(name, data)
            view = maplog.Log(log.path)
            self.assertEqual((view.first_seq, view.next_seq, view.durable_seq, view.epoch), (7, 10, 10, 1))
            self.assertTrue(view.is_clean)
            self.assertEqual(view.id, bytes(range(16)))
            self.assertEqual([(item.seq, bytes(item.data)) for item in view], [(7, b"hello"), (8, b"a"), (9, b"bc")])

    def test_the_seeds_are_those_it_names(self):
        seed = layout.frame_seed(SALT)
        self.assertEqual(seed(0x2000, 0x60000010, 7), 0x780A6B13)
        self.assertEqual(seed(0x2020, 0x10000005, 7), 0xBD1B654A)
        self.assertEqual(crc32(b"123456789"), 0xCBF43926)


class Names(unittest.TestCase):
    def test_only_exact_names_are_segments(self):
        self.assertEqual(layout.parse_name("00000000000000000040-1.seg"), layout.Name(1, 40))
        for other in (
            "0000000000000000040-1.seg", "00000000000000000040-01.seg", "00000000000000000040-1.seg~",
            "00000000000000000040-1.SEG", "00072057594037927935-1.seg", "00000000000000000040-18446744073709551616.seg",
            "00000000000000000040-+1.seg", "00000000000000000040-1.seg\n", "next-1", "\u0660" * 20 + "-1.seg",
        ):
            self.assertIsNone(layout.parse_name(other), other)


class Valid(unittest.TestCase):
    def test_rules_of_place_kind_checksum_and_number(self):
        frames = frames_of(single(5, b"hello"))
        self.assertEqual(frames.frame_at(START, 5).payloads, ((START + 16, START + 21),))
        self.assertIsNone(frames.frame_at(START + 8, 5), "rule 1: aligned")
        self.assertIsNone(frames.frame_at(START - 16, 5), "rule 1: behind the header")
        self.assertIsNone(frames.frame_at(1 << 40, 5), "rule 2")
        self.assertIsNone(frames.frame_at(START + 32, 6), "rule 3: vacant")
        self.assertIsNone(frames_of(single(5, b"x", layout.END)).frame_at(START, 5), "rule 3: an end's length")
        self.assertIsNone(frames_of(single(5, bytes(15), layout.MARK)).frame_at(START, 5), "rule 3: a mark's length")
        cut = Frames(frames.data, START + 16 + 15, SALT, layout.MIN_SEGMENT_BYTES, layout.SEQ_END)
        self.assertIsNone(cut.frame_at(START, 5), "rule 4: padding included")
        moved = frames_of(lambda offset: frame(SALT, offset + 16, layout.SINGLE, 5))
        self.assertIsNone(moved.frame_at(START, 5), "rule 5: place")
        self.assertIsNone(frames.frame_at(START, 4), "rule 6")

    def test_the_share_ends_records_before_frames_without_number(self):
        self.assertIsNone(frames_of(single(5), share_end=5).frame_at(START, 5))
        self.assertIsNotNone(frames_of(single(5, bytes(16), layout.MARK), share_end=5).frame_at(START, 5))
        self.assertIsNone(frames_of(single(6, bytes(16), layout.MARK), share_end=5).frame_at(START, 6))

    def test_a_batch_is_whole_or_none_and_its_share_may_end_inside(self):
        first = frame(SALT, START, layout.FIRST, 5, b"a")
        tie = layout.decode_frame(first)[1]
        rest = [frame(SALT, START + 32, layout.MIDDLE, 6, b"b", tie), frame(SALT, START + 64, layout.LAST, 7, b"c", tie)]
        whole = [lambda _, part=part: part for part in (first, *rest)]
        self.assertEqual(frames_of(*whole).frame_at(START, 5).next_seq, 8)
        self.assertEqual(frames_of(*whole, share_end=7).frame_at(START, 5).next_seq, 7)
        self.assertIsNone(frames_of(*whole[:2]).frame_at(START, 5), "no last")
        self.assertIsNone(frames_of(*whole).frame_at(START + 32, 6), "a middle by itself")
        untied = frame(SALT, START + 32, layout.LAST, 6, b"b")
        self.assertIsNone(frames_of(whole[0], lambda _: untied).frame_at(START, 5), "of another batch")

    def test_kinds_of_later_versions(self):
        skipped = frames_of(*(single(5, b"?" * kind, kind) for kind in layout.SKIPPED), single(5, b"hello"))
        found = list(skipped.walk(START, 5, 6))
        self.assertEqual([part.payloads for part in found[:-1]], [()] * 8)
        self.assertEqual(found[-1].next_seq, 6)
        for refused in (single(5, b"", layout.REFUSED), single(5 | 1 << 60)):
            with self.assertRaises(Unsupported):
                frames_of(refused).frame_at(START, 5)

    def test_a_gap_says_what_is_lost(self):
        frames = frames_of(single(5), single(6, b"rot"), single(7), single(8))
        rotten = bytearray(frames.data)
        rotten[START + 16 + 16] ^= 1
        found = list(Frames(memoryview(rotten), len(rotten), SALT, 1 << 20, layout.SEQ_END).walk(START, 5, 9))
        self.assertEqual([(part.seq, part.next_seq) for part in found], [(5, 6), (6, 7), (7, 8), (8, 9)])
        self.assertEqual((found[1].offset, found[1].end), (START + 16, START + 48))

    def test_a_number_that_lost_records_cannot_lead_to_ends_no_damage(self):
        for seq, found in ((6, (START + 48, 6)), (8, (START + 48, 8)), (9, None), (4, None)):
            frames = frames_of(lambda _: b"?" * 48, single(seq))
            self.assertEqual(frames.search(START, 5), found, seq)


class Slots(unittest.TestCase):
    def test_a_slot_in_the_other_block_is_damage(self):
        _, data = example()
        blocks = [data[:layout.BLOCK_BYTES], data[layout.BLOCK_BYTES:layout.HEADER_BYTES]]
        self.assertEqual(layout.decode_slots(blocks, SALT).newest.counter, 2)
        self.assertEqual(layout.decode_slots(blocks[::-1], SALT), (None, (0, 1)))

    def test_a_log_whose_older_slot_is_rotten_is_not_called_clean(self):
        name, data = example()
        rotten = bytearray(data)
        rotten[layout.SLOT_PLACES[1] + 8] ^= 1
        with Directory() as log:
            log.write(name, rotten)
            view = maplog.Log(log.path)
            self.assertEqual((view.is_clean, view.next_seq), (False, 10))

    def test_a_slot_that_was_never_written_is_no_damage_beside_one_that_is_rotten(self):
        name, data = example()
        older, newer = ((at, at + layout.SLOT_BYTES) for at in layout.SLOT_PLACES)
        for vacant, damaged in ((older, [newer]), (newer, [older])):
            rotten = bytearray(data)
            rotten[slice(*vacant)] = bytes(layout.SLOT_BYTES)
            rotten[damaged[0][0] + 8] ^= 1
            with Directory() as log:
                log.write(name, rotten)
                self.assertEqual(maplog.verify(log.path).segments[0].damaged, damaged)
        for place in older, newer:
            data = data[:place[0]] + bytes(layout.SLOT_BYTES) + data[place[1]:]
        with Directory() as log:
            log.write(name, data)
            self.assertEqual(maplog.verify(log.path).segments[0].damaged, [older, newer])


if __name__ == "__main__":
    unittest.main()

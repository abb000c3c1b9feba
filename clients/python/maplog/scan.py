"""Which bytes are frames, and the search behind damage.

The only place that calls a frame valid. It takes any bytes: work is bounded, and nothing outside of them is looked at.

Does not know: files, other segments, where the log ends.
"""

import re
from typing import NamedTuple, Optional, Tuple
from zlib import crc32

from .errors import Unsupported
from .format import (
    ALIGN, END, FIRST, FRAME_BYTES, HEADER_BYTES, LAST, LENGTH_BITS, LENGTH_MASK, MARK, MIDDLE, REFUSED,
    SEARCHED, SEQ_BITS, SINGLE, VACANT, decode_frame, frame_seed, length_fits, mark_durable_seq, padded,
)

#: A search checksums at most so many times the bytes of its segment.
SEARCH_FACTOR = 4

_NOT_ZERO = re.compile(rb"[^\0]")


class Frame(NamedTuple):
    """A valid frame; of a batch, all its frames as one."""

    kind: int
    offset: int
    #: Where the next frame begins.
    end: int
    seq: int
    #: The number of the next record.
    next_seq: int
    #: Of each record in it, where its bytes begin and end.
    payloads: Tuple[Tuple[int, int], ...]


class Gap(NamedTuple):
    """A place where no frame is valid, up to where one is, or to the end."""

    offset: int
    end: int
    #: The records lost with it, which may be none.
    seq: int
    next_seq: int


class Frames:
    """The bytes of one segment in which frames are looked for.

    `limit` bounds what is looked at: no frame reaches behind it.
    """

    def __init__(self, data, limit, salt, segment_bytes, share_end):
        self.data = data
        self.limit = min(limit, len(data), segment_bytes)
        self.share_end = share_end
        self._seed = frame_seed(salt)
        self._search_budget = SEARCH_FACTOR * segment_bytes
        self._checksummed = 0

    def frame_at(self, offset, seq) -> Optional[Frame]:
        """The frame at `offset`, where record `seq` is expected next, or None where none is valid.

        It is valid if and only if (docs/format.md, Valid)

        1. it starts on a multiple of 16, behind the header;
        2. its first 16 bytes lie inside the segment's bytes and inside the file;
        3. its kind is not 0, and its length is one that the kind can have;
        4. all of it, padding included, lies inside the segment's bytes and inside the file;
        5. its crc is right for its place, salt, header and payload, and its batch's first frame;
        6. its number is `seq`;
        7. that number lies below the end of the segment's share, or, if it takes none, not above it;
        8. it is no middle or last frame by itself, and a first frame has its whole batch behind it.
        """
        part = self._part_at(offset, 0)  # rules 1 to 5
        if part is None:
            return None
        kind, crc, number, payload, end = part
        if number >> SEQ_BITS or kind == REFUSED:
            raise Unsupported(f"a frame of a later version, at offset {offset}")
        if number != seq:  # rule 6
            return None
        if kind == SINGLE:
            return Frame(kind, offset, end, seq, seq + 1, (payload,)) if seq < self.share_end else None  # rule 7
        if kind == FIRST:
            return self._batch(offset, end, crc, seq, payload) if seq < self.share_end else None  # rules 7 and 8
        if kind in (MIDDLE, LAST) or seq > self.share_end:  # rules 8 and 7
            return None
        return Frame(kind, offset, end, seq, seq, ())

    def _part_at(self, offset, tie):
        """Kind, crc, number under flags, payload and end of a frame that is right by the rules 1 to 5, or None."""
        if offset % ALIGN or offset < HEADER_BYTES:  # rule 1
            return None
        start = offset + FRAME_BYTES
        if start > self.limit:  # rule 2
            return None
        word, crc, flags_and_seq = decode_frame(self.data, offset)
        kind, length = word >> LENGTH_BITS, word & LENGTH_MASK
        if kind == VACANT or not length_fits(kind, length):  # rule 3
            return None
        stop = start + length
        end = padded(stop)
        if end > self.limit:  # rule 4
            return None
        self._checksummed += stop - offset
        if crc32(self.data[start:stop], self._seed(offset, word, flags_and_seq) ^ tie) != crc:  # rule 5
            return None
        return kind, crc, flags_and_seq, (start, stop), end

    def _batch(self, offset, end, tie, seq, payload):
        """Rule 8 for a first frame, which ends at `end`."""
        payloads, kind = [payload], FIRST
        while kind != LAST:
            part = self._part_at(end, tie)
            if part is None:
                return None
            kind, _, number, payload, end = part
            if kind not in (MIDDLE, LAST) or number != seq + len(payloads):
                return None
            payloads.append(payload)
        kept = min(len(payloads), self.share_end - seq)
        return Frame(FIRST, offset, end, seq, seq + kept, tuple(payloads[:kept]))

    def is_vacant(self, offset):
        """Whether nothing was committed here."""
        if offset + FRAME_BYTES > self.limit:
            return True
        word, _, _ = decode_frame(self.data, offset)
        return word == VACANT

    def mark_claim(self, found):
        """What something that a walk gave proves to have been durable: 0 but for marks."""
        if not isinstance(found, Frame) or found.kind != MARK:
            return 0
        payload = self.data[found.offset + FRAME_BYTES:found.end]
        return min(mark_durable_seq(payload), found.seq, self.share_end)

    def search(self, offset, seq) -> Optional[Tuple[int, int]]:
        """The next place behind damage at `offset` where a frame is valid, and its number.

        Record `seq` was expected at `offset`, and each lost record took 16 bytes or more.
        """
        at, before = offset, self._checksummed
        # What stands there was checksummed in vain, however little is found behind it.
        self.frame_at(offset, seq)
        self._search_budget -= self._checksummed - before
        before = self._checksummed
        while (at := self._next_written(at + ALIGN)) is not None:
            word, _, number = decode_frame(self.data, at)
            reachable = seq <= number <= seq + (at - offset) // ALIGN
            if not reachable or word >> LENGTH_BITS not in SEARCHED:
                continue
            if self._search_budget <= 0:
                return None
            found = self.frame_at(at, number)
            self._search_budget -= self._checksummed - before
            before = self._checksummed
            if found is not None:
                return at, number
        return None

    def _next_written(self, at):
        """The first place from `at` on that is not all zero."""
        found = _NOT_ZERO.search(self.data, at, self.limit)
        if found is None:
            return None
        place = found.start() // ALIGN * ALIGN
        return place if place + FRAME_BYTES <= self.limit else None

    def walk(self, offset, seq, stop):
        """Every valid frame and every gap from `offset`, where record `seq` is expected, until `stop` is.

        What stands behind the last whole frame is a gap unless `stop` was reached.
        """
        while seq < stop:
            frame = self.frame_at(offset, seq)
            if frame is not None and frame.kind != END:
                yield frame
                offset, seq = frame.end, frame.next_seq
                continue
            found = self.search(offset, seq)
            if found is None:
                yield Gap(offset, max(offset, self.limit // ALIGN * ALIGN), seq, stop)
                return
            yield Gap(offset, found[0], seq, min(found[1], stop))
            offset, seq = found

"""Finding the end of a log in its files, as docs/format.md says under "By a survey".

Does not know: the directory, the page (which is not live where this is asked), records.
"""

from enum import Enum
from typing import NamedTuple, Optional

from .format import ALIGN, END, HEADER_BYTES, MAX_BASE


class Found(NamedTuple):
    """Where the log ends, and what else the survey saw."""

    #: How many of the segments are part of the log.
    count: int
    #: Where the last one's frames end; None if nobody knows.
    offset: Optional[int]
    first_seq: int
    next_seq: int
    durable_seq: int
    is_clean: bool


class _Verdict(Enum):
    GO_ON = 1
    DAMAGE = 2
    END = 3
    CLEAN_END = 4


def find_end(segments) -> Found:
    """Where the log of these segments ends, if no live page says so."""
    return _Survey(segments).run()


class _Survey:
    def __init__(self, segments):
        self.segments = segments
        self.evidence = 0
        self.first_seqs = []
        self.looked_for_marks = False
        #: The last segment without a valid slot, of those that were looked at.
        self.last_mute = -1
        self.index, self.offset, self.seq = 0, HEADER_BYTES, segments[0].base
        self._start()

    def _start(self):
        """From the highest id down, until a slot says where to start."""
        for index in reversed(range(len(self.segments))):
            segment = self.segments[index]
            slot = segment.newest_slot()
            if slot is None:
                self.last_mute = max(self.last_mute, index)
                continue
            self.first_seqs.append(slot.first_seq)
            claim = min(slot.durable_seq, segment.base + segment.bytes // ALIGN, segment.share_end)
            self.evidence = max(self.evidence, claim)
            if _notes_a_position(segment, slot):
                self.index, self.offset, self.seq = index, slot.durable_offset, slot.durable_seq
                return

    def run(self):
        """Goes through the frames until a place is the end."""
        segment, frames = None, None
        while True:
            if segment is not self.segments[self.index]:
                segment = self.segments[self.index]
                frames = segment.frames()
            self._walk(frames, segment.share_end)
            verdict = self._judge(segment, frames)
            if verdict in (_Verdict.END, _Verdict.CLEAN_END):
                return self._found(self.offset, verdict is _Verdict.CLEAN_END)
            if verdict is _Verdict.DAMAGE:
                found = None if frames is None else frames.search(self.offset, self.seq)
                if found is not None:
                    self.offset, self.seq = found
                    continue
                if self._successor() is None:
                    self.seq = max(self.evidence, self.seq, self._unknown(segment))
                    return self._found(None, False)
            segment.release()
            self.index += 1
            self.offset, self.seq = HEADER_BYTES, self.segments[self.index].base

    def _walk(self, frames, share_end):
        while frames is not None and self.seq < share_end:
            frame = frames.frame_at(self.offset, self.seq)
            if frame is None or frame.kind == END:
                return
            self.offset, self.seq = frame.end, frame.next_seq

    def _successor(self):
        behind = self.index + 1
        return self.segments[behind] if behind < len(self.segments) else None

    def _judge(self, segment, frames):
        """The table of docs/format.md, first row that holds."""
        successor = self._successor()
        slots = segment.slots
        if successor is not None and successor.base == self.seq:
            return _Verdict.GO_ON
        is_vacant = frames is not None and frames.is_vacant(self.offset)
        slot = None if self.index <= self.last_mute else slots.newest
        is_closed = slot is not None and slot.closed and slot.durable_offset == self.offset and slots.all_whole
        if not (is_vacant and is_closed):
            self._look_for_marks()
        if self.seq < self.evidence:
            return _Verdict.DAMAGE
        if slot is None:
            return _Verdict.DAMAGE
        if successor is not None:
            return _Verdict.END
        return _Verdict.CLEAN_END if is_vacant and is_closed else _Verdict.END

    def _look_for_marks(self):
        """The claims of all marks from here on. Once, since a later place sees no others."""
        if self.looked_for_marks:
            return
        self.looked_for_marks = True
        offset, seq = self.offset, self.seq
        for segment in self.segments[self.index:]:
            frames = segment.frames()
            if frames is not None:
                for found in frames.walk(offset, seq, segment.share_end + 1):
                    self.evidence = max(self.evidence, frames.mark_claim(found))
            if segment is not self.segments[self.index]:
                segment.release()
            offset, seq = HEADER_BYTES, segment.share_end

    def _unknown(self, segment):
        """What a last segment may have held of which nothing is left that says so."""
        is_short = segment.file_bytes < HEADER_BYTES and segment.slots.newest is None
        if not (segment.header is None or is_short):
            return 0
        room = max(segment.file_bytes - HEADER_BYTES, 0) // ALIGN
        return min(max(segment.base + room, self.seq + 1), MAX_BASE)

    def _found(self, offset, is_clean):
        first_seq = max(self.first_seqs, default=self.segments[0].base)
        durable_seq = self.seq if is_clean else self.evidence
        first_seq = min(first_seq, self.seq)
        return Found(self.index + 1, offset, first_seq, self.seq, durable_seq, is_clean)


def _notes_a_position(segment, slot):
    offset = slot.durable_offset
    if offset % ALIGN or not HEADER_BYTES <= offset <= segment.bytes:
        return False
    most = min(segment.base + (offset - HEADER_BYTES) // ALIGN, segment.share_end)
    return segment.base <= slot.durable_seq <= most

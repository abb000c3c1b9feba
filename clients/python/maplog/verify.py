"""Checking all of a log: every frame, every header, every slot.

Does not know: how frames are found, where the log ends.
"""

from typing import List, NamedTuple, Tuple

from .format import HEADER_BYTES
from .log import Log, items_of
from .scan import Gap


class SegmentReport(NamedTuple):
    """What was found in one segment."""

    id: int
    base_seq: int
    end_seq: int
    records: int
    file_bytes: int
    #: From where to where bytes are damaged.
    damaged: List[Tuple[int, int]]
    #: A copy of the header or a slot is damaged, and the other one serves.
    spare_copy_damaged: bool


class Report(NamedTuple):
    """What was found in a log."""

    first_seq: int
    next_seq: int
    records: int
    #: Which records are lost, from where to where.
    lost: List[Tuple[int, int]]
    segments: List[SegmentReport]

    @property
    def is_intact(self):
        """Whether nothing is damaged but spare copies."""
        return not self.lost and not any(segment.damaged for segment in self.segments)


def verify(path) -> Report:
    """Checks what was in the log when this was called."""
    log = Log(path)
    lost, segments, records = [], [], 0
    if log.segments[0].base > log.first_seq:
        lost.append((log.first_seq, log.segments[0].base))
    for index, segment in enumerate(log.segments):
        damaged, own = [], 0
        if segment.load().header is not None:
            damaged.extend(segment.slots.lost(segment.file_bytes))
        for found in log.walk_one(index, HEADER_BYTES, segment.base):
            if isinstance(found, Gap):
                if found.end > found.offset:  # else the file ends before it
                    damaged.append((found.offset, found.end))
                lost.extend(tuple(item) for item in items_of(segment, found, log.first_seq, log.next_seq))
            else:
                own += sum(log.first_seq <= seq < log.next_seq for seq in range(found.seq, found.next_seq))
        end_seq = min(segment.share_end, log.next_seq)
        spare = segment.header is not None and segment.spare_copy_damaged
        segments.append(SegmentReport(segment.id, segment.base, end_seq, own, segment.file_bytes, damaged, spare))
        records += own
    return Report(log.first_seq, log.next_seq, records, _joined(lost), segments)


def _joined(ranges):
    joined = []
    for start, stop in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return joined

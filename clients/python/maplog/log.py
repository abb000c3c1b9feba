"""A view of a log: its records, and exactly which are lost.

Does not know: how to wait.
"""

import os
import time
from typing import NamedTuple

from . import page as pages
from .errors import Damaged, Io, NotALog, NotFound, Rewound, Trimmed
from .format import END, HEADER_BYTES, SEQ_END
from .scan import Gap
from .segment import Vanished, list_names, segments_of
from .survey import find_end

_ATTEMPTS = 100
_NAP_SECONDS = 0.002
#: For a directory beside which segments come and go faster than it can be listed.
_PATIENCE_SECONDS = 10


class Record(NamedTuple):
    """A record. `data` is a slice of the mapped file: no copy, and it stays what it is."""

    seq: int
    data: memoryview


class Lost(NamedTuple):
    """Records that are lost to damage, from `start` up to `stop`."""

    start: int
    stop: int


class Place(NamedTuple):
    """Where a walk is: in the segment of this id, at this offset, expecting this record."""

    id: int
    offset: int
    seq: int


class Log:
    """A log as it was when this was made: the records from `first_seq` up to `next_seq`.

    Needs permission to read and takes no lock; others may append, cut and trim meanwhile.
    """

    def __init__(self, path, before=None):
        """Looks at the log. What a view taken `before` has open stays open."""
        self.path = os.fspath(path)
        self.page = None if before is None else before.page
        known = before.segments if before is not None and before.is_live else []
        self._take({segment.id: segment for segment in known})

    # Taking the view

    def _take(self, known):
        for _ in range(_ATTEMPTS):
            if self.page is None or not (self.page.has_its_name() and self.page.is_live()):
                self.page, known = pages.open_live(self.path), {}
            try:
                if self._take_surveyed() if self.page is None else self._take_live(known):
                    self._note_header()
                    return
            except Vanished:
                pass
            time.sleep(_NAP_SECONDS)
        raise Damaged(f"{self.path}: the segment that the log ends in is missing, or a file comes and goes")

    def _take_surveyed(self):
        self.is_live, self.state = False, None
        self.listed = self._list()
        if not self.listed:
            raise NotALog(f"{self.path}: holds no segment")
        segments = segments_of(self.path, self.listed)
        found = find_end(segments)
        self.segments = segments[: found.count]
        self.is_clean = found.is_clean
        self.end_id, self.end_offset = self.segments[-1].id, found.offset
        self.first_seq, self.next_seq, self.durable_seq = found.first_seq, found.next_seq, found.durable_seq
        self._word_at_end = self._end_word()
        return True

    def _take_live(self, known):
        """From the page; not if the segment that its end is in is not listed."""
        self.is_live, self.is_clean = True, True
        self.state = self.page.state()
        self.listed = self._list()
        end = self.page.end()
        # Segments of higher ids do not count yet: they are being made.
        names = [named for named in self.listed if end is not None and named[0].id <= end.id]
        if not names or names[-1][0].id != end.id:
            return False
        self.segments = [_known_or(segment, known) for segment in segments_of(self.path, names)]
        self.end_id, self.end_offset = end.id, end.offset
        self.next_seq = min(end.seq, SEQ_END)
        self.first_seq = min(self.page.first_seq(), self.next_seq)
        self.durable_seq = min(self.page.durable_seq(), self.next_seq)
        self._run_on()
        return True

    def _list(self):
        """The directory as it was at one moment: a listing alone may miss what comes or goes meanwhile."""
        names, until = None, time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until:
            before = None if self.page is None else self.page.directory()
            names, seen = list_names(self.path), names
            held_still = before is not None and before % 2 == 0 and self.page.directory() == before
            if held_still or names == seen:
                return names
        raise Io(f"{self.path}: its directory did not hold still")

    def _run_on(self):
        """Past the page's end by what was published whose writer had not told the page."""
        frames = self.segments[-1].frames()
        while frames is not None and self.next_seq < frames.share_end:
            frame = frames.frame_at(self.end_offset, self.next_seq)
            if frame is None or frame.kind == END:
                return
            self.end_offset, self.next_seq = frame.end, frame.next_seq

    def _note_header(self):
        self.id, self.epoch = None, 0
        for segment in reversed(self.segments):
            header = segment.load().header
            if header is not None:
                self.id, self.epoch = header.log_id, header.epoch
                return

    def _end_word(self):
        return None if self.end_offset is None else self.segments[-1].word_at(self.end_offset)

    def looks_the_same(self):
        """Whether a view of a log without a live page shows no trace of a writer."""
        try:
            is_same = list_names(self.path) == self.listed and self._end_word() == self._word_at_end
        except NotFound:
            return False
        return is_same and pages.open_live(self.path) is None

    def owned_until(self, epoch):
        """Up to which record what was read in `epoch` is still in the log."""
        owned = self.next_seq
        for segment in reversed(self.segments):
            header = segment.load().header
            if header is not None and header.epoch <= epoch:
                break
            if header is not None:
                owned = min(owned, segment.base)
        return owned

    def refresh_end(self):
        """Moves the end of a live view as far as it moved in its segment; tells whether anything did."""
        end = self.page.end()
        if end is None:
            return False
        if end.id != self.end_id:
            self.state = None
            return True
        before = self.next_seq
        if self.next_seq < end.seq <= SEQ_END:
            self.end_offset, self.next_seq = end.offset, end.seq
        self.durable_seq = self.page.durable_seq()
        self._run_on()
        return self.next_seq > before

    # Reading

    def __iter__(self):
        return self.items()

    def __len__(self):
        return self.next_seq - self.first_seq

    def items(self, start=None, stop=None):
        """Each Record from `start` up to `stop`, and where records are lost a Lost that says which."""
        start = self.first_seq if start is None else max(start, self.first_seq)
        stop = self.next_seq if stop is None else min(stop, self.next_seq)
        if start < self.segments[0].base and start < stop:
            yield Lost(start, min(self.segments[0].base, stop))
        for segment, found in self.walk(self.place_of(start)):
            yield from items_of(segment, found, start, stop)
            if found.next_seq >= stop:
                return

    def place_of(self, seq):
        """A place from which a walk comes by record `seq`: the start of its segment."""
        index = max((i for i, segment in enumerate(self.segments) if segment.base <= seq), default=0)
        return Place(self.segments[index].id, HEADER_BYTES, self.segments[index].base)

    def walk(self, place):
        """Every frame and gap from `place` to the end, each with its segment."""
        for index, segment in enumerate(self.segments):
            if segment.id < place.id:
                continue
            offset, seq = place[1:] if segment.id == place.id else (HEADER_BYTES, segment.base)
            for found in self.walk_one(index, offset, seq):
                yield segment, found
            if segment is not self.segments[-1]:
                segment.release()

    def walk_one(self, index, offset, seq):
        """The frames and gaps of one segment from `offset` on, where record `seq` is expected."""
        segment = self.segments[index]
        self._check_still_there(segment, seq)
        if segment is self.segments[-1]:
            yield from segment.walk(offset, seq, self.next_seq, self.end_offset)
        else:
            yield from segment.walk(offset, seq, segment.share_end)

    def _check_still_there(self, segment, seq):
        try:
            header = segment.load().header
            segment.frames()
        except Vanished as vanished:
            first_seq = Log(self.path).first_seq
            raise (Trimmed(first_seq) if seq < first_seq else Rewound(seq)) from vanished
        if header is not None and header.log_id != self.id:
            raise NotALog(f"{segment.path}: of another log than the last segment")


def items_of(segment, found, start, stop):
    """The records in a frame, or those lost in a gap, from `start` up to `stop`."""
    if isinstance(found, Gap):
        lost = Lost(max(found.seq, start), min(found.next_seq, stop))
        return [lost] if lost.start < lost.stop else []
    payload = segment.payload
    return [
        Record(seq, payload(begin, end))
        for seq, (begin, end) in enumerate(found.payloads, found.seq)
        if start <= seq < stop
    ]


def _known_or(segment, known):
    same = known.get(segment.id)
    if same is None or same.base != segment.base:
        return segment
    same.share_end = segment.share_end
    return same

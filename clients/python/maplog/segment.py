"""One segment's file: its header, its slots, its bytes.

Headers and slots are read by pread, frames through a read-only mapping: records are lent from there.

Does not know: other segments, where the log ends.
"""

import mmap
import os
import stat
from contextlib import contextmanager

from .errors import Io, NotALog, NotFound, system_errors
from .format import (
    BLOCK_BYTES, FRAME_BYTES, HEADER_BYTES, SEQ_END, Slots, all_headers_whole, decode_header, decode_slots,
    parse_name,
)
from .scan import Frames, Gap


class Vanished(NotFound):
    """A file that was listed is gone: it was trimmed, or the log was cut."""


class Segment:
    """A segment that counts: its share of the log, from `base` to `share_end`, is not empty."""

    def __init__(self, directory, file_name, name, share_end):
        self.path = os.path.join(directory, file_name)
        self.id = name.id
        self.base = name.base
        self.share_end = share_end
        self.header = None
        self.slots = Slots(None, (0, 1))
        self.file_bytes = 0
        self.spare_copy_damaged = False
        #: Which file has been opened by this name.
        self._file = None
        self._data = None
        self._is_loaded = False

    def load(self):
        """Reads header and slots, once."""
        if self._is_loaded:
            return self
        with self._opened() as descriptor:
            copies = self._read_blocks(descriptor)
        self.header = decode_header(copies)
        if self.header is not None:
            if (self.header.id, self.header.base) != (self.id, self.base):
                raise NotALog(f"{self.path}: its header is of segment {self.header.id}, base {self.header.base}")
            self.slots = decode_slots(copies, self.header.salt)
            self.spare_copy_damaged = not (all_headers_whole(copies) and self.slots.all_whole)
        self._is_loaded = True
        return self

    @contextmanager
    def _opened(self):
        """The file's descriptor; its size is noted."""
        with system_errors(self.path):
            try:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except FileNotFoundError as error:
                raise Vanished(f"{self.path}: it was there and is gone") from error
            try:
                self._note(os.fstat(descriptor))
                yield descriptor
            finally:
                os.close(descriptor)

    def _note(self, status):
        if not stat.S_ISREG(status.st_mode):
            raise NotALog(f"{self.path}: not a file")
        file = (status.st_dev, status.st_ino)
        if self._file not in (None, file):
            raise Vanished(f"{self.path}: another file has its name")
        self._file = file
        self.file_bytes = status.st_size

    def _read_blocks(self, descriptor):
        copies, errors = [], []
        for offset in range(0, HEADER_BYTES, BLOCK_BYTES):
            try:
                copies.append(os.pread(descriptor, BLOCK_BYTES, offset))
            except OSError as error:
                copies.append(b"")
                errors.append(error)
        if len(errors) == len(copies):
            raise Io(f"{self.path}: neither copy of the header can be read: {errors[0]}")
        return copies

    @property
    def bytes(self):
        """How much of the file can hold header and frames."""
        if self.load().header is None:
            return self.file_bytes
        return min(self.file_bytes, self.header.segment_bytes)

    def newest_slot(self):
        """The slot that counts, or None."""
        return self.load().slots.newest

    def frames(self, limit=None):
        """Where to look for frames, up to `limit`; None where no header says how they are checked."""
        if self.load().header is None:
            return None
        data = self._mapped(self.header.segment_bytes if limit is None else limit)
        limit = len(data) if limit is None else limit
        return Frames(data, limit, self.header.salt, self.header.segment_bytes, self.share_end)

    def _mapped(self, limit):
        """The file's bytes. A file grows, so it is mapped again if it was smaller than `limit`."""
        if self._data is None or len(self._data) < limit:
            with self._opened() as descriptor:
                if self._data is None or len(self._data) < self.file_bytes:
                    self._data = self._map(descriptor)
        return self._data

    def _map(self, descriptor):
        if self.file_bytes == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(descriptor, self.file_bytes, access=mmap.ACCESS_READ))

    def walk(self, offset, seq, stop, limit=None):
        """The frames and gaps from `offset` on, where record `seq` is expected, until `stop` is."""
        frames = self.frames(limit)
        if frames is None:
            yield Gap(0, self.file_bytes, seq, stop)
        else:
            yield from frames.walk(offset, seq, stop)

    def payload(self, start, stop):
        """Bytes of a frame that a walk gave: a slice of the mapping, which lives as long as the slice does."""
        return self._data[start:stop]

    def word_at(self, offset):
        """The first bytes at a place, to see whether they change."""
        data = self._mapped(offset + FRAME_BYTES)
        return bytes(data[offset:offset + FRAME_BYTES])

    def release(self):
        """Lets go of the mapping; what was lent of it keeps it."""
        self._data = None


def list_names(directory):
    """What the names of the segment files say, and those names, in ascending order of ids."""
    with system_errors(directory):
        listed = os.listdir(directory)
    names = sorted((name, text) for text in listed if (name := parse_name(text)) is not None)
    if len({name.id for name, _ in names}) != len(names):
        raise NotALog(f"{directory}: two segments of one id")
    return names


def segments_of(directory, names):
    """The segments that count, in ascending order of ids, and so of bases."""
    segments, share_end = [], SEQ_END
    for name, text in reversed(names):
        if name.base < share_end:
            segments.append(Segment(directory, text, name, share_end))
            share_end = name.base
    segments.reverse()
    return segments

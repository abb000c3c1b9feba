"""The coordination page: whether it is live, and what it says. Read-only, without a lock.

A word is loaded through a memoryview of 64-bit items, which loads all of it at once.

Does not know: segments, frames.
"""

import ctypes
import mmap
import os
import sys
import time
from struct import Struct
from typing import NamedTuple

NAME = "shared"
PAGE_BYTES = 4096
WORD_BYTES = 8
_BOOT_ID = "/proc/sys/kernel/random/boot_id"

#: Which words; each is the one before it and what that one takes, with the gaps of docs/format.md between groups.
_GROUP_WORDS = 128 // WORD_BYTES
_MAGIC = 0
_BOOT_HIGH = _MAGIC + 1
_BOOT_LOW = _BOOT_HIGH + 1
_MOUNT = _BOOT_LOW + 1
_INODE = _MOUNT + 1
_BIRTH_SECONDS = _INODE + 1
_BIRTH_NANOSECONDS = _BIRTH_SECONDS + 1
_INSTANCE = _BIRTH_NANOSECONDS + 1
_EPOCH = _GROUP_WORDS
_FIRST_SEQ = _EPOCH + 1
_POISON = _FIRST_SEQ + 1
_DIRECTORY = _POISON + 1
_END_TURN = 3 * _GROUP_WORDS
_END_COPIES = (_END_TURN + 1, _END_TURN + 1 + 3)
_DURABLE = 4 * _GROUP_WORDS
_DURABLE_SEQ_MASK = (1 << 56) - 1

_MAGIC_WORD = int.from_bytes(b"maplog\x1a\x01", "little")
_ATTEMPTS = 1000
_BEING_MADE_SECONDS = 2


class End(NamedTuple):
    """Where the log ends."""

    id: int
    offset: int
    seq: int


class Page:
    """The file `shared` of one log, mapped."""

    def __init__(self, path):
        """Raises OSError or ValueError where there is none that could be live."""
        self.path = path
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if os.fstat(descriptor).st_size < PAGE_BYTES or sys.byteorder != "little":
                raise ValueError(f"{path}: no coordination page")
            self._identity = _identity(descriptor)
            self._map = mmap.mmap(descriptor, PAGE_BYTES, access=mmap.ACCESS_READ)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        self._file = (status.st_dev, status.st_ino)
        self._words = memoryview(self._map).cast("Q")

    def is_live(self):
        """Whether it is of now and of this very file. Waits a while for one that is being initialised."""
        words = self._words
        if tuple(words[_BOOT_HIGH:_INSTANCE]) != self._identity:
            return False
        give_up = time.monotonic() + _BEING_MADE_SECONDS
        while words[_MAGIC] == 0 and time.monotonic() < give_up:
            time.sleep(0.001)
        return words[_MAGIC] == _MAGIC_WORD

    def has_its_name(self):
        """Whether the path still leads to this file: it holds the file, so no other has its inode number."""
        try:
            status = os.stat(self.path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._file

    def state(self):
        """What moves when the directory has to be looked at again."""
        words = self._words
        return words[_MAGIC], words[_INSTANCE], words[_EPOCH], words[_DIRECTORY], words[_FIRST_SEQ]

    def epoch(self):
        """The log's epoch."""
        return self._words[_EPOCH]

    def first_seq(self):
        """The log's first sequence number."""
        return self._words[_FIRST_SEQ]

    def durable_seq(self):
        """Every record below it is on stable storage."""
        return self._words[_DURABLE] & _DURABLE_SEQ_MASK

    def directory(self):
        """A counter, odd while a name is being given or taken."""
        return self._words[_DIRECTORY]

    def end(self):
        """The end, or None if a writer never held still."""
        words = self._words
        for _ in range(_ATTEMPTS):
            turn = words[_END_TURN]
            copy = _END_COPIES[turn % 2]
            end = End(words[copy], words[copy + 1], words[copy + 2])
            if words[_END_TURN] == turn:
                return end
        return None


def open_live(directory):
    """The log's page, or None where it is not live."""
    try:
        page = Page(os.path.join(directory, NAME))
        return page if page.is_live() else None
    except (OSError, ValueError):
        return None


# statx(2), which Python's os does not have

_AT_EMPTY_PATH = 0x1000
_STATX_INO, _STATX_BTIME = 0x100, 0x800
_STATX_MNT_ID, _STATX_MNT_ID_UNIQUE = 0x1000, 0x4000

#: mask; inode behind block size, attributes, links, owner, group, mode; time of birth behind sizes, attributes
#: and the time of access; mount id behind the other times and the device numbers.
_STATX = Struct("<I 28x Q 24x 16x Q I 4x 32x 16x Q 104x".replace(" ", ""))
assert _STATX.size == 256, "struct statx"


def _identity(descriptor):
    """Boot id, mount id, inode and time of birth, as the page stores them."""
    with open(_BOOT_ID, encoding="ascii") as file:
        boot = int(file.read().strip().replace("-", ""), 16)
    mask, inode, seconds, nanoseconds, mount = _statx(descriptor)
    if not mask & _STATX_BTIME or not mask & (_STATX_MNT_ID | _STATX_MNT_ID_UNIQUE):
        raise ValueError("the file system tells no time of birth, or the kernel no mount")
    word = (1 << 64) - 1
    return boot >> 64, boot & word, mount, inode, seconds, nanoseconds


def _statx(descriptor):
    statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
    if statx is None:
        raise ValueError("the C library has no statx")
    wanted = _STATX_INO | _STATX_BTIME | _STATX_MNT_ID_UNIQUE | _STATX_MNT_ID
    found = ctypes.create_string_buffer(_STATX.size)
    if statx(descriptor, b"", _AT_EMPTY_PATH, wanted, found) != 0:
        raise OSError(ctypes.get_errno(), "statx")
    return _STATX.unpack(found.raw)

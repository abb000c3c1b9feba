"""The layout: names, headers, slots and frame headers, as docs/format.md gives them.

The only place that names byte offsets of segment files. Every decoder takes any bytes of any length.

Does not know: files, where a log ends, which frames count.
"""

import re
from struct import Struct
from typing import NamedTuple, Optional, Tuple
from zlib import crc32

from .errors import Unsupported

U32_MASK = (1 << 32) - 1
CRC_BYTES = 4

SEQ_BITS = 56
SEQ_MASK = (1 << SEQ_BITS) - 1
#: The end of the last segment's share. A record's number is below it.
SEQ_END = SEQ_MASK
MAX_BASE = SEQ_END - 1
MAX_ID = (1 << 64) - 1

# Names

_SEGMENT_NAME = re.compile(r"([0-9]{20})-(0|[1-9][0-9]{0,19})\.seg", re.ASCII)


class Name(NamedTuple):
    """What the name of a segment file says."""

    id: int
    base: int


def parse_name(text) -> Optional[Name]:
    """The segment that a file of this name is, or None for any other name."""
    match = _SEGMENT_NAME.fullmatch(text)
    if match is None:
        return None
    base, segment_id = (int(digits) for digits in match.groups())
    return Name(segment_id, base) if base <= MAX_BASE and segment_id <= MAX_ID else None


# Header: two copies, each at the start of a block, with a slot behind it

BLOCK_BYTES = 4096
HEADER_BYTES = 2 * BLOCK_BYTES

MAGIC = b"maplog\x1a\n"
VERSION = 1
KNOWN_REASONS = range(1, 7)
ALIGN = 16
CHECKSUM_ID = 1
MIN_SEGMENT_BYTES = 16_384
MAX_SEGMENT_BYTES = 17_179_869_184

#: magic, version, reason, compatible, incompatible, log id, epoch, segment id, base, salt, created,
#: segment bytes, alignment, checksum id, spare, crc
_HEADER = Struct("<8s I I Q Q 16s Q Q Q Q Q Q I I 404x I".replace(" ", ""))
_MAGIC_AND_VERSION = Struct("<8sI")
SECTOR_BYTES = 512
assert _HEADER.size == SECTOR_BYTES, "the header fills a sector, which is written whole or not at all"


class Header(NamedTuple):
    """The fields of a header that readers use."""

    log_id: bytes
    epoch: int
    id: int
    base: int
    salt: int
    created_ns: int
    segment_bytes: int


def all_headers_whole(copies):
    """Whether both copies of a header serve."""
    return all(_is_whole_header(copy) for copy in copies)


def decode_header(copies) -> Optional[Header]:
    """The header in these two blocks, None if it is damaged. A later version's raises Unsupported."""
    whole = [copy for copy in copies if _is_whole_header(copy)]
    if whole:
        return _decode_whole_header(whole[0])
    versions = {_other_version(copy) for copy in copies}
    if len(versions) == 1 and None not in versions:
        raise Unsupported(f"expected version {VERSION}, found version {versions.pop()}")
    return None


def _is_whole_header(copy):
    if len(copy) < _HEADER.size:
        return False
    magic, version, *_, crc = _HEADER.unpack_from(copy)
    covered = memoryview(copy)[: _HEADER.size - CRC_BYTES]
    return magic == MAGIC and version == VERSION and crc == crc32(covered)


def _other_version(copy):
    if len(copy) < _MAGIC_AND_VERSION.size:
        return None
    magic, version = _MAGIC_AND_VERSION.unpack_from(copy)
    return version if magic == MAGIC and version != VERSION else None


def _decode_whole_header(copy):
    (_, _, reason, _, incompatible, log_id, epoch, segment_id, base, salt, created_ns,
     segment_bytes, align, checksum_id, _) = _HEADER.unpack_from(copy)
    for field, found, known in (
        ("incompatible features", incompatible, (0,)),
        ("alignment", align, (ALIGN,)),
        ("checksum", checksum_id, (CHECKSUM_ID,)),
        ("reason", reason, KNOWN_REASONS),
    ):
        if found not in known:
            raise Unsupported(f"{field} of a later version: {found}")
    in_bounds = MIN_SEGMENT_BYTES <= segment_bytes <= MAX_SEGMENT_BYTES
    if segment_bytes % BLOCK_BYTES or not in_bounds or base > MAX_BASE:
        return None
    return Header(log_id, epoch, segment_id, base, salt, created_ns, segment_bytes)


# Slot: one in each block, behind the header's copy

#: counter, epoch, durable offset, durable seq, first seq, flags, spare, crc
_SLOT = Struct("<Q Q Q Q Q I 80x I".replace(" ", ""))
SLOT_AT = SECTOR_BYTES
SLOT_BYTES = _SLOT.size
assert SLOT_BYTES == 128 <= SECTOR_BYTES, "a slot lies in a sector of its own"
SLOT_PLACES = (SLOT_AT, BLOCK_BYTES + SLOT_AT)
_NEVER_WRITTEN = bytes(SLOT_BYTES)
_CLOSED = 1


class Slot(NamedTuple):
    """How far the log was durable when the slot was written."""

    counter: int
    durable_offset: int
    durable_seq: int
    first_seq: int
    closed: bool


class Slots(NamedTuple):
    """What stands in the two places for slots of a segment."""

    newest: Optional[Slot]
    #: The blocks where something else stands than a valid slot, or nothing.
    damaged: Tuple[int, ...]

    @property
    def all_whole(self):
        """Each place holds a valid slot, or none was ever written there."""
        return not self.damaged

    def lost(self, file_bytes):
        """From where to where a slot must have stood in so long a file, and none does."""
        if self.newest is not None:
            return []
        lost = [SLOT_PLACES[block] for block in self.damaged or range(len(SLOT_PLACES))]
        return [(at, at + SLOT_BYTES) for at in lost if at + SLOT_BYTES <= file_bytes]


def decode_slots(copies, salt) -> Slots:
    """The slots in these two blocks."""
    places = [copy[SLOT_AT:][:SLOT_BYTES] for copy in copies]
    found = [_decode_slot(place, salt, block) for block, place in enumerate(places)]
    newest = max(filter(None, found), key=lambda slot: slot.counter, default=None)
    is_damaged = [slot is None and bytes(place) != _NEVER_WRITTEN for slot, place in zip(found, places)]
    return Slots(newest, tuple(block for block, damaged in enumerate(is_damaged) if damaged))


def _decode_slot(place, salt, block):
    if len(place) < _SLOT.size:
        return None
    counter, _, durable_offset, durable_seq, first_seq, flags, crc = _SLOT.unpack(place)
    seed = (salt >> 32) ^ (salt & U32_MASK)
    covered = memoryview(place)[: _SLOT.size - CRC_BYTES]
    if crc != crc32(covered, seed) or counter % 2 != block:
        return None
    return Slot(counter, durable_offset, durable_seq, first_seq, bool(flags & _CLOSED))


# Frame

#: commit word, crc, flags and seq
_FRAME = Struct("<IIQ")
decode_frame = _FRAME.unpack_from
FRAME_BYTES = _FRAME.size
assert FRAME_BYTES == ALIGN, "payloads begin on a multiple of the alignment, too"

LENGTH_BITS = 28
LENGTH_MASK = (1 << LENGTH_BITS) - 1

VACANT, SINGLE, FIRST, MIDDLE, LAST, END, MARK, REFUSED = range(8)
SKIPPED = range(8, 16)
#: Kinds that stand by themselves or begin what does: a search behind damage looks for these.
SEARCHED = frozenset((SINGLE, FIRST, END, MARK, *SKIPPED))

#: time, durable seq
_MARK = Struct("<QQ")
MARK_BYTES = _MARK.size


def padded(length):
    """`length`, rounded up to where a frame may begin."""
    return (length + ALIGN - 1) & -ALIGN


def length_fits(kind, length):
    """Whether a frame of this kind can have a payload of `length` bytes."""
    if kind == END:
        return length == 0
    return kind != MARK or length >= MARK_BYTES


def mark_durable_seq(payload):
    """What was durable when a mark was written."""
    _, durable_seq = _MARK.unpack_from(payload)
    return durable_seq


def frame_seed(salt):
    """A function that gives, for a frame's offset, commit word and flags and seq, what its checksum starts from."""
    salt_high, salt_low = salt >> 32, salt & U32_MASK

    def seed(offset, word, flags_and_seq):
        low = (flags_and_seq & U32_MASK) * 0xC2B2AE3D & U32_MASK
        high = (flags_and_seq >> 32) * 0x27D4EB2F & U32_MASK
        return (
            (offset // ALIGN) * 0x9E3779B1
            ^ (word ^ salt_high) * 0x85EBCA77
            ^ (low << 11 | low >> 21)
            ^ (high << 22 | high >> 10)
            ^ salt_low
        ) & U32_MASK

    return seed

"""What the tests make logs of: golden files, and frames with right checksums wherever one likes."""

import os
import random
import shutil
import struct
import tempfile
from zlib import crc32

from maplog import format as layout
from maplog import page as pages

GOLDEN = os.path.join(os.path.dirname(__file__), "..", "..", "..", "tests", "golden")


def golden_names():
    """The names of the golden logs."""
    return sorted(name for name in os.listdir(GOLDEN) if os.path.isdir(os.path.join(GOLDEN, name)))


class Directory:
    """A directory that goes away, with a copy of a golden log in it or nothing."""

    def __init__(self, golden=None):
        self.path = tempfile.mkdtemp(prefix="maplog-")
        if golden is not None:
            for name in os.listdir(os.path.join(GOLDEN, golden)):
                shutil.copy(os.path.join(GOLDEN, golden, name), self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def files(self):
        """The paths of its files, in order."""
        return [os.path.join(self.path, name) for name in sorted(os.listdir(self.path))]

    def write(self, name, data):
        """A file of this name."""
        with open(os.path.join(self.path, name), "wb") as file:
            file.write(data)


def live_page(log, words):
    """Puts a page that is live into a directory, or changes it; its other words are those given by place."""
    path = os.path.join(log.path, pages.NAME)
    if not os.path.exists(path):
        log.write(pages.NAME, bytes(pages.PAGE_BYTES))
    with open(path, "r+b") as file:
        told = {**words, pages._MAGIC: pages._MAGIC_WORD}
        told.update(enumerate(pages._identity(file.fileno()), pages._BOOT_HIGH))
        for place, word in told.items():
            file.seek(place * pages.WORD_BYTES)
            file.write(struct.pack("<Q", word))


def page_end(*end):
    """The words that say that the log ends there."""
    return {copy + at: word for copy in pages._END_COPIES for at, word in enumerate(end)}


def frame(salt, offset, kind, seq, payload=b"", tie=0):
    """A frame that is valid at `offset`."""
    word = kind << layout.LENGTH_BITS | len(payload)
    crc = crc32(payload, layout.frame_seed(salt)(offset, word, seq) ^ tie)
    padding = bytes(layout.padded(len(payload)) - len(payload))
    return struct.pack("<IIQ", word, crc, seq) + payload + padding


def seal(data, offset, salt):
    """Gives what stands at `offset` the checksum of a frame, as far as its length lies inside of `data`."""
    if offset + layout.FRAME_BYTES > len(data):
        return
    word, _, seq = layout.decode_frame(data, offset)
    start = offset + layout.FRAME_BYTES
    payload = bytes(data[start:start + (word & layout.LENGTH_MASK)])
    crc = crc32(payload, layout.frame_seed(salt)(offset, word, seq))
    struct.pack_into("<I", data, offset + 4, crc)


def seal_slot(data, block, salt):
    """Gives the slot of a block its right checksum."""
    at = layout.SLOT_PLACES[block]
    end = at + layout.SLOT_BYTES - layout.CRC_BYTES
    if end + layout.CRC_BYTES <= len(data):
        crc = crc32(bytes(data[at:end]), (salt >> 32) ^ (salt & layout.U32_MASK))
        struct.pack_into("<I", data, end, crc)


def seal_header(data, block):
    """Gives the header's copy in a block its right checksum."""
    at = block * layout.BLOCK_BYTES
    end = at + layout.SECTOR_BYTES - layout.CRC_BYTES
    if end + layout.CRC_BYTES <= len(data):
        struct.pack_into("<I", data, end, crc32(bytes(data[at:end])))


_NUMBERS = (0, 1, 2, 0xFF, 1 << 28, (1 << 32) - 1, (1 << 56) - 2, (1 << 56) - 1, (1 << 64) - 1)


def mutate(data, rng: random.Random, salt):
    """Harms a segment's bytes, and now and then forges the checksums over it."""
    places = (0, layout.BLOCK_BYTES, *layout.SLOT_PLACES, layout.HEADER_BYTES, layout.HEADER_BYTES + 500)
    for _ in range(rng.randrange(1, 5)):
        at = rng.choice(places) + rng.randrange(600) // 8 * 8
        if at + 8 > len(data):
            continue
        value = rng.choice((*_NUMBERS, rng.getrandbits(64), rng.randrange(20_000)))
        struct.pack_into(rng.choice(("<Q", "<I", "<B")), data, at, value & 0xFF if rng.random() < 0.3 else 0)
        if rng.random() < 0.7:
            struct.pack_into("<Q", data, at, value & (1 << 64) - 1)
        if rng.random() < 0.8:
            seal(data, at // 16 * 16, salt)
    for block in range(2):
        if rng.random() < 0.7:
            seal_header(data, block)
            seal_slot(data, block, salt)
    if rng.random() < 0.2:
        del data[rng.randrange(len(data)):]

"""A reader of maplog logs in plain Python, written from docs/format.md.

    for item in maplog.Log("orders"):
        if isinstance(item, maplog.Lost):
            print("lost", item.start, item.stop)
        else:
            print(item.seq, bytes(item.data))
"""

from .errors import Damaged, Error, Io, Moved, NotALog, NotFound, Replaced, Rewound, Trimmed, Unsupported
from .log import Log, Lost, Record
from .tail import Tail
from .verify import verify

"""Following a log as it grows, by looking again and again.

A writer is neither asked nor slowed: this only reads. Whoever wants to be woken needs the futex of docs/format.md,
which Python cannot wait on.

Does not know: what a frame is, where a log ends.
"""

import time
from collections import deque

from .errors import Moved, NotALog, NotFound, Replaced, Rewound, Trimmed
from .log import Log, Lost, Place, items_of
from .scan import Gap
from .segment import Vanished

_SPINS = 20
_FIRST_NAP_SECONDS = 0.0005
_LONGEST_NAP_SECONDS = 0.02
#: How often the path is looked at while nothing comes, and a log without a live page by all its files.
_LOOK_SECONDS = 0.2


class Tail:
    """The records of a log from `seq` on, those that come included; from its end on if `seq` is None.

    Each is given once and in order, and so is each Lost. Where the log was cut or trimmed, Rewound or Trimmed is raised
    once, and the next call goes on at its `seq`. Replaced is raised for good.
    """

    def __init__(self, path, seq=None):
        self._log = Log(path)
        self.next_seq = self._log.next_seq if seq is None else seq
        self._place = None
        self._items = deque()
        self._walk = None
        #: Where damage was seen once.
        self._doubted = None
        self._look_at = 0.0
        if self.next_seq > self._log.next_seq:
            raise ValueError(f"record {seq} does not exist yet; the next is {self._log.next_seq}")

    def __iter__(self):
        while True:
            yield self.recv()

    def recv(self, timeout=None):
        """The next Record or Lost, when there is one; None if none came in `timeout` seconds."""
        give_up = None if timeout is None else time.monotonic() + timeout
        looks, nap = 0, _FIRST_NAP_SECONDS
        while (item := self.try_recv()) is None:
            looks += 1
            if give_up is not None and time.monotonic() >= give_up:
                return None
            if looks > _SPINS:
                time.sleep(nap)
                nap = min(nap * 2, _LONGEST_NAP_SECONDS)
        return item

    def try_recv(self):
        """The next Record or Lost if it is there, else None."""
        while True:
            item = self._next_known()
            if self._has_moved() or (item is None and self._is_due_to_look()):
                if item is not None:
                    self._items.appendleft(item)
                self._take_again()
            elif item is not None:
                self.next_seq = item.stop if isinstance(item, Lost) else item.seq + 1
                return item
            elif not self._log.is_live or not self._refresh_end():
                return None

    # What is known to be there

    def _next_known(self):
        if self.next_seq < self._log.first_seq:
            self._rest_at(self._log.first_seq)
            raise Trimmed(self._log.first_seq)
        while not self._items and self.next_seq < self._log.next_seq:
            self._step()
        return self._items.popleft() if self._items else None

    def _step(self):
        """One frame or gap, and what is in it.

        Python has no fence, so bytes may come into view behind the word that publishes them: what looks
        damaged is looked at again, behind a system call.
        """
        lowest = self._log.segments[0].base
        if self.next_seq < lowest:
            self._items.append(Lost(self.next_seq, min(lowest, self._log.next_seq)))
            return
        if self._place is None:
            self._place = self._log.place_of(self.next_seq)
        if self._walk is None:
            self._walk = self._log.walk(self._place)
        try:
            segment, found = next(self._walk)
        except StopIteration:  # the end moved since this walk began: another one goes on at its place
            self._walk = None
            return
        except Moved:
            self._walk = None
            self._take_again()
            return
        if isinstance(found, Gap) and self._doubted != self._place:
            self._doubted, self._walk = self._place, None
            time.sleep(_FIRST_NAP_SECONDS)
            return
        self._place = Place(segment.id, found.end, found.next_seq)
        self._items.extend(items_of(segment, found, self.next_seq, self._log.next_seq))

    def _rest_at(self, seq):
        self.next_seq = seq
        self._place, self._walk = None, None
        self._items.clear()

    # Looking again

    def _has_moved(self):
        log = self._log
        return log.page is not None and log.page.state() != log.state

    def _is_due_to_look(self):
        """Whether nothing came for a while, and what is there may not be this log any more."""
        if time.monotonic() < self._look_at:
            return False
        log = self._log
        self._look_at = time.monotonic() + _LOOK_SECONDS
        return not (log.page.has_its_name() if log.is_live else log.looks_the_same())

    def _refresh_end(self):
        """True if there is more than was known."""
        try:
            return self._log.refresh_end()
        except Vanished:
            self._take_again()
            return True

    def _take_again(self):
        old = self._log
        if old.page is not None and not old.page.has_its_name():
            raise Replaced(f"{old.path}: other files took the log's place")
        try:
            self._log = Log(old.path, old)
        except (NotFound, NotALog) as gone:
            raise Replaced(f"{old.path}: the log is gone") from gone
        if old.id is not None and self._log.id is not None and self._log.id != old.id:
            raise Replaced(f"{old.path}: another log took the log's place")
        self._look_at = time.monotonic() + _LOOK_SECONDS
        self._walk = None
        if self._place is not None and all(segment.id != self._place.id for segment in self._log.segments):
            self._place = None
        owned = self._log.owned_until(old.epoch)
        if self.next_seq > owned:
            self._rest_at(owned)
            raise Rewound(owned)

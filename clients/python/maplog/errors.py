"""What can go wrong, one class a cause.

Does not know: files, frames, pages.
"""

from contextlib import contextmanager


class Error(Exception):
    """Every error that this package raises for the sake of a log or its files."""


class NotFound(Error):
    """There is no such directory."""


class NotALog(Error):
    """The directory holds no segment, or the files do not belong together as one log."""


class Unsupported(Error):
    """A later version wrote this log, or a part of it."""


class Damaged(Error):
    """The log cannot be read at all. Lost records are no error: see `Lost`."""


class Io(Error):
    """The system refused a read. Nothing is known to be damaged."""


class Moved(Error):
    """A tail cannot go on where it was. `seq` is where it goes on if it is asked again."""

    def __init__(self, seq, text):
        super().__init__(text)
        self.seq = seq


class Trimmed(Moved):
    """The record that was to come is gone; `seq` is the first that is left."""

    def __init__(self, seq):
        super().__init__(seq, f"records were trimmed; the first that is left is {seq}")


class Rewound(Moved):
    """The log was cut; what was read from `seq` on is no longer in it."""

    def __init__(self, seq):
        super().__init__(seq, f"the log was cut; what was read from record {seq} on is not in it")


class Replaced(Error):
    """Other files took the log's place. The tail is over."""


@contextmanager
def system_errors(path):
    """Gives the errors of the system calls inside as this package's own."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path}: there is no such file or directory") from error
    except NotADirectoryError as error:
        raise NotALog(f"{path}: not a directory") from error
    except (OSError, ValueError) as error:
        raise Io(f"{path}: {error}") from error

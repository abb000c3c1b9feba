"""For tests/it/python: follows the log given from the record given, and tells each thing that comes in a line."""

import sys

import maplog


def main():
    path, seq = sys.argv[1], int(sys.argv[2])
    tail = maplog.Tail(path, seq)
    while True:
        try:
            item = tail.recv()
            if isinstance(item, maplog.Lost):
                told = f"lost {item.start} {item.stop}"
            else:
                told = f"record {item.seq} {item.data.hex()}"
        except maplog.Moved as moved:
            told = f"{type(moved).__name__.lower()} {moved.seq}"
        except maplog.Error as error:
            print(type(error).__name__.lower(), flush=True)
            return
        print(told, flush=True)


main()

"""For tests/it/python.rs: reads paths of logs from standard input, and tells what each holds, a line each and
a line with a dot behind the last.
"""

import sys

import maplog


def told(path):
    """What a log of this path gives to who reads and to who checks it."""
    try:
        log = maplog.Log(path)
        yield f"log {log.first_seq} {log.next_seq} {log.durable_seq}"
        for item in log:
            if isinstance(item, maplog.Lost):
                yield f"lost {item.start} {item.stop}"
            else:
                yield f"record {item.seq} {item.data.hex()}"
        report = maplog.verify(path)
    except maplog.Error as error:
        yield f"error {type(error).__name__}"
        return
    yield f"verified {str(report.is_intact).lower()} {report.records}"
    for start, stop in report.lost:
        yield f"lost {start} {stop}"


def main():
    for line in sys.stdin:
        lines = list(told(line.rstrip("\n")))
        if lines[-1].startswith("error"):
            lines = lines[-1:]
        print("\n".join(lines + ["."]), flush=True)


main()

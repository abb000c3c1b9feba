"""The command: python3 -m maplog cat|verify|tail LOG."""

import argparse
import base64
import json
import os
import signal
import sys

from . import Damaged, Error, Log, Lost, Moved, Tail, verify

_FINE, _DAMAGE, _ERROR = 0, 1, 2
_EXIT_STATUS = "Exit status: 0 all is well, 1 records are damaged, 2 wrong usage or an error."


def main():
    arguments = _parser().parse_args()
    arguments.status = _FINE
    if sys.stdout is None:
        print("maplog: standard output is closed", file=sys.stderr)
        return _ERROR
    try:
        _run(arguments)
    except BrokenPipeError:
        # Nobody wants more.
        _write_to_nowhere()
    except OSError as error:
        _write_to_nowhere()
        _complain(f"writing: {error.strerror}")
        return _ERROR
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return arguments.status


def _run(arguments):
    try:
        arguments.run(arguments)
    except Error as error:
        arguments.status = _DAMAGE if isinstance(error, Damaged) else _ERROR
        _complain(error)
    sys.stdout.flush()


def _write_to_nowhere():
    """Standard output is flushed once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser():
    parser = argparse.ArgumentParser(prog="python3 -m maplog", description="Reads maplog logs.", epilog=_EXIT_STATUS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    cat = _add(commands, "cat", _cat, "write records to standard output, a newline behind each")
    tail = _add(commands, "tail", _tail, "write the last records, and with -f those that come")
    tail.add_argument("-n", type=_count, default=10, metavar="N", help="how many records (10)")
    tail.add_argument("-f", action="store_true", dest="follow", help="go on with the records that come")
    for command in cat, tail:
        form = command.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_const", dest="form", const=_json_line, help="one JSON object a line")
        form.add_argument("--raw", action="store_const", dest="form", const=_raw, help="records with nothing between")
        command.set_defaults(form=_line)
    check = _add(commands, "verify", _verify, "check every frame, header and slot")
    check.add_argument("--json", action="store_true", help="write one JSON object")
    return parser


def _add(commands, name, run, text):
    command = commands.add_parser(name, help=text, description=text.capitalize() + ".", epilog=_EXIT_STATUS)
    command.add_argument("log", metavar="LOG", help="the log's directory")
    command.set_defaults(run=run)
    return command


def _count(text):
    count = int(text)
    if count < 0:
        raise ValueError(text)
    return count


def _cat(arguments):
    _write_all(Log(arguments.log), arguments)


def _tail(arguments):
    log = Log(arguments.log)
    start = max(log.next_seq - arguments.n, log.first_seq)
    if not arguments.follow:
        _write_all(log.items(start), arguments)
        return
    tail = Tail(arguments.log, start)
    while True:
        try:
            _write_all(iter(tail.try_recv, None), arguments)
            sys.stdout.buffer.flush()
            _write_all([tail.recv()], arguments)
        except Moved as moved:
            _complain(moved)


def _write_all(items, arguments):
    write = sys.stdout.buffer.write
    for item in items:
        if isinstance(item, Lost):
            arguments.status = _DAMAGE
            _complain(f"records {item.start}..{item.stop} are lost to damage")
        else:
            write(arguments.form(item))


def _complain(what):
    sys.stdout.buffer.flush()
    print(f"maplog: {what}", file=sys.stderr, flush=True)


def _raw(record):
    return record.data


def _line(record):
    return b"%b\n" % record.data


def _json_line(record):
    try:
        fields = {"seq": record.seq, "data": str(record.data, "utf-8")}
    except UnicodeDecodeError:
        fields = {"seq": record.seq, "base64": base64.b64encode(record.data).decode("ascii")}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"


def _verify(arguments):
    report = verify(arguments.log)
    if arguments.json:
        fields = {"log": arguments.log, "intact": report.is_intact, **report._asdict()}
        fields["segments"] = [segment._asdict() for segment in report.segments]
        print(json.dumps(fields, separators=(",", ":")))
    else:
        for segment in report.segments:
            print(_segment_line(segment))
        print(_last_line(report))
    arguments.status = _FINE if report.is_intact else _DAMAGE


def _segment_line(segment):
    line = f"segment {segment.id}: {segment.records} records, {segment.file_bytes} bytes"
    if segment.damaged:
        line += "; damaged bytes " + _ranges(segment.damaged)
    if segment.spare_copy_damaged:
        line += "; a spare copy is damaged, the other serves"
    return line


def _last_line(report):
    verdict = "intact" if report.is_intact else "damaged"
    if report.lost:
        verdict += ", lost records " + _ranges(report.lost)
    return f"{report.records} records ({report.first_seq}..{report.next_seq}): {verdict}"


def _ranges(ranges):
    return " ".join(f"{start}..{stop}" for start, stop in ranges)


if __name__ == "__main__":
    sys.exit(main())

"""The command: python3 -m maplog cat|verify|tail LOG."""

import argparse
import base64
import json
import os
import sys

from . import Error, Log, Lost, Moved, Tail, verify

_FINE, _DAMAGE, _ERROR = 0, 1, 2
_EXIT_STATUS = "Exit status: 0 all is well, 1 records are damaged, 2 wrong usage or an error."


def main():
    arguments = _parser().parse_args()
    try:
        return arguments.run(arguments)
    except Error as error:
        _complain(error)
        return _ERROR
    except BrokenPipeError:
        # Nobody wants more. Standard output is flushed once more at exit, to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FINE
    except KeyboardInterrupt:
        return _FINE


def _parser():
    parser = argparse.ArgumentParser(prog="python3 -m maplog", description="Reads maplog logs.", epilog=_EXIT_STATUS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    cat = _add(commands, "cat", _cat, "write records to standard output, a newline behind each")
    tail = _add(commands, "tail", _tail, "write the last records, and with -f those that come")
    tail.add_argument("-n", type=int, default=10, metavar="N", help="how many records (10)")
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


def _cat(arguments):
    return _write_all(Log(arguments.log), arguments.form)


def _tail(arguments):
    log = Log(arguments.log)
    start = max(log.next_seq - arguments.n, log.first_seq)
    if not arguments.follow:
        return _write_all(log.items(start), arguments.form)
    tail = Tail(arguments.log, start)
    while True:
        try:
            _write_all(iter(tail.try_recv, None), arguments.form)
            sys.stdout.buffer.flush()
            _write_all([tail.recv()], arguments.form)
        except Moved as moved:
            _complain(moved)


def _write_all(items, form):
    status, write = _FINE, sys.stdout.buffer.write
    for item in items:
        if isinstance(item, Lost):
            _complain(f"records {item.start}..{item.stop} are lost to damage")
            status = _DAMAGE
        else:
            write(form(item))
    return status


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
    return _FINE if report.is_intact else _DAMAGE


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

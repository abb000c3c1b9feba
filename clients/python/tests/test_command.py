"""The command, as a person or a script meets it."""

import base64
import json
import os
import shutil
import subprocess
import sys
import unittest

from forge import GOLDEN, Directory

CLIENT = os.path.join(os.path.dirname(__file__), "..")


def run(*arguments):
    """Runs the command; gives its status, output and complaints."""
    environment = {**os.environ, "PYTHONPATH": CLIENT}
    done = subprocess.run([sys.executable, "-m", "maplog", *arguments], capture_output=True, env=environment, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


class Command(unittest.TestCase):
    def test_cat_json_gives_text_or_base64(self):
        status, output, _ = run("cat", "--json", os.path.join(GOLDEN, "closed"))
        lines = [json.loads(line) for line in output.splitlines()]
        self.assertEqual(status, 0)
        self.assertEqual(lines[0], {"seq": 40, "data": "first"})
        self.assertEqual(lines[1], {"seq": 41, "data": ""})
        self.assertEqual(lines[4], {"seq": 44, "base64": base64.b64encode(b"\xff" * 33).decode()})
        self.assertTrue(output.startswith(b'{"seq":40,"data":"first"}\n'))

    def test_damage_is_told_and_gone_past(self):
        status, output, complaints = run("cat", os.path.join(GOLDEN, "torn"))
        self.assertEqual((status, output), (1, b"zero\ntwo\nthree\n"))
        self.assertIn("records 1..2 are lost", complaints)

    def test_verify_says_intact_or_damaged(self):
        status, output, _ = run("verify", "--json", os.path.join(GOLDEN, "damaged"))
        found = json.loads(output)
        self.assertEqual((status, found["intact"], found["lost"]), (1, False, [[1, 2], [3, 6], [12, 13]]))
        status, output, _ = run("verify", os.path.join(GOLDEN, "recovered"))
        self.assertEqual(status, 0)
        self.assertIn(b"6 records (0..6): intact", output)

    def test_what_cannot_be_read_is_an_error_in_a_sentence(self):
        with Directory() as empty:
            for path in (empty.path, os.path.join(empty.path, "none"), os.path.join(GOLDEN, "version-2")):
                status, output, complaints = run("cat", path)
                self.assertEqual((status, output, complaints.count("\n")), (2, b"", 1), complaints)

    def test_what_cannot_be_written_is_an_error_in_a_sentence(self):
        environment = {**os.environ, "PYTHONPATH": CLIENT}
        for command in ("cat", "verify", "tail"):
            line = [sys.executable, "-m", "maplog", command, os.path.join(GOLDEN, "recovered")]
            with open("/dev/full", "wb") as full:
                done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, env=environment, check=False)
            self.assertEqual((done.returncode, done.stderr.count(b"\n")), (2, 1), done.stderr)
            closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *line], capture_output=True, env=environment, check=False)
            self.assertEqual((closed.returncode, closed.stderr.count(b"\n")), (2, 1), closed.stderr)

    def test_damage_is_told_though_nobody_reads_on(self):
        environment = {**os.environ, "PYTHONPATH": CLIENT, "PYTHONUNBUFFERED": ""}
        line = [sys.executable, "-m", "maplog", "cat", os.path.join(GOLDEN, "torn")]
        reads, writes = os.pipe()
        os.close(reads)
        with open(writes, "wb") as gone:
            done = subprocess.run(line, stdout=gone, stderr=subprocess.DEVNULL, env=environment, check=False)
        self.assertEqual(done.returncode, 1)

    def test_a_count_is_not_negative(self):
        status, output, complaints = run("tail", "-n", "-5", os.path.join(GOLDEN, "recovered"))
        self.assertEqual((status, output), (2, b""))
        self.assertNotIn("Traceback", complaints)

    def test_a_file_that_ends_before_its_records_is_no_damaged_bytes(self):
        with Directory() as log:
            shutil.copytree(os.path.join(GOLDEN, "recovered"), log.path, dirs_exist_ok=True)
            last = max((name for name in os.listdir(log.path) if name.endswith(".seg")), key=lambda name: int(name.split("-")[1][:-4]))
            os.truncate(os.path.join(log.path, last), 6442)
            found = json.loads(run("verify", "--json", log.path)[1])
        for segment in found["segments"]:
            for start, stop in segment["damaged"]:
                self.assertLess(start, stop)

    def test_tail_gives_the_last_records(self):
        self.assertEqual(run("tail", "-n", "2", os.path.join(GOLDEN, "recovered"))[1], b"not synced either\nafter the cut\n")


if __name__ == "__main__":
    unittest.main()

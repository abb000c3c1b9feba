"""The command, as a person or a script meets it."""

import base64
import json
import os
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

    def test_tail_gives_the_last_records(self):
        self.assertEqual(run("tail", "-n", "2", os.path.join(GOLDEN, "recovered"))[1], b"not synced either\nafter the cut\n")


if __name__ == "__main__":
    unittest.main()

"""Prints the end of what each failed test of a build folder's last run wrote: last_failures.py BUILD_FOLDER.

A summary that only names tests makes whoever reads it look for a log; where the log is on another machine, it is gone.
"""

import os
import re
import sys

LINES = 15
TESTS = 8
SECTION = re.compile(r"^\d+/\d+ Testing: (.*?)\n.*?^Output:\n-+\n(.*?)^<end of output>", re.MULTILINE | re.DOTALL)


def read(folder, name):
    try:
        with open(os.path.join(folder, "Testing", "Temporary", name), errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def main(folder):
    failed = [line.split(":", 1)[1] for line in read(folder, "LastTestsFailed.log").splitlines() if ":" in line]
    outputs = dict(SECTION.findall(read(folder, "LastTest.log")))
    for name in failed[:TESTS]:
        print(f"\n{name} wrote last:")
        for line in outputs.get(name, "").splitlines()[-LINES:]:
            print("  " + line[:400])
    if len(failed) > TESTS:
        print(f"\n... and {len(failed) - TESTS} more failed")


main(sys.argv[1])

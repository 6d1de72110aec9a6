# ctest: TIMEOUT 60
# ctest: CASES awaited awaited_below refused
"""A vfork in progress: its maker cannot be stopped before its child ends, and the child is let on until then."""

import os
import re
import time

import harness

PROGRAM = os.path.join(harness.WORKLOADS, "vfork-holder")


def start(directory, milliseconds, depth):
    output = os.path.join(directory, "output")
    pid = harness.start([PROGRAM, str(milliseconds), str(depth)], output)
    harness.wait_until(lambda: harness.read(output).count("ready") == depth + 1, 10, "all are there")
    return pid, output


def awaited(directory, depth=0):
    pid, output = start(directory, 1500, depth)
    images = os.path.join(directory, "images")
    result = harness.must(harness.dump(pid, images, "-R"))
    harness.wait_until(lambda: "done" in harness.read(output), 10, "the vfork has ended")
    # Of the child nothing but its end is in the image.
    living = [name for name in os.listdir(images) if re.fullmatch(r"mm-\d+\.img", name)]
    harness.expect(len(living) == depth + 1, f"{living}: {result}")
    harness.end_all_children()


def refused(directory):
    pid, output = start(directory, 20000, 1)
    before = time.monotonic()
    result = harness.dump(pid, os.path.join(directory, "images"), "-R", "--timeout", "1")
    harness.expect(result.code == 1 and re.search(r"thread \d+ did not stop.*vfork", result.text), str(result))
    harness.expect(time.monotonic() - before < 5, "it took longer than it was given")
    harness.no_helpers(pid)
    harness.expect("done" not in harness.read(output), "the child has ended early")
    harness.expect(not harness.trouble_of(pid), str(harness.trouble_of(pid)))
    harness.end_all_children()


harness.cases({"awaited": awaited, "awaited_below": lambda directory: awaited(directory, 2), "refused": refused})

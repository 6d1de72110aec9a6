"""The program counting-threads: starting it and judging what it wrote."""

import os

import harness

PROGRAM = os.path.join(harness.WORKLOADS, "counting-threads")


def start(directory):
    """Returns (pid, path of the numbers) once it counts."""
    path = os.path.join(directory, "numbers")
    pid = harness.start([PROGRAM, path], os.path.join(directory, "output"))
    harness.wait_until(lambda: written(path) > 50, 10, "counting")
    harness.wait_until(lambda: len(os.listdir(f"/proc/{pid}/task")) == 4, 5, "four threads")
    # A thread that is being born has all signals blocked (pthread_create(3)).
    harness.wait_until(lambda: not any(int(harness.field(f"{pid}/task/{tid}", "SigBlk"), 16) >> 63
                                       for tid in os.listdir(f"/proc/{pid}/task")), 5, "four threads with their own masks")
    return pid, path


def written(path):
    """How many lines there are."""
    return os.path.getsize(path) // 10 if os.path.exists(path) else 0


def expect_consecutive(path):
    lines = harness.read(path).splitlines()
    for number, line in enumerate(lines):
        if line != f"{number:09d}":
            raise harness.Failure(f"line {number} of {len(lines)} is {line!r}: a gap or a repetition")
    return len(lines)


def expect_progress(path, what):
    reached = written(path)
    harness.wait_until(lambda: written(path) > reached + 20, 5, f"counting goes on {what}")

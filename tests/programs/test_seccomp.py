# ctest: TIMEOUT 60
# ctest: CASES strict socketpair munmap notify
"""Programs whose seccomp would harm them if a dump of them were killed: refused, naming the reason, and unharmed."""

import os

import harness

PROGRAM = os.path.join(harness.WORKLOADS, "seccomp-refused")

REASONS = {
    "strict": "strict mode",
    "socketpair": "do not allow socketpair",
    "munmap": "do not allow munmap",  # an error is enough: the parasite could not leave
    "notify": "supervisor",
}


def refused(directory):
    what = harness.CASE
    prefix = os.path.join(directory, "program")
    pid = harness.start([PROGRAM, prefix, what], prefix + ".out")
    harness.wait_until(lambda: os.path.exists(prefix + ".ready"), 10, "the program is ready")
    mode = "1" if what == "strict" else "2"
    harness.wait_until(lambda: harness.field(pid, "Seccomp") == mode, 10, "the program is under seccomp")
    before = harness.state_of(pid)
    for _ in range(3):
        result = harness.dump(pid, os.path.join(directory, "images"), "-R")
        harness.expect(result.code == 1, f"the dump was not refused: {result}")
        harness.expect(REASONS[what] in result.text, f"the reason is not named: {result}")
        harness.expect_unharmed(pid, before, "after a refused dump")
    harness.kill_and_reap(pid)


harness.run(refused)

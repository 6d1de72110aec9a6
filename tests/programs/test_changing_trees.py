# ctest: TIMEOUT 120
# ctest: CASES pipes sockets leaders orphans terminal
"""Trees whose children and threads come and go every millisecond are looked at before the freeze, and dumped: what was
born, closed or has ended meanwhile is never taken for something outside."""

import os
import sys

import harness

PROGRAM = os.path.join(harness.WORKLOADS, "changing-tree")
ROUNDS = 12

# The master is the root's, the shells on the slave have a pipe to a new child all the time.
TERMINAL = """
import os, pty
pid, master = pty.fork()
if pid == 0:
    os.execv("/bin/sh", ["sh", "-c", "echo ready; while :; do x=$(/bin/true); y=$(/bin/true); done"])
while b"ready" not in os.read(master, 1000):
    pass
os.write(1, b"ready\\n")
while True:
    os.read(master, 1000)
"""


def look(directory, arguments):
    output = os.path.join(directory, "output")
    pid = harness.start(arguments, output, cwd=directory)
    harness.wait_until(lambda: "ready" in harness.read(output), 20, "it is at it")
    for _ in range(ROUNDS):
        harness.must(harness.dump(pid, os.path.join(directory, "images"), "-R", "--no-sync"))
        harness.expect(harness.exists(pid) and harness.field(pid, "State")[:1] != "Z", "it has ended")
        harness.reap_all()  # orphans are ours, and thousands of them would take all pids there are
    harness.expect("a child" not in harness.read(output + ".err"), harness.read(output + ".err"))
    harness.end_all_children()


def busy(what):
    return lambda directory: look(directory, [PROGRAM, what])


harness.cases({
    **{what: busy(what) for what in ("pipes", "sockets", "leaders", "orphans")},
    "terminal": lambda directory: look(directory, [sys.executable, "-c", TERMINAL]),
})

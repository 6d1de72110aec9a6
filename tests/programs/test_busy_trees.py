# ctest: TIMEOUT 90
# ctest: CASES signals chain execs ends kills
"""Programs whose threads and processes come and go, execute programs, end and are killed while they are frozen: all of
the program is in the image, or the dump says why not; it never waits for an end that it keeps from coming itself."""

import os
import re
import time

import harness

PROGRAM = os.path.join(harness.WORKLOADS, "busy-tree")


def start(directory, what):
    output = os.path.join(directory, "output")
    pid = harness.start([PROGRAM, what], output)
    harness.wait_until(lambda: harness.read(f"/proc/{pid}/comm").strip() in ("busy-tree", "exe"), 10, "it runs")
    time.sleep(0.1)
    return pid, output, os.path.join(directory, "images")


def signals(directory):
    """What a handler does during a dump is in the image as a whole or not at all."""
    pid, output, images = start(directory, "signals")
    for _ in range(12):
        harness.dump_and_reap(pid, images, "--no-sync")
        for attempt in range(5):  # the number may be somebody else's for a moment
            result = harness.restore(images)
            if result.code == 0:
                break
        harness.must(result)
        before = os.path.getsize(output)
        harness.wait_until(lambda: harness.field(pid, "State")[:1] == "S", 5, "it sleeps again")
        harness.expect(before == os.path.getsize(output) == 0, harness.read(output))
    # Whoever has lost a byte says so at the next look, which every signal brings about.
    harness.wait_until(lambda: int(harness.field(pid, "voluntary_ctxt_switches")) > 40, 10, "it has looked again")
    harness.expect(not harness.read(output), harness.read(output))


def dump_often(what, directory, times, look=None):
    """So many dumps; fewer on a machine that takes more than half a minute for them."""
    pid, _, images = start(directory, what)
    whole, failures, end = 0, [], time.monotonic() + 30
    while whole + len(failures) < times and time.monotonic() < end:
        result = harness.dump(pid, images, "-R", "--no-sync")
        harness.expect(result.code in (0, 1), f"harm was done: {result}")
        harness.expect(result.took < 8, f"it took {result.took:.1f} s: {result}")
        # The leader is a zombie for a moment when another thread calls execve.
        harness.wait_until(lambda: harness.field(pid, "State")[:1] in ("R", "S", "D"), 5, f"it lives: {result}")
        if result.code == 0:
            whole += 1
            if look:
                look(pid, images)
        else:  # an end seen before the freeze may be an obstacle; during the freeze none is
            harness.expect(not re.search(r"> freeze\b|\bfreeze:|ptrace\(|defect of mini-criu: ", result.text),
                           str(result))
            failures.append(result.text)
    print(f"{whole} dumps, {len(failures)} were refused")
    harness.expect(whole > len(failures), f"of {whole + len(failures)} dumps only {whole}: {failures[-1:]}")
    harness.must(harness.engine("verify", images))


def expect_two_threads(pid, images):
    text = harness.must(harness.engine("show", os.path.join(images, f"core-{pid}.img"))).output
    threads = text.count("ThreadCore") or text.count('"tid"')
    harness.expect(threads >= 2, "a thread that always was there is not in the image")


harness.cases({
    "signals": signals,
    "chain": lambda directory: dump_often("chain", directory, 80, expect_two_threads),
    "execs": lambda directory: dump_often("execs", directory, 60),
    "ends": lambda directory: dump_often("ends", directory, 60),
    "kills": lambda directory: dump_often("kills", directory, 60),
})

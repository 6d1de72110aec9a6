# ctest: TIMEOUT 150
"""SIGKILL for the engine at 300 random moments of a dump: the program counts on without a gap, and nothing about it
has changed."""

import os
import shutil

import counting
import harness

MOMENTS = 300


def test(directory):
    chance = harness.seeded()
    pid, path = counting.start(directory)
    images = os.path.join(directory, "images")
    before = harness.state_of(pid)
    took = sorted(harness.must(harness.dump(pid, images, "-R", "--no-sync")).took for _ in range(5))[2]
    harness.expect_unharmed(pid, before, "after five whole dumps")
    shutil.rmtree(images)
    print(f"a dump takes {took * 1000:.1f} ms")
    whole = 0
    for number in range(MOMENTS):
        after = chance.uniform(0, took)
        reached = counting.written(path)
        harness.run_killed(["dump", "-t", pid, "-D", images, "-R", "--no-sync", "-v4", "-o", "dump.log"], after)
        what = f"dump {number}, killed after {after * 1000:.2f} ms of {took * 1000:.1f}"
        harness.no_helpers(pid)
        harness.expect_unharmed(pid, before, what)
        harness.wait_until(lambda: counting.written(path) > reached, 5, f"counting goes on, {what}")
        if os.path.exists(os.path.join(images, "inventory.img")):
            whole += 1
            harness.must(harness.engine("verify", images))
        shutil.rmtree(images, ignore_errors=True)
    counting.expect_progress(path, "at the end")
    harness.must(harness.dump(pid, images, "-R", "--no-sync"))
    harness.expect_unharmed(pid, before, "after a last whole dump")
    os.kill(pid, 9)
    harness.wait_for(pid)
    count = counting.expect_consecutive(path)
    print(f"{MOMENTS} moments, {whole} of them after the image was whole; {count} numbers without a gap")


harness.run(test)

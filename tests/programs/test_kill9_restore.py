# ctest: TIMEOUT 200
"""SIGKILL for the engine at 300 random moments of a restore: nothing is left of the half-built process, and the image
still restores."""

import os
import time

import counting
import harness

MOMENTS = 300


def settled(pid, before, what):
    """True when the restore had come to its end: the program is whole. False when nothing of it is left."""
    end = time.monotonic() + 5
    while harness.exists(pid):
        harness.reap_all()
        trouble = harness.trouble_of(pid)
        if not trouble and not harness.difference(before, harness.state_of(pid)):
            return True
        if time.monotonic() > end and harness.exists(pid):
            raise harness.Failure(f"process {pid} is half-built, {what}: {trouble}\n"
                                  + harness.difference(before, harness.state_of(pid)))
        time.sleep(0.002)
    return False


def test(directory):
    chance = harness.seeded()
    pid, path = counting.start(directory)
    images = os.path.join(directory, "images")
    before = harness.state_of(pid)
    harness.dump_and_reap(pid, images)
    size = os.path.getsize(path)

    def whole_restore():
        os.truncate(path, size)
        result = harness.must(harness.restore(images))
        harness.expect_unharmed(pid, before, "after a restore")
        return result

    times = []
    for _ in range(3):
        times.append(whole_restore().took)
        harness.kill_and_reap(pid)
    took = sorted(times)[1]
    print(f"a restore takes {took * 1000:.1f} ms")
    finished = 0
    for number in range(MOMENTS):
        after = chance.uniform(0, took)
        os.truncate(path, size)
        harness.run_killed(["restore", "-D", images, "-d", "-v4", "-o", "restore.log"], after)
        what = f"restore {number}, killed after {after * 1000:.2f} ms of {took * 1000:.1f}"
        if settled(pid, before, what):
            finished += 1
            harness.kill_and_reap(pid)
        harness.no_helpers()
    harness.must(harness.engine("verify", images))
    whole_restore()
    counting.expect_progress(path, "after the last restore")
    harness.kill_and_reap(pid)
    count = counting.expect_consecutive(path)
    print(f"{MOMENTS} moments, {finished} of them after the restore was complete; {count} numbers without a gap")


harness.run(test)

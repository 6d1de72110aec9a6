"""Live snapshots of a program that writes to all of its memory without a pause (hot_pages.cc): each is restored, and
must be of one instant."""

import os
import signal
import time

import harness


def gaps_of(result):
    return [float(line.split()[-2]) for line in result.text.splitlines() if line.startswith("  frozen")]


def end_tree(pid):
    """SIGKILL to a program and its child, as a crash would."""
    below = [int(child) for child in harness.read(f"/proc/{pid}/task/{pid}/children").split()]
    for one in [pid, *below]:
        os.kill(one, signal.SIGKILL)
    harness.wait_for(pid)
    for one in below:
        if one in harness.children():
            harness.wait_for(one)
    harness.wait_until(lambda: not any(map(harness.exists, below)), 5, "the end of the child")


def start(directory, mib):
    output = os.path.join(directory, "out")
    pid = harness.start([os.path.join(harness.WORKLOADS, "hot-pages"), str(mib)], output)
    harness.wait_until(lambda: "READY" in harness.read(output), 20, "READY")
    return pid, output


def expect_right(output):
    harness.expect("FAIL" not in harness.read(output), harness.read(output))


def finish(pid, output):
    os.kill(pid, signal.SIGTERM)
    code = harness.wait_for(pid, 30)
    harness.expect(code == 0 and harness.read(output).endswith("PASS\n"), f"it ended with {code}: {harness.read(output)}")


def snapshots(directory, count, mib=32, options=()):
    """One after the other: a live dump, then the program is killed and comes back from it."""
    pid, output = start(directory, mib)
    chance = harness.seeded()
    images = os.path.join(directory, "images")
    for number in range(count):
        time.sleep(chance.uniform(0, 0.05))
        result = harness.must(harness.dump(pid, images, "--live", "--no-sync", *options))
        harness.expect("stands still until all is stored" not in harness.read(os.path.join(images, "dump.log")),
                       f"no copy was made: {result}")
        time.sleep(chance.uniform(0, 0.02))
        expect_right(output)  # the program itself has not noticed anything
        harness.reap_all()
        end_tree(pid)
        harness.must(harness.restore(images))
        time.sleep(chance.uniform(0.01, 0.03))
        expect_right(output)
    harness.must(harness.engine("verify", images))
    finish(pid, output)
    harness.expect(not harness.children(), f"left behind: {harness.children()}")
    print(f"{count} live snapshots of 2 x {mib} MiB, each restored: right")

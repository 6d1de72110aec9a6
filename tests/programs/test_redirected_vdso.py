# ctest: TIMEOUT 60
"""A restore that takes the path for a changed vdso: the program's calls go on working, and it can be dumped again."""

import os
import time

import harness


def redirected(pid, images):
    """This program is inside the vdso most of the time. A thread that was dumped there cannot go on in another vdso and
    is refused; then it is brought back as it was and dumped again."""
    for _ in range(60):
        harness.dump_and_reap(pid, images)
        result = harness.restore(images, "--redirect-vdso")
        if result.code == 0:
            return
        harness.expect("inside the vdso" in result.text, str(result))
        harness.expect(not harness.exists(pid), "the refused restore left the process")
        harness.must(harness.restore(images))
        time.sleep(0.01)
    raise harness.Failure("in 60 dumps it was inside the vdso every time")


def test(directory):
    prefix = os.path.join(directory, "state")
    pid = harness.start([os.path.join(harness.WORKLOADS, "vdso_clock"), prefix], prefix + ".out")
    harness.wait_until(lambda: os.path.exists(prefix + ".ready"), 10, "ready")
    for number in range(2):
        time.sleep(0.1)
        images = os.path.join(directory, f"images-{number}")
        redirected(pid, images)
        time.sleep(0.1)
        harness.expect(harness.trouble_of(pid) == "", f"{harness.trouble_of(pid)} {harness.read(prefix + '.result')}")
    os.kill(pid, 15)
    code = harness.wait_for(pid)
    result = harness.read(prefix + ".result")
    harness.expect(code == 0 and result.startswith("PASS"), f"{code}: {result}")
    harness.no_helpers()


harness.run(test)

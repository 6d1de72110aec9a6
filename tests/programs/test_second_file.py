# ctest: TIMEOUT 120
# ctest: CASES shared small_program full_disk killed
"""Memory that is stored from both ends into two files: what is in them, that nothing is stored twice that came before,
that a disk without room or the end of the program is an error, and that the other ways of storing do not need it."""

import json
import os
import re
import signal
import subprocess
import time

import harness
from harness import expect

MIB = 1 << 20


class Case:
    def __init__(self, directory, workload="memory_repeats", *arguments):
        self.images, self.prefix = os.path.join(directory, "images"), os.path.join(directory, "state")
        self.pid = harness.start([os.path.join(harness.WORKLOADS, workload), self.prefix, *arguments],
                                 os.path.join(directory, "out"))
        harness.wait_until(lambda: os.path.exists(self.prefix + ".ready"), 20, "ready")

    def second_file(self):
        path = os.path.join(self.images, "img-0.img")
        return os.path.getsize(path) if os.path.exists(path) else None

    def restore_and_finish(self):
        harness.must(harness.engine("verify", self.images))
        harness.must(harness.restore(self.images))
        os.kill(self.pid, signal.SIGTERM)
        code = harness.wait_for(self.pid, 20)
        expect(code == 0, f"it ended with {code}: {harness.read(self.prefix + '.result')}")


def shared(directory):
    if os.cpu_count() < 2:
        raise harness.Skip("one processor: there is nobody to share with")
    case = Case(directory)
    for _ in range(5):  # a busy machine may give the engine no time while the program writes
        harness.must(harness.dump(case.pid, case.images, "-R", "--no-sync"))
        size = case.second_file()
        if size is not None and size > 4096 + MIB:
            break
    expect(size is not None and size > 4096 + MIB, f"the second file has {size} bytes")
    harness.kill_and_reap(case.pid)
    stat = json.loads(harness.must(harness.engine("stat", case.images, "--json")).output)
    # 36 MiB are different. A chunk of what repeats may be stored before that is known, in each file.
    expect(stat["stored_bytes"] < 40 * MIB and stat["content_bytes"] > 64 * MIB, stat)
    copy = os.path.join(directory, "merged")
    harness.must(harness.engine("merge", case.images, "-o", copy))
    harness.must(harness.engine("verify", copy))
    case.restore_and_finish()


def small_program(directory):
    case = Case(directory, "counter_loop")
    harness.dump_and_reap(case.pid, case.images, "--no-sync")
    expect(case.second_file() is None, "a second file for next to nothing")
    harness.must(harness.restore(case.images))
    harness.kill_and_reap(case.pid)


def full_disk(directory):
    """Too small for either file, or for both together: an error, nothing left, the program goes on."""
    case = Case(directory)
    mount = os.path.join(directory, "small")
    os.mkdir(mount)
    for megabytes in (1, 3, 6, 12, 20, 28, 34):
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", mount]).returncode != 0:
            raise harness.Skip("tmpfs cannot be mounted here")
        try:
            result = harness.engine("dump", "-t", case.pid, "-D", os.path.join(mount, "images"))
            expect(result.code == 1 and "ENOSPC" in result.errors, f"{megabytes} MiB: {result}")
            expect(not os.path.exists(os.path.join(mount, "images", "inventory.img")), "an image is there")
            expect(harness.exists(case.pid), "the program is gone")
        finally:
            subprocess.run(["umount", mount], check=True)
    harness.dump_and_reap(case.pid, case.images, "--no-sync")
    case.restore_and_finish()


def killed(directory):
    """At many moments of the dump: it says that the program ended, and leaves no image."""
    told = 0
    for number in range(12):
        place = os.path.join(directory, str(number))
        os.mkdir(place)
        case = Case(place, "memory_placed", "128")
        dump = subprocess.Popen([harness.ENGINE, "dump", "-t", str(case.pid), "-D", case.images],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(0.005 + 0.01 * number)
        os.kill(case.pid, signal.SIGKILL)
        text = dump.communicate(timeout=30)[0]
        harness.wait_for(case.pid)
        if dump.returncode == 0:
            continue  # it was quicker
        told += 1
        expect(dump.returncode == 1 and "Error (" in text and re.search("was killed|ended|no process", text), f"{number}: {text}")
        expect(not os.path.exists(os.path.join(case.images, "inventory.img")), f"{number}: an image is there")
    expect(told >= 3, f"only {told} of 12 came before the end of the dump")


if __name__ == "__main__":
    harness.cases({"shared": shared, "small_program": small_program, "full_disk": full_disk, "killed": killed})

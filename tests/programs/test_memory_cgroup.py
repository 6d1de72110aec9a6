# ctest: TIMEOUT 120
# ctest: CASES image_in_memory image_on_disk
"""A program whose memory cgroup has a limit does not pay for its image."""

import os
import shutil
import sys
import tempfile

import harness

MEBI = 1 << 20
PROGRAM = f"""
import os, time
block = os.urandom({MEBI})
memory = [bytearray(block) for _ in range(100)]
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
assert all(part == block for part in memory)
open("done", "w").close()
"""


class Group:
    """A memory cgroup with room for the program, but not for the program and its image."""

    def __init__(self):
        self.place = None
        for line in harness.read("/proc/self/mountinfo").splitlines():
            fields, kind = line.split(" - ")[0].split(), line.split(" - ")[1].split()
            first = kind[0] == "cgroup" and "memory" in kind[2].split(",")
            second = kind[0] == "cgroup2" and "memory" in harness.read(f"{fields[4]}/cgroup.subtree_control").split()
            if fields[3] == "/" and (first or second):
                self.place, self.first = f"{fields[4]}/mini-criu-test-{os.getpid()}", first
        if self.place is None:
            raise harness.Skip("no hierarchy counts memory")
        try:
            os.mkdir(self.place)
            with open(f"{self.place}/memory." + ("limit_in_bytes" if self.first else "max"), "w") as stream:
                stream.write(str(160 * MEBI))
        except OSError as error:
            raise harness.Skip(f"no memory cgroup can be made: {error}")

    def peak(self):
        return int(harness.read(f"{self.place}/memory." + ("max_usage_in_bytes" if self.first else "peak")) or 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        harness.end_all_children()
        harness.wait_until(lambda: self.try_remove(), 10, "the end of the group")

    def try_remove(self):
        try:
            os.rmdir(self.place)
            return True
        except OSError:
            return False


def survives(directory, images):
    with open(f"{directory}/program.py", "w") as stream:
        stream.write(PROGRAM)
    with Group() as group:
        enter = f"echo $$ > {group.place}/cgroup.procs && exec \"$@\""
        pid = harness.start(["sh", "-c", enter, "sh", sys.executable, "program.py"], f"{directory}/out", cwd=directory)
        harness.wait_until(lambda: os.path.exists(f"{directory}/ready"), 20, "the program is ready")
        before = group.peak()
        harness.must(harness.dump(pid, images, "-R", "--no-sync"))
        harness.expect(harness.exists(pid) and harness.field(pid, "State")[:1] in "RS", "the program is alive")
        harness.expect(group.peak() < before + 16 * MEBI,
                       f"the program pays for {(group.peak() - before) >> 20} MiB of its image")
        with open(f"{directory}/go", "w"):
            pass
        harness.expect(harness.wait_for(pid) == 0 and os.path.exists(f"{directory}/done"), "the program goes on")
        shutil.rmtree(images)


def image_in_memory(directory):
    if not os.access("/dev/shm", os.W_OK):
        raise harness.Skip("there is no /dev/shm")
    images = tempfile.mkdtemp(prefix="mcr-test-", dir="/dev/shm")
    try:
        survives(directory, f"{images}/d")
    finally:
        shutil.rmtree(images)


def image_on_disk(directory):
    survives(directory, f"{directory}/d")


harness.cases({"image_in_memory": image_in_memory, "image_on_disk": image_on_disk})

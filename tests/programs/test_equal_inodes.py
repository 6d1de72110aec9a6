# ctest: TIMEOUT 60
"""Two FIFOs of two file systems that have one inode number: each keeps what waits in it, and how much it can hold."""

import os
import sys

import harness

PROGRAM = """
import fcntl, os, sys, time
first, second = (os.open(path, os.O_RDWR) for path in sys.argv[1:3])
fcntl.fcntl(first, 1031, 8192)  # F_SETPIPE_SZ
os.write(first, b"AAAA")
os.write(second, b"BBBBBBBB")
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
with open("result.part", "w") as out:
    print(os.read(first, 100).decode(), os.read(second, 100).decode(), fcntl.fcntl(first, 1032),
          fcntl.fcntl(second, 1032), file=out)  # F_GETPIPE_SZ
os.rename("result.part", "result")
"""


def fifos(directory):
    if os.geteuid() != 0:
        raise harness.Skip("only root mounts")
    places, paths, images = [], [], os.path.join(directory, "images")
    try:
        for name in ("one", "two"):
            place = os.path.join(directory, name)
            os.mkdir(place)
            if os.system(f"mount -t tmpfs -o size=64k none {place}") != 0:
                raise harness.Skip("no tmpfs can be mounted here")
            places.append(place)
            paths.append(os.path.join(place, "fifo"))
            os.mkfifo(paths[-1])
        if len({os.stat(path).st_ino for path in paths}) != 1:
            raise harness.Skip("this kernel gives them two numbers")
        pid = harness.start([sys.executable, "-c", PROGRAM, *paths], os.path.join(directory, "out"), cwd=directory)
        harness.wait_until(lambda: os.path.exists(os.path.join(directory, "ready")), 10, "the program")
        harness.dump_and_reap(pid, images)
        harness.must(harness.restore(images))
        open(os.path.join(directory, "go"), "w").close()
        result = os.path.join(directory, "result")
        harness.wait_until(lambda: os.path.exists(result), 10, "the result")
        harness.expect(harness.read(result) == "AAAA BBBBBBBB 8192 65536\n", f"it found {harness.read(result)}")
    finally:
        harness.end_all_children()
        for place in places:
            os.system(f"umount -l {place}")


harness.run(fifos)

# ctest: TIMEOUT 60
# ctest: CASES counted high_number
"""POSIX timers get their old ids also where the kernel cannot be asked for them: by making and deleting timers until the
number comes."""

import os
import re
import sys
import time

import harness


def timers_of(pid):
    """Without the clocks of threads: who says "my own" is told by number; that it is the same one, the program tells."""
    entries = re.split(r"^ID: ", harness.read(f"/proc/{pid}/timers"), flags=re.M)[1:]
    return sorted(re.sub(r"/[0-9a-f]{16}|ClockID: -.*", "", entry) for entry in entries)


def round_trip(directory, arguments, restore_code=0):
    pid = harness.start(arguments, f"{directory}/out", cwd=directory)
    harness.wait_until(lambda: os.path.exists(f"{directory}/p.ready"), 10, "the program is ready")
    before = timers_of(pid)
    harness.expect(before, "it has no timers")
    times = [time.monotonic_ns()]
    harness.dump_and_reap(pid, f"{directory}/d")
    times += [time.monotonic_ns()] * 2
    result = harness.restore(f"{directory}/d", "--count-timers")
    with open(f"{directory}/p.pauses", "w") as stream:
        print("gone", *times, time.monotonic_ns(), file=stream)
    harness.expect(result.code == restore_code, result)
    if restore_code == 0:
        harness.expect(timers_of(pid) == before, f"{timers_of(pid)} instead of {before}")
    return pid, result


def counted(directory):
    pid, _ = round_trip(directory, [os.path.join(harness.WORKLOADS, "timers_clocks"), f"{directory}/p"])
    os.kill(pid, 15)
    code = harness.wait_for(pid)
    harness.expect(code == 0, harness.read(f"{directory}/p.result"))


HIGH = """
import ctypes, sys, time
libc = ctypes.CDLL(None)
libc.prctl(77, 1, 0, 0, 0)
event = (ctypes.c_int * 16)(0, 0, 0, 1)
number = ctypes.c_int(int(sys.argv[1]))
assert libc.syscall(222, 1, ctypes.byref(event), ctypes.byref(number)) == 0 and number.value == int(sys.argv[1])
libc.prctl(77, 0, 0, 0, 0)
open("p.part", "w").close()
import os
os.rename("p.part", "p.ready")
while True:
    time.sleep(1)
"""


def high_number(directory):
    with open(f"{directory}/high.py", "w") as stream:
        stream.write(HIGH)
    pid, _ = round_trip(directory, [sys.executable, "high.py", "30000"])
    harness.kill_and_reap(pid)
    os.unlink(f"{directory}/p.ready")
    _, result = round_trip(directory, [sys.executable, "high.py", "2000000"], 1)
    harness.expect("POSIX timer 2000000" in result.text and "6.15" in result.text, result)


harness.cases({"counted": counted, "high_number": high_number})

# ctest: TIMEOUT 60
# ctest: CASES remaining real
"""A program with timers is away for a second and a half. Its timers have the time that remained at the dump, or with
--timers real less by the time it was away: one that should have expired expires at once, with all its overruns."""

import os
import sys
import time

import harness

PROGRAM = """
import ctypes, os, signal, sys, time

class Timespec(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]
class Itimerspec(ctypes.Structure):
    _fields_ = [("interval", Timespec), ("value", Timespec)]
class Sigevent(ctypes.Structure):
    _fields_ = [("value", ctypes.c_long), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("pad", ctypes.c_char * 48)]

libc = ctypes.CDLL(None, use_errno=True)
RT = signal.SIGRTMIN + 1
signal.pthread_sigmask(signal.SIG_BLOCK, [RT, RT + 1, signal.SIGALRM, signal.SIGPROF])

def timer(signo, value, interval, clock=time.CLOCK_MONOTONIC):
    event, made = Sigevent(0, signo, 0), ctypes.c_void_p()
    assert libc.timer_create(clock, ctypes.byref(event), ctypes.byref(made)) == 0
    spec = Itimerspec(Timespec(*divmod(interval, 10**9)), Timespec(*divmod(value, 10**9)))
    assert libc.timer_settime(made, 0, ctypes.byref(spec), None) == 0
    return made

def timer_file(value, interval):
    made = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
    spec = Itimerspec(Timespec(*divmod(interval, 10**9)), Timespec(*divmod(value, 10**9)))
    assert made >= 0 and libc.timerfd_settime(made, 0, ctypes.byref(spec), None) == 0
    return made

def ticks(file):
    try:
        return int.from_bytes(os.read(file, 8), "little")
    except BlockingIOError:
        return 0

ticking_file, long_file = timer_file(10**9, 10**8), timer_file(100 * 10**9, 0)
long = timer(RT + 1, 100 * 10**9, 0)
ticking = timer(RT, 10**9, 10**8)
signal.setitimer(signal.ITIMER_REAL, 50)
signal.setitimer(signal.ITIMER_PROF, 50)
open("ready", "w").close()
while not os.path.exists("go"):
    time.sleep(0.01)
info = signal.sigtimedwait([RT], 0)
left = Itimerspec()
libc.timer_gettime(long, ctypes.byref(left))
file_left = Itimerspec()
libc.timerfd_gettime(long_file, ctypes.byref(file_left))
with open("result.part", "w") as out:
    print(info is not None, libc.timer_getoverrun(ticking) if info else -1, left.value.s + left.value.ns / 1e9,
          signal.getitimer(signal.ITIMER_REAL)[0], signal.getitimer(signal.ITIMER_PROF)[0],
          ticks(ticking_file), file_left.value.s + file_left.value.ns / 1e9, file=out)
os.rename("result.part", "result")
"""


def away(directory, *options):
    with open(os.path.join(directory, "program.py"), "w") as stream:
        stream.write(PROGRAM)
    began = time.monotonic()
    pid = harness.start([sys.executable, "program.py"], os.path.join(directory, "out"), cwd=directory)
    harness.wait_until(lambda: os.path.exists(f"{directory}/ready"), 10, "the program is ready")
    present = time.monotonic()
    harness.dump_and_reap(pid, f"{directory}/d")
    gone = time.monotonic()
    time.sleep(1.5)
    back = time.monotonic()
    harness.must(harness.restore(f"{directory}/d", *options))
    open(f"{directory}/go", "w").close()
    text = harness.wait_until(lambda: harness.read(f"{directory}/result"), 10, "the program's result")
    end = time.monotonic()
    fired, overruns, posix, real, prof, ticks, file = text.split()
    return {"fired": fired == "True", "overruns": int(overruns), "posix": 100 - float(posix), "real": 50 - float(real),
            "prof": 50 - float(prof), "ticks": int(ticks), "file": 100 - float(file), "away": back - gone, "least": back - gone, "most": end - began,
            "present": (present - began) + (end - back) + (gone - present)}


def expect_between(name, value, low, high):
    harness.expect(low <= value <= high, f"{name} is {value}, not between {low} and {high}")


def remaining(directory):
    seen = away(directory)
    for name in ("posix", "real", "file"):
        expect_between(name, seen[name], 0, seen["present"] + 0.05)
    expect_between("ticks", seen["ticks"], 0, max((seen["present"] - 1) / 0.1 + 1, 0))
    expect_between("prof", seen["prof"], -0.05, seen["present"])


def real(directory):
    seen = away(directory, "--timers", "real")
    for name in ("posix", "real", "file"):
        expect_between(name, seen[name], seen["least"], seen["most"] + 0.05)
    expect_between("ticks", seen["ticks"], (seen["least"] - 1) / 0.1, (seen["most"] - 1) / 0.1 + 1)
    expect_between("prof", seen["prof"], -0.05, seen["present"])  # CPU time does not pass
    harness.expect(seen["fired"], "the timer that expires within a second has not expired")
    expect_between("overruns", seen["overruns"], (seen["least"] - 1) / 0.1 - 1, (seen["most"] - 1) / 0.1)


harness.cases({"remaining": remaining, "real": real})

# ctest: TIMEOUT 300
# ctest: CASES left_running continued killed
"""SIGSTOP and SIGCONT that are sent while a program is being dumped are obeyed, as if there had been no dump."""

import glob
import os
import random
import shutil
import signal
import sys
import time

import harness

ROUNDS = 30

# Some 200 MiB, so that a dump takes a while, most of which a thread of the program works for mini-criu.
PROGRAM = """
import os, time
block = os.urandom(1 << 20)
memory = [bytearray(block) for _ in range(200)]
rounds = 0
while True:
    rounds += 1
    with open("rounds.part", "w") as out:
        out.write(str(rounds))
    os.rename("rounds.part", "rounds")
    assert memory[rounds % 200] == block
    time.sleep(0.002)
"""


def state(pid):
    return harness.field(pid, "State")[:1]


def rounds(place):
    return int(harness.read(f"{place}/rounds") or 0)


def begin(directory, name):
    place = os.path.join(directory, name)
    os.mkdir(place)
    with open(f"{place}/program.py", "w") as stream:
        stream.write(PROGRAM)
    pid = harness.start([sys.executable, "program.py"], f"{place}/out", cwd=place)
    harness.wait_until(lambda: rounds(place) > 3, 20, "the program works")
    return pid, place


def expect_work(place):
    before = rounds(place)
    harness.wait_until(lambda: rounds(place) > before + 2, 10, "the program goes on")


def expect_stopped(pid, place, what):
    harness.wait_until(lambda: state(pid) == "T", 2, f"{what}: the program is stopped, not {state(pid)}")
    before = rounds(place)
    time.sleep(0.05)
    harness.expect(rounds(place) == before and state(pid) == "T", f"{what}: the program goes on")


def dump_with(pid, images, action, *options):
    """`action` is called once the program stands still. False: it came when the image was being written already."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            harness.wait_until(lambda: state(pid) == "t", 10, "the program is frozen")
            action()
            code = 2 if glob.glob(f"{images}/.*/core-{pid}.img") else 0
        finally:
            os._exit(code)
    result = harness.dump(pid, images, *options)
    code = harness.wait_for(child)
    harness.expect(code in (0, 2), "the signals were sent")
    harness.must(result)
    return code == 0


def left_running(directory):
    pid, place = begin(directory, "left")
    for turn in range(ROUNDS):

        def stop():
            time.sleep(random.random() * 0.06)
            os.kill(pid, signal.SIGSTOP)

        dump_with(pid, f"{place}/d{turn}", stop, "-R", "--no-sync")
        expect_stopped(pid, place, f"round {turn}")
        os.kill(pid, signal.SIGCONT)
        expect_work(place)
        shutil.rmtree(f"{place}/d{turn}")


def continued(directory):
    """SIGCONT takes SIGSTOP back, whichever moments they come at."""
    pid, place = begin(directory, "continued")
    for turn in range(10):

        def stop_and_continue():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(random.random() * 0.03)
            os.kill(pid, signal.SIGCONT)

        dump_with(pid, f"{place}/d{turn}", stop_and_continue, "-R", "--no-sync")
        expect_work(place)
        shutil.rmtree(f"{place}/d{turn}")


def killed(directory):
    pid, place = begin(directory, "killed")
    in_time = 0
    for turn in range(6):
        last = turn % 2 == 0

        def signals():
            time.sleep(random.random() * 0.01)
            os.kill(pid, signal.SIGSTOP)
            if not last:
                os.kill(pid, signal.SIGCONT)

        early = dump_with(pid, f"{place}/d{turn}", signals, "--no-sync")
        in_time += early and last
        harness.wait_for(pid)
        harness.must(harness.restore(f"{place}/d{turn}"))
        if last and (early or state(pid) == "T"):
            expect_stopped(pid, place, f"round {turn}")
            os.kill(pid, signal.SIGCONT)
        expect_work(place)
        shutil.rmtree(f"{place}/d{turn}")
    harness.expect(in_time > 0, "no signal came in time")


harness.cases({"left_running": left_running, "continued": continued, "killed": killed})

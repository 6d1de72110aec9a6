"""Chains of incremental images of a program that writes to all of its memory without a pause (hot_pages.cc): each image
of them is restored with all that it builds upon, and must be of one instant. And a program whose memory changes step by
step, and that knows what is in it (changing_memory.py)."""

import os
import shutil
import signal
import sys
import time

import harness
import live_snapshots

VICTIM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "changing_memory.py")


class Victim:
    def __init__(self, directory, processes=1):
        self.directory, self.processes, self.step, self.checks = directory, processes, 0, 0
        self.folder = os.path.join(directory, "victim")
        os.mkdir(self.folder)
        self.pid = harness.start([sys.executable, VICTIM, self.folder, str(processes)], os.path.join(directory, "out"))
        self.wait("ready.{}")

    def wait(self, name):
        harness.wait_until(lambda: all(os.path.exists(os.path.join(self.folder, name.format(i)))
                                       for i in range(self.processes)), 20, name)

    def change(self):
        open(os.path.join(self.folder, f"go.{self.step}"), "w").close()
        self.wait(f"done.{self.step}." + "{}")
        self.step += 1

    def check(self):
        open(os.path.join(self.folder, f"check.{self.checks}"), "w").close()
        self.wait(f"sum.{self.checks}." + "{}")
        for i in range(self.processes):
            text = harness.read(os.path.join(self.folder, f"sum.{self.checks}.{i}"))
            harness.expect(text == "OK", f"process {i}: {text}")
        self.checks += 1

    def state(self):
        """Between two of its looks into the folder, for each of which it has a descriptor."""
        def without_look():
            state = harness.state_of(self.pid)
            return state if state and not any(one.endswith(" " + self.folder) for one in state["fds"]) else None

        return harness.wait_until(without_look, 10, "a state between two looks")

    def everybody(self):
        return [self.pid] + [int(p) for p in harness.read(f"/proc/{self.pid}/task/{self.pid}/children").split()]

    def send(self, number):
        for pid in self.everybody():
            os.kill(pid, number)

    def stand(self):
        self.send(signal.SIGSTOP)
        for pid in self.everybody():
            harness.wait_until(lambda: harness.field(pid, "State")[:1] == "T", 5, "the stop")


def keeper_of(pid):
    for other in os.listdir("/proc"):
        if other.isdigit() and harness.read(f"/proc/{other}/comm").strip() == "mini-criu-watch":
            if any(f"Pid:\t{pid}\n" in harness.read(f"/proc/{other}/fdinfo/{fd}")
                   for fd in os.listdir(f"/proc/{other}/fdinfo")):
                return int(other)
    return None


def step(directory, pid, number, chance):
    """One more image of the chain, or its first one; returns the folder."""
    images = os.path.join(directory, str(number))
    previous = ["--prev-images-dir", f"../{number - 1}"] if number else []
    time.sleep(chance.uniform(0, 0.03))
    if number % 3 == 1:
        harness.must(harness.engine("pre-dump", "-t", pid, "-D", images, "-v4", "-o", "dump.log", "--no-sync",
                                    *previous))
    else:
        harness.must(harness.dump(pid, images, "-R", "--no-sync", "--track-mem", *previous))
    if number:
        log = harness.read(os.path.join(images, "dump.log"))
        harness.expect("everything of it is stored" not in log, f"image {number} builds upon none: {log[-2000:]}")
    return images


def come_back(pid, images, output, chance):
    """The program is killed, as by a crash, and goes on from the image."""
    live_snapshots.end_tree(pid)
    harness.must(harness.restore(images))
    time.sleep(chance.uniform(0.01, 0.03))
    live_snapshots.expect_right(output)


def chains(directory, count, length=10, mib=12, every_image=True):
    """Each image of a chain is restored by itself: the chain goes on in the program that was not dumped that way."""
    chance = harness.seeded()
    restored = 0
    for _ in range(count):
        pid, output = live_snapshots.start(directory, mib)
        folders = [step(directory, pid, i, chance) for i in range(length)]
        live_snapshots.expect_right(output)
        harness.must(harness.engine("verify", folders[-1], limit=60))
        for number, images in enumerate(folders):
            if number % 3 == 1 or not (every_image or number == length - 1):
                continue  # memory only
            come_back(pid, images, output, chance)
            restored += 1
        live_snapshots.finish(pid, output)
        for images in folders:
            shutil.rmtree(images)
    harness.no_helpers()  # nor any that keeps the tracking
    print(f"{count} chains of {length} images of 2 x {mib} MiB, {restored} of them restored: right")

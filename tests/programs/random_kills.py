"""SIGKILL at random moments for what a dump consists of, of a program that writes to all of its memory without a pause
(hot_pages.cc) and finds out whatever is wrong with it: the program runs on, and images that came about are right."""

import os
import shutil
import signal
import subprocess
import time

import harness
import incremental_chains
import live_snapshots
import test_live

MIB = 12


class Rounds:
    """One program, and images one after the other, each in a folder of its own."""

    def __init__(self, directory):
        self.directory, self.chance = directory, harness.seeded()
        self.pid, self.output = live_snapshots.start(directory, MIB)
        self.last, self.number = None, 0

    def arguments(self, *command):
        self.number += 1
        previous = ["--prev-images-dir", self.last] if self.last and "--live" not in command else []
        return [*command, "-t", self.pid, "-D", self.images(), "-o", "dump.log", "--no-sync", *previous]

    def images(self):
        return os.path.join(self.directory, str(self.number))

    def dump(self, *command):
        harness.must(harness.engine(*self.arguments(*command)))
        self.keep()

    def keep(self):
        """The next one builds upon this one; those before it stay."""
        self.last = self.images()

    def forget(self):
        """A chain begins anew."""
        for name in os.listdir(self.directory):
            if name.isdigit():
                shutil.rmtree(os.path.join(self.directory, name))
        self.last = None

    def expect_right(self, what):
        live_snapshots.expect_right(self.output)
        harness.wait_until(lambda: not test_live.copies_of("hot-pages"), 5, f"the end of the copies, {what}")
        try:
            harness.wait_until(lambda: not any(self.troubles()), 5, "")
        except harness.Failure:
            raise harness.Failure(f"{what}: {self.troubles()}, said: {harness.read(self.output)}") from None
        harness.reap_all()

    def troubles(self):
        """Of its two processes; what made a copy is a third one for a moment, also when the engine is gone."""
        tree = [self.pid, *map(int, harness.read(f"/proc/{self.pid}/task/{self.pid}/children").split())]
        return [*map(harness.trouble_of, tree), "" if len(tree) == 2 else f"the tree is {tree}"]

    def come_back(self):
        incremental_chains.come_back(self.pid, self.last, self.output, self.chance)
        self.forget()

    def finish(self, what):
        self.expect_right("at the end")
        live_snapshots.finish(self.pid, self.output)
        harness.no_helpers()
        print(what)


def engine(directory, count):
    rounds, whole = Rounds(directory), 0
    ways = (("dump", "-R", "--track-mem"), ("pre-dump",), ("dump", "--live"))
    took = []
    for way in ways:
        began = time.monotonic()
        rounds.dump(*way)
        took.append(time.monotonic() - began)
    rounds.forget()
    for i in range(count):
        way = i % len(ways)
        if not rounds.last:
            rounds.dump("dump", "-R", "--track-mem")
        harness.run_killed(rounds.arguments(*ways[way]), rounds.chance.uniform(0, took[way]))
        rounds.expect_right(f"engine killed {i}")
        if os.path.exists(os.path.join(rounds.images(), "inventory.img")):
            whole += 1
            harness.must(harness.engine("verify", rounds.images(), limit=60))
        if i % 10 == 9:  # whatever was left of the one before: the next one is right
            rounds.dump("dump", "-R", "--track-mem")
            rounds.come_back()
    rounds.finish(f"engine: {count} times killed, {whole} of them after the image was whole; the program was unharmed")


def keeper(directory, count):
    rounds, killed, after = Rounds(directory), 0, 0
    rounds.dump("dump", "-R", "--track-mem")
    while killed < count:
        which = incremental_chains.keeper_of(rounds.pid)
        if not which:
            rounds.dump("dump", "-R", "--track-mem")
            continue
        run = subprocess.Popen([harness.ENGINE, *map(str, rounds.arguments("dump", "-R", "--track-mem"))],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(rounds.chance.uniform(0, 0.08))
        now = incremental_chains.keeper_of(rounds.pid) if rounds.chance.random() < 0.5 else which
        if now:
            try:
                os.kill(now, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                after += 1  # ended already by the dump
        errors = run.communicate(timeout=30)[1]
        # A keeper that goes while it is asked makes the dump fail; the program is not harmed by that either.
        harness.expect(run.returncode in (0, 1), f"{run.returncode}: {errors}")
        if run.returncode == 0:
            rounds.keep()
        rounds.expect_right(f"keeper killed {killed}: {errors}")
        if run.returncode == 0 and killed % 5 == 0:
            rounds.dump("dump", "-R", "--track-mem")
            rounds.come_back()
            rounds.dump("dump", "-R", "--track-mem")
    rounds.finish(f"keeper: {killed} times killed ({after} had ended before); the program was unharmed, images right")


def copy(directory, count):
    rounds, killed, failed = Rounds(directory), 0, 0
    tries = 0
    while killed < count:
        tries += 1
        harness.expect(tries < 5 * count, f"only {killed} copies were met in {tries} dumps")
        run = subprocess.Popen([harness.ENGINE, *map(str, rounds.arguments("dump", "--live"))],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        found = harness.wait_until(lambda: test_live.copies_of("hot-pages") or run.poll() is not None and [0], 20,
                                   "a copy")
        time.sleep(rounds.chance.uniform(0, 0.04))
        one = rounds.chance.choice(found)
        try:
            if one:
                os.kill(one, signal.SIGKILL)
                killed += 1
        except ProcessLookupError:
            pass
        errors = run.communicate(timeout=30)[1]
        harness.expect(run.returncode in (0, 1), f"{run.returncode}: {errors}")
        if run.returncode:
            failed += 1
            harness.expect(not os.path.exists(os.path.join(rounds.images(), "inventory.img")), f"an image: {errors}")
        else:
            rounds.keep()
        rounds.expect_right(f"copy killed {killed}: {errors}")
        if rounds.last and killed % 10 == 0:
            rounds.come_back()
        elif not run.returncode:
            rounds.forget()
    rounds.finish(f"copy: {killed} times killed, {failed} dumps failed; the program was unharmed, images right")

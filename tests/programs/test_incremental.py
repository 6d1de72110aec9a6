# ctest: TIMEOUT 300
# ctest: CASES chain tree streams kernel_writes kernel_writes_ahead ahead busy broken loop keeper_killed killed_20 advice_changes
# ctest: CASES kernel_changes small_part hot_chains
"""Images that build upon each other: each step of a chain is compared, byte by byte, with a whole image of the same
moment; the last one is restored; what is missing or another is named."""

import json
import os
import shutil
import signal
import sys
import time

import harness
import incremental_chains
from incremental_chains import Victim

def bytes_of(images):
    return sum(os.stat(os.path.join(images, n)).st_size for n in os.listdir(images) if n.startswith(("pages-", "img-")))


def inventory(images):
    return json.loads(harness.must(harness.engine("show", os.path.join(images, "inventory.img"))).output)[0]["message"]


def expect_same(before, after):
    result = harness.engine("diff", before, after, limit=60)
    # What a killed dump leaves in the padding of the vdso the next one puts back.
    others = [line for line in result.output.splitlines() if not line.startswith("Inventory.vdso.content")]
    harness.expect(result.code == 0 or (result.code == 4 and not others), f"the chain holds something else than a whole image: {result}")


def folder(directory, name):
    return os.path.join(directory, str(name))


def chain_of(directory, processes, length=10, options_of=lambda step: ()):
    victim = Victim(directory, processes)
    for i in range(length):
        if i:
            victim.change()
        victim.stand()
        previous = ["--prev-images-dir", f"../{i - 1}"] if i else []
        harness.must(harness.dump(victim.pid, folder(directory, i), "-R", "--no-sync", "--track-mem", *previous,
                                  *options_of(i)))
        harness.must(harness.dump(victim.pid, folder(directory, "whole"), "-R", "--no-sync"))
        victim.send(signal.SIGCONT)
        expect_same(folder(directory, i), folder(directory, "whole"))
        if i:
            parent = inventory(folder(directory, i)).get("parent")
            harness.expect(parent and parent["path"] == f"../{i - 1}", f"step {i} builds upon {parent}")
            part, whole = bytes_of(folder(directory, i)), bytes_of(folder(directory, "whole"))
            harness.expect(part < whole * 2 // 3, f"step {i} stores {part} bytes, a whole image {whole}")
    victim.check()
    return victim


def restore_last(directory, victim, last):
    harness.dump_and_reap(victim.pid, folder(directory, last), "--no-sync", "--prev-images-dir", f"../{last - 1}")
    harness.must(harness.engine("verify", folder(directory, last), limit=60))
    harness.must(harness.restore(folder(directory, last)))
    victim.check()
    victim.change()
    victim.check()
    harness.expect(" uw" not in harness.read(f"/proc/{victim.pid}/smaps"), "the restored program is still watched")


def chain(directory):
    victim = chain_of(directory, 1)
    victim.change()
    restore_last(directory, victim, 10)
    # Another one now: nothing of what the chain knows is of use.
    result = harness.must(harness.dump(victim.pid, folder(directory, "other"), "-R", "--prev-images-dir", "../9"))
    harness.expect("everything of it is stored" in harness.read(folder(directory, "other/dump.log")), result)
    harness.expect("parent" not in inventory(folder(directory, "other")), "a whole image names a parent")


def tree(directory):
    victim = chain_of(directory, 2, 6)
    victim.change()
    restore_last(directory, victim, 6)


def streams(directory):
    """Images with and without --stream build upon each other."""
    kinds = ((), ("--stream", "3"), ("--stream", "2", "--compress", "none"))
    victim = chain_of(directory, 2, 5, lambda step: kinds[(step + 1) % 3])
    victim.change()
    restore_last(directory, victim, 5)


def written_by_kernel(directory, *first):
    """What a ring writes to its registered buffers comes without a fault; they are unregistered before the last dump."""
    content, output = os.path.join(directory, "content"), os.path.join(directory, "out")
    with open(content, "wb") as file:
        file.write(b"\2" * 4096)
    pid = harness.start([os.path.join(harness.WORKLOADS, "ring-writer"), content], output)
    harness.wait_until(lambda: harness.read(output), 10, "READY")
    if "SKIP" in harness.read(output):
        raise harness.Skip("this kernel has no io_uring, or it is turned off")
    harness.must(harness.engine(*first, "-t", pid, "-D", folder(directory, 0), "-o", "dump.log"))
    os.kill(pid, signal.SIGUSR1)
    harness.wait_until(lambda: "WRITTEN" in harness.read(output), 10, "WRITTEN")
    harness.dump_and_reap(pid, folder(directory, 1), "--prev-images-dir", "../0")
    harness.must(harness.restore(folder(directory, 1)))
    os.kill(pid, signal.SIGTERM)
    code = harness.wait_for(pid)
    harness.expect(code == 0 and "PASS" in harness.read(output), f"{code}: {harness.read(output)}")


def kernel_writes(directory):
    written_by_kernel(directory, "dump", "-R", "--track-mem")


def kernel_writes_ahead(directory):
    written_by_kernel(directory, "pre-dump")


def ahead(directory):
    victim = Victim(directory)
    for i in range(2):
        previous = ["--prev-images-dir", f"../{i - 1}"] if i else []
        harness.must(harness.engine("pre-dump", "-t", victim.pid, "-D", folder(directory, i), *previous))
        harness.must(harness.engine("verify", folder(directory, i)))
        refused = harness.restore(folder(directory, i))
        harness.expect(refused.code == 1 and "holds memory only" in refused.text, refused)
        victim.change()
    restore_last(directory, victim, 2)


# Every round writes all pages, one after the other, when all are of the round before. Told: each round that was right.
BUSY = """
import mmap, os, struct, sys
os.fork()
pages, memory, round = 3000, mmap.mmap(-1, 3000 * 4096, flags=mmap.MAP_PRIVATE), 0
for i in range(pages):
    memory[i * 4096:i * 4096 + 8] = struct.pack("<Q", 0)
name = sys.argv[1] + "/rounds.%d" % os.getpid()
while True:
    for i in range(pages):
        found = struct.unpack_from("<Q", memory, i * 4096)[0]
        if found != round:
            open(sys.argv[1] + "/wrong", "w").write("page %d is of round %d, not of %d" % (i, found, round))
            sys.exit(1)
    round += 1
    for i in range(pages):
        memory[i * 4096:i * 4096 + 8] = struct.pack("<Q", round)
    with open(name, "w") as out:
        out.write(str(round))
"""


def busy(directory):
    """Two processes that write all their memory as fast as they can, and see a page that is of another moment."""
    pid = harness.start([sys.executable, "-c", BUSY, directory], os.path.join(directory, "out"))

    def rounds():
        names = [n for n in os.listdir(directory) if n.startswith("rounds.")]
        return {n: int(harness.read(os.path.join(directory, n)) or 0) for n in names}

    def progress(what):
        before = rounds()
        harness.wait_until(lambda: len(rounds()) == 2 and all(v > before.get(n, 0) + 2 for n, v in rounds().items()),
                           30, what)
        wrong = harness.read(os.path.join(directory, "wrong"))
        harness.expect(not wrong, f"{what}: {wrong}")

    for i in range(8):
        progress(f"rounds before dump {i}")
        previous = ["--prev-images-dir", f"../{i - 1}"] if i else []
        harness.must(harness.dump(pid, folder(directory, i), "-R", "--no-sync", "--track-mem", *previous))
    progress("rounds after the chain")
    harness.dump_and_reap(pid, folder(directory, 8), "--no-sync", "--prev-images-dir", "../7")
    harness.expect(inventory(folder(directory, 8)).get("parent"), "the last image builds upon none")
    harness.must(harness.engine("verify", folder(directory, 8), limit=60))
    harness.must(harness.restore(folder(directory, 8)))
    progress("rounds after the restore")


def expect_named(directory, name, *words):
    for result in (harness.restore(folder(directory, name)), harness.engine("verify", folder(directory, name))):
        harness.expect(result.code == 1 and all(word in result.text for word in words), result)


def broken(directory):
    victim = Victim(directory)
    for i in range(3):
        victim.change()
        previous = ["--prev-images-dir", f"../{i - 1}"] if i else []
        harness.must(harness.dump(victim.pid, folder(directory, i), "-R", "--track-mem", *previous))
    harness.kill_and_reap(victim.pid)
    os.rename(folder(directory, 0), folder(directory, "away"))
    expect_named(directory, 2, folder(directory, 0), "does not exist")
    shutil.copytree(folder(directory, 2), folder(directory, 0))
    expect_named(directory, 2, folder(directory, 0), "another one")
    shutil.rmtree(folder(directory, 0))
    os.rename(folder(directory, "away"), folder(directory, 0))
    pages = next(n for n in os.listdir(folder(directory, 0)) if n.startswith("pages-"))
    harness.must(harness.engine("verify", folder(directory, 2)))
    with open(os.path.join(folder(directory, 0), pages), "r+b") as file:
        file.seek(os.stat(file.name).st_size // 2)
        old = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old[0] ^ 1]))
    result = harness.engine("verify", folder(directory, 2))
    harness.expect(result.code == 1 and folder(directory, 0) in result.text and pages in result.text, result)
    own = harness.engine("dump", "-t", os.getpid(), "-D", folder(directory, 0), "--prev-images-dir", ".")
    harness.expect(own.code != 0, own)


def loop(directory):
    """Folders that lead back to where the chain began: refused, and by name. (Images that name each other: unit tests.)"""
    victim = Victim(directory)
    for i in range(3):
        victim.change()
        previous = ["--prev-images-dir", f"../{i - 1}"] if i else []
        harness.must(harness.dump(victim.pid, folder(directory, i), "-R", "--track-mem", *previous))
    harness.kill_and_reap(victim.pid)
    # What image 2 builds upon is image 1; that one is to find image 2 in the folder of image 0.
    shutil.rmtree(folder(directory, 0))
    os.symlink("2", folder(directory, 0))
    expect_named(directory, 2, folder(directory, 1), "another one")
    expect_named(directory, 1, folder(directory, 0), "another one")


# Tells its own memory from what it has asked for last, before it asks for something else.
ADVISING = """
import mmap, os, sys
part = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
part[:] = bytes([7]) * len(part)
between = mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
import ctypes
start = ctypes.addressof(ctypes.c_char.from_buffer(part))
def is_not_forked():
    found = False
    for line in open("/proc/self/smaps"):
        if line.startswith("%x-" % start):
            found = True
        elif found and line.startswith("VmFlags:"):
            return " dc" in line
    return None
state, rounds, said = 11, 0, 0
print("READY", flush=True)
while True:
    if is_not_forked() != (state == 10) or part[4096] != 7:
        print("FAIL", state, is_not_forked(), rounds, flush=True)
        os._exit(1)
    state = 21 - state
    part.madvise(state)
    rounds += 1
    if rounds % 20 == 0:
        os.write(1, b"%d " % rounds)
"""


def advice_changes(directory):
    """What smaps says is read before the freeze only where nothing changes it until then: flags are of the moment."""
    output = os.path.join(directory, "out")
    pid = harness.start([sys.executable, "-c", ADVISING], output)
    harness.wait_until(lambda: "READY" in harness.read(output), 20, "READY")

    def progress(what):
        before = len(harness.read(output))
        harness.wait_until(lambda: len(harness.read(output)) > before + 4 or "FAIL" in harness.read(output), 20, what)
        harness.expect("FAIL" not in harness.read(output), harness.read(output)[-200:])

    for i in range(12):
        harness.must(harness.dump(pid, folder(directory, 0), "-R", "--no-sync", "--track-mem"))
        progress("the rounds after the first dump")
        harness.must(harness.dump(pid, folder(directory, 1), "-R", "--no-sync", "--prev-images-dir", "../0"))
        harness.kill_and_reap(pid)
        harness.must(harness.restore(folder(directory, 1), "--file-validation", "none"))
        progress(f"the rounds after restore {i}")


def keeper_killed(directory):
    victim = Victim(directory)
    harness.must(harness.dump(victim.pid, folder(directory, 0), "-R", "--track-mem"))
    keeper = incremental_chains.keeper_of(victim.pid)
    harness.expect(keeper, "nobody keeps what tracks the program")
    os.kill(keeper, signal.SIGKILL)
    harness.wait_until(lambda: " uw" not in harness.read(f"/proc/{victim.pid}/smaps"), 5, "the end of the tracking")
    victim.change()
    victim.check()
    victim.stand()
    harness.must(harness.dump(victim.pid, folder(directory, 1), "-R", "--track-mem", "--prev-images-dir", "../0"))
    harness.must(harness.dump(victim.pid, folder(directory, "whole"), "-R"))
    victim.send(signal.SIGCONT)
    log = harness.read(folder(directory, "1/dump.log"))
    harness.expect("mini-criu-watch" in log and "everything of it is stored" in log, log)
    harness.expect("parent" not in inventory(folder(directory, 1)), "a whole image names a parent")
    expect_same(folder(directory, 1), folder(directory, "whole"))


def killed(directory, times):
    rng = harness.seeded()
    victim = Victim(directory)
    began = time.monotonic()
    harness.must(harness.dump(victim.pid, folder(directory, 0), "-R", "--no-sync", "--track-mem"))
    took = time.monotonic() - began
    last = 0
    for i in range(1, times + 1):
        victim.change()
        before = victim.state()
        arguments = ["dump", "-t", victim.pid, "-D", folder(directory, "killed"), "-R", "--no-sync", "--track-mem",
                     "--prev-images-dir", f"../{last}"]
        if rng.randrange(4) == 0:
            keeper = incremental_chains.keeper_of(victim.pid)
            if keeper:
                os.kill(keeper, signal.SIGKILL)
                before = None
        harness.run_killed(arguments, rng.uniform(0, took))
        if before:
            before.pop("maps")
            harness.expect_unharmed(victim.pid, before, f"kill {i}")
        victim.change()
        victim.check()
        victim.stand()
        harness.must(harness.dump(victim.pid, folder(directory, i), "-R", "--no-sync", "--track-mem",
                                  "--prev-images-dir", f"../{last}"))
        harness.must(harness.dump(victim.pid, folder(directory, "whole"), "-R", "--no-sync"))
        victim.send(signal.SIGCONT)
        expect_same(folder(directory, i), folder(directory, "whole"))
        last = i
    victim.check()


CHANGED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernel_changed_pages.py")


class Merging:
    """The kernel merges equal pages of those who ask for it (KSM), if we may turn that on."""

    def __enter__(self):
        self.before = {name: harness.read(f"/sys/kernel/mm/ksm/{name}") for name in ("run", "pages_to_scan")}
        try:
            self.write({"run": "1", "pages_to_scan": "2000"})
        except OSError:
            self.before = {}

    def __exit__(self, *_):
        self.write(self.before)

    @staticmethod
    def write(values):
        for name, value in values.items():
            with open(f"/sys/kernel/mm/ksm/{name}", "w") as file:
                file.write(value)


def kernel_changes(directory):
    """What the kernel does with pages in the middle of a chain changes nothing in them."""
    with Merging():
        kernel_changes_while_merging(directory)


def kernel_changes_while_merging(directory):
    output = os.path.join(directory, "out")
    pid = harness.start([sys.executable, CHANGED], output)
    steps = 0

    def step():
        nonlocal steps
        os.kill(pid, signal.SIGUSR1)
        steps += 1
        harness.wait_until(lambda: f"STEP {steps} " in harness.read(output) or "FAIL" in harness.read(output), 30,
                           f"step {steps}")
        harness.expect("FAIL" not in harness.read(output), harness.read(output))

    harness.wait_until(lambda: "READY" in harness.read(output), 20, "READY")
    for i in range(6):
        os.kill(pid, signal.SIGSTOP)
        harness.wait_until(lambda: harness.field(pid, "State")[:1] == "T", 5, "the stop")
        previous = ["--prev-images-dir", f"../{i - 1}"] if i else []
        harness.must(harness.dump(pid, folder(directory, i), "-R", "--no-sync", "--track-mem", *previous))
        harness.must(harness.dump(pid, folder(directory, "whole"), "-R", "--no-sync"))
        os.kill(pid, signal.SIGCONT)
        expect_same(folder(directory, i), folder(directory, "whole"))
        if i:
            harness.expect(inventory(folder(directory, i)).get("parent"), f"image {i} builds upon none")
        step()
    harness.dump_and_reap(pid, folder(directory, 6), "--no-sync", "--prev-images-dir", "../5")
    harness.must(harness.restore(folder(directory, 6), "--file-validation", "none"))
    step()
    print(harness.read(output))


BUSY_MIB = 128


def small_part(directory):
    """Of 128 MiB one page of a hundred: the image is small, and the pause a fraction of that of a whole image."""
    pid = harness.start([os.path.join(harness.WORKLOADS, "scattered-writer"), str(BUSY_MIB)],
                        os.path.join(directory, "out"))
    written = lambda: harness.read(os.path.join(directory, "out")).count("\n")

    def write():
        before = written()
        os.kill(pid, signal.SIGUSR1)
        harness.wait_until(lambda: written() > before, 20, "the writing")

    def pause_of(images, *options):
        figures = json.loads(harness.must(harness.engine(*options, "-t", pid, "-D", images, "--no-sync", "--json",
                                                         "-o", "dump.log")).output)
        return figures["times_ms"]["frozen"]

    harness.wait_until(written, 20, "the first line")
    whole, part = [], []
    for i in range(5):
        whole.append(pause_of(folder(directory, f"whole{i % 2}"), "dump", "-R"))
        write()
        previous = ["--prev-images-dir", f"../{i - 1}"] if i else []
        kind = ["pre-dump"] if i % 2 else ["dump", "-R", "--track-mem"]
        pause = pause_of(folder(directory, i), *kind, *previous)
        if not i:
            continue
        part.append(pause)
        size = sum(os.stat(os.path.join(folder(directory, i), n)).st_size for n in os.listdir(folder(directory, i)))
        changed = BUSY_MIB * 256 // 100
        harness.expect(size < changed * 4096 + changed * 2 * 64 + (160 << 10),
                       f"image {i} has {size} bytes, {changed} pages were written")
    print(f"pauses in ms: of whole images {whole}, of a part {part}")
    harness.expect(min(part) < min(whole) / 3, f"pauses in ms: of whole images {whole}, of a part {part}")
    harness.kill_and_reap(pid)


harness.cases({"loop": loop, "advice_changes": advice_changes, "kernel_changes": kernel_changes,
               "small_part": small_part,
               "hot_chains": lambda directory: incremental_chains.chains(directory, 2, every_image=False),
               "chain": chain, "tree": tree, "streams": streams, "kernel_writes": kernel_writes,
               "kernel_writes_ahead": kernel_writes_ahead, "ahead": ahead, "busy": busy, "broken": broken, "keeper_killed": keeper_killed,
               "killed_20": lambda directory: killed(directory, 20)})

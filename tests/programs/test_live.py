# ctest: TIMEOUT 120
# ctest: CASES restored_20_times streams_5_times unnoticed limits killed_40_times copy_killed disk_full program_ends advice_changes
"""dump --live: the image is of one instant, the program notices nothing, and whatever fails fails without harm."""

import os
import random
import signal
import subprocess
import time

import harness
import live_snapshots

# Notes every child and signal that it has not made itself: it waits for any kind of child all the time.
WATCHER = """
import ctypes, os, signal, time
libc = ctypes.CDLL(None, use_errno=True)
memory = bytearray(os.urandom(1 << 20)) * 48
seen = []
for number in set(range(1, 32)) - {9, 19}:
    signal.signal(number, lambda n, f: seen.append(n))
def held():
    return sorted(os.listdir("/proc/self/fd")), open("/proc/self/maps").read()
for _ in range(100):  # until what it allocates is there
    memory[::4096] = bytes(len(memory) // 4096)
    before = held()
open("ready", "w").close()
while not os.path.exists("end"):
    if libc.waitpid(-1, None, 0x40000000 | 1) != -1:  # __WALL | WNOHANG
        seen.append("child")
    memory[::4096] = bytes(len(memory) // 4096)
    if os.listdir("/proc/self/task") != [str(os.getpid())]:
        seen.append("thread")
for _ in range(100):
    after = held()
if before != after:
    seen.append((before, after))
open("seen", "w").write(repr(seen))
"""


def copies_of(name):
    """What a live dump of ours has made: traced, without any descriptor, and handed over to us, who take in orphans."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if harness.field(pid, "Name") == name and harness.field(pid, "PPid") == str(os.getpid()) and \
                    not os.listdir(f"/proc/{pid}/fd") and harness.field(pid, "State")[:1] == "t":
                found.append(int(pid))
        except OSError:
            pass  # it has ended
    return found


def copies_after_thaw(pid):
    """Those of a program that runs again, and its child too; empty: not yet."""
    tree = [pid, *harness.read(f"/proc/{pid}/task/{pid}/children").split()]
    copies = copies_of("hot-pages")
    return [] if len(copies) < 2 or any(harness.field(one, "State")[:1] == "t" for one in tree) else copies


def restored_20_times(directory):
    live_snapshots.snapshots(directory, 20)


def streams_5_times(directory):
    live_snapshots.snapshots(directory, 5, options=("--stream", "3"))


def unnoticed(directory):
    pid = harness.start(["python3", "-c", WATCHER], os.path.join(directory, "out"), cwd=directory)
    harness.wait_until(lambda: os.path.exists(os.path.join(directory, "ready")), 20, "ready")
    for number in range(10):
        images = os.path.join(directory, f"images-{number % 2}")
        result = harness.must(harness.dump(pid, images, "--live", "--no-sync"))
        harness.expect("until all is stored" not in harness.read(os.path.join(images, "dump.log")), str(result))
    open(os.path.join(directory, "end"), "w").close()
    harness.expect(harness.wait_for(pid, 20) == 0, harness.read(os.path.join(directory, "out.err")))
    harness.expect(harness.read(os.path.join(directory, "seen")) == "[]", harness.read(os.path.join(directory, "seen")))


def limits(directory):
    """No process may be made any more: it says so, and dumps as ever."""
    program = "import os,resource,time; os.setgroups([]); resource.setrlimit(resource.RLIMIT_NPROC,(1,1)); " \
              "os.setuid(4242); print('READY',flush=True); time.sleep(1000)"
    output = os.path.join(directory, "out")
    os.chmod(directory, 0o755)
    pid = harness.start(["python3", "-c", program], output)
    harness.wait_until(lambda: "READY" in harness.read(output), 20, "READY")
    images = os.path.join(directory, "images")
    harness.must(harness.dump(pid, images, "--live"))
    log = harness.read(os.path.join(images, "dump.log"))
    harness.expect("There can be no copy of its memory (Resource temporarily unavailable)" in log, log)
    harness.must(harness.engine("verify", images))
    harness.kill_and_reap(pid)
    harness.must(harness.restore(images))
    harness.kill_and_reap(pid)


def killed_40_times(directory):
    """kill -9 of mini-criu at any moment, 40 times: the program runs on, and no copy is left."""
    pid, output = live_snapshots.start(directory, 32)
    chance = harness.seeded()
    images = os.path.join(directory, "images")
    began = time.monotonic()
    harness.must(harness.dump(pid, images, "--live", "--no-sync"))
    whole = time.monotonic() - began
    for _ in range(40):
        run = subprocess.Popen([harness.ENGINE, "dump", "-t", str(pid), "-D", images, "--live", "--no-sync"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, whole))
        run.kill()
        run.wait()
        harness.wait_until(lambda: not copies_of("hot-pages"), 5, "the end of the copies")
        live_snapshots.expect_right(output)
        harness.must(harness.engine("verify", images))
    harness.wait_until(lambda: (harness.reap_all(), harness.children())[1] == [pid], 5, "nothing left behind")
    live_snapshots.finish(pid, output)


def copy_killed(directory):
    """The copy is ended, as by the kernel when memory is short: the dump fails and says so, the program runs on."""
    pid, output = live_snapshots.start(directory, 96)
    images = os.path.join(directory, "images")
    failed = 0
    for _ in range(10):
        run = subprocess.Popen([harness.ENGINE, "dump", "-t", str(pid), "-D", images, "--live", "--no-sync"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for one in harness.wait_until(lambda: copies_after_thaw(pid) or run.poll() is not None and [0], 10, "the thaw"):
            try:
                os.kill(one, signal.SIGKILL if one else 0)
            except ProcessLookupError:
                pass
        errors = run.communicate(timeout=20)[1]
        if run.returncode != 0:
            failed += 1
            harness.expect(run.returncode == 1 and "the copy of the memory was ended from outside" in errors, errors)
            harness.expect(not os.path.exists(os.path.join(images, "inventory.img")), "an image is there")
        else:
            harness.must(harness.engine("verify", images))
            for name in os.listdir(images):
                os.unlink(os.path.join(images, name))
        harness.reap_all()
        live_snapshots.expect_right(output)
    harness.expect(failed >= 3, f"only {failed} of 10 dumps lost their copy")
    live_snapshots.finish(pid, output)


def disk_full(directory):
    pid, output = live_snapshots.start(directory, 32)
    small = os.path.join(directory, "small")
    os.mkdir(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", small], check=True)
    try:
        images = os.path.join(small, "images")
        result = harness.dump(pid, images, "--live")
        harness.expect(result.code == 1 and "No space left on device" in harness.read(os.path.join(images, "dump.log")),
                       str(result))
        harness.expect(not os.path.exists(os.path.join(images, "inventory.img")), "there is an image")
        live_snapshots.expect_right(output)
        harness.reap_all()
        live_snapshots.finish(pid, output)
    finally:
        subprocess.run(["umount", small], check=True)


def program_ends(directory):
    """The program is killed while its memory is stored: the image is whole all the same."""
    output = os.path.join(directory, "out")
    images = os.path.join(directory, "images")
    came_back = 0
    for _ in range(5):
        pid, output = live_snapshots.start(directory, 96)
        run = subprocess.Popen([harness.ENGINE, "dump", "-t", str(pid), "-D", images, "--live", "--no-sync"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        harness.wait_until(lambda: run.poll() is not None or copies_after_thaw(pid), 10, "the thaw")
        live_snapshots.end_tree(pid)
        if run.wait(20) == 0:
            harness.reap_all()
            harness.must(harness.restore(images))
            time.sleep(random.uniform(0.01, 0.05))
            came_back += 1
            live_snapshots.finish(pid, output)
        harness.reap_all()
    harness.expect(came_back >= 4, f"it came back from {came_back} of 5 images only")


# What fork(2) does with its memory changes all the time: MADV_DONTFORK, DOFORK, WIPEONFORK, KEEPONFORK.
RESTLESS = """
import mmap, os, signal
parts, between = [], []
for _ in range(4):  # kept apart, or they would be joined and split, which shows in maps
    parts.append(mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    between.append(mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ))
for i, part in enumerate(parts):
    part[:] = bytes([i + 1]) * len(part)
print("READY", flush=True)
is_ending = []
signal.signal(signal.SIGTERM, lambda n, f: is_ending.append(1))
while not is_ending:
    for advice in (10, 11, 18, 19):
        for i, part in enumerate(parts):
            part.madvise(advice)
            if part[4096 * (i + 1)] != i + 1:
                print("FAIL", i, advice, flush=True)
                os._exit(1)
for i, part in enumerate(parts):
    if part[:] != bytes([i + 1]) * len(part):
        print("FAIL at the end", i, flush=True)
        os._exit(1)
print("PASS", flush=True)
"""


def advice_changes(directory):
    """What smaps said before the freeze may be over in the instant of the copy: right, or refused."""
    output = os.path.join(directory, "out")
    pid = harness.start(["python3", "-c", RESTLESS], output)
    harness.wait_until(lambda: "READY" in harness.read(output), 20, "READY")
    images = os.path.join(directory, "images")
    right = 0
    for _ in range(25):
        result = harness.dump(pid, images, "--live", "--no-sync")
        harness.reap_all()
        if result.code:
            harness.expect(result.code == 1 and "in the very moment of the freeze" in
                           harness.read(os.path.join(images, "dump.log")), str(result))
            continue
        right += 1
        harness.kill_and_reap(pid)
        harness.must(harness.restore(images))
    harness.expect(right >= 3, f"only {right} of 25 live dumps came about")
    os.kill(pid, signal.SIGTERM)
    harness.expect(harness.wait_for(pid) == 0, harness.read(output))
    print(f"{right} of 25 live dumps came about, all were right")


if __name__ == "__main__":
    harness.run(globals()[harness.CASE])

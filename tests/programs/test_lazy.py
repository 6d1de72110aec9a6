# ctest: TIMEOUT 120
# ctest: CASES under_load streams chain huge tree like_ordinary movers many_movers killed standby_killed two_killed damaged truncated image_gone log_is_full no_open_errors quick dump_meanwhile refusals
"""restore --lazy-pages: every page is what it was, whatever the program does meanwhile and whoever is killed; what is
lost is SIGBUS; when all is there nothing is left of it."""

import glob
import os
import shutil
import signal
import time

import harness

PROGRAM = os.path.join(harness.WORKLOADS, "lazy-pages")
MOVERS = os.path.join(harness.WORKLOADS, "lazy-movers")
NAME = "mini-criu-lazy"


def service(role=None):
    """The processes that bring pages: orphans, which are ours, and what they have made. role: NAME, NAME2 or NAME3."""
    found, todo = [], harness.children()
    while todo:
        pid = todo.pop()
        name = harness.read(f"/proc/{pid}/comm").strip()
        if name.startswith(NAME) and harness.field(pid, "State")[:1] not in "ZX":
            if role in (None, name):
                found.append(pid)
            todo += map(int, harness.read(f"/proc/{pid}/task/{pid}/children").split())
    return found


def worker():
    """The one that brings pages; None: there is none."""
    return next(iter(service(NAME)), None)


def prepared(directory, mib, rounds, *options, program=(), more=()):
    """Dumped; returns its pid and the image."""
    output, images = os.path.join(directory, "out"), os.path.join(directory, "images")
    pid = harness.start([PROGRAM, directory, str(mib), str(rounds), *program], output)
    harness.wait_until(lambda: "READY" in harness.read(output), 30, "READY")
    for previous in more:
        harness.must(harness.engine("dump" if previous else "pre-dump", "-t", pid, "-D",
                                    os.path.join(directory, "before"), "-o", "dump.log", *previous))
    harness.dump_and_reap(pid, images, "--no-sync", *options)
    open(os.path.join(directory, "go"), "w").close()
    return pid, images


def expect_right(directory, pid, images):
    output = os.path.join(directory, "out")

    def said():
        text = harness.read(output)
        return "RIGHT" in text or "WRONG" in text or not harness.exists(pid) or \
            harness.field(pid, "State")[:1] == "Z"

    harness.wait_until(said, 60, "what the program says")
    text = harness.read(output)
    harness.expect("RIGHT" in text and "WRONG" not in text, f"{text}\n{harness.read(os.path.join(images, 'restore.log'))}")


def expect_nothing_left(pid):
    harness.no_helpers(pid)
    flags = [line for line in harness.read(f"/proc/{pid}/smaps").splitlines() if line.startswith("VmFlags")]
    harness.expect(flags and not any(" um" in line for line in flags), "memory is still watched")
    harness.expect(not any("userfaultfd" in link for link in harness.links(pid).values()), "it has a userfaultfd")


def restored(directory, *options, mib=48, rounds=4000, **more):
    pid, images = prepared(directory, mib, rounds, *options, **more)
    harness.must(harness.restore(images, "--lazy-pages"))
    expect_right(directory, pid, images)
    expect_nothing_left(pid)
    harness.kill_and_reap(pid)


def under_load(directory):
    restored(directory)


def streams(directory):
    restored(directory, "--stream", "3")


def chain(directory):
    restored(directory, "--prev-images-dir", "../before", more=[()])


def huge(directory):
    restored(directory, program=("huge",))


def tree(directory):
    """Several processes, of which children share pages with their parent."""
    program = """
import os, sys, time
data = [os.urandom(1 << 20) * 8 for _ in range(2)]
sums = [hash(one) for one in data]
children = []
for i in range(3):
    pid = os.fork()
    if pid == 0:
        data[0] = os.urandom(1 << 20) * 8
        sums[0] = hash(data[0])
        break
print("READY", flush=True)
while not os.path.exists("go"):
    time.sleep(0.001)
print("RIGHT" if [hash(bytes(bytearray(one))) for one in data] == sums else "WRONG", flush=True)
time.sleep(1000)
"""
    output, images = os.path.join(directory, "out"), os.path.join(directory, "images")
    pid = harness.start(["python3", "-c", program], output, cwd=directory)
    harness.wait_until(lambda: harness.read(output).count("READY") == 4, 30, "READY")
    harness.dump_and_reap(pid, images, "--no-sync")
    open(os.path.join(directory, "go"), "w").close()
    harness.must(harness.restore(images, "--lazy-pages"))
    harness.wait_until(lambda: harness.read(output).count("RIGHT") + harness.read(output).count("WRONG") == 4, 30,
                       "what the four say")
    harness.expect("WRONG" not in harness.read(output), harness.read(output))
    harness.no_helpers(pid)


def like_ordinary(directory):
    """Mappings, descriptors and threads afterwards are those of an ordinary restore."""
    output, images = os.path.join(directory, "out"), os.path.join(directory, "images")
    pid = harness.start([PROGRAM, directory, "32"], output)
    harness.wait_until(lambda: "READY" in harness.read(output), 30, "READY")
    harness.dump_and_reap(pid, images, "--no-sync")
    states, smaps = [], []
    for options in [(), ("--lazy-pages",)]:
        harness.must(harness.restore(images, *options))
        harness.no_helpers(pid)
        states.append(harness.state_of(pid))
        lines = harness.read(f"/proc/{pid}/smaps").splitlines()
        smaps.append([line for line in lines if line.split(":")[0] in ("Anonymous", "VmFlags", "Size")])
        harness.kill_and_reap(pid)
    harness.expect(not harness.difference(*states), harness.difference(*states))
    harness.expect(smaps[0] == smaps[1], "\n".join(f"{a} | {b}" for a, b in zip(*smaps) if a != b))


def movers(directory):
    harness.expect(moved_by(2, directory) > 0, "none of them went on to the end")


def many_movers(directory):
    moved_by(6, directory)


def moved_by(threads, directory):
    """Threads that move their memory at once, where another's may have been a moment ago; children look at theirs. No
    page is ever another's, or zeros: where it cannot be known what it is, it is SIGBUS, and the log says so."""
    times = int(os.environ.get("MCR_LAZY_TIMES", "10"))
    output, images = os.path.join(directory, "out"), os.path.join(directory, "images")
    log = os.path.join(images, "restore.log")
    pid = harness.start([MOVERS, directory, "24", "250", str(threads)], output)
    harness.wait_until(lambda: "READY" in harness.read(output), 30, "READY")
    harness.dump_and_reap(pid, images, "--no-sync")
    open(os.path.join(directory, "go"), "w").close()
    right = 0
    for turn in range(times):
        os.truncate(output, len("READY\n"))  # as it was at the dump
        harness.must(harness.restore(images, "--lazy-pages"))
        harness.wait_until(lambda: "RIGHT" in harness.read(output) or "WRONG" in harness.read(output) or
                           not harness.exists(pid) or harness.field(pid, "State")[:1] == "Z", 30, "an end")
        text = harness.read(output)
        harness.expect("WRONG" not in text, f"turn {turn}: {text}{harness.read(log)}")
        if "RIGHT" in text:
            right += 1
            harness.no_helpers(pid)
            harness.kill_and_reap(pid)
        else:
            code = harness.wait_for(pid, 10)
            harness.expect(code == -signal.SIGBUS, f"turn {turn}: it ended with {code}: {text}")
            harness.no_helpers()
        if "RIGHT" not in text or "SIGBUS" in text:
            harness.expect("cannot be told apart" in harness.read(log), f"turn {turn}: {harness.read(log)}")
    print(f"{times} restores: {right} went on to the end, {times - right} met a page that nobody could know")
    return right


def killed_in(directory, victims, times):
    times = int(os.environ.get("MCR_LAZY_TIMES", times))
    chance = harness.seeded()
    kills = 0
    while kills < times:
        pid, images = prepared(directory, 96, 3000)
        harness.must(harness.restore(images, "--lazy-pages"))
        before = kills
        for _ in range(times - kills):
            time.sleep(chance.uniform(0, 0.02))
            # Each has its place again: all three at once would leave nobody.
            harness.wait_until(lambda: len(service()) in (0, 3), 5, "the others")
            chosen = victims(chance)
            for one in chosen:
                try:
                    os.kill(one, signal.SIGKILL)
                    kills += 1
                except ProcessLookupError:
                    pass
            if not chosen:
                break
            harness.wait_until(lambda: not set(chosen) & set(service()), 5, "the end of the killed")
        expect_right(directory, pid, images)
        expect_nothing_left(pid)
        harness.expect(kills > before, "nobody was killed")
        harness.kill_and_reap(pid)
        for name in ("out", "go"):
            os.unlink(os.path.join(directory, name))
        shutil.rmtree(images)
    print(f"{kills} kills")


def killed(directory):
    killed_in(directory, lambda chance: service(NAME), 15)


def standby_killed(directory):
    killed_in(directory, lambda chance: service(NAME + "2"), 15)


def two_killed(directory):
    """Any two of the three at once."""
    def two(chance):
        left = service()
        return chance.sample(left, 2) if len(left) == 3 else []
    killed_in(directory, two, 16)


def lost(directory, damage, mib=48):
    pid, images = prepared(directory, mib, 0)
    log = os.path.join(images, "restore.log")
    pages = max(glob.glob(os.path.join(images, "pages-*.img")), key=os.path.getsize)
    harness.must(damage(pages, lambda: harness.restore(images, "--lazy-pages")))
    text = harness.read(os.path.join(directory, "out"))
    code = harness.wait_for(pid, 30)
    harness.expect(code == -signal.SIGBUS, f"the program ended with {code}: {text}")
    harness.expect("WRONG" not in harness.read(os.path.join(directory, "out")), "the program has seen a wrong page")
    harness.wait_until(lambda: not service(), 10, "the end of the service")
    text = harness.read(log)
    harness.expect("are lost, a touch of them is SIGBUS" in text and os.path.basename(pages) in text, text)


def damaged(directory):
    def damage(pages, restore):
        with open(pages, "r+b") as stream:
            stream.seek(harness.stored_place(pages))
            stream.write(bytes(range(256)))
        return restore()
    lost(directory, damage)


def truncated(directory):
    """While the program runs: size and header were right at first."""
    def damage(pages, restore):
        go = os.path.join(directory, "go")
        os.unlink(go)
        result = harness.must(restore())
        for one in sorted(service(), key=lambda p: p != worker()):  # nothing is fetched until the file is short
            os.kill(one, signal.SIGSTOP)
        os.truncate(pages, 4096 * 40)
        for one in service():
            os.kill(one, signal.SIGCONT)
        open(go, "w").close()
        return result
    lost(directory, damage, 512)


def image_gone(directory):
    """Whoever takes over finds no image any more."""
    def damage(pages, restore):
        go = os.path.join(directory, "go")
        os.unlink(go)
        result = harness.must(restore())
        for one in service(NAME):
            os.kill(one, signal.SIGSTOP)
        os.rename(pages, pages + ".away")
        for one in service(NAME):
            os.kill(one, signal.SIGKILL)
        open(go, "w").close()
        return result
    lost(directory, damage, 512)


def log_is_full(directory):
    pid, images = prepared(directory, 48, 500)
    harness.must(harness.engine("restore", "-D", images, "-d", "-o", "/dev/full", "--lazy-pages"))
    expect_right(directory, pid, images)
    expect_nothing_left(pid)


def no_open_errors(directory):
    """Whoever reads the standard error of restore to its end does not wait for the last page."""
    pid, images = prepared(directory, 512, 0)
    os.unlink(os.path.join(directory, "go"))
    harness.must(harness.engine("restore", "-D", images, "-d", "--lazy-pages"))
    for one in service():
        for number, link in harness.links(one).items():
            harness.expect(int(number) > 2 or link == "/dev/null", f"{one} has {number}: {link}")
    open(os.path.join(directory, "go"), "w").close()
    expect_right(directory, pid, images)
    harness.no_helpers(pid)


def quick(directory):
    """The program runs long before its memory is there."""
    pid, images = prepared(directory, 512, 0)
    output, log = os.path.join(directory, "out"), os.path.join(images, "restore.log")
    began = time.monotonic()
    harness.must(harness.restore(images, "--lazy-pages"))
    harness.wait_until(lambda: "GOING" in harness.read(output), 10, "its first instructions")
    took = time.monotonic() - began
    resident = int(harness.field(pid, "VmRSS").split()[0])
    print(f"{took * 1000:.1f} ms, {resident} kB are there")
    harness.expect(resident < 512 * 1024 * 3 // 4, f"{resident} kB are there when the program has begun")
    expect_right(directory, pid, images)
    harness.no_helpers(pid)
    harness.expect("all memory is there" in harness.read(log), harness.read(log))


def dump_meanwhile(directory):
    """What is not there yet must not be left out of an image. A thread that is in the kernel with such a page cannot be
    stopped (3); all others can, and are let go again (1)."""
    pid, images = prepared(directory, 48, 0)
    harness.must(harness.restore(images, "--lazy-pages"))
    for one in sorted(service(), key=lambda p: p != worker()):
        os.kill(one, signal.SIGSTOP)
    if any(" um" in line for line in harness.read(f"/proc/{pid}/smaps").splitlines()):
        result = harness.dump(pid, os.path.join(directory, "again"))
        harness.expect(result.code in (1, 3) and "--lazy-pages" in result.text, str(result))
    for one in service():
        os.kill(one, signal.SIGCONT)
    expect_right(directory, pid, images)
    harness.no_helpers(pid)
    harness.must(harness.dump(pid, os.path.join(directory, "again")))


def refusals(directory):
    result = harness.engine("restore", "-D", "-", "--lazy-pages", "-d")
    harness.expect(result.code == 2 and "through a pipe" in result.text, str(result))
    result = harness.engine("dump", "-t", os.getpid(), "-D", directory, "--lazy-pages")
    harness.expect(result.code == 2 and "lazy-pages" in result.text, str(result))


harness.run(globals()[harness.CASE])

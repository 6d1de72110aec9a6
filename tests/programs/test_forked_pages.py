# ctest: TIMEOUT 60
# ctest: CASES workers grown
"""A server that fills its memory and then forks its workers: that memory is stored once, and is there once again."""

import os
import sys

import harness

PROGRAM = """
import os, sys, time
kind = sys.argv[1]
block = os.urandom(1 << 20)
memory = [bytearray(block) for _ in range(64)]
def work(number):
    for part in memory[number * 4:number * 4 + 2]:
        part[:] = bytes(len(part))  # its own from now on
    if kind == "grown":
        more = [bytearray(block) for _ in range(4)]
        if number < 2 and os.fork() == 0:
            pass
    open("ready%d.%d" % (number, os.getpid()), "w").close()
    while not os.path.exists("go"):
        time.sleep(0.01)
    for i, part in enumerate(memory):
        assert part == (bytes(len(part)) if number * 4 <= i < number * 4 + 2 else block), i
    if kind == "grown":
        assert all(part == block for part in more)
    open("done%d.%d" % (number, os.getpid()), "w").close()
    os._exit(0)
children = []
for number in range(8):
    child = os.fork()
    if child == 0:
        work(number)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
assert all(part == block for part in memory)
open("done", "w").close()
"""


def tree_of(pid):
    return [pid] + [below for child in harness.read(f"/proc/{pid}/task/{pid}/children").split()
                    for below in tree_of(int(child))]


def used_kib(pid):
    total = 0
    for one in tree_of(pid):
        for line in harness.read(f"/proc/{one}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def stored_kib(images):
    return sum(os.stat(os.path.join(images, name)).st_size for name in os.listdir(images)) // 1024


def run(directory, kind, processes):
    images, program = os.path.join(directory, "images"), os.path.join(directory, "program.py")
    with open(program, "w") as out:
        out.write(PROGRAM)
    pid = harness.start([sys.executable, program, kind], os.path.join(directory, "out"), cwd=directory)

    def count(prefix):
        return sum(name.startswith(prefix) for name in os.listdir(directory))

    harness.wait_until(lambda: count("ready") == processes, 20, "the workers")
    for round in range(2):
        before = used_kib(pid)
        harness.dump_and_reap(pid, images)
        stored = stored_kib(images)
        harness.expect(stored < before * 1.05, f"{stored} KiB are stored of {before} in use")
        harness.must(harness.restore(images))
        after = used_kib(pid)
        print(f"in use: {before} KiB, stored: {stored}, in use afterwards: {after}")
        harness.expect(after < before * 1.05, f"{after} KiB are in use, {before} were before")
    open(os.path.join(directory, "go"), "w").close()
    harness.wait_until(lambda: os.path.exists(os.path.join(directory, "done")), 20,
                       "the end: " + harness.read(os.path.join(directory, "out.err")))
    harness.expect(count("done") == processes + 1, f"{count('done')} of {processes + 1} found their memory as it was")


def workers(directory):
    run(directory, "workers", 8)


def grown(directory):
    """Each has made its heap larger since, and some have children of their own."""
    run(directory, "grown", 10)


if __name__ == "__main__":
    harness.run({"workers": workers, "grown": grown}[harness.CASE])

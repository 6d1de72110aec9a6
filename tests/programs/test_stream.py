# ctest: TIMEOUT 300
# ctest: CASES pipe workloads damage closed full memory places script foreground progress
"""An image as one stream through standard output and input: whole or refused, and the program runs on when it fails."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time

import harness
from harness import expect, Failure, read

HERE = os.path.dirname(os.path.abspath(__file__))
MAGIC = b"\x89MCRSTR\n"
WORKLOADS = ("tree_family", "tree_forked_pages", "tree_shared_memory", "tree_memfds", "tree_zombies", "deleted_file",
             "ghost_names", "memory_shared_anon", "memory_large", "sysv_segments", "files_offsets", "threads_state")

# A tree: the parent has memory that must not change and counts; the child writes to memory that both share, and has a
# deleted file and a pipe to the parent.
TREE = r"""
import hashlib, mmap, os, sys, tempfile, time
mib = int(sys.argv[1])
block = os.urandom(1 << 20)
data = bytearray(block * mib)
for i in range(mib): data[i << 20:(i << 20) + 8] = i.to_bytes(8, "little")
right = hashlib.sha1(data).digest()
shared = mmap.mmap(-1, 1 << 20)
deleted = tempfile.TemporaryFile(dir=".")
deleted.write(block)
deleted.flush()
ours, theirs = os.pipe()
if os.fork() == 0:
    count = 0
    while True:
        count += 1
        shared[:8] = count.to_bytes(8, "little")
        if os.pread(deleted.fileno(), 1 << 20, 0) != block: os.write(2, b"the deleted file has changed\n"), os._exit(1)
        os.write(theirs, count.to_bytes(8, "little"))
        time.sleep(0.005)
last = 0
while True:
    now = int.from_bytes(os.read(ours, 8), "little")
    seen = int.from_bytes(shared[:8], "little")
    if now != last + 1 or seen < now: os.write(2, b"%d after %d, shared %d\n" % (now, last, seen)), os._exit(1)
    if now % 20 == 0 and hashlib.sha1(data).digest() != right: os.write(2, b"memory has changed\n"), os._exit(1)
    last = now
    print(now, flush=True)
"""


def start_tree(directory, mib=8):
    output = os.path.join(directory, "output")
    pid = harness.start([sys.executable, "-c", TREE, str(mib)], output, cwd=directory)
    harness.wait_until(lambda: harness.read(output).count("\n") > 3, 20, "the program")
    return pid, output


def lines(output):
    return read(output).count("\n")


def expect_goes_on(output, what):
    before = lines(output)
    harness.wait_until(lambda: lines(output) > before + 25, 20, f"{what}: the program does not go on")
    errors = read(output + ".err")
    expect(not errors, f"{what}: {errors}")


def stream_of(pid, *more):
    """The bytes of a dump that lets the program go on."""
    done = subprocess.run([harness.ENGINE, "dump", "-t", str(pid), "-D", "-", "-R", *more], capture_output=True,
                          stdin=subprocess.DEVNULL, timeout=60)
    expect(done.returncode == 0, f"dump: {done.returncode} {done.stderr.decode()}")
    return done.stdout


def with_stream(command, stream, *more):
    return subprocess.run([harness.ENGINE, command, "-D", "-", *more], input=stream, capture_output=True, timeout=60)


def blocks(stream):
    """Offsets at which blocks begin, and the end."""
    expect(stream.startswith(MAGIC), f"the stream begins with {stream[:20]}")
    at, found = 24, []
    while at < len(stream):
        found.append(at)
        at += 40 + int.from_bytes(stream[at + 16:at + 20], "little")
    return found + [at]


def pipe(directory):
    """dump | restore on one host: the same pids, as soon as the program is gone. What the shell ignores is not passed on."""
    pid, output = start_tree(directory)
    ignored = harness.field(pid, "SigIgn")
    for number in range(5):
        command = f"'{harness.ENGINE}' dump -t {pid} -D - -o dump.log -v4 | " \
                  f"'{harness.ENGINE}' restore -D - -d -o restore.log -v4 --pidfile pid-{number}"
        done = subprocess.Popen(["bash", "-c", f"set -o pipefail; trap '' HUP USR1; {command}"], stdin=subprocess.DEVNULL, cwd=directory,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while done.poll() is None:  # as a shell does, we collect the program that is ended
            for child in harness.children():
                if child != done.pid and read(f"/proc/{child}/stat").rsplit(")", 1)[-1].split()[:1] == ["Z"]:
                    os.waitpid(child, 0)
            time.sleep(0.002)
        expect(done.returncode == 0, 
               f"round {number}: {done.stdout.read()}\n{read(directory + '/restore.log')[-2000:]}")
        expect(read(f"{directory}/pid-{number}").strip() == str(pid), "another pid")
        expect_goes_on(output, f"round {number}")
        expect(harness.field(pid, "SigIgn") == ignored, f"it ignores {harness.field(pid, 'SigIgn')}, before {ignored}")
        expect(harness.links(pid)[0] == "/dev/null", f"its standard input is {harness.links(pid)[0]}")
    os.kill(pid, signal.SIGKILL)


def workloads(directory):
    environment = dict(os.environ, MCR_STREAM_ENGINE=harness.ENGINE, MCR_TEST_DIR=directory)
    driver = os.path.join(os.path.dirname(harness.WORKLOADS), "cr-driver")
    wanted = os.environ.get("MCR_STREAM_WORKLOADS", "").split() or WORKLOADS
    failed = []
    for name in wanted:
        for mode in ("restore", "twice"):
            done = subprocess.run([driver, f"{HERE}/stream_engine.py", mode, os.path.join(harness.WORKLOADS, name)],
                                  capture_output=True, text=True, env=environment, timeout=100)
            print(f"{name} {mode}: {done.returncode}", flush=True)
            if done.returncode not in (0, 77):
                failed.append(f"{name} {mode}: {done.stdout[-1500:]}{done.stderr[-500:]}")
    expect(not failed, "\n".join(failed))


def expect_refused(stream, what):
    done = with_stream("restore", stream, "-d", "--json")
    expect(done.returncode == 1, f"{what}: {done.returncode} {done.stdout}{done.stderr}")
    answer = json.loads(done.stdout)
    expect(answer["fault"] == "image", f"{what}: {answer}")
    expect("offset" in answer["reason"] or "no stream" in answer["reason"] or "is empty" in answer["reason"],
           f"{what}: {answer}")


def damage(directory):
    """Flipped bits and ends too early, at every border of a block and at random: refused, and nothing was created."""
    chance = harness.seeded()
    output = os.path.join(directory, "output")
    pid = harness.start([os.path.join(harness.WORKLOADS, "counting-loop")], output)
    harness.wait_until(lambda: read(output), 10, "the program")
    stream = subprocess.run([harness.ENGINE, "dump", "-t", str(pid), "-D", "-", "--no-sync"], capture_output=True,
                            stdin=subprocess.DEVNULL, timeout=60).stdout
    expect(with_stream("verify", stream).returncode == 0, "the stream is not right as it is")
    expect(harness.wait_for(pid) == -signal.SIGKILL, "the program was not ended")
    borders = blocks(stream)
    expect(borders[-1] == len(stream), "the blocks do not end where the stream does")
    flips = [at + k for at in borders[:-1] for k in (0, 39, 40)] + [chance.randrange(len(stream)) for _ in range(100)]
    flips = [at for at in flips if at < len(stream)]
    for at in flips:
        changed = bytearray(stream)
        changed[at] ^= 1 << chance.randrange(8)
        expect_refused(bytes(changed), f"byte {at} of {len(stream)} changed")
    ends = [0, 1, 23, 24] + borders[:-1] + [at + 20 for at in borders[:-1]] + [len(stream) - 1]
    ends += [chance.randrange(len(stream)) for _ in range(100)]
    for end in ends:
        expect_refused(stream[:end], f"cut off after {end} of {len(stream)} bytes")
    expect_refused(stream + b"\0", "one byte too many")
    expect_refused(stream + stream, "twice")
    for first, second in zip(borders[:-2], borders[1:-1]):
        expect_refused(stream[:first] + stream[second:], f"the block at {first} left out")
    expect(not harness.exists(pid), "a process was made")
    print(f"{len(stream)} bytes, {len(borders) - 1} blocks: {len(flips)} flips, {len(ends)} ends, "
          f"{len(borders) - 2} blocks left out refused")
    done = with_stream("restore", stream, "-d")
    expect(done.returncode == 0, f"the whole stream: {done.stderr}")
    before = os.path.getsize(output)
    harness.wait_until(lambda: os.path.getsize(output) > before, 10, "the program")
    os.kill(pid, signal.SIGKILL)


def closed(directory):
    """The reader goes away after so many bytes."""
    chance = harness.seeded()
    pid, output = start_tree(directory, 16)
    before = harness.state_of(pid)
    whole = len(stream_of(pid))
    counts = [0, 1, 24, 64, 4096, 65536, 1 << 20] + [chance.randrange(whole - (3 << 20)) for _ in range(25)]
    for count in counts:
        reader, writer = os.pipe()
        dump = subprocess.Popen([harness.ENGINE, "dump", "-t", str(pid), "-D", "-", "--json"], stdout=writer,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        os.close(writer)
        left = count
        while left > 0:
            left -= len(os.read(reader, min(left, 1 << 16)))
        os.close(reader)
        errors = dump.communicate(timeout=30)[1].decode()
        expect(dump.returncode == 1, f"closed after {count} bytes: {dump.returncode} {errors}")
        expect("nobody reads the stream" in errors, f"closed after {count} bytes: {errors}")
        expect(harness.exists(pid), f"closed after {count} bytes: the program is gone")
    harness.expect_unharmed(pid, before, "after readers that went away")
    expect_goes_on(output, "after readers that went away")
    print(f"{len(counts)} readers of {whole} bytes")
    harness.kill_and_reap(pid)


def full(directory):
    """A disk that is full behind `> file`."""
    small = os.path.join(directory, "small")
    os.mkdir(small)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", small], capture_output=True).returncode:
        raise harness.Skip("no file system can be mounted")
    try:
        pid, output = start_tree(directory, 16)
        before = harness.state_of(pid)
        with open(f"{small}/stream", "wb") as stream:
            done = subprocess.run([harness.ENGINE, "dump", "-t", str(pid), "-D", "-"], stdout=stream,
                                  stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=60, text=True)
        expect(done.returncode == 1 and "ENOSPC" in done.stderr, f"{done.returncode} {done.stderr}")
        harness.expect_unharmed(pid, before, "after a full disk")
        expect_goes_on(output, "after a full disk")
        with open(f"{small}/stream", "rb") as stream:
            expect_refused(stream.read(), "what fitted on the disk")
        harness.kill_and_reap(pid)
    finally:
        subprocess.run(["umount", small])


def memory(directory):
    """The dump of a large program needs little memory; the restore not twice the image."""
    mib = 256
    pid, output = start_tree(directory, mib)
    reader, writer = os.pipe()
    stream = os.open(f"{directory}/stream", os.O_RDWR | os.O_CREAT)
    copier = subprocess.Popen(["cat"], stdin=reader, stdout=stream)
    dump = subprocess.Popen([harness.ENGINE, "dump", "-t", str(pid), "-D", "-"], stdout=writer, stdin=subprocess.DEVNULL)
    os.close(reader), os.close(writer)
    _, status, usage = os.wait4(dump.pid, 0)
    dump.returncode = os.waitstatus_to_exitcode(status)
    expect(dump.returncode == 0 and copier.wait(30) == 0, f"dump: {dump.returncode}")
    print(f"the dump of {mib} MiB had {usage.ru_maxrss >> 10} MiB at its peak")
    expect(usage.ru_maxrss <= 64 << 10, f"{usage.ru_maxrss >> 10} MiB")
    harness.reap_all()
    # Memory of memfds is no process's alone: the machine is asked, roughly, as others use it too.
    os.lseek(stream, 0, os.SEEK_SET)
    available = lambda: int(re.search(r"MemAvailable:\s*(\d+)", read("/proc/meminfo")).group(1)) >> 10
    before = lowest = available()
    restore = subprocess.Popen([harness.ENGINE, "restore", "-D", "-", "-d"], stdin=stream)
    while restore.poll() is None:
        lowest = min(lowest, available())
        time.sleep(0.002)
    expect(restore.returncode == 0, f"restore: {restore.returncode}")
    print(f"during the restore {before - lowest} MiB less were available")
    expect_goes_on(output, "restored")
    os.kill(pid, signal.SIGKILL)


def written_to(terminal):
    """What is left to be read of it; its other end is closed."""
    text = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:
            return text
        if not part:
            return text
        text += part


def places(directory):
    """Nothing but the stream on standard output; terminals refused; where a log goes."""
    output = os.path.join(directory, "output")
    pid = harness.start([os.path.join(harness.WORKLOADS, "counting-loop")], output)
    harness.wait_until(lambda: read(output), 10, "the program")
    os.chdir(directory)
    for more in ((), ("--json",), ("--display-stats",), ("-v4", "--json", "--display-stats"), ("-v4", "-o", "dump.log")):
        stream = stream_of(pid, *more)
        expect(blocks(stream)[-1] == len(stream), f"{more}: something else is in the stream")
        done = with_stream("verify", stream)
        expect(done.returncode == 0, f"{more}: {done.stderr}")
    expect("Dumping finished" in read("dump.log"), "no log in the current folder")
    done = subprocess.run([harness.ENGINE, "show", "-"], input=stream, capture_output=True, timeout=20)
    expect(done.returncode == 0 and b"counting-loop" in done.stdout, f"show: {done.stdout}{done.stderr}")
    expect(not os.path.exists("-"), "a folder named - was made")
    master, slave = pty.openpty()
    for command in (["dump", "-t", str(pid)], ["restore"], ["verify"]):
        done = subprocess.run([harness.ENGINE, *command, "-D", "-"], stdin=slave, stdout=slave, stderr=subprocess.PIPE,
                              timeout=20, text=True)
        expect(done.returncode == 2 and "terminal" in done.stderr, f"{command}: {done.returncode} {done.stderr}")
    os.close(slave)
    expect(not written_to(master), "something was written to the terminal")
    done = with_stream("restore", stream, "-d", "--inherit-fd", "fd[0]:pipe[1]")
    expect(done.returncode == 2, f"descriptor 0: {done.returncode} {done.stderr}")
    done = with_stream("restore", stream, "-d")  # of a program that goes on: refused at once
    expect(done.returncode == 1 and b"is held by" in done.stderr, f"{done.returncode} {done.stderr}")
    harness.kill_and_reap(pid)


def script(directory):
    """A script that fails after the dump: the program goes on, so its image must not be usable elsewhere."""
    pid, output = start_tree(directory)
    name = os.path.join(directory, "script")
    with open(name, "w") as stream:
        stream.write("#!/bin/sh\necho noise\n[ $CRTOOLS_SCRIPT_ACTION != post-dump ]\n")
    os.chmod(name, 0o755)
    done = subprocess.run([harness.ENGINE, "dump", "-t", str(pid), "-D", "-", "--action-script", name],
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    expect(done.returncode == 1, f"{done.returncode} {done.stderr}")
    expect_goes_on(output, "after a script that failed")
    expect_refused(done.stdout, "the stream of a dump that failed")
    harness.kill_and_reap(pid)


def foreground(directory):
    """restore without -d ends as the program does."""
    output = os.path.join(directory, "output")
    code = "import os, sys, time; print('ready', flush=True)\n" \
           "while not os.path.exists('end'): time.sleep(0.01)\nsys.exit(7)"
    pid = harness.start([sys.executable, "-c", code], output, cwd=directory)
    harness.wait_until(lambda: read(output), 10, "the program")
    done = subprocess.run([harness.ENGINE, "dump", "-t", str(pid), "-D", "-"], capture_output=True, timeout=30,
                          stdin=subprocess.DEVNULL)
    expect(done.returncode == 0 and harness.wait_for(pid) == -signal.SIGKILL, f"dump: {done.stderr}")
    with open(f"{directory}/stream", "wb") as stream:
        stream.write(done.stdout)
    with open(f"{directory}/stream", "rb") as stream:
        restore = subprocess.Popen([harness.ENGINE, "restore", "-D", "-"], stdin=stream)
    harness.wait_until(lambda: harness.exists(pid) and read(f"/proc/{pid}/comm").startswith("python"), 10, "the program")
    time.sleep(0.2)
    open(f"{directory}/end", "w").close()
    expect(restore.wait(20) == 7, f"restore ended with {restore.returncode}")


def slow_dump(pid, errors, *more, rate=12 << 20):
    """A dump whose stream is read slowly; its exit code."""
    dump = subprocess.Popen([harness.ENGINE, "dump", "-t", str(pid), "-D", "-", "-R", *more], stdout=subprocess.PIPE,
                            stderr=errors, stdin=subprocess.DEVNULL)
    while dump.stdout.read(rate // 20):
        time.sleep(0.05)
    return dump.wait(30)


def progress(directory):
    """One line on a terminal, rewritten and erased; nothing in a pipe, or with --json."""
    pid, output = start_tree(directory, 40)

    def on_terminal(*more):
        master, slave = pty.openpty()
        code = slow_dump(pid, slave, *more)
        os.close(slave)
        seen = written_to(master)
        os.close(master)
        expect(code == 0, f"{more}: {code} {seen}")
        return seen.decode()

    seen = on_terminal()
    shown = re.findall(r"\r\x1b\[Ksaving ([0-9.]+) MiB of ([0-9.]+) MiB, [0-9.]+ MiB/s(?:, \d+ s left)?\r", seen)
    print(f"{len(shown)} lines: {seen[-200:]!r}")
    expect(len(shown) >= 5, f"{len(shown)} lines: {seen!r}")
    expect("\n" not in seen[:seen.rindex("saving")], f"lines of their own: {seen!r}")
    expect(float(shown[-1][0]) > float(shown[0][0]), "it does not grow")
    expect("\r\x1b[K" in seen[seen.rindex("saving") + 8:], "the last line is not erased")
    began = time.monotonic()
    for more in (("--json",), ("-v4",)):
        expect("saving" not in on_terminal(*more), f"{more}: progress all the same")
    with open(f"{directory}/errors", "w") as errors:
        slow_dump(pid, errors)
    expect("saving" not in read(f"{directory}/errors") and "\x1b" not in read(f"{directory}/errors"), "progress in a file")
    expect(time.monotonic() - began > 3, "the dumps were too fast to show any")
    expect_goes_on(output, "after slow dumps")
    stream = subprocess.run([harness.ENGINE, "dump", "-t", str(pid), "-D", "-"], capture_output=True, timeout=60,
                            stdin=subprocess.DEVNULL).stdout
    expect(harness.wait_for(pid) == -signal.SIGKILL, "the program was not ended")
    harness.reap_all()
    master, slave = pty.openpty()
    restore = subprocess.Popen([harness.ENGINE, "restore", "-D", "-", "-d"], stdin=subprocess.PIPE, stderr=slave)
    for at in range(0, len(stream), 1 << 20):
        restore.stdin.write(stream[at:at + (1 << 20)])
        time.sleep(0.04)
    restore.stdin.close()
    code = restore.wait(30)
    os.close(slave)
    seen = written_to(master).decode()
    expect(code == 0, f"restore: {code} {seen!r}")
    shown = re.findall(r"\r\x1b\[Kreceiving [0-9.]+ MiB, [0-9.]+ MiB/s\r", seen)
    print(f"{len(shown)} lines of a restore: {seen[-200:]!r}")
    expect(len(shown) >= 3, f"{len(shown)} lines: {seen!r}")
    expect_goes_on(output, "restored under a progress line")
    expect(len(os.listdir(f"/proc/{pid}/task")) == 1, "it has another thread")
    os.kill(pid, signal.SIGKILL)


if os.geteuid() != 0:
    print("SKIPPED: root only")
    sys.exit(77)
harness.run(globals()[harness.CASE])

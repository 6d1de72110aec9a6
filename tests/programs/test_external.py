# ctest: TIMEOUT 120
# ctest: CASES pipe both_ends file path terminal socket missing unused wrong_access bad_values
"""Open files that stay outside of an image (--external) and descriptors given in their place (--inherit-fd)."""

import os
import pty
import re
import socket
import subprocess
import sys
import time

import harness

# Writes numbers to descriptor 5, one every 5 ms; ends when a file "go" is there.
WRITER = """
import os, time
i = 0
open("ready.part", "w").close()
os.rename("ready.part", "ready")
while not os.path.exists("go"):
    os.write(5, b"%d\\n" % i)
    i += 1
    time.sleep(0.005)
open("done", "w").close()
"""
# Echoes what comes in at 5, with what it has counted, to 6.
ECHO = """
import os
count = 0
open("ready.part", "w").close()
os.rename("ready.part", "ready")
while True:
    text = os.read(5, 100)
    if not text:
        break
    count += 1
    os.write(6, b"%d:" % count + text)
open("done", "w").close()
"""


def start(directory, program, descriptors):
    """descriptors: {number over there: ours}"""
    with open(os.path.join(directory, "program.py"), "w") as stream:
        stream.write(program)
    output = os.path.join(directory, "out")
    actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
               (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT, 0o644), (os.POSIX_SPAWN_DUP2, 1, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, ours, number) for number, ours in descriptors.items()]
    old = os.getcwd()
    os.chdir(directory)
    pid = os.posix_spawn(sys.executable, [sys.executable, "program.py"], os.environ, file_actions=actions, setsid=True)
    os.chdir(old)
    harness.wait_until(lambda: os.path.exists(f"{directory}/ready"), 10, "the program is ready")
    return pid


def finish(directory, pid):
    open(os.path.join(directory, "go"), "w").close()
    harness.wait_until(lambda: os.path.exists(f"{directory}/done"), 10, "the program ends")
    harness.wait_for(pid)


def restore(images, *more, given=()):
    """given: our descriptors, that mini-criu gets under the same numbers."""
    command = [harness.ENGINE, "restore", "-D", images, "-d", "-v4", "-o", "restore.log", *more]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, pass_fds=given)
    return harness.Result(command, done.returncode, done.stdout, done.stderr, 0)


def expect_refused(result, *patterns):
    for pattern in patterns:
        harness.expect(result.code in (1, 2) and re.search(pattern, result.text), f"/{pattern}/ was expected: {result}")
    harness.no_helpers()


def name_of(fd):
    return os.readlink(f"/proc/self/fd/{fd}")


def dump_pipe(directory):
    """The program has the writing end of a pipe that we read; returns pid, images and the pipe's name."""
    reader, writer = os.pipe()
    pid = start(directory, WRITER, {5: writer})
    os.close(writer)
    name, images = name_of(reader), os.path.join(directory, "images")
    before = harness.state_of(pid)
    refused = harness.dump(pid, images)
    named = name.replace(":", "")
    harness.expect(refused.code == 1 and f"--external '{named}'" in refused.text, str(refused))
    harness.expect_unharmed(pid, before, "after the refusal")
    harness.dump_and_reap(pid, images, "--external", name)
    numbers = b""
    while chunk := os.read(reader, 65536):
        numbers += chunk
    os.close(reader)
    return pid, images, named, numbers.split()


def pipe(directory):
    pid, images, name, numbers = dump_pipe(directory)
    reader, writer = os.pipe()
    harness.must(restore(images, "--inherit-fd", f"fd[{writer}]:{name}", given=[writer]))
    os.close(writer)
    time.sleep(0.1)
    finish(directory, pid)
    while chunk := os.read(reader, 65536):
        numbers += chunk.split()
    harness.expect(numbers == [b"%d" % i for i in range(len(numbers))], f"the numbers are not whole: {numbers}")
    harness.expect(len(numbers) > 10, "too few numbers")


def both_ends(directory):
    """Two pipes, and two descriptors for one name: the end that was open for the same is taken."""
    (there, to_it), (from_it, back) = os.pipe(), os.pipe()
    pid = start(directory, ECHO, {5: there, 6: back})
    names = [name_of(there), name_of(back)]
    os.close(there), os.close(back)
    os.write(to_it, b"one")
    harness.expect(os.read(from_it, 100) == b"1:one", "no echo")
    images = os.path.join(directory, "images")
    harness.dump_and_reap(pid, images, "--external", names[0], "--external", names[1])
    (there, new_to_it), (new_from_it, back) = os.pipe(), os.pipe()
    harness.must(restore(images, "--inherit-fd", f"fd[{new_to_it}]:{names[0]}", "--inherit-fd", f"fd[{there}]:{names[0]}",
                         "--inherit-fd", f"fd[{back}]:{names[1]}", given=[there, new_to_it, back]))
    os.close(there), os.close(back)
    os.write(new_to_it, b"two")
    harness.expect(os.read(new_from_it, 100) == b"2:two", "no echo after the restore")
    os.close(new_to_it)
    harness.wait_for(pid)  # it has read the end: nobody else holds the pipe
    harness.expect(os.path.exists(f"{directory}/done"), "it did not see the end of the pipe")


def numbers_in(*paths):
    return [int(n) for path in paths for n in harness.read(path).split()]


def file(directory):
    one, two = os.path.join(directory, "one"), os.path.join(directory, "two")
    fd = os.open(one, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    pid = start(directory, WRITER, {5: fd})
    mount = re.search(r"mnt_id:\s*(\d+)", harness.read(f"/proc/{pid}/fdinfo/5"))[1]
    name = f"file[{int(mount):x}:{os.fstat(fd).st_ino:x}]"
    os.close(fd)
    images = os.path.join(directory, "images")
    harness.dump_and_reap(pid, images, "--external", name)
    os.rename(one, one + ".moved")
    fd = os.open(two, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    harness.must(restore(images, "--inherit-fd", f"fd[{fd}]:{name}", given=[fd]))
    time.sleep(0.1)
    finish(directory, pid)
    numbers = numbers_in(one + ".moved", two)
    harness.expect(numbers == list(range(len(numbers))) and numbers_in(two), f"the numbers are not whole: {numbers}")


def path(directory):
    """A file by its path, which is in the image like any other: replaced all the same."""
    one, two = os.path.join(directory, "one"), os.path.join(directory, "two")
    fd = os.open(one, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    pid = start(directory, WRITER, {5: fd})
    os.close(fd)
    images = os.path.join(directory, "images")
    harness.dump_and_reap(pid, images)
    os.rename(one, one + ".moved")
    fd = os.open(two, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    harness.must(restore(images, "--inherit-fd", f"fd[{fd}]:{one[1:]}", given=[fd]))
    time.sleep(0.1)
    finish(directory, pid)
    numbers = numbers_in(one + ".moved", two)
    harness.expect(numbers == list(range(len(numbers))) and numbers_in(two), f"the numbers are not whole: {numbers}")


def terminal(directory):
    ours, theirs = pty.openpty()
    pid = start(directory, ECHO, {5: theirs, 6: theirs})
    status = os.fstat(theirs)
    name = f"tty[{status.st_rdev:x}:{status.st_dev:x}]"
    images = os.path.join(directory, "images")
    refused = harness.dump(pid, images)
    harness.expect(refused.code == 1 and f"--external '{name}'" in refused.text, str(refused))
    harness.dump_and_reap(pid, images, "--external", name)
    os.close(ours), os.close(theirs)
    ours, theirs = pty.openpty()
    harness.must(restore(images, "--inherit-fd", f"fd[{theirs}]:{name}", given=[theirs]))
    os.write(ours, b"hello\n")
    seen = b""
    while b"1:hello" not in seen:
        seen += os.read(ours, 100)
    harness.kill_and_reap(pid)


def socket_(directory):
    ours, theirs = socket.socketpair()
    pid = start(directory, ECHO, {5: theirs.fileno(), 6: theirs.fileno()})
    name, images = name_of(theirs.fileno()), os.path.join(directory, "images")
    theirs.close()
    ours.send(b"one")
    harness.expect(ours.recv(100) == b"1:one", "no echo")
    harness.dump_and_reap(pid, images, "--external", name)
    ours, theirs = socket.socketpair()
    harness.must(restore(images, "--inherit-fd", f"fd[{theirs.fileno()}]:{name}", given=[theirs.fileno()]))
    theirs.close()
    ours.send(b"two")
    harness.expect(ours.recv(100) == b"2:two", "no echo after the restore")
    ours.close()
    harness.wait_for(pid)


def missing(directory):
    pid, images, name, _ = dump_pipe(directory)
    expect_refused(restore(images), re.escape(name), "no descriptor is there", re.escape(f"--inherit-fd 'fd[N]:{name}'"))
    harness.expect(not harness.exists(pid), "something was restored")


def unused(directory):
    pid, images, name, _ = dump_pipe(directory)
    reader, writer = os.pipe()
    expect_refused(restore(images, "--inherit-fd", f"fd[{writer}]:{name}", "--inherit-fd", f"fd[{reader}]:pipe[1]",
                           given=[reader, writer]), rf"fd\[{reader}\].*no file pipe\[1\]")
    harness.expect(not harness.exists(pid), "something was restored")


def wrong_access(directory):
    pid, images, name, _ = dump_pipe(directory)
    reader, _ = os.pipe()
    expect_refused(restore(images, "--inherit-fd", f"fd[{reader}]:{name}", given=[reader]), f"descriptor {reader} is not")
    harness.expect(not harness.exists(pid), "something was restored")


def bad_values(directory):
    for value, words in (("fd[999]:pipe[1]", "descriptor 999 is not open"), ("999:pipe[1]", "is not fd"),
                         ("fd[]:x", "is not fd"), ("fd[1]:", "is not fd")):
        expect_refused(restore(directory, "--inherit-fd", value), words)
    for value in ("mnt[/x]:y", "pipe[x]", "file[1]", "file[1:2", "net[5]:eth0"):
        result = harness.dump(os.getpid(), directory, "--external", value)
        harness.expect(result.code == 2 and "--external" in result.text, str(result))


harness.cases({"pipe": pipe, "both_ends": both_ends, "file": file, "path": path, "terminal": terminal, "socket": socket_,
               "missing": missing, "unused": unused, "wrong_access": wrong_access, "bad_values": bad_values})

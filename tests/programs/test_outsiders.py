# ctest: TIMEOUT 90
# ctest: CASES both_ends unread_rest fifo busy_shell shared_memory semaphore deleted_file replaced_library position position_alone position_moves anonymous anonymous_shared sockets many_sockets outside_peer helpers
"""What a program shares with a process outside of what is dumped: refused before the freeze, naming that process, or
warned of where it does no harm for certain. The one outside is this test, or a child of it."""

import ctypes
import fcntl
import os
import re
import socket
import subprocess
import sys
import time

import counting
import harness

PRELUDE = """
import os, sys, time
def count():
    i = 0
    with open("numbers", "w") as out:
        open("ready.part", "w").close()
        os.rename("ready.part", "ready")
        while True:
            out.write("%d\\n" % i)
            out.flush()
            i += 1
            time.sleep(0.002)
"""


class Program:
    """One that has the given descriptors ({number over there: ours}), does as told and counts."""

    def __init__(self, directory, program="pass", descriptors=None):
        self.images, self.numbers = os.path.join(directory, "images"), os.path.join(directory, "numbers")
        output = os.path.join(directory, "output")
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
                   (os.POSIX_SPAWN_DUP2, 1, 2)]
        # Out of the way of the numbers over there.
        high = {number: fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, 100) for number, ours in (descriptors or {}).items()}
        actions += [(os.POSIX_SPAWN_DUP2, ours, number) for number, ours in high.items()]
        old = os.getcwd()
        os.chdir(directory)
        self.pid = os.posix_spawn(sys.executable, [sys.executable, "-c", PRELUDE + program + "\ncount()\n"], os.environ,
                                  file_actions=actions, setsid=True)
        os.chdir(old)
        for ours in high.values():
            os.close(ours)
        harness.wait_until(lambda: os.path.exists(f"{directory}/ready"), 10, f"ready: {harness.read(output)}")

    def expect_refused(self, *patterns):
        before = harness.state_of(self.pid)
        result = harness.dump(self.pid, self.images)
        harness.expect(result.code == 1, f"a refusal was expected: {result}")
        for pattern in patterns:
            harness.expect(re.search(pattern, result.text), f"/{pattern}/ was expected: {result}")
        log = harness.read(os.path.join(self.images, "dump.log"))
        harness.expect("mappings collected" not in log, f"it was frozen before:\n{log}")
        harness.expect_unharmed(self.pid, before, "after the refusal")
        counting.expect_progress(self.numbers, "after the refusal")

    def expect_saved(self):
        """Dumped, ended and restored."""
        result = harness.dump_and_reap(self.pid, self.images)
        harness.must(harness.restore(self.images))
        counting.expect_progress(self.numbers, "after the restore")
        harness.kill_and_reap(self.pid)
        return result


def holder_of(fd):
    """A process that has the descriptor as its input, and nothing else."""
    return subprocess.Popen(["sleep", "60"], stdin=fd)


def end(process):
    process.kill()
    process.wait()


def both_ends(directory):
    """A pipe whose ends both are the program's, while another never closed its own copy."""
    for which in (0, 1):
        place = os.path.join(directory, str(which))
        os.mkdir(place)
        ends = os.pipe()
        other = holder_of(ends[which])
        it = Program(place, "os.write(6, b'unread')", {5: ends[0], 6: ends[1]})
        os.close(ends[0]), os.close(ends[1])
        it.expect_refused(rf"an end of pipe:\[\d+\] is held by {other.pid} \(sleep\) outside")
        end(other)
        it.expect_saved()


def unread_rest(directory):
    """Nobody writes any more, and two could read what is left."""
    ends = os.pipe()
    other = holder_of(ends[0])
    it = Program(directory, "pass", {5: ends[0]})
    os.write(ends[1], b"rest")
    os.close(ends[0]), os.close(ends[1])
    it.expect_refused(rf"an end of pipe:\[\d+\] is held by {other.pid} \(sleep\) outside")
    end(other)
    it.expect_saved()


def fifo(directory):
    path = os.path.join(directory, "fifo")
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR)
    other = holder_of(fd)
    it = Program(directory, "pass", {5: fd})
    os.close(fd)
    it.expect_refused(rf"an end of {path} is held by {other.pid} \(sleep\) outside")
    end(other)
    it.expect_saved()


def busy_shell(directory):
    """Children that come and go, and have what their parent has, are no outsiders."""
    it = Program(directory, "os.pipe()\nif os.fork():\n while True:\n  if not os.fork(): os._exit(0)\n  os.wait()")
    for _ in range(30):
        harness.must(harness.dump(it.pid, it.images, "-R"))


# --- files without a name -------------------------------------------------------------------------------------------

PRIVATE, READ_ONLY, SHARED = (3, 2), (1, 1), (3, 1)  # protection and flags of mmap(2)


def mapping(fd, how):
    """Maps the first page. (The module mmap would keep a descriptor.)"""
    return ("\nimport ctypes\nc = ctypes.CDLL(None)\nc.mmap.restype = ctypes.c_void_p\nassert c.mmap(None, "
            f"ctypes.c_size_t(4096), {how[0]}, {how[1]}, {fd}, ctypes.c_long(0)) % 4096 == 0\n")


def unlinked_file(path, content=b"x" * 4096):
    """Two descriptors of it, for writing and for reading."""
    writer = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(writer, content)
    reader = os.open(path, os.O_RDONLY)
    os.unlink(path)
    return writer, reader


def mapper_of(fd, how=SHARED):
    """A process that has mapped the descriptor and closed it."""
    program = f"import os, time{mapping(0, how)}os.close(0)\nprint(1, flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=fd, stdout=subprocess.PIPE)
    harness.expect(process.stdout.readline() == b"1\n", "it has not mapped it")
    process.stdout.close()
    return process


def shared_memory(directory):
    """Of shm_open(3), unlinked: mapped or open, here and there."""
    mapped = mapping(5, SHARED) + "os.close(5)"
    for case, (ours, other_of) in enumerate(((mapped, mapper_of), (mapped, holder_of), ("pass", mapper_of))):
        place = os.path.join(directory, str(case))
        os.mkdir(place)
        writer, reader = unlinked_file(f"/dev/shm/mini-criu-test-{os.getpid()}-{case}")
        os.close(reader)
        other = other_of(writer)
        it = Program(place, ours, {5: writer})
        os.close(writer)
        it.expect_refused(rf"file /dev/shm/mini-criu-test.*is also (mapped by|open in) {other.pid} \((python3|sleep)",
                          "no name any more")
        end(other)
        it.expect_saved()


def semaphore(directory):
    """Of sem_open(3): the child has it too, and becomes somebody else's. As long as it has a name nothing is lost."""
    program = """
import ctypes
libc, name = ctypes.CDLL("libc.so.6"), b"/mini-criu-test-%d" % os.getpid()
libc.sem_open.restype = ctypes.c_void_p
assert libc.sem_open(name, os.O_CREAT, 0o600, 1)
if os.fork() == 0:
    if os.fork() == 0:
        os.closerange(0, 3)
        open("orphan.part", "w").write(str(os.getpid()))
        os.rename("orphan.part", "orphan")
        while True: time.sleep(1)
    os._exit(0)
os.wait()
"""
    it = Program(directory, program)
    path = f"/dev/shm/sem.mini-criu-test-{it.pid}"
    try:
        orphan = int(harness.wait_until(lambda: harness.read(os.path.join(directory, "orphan")), 10, "the orphan"))
        harness.must(harness.dump(it.pid, it.images, "-R"))
        os.unlink(path)
        it.expect_refused(rf"deleted file /dev/shm/sem\.\S+ is also mapped by {orphan} \(python3")
        harness.kill_and_reap(orphan)
        it.expect_saved()
    finally:
        if os.path.exists(path):
            os.unlink(path)


def deleted_file(directory):
    """Open in both, for writing in the one or the other."""
    for case in ("ours", "theirs"):
        place = os.path.join(directory, case)
        os.mkdir(place)
        writer, reader = unlinked_file(os.path.join(place, "scratch"))
        other = holder_of(reader if case == "ours" else writer)
        it = Program(place, "pass", {5: writer if case == "ours" else reader})
        os.close(reader), os.close(writer)
        it.expect_refused(rf"file {place}/scratch \(deleted\) is also open in {other.pid} \(sleep")
        end(other)
        it.expect_saved()


def replaced_library(directory):
    """Files that are gone and that all only read: open, mapped, also shared like the caches of libraries."""
    writer, reader = unlinked_file(os.path.join(directory, "library.so"))
    os.close(writer)
    others = [mapper_of(reader, PRIVATE), mapper_of(reader, READ_ONLY), holder_of(reader)]
    it = Program(directory, mapping(5, PRIVATE) + mapping(5, READ_ONLY), {5: reader})
    os.close(reader)
    it.expect_saved()
    for other in others:
        end(other)


# --- open files -----------------------------------------------------------------------------------------------------


def warnings_of(it):
    harness.must(harness.dump(it.pid, it.images, "-R"))
    return [line for line in harness.read(os.path.join(it.images, "dump.log")).splitlines() if "is one open file" in line]


def position(directory):
    """Two that write into one file, where each goes on after the other."""
    path = os.path.join(directory, "log")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    it = Program(directory, "pass", {5: fd})
    other = holder_of(fd)
    os.close(fd)
    found = warnings_of(it)
    harness.expect(len(found) == 1 and re.search(rf"fd 5 {path} of process {it.pid} .*of {other.pid} \(sleep\) outside",
                                                 found[0]), f"a warning was expected: {found}")
    end(other)
    found = warnings_of(it)
    harness.expect(not found, f"nobody has it any more: {found}")


def position_alone(directory):
    """Nothing to be warned of: it appends, it is opened twice, or both are in the tree."""
    appended, twice = os.path.join(directory, "appended"), os.path.join(directory, "twice")
    append = os.open(appended, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    ours, theirs = os.open(twice, os.O_WRONLY | os.O_CREAT), os.open(twice, os.O_WRONLY)
    others = [holder_of(append), holder_of(theirs)]
    it = Program(directory, "open('own', 'w').close()\nf = open('own')\nif os.fork() == 0: time.sleep(60)", {5: append, 6: ours})
    os.close(append), os.close(ours), os.close(theirs)
    found = warnings_of(it)
    harness.expect(not found, f"no warning was expected: {found}")
    for other in others:
        end(other)


def position_moves(directory):
    """Somebody outside writes on while the program stands still: its descriptors lead to one open file all the same."""
    path = os.path.join(directory, "log")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    it = Program(directory, "for i in range(200): os.dup(5)", {5: fd})
    writer = subprocess.Popen([sys.executable, "-c", "import os\nwhile True:\n os.write(0, b'x')\n"
                               " if os.lseek(0, 0, 1) > 1 << 20: os.lseek(0, 0, 0)"], stdin=fd)
    os.close(fd)
    harness.wait_until(lambda: os.path.getsize(path) > 100, 10, "it writes")
    for _ in range(5):
        harness.must(harness.dump(it.pid, it.images, "-R"))
        shown = harness.must(harness.engine("show", os.path.join(it.images, "files.img"))).output
        harness.expect(shown.count(f'"{path}"') == 1, f"{shown.count(path)} open files instead of one")
    end(writer)


def anonymous_files():
    libc = harness.libc
    made = {"eventfd": os.eventfd(3, os.EFD_CLOEXEC), "timerfd": libc.timerfd_create(1, os.O_CLOEXEC),
            "inotify": libc.inotify_init1(os.O_CLOEXEC), "eventpoll": libc.epoll_create1(os.O_CLOEXEC)}
    close_on_exec, by_inode = 1, 0x200  # FAN_CLOEXEC, FAN_REPORT_FID
    group = libc.fanotify_init(close_on_exec | by_inode, os.O_RDONLY)
    if group >= 0:  # a kernel may lack it
        made["fanotify"] = group
    ring = libc.syscall(425, 4, ctypes.create_string_buffer(120))  # io_uring_setup
    if ring >= 0:  # forbidden in many places (kernel.io_uring_disabled)
        made["io_uring"] = ring
    harness.expect(min(made.values()) >= 0, f"cannot be made: {made}")
    return made


def anonymous(directory):
    """Others that have files of the same sorts."""
    ours, theirs = anonymous_files(), anonymous_files()
    # All of one sort have one inode; only the same open file is shared.
    strangers = [holder_of(fd) for fd in theirs.values()]
    for name, fd in ours.items():
        place = os.path.join(directory, name)
        os.mkdir(place)
        it = Program(place, "pass", {5: fd})
        os.close(fd)
        harness.must(harness.dump(it.pid, it.images, "-R"))
    for other in strangers:
        end(other)


def anonymous_shared(directory):
    for name, fd in anonymous_files().items():
        place = os.path.join(directory, name)
        os.mkdir(place)
        it = Program(place, "pass", {5: fd})
        other = holder_of(fd)
        os.close(fd)
        it.expect_refused(rf"fd 5 anon_inode:\S*{name}\S* of process {it.pid} .*of {other.pid} \(sleep\) outside")
        end(other)
        it.expect_saved()


# --- sockets --------------------------------------------------------------------------------------------------------


def sockets(directory):
    """Of which the parent has a copy too: listeners, both ends of a pair, and what is connected to nobody."""
    def listener(family, address):
        it = socket.socket(family)
        it.bind(address)
        it.listen()
        return it
    first, second = socket.socketpair()
    made = {"tcp": [listener(socket.AF_INET, ("127.0.0.1", 0))], "unix": [listener(socket.AF_UNIX, f"{directory}/name")],
            "pair": [first, second], "udp": [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]}
    for name, ours in made.items():
        place = os.path.join(directory, name + ".d")
        os.mkdir(place)
        it = Program(place, "pass", {5 + i: one.fileno() for i, one in enumerate(ours)})
        number = 4 + len(ours)
        other = holder_of(ours[-1].fileno())
        inode = os.fstat(ours[-1].fileno()).st_ino
        for one in ours:
            one.close()
        it.expect_refused(rf"fd {number} socket:\[{inode}\] of process {it.pid} .*of {other.pid} \(sleep\) outside",
                          rf"--external 'socket\[{inode}\]'")
        harness.must(harness.dump(it.pid, it.images, "-R", "--external", f"socket[{inode}]"))
        end(other)
        it.expect_saved()


def many_sockets(directory):
    """The one that is shared comes after all that is looked at before the freeze."""
    shared, theirs = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    it = Program(directory, "import socket\nall = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for i in range(1200)]\n"
                            "assert os.dup2(5, 1900) == 1900 and not os.close(5)", {5: shared.fileno()})
    others = [holder_of(shared.fileno()), holder_of(theirs.fileno())]
    shared.close(), theirs.close()
    it.expect_refused(rf"fd 1900 socket:\[\d+\] of process {it.pid} .*of {others[0].pid} \(sleep\) outside")
    end(others[0])
    it.expect_saved()
    end(others[1])


def outside_peer(directory):
    """A connection that is made again by its name (--ext-unix-sk): the other keeps the old one, and a warning says so."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{directory}/server")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(f"{directory}/server")
    accepted, _ = server.accept()
    it = Program(directory, "pass", {5: client.fileno()})
    other = holder_of(client.fileno())
    client.close()
    for holders in (1, 0):
        harness.must(harness.dump(it.pid, it.images, "-R", "--ext-unix-sk"))
        log = harness.read(os.path.join(it.images, "dump.log"))
        found = re.search(rf"fd 5 socket:\[\d+\] of process {it.pid} .*of {other.pid} \(sleep\) outside", log)
        harness.expect(bool(found) == bool(holders), f"with {holders} others that have the connection:\n{log}")
        if holders:
            end(other)
    harness.kill_and_reap(it.pid)


def helpers(directory):
    """Of mini-criu itself, with sockets that they do not use: as they have when an engine was killed."""
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    it = Program(directory, "pass", {5: ours.fileno()})
    busy, script = os.path.join(directory, "busy"), os.path.join(directory, "script")
    with open(script, "w") as stream:
        stream.write(f"#!/bin/sh\nexec <&- >&- 2>&-\ntouch {busy}\nexec sleep 60\n")
    os.chmod(script, 0o755)
    engine = subprocess.Popen([harness.ENGINE, "dump", "-t", str(it.pid), "-D", os.path.join(directory, "other"),
                               "--action-script", script], stdin=ours.fileno())
    ours.close()
    harness.wait_until(lambda: os.path.exists(busy), 10, "the script runs")
    harness.must(harness.dump(it.pid, it.images, "-R"))
    end(engine)
    harness.kill_and_reap(it.pid)


harness.cases({case: globals()[case] for case in
               ("both_ends", "unread_rest", "fifo", "busy_shell", "shared_memory", "semaphore", "deleted_file",
                "replaced_library", "position", "position_alone", "position_moves", "anonymous", "anonymous_shared",
                "sockets", "many_sockets", "outside_peer", "helpers")})

# ctest: TIMEOUT 120
# ctest: CASES killed_messages killed_connections small_messages no_memory continue_waiting
"""The process apart that reads the queues of sockets: what becomes of a dump, and of the program, when it is killed or
memory is short."""

import os
import resource
import shutil
import signal
import sys
import time

import harness
from telling import expect_refused, finish, in_directory, start

MESSAGES = """
here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
here.setsockopt(socket.SOL_SOCKET, 32, 1 << 26)  # SO_SNDBUFFORCE
for number in range(int(sys.argv[1])):
    here.send(b"%d" % number)
tell("ready")
wait_for("go")
tell("result", all_of(there) == [b"%d" % number for number in range(int(sys.argv[1]))])
"""

CONNECTIONS = """
pairs = [tcp_pair() for _ in range(150)]
sent = []
for client, server in pairs:
    client.setblocking(False)
    count = 0
    while (more := attempt(lambda: client.send(b"a" * 65536))) != "EAGAIN":
        count += more
    sent.append(count)
tell("ready")
wait_for("go")
wrong = []
for (client, server), count in zip(pairs, sent):
    got = b""
    while len(got) < count:
        part = attempt(lambda: server.recv(1 << 20))
        if not isinstance(part, bytes) or not part:
            wrong.append(part)
            break
        got += part
    if got != b"a" * count:
        wrong.append(len(got))
    wrong += [answer for answer in (attempt(lambda: server.send(b"r")), attempt(lambda: client.recv(5)))
              if answer not in (1, b"r")]
tell("result", wrong)
"""


def kill_helper_of(engine):
    """The second of its children that lead a session of their own; the first stands by."""
    while True:
        done, status = os.waitpid(engine, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), False
        leaders = [child for child in harness.read(f"/proc/{engine}/task/{engine}/children").split()
                   if harness.read(f"/proc/{child}/stat").rpartition(")")[2].split()[3:4] == [child]]
        if len(leaders) == 2:
            time.sleep(0.001)
            try:
                os.kill(int(leaders[1]), signal.SIGKILL)
            except ProcessLookupError:
                continue
            return harness.wait_for(engine), True


def start_dump(pid, images, *more):
    command = [harness.ENGINE, "dump", "-t", str(pid), "-D", images, "-v4", "-o", "dump.log", *more]
    return os.posix_spawn(harness.ENGINE, command, os.environ,
                          file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                                        (os.POSIX_SPAWN_OPEN, 1, "dump.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
                                         0o644), (os.POSIX_SPAWN_DUP2, 1, 2)])


def kill_helpers(pid, times, *more):
    hit = 0
    for number in range(4 * times):
        if hit == times:
            return
        code, killed = kill_helper_of(start_dump(pid, "image", "-R", *more))
        harness.expect(harness.trouble_of(pid) == "", harness.trouble_of(pid))
        if code != 0:
            hit += killed
            text = harness.read("dump.out")
            harness.expect("ended by signal 9" in text, f"the dump said: {text}")
            harness.expect(not os.path.exists("image/inventory.img"), "a failed dump has left an image")
        shutil.rmtree("image", ignore_errors=True)
    harness.expect(hit > 0, "the helper was never met")


def killed_messages():
    pid = start(MESSAGES, 8000)
    kill_helpers(pid, 5)
    harness.expect(kill_helper_of(start_dump(pid, "last"))[0] != 0, "the dump has ended the program")
    harness.expect(harness.trouble_of(pid) == "", harness.trouble_of(pid))
    finish("True")


def killed_connections():
    pid = start(CONNECTIONS)
    kill_helpers(pid, 20, "--tcp-established")
    finish("[]")


def limited_dump(pid, limit):
    """Returns the exit code and the most memory that the engine had, in MiB."""
    shutil.rmtree("image", ignore_errors=True)
    command = [sys.executable, "-c", "import os, resource, sys; limit = int(sys.argv[1]) << 20; "
               "resource.setrlimit(resource.RLIMIT_AS, (limit, limit)); os.execv(sys.argv[2], sys.argv[2:])"]
    return harness.engine("dump", "-t", pid, "-D", "image", "-R", "--timeout", "5", prefix=(*command, str(limit)))


def small_messages():
    """A message of a few bytes takes the memory of a few bytes."""
    pid = start(MESSAGES, 5000)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    harness.must(limited_dump(pid, 2048))
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    harness.expect(most < 200, f"{most} MiB resident for 5,000 messages ({before >> 10} before)")
    finish("True")


LARGE = """
pairs = []
for number in range(60):
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here.setsockopt(socket.SOL_SOCKET, 32, 1 << 26)
    for _ in range(40):
        here.send(b"x" * 100000)
    pairs.append((here, there))
tell("ready")
wait_for("go")
tell("result", all(all_of(there) == [b"x" * 100000] * 40 for here, there in pairs))
"""


def no_memory():
    """Memory is short here and there: the dump fails with a reason, and the program goes on."""
    pid = start(LARGE)
    for limit in (60, 90, 130, 200, 300):
        outcome = limited_dump(pid, limit)
        harness.expect(outcome.code != 0, f"a dump of 240 MB with {limit} MiB: {outcome}")
        harness.expect(outcome.errors.strip()[-1:] not in (":", ""), f"no reason: {outcome}")
        harness.expect("memory" in outcome.text or "alloc" in outcome.text, f"no reason: {outcome}")
        harness.expect(harness.trouble_of(pid) == "", harness.trouble_of(pid))
    finish("True")


CONTINUE = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCONT])
here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
here.send(b"a message")
os.kill(os.getpid(), signal.SIGCONT)
tell("ready")
wait_for("go")
tell("result", (signal.SIGCONT in signal.sigpending(), all_of(there) == [b"a message"]))
"""


def continue_waiting():
    """A SIGCONT that waits is still there when the queues have been read."""
    pid = start(CONTINUE)
    harness.must(harness.dump(pid, "images", "-R"))
    finish("(True, True)")


harness.cases({name: in_directory(test) for name, test in (
    ("killed_messages", killed_messages), ("killed_connections", killed_connections),
    ("small_messages", small_messages), ("no_memory", no_memory),
    ("continue_waiting", continue_waiting))})

# ctest: TIMEOUT 240
# ctest: CASES connections messages
"""SIGKILL for the engine while it reads the queues of sockets: the program, which uses them all the time, notices
nothing."""

import os
import shutil
import signal
import time

import harness
from telling import in_directory, result, start

KILLS = int(os.environ.get("MCR_TEST_KILLS", "60"))

# Of 150 connections whose queues are full: what is sent, received and answered is what belongs there, without errors.
CONNECTIONS = """
pairs = [tcp_pair() for _ in range(150)]
for client, server in pairs:
    for sock in (client, server):
        sock.setblocking(False)
    while attempt(lambda: client.send(b"a" * 65536)) != "EAGAIN":
        pass
time.sleep(0.3)
wrong = {}
def note(text):
    wrong[text] = wrong.get(text, 0) + 1
def check(what, got, good):
    if got != "EAGAIN" and not (isinstance(got, bytes) and not got.strip(good)) and not (good == b"" and got == 1):
        note("%s: %r" % (what, got if isinstance(got, str) else got.strip(good)[:10]))
tell("ready")
while not os.path.exists("go"):
    for client, server in pairs:
        check("send", attempt(lambda: server.send(b"r")), b"")
        check("receive", attempt(lambda: server.recv(4096)), b"a")
        check("answer", attempt(lambda: client.recv(1)), b"r")
        attempt(lambda: client.send(b"a" * 2048))
tell("result", wrong)
"""

# A reader that looks at the first of many messages without taking it.
MESSAGES = """
here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
here.setsockopt(socket.SOL_SOCKET, 32, 1 << 26)  # SO_SNDBUFFORCE
for number in range(3000):
    here.send(b"%d" % number)
wrong = {}
tell("ready")
while not os.path.exists("go"):
    for _ in range(1000):
        seen = attempt(lambda: there.recv(100, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        if seen != b"0":
            wrong[seen] = wrong.get(seen, 0) + 1
tell("result", wrong)
"""


def start_dump(pid, *more):
    command = [harness.ENGINE, "dump", "-t", str(pid), "-D", "image", "-R", "--no-sync", *more]
    return os.posix_spawn(harness.ENGINE, command, os.environ,
                          file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                                        (os.POSIX_SPAWN_OPEN, 1, "dump.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
                                         0o644), (os.POSIX_SPAWN_DUP2, 1, 2)])


def has_helper(engine):
    """A child that leads a session of its own."""
    for child in harness.read(f"/proc/{engine}/task/{engine}/children").split():
        fields = harness.read(f"/proc/{child}/stat").rpartition(")")[2].split()
        if len(fields) > 3 and fields[3] == child:
            return True
    return False


def kill_when_reading(engine, after):
    """True: it was killed while a helper was at work, or a moment later."""
    while not has_helper(engine):
        done, _ = os.waitpid(engine, os.WNOHANG)
        if done:
            return False
    time.sleep(after)
    os.kill(engine, signal.SIGKILL)
    return harness.wait_for(engine) == -signal.SIGKILL


def runs_again(pid):
    harness.no_helpers(pid)
    harness.wait_until(lambda: not harness.trouble_of(pid), 10, "the program runs on")


def kill_many(program, longest, *more):
    chance = harness.seeded()
    pid = start(program)
    killed = 0
    for _ in range(KILLS * 3):
        if killed == KILLS:
            break
        shutil.rmtree("image", ignore_errors=True)
        killed += kill_when_reading(start_dump(pid, *more), chance.uniform(0, longest))
        runs_again(pid)
    shutil.rmtree("image", ignore_errors=True)
    harness.must(harness.dump(pid, "image", "-R", *more))
    runs_again(pid)
    wrong = result()
    print(f"{killed} kills")
    harness.expect(killed >= KILLS // 2, f"only {killed} kills")
    harness.expect(wrong == "{}", f"after {killed} kills: {wrong[:1000]}")


def connections():
    kill_many(CONNECTIONS, 0.02, "--tcp-established")


def messages():
    kill_many(MESSAGES, 0.03)


harness.cases({"connections": in_directory(connections), "messages": in_directory(messages)})

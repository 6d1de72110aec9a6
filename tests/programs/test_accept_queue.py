# ctest: TIMEOUT 180
# ctest: CASES data outside ended shared lost closed processes no_room retransmitted opening_outside others_come external ended_first
"""TCP connections that wait to be accepted: what can be saved, what is refused, and what is lost when that is asked
for. All of it in a network namespace of its own."""

import ctypes
import fcntl
import os
import re
import socket
import struct
import sys
import time

import harness
import telling

CLONE_NEWNET = 0x40000000
SAVED = "--tcp-established"

HEAD = """
def client():
    return socket.create_connection(("127.0.0.1", 7200))
def state(sock):
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
def accept():
    server, peer = listener.accept()
    server.settimeout(20)
    return server, peer[1]
def accept_all():
    all = []
    listener.setblocking(False)
    try:
        while True:
            server, peer = listener.accept()
            server.setblocking(True)
            all.append((server, peer[1]))
    except BlockingIOError:
        pass
    listener.setblocking(True)
    return all
def port(sock):
    return sock.getsockname()[1]
def names(socks):
    return [port(sock) for sock in socks]
listener = socket.create_server(("127.0.0.1", 7200), backlog=16)
"""


def own_network():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise harness.Skip("no network namespace of our own: " + os.strerror(ctypes.get_errno()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def alone(test):
    def run(directory):
        own_network()
        os.chdir(directory)
        test()

    return run


def start(program):
    return telling.start(HEAD + program)


def finish(expected):
    telling.finish(expected, 60)


def expect_refused(result, *patterns):
    for pattern in patterns:
        harness.expect(result.code != 0 and re.search(pattern, result.text), f"no '{pattern}' in {result}")


def said(images, command):
    return harness.read(f"{images}/{command}.log") or ""


def expect_warning(result, images, pattern):
    harness.expect(re.search(pattern, result.text + said(images, "dump")), f"no '{pattern}' in {result}")


DATA = """
quiet, talking, ended = client(), client(), client()
talking.sendall(b"x" * 70000)
ended.sendall(b"last")
ended.shutdown(socket.SHUT_WR)
tell("ready")
wait_for("go")
got = []
for _ in range(3):
    server, peer = accept()
    if peer == port(quiet):
        quiet.sendall(b"quiet")
        quiet.shutdown(socket.SHUT_WR)
    if peer == port(talking):
        talking.shutdown(socket.SHUT_WR)
    text = b""
    while True:
        part = server.recv(100000)
        if not part:
            break
        text += part
    got.append((peer in names((quiet, talking, ended)), len(text), text[:5].decode()))
tell("result", got)
"""


def data():
    """What waits cannot be read: refused before the freeze, with both ends and the bytes; the program has it all."""
    pid = start(DATA)
    expect_refused(harness.dump(pid, "refused"), "3 connections at 127.0.0.1:7200 wait to be accepted",
                   "give --tcp-established")
    with open("hook", "w") as hook:
        hook.write("#!/bin/sh\ntouch frozen-next\n")
    os.chmod("hook", 0o755)
    result = harness.dump(pid, "refused", SAVED, "--action-script", os.path.abspath("hook"))
    expect_refused(result, r"127.0.0.1:\d+ to 127.0.0.1:7200 waits to be accepted, and 70000 bytes wait in it",
                   "--skip-in-flight")
    harness.expect(not os.path.exists("frozen-next"), "it was refused after the look only")
    finish("[(True, 5, 'quiet'), (True, 70000, 'xxxxx'), (True, 4, 'last')]")


OUTSIDE = """
before = client()
tell("ready")
wait_for("outsider")
after = client()
tell("after")
wait_for("go")
tell("result", [peer for _, peer in accept_all()] == names((before, after)))
"""


def outside():
    pid = start(OUTSIDE)
    with socket.create_connection(("127.0.0.1", 7200)) as lost:
        open("outsider", "w").close()
        harness.wait_until(lambda: os.path.exists("after"), 10, "the other client")
        ends = rf"127.0.0.1:{lost.getsockname()[1]} to 127.0.0.1:7200 waits to be accepted"
        expect_refused(harness.dump(pid, "refused", SAVED), ends + ", and its other end is outside of the tree")
        result = harness.must(harness.dump_and_reap(pid, "image", SAVED, "--skip-in-flight"))
        expect_warning(result, "image", ends + " and will be lost: its other end is outside of the tree")
        lost.settimeout(10)
        try:
            harness.expect(lost.recv(10) == b"", "something comes over the lost connection")
        except ConnectionResetError:
            pass
        harness.must(harness.restore("image"))
        finish("True")


ENDED = """
gone = client()
gone.close()
tell("ready")
wait_for("reset")
accept()[0].close()
gone = client()
gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
gone.close()
kept = client()
tell("was_reset")
wait_for("go")
tell("result", [peer for _, peer in accept_all()] == names([kept]))
"""


def ended():
    """Clients that are gone already."""
    pid = start(ENDED)
    expect_refused(harness.dump(pid, "refused", SAVED), "waits to be accepted, and its other end is closed")
    open("reset", "w").close()
    harness.wait_until(lambda: os.path.exists("was_reset"), 10, "the reset")
    expect_refused(harness.dump(pid, "refused", SAVED), "1 connection at 127.0.0.1:7200 that waits to be accepted "
                   "cannot be seen")
    result = harness.must(harness.dump_and_reap(pid, "image", SAVED, "--skip-in-flight"))
    expect_warning(result, "image", "1 connection at 127.0.0.1:7200 that cannot be seen will be lost")
    harness.must(harness.restore("image"))
    finish("True")


SHARED = """
listener.close()
group = []
for _ in range(2):
    group.append(socket.socket())
    group[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    group[-1].bind(("127.0.0.1", 7200))
    group[-1].listen(4)
waits = client()
tell("ready")
wait_for("go")
waits.settimeout(20)
tell("result", waits.recv(10))
"""


def shared():
    """Two listeners of one port: whose queue it is cannot be seen. Given up, the client is closed."""
    pid = start(SHARED)
    expect_refused(harness.dump(pid, "refused", SAVED), "waits to be accepted, and several sockets listen there")
    harness.dump_and_reap(pid, "image", SAVED, "--skip-in-flight")
    harness.must(harness.restore("image"))
    finish("b''")


LOST = """
first, talking, second = client(), client(), client()
talking.sendall(b"lost")
before = port(talking)
tell("ready")
wait_for("go")
talking.settimeout(20)
tell("result", ([peer for _, peer in accept_all()] == names((first, second)), talking.recv(10), state(talking)))
"""


def lost():
    """--skip-in-flight takes what cannot be saved, and nothing else."""
    pid = start(LOST)
    result = harness.dump_and_reap(pid, "image", SAVED, "--skip-in-flight")
    expect_warning(result, "image", "waits to be accepted and will be lost: 4 bytes wait in it")
    harness.must(harness.restore("image"))
    finish("(True, b'', 7)")


CLOSED = """
waits = client()
tell("ready")
wait_for("go")
waits.settimeout(20)
ended = waits.recv(10)
empty = accept_all() == []
with client() as fresh:
    server = listener.accept()[0]
    fresh.sendall(b"fresh")
    tell("result", (ended, empty, server.recv(10)))
"""


def closed():
    for number, (dump_options, restore_options) in enumerate(((["--tcp-close"], []), ([SAVED], ["--tcp-close"]))):
        pid = start(CLOSED)
        result = harness.dump_and_reap(pid, f"image{number}", *dump_options)
        if number == 0:
            expect_warning(result, "image0", "1 connection at 127.0.0.1:7200 that waits to be accepted will be lost")
        harness.must(harness.restore(f"image{number}", *restore_options))
        finish("(b'', True, b'fresh')")


PROCESSES = """
ports = []
pipe = os.pipe()
for i in range(6):
    if os.fork() == 0:
        listener.close()
        sock = client()
        os.write(pipe[1], struct.pack("i", port(sock)))
        sock.settimeout(60)
        number = sock.recv(10)
        os._exit(0 if number == str(i).encode() else 1)
    ports.append(struct.unpack("i", os.read(pipe[0], 4))[0])
tell("ready")
wait_for("go")
servers = accept_all()
right = [peer for _, peer in servers] == ports
for i, (server, _) in enumerate(servers):
    server.sendall(str(i).encode())
ends = sorted(os.wait()[1] for _ in range(6))
tell("result", (right, ends))
"""


def processes():
    """A server and its clients; two dumps, the first of which leaves them running."""
    pid = start(PROCESSES)
    harness.must(harness.dump(pid, "running", SAVED, "--leave-running"))
    harness.dump_and_reap(pid, "image", SAVED)
    harness.expect("nft" not in said("image", "dump"), "packets were kept away, though all ends are in the tree")
    harness.must(harness.restore("image"))
    finish("(True, [0, 0, 0, 0, 0, 0])")


NO_ROOM = """
listener.listen(1)
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 100)
early, ended = client(), client()
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)
first, second = client(), client()
early.sendall(b"e" * 3000)
ended.sendall(b"and the end")
ended.shutdown(socket.SHUT_WR)
time.sleep(0.1)
unsent = struct.unpack("i", __import__("fcntl").ioctl(early, 0x5411, b"    "))[0]
tell("ready")
wait_for("go")
known = dict(zip(names((first, second, early, ended)), ("first", "second", "early", "ended")))
got = []
for _ in range(4):
    server, peer = accept()
    text = b""
    if known[peer] == "early":
        early.shutdown(socket.SHUT_WR)
    if known[peer] in ("early", "ended"):
        while True:
            part = server.recv(10000)
            if not part:
                break
            text += part
    got.append((known[peer], len(text)))
tell("result", (unsent, got[:2], sorted(got[2:])))
"""


def no_room():
    """Open for the client, but the queue had no room: what it has sent is in its own socket still."""
    pid = start(NO_ROOM)
    harness.must(harness.dump(pid, "running", SAVED, "--leave-running"))
    harness.dump_and_reap(pid, "image", SAVED)
    harness.must(harness.restore("image"))
    finish("(3000, [('first', 0), ('second', 0)], [('early', 3000), ('ended', 11)])")


RETRANSMITTED = """
listener.listen(0)
first = client()
tell("ready")
wait_for("go")
servers = [accept() for _ in range(2)]
servers[1][0].sendall(b"welcome")
tell("result", servers[0][1] == port(first))
"""


def retransmitted():
    """A client outside whose SYN the full queue has dropped: it is not refused, and sends it again."""
    linear = "/proc/sys/net/ipv4/tcp_syn_linear_timeouts"
    if os.path.exists(linear):
        with open(linear, "w") as timeouts:
            timeouts.write("0")
    pid = start(RETRANSMITTED)
    outsider = socket.socket()
    outsider.setblocking(False)
    outsider.connect_ex(("127.0.0.1", 7200))
    harness.expect(outsider.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 2, "not in SYN_SENT")
    harness.must(harness.dump(pid, "running", SAVED, "--leave-running"))
    harness.expect(outsider.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 2, "not in SYN_SENT any more")
    # The next comes 4 seconds after the second: none while nobody listens.
    harness.wait_until(lambda: outsider.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 3)[2] == 2, 20, "two SYN more")
    harness.dump_and_reap(pid, "image", SAVED)
    harness.must(harness.restore("image"))
    finish("True")
    outsider.settimeout(60)
    harness.expect(outsider.recv(10) == b"welcome", "no welcome")
    outsider.close()


OPENING = """
out = socket.socket()
out.setblocking(False)
out.connect_ex(("127.0.0.1", 7300))
before = port(out), state(out)
tell("ready")
wait_for("go")
after = port(out), state(out)
while state(out) == 2:
    time.sleep(0.01)
out.setblocking(True)
out.settimeout(20)
tell("result", (before == after, out.recv(10)))
"""


def opening_outside():
    """A connection to somebody outside that is being opened goes on being opened."""
    listener = socket.create_server(("127.0.0.1", 7300), backlog=0)
    full = socket.create_connection(("127.0.0.1", 7300))
    pid = start(OPENING)
    expect_refused(harness.dump(pid, "refused"), "is being opened", "--tcp-established", "--skip-in-flight")
    harness.must(harness.dump(pid, "running", SAVED, "--leave-running"))
    harness.dump_and_reap(pid, "image", SAVED)
    harness.must(harness.restore("image"))
    open("go", "w").close()
    time.sleep(0.2)
    listener.accept()[0].close()
    listener.settimeout(60)
    server = listener.accept()[0]
    server.sendall(b"welcome")
    finish("(True, b'welcome')")
    full.close()


EXTERNAL = """
waits = client()
tell("ready", waits.fileno())
wait_for("go")
tell("result", [peer for _, peer in accept_all()] == names([waits]))
"""


def external():
    """A client that stays outside of the image waits for nobody there."""
    pid = start(EXTERNAL)
    name = os.readlink(f"/proc/{pid}/fd/{harness.read('ready')}").replace(":", "")
    expect_refused(harness.dump(pid, "refused", SAVED, "--external", name),
                   r"waits to be accepted, and its other end stays outside \(--external\)")
    finish("True")


ENDED_FIRST = """
sock = socket.create_connection(("127.0.0.1", 7300))
before = port(sock)
sock.shutdown(socket.SHUT_WR)
while state(sock) != 7:
    time.sleep(0.01)
tell("ready")
wait_for("go")
tell("result", (sock.recv(10), port(sock) == before))
"""


def ended_first():
    """Its end was the first: the kernel remembers the address for a minute (TIME_WAIT)."""
    with socket.create_server(("127.0.0.1", 7300)) as server:
        pid = harness.start([sys.executable, "-c", telling.HEAD + HEAD + ENDED_FIRST], "out")
        sock = server.accept()[0]
        harness.expect(sock.recv(10) == b"", "no end of file")
        sock.close()
    harness.wait_until(lambda: os.path.exists("ready"), 20, "the end of the connection")
    harness.dump_and_reap(pid, "image")
    harness.must(harness.restore("image"))
    finish("(b'', True)")


OTHERS = """
socks = [client() for _ in range(3)]
tell("ready")
wait_for("go")
peers = [peer for _, peer in accept_all()]
tell("result", [peer for peer in peers if peer in names(socks)] == names(socks))
"""


def others_come():
    """A restore fails where somebody else listens meanwhile, or has the connection; then it succeeds."""
    pid = start(OTHERS)
    harness.dump_and_reap(pid, "image", SAVED)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 7200))
        other.listen(1)
        expect_refused(harness.restore("image"), "127.0.0.1:7200: another socket listens there")
    harness.must(harness.restore("image"))
    finish("True")


harness.cases({name: alone(test) for name, test in (
    ("data", data), ("outside", outside), ("ended", ended), ("shared", shared), ("lost", lost), ("closed", closed),
    ("processes", processes), ("no_room", no_room), ("retransmitted", retransmitted),
    ("opening_outside", opening_outside), ("others_come", others_come), ("external", external),
    ("ended_first", ended_first))})

# ctest: TIMEOUT 180
# ctest: CASES streams4 streams6 mapped
"""TCP connections whose other end is outside of the tree. All of it in a network namespace of its own."""

import ctypes
import fcntl
import os
import re
import signal
import socket
import struct
import sys
import time

import harness

CLONE_NEWNET = 0x40000000

# Both ends: sends numbers and checks those that come, until a file "stop" is there; then says how it went.
TALKER = """
import os, select, socket, struct, sys
name, how, family, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
sock = socket.socket(family)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if how == "listen":
    sock.bind((address, port))
    sock.listen(1)
    open(name + ".listens", "w").close()
    listener, sock = sock, sock.accept()[0]
    listener.close()
else:
    sock.connect((address, port))
sock.setblocking(False)
sent = received = 0
out, back, ended, quiet = b"", b"", False, False
def finish(verdict):
    with open(name + ".part", "w") as result:
        result.write("%s sent %d received %d" % (verdict, sent, received))
    os.rename(name + ".part", name + ".result")
    sys.exit(0)
def check():
    global back, received
    whole = len(back) // 8
    for (number,) in struct.iter_unpack(">Q", back[:whole * 8]):
        if number != received:
            finish("number %d instead of %d" % (number, received))
        received += 1
    back = back[whole * 8:]
while not (quiet and not out):
    quiet = quiet or os.path.exists("stop")
    if not quiet and len(out) < 100000:
        out += b"".join(struct.pack(">Q", n) for n in range(sent, sent + 500))
        sent += 500
    readable, writable, _ = select.select([] if ended else [sock], [sock] if out else [], [], 0.002)
    try:
        if writable:
            out = out[sock.send(out[:40000]):]
        if readable:
            got = sock.recv(40000)
            ended = not got
            back += got
    except BlockingIOError:
        pass
    except OSError as error:
        finish("error: %s" % error)
    check()
    with open(name + ".alive", "w") as alive:
        alive.write(str(received))
    select.select([], [], [], 0.001)
sock.settimeout(60)
try:
    sock.shutdown(socket.SHUT_WR)
    while not ended:
        got = sock.recv(40000)
        ended = not got
        back += got
except OSError as error:
    finish("error at the end: %s" % error)
check()
finish("ok")
"""


def own_network():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise harness.Skip("no network namespace of our own: " + os.strerror(ctypes.get_errno()))
    request = struct.pack("16sh", b"lo", 1)  # IFF_UP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, request)  # SIOCSIFFLAGS


def tables():
    """Names of the tables of nf_tables (NFT_MSG_GETTABLE)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as line:
        line.send(struct.pack("=IHHII", 20, 10 << 8 | 1, 0x301, 1, 0) + struct.pack("BBH", 0, 0, 0))
        found = []
        while True:
            answer = line.recv(65536)
            while len(answer) >= 16:
                length, kind = struct.unpack_from("=IH", answer)
                if kind == 3 or kind == 2:
                    return found
                name = re.search(rb"mini-criu[a-z0-9-]*", answer[:length])
                found.append(name.group().decode() if name else "?")
                answer = answer[(length + 3) & ~3:]


def expect_no_table(when):
    harness.expect(tables() == [], f"{when}: {tables()} is left")


def start_talker(*arguments):
    return harness.start([sys.executable, "-c", TALKER, *map(str, arguments)], "out." + arguments[0])


def connected_pair(family, address, port, program_connects=True):
    roles = [("peer", "listen"), ("program", "connect")]
    if not program_connects:
        roles = [("program", "listen"), ("peer", "connect")]
    pids = {}
    for name, how in roles:
        target = address
        if how == "connect" and family == socket.AF_INET6 and address == "::":
            target = "::ffff:127.0.0.1"
        pids[name] = start_talker(name, how, int(family), target, port)
        if how == "listen":
            harness.wait_until(lambda: os.path.exists(name + ".listens"), 10, "listening")
    for name in pids:
        harness.wait_until(lambda: (harness.read(name + ".alive") or "0") > "0", 10, name + " talking")
    return pids["program"], pids["peer"]


def progress(name):
    return int(harness.read(name + ".alive") or 0)


def expect_talk():
    before = progress("program"), progress("peer")
    harness.wait_until(lambda: progress("program") > before[0] + 1000 and progress("peer") > before[1] + 1000, 60,
                       "both go on")


def finish_talk():
    open("stop", "w").close()
    for name in ("program", "peer"):
        harness.wait_until(lambda: os.path.exists(name + ".result"), 60, name + "'s result")
    program, peer = (re.fullmatch(r"(.*) sent (\d+) received (\d+)", harness.read(name + ".result"))
                     for name in ("program", "peer"))
    harness.expect(program[1] == "ok" and peer[1] == "ok", f"program: {program[0]}; peer: {peer[0]}")
    harness.expect(program[2] == peer[3] and program[3] == peer[2], f"program: {program[0]}; peer: {peer[0]}")


def dump_locked(pid, images):
    harness.must(harness.dump_and_reap(pid, images, "--tcp-established"))
    harness.expect(len(tables()) == 1, f"one table after the dump, not {tables()}")


def restore_unlocked(images):
    harness.must(harness.restore(images, "-d", "--tcp-established"))
    expect_no_table("after the restore")


def rounds(family, address, port, program_connects):
    pid, _ = connected_pair(family, address, port, program_connects)
    for number in range(3):
        dump_locked(pid, f"image{number}")
        time.sleep(0.7)
        restore_unlocked(f"image{number}")
        expect_talk()
    finish_talk()


def streams4():
    rounds(socket.AF_INET, "127.0.0.1", 7001, True)


def streams6():
    rounds(socket.AF_INET6, "::1", 7002, False)


def mapped():
    rounds(socket.AF_INET6, "::", 7003, False)


def alone(test):
    def run(directory):
        own_network()
        os.chdir(directory)
        test()

    return run


harness.cases({name: alone(test) for name, test in (
    ("streams4", streams4), ("streams6", streams6), ("mapped", mapped))})

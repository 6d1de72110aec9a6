# ctest: TIMEOUT 90
# ctest: CASES urgent half_acknowledged external timestamping timestamping_closed fast_open shut_reading no_peek_offset no_repair unlisted
"""States of TCP connections that few programs have."""

import ctypes
import fcntl
import os
import re
import select
import socket
import struct
import sys
import time

import harness
from telling import expect_refused, finish, go_through, in_directory, start

# --- urgent data ----------------------------------------------------------------------------------------------------

URGENT = """
client, server = tcp_pair()
if "inline" in sys.argv[1]:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
if "first" not in sys.argv[1]:
    client.send(b"abc")
client.send(b"X", socket.MSG_OOB)
client.send(b"def")
time.sleep(0.1)
if "seen" in sys.argv[1]:
    assert server.recv(1, socket.MSG_OOB) == b"X"
if "passed" in sys.argv[1]:
    assert server.recv(3) == b"abc"
    assert server.recv(2) == b"de"
option = server.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)
tell("ready")
wait_for("go")
got = all_of(server)
tell("result", (got, option == server.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)))
"""


def urgent():
    """What a look cannot see behind an urgent byte must not be lost without a word."""
    for how, left in (("behind", [b"abc", b"def"]), ("first", [b"def"]), ("seen", [b"abc", b"def"]),
                      ("first seen", [b"def"]), ("inline", [b"abc", b"Xdef"])):
        pid = start(URGENT, how)
        expect_refused(harness.dump(pid, "refused " + how, "--tcp-established"), "urgent data",
                       "let the program read it")
        finish(str((left, True)))
    pid = start(URGENT, "passed")
    go_through(pid, "image", "--tcp-established")
    finish(str(([b"f"], True)))


# --- a segment of which the other end has taken a part --------------------------------------------------------------

TUN = "mcrtun0"


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def own_network():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
        raise harness.Skip("no network namespace of our own: " + os.strerror(ctypes.get_errno()))


def open_tun():
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH", TUN.encode(), 0x1001))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
    except OSError as error:
        raise harness.Skip(f"no tun device: {error}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        address = struct.pack("16sHH4s8x", TUN.encode(), socket.AF_INET, 0, socket.inet_aton("10.9.0.1"))
        fcntl.ioctl(control, 0x8916, address)  # SIOCSIFADDR
        fcntl.ioctl(control, 0x891c, address[:20] + socket.inet_aton("255.255.255.0") + address[24:])  # NETMASK
        for name in (b"lo", TUN.encode()):
            fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", name, 1))  # SIOCSIFFLAGS: up
    return tun


def send_segment(tun, to_port, sequence, acknowledged, flags):
    ends = socket.inet_aton("10.9.0.2") + socket.inet_aton("10.9.0.1")
    head = struct.pack("!HHIIBBHHH", 80, to_port, sequence & 0xffffffff, acknowledged & 0xffffffff, 5 << 4, flags,
                       65000, 0, 0)
    total = checksum(ends + struct.pack("!HH", 6, len(head)) + head)
    packet = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(head), 0, 0, 64, 6, 0) + ends
    packet = packet[:10] + struct.pack("!H", checksum(packet)) + packet[12:]
    os.write(tun, packet + head[:16] + struct.pack("!H", total) + head[18:])


SENDER = """
sock = socket.create_connection(("10.9.0.2", 80))
sock.send(b"ABCDEFGHIJ")
tell("ready")
wait_for("go")
"""


def half_acknowledged():
    own_network()
    tun = open_tun()
    pid = harness.start([sys.executable, "-c", __import__("telling").HEAD + SENDER], "out")
    base, last = None, time.monotonic() + 20
    while base is None:
        harness.expect(time.monotonic() < last, "the program sends nothing: " + harness.read("out.err"))
        if not select.select([tun], [], [], 0.1)[0]:
            continue
        packet = os.read(tun, 2000)
        if packet[0] >> 4 != 4 or packet[9] != 6:
            continue
        port, _, sequence, _, offset, flags = struct.unpack("!HHIIBB", packet[20:34])
        if flags & 2:
            time.sleep(0.6)  # a long way: nothing is sent again for two seconds, which would cut what is acknowledged
            send_segment(tun, port, 1000, sequence + 1, 0x12)
        elif packet[20 + (offset >> 4) * 4:]:
            send_segment(tun, port, 1001, sequence + 4, 0x10)
            base = sequence
    harness.must(harness.dump(pid, "image", "-R", "--tcp-established"))
    shown = harness.must(harness.engine("show", "image/files.img")).output
    send = re.search(r'"send":\s*\{[^}]*\}', shown)
    harness.expect(send, shown[-3000:])
    sequence = int(re.search(r'"sequence":\s*"?(\d+)', send.group()).group(1))
    harness.expect(sequence == (base + 4) & 0xffffffff, f"{send.group()}; the first byte of all was {base}")
    harness.expect(b"EFGHIJ".hex() in send.group(), f"{send.group()}")
    os.kill(pid, 9)
    harness.wait_for(pid)
    os.close(tun)


# --- what stays outside ---------------------------------------------------------------------------------------------

IDLE = """
tell("ready")
while True:
    time.sleep(1)
"""


def external():
    """The connection belongs to us too: a dump that leaves it outside must not touch it."""
    listener = socket.create_server(("127.0.0.1", 0))
    peer = socket.create_connection(listener.getsockname())
    ours = listener.accept()[0]
    for number, more in enumerate(((), ("--network-lock", "skip"), ("-R",))):
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 1, "out", os.O_WRONLY | os.O_CREAT, 0o644), (os.POSIX_SPAWN_DUP2, 1, 2),
                   (os.POSIX_SPAWN_DUP2, ours.fileno(), 5)]
        if os.path.exists("ready"):
            os.unlink("ready")
        pid = os.posix_spawn(sys.executable, [sys.executable, "-c", __import__("telling").HEAD + IDLE], os.environ,
                             file_actions=actions, setsid=True)
        harness.wait_until(lambda: os.path.exists("ready"), 20, "the program")
        name = f"socket[{os.fstat(ours.fileno()).st_ino}]"
        harness.must(harness.dump(pid, f"image{number}", "--tcp-established", "--external", name, *more))
        if more == ("-R",):
            os.kill(pid, 9)
        harness.wait_for(pid)
        for sock, other in ((ours, peer), (peer, ours)):
            other.settimeout(10)
            sock.sendall(b"still there")
            harness.expect(other.recv(100) == b"still there", f"the connection, after a dump with {more}")


# --- options --------------------------------------------------------------------------------------------------------

TIMESTAMPING = """
client, server = tcp_pair()
flags = 1 << 7 | 1 << 1 | 1 << 4  # SOF_TIMESTAMPING_OPT_ID, TX_SOFTWARE, SOFTWARE
for sock in (client, server):
    sock.setsockopt(socket.SOL_SOCKET, 37, flags)
ended, other = tcp_pair()
ended.setsockopt(socket.SOL_SOCKET, 37, flags)
other.close()
ended.recv(1)
ended.shutdown(socket.SHUT_WR)
time.sleep(0.1)
tell("ready")
wait_for("go")
client.send(b"on")
tell("result", (server.getsockopt(socket.SOL_SOCKET, 37) == flags, server.recv(10), attempt(lambda: ended.recv(1))))
"""


def timestamping():
    pid = start(TIMESTAMPING)
    for number in range(2):
        go_through(pid, f"image{number}", "--tcp-established")
    finish(str((True, b"on", b"")))


def timestamping_closed():
    pid = start(TIMESTAMPING.replace("client.send(b\"on\")", "").replace("server.recv(10)", "b''"))
    go_through(pid, "image", "--tcp-close")
    harness.kill_and_reap(pid)


FAST_OPEN = """
listener = socket.create_server(("127.0.0.1", 0))
client = socket.socket()
client.setsockopt(socket.IPPROTO_TCP, 30, 1)  # TCP_FASTOPEN_CONNECT
client.setsockopt(socket.IPPROTO_TCP, 34, 1)  # TCP_FASTOPEN_NO_COOKIE
client.connect(listener.getsockname())
client.send(b"early")
server = listener.accept()[0]
time.sleep(0.1)
tell("ready")
wait_for("go")
client.send(b" later")
time.sleep(0.2)
tell("result", b"".join(all_of(server)))
"""


def fast_open():
    pid = start(FAST_OPEN)
    for number in range(2):
        go_through(pid, f"image{number}", "--tcp-established")
    finish(str(b"early later"))


SHUT_READING = """
pairs = [tcp_pair() for _ in range(3)]
for client, server in pairs:
    client.send(b"unread")
time.sleep(0.1)
pairs[0][1].shutdown(socket.SHUT_RD)
pairs[1][1].shutdown(socket.SHUT_RDWR)
tell("ready")
wait_for("go")
got = []
for client, server in pairs:
    server.settimeout(3)
    got.append([attempt(lambda: server.recv(10)) if at == 0 or server is not pairs[2][1] else None for at in (0, 1)])
pairs[0][1].send(b"writes")
got.append(pairs[0][0].recv(10))
got.append(pairs[1][0].recv(10))
tell("result", got)
"""


def shut_reading():
    pid = start(SHUT_READING)
    for number in range(2):
        go_through(pid, f"image{number}", "--tcp-established")
    finish(str([[b"unread", b""], [b"unread", b""], [b"unread", None], b"writes", b""]))


# --- what the kernel does not have, or does not allow ---------------------------------------------------------------

# As a kernel answers that does not have the option (SO_PEEK_OFF of TCP: 6.10), or does not allow it (TCP_REPAIR).
HINDERED = """
import ctypes, os, struct, sys
level, option, code = map(int, sys.argv[1:4])
def jump(kind, value, yes, no):
    return struct.pack("HBBI", kind, yes, no, value)
rules = [jump(0x20, 0, 0, 0), jump(0x15, 54, 1, 0), jump(0x15, 55, 0, 5), jump(0x20, 24, 0, 0),
         jump(0x15, level, 0, 3), jump(0x20, 32, 0, 0), jump(0x15, option, 0, 1), jump(0x06, 0x50000 | code, 0, 0),
         jump(0x06, 0x7fff0000, 0, 0)]
program = ctypes.create_string_buffer(b"".join(rules))
head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(program)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, head, 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[4], sys.argv[4:])
"""


def hindered(level, option, code):
    return [sys.executable, "-c", HINDERED, str(level), str(option), str(code)]


PEEKED = """
client, server = tcp_pair()
if sys.argv[1] == "offset":
    try:
        for sock in (client, server):
            sock.setsockopt(socket.SOL_SOCKET, 42, 2)  # SO_PEEK_OFF
    except OSError:
        tell("lacking")
client.send(b"unread")
server.send(b"answer")
client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
time.sleep(0.1)
tell("ready")
wait_for("go")
looked = [sock.recv(2, socket.MSG_PEEK) for sock in (client, server)]
tell("result", (looked, client.recv(10), server.recv(10), client.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)))
"""


def no_peek_offset():
    pid = start(PEEKED, "plain")
    harness.must(harness.dump(pid, "image", "--tcp-established", prefix=hindered(1, 42, 95)))
    harness.wait_for(pid)
    harness.must(harness.restore("image", prefix=hindered(1, 42, 95)))
    finish(str(([b"an", b"un"], b"answer", b"unread", 1)))


def no_repair():
    """A dump that may not read connections leaves them as they are."""
    pid = start(PEEKED, "offset")
    expect_refused(harness.dump(pid, "image", "--tcp-established", prefix=hindered(6, 19, 1)), "EPERM")
    looked = [b"an", b"un"] if os.path.exists("lacking") else [b"sw", b"re"]
    finish(str((looked, b"answer", b"unread", 1)))


UNLISTED = """
import ctypes, fcntl
libc = ctypes.CDLL(None, use_errno=True)
home = os.open("/proc/self/ns/net", os.O_RDONLY)
if libc.unshare(0x40000000) != 0:  # CLONE_NEWNET
    tell("lacking")
with socket.socket() as control:
    fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS: up
client, server = tcp_pair()
libc.setns(home, 0)
os.close(home)
tell("ready")
wait_for("go")
client.send(b"on")
tell("result", server.recv(10))
"""


def unlisted():
    """A connection that sock_diag does not tell of must not be taken for a socket that has none."""
    pid = start(UNLISTED)
    if os.path.exists("lacking"):
        raise harness.Skip("no network namespace of our own")
    for number, options in enumerate(((), ("--tcp-established",))):
        expect_refused(harness.dump(pid, f"refused{number}", *options), "sock_diag")
    finish(str(b"on"))


harness.cases({name: in_directory(test) for name, test in (
    ("urgent", urgent), ("half_acknowledged", half_acknowledged), ("external", external),
    ("timestamping", timestamping), ("timestamping_closed", timestamping_closed), ("fast_open", fast_open),
    ("shut_reading", shut_reading), ("no_peek_offset", no_peek_offset), ("no_repair", no_repair),
    ("unlisted", unlisted))})

# ctest: TIMEOUT 120
# ctest: CASES udp_foreign udp_link_local udp_hindered udp_firewall udp_pending udp_nobody unix_outside in_flight ping ended peer_ids
"""Sockets whose other end is somebody else, or nobody any more."""

import ctypes
import fcntl
import os
import socket
import struct
import sys

import harness
from telling import HEAD, expect_refused, finish, go_through, in_directory, start

CLONE_NEWNET = 0x40000000
IFF_UP = 1


def set_interface(name, flags):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", name, flags))  # SIOCSIFFLAGS


def own_network():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise harness.Skip("no network namespace of our own: " + os.strerror(ctypes.get_errno()))
    set_interface(b"lo", IFF_UP)


def in_own_network(test):
    def run(directory):
        own_network()
        os.chdir(directory)
        test()

    return run


# --- UDP ------------------------------------------------------------------------------------------------------------


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def send_as(sender, port, target, data):
    """From an address that this machine does not have."""
    family = socket.AF_INET6 if ":" in sender else socket.AF_INET
    ends = socket.inet_pton(family, sender) + socket.inet_pton(family, target[0])
    bare = struct.pack("!HHHH", port, target[1], 8 + len(data), 0)
    total = checksum(ends + struct.pack("!II", 8 + len(data), 17) + bare + data) or 0xffff
    packet = bare[:6] + struct.pack("!H", total) + data
    if family == socket.AF_INET:
        packet = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(data), 0, 0, 61, 17, 0) + ends + packet
    else:
        packet = struct.pack("!IHBB", 6 << 28, 8 + len(data), 17, 61) + ends + packet
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(packet, (target[0], 0, *target[2:]))


UDP = """
family = int(sys.argv[1])
sock = socket.socket(family, socket.SOCK_DGRAM)
sock.bind((sys.argv[2], 7100))
sock.setblocking(False)
tell("ready")
wait_for("go")
got = []
try:
    while True:
        data, sender = sock.recvfrom(70000)
        got.append("%d bytes %s from %s" % (len(data), data[:8].decode(), sender))
except BlockingIOError:
    pass
tell("result", "; ".join(got))
"""


def udp_foreign():
    for family, bound, target, senders in (
            (socket.AF_INET, "0.0.0.0", "127.0.0.1", ("203.0.113.7", "198.51.100.9")),
            (socket.AF_INET6, "::1", "::1", ("2001:db8::7", "2001:db8:1::9"))):
        for name in ("ready", "go", "result"):
            if os.path.exists(name):
                os.unlink(name)
        pid = start(UDP, int(family), bound)
        for number in range(50):
            send_as(senders[number % 2], 5000 + number, (target, 7100), b"%d" % number)
        rest = () if family == socket.AF_INET else (0, 0)
        expected = "; ".join(f"{len(str(n))} bytes {n} from {(senders[n % 2], 5000 + n, *rest)}" for n in range(50))
        for number in range(3):
            images = f"image-{int(family)}-{number}"
            go_through(pid, images)
        finish(expected)


def udp_link_local():
    """The interface is a part of such a sender's address."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as line:  # RTM_NEWLINK of a veth
        kind = struct.pack("HH", 8, 1) + b"veth\0\0\0\0"
        info = struct.pack("HH", 4 + len(kind), 18) + kind
        name = struct.pack("HH", 9, 3) + b"mcr0\0\0\0\0"
        body = struct.pack("BxHiII", 0, 0, 0, 0, 0) + name + info
        line.send(struct.pack("=IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)
        if struct.unpack_from("=i", line.recv(4096), 16)[0] != 0:
            raise harness.Skip("no interface of the kind veth")
    with open("/proc/sys/net/ipv6/conf/mcr0/accept_dad", "w") as setting:
        setting.write("0")
    for interface in (b"mcr0", b"veth0"):
        set_interface(interface, IFF_UP)
    number = socket.if_nametoindex("mcr0")

    def own_address():
        lines = [line.split() for line in harness.read("/proc/net/if_inet6").splitlines()]
        return [line[0] for line in lines if line[5] == "mcr0" and line[4] == "80"]

    harness.wait_until(own_address, 10, "an address of the interface")
    target = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(own_address()[0]))
    pid = start(UDP, int(socket.AF_INET6), "::")
    send_as("fe80::77", 4000, (target, 7100, 0, number), b"near")
    harness.must(harness.dump_and_reap(pid, "image"))
    set_interface(b"mcr0", 0)
    expect_refused(harness.restore("image"), f"[fe80::77]:4000 on interface {number}, which has no address",
                   "restore where that interface is up")
    set_interface(b"mcr0", IFF_UP)
    harness.wait_until(own_address, 10, "an address of the interface")
    harness.must(harness.restore("image"))
    finish(f"4 bytes near from {('fe80::77', 4000, 0, number)}")


def set_mtu(size):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8922, struct.pack("16si20x", b"lo", size))  # SIOCSIFMTU


def udp_hindered():
    pid = start(UDP, int(socket.AF_INET), "127.0.0.1")
    send_as("203.0.113.7", 5000, ("127.0.0.1", 7100), b"kept" * 500)
    harness.must(harness.dump_and_reap(pid, "image"))
    set_interface(b"lo", 0)
    expect_refused(harness.restore("image"), "127.0.0.1:7100", "that is down", "ip link set lo up")
    set_interface(b"lo", IFF_UP)
    bounded = [sys.executable, "-c", "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 13, 0, 0, 0); "  # CAP_NET_RAW
               "os.execv(sys.argv[1], sys.argv[1:])"]
    expect_refused(harness.restore("image", prefix=bounded), "127.0.0.1:7100", "give mini-criu CAP_NET_RAW")
    set_mtu(1280)
    expect_refused(harness.restore("image"), "127.0.0.1:7100", "a packet of 2028 bytes", "ip link set lo mtu 2028")
    set_mtu(2028)
    harness.must(harness.restore("image"))
    finish("2000 bytes keptkept from ('203.0.113.7', 5000)")


def drop_udp(line):
    """A chain of nf_tables whose policy is to drop what comes in."""
    def attribute(kind, data):
        return struct.pack("HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)

    def message(kind, flags, family, resource, data=b""):
        body = struct.pack(">BBH", family, 0, resource) + data
        return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body

    name = attribute(1, b"drop\0")
    hook = attribute(0x8004, attribute(1, struct.pack(">I", 1)) + attribute(2, struct.pack(">I", 0)))
    chain = name + attribute(3, b"in\0") + hook + attribute(5, struct.pack(">I", 0)) + attribute(7, b"filter\0")
    line.send(message(16, 1, 0, 10) + message(10 << 8, 0x401, 1, 0, name) + message(10 << 8 | 3, 0x401, 1, 0, chain) +
              message(17, 1, 0, 10))


def udp_firewall():
    pid = start(UDP, int(socket.AF_INET), "127.0.0.1")
    for number in range(3):
        send_as("203.0.113.7", 5000, ("127.0.0.1", 7100), b"kept%d" % number)
    harness.must(harness.dump_and_reap(pid, "image"))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as line:
        drop_udp(line)
        expect_refused(harness.restore("image"), "datagram 1 of 3, from 203.0.113.7:5000", "does not arrive",
                       "see whether a firewall")
        body = struct.pack(">BBH", 1, 0, 0)
        begin, end = (struct.pack("=IHHII", 20, kind, 1, 1, 0) + struct.pack(">BBH", 0, 0, 10) for kind in (16, 17))
        line.send(begin + struct.pack("=IHHII", 20, 10 << 8 | 2, 1, 1, 0) + body + end)  # NFT_MSG_DELTABLE, all
    harness.must(harness.restore("image"))
    finish("; ".join(f"5 bytes kept{n} from ('203.0.113.7', 5000)" for n in range(3)))


PENDING = """
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
to = ("127.0.0.1", int(sys.argv[2]))
if sys.argv[1] == "cork":
    sock.setsockopt(socket.IPPROTO_UDP, 1, 1)
    sock.sendto(b"first ", to)
else:
    sock.sendto(b"first ", socket.MSG_MORE, to)
tell("ready")
wait_for("send")
sock.sendto(b"second", to)
if sys.argv[1] == "cork":
    sock.setsockopt(socket.IPPROTO_UDP, 1, 0)
tell("sent")
wait_for("go")
sock.sendto(b"third", to)
tell("result", "sent")
"""


def udp_pending():
    for how in ("cork", "more"):
        for name in ("ready", "send", "sent", "go", "result"):
            if os.path.exists(name):
                os.unlink(name)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", 0))
            receiver.settimeout(10)
            pid = start(PENDING, how, receiver.getsockname()[1])
            expect_refused(harness.dump(pid, "refused-" + how), "a datagram is being put together")
            open("send", "w").close()
            harness.wait_until(lambda: os.path.exists("sent"), 10, "the datagram, after a refused dump")
            harness.expect(receiver.recv(100) == b"first second", "the datagram has come apart")
            go_through(pid, "image-" + how)
            finish("sent")
            harness.expect(receiver.recv(100) == b"third", "a datagram after the restore")


def udp_nobody():
    """As DHCP clients send before they have an address."""
    pid = start(UDP, int(socket.AF_INET), "0.0.0.0")
    head = struct.pack("!BBHHHBBH4x", 0x45, 0, 28 + 5, 0, 0, 61, 17, 0) + b"\xff" * 4
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0x0008) as line:  # ETH_P_IP
        line.sendto(head + struct.pack("!HHHH", 68, 7100, 8 + 5, 0) + b"lease",
                    ("lo", 0x0800, 0, 1, bytes(6)))
    expect_refused(harness.dump(pid, "refused"), "a datagram without a sender's address waits in it")
    finish("5 bytes lease from ('0.0.0.0', 68)")


# --- unix sockets ---------------------------------------------------------------------------------------------------

OUTSIDE = """
stream = socket.socket(socket.AF_UNIX)
stream.connect("service")
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.connect("log")
stream.sendall(b"before")
tell("ready")
wait_for("go")
stream.sendall(b"after")
log.send(b"logged")
tell("result", stream.recv(100).decode())
"""


def unix_outside():
    service = socket.socket(socket.AF_UNIX)
    service.bind("service")
    service.listen(5)
    log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    log.bind("log")
    pid = start(OUTSIDE)
    first = service.accept()[0]
    harness.expect(first.recv(100) == b"before", "the first connection")
    before = harness.links(pid)
    expect_refused(harness.dump(pid, "refused"), f"{os.getpid()} (", "outside of the tree", "--ext-unix-sk")
    harness.expect(harness.links(pid) == before, "the refused dump has changed the program's descriptors")
    first.sendall(b"unread")
    expect_refused(harness.dump(pid, "refused2", "--ext-unix-sk"), "has sent what is not read yet")
    # The program reads it only at the end: another one, without.
    harness.kill_and_reap(pid)
    first.close()
    os.unlink("ready")
    pid = start(OUTSIDE)
    first = service.accept()[0]
    harness.must(harness.dump_and_reap(pid, "image", "--ext-unix-sk"))
    harness.must(harness.restore("image", "--ext-unix-sk"))
    service.settimeout(10)
    again = service.accept()[0]
    open("go", "w").close()
    again.settimeout(10)
    log.settimeout(10)
    harness.expect(again.recv(100) == b"after", "what comes over the new connection")
    harness.expect(log.recv(100) == b"logged", "a datagram to the same name")
    again.sendall(b"answer")
    finish("answer")


PEERS = """
listener = socket.socket(socket.AF_UNIX)
listener.bind("/tmp/" + sys.argv[1])
os.chmod("/tmp/" + sys.argv[1], 0o777)
listener.listen(5)
child = os.fork()
if child == 0:
    os.setgroups([4301, 4302])
    os.setgid(4242)
    os.setuid(4141)
    sock = socket.socket(socket.AF_UNIX)
    sock.connect("/tmp/" + sys.argv[1])
    wait_for("go")
    ids = struct.unpack("iii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    sock.sendall(("%d %d" % ids[1:]).encode())
    os._exit(0)
sock = listener.accept()[0]
def look():
    groups = sock.getsockopt(socket.SOL_SOCKET, 59, 400)  # SO_PEERGROUPS
    ids = struct.unpack("iii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1:]
    return "%d %d" % ids + " %s" % (struct.unpack("%dI" % (len(groups) // 4), groups),)
tell("first", look())
tell("ready")
wait_for("go")
tell("result", look() + " / " + sock.recv(100).decode())
os.unlink("/tmp/" + sys.argv[1])
"""


def peer_ids():
    """Processes of two users, each of which sees who the other is."""
    if os.geteuid() != 0:
        raise harness.Skip("needs root: processes of other users")
    name = f"mcr-test-{os.getpid()}.socket"
    os.chmod(".", 0o755)
    try:
        pid = start(PEERS, name)
        harness.expect(harness.read("first") == "4141 4242 (4301, 4302)", harness.read("first"))
        for number in range(2):
            go_through(pid, f"image{number}")
        finish("4141 4242 (4301, 4302) / 0 0")
    finally:
        if os.path.exists("/tmp/" + name):
            os.unlink("/tmp/" + name)


# --- TCP and ICMP ---------------------------------------------------------------------------------------------------

LISTENER = """
listener = socket.create_server(("127.0.0.1", 7200))
tell("ready")
wait_for("go")
listener.settimeout(10)
sock = listener.accept()[0]
tell("result", sock.recv(100).decode())
"""


def in_flight():
    pid = start(LISTENER)
    lost = socket.create_connection(("127.0.0.1", 7200))
    expect_refused(harness.dump(pid, "refused"), "1 connection at 127.0.0.1:7200 waits to be accepted",
                   "--skip-in-flight")
    harness.must(harness.dump_and_reap(pid, "image", "--skip-in-flight"))
    lost.settimeout(10)
    try:
        harness.expect(lost.recv(10) == b"", "something comes over the lost connection")
    except ConnectionResetError:
        pass
    harness.must(harness.restore("image"))
    with socket.create_connection(("127.0.0.1", 7200)) as fresh:
        fresh.sendall(b"fresh")
        finish("fresh")


ENDED = """
sock = socket.create_connection(("127.0.0.1", 7300))
tell("connected")
wait_for("closed")
sock.shutdown(socket.SHUT_WR)
while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != 7:
    time.sleep(0.01)
tell("ready")
wait_for("read")
tell("got", sock.recv(100).decode())
wait_for("go")
tell("result", sock.fileno() > 0)
"""


def ended():
    listener = socket.create_server(("127.0.0.1", 7300))
    pid = harness.start([sys.executable, "-c", HEAD + ENDED], "out")
    peer = listener.accept()[0]
    peer.sendall(b"unread")
    peer.close()
    open("closed", "w").close()
    harness.wait_until(lambda: os.path.exists("ready"), 20, "the end of the connection")
    expect_refused(harness.dump(pid, "refused"), "its connection has ended, and 6 bytes of it wait to be read")
    open("read", "w").close()
    harness.wait_until(lambda: harness.read("got") == "unread", 10, "the bytes, after a refused dump")
    go_through(pid)
    finish("True")


PING = """
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6)
def ping(sock, kind, target):
    sock.settimeout(10)
    sock.sendto(struct.pack("!BBHHH", kind, 0, 0, 0, 7) + b"hello", (target, 0))
    answer = sock.recv(100)
    return "%d %s %s" % (answer[0], answer[4:6] == struct.pack("!H", sock.getsockname()[1]), answer[8:].decode())
def both():
    return ping(sock, 8, "127.0.0.1") + ", " + ping(six, 128, "::1")
first = both()
number = sock.getsockname()[1], six.getsockname()[1]
tell("ready")
wait_for("go")
tell("result", "%s / %s / %s" % (first, both(), number == (sock.getsockname()[1], six.getsockname()[1])))
"""


def ping():
    with open("/proc/sys/net/ipv4/ping_group_range", "w") as groups:
        groups.write("0 2147483647")
    pid = start(PING)
    go_through(pid)
    answers = "0 True hello, 129 True hello"
    finish(f"{answers} / {answers} / True")


harness.cases({
    **{name: in_own_network(test) for name, test in (
        ("udp_foreign", udp_foreign), ("udp_link_local", udp_link_local), ("udp_hindered", udp_hindered),
        ("udp_firewall", udp_firewall), ("udp_pending", udp_pending), ("udp_nobody", udp_nobody),
        ("in_flight", in_flight), ("ended", ended), ("ping", ping))},
    "unix_outside": in_directory(unix_outside),
    "peer_ids": in_directory(peer_ids),
})

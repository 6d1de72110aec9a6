# ctest: TIMEOUT 180
# ctest: CASES streams4 streams6 mapped states while_away left_running failing killed_dump killed_restore skip methods named closed
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


# Connects to a port as often as there are states, brings each connection into its state, and looks at all of them when
# a file "check" is there.
STATES = """
import os, socket, struct, sys, time
NAMES = ("data", "fin_wait2", "close_wait", "fin_wait1", "last_ack", "closing")
WANTED = {"data": 1, "fin_wait2": 5, "close_wait": 8, "fin_wait1": 4, "last_ack": 9, "closing": 11}
PATTERN = bytes(i % 251 for i in range(251)) * 22
socks, filled = {}, {}
def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.005)
def tell(name, text=""):
    with open(name + ".part", "w") as file:
        file.write(text)
    os.rename(name + ".part", name)
def state(name):
    return socks[name].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
def fill(name):
    socks[name].setblocking(False)
    sent, idle = 0, 0
    while idle < 30:
        try:
            sent += socks[name].send(PATTERN[sent % 251:][:5020])
            idle = 0
        except BlockingIOError:
            idle += 1
            time.sleep(0.01)
    socks[name].setblocking(True)
    filled[name] = sent
for name in NAMES:
    socks[name] = socket.create_connection(("127.0.0.1", 7010))
socks["data"].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
socks["data"].sendall(bytes(i % 251 for i in range(50000)))
socks["fin_wait2"].shutdown(socket.SHUT_WR)
tell("connected")
wait_for("peer_closed")
fill("fin_wait1")
socks["fin_wait1"].shutdown(socket.SHUT_WR)
fill("last_ack")
socks["last_ack"].shutdown(socket.SHUT_WR)
fill("closing")
socks["closing"].shutdown(socket.SHUT_WR)
tell("filled", " ".join(str(filled[name]) for name in ("fin_wait1", "last_ack", "closing")))
def wrong():
    return [(name, state(name)) for name in NAMES if state(name) != WANTED[name]]
while wrong():
    time.sleep(0.01)
tell("ready")
wait_for("check")
end = time.time() + 5
while wrong() and time.time() < end:
    time.sleep(0.05)
bad = wrong()
if socks["data"].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 1:
    bad.append("TCP_NODELAY")
for name, text in (("data", b"d" * 3000), ("close_wait", b"last"), ("closing", b"c")):
    got = b""
    while len(got) < len(text):
        got += socks[name].recv(len(text) - len(got))
    if got != text:
        bad.append((name, got[:40]))
for name in ("close_wait", "last_ack", "closing"):
    if socks[name].recv(10) != b"":
        bad.append((name, "no end of file"))
tell("looked", str(bad))
socks["close_wait"].sendall(b"reply")
socks["close_wait"].close()
if socks["fin_wait2"].recv(100) != b"late":
    bad.append("fin_wait2: not what came late")
while not os.path.exists("peer_done"):
    time.sleep(0.01)
tell("result", "ok" if not bad else str(bad))
"""


def receive_all(sock, amount):
    data = b""
    while len(data) < amount:
        got = sock.recv(amount - len(data))
        harness.expect(got, f"an end after {len(data)} of {amount} bytes")
        data += got
    return data


def expect_pattern(sock, amount, what):
    data = receive_all(sock, amount)
    whole = bytes(i % 251 for i in range(251)) * (amount // 251 + 1)
    harness.expect(data == whole[:amount], what + ": other bytes than were sent")


def states():
    listener = socket.create_server(("127.0.0.1", 7010))
    pid = harness.start([sys.executable, "-c", STATES], "out")
    peers = {name: listener.accept()[0]
             for name in ("data", "fin_wait2", "close_wait", "fin_wait1", "last_ack", "closing")}
    for peer in peers.values():
        peer.settimeout(60)
    harness.wait_until(lambda: os.path.exists("connected"), 20, "the connections")
    peers["data"].sendall(b"d" * 3000)
    peers["close_wait"].sendall(b"last")
    peers["close_wait"].shutdown(socket.SHUT_WR)
    peers["last_ack"].shutdown(socket.SHUT_WR)
    open("peer_closed", "w").close()
    harness.wait_until(lambda: os.path.exists("filled"), 60, "full connections")
    peers["closing"].sendall(b"c")
    peers["closing"].shutdown(socket.SHUT_WR)
    harness.wait_until(lambda: os.path.exists("ready"), 20, "all states: " + harness.read("out.err"))
    amounts = dict(zip(("fin_wait1", "last_ack", "closing"), map(int, harness.read("filled").split())))
    for number in range(3):
        dump_locked(pid, f"image{number}")
        time.sleep(0.3)
        restore_unlocked(f"image{number}")
    open("check", "w").close()
    harness.wait_until(lambda: os.path.exists("looked"), 30, "a look at the states: " + harness.read("out.err"))
    harness.expect(harness.read("looked") == "[]", "after the restores: " + harness.read("looked"))
    expect_pattern(peers["data"], 50000, "data")
    harness.expect(peers["fin_wait2"].recv(10) == b"", "fin_wait2: no end of file")
    peers["fin_wait2"].sendall(b"late")
    harness.expect(receive_all(peers["close_wait"], 5) == b"reply", "close_wait: no reply")
    harness.expect(peers["close_wait"].recv(10) == b"", "close_wait: no end of file")
    for name, amount in amounts.items():
        expect_pattern(peers[name], amount, name)
        harness.expect(peers[name].recv(10) == b"", name + ": no end of file")
    open("peer_done", "w").close()
    harness.wait_until(lambda: os.path.exists("result"), 30, "the result")
    harness.expect(harness.read("result") == "ok", harness.read("result"))


# One connection, to a listener of the test; gives back what comes.
ECHO = """
import socket
sock = socket.create_connection(("127.0.0.1", 7020))
open("ready", "w").close()
while True:
    got = sock.recv(1000)
    if not got:
        break
    sock.sendall(got)
"""


def echo_program():
    listener = socket.create_server(("127.0.0.1", 7020))
    pid = harness.start([sys.executable, "-c", ECHO], "out")
    peer = listener.accept()[0]
    peer.settimeout(30)
    harness.wait_until(lambda: os.path.exists("ready"), 10, "the program")
    return pid, peer


def expect_echo(peer, text):
    peer.sendall(text)
    harness.expect(receive_all(peer, len(text)) == text, "another answer")


def while_away():
    """The other end speaks while there is nobody, and hears the answer when there is."""
    pid, peer = echo_program()
    expect_echo(peer, b"before")
    dump_locked(pid, "image")
    peer.sendall(b"while away")
    time.sleep(1.5)
    restore_unlocked("image")
    harness.expect(receive_all(peer, 10) == b"while away", "another answer")
    expect_echo(peer, b"after")


def left_running():
    pid, peer = echo_program()
    for option in ("--leave-running", "--leave-stopped"):
        harness.must(harness.dump(pid, "image" + option, "--tcp-established", option))
        expect_no_table(option)
        os.kill(pid, signal.SIGCONT)
        expect_echo(peer, b"left")


def failing():
    """A dump that fails when the packets are kept away already."""
    pid, peer = echo_program()
    result = harness.dump(pid, "image", "--tcp-established", prefix=("prlimit", "--fsize=2000"))
    harness.expect(result.code != 0, "the dump did not fail: " + str(result))
    expect_no_table("after a dump that failed")
    expect_echo(peer, b"unharmed")


def killed_dump():
    chance = harness.seeded()
    pid, _ = connected_pair(socket.AF_INET, "127.0.0.1", 7004)
    ended = 0
    for number in range(25):
        images = f"image{number}"
        harness.run_killed(["dump", "-t", pid, "-D", images, "--tcp-established"], chance.uniform(0.01, 0.2))
        time.sleep(0.05)
        if harness.field(pid, "State")[:1] in ("R", "S", "D", "t", "T"):
            harness.wait_until(lambda: tables() == [], 6, f"no table after a killed dump, not {tables()}")
        else:
            ended += 1
            harness.wait_for(pid)
            harness.wait_until(lambda: len(tables()) == 1, 5, f"one table, not {tables()}")
            restore_unlocked(images)
        expect_talk()
    print(f"{ended} of 25 dumps had ended the program")
    finish_talk()


def killed_restore():
    chance = harness.seeded()
    pid, _ = connected_pair(socket.AF_INET, "127.0.0.1", 7005)
    lived = 0
    for number in range(15):
        dump_locked(pid, f"image{number}")
        harness.run_killed(["restore", "-d", "-D", f"image{number}", "--tcp-established"], chance.uniform(0.002, 0.05))
        time.sleep(0.1)
        if harness.exists(pid) and harness.field(pid, "State")[:1] != "Z":
            lived += 1
        else:
            harness.expect(len(tables()) == 1, f"one table after a killed restore, not {tables()}")
            harness.reap_all()
            restore_unlocked(f"image{number}")
        harness.wait_until(lambda: tables() == [], 6, f"no table, not {tables()}")
        expect_talk()
    print(f"{lived} of 15 restores had been complete")
    finish_talk()


def skip():
    """Without a lock the kernel tells the other end at once that there is nobody: what the lock is for."""
    pid, peer = echo_program()
    harness.must(harness.dump_and_reap(pid, "image", "--tcp-established", "--network-lock", "skip"))
    expect_no_table("with --network-lock skip")
    peer.sendall(b"anybody?")
    try:
        harness.expect(peer.recv(10) == b"never", "nothing was told")
    except ConnectionResetError:
        return
    raise harness.Failure("the other end was not told")


def methods():
    pid, _ = echo_program()
    result = harness.dump(pid, "image", "--tcp-established", "--network-lock", "iptables")
    harness.expect(result.code == 2 and "iptables" in result.text, str(result))
    harness.expect(harness.dump(pid, "image").code == 1, "saved without --tcp-established")


def remove_table(name):
    def message(kind, flags, family, body, resource=0):
        body = struct.pack(">BBH", family, 0, resource) + body
        return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body

    name = name.encode() + b"\0"
    attribute = struct.pack("=HH", 4 + len(name), 1) + name + b"\0" * (-len(name) % 4)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as line:
        line.send(message(0x10, 1, 0, b"", 10) + message(10 << 8 | 2, 5, 1, attribute) + message(0x11, 1, 0, b"", 10))
        line.recv(4096)
    expect_no_table("after its removal")


def named():
    """A restore that fails names the table and how to remove it; one without the table says so, and goes on."""
    pid, peer = echo_program()
    dump_locked(pid, "image")
    name = tables()[0]
    harness.expect(f"nft delete table inet {name}" in harness.read("image/dump.log"), "the log does not name the table")
    failed = harness.restore("image", "--inherit-fd", "fd[1]:pipe[1]")
    harness.expect(failed.code != 0 and f"nft delete table inet {name}" in failed.text, str(failed))
    remove_table(name)
    result = harness.must(harness.restore("image", "--tcp-established"))
    harness.expect("no longer kept away" in result.text + harness.read("image/restore.log"), str(result))
    expect_echo(peer, b"nobody had asked meanwhile")


def closed():
    """--tcp-close: a closed socket afterwards, and nothing stays in the way."""
    for command in ("dump", "restore"):
        if os.path.exists("ready"):
            os.unlink("ready")
        pid, peer = echo_program()
        images = "image-" + command
        if command == "dump":
            harness.must(harness.dump_and_reap(pid, images, "--tcp-close"))
            expect_no_table("dump --tcp-close")
            harness.must(harness.restore(images))
        else:
            dump_locked(pid, images)
            harness.must(harness.restore(images, "--tcp-close"))
            expect_no_table("restore --tcp-close")
        # It reads that there is no more, and ends well.
        harness.expect(harness.wait_for(pid, 10) == 0, f"the program failed: {harness.read('out.err')}")
        peer.close()


def alone(test):
    def run(directory):
        own_network()
        os.chdir(directory)
        test()

    return run


harness.cases({name: alone(test) for name, test in (
    ("streams4", streams4), ("streams6", streams6), ("mapped", mapped), ("states", states),
    ("while_away", while_away), ("left_running", left_running), ("failing", failing), ("killed_dump", killed_dump),
    ("killed_restore", killed_restore), ("skip", skip), ("methods", methods), ("named", named),
    ("closed", closed))})

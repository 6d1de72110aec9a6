# ctest: TIMEOUT 120
# ctest: CASES urgent reset_packets waiting_ids taken_file
"""Unix sockets that a dump must refuse, those of several users, and those whose files others have."""

import os
import socket

import harness
from telling import expect_refused, finish, go_through, in_directory, start

URGENT = """
a, b = socket.socketpair()
a.send(b"abc")
a.send(b"X", socket.MSG_OOB)
a.send(b"def")
tell("ready")
wait_for("read")
urgent = b.recv(1, socket.MSG_OOB)
tell("has_read")
wait_for("go")
text = b""
while len(text) < 6:
    text += b.recv(100)
tell("result", (urgent + b" " + text).decode())
"""


def urgent():
    """A byte that is sent with MSG_OOB has a place among the others that only its reader learns."""
    pid = start(URGENT)
    expect_refused(harness.dump(pid, "refused"), "urgent data waits in socket", "MSG_OOB")
    open("read", "w").close()
    harness.wait_until(lambda: os.path.exists("has_read"), 10, "the program, after a refused dump")
    go_through(pid)
    finish("X abcdef")


RESET_PACKETS = """
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
a.send(b"data")
b.send(b"unread")
a.close()
tell("ready")
wait_for("go")
try:
    b.recv(100)
    tell("result", "the error is gone")
except ConnectionResetError:
    tell("result", "reset, " + b.recv(100).decode())
"""


def reset_packets():
    """Every look at a packet takes the error that is to be read before it."""
    pid = start(RESET_PACKETS)
    expect_refused(harness.dump(pid, "refused"), "has an error for its owner to read")
    finish("reset, data")


# A server, and two clients that wait to be accepted when the file is out of the reach of the one of another user.
WAITING_IDS = """
os.mkdir(sys.argv[1])
os.chmod(sys.argv[1], 0o755)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + "/socket")
os.chmod(sys.argv[1] + "/socket", 0o777)
listener.listen(5)
late = sys.argv[2] == "late"
for number in range(2):
    line = socket.socketpair()
    if os.fork() == 0:
        line[0].close()
        listener.close()
        if late:
            sock = socket.socket(socket.AF_UNIX)
        if number == 1:
            os.setgroups([4301, 4302])
            os.setgid(4242)
            os.setuid(4141)
        if not late:
            sock = socket.socket(socket.AF_UNIX)
        sock.connect(sys.argv[1] + "/socket")
        line[1].sendall(b"x")
        while True:
            time.sleep(1000)
    line[0].recv(1)
    line[0].close()
    line[1].close()
os.chmod(sys.argv[1] + "/socket", 0o700)
os.chmod(sys.argv[1], 0o700)
tell("ready")
wait_for("go")
def look():
    sock = listener.accept()[0]
    groups = sock.getsockopt(socket.SOL_SOCKET, 59, 400)  # SO_PEERGROUPS
    ids = struct.unpack("iii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1:]
    return "%d %d" % ids + (" %s" % (struct.unpack("%dI" % (len(groups) // 4), groups),) if ids[0] else "")
tell("result", look() + " / " + look())
"""


def waiting_ids():
    """Who accepts a connection after the restore sees the user that made it, and not root."""
    if os.geteuid() != 0:
        raise harness.Skip("needs root: processes of other users")
    pid = start(WAITING_IDS, os.path.abspath("first"), "early")
    for number in range(2):
        go_through(pid, f"image{number}")
    finish("0 0 / 4141 4242 (4301, 4302)")
    harness.end_all_children()
    for name in ("ready", "go", "result"):
        os.unlink(name)
    # Made by root, connected by nobody can tell whom.
    pid = start(WAITING_IDS, os.path.abspath("second"), "late")
    expect_refused(harness.dump(pid, "refused"), "cannot be told with which ids it was connected",
                   "it is of 0:0, process", "is 4141:4242 now")
    finish("0 0 / 4141 4242 (4301, 4302)")


BOUND = """
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(5)
tell("ready")
wait_for("go")
listener.settimeout(10)
tell("result", listener.accept()[0].recv(100).decode())
"""


def taken_file():
    """A file that another program's socket has is not replaced, whatever that program calls it."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        pid = start(BOUND, os.path.abspath("name"))
        image = f"image{kind}"
        harness.must(harness.dump_and_reap(pid, image))
        os.unlink("name")
        with socket.socket(socket.AF_UNIX, kind) as other:
            other.bind("name")
            inode = os.stat("name").st_ino
            expect_refused(harness.restore(image), "another socket has this name")
            harness.expect(os.stat("name").st_ino == inode, "the file of another program was replaced")
        harness.must(harness.restore(image))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("name")
            client.sendall(b"through")
            finish("through")
        harness.end_all_children()
        for name in ("ready", "go", "result", "name"):
            os.unlink(name)


harness.cases({test.__name__: in_directory(test) for test in (urgent, reset_packets, waiting_ids, taken_file)})

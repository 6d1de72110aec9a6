# ctest: TIMEOUT 120
# ctest: CASES urgent reset_packets
"""Unix sockets that a dump must refuse."""

import os

import harness
from socket_programs import expect_refused, finish, go_through, in_directory, start

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


harness.cases({test.__name__: in_directory(test) for test in (urgent, reset_packets)})

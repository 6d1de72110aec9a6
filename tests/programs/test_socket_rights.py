# ctest: TIMEOUT 60
# ctest: CASES port mark raw owner accepted connection peer message lease
"""What a restore lacks the right for is told before anything is created. The program is an ordinary user's, with
descriptors that root has made for it; root restores it without one right, which is named, and then with all."""

import fcntl
import os
import shutil
import socket
import sys

import harness

USER = 1000
PROGRAM = "import os, time\nopen('ready', 'w').close()\nwhile True: time.sleep(0.01)\n"
PASS_CREDENTIALS = 16


def dumped(directory, descriptors, *options):
    """A program of the user's with these descriptors, saved; they are closed here."""
    os.chmod(directory, 0o777)
    for each in descriptors:
        os.set_inheritable(each.fileno(), True)
    ready = os.path.join(directory, "ready")
    pid = harness.start(["setpriv", "--reuid", str(USER), "--regid", str(USER), "--clear-groups", sys.executable, "-c",
                         PROGRAM], os.path.join(directory, "output"), cwd=directory)
    for each in descriptors:
        each.close()
    harness.wait_until(lambda: os.path.exists(ready), 10, "the program")
    images = os.path.join(directory, "images")
    harness.dump_and_reap(pid, images, *options)
    return pid, images


def expect_refused(directory, descriptors, rights, *patterns, options=()):
    """rights: those that mini-criu lacks."""
    pid, images = dumped(directory, descriptors, *options)
    without = ",".join("-" + right for right in rights)
    result = harness.restore(images, *options, prefix=("setpriv", "--bounding-set", without, "--inh-caps", without))
    harness.expect(result.code == 1 and "nothing was created" in result.text, f"without {rights}: {result}")
    for pattern in patterns:
        harness.expect(pattern in result.text, f"'{pattern}' was expected: {result}")
    harness.must(harness.restore(images, *options))
    harness.kill_and_reap(pid)


def port(directory):
    for kind, name in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
        place = os.path.join(directory, name)
        os.mkdir(place)
        it = socket.socket(socket.AF_INET, kind)
        address = f"127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
        it.bind((address, 81))
        if kind == socket.SOCK_STREAM:
            it.listen()
        expect_refused(place, [it], ["net_bind_service"], f"{name} socket {address}:81: is bound to port 81",
                       "CAP_NET_BIND_SERVICE is the right that is missing")


def mark(directory):
    """Two that differ in nothing else, and one that has no mark."""
    made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for it in made[:2]:
        it.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)
    expect_refused(directory, made, ["net_admin", "net_raw"], "has option 36 of level 1 (SO_MARK)",
                   "CAP_NET_ADMIN is the right that is missing")


def raw(directory):
    expect_refused(directory, [socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)], ["net_raw"],
                   "raw socket: cannot be made here", "CAP_NET_RAW")


def owner(directory):
    it = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    os.fchown(it.fileno(), 1234, 1234)
    expect_refused(directory, [it], ["chown"], "has the owner 1234:1234", "CAP_CHOWN is the right that is missing")


def accepted(directory):
    """A connection that was accepted has the name of its listener, and no file."""
    listener, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    listener.bind(f"{directory}/name")
    listener.listen()
    client.connect(f"{directory}/name")
    server, _ = listener.accept()
    expect_refused(directory, [listener, client, server], ["sys_chroot"], f"unix socket {directory}/name: has a name",
                   "CAP_SYS_CHROOT")


def connection(directory):
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    expect_refused(directory, [listener, client, server], ["net_admin"], "is an open connection, which is made by TCP_REPAIR",
                   "CAP_NET_ADMIN is the right that is missing", options=["--tcp-established"])


def peer(directory):
    """Whoever had made the two."""
    os.setresgid(-1, 1234, -1), os.setresuid(-1, 1234, -1)
    made = socket.socketpair()
    os.setresuid(-1, 0, -1), os.setresgid(-1, 0, -1)
    expect_refused(directory, made, ["setuid"], "is known to belong to user 1234 and group 1234 (SO_PEERCRED)", "CAP_SETUID")


def message(directory):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setsockopt(socket.SOL_SOCKET, PASS_CREDENTIALS, 1)
    theirs.send(b"waits")
    expect_refused(directory, [ours, theirs], ["sys_admin"], "holds a message that tells who has sent it", "CAP_SYS_ADMIN")


def lease(directory):
    path = os.path.join(directory, "leased")
    open(path, "w").close()
    os.chown(path, USER, USER)
    it = open(path)
    fcntl.fcntl(it.fileno(), fcntl.F_SETLEASE, fcntl.F_RDLCK)
    fcntl.fcntl(it.fileno(), fcntl.F_SETOWN, 0)  # the lease has made it this process
    expect_refused(directory, [it], ["lease"], f"{path}: the program had a read lease (F_SETLEASE), and the file is user 1000's",
                   "CAP_LEASE is the right that is missing", options=["--file-locks"])


if os.geteuid() != 0 or not shutil.which("setpriv"):
    print("SKIPPED: it takes root and setpriv to become another user")
    sys.exit(77)
harness.cases({case: globals()[case] for case in
               ("port", "mark", "raw", "owner", "accepted", "connection", "peer", "message", "lease")})

# ctest: TIMEOUT 120
# ctest: CASES lazy plain streams server_killed server_gone damaged altered others_image last_one refusals hostile hostile_server sent sent_refused sent_cut sent_full taker_killed strangers
"""restore --page-server: an image that another host has, read over a connection; dump --page-server: one that goes there.
The program is whole, or nothing has happened."""

import json
import os
import random
import signal
import socket
import struct
import subprocess
import threading
import time

import counting
import harness

PROGRAM = os.path.join(harness.WORKLOADS, "lazy-pages")


class Server:
    """mini-criu lazy-pages or page-server, on a free port."""

    def __init__(self, command, *arguments, port=0):
        self.process = subprocess.Popen([harness.ENGINE, command, "--json", "--port", str(port), *map(str, arguments)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        harness.expect(line, "the server does not start: " + ("" if line else self.process.stderr.read()))
        self.port = json.loads(line)["port"]

    def end(self, code=0, limit=30):
        """Its last word, after it has ended by itself."""
        output, errors = self.process.communicate(timeout=limit)
        harness.expect(self.process.returncode == code, f"the server has ended with {self.process.returncode}: {errors}")
        return json.loads(output) if output else {}, errors

    def kill(self):
        self.process.kill()
        self.process.communicate()


def restore_from(port, directory, *options):
    return harness.engine("restore", "--page-server", "--port", port, "-d", "-W", directory, "-o", "restore.log", "-v4",
                          *options)


def dump_to(port, directory, pid, *options):
    return harness.engine("dump", "-t", pid, "--page-server", "--port", port, "-W", directory, "-o", "dump.log", "-v4",
                          *options)


def prepared(directory, mib, rounds, *options):
    output, images = os.path.join(directory, "out"), os.path.join(directory, "images")
    pid = harness.start([PROGRAM, directory, str(mib), str(rounds)], output)
    harness.wait_until(lambda: "READY" in harness.read(output), 30, "READY")
    harness.dump_and_reap(pid, images, "--no-sync", *options)
    open(os.path.join(directory, "go"), "w").close()
    return pid, images


def expect_right(directory, pid):
    output = os.path.join(directory, "out")

    def said():
        text = harness.read(output)
        return "RIGHT" in text or "WRONG" in text or harness.field(pid, "State")[:1] in ("", "Z")

    harness.wait_until(said, 60, "what the program says")
    log = os.path.join(directory, "restore.log")
    harness.expect("RIGHT" in harness.read(output) and "WRONG" not in harness.read(output),
                   f"{harness.read(output)}\n{harness.read(log) if os.path.exists(log) else ''}")


def restored(directory, *dump_options, lazy=True, mib=48, rounds=4000):
    pid, images = prepared(directory, mib, rounds, *dump_options)
    server = Server("lazy-pages", images)
    harness.must(restore_from(server.port, directory, *(["--lazy-pages"] if lazy else [])))
    expect_right(directory, pid)
    words, _ = server.end()
    whole = sum(os.stat(os.path.join(images, name)).st_size for name in os.listdir(images))
    harness.expect(0 < words["bytes"] <= 2 * whole, f"{words} of {whole}")
    harness.no_helpers(pid)
    harness.kill_and_reap(pid)


def lazy(directory):
    restored(directory)


def plain(directory):
    restored(directory, lazy=False)


def streams(directory):
    restored(directory, "--stream", "3")


def server_killed(directory):
    """Killed and started again at the same port, again and again: the program waits, and misses nothing."""
    chance = harness.seeded()
    pid, images = prepared(directory, 192, 40000)
    server = Server("lazy-pages", images)
    harness.must(restore_from(server.port, directory, "--lazy-pages"))
    killed = 0
    for _ in range(8):
        time.sleep(chance.uniform(0, 0.04))
        if server.process.poll() is not None:
            break
        server.kill()
        killed += 1
        server = Server("lazy-pages", images, port=server.port)
    expect_right(directory, pid)
    if server.process.poll() is None:
        server.end()
    harness.expect(killed >= 2, f"only {killed} servers were killed")
    harness.no_helpers(pid)


def server_gone(directory):
    """Before the program runs: an error, and nothing is left of it."""
    pid, images = prepared(directory, 16, 0)
    server = Server("lazy-pages", images)
    server.kill()
    result = restore_from(server.port, directory)
    harness.expect(result.code == 1 and f"127.0.0.1:{server.port}" in result.text and "lazy-pages" in result.text,
                   str(result))
    harness.no_helpers()
    server = Server("lazy-pages", images)
    harness.must(restore_from(server.port, directory))
    server.end()
    expect_right(directory, pid)


def damaged(directory):
    """A byte of memory that was altered on the server's disk: the page is SIGBUS, never wrong."""
    pid, images = prepared(directory, 32, 0)
    pages = os.path.join(images, f"pages-{pid}.img")
    with open(pages, "r+b") as stream:
        stream.seek(harness.stored_place(pages))
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))
    server = Server("lazy-pages", images)
    harness.must(restore_from(server.port, directory, "--lazy-pages"))
    harness.wait_until(lambda: "are lost" in harness.read(os.path.join(directory, "restore.log")), 30, "the log")
    log = harness.read(os.path.join(directory, "restore.log"))
    harness.expect(f"pages-{pid}.img" in log and "SIGBUS" in log, log)
    harness.expect("WRONG" not in harness.read(os.path.join(directory, "out")), "wrong data")
    server.end()
    server = Server("lazy-pages", images)
    harness.kill_and_reap(pid)
    harness.no_helpers(server.process.pid)
    result = restore_from(server.port, directory, "--file-validation", "none")
    harness.expect(result.code == 1 and f"pages-{pid}.img" in result.text, str(result))
    server.kill()


def altered(directory):
    """What describes the program is checked before anything is made of it."""
    pid, images = prepared(directory, 16, 0)
    core = os.path.join(images, f"core-{pid}.img")
    whole = harness.read(core, "rb")
    with open(core, "wb") as stream:
        stream.write(whole[:100] + bytes([whole[100] ^ 4]) + whole[101:])
    server = Server("lazy-pages", images)
    result = restore_from(server.port, directory, "--lazy-pages")
    harness.expect(result.code == 1 and f"core-{pid}.img" in result.text, str(result))
    server.kill()
    os.unlink(core)
    result = harness.engine("lazy-pages", images)
    harness.expect(result.code == 1 and f"core-{pid}.img" in result.text, str(result))
    harness.no_helpers()


def others_image(directory):
    """A server that comes back with another image: what is missing is waited for, and never taken of another program."""
    pid, images = prepared(directory, 192, 0)
    another, _ = counting.start(directory)
    harness.must(harness.dump(another, os.path.join(directory, "other")))
    server = Server("lazy-pages", images)
    harness.must(restore_from(server.port, directory, "--lazy-pages"))
    server.kill()
    server = Server("lazy-pages", os.path.join(directory, "other"), port=server.port)

    def is_over():
        log = harness.read(os.path.join(directory, "restore.log"))
        return "has another image by now" in log or "all memory is there" in log

    harness.wait_until(is_over, 30, "the log")
    server.kill()
    server = Server("lazy-pages", images, port=server.port)
    expect_right(directory, pid)
    server.end()


def last_one(directory):
    """A server ends with the last who needs it, and not with the first who has all."""
    pid, images = prepared(directory, 16, 0)
    server = Server("lazy-pages", images)
    with socket.create_connection(("127.0.0.1", server.port), 10) as another:
        another.sendall(b"MCRASK01" + struct.pack("<IIQQ", 1, 13, 0, 0) + b"inventory.img")
        harness.expect(another.recv(8) == b"MCRHAS01", "it does not answer")
        harness.must(restore_from(server.port, directory, "--lazy-pages"))
        expect_right(directory, pid)
        harness.no_helpers(pid, server.process.pid)
        time.sleep(2)
        harness.expect(server.process.poll() is None, "the server has ended under another client")
    server.end()


def refusals(directory):
    def expect(code, *words, result):
        harness.expect(result.code == code and all(word in result.text for word in words), str(result))

    expect(2, "--port", result=harness.engine("restore", "--page-server"))
    expect(2, "-D", result=harness.engine("restore", "--page-server", "--port", 9, "-D", directory))
    expect(2, "--page-server", result=harness.engine("dump", "-t", os.getpid(), "--port", 9, "-D", directory))
    expect(2, "--page-server", result=harness.engine("restore", "--lazy-pages", "--address", "there", "-D", directory))
    expect(2, "--stream", result=harness.engine("dump", "-t", os.getpid(), "--page-server", "--port", 9, "--stream", 2))
    expect(2, "--port", "70000", result=harness.engine("lazy-pages", directory, "--port", 70000))
    expect(1, "no.such.host.invalid",
           result=harness.engine("page-server", "-D", directory, "--address", "no.such.host.invalid"))
    expect(1, "inventory.img", result=harness.engine("lazy-pages", directory))
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    expect(1, f"127.0.0.1:{port}", result=harness.engine("page-server", "-D", directory, "--port", port))
    pid, _ = counting.start(directory)
    first, second = os.path.join(directory, "first"), os.path.join(directory, "second")
    harness.must(harness.engine("pre-dump", "-t", pid, "-D", first))
    harness.must(harness.engine("dump", "-t", pid, "-D", second, "--prev-images-dir", "../first"))
    expect(1, "merge", result=harness.engine("lazy-pages", second))
    expect(1, "pre-dump", result=harness.engine("lazy-pages", first))


def hostile(directory):
    """A server gets nonsense: it says no, or hangs up, and goes on serving others. Nothing but the image is given."""
    pid, images = prepared(directory, 16, 0)
    open(os.path.join(images, "secret"), "w").write("x" * 100)
    server = Server("lazy-pages", images)
    mark = b"MCRASK01"

    def talk(*questions, enough=0):
        """What the server answers: so many bytes, however long they take, or, of 0, what comes soon."""
        with socket.create_connection(("127.0.0.1", server.port), 10) as line:
            for question in questions:
                try:
                    line.sendall(question)
                except (BrokenPipeError, ConnectionResetError):
                    break
            answer = b""
            line.settimeout(20 if enough else 0.3)
            try:
                while not enough or len(answer) < enough:
                    part = line.recv(1 << 16)
                    if not part:
                        break
                    answer += part
            except (TimeoutError, ConnectionResetError):
                pass
            return answer

    def is_refused(*questions):
        return talk(mark, *questions, enough=28)[24:28] == struct.pack("<I", 1)

    def ask(what, name, offset=0, length=0):
        return struct.pack("<IIQQ", what, len(name), offset, length) + name

    harness.expect(b"MCRHAS01" not in talk(b"GET / HTTP/1.0\r\n\r\n"), "it answers anybody")
    for name in (b"secret", b"../out", b"/etc/passwd", b"", b"\0", b"inventory.img\0", b".", b".."):
        harness.expect(is_refused(ask(2, name, 0, 100)), f"it gives {name}")
        harness.expect(is_refused(ask(1, name)), f"it has {name}")
    size = os.stat(os.path.join(images, "inventory.img")).st_size
    for offset, length in [(0, size + 1), (size, 1), (2**64 - 1, 1), (1, 2**64 - 1), (0, 2**40), (2**63, 2**63)]:
        harness.expect(is_refused(ask(2, b"inventory.img", offset, length)), str(offset))
    harness.expect(is_refused(struct.pack("<IIQQ", 2, 1 << 31, 0, 0)), "a long name")
    harness.expect(is_refused(ask(77, b"x")), "an unknown question")
    chance = random.Random(harness.seeded().random())
    for _ in range(40):
        talk(mark, chance.randbytes(chance.randrange(200)).replace(b"\x03", b"\x04"))
    lines = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(80)]
    for line in lines:
        line.close()
    harness.must(restore_from(server.port, directory, "--lazy-pages"))
    expect_right(directory, pid)
    server.end()


def hostile_server(directory):
    """Whatever a server says: an error that names it, soon, and nothing made of it."""
    mark = b"MCRHAS01" + bytes(16)
    for number, words in enumerate((b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", mark, mark + struct.pack("<IIQ", 0, 0, 1 << 62),
                                    mark + struct.pack("<IIQ", 0, 0, 1 << 29), mark + struct.pack("<IIQ", 1, 0, 1 << 40),
                                    mark + struct.pack("<IIQ", 9, 9, 9), mark + struct.pack("<IIQ", 1, 0, 5) + b"never",
                                    mark + struct.pack("<IIQ", 0, 0, 60) + struct.pack("<IIQ", 0, 0, 60) + bytes(60))):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            stop = threading.Event()

            def answer():
                listener.settimeout(0.1)
                while not stop.is_set():
                    try:
                        line, _ = listener.accept()
                    except TimeoutError:
                        continue
                    with line:
                        line.sendall(words)
                        line.settimeout(0.05)
                        try:
                            while line.recv(4096):
                                pass
                        except OSError:
                            pass

            thread = threading.Thread(target=answer)
            thread.start()
            began = time.monotonic()
            result = restore_from(port, directory)
            stop.set()
            thread.join()
        harness.expect(result.code == 1 and f"127.0.0.1:{port}" in result.text or "inventory.img" in result.text,
                       f"{number}: {result}")
        harness.expect(time.monotonic() - began < 15, f"{number}: {time.monotonic() - began} s")
    harness.no_helpers()


def sent(directory):
    """The program goes on from what was sent; the one that was dumped has ended."""
    pid, path = counting.start(directory)
    images = os.path.join(directory, "images")
    server = Server("page-server", "-D", images)
    harness.must(dump_to(server.port, directory, pid))
    words, _ = server.end()
    harness.wait_for(pid)
    harness.expect(words["files"] == len(os.listdir(images)), f"{words}, {os.listdir(images)}")
    harness.must(harness.engine("verify", images))
    harness.must(harness.restore(images))
    counting.expect_progress(path, "after it was sent")


def sent_refused(directory):
    """No server, one that is none, or a folder that cannot be: the program goes on."""
    pid, path = counting.start(directory)
    before = harness.state_of(pid)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def answer():
        line, _ = listener.accept()
        line.sendall(b"220 mail.example.com ESMTP\r\n")
        line.close()

    stranger = threading.Thread(target=answer)
    stranger.start()
    result = dump_to(port, directory, pid)
    harness.expect(result.code == 1 and "page-server" in result.text, str(result))
    stranger.join()
    listener.close()
    result = dump_to(port, directory, pid)
    harness.expect(result.code == 1 and f"127.0.0.1:{port}" in result.text, str(result))
    harness.expect_unharmed(pid, before, "after a dump that was refused")
    counting.expect_progress(path, "after a dump that was refused")


def sent_cut(directory):
    """Somebody between the two alters or cuts what is sent: the folder keeps what it had, and the program goes on."""
    chance = harness.seeded()
    pid, path = counting.start(directory)
    images = os.path.join(directory, "images")
    harness.must(harness.dump(pid, images, "-R"))
    had = {name: harness.read(os.path.join(images, name), "rb") for name in os.listdir(images)}
    for number in range(12):
        server = Server("page-server", "-D", images)
        relay = Relay(server.port, chance.randrange(30, sum(map(len, had.values()))), cuts=number % 2 == 0)
        result = dump_to(relay.port, directory, pid)
        relay.end()
        if relay.harmed:
            harness.expect(result.code == 1, f"{relay.harmed}: {result}")
            server.end(code=1)
            harness.expect({name: harness.read(os.path.join(images, name), "rb") for name in os.listdir(images)} == had,
                           f"{relay.harmed}: the folder has changed: {os.listdir(images)}")
            counting.expect_progress(path, relay.harmed)
        else:
            server.kill()
            break
    harness.expect(number >= 3, "nothing was harmed")


class Relay:
    """Passes bytes on to a server, but for one: altered, or the last that is passed on."""

    def __init__(self, port, left, cuts):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port, self.target, self.cuts = self.listener.getsockname()[1], port, cuts
        self.left, self.harmed = left, ""
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        near, _ = self.listener.accept()
        far = socket.create_connection(("127.0.0.1", self.target))
        back = threading.Thread(target=self.copy, args=(far, near, False))
        back.start()
        self.copy(near, far, True)
        back.join()
        near.close()
        far.close()

    def copy(self, source, target, harms):
        try:
            while data := source.recv(4096):
                if harms and not self.harmed and len(data) > self.left:
                    self.harmed = f"{'cut' if self.cuts else 'altered'} in the end of {self.left + 1} bytes"
                    if self.cuts:
                        target.sendall(data[:self.left])
                        break
                    data = data[:self.left] + bytes([data[self.left] ^ 16]) + data[self.left + 1:]
                self.left -= len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            for one in (source, target):
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def end(self):
        self.thread.join(20)
        self.listener.close()


def sent_full(directory):
    """No space at the server: it says so, there and here; the program goes on."""
    pid, path = counting.start(directory)
    small = os.path.join(directory, "small")
    os.mkdir(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True)
    try:
        server = Server("page-server", "-D", os.path.join(small, "images"))
        result = dump_to(server.port, directory, pid)
        harness.expect(result.code == 1 and "ENOSPC" in result.text, str(result))
        _, errors = server.end(code=1)
        harness.expect("ENOSPC" in errors, errors)
        harness.expect(os.listdir(small) == [], os.listdir(small))
    finally:
        subprocess.run(["umount", small], check=True)
    counting.expect_progress(path, "after a full disk")


def taker_killed(directory):
    """At random moments, 20 times: the dump fails and the program goes on, or all of the image is there."""
    chance = harness.seeded()
    pid, path = counting.start(directory)
    failed = 0
    for number in range(20):
        images = os.path.join(directory, f"images{number}")
        server = Server("page-server", "-D", images, "--no-sync")
        timer = threading.Timer(chance.uniform(0, 0.12), server.process.kill)
        timer.start()
        result = dump_to(server.port, directory, pid, "-R")
        timer.join()
        server.kill()
        if result.code == 0:
            harness.must(harness.engine("verify", images))
        else:
            failed += 1
            harness.expect(result.code == 1, str(result))
        counting.expect_progress(path, f"after kill {number}")
    harness.expect(0 < failed, "no server was killed in time")


def strangers(directory):
    """Who says something else, or nothing, does not keep others away for long."""
    pid, path = counting.start(directory)
    images = os.path.join(directory, "images")
    server = Server("page-server", "-D", images)
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(b"GET / HTTP/1.0\r\n\r\n")
    with socket.create_connection(("127.0.0.1", server.port)):
        pass
    harness.must(dump_to(server.port, directory, pid, "-R"))
    server.end()
    harness.must(harness.engine("verify", images))
    counting.expect_progress(path, "afterwards")


harness.run(globals()[harness.CASE])

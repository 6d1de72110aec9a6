"""redis-server with argv[1] keys, redis-benchmark that works on another of its databases without end, and this program,
which asks for one answer of the server after the other. Answers with the longest that it waited for one since the last
question, in nanoseconds, after a look whether the keys are what they were and the benchmark goes on. argv[2]: a folder
for files."""

import select
import socket
import subprocess
import sys
import time

import questions

SAMPLE = 500  # keys whose values are compared


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    def __init__(self, port):
        self.stream = socket.create_connection(("127.0.0.1", port))
        self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.stream.makefile("rb")

    def ask(self, *words):
        parts = [str(word).encode() for word in words]
        self.stream.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self.reply()

    def reply(self):
        line = self.replies.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return self.replies.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b"-" or not line:
            questions.wrong(f"redis-server says {line!r}")
        return rest


def connect(port, server):
    for _ in range(2000):
        try:
            return Server(port)
        except ConnectionRefusedError:
            if server.poll() is not None:
                questions.wrong("redis-server has ended")
            time.sleep(0.005)
    questions.wrong("redis-server does not listen")


def state(redis):
    return redis.ask("DBSIZE"), redis.ask("GET", "secret"), redis.ask("DEBUG", "DIGEST-VALUE", *[f"key:{i}" for i in range(SAMPLE)])


def commands_processed(redis):
    for line in redis.ask("INFO", "stats").split(b"\r\n"):
        if line.startswith(b"total_commands_processed:"):
            return int(line.split(b":")[1])
    return 0


def asked():
    return bool(select.select([0], [], [], 0)[0])


def main():
    keys, folder, port = int(sys.argv[1]), sys.argv[2], free_port()
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    server = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                               "--enable-debug-command", "yes", "--dir", folder], **quiet)
    redis = connect(port, server)
    redis.ask("DEBUG", "POPULATE", keys, "key", 64)
    redis.ask("SET", "secret", questions.SECRET)
    before = state(redis)
    load = subprocess.Popen(["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-c", "10", "--dbnum", "1", "-r", "1000",
                             "-t", "set,get", "-n", "100000", "-l", "-q"], **quiet)
    questions.answer(0)
    while True:
        processed, own, longest, last = commands_processed(redis), 0, 0, time.monotonic_ns()
        while not asked():
            if redis.ask("PING") != b"PONG":
                questions.wrong("no PONG came")
            own += 1
            now = time.monotonic_ns()
            longest, last = max(longest, now - last), now
        questions.wait()
        if server.poll() is not None or load.poll() is not None:
            questions.wrong("redis-server or redis-benchmark has ended")
        if state(redis) != before:
            questions.wrong("the keys are others")
        give_up = time.monotonic() + 10
        while commands_processed(redis) <= processed + own + 500:
            if time.monotonic() > give_up:
                questions.wrong("redis-benchmark does not go on")
            time.sleep(0.001)
            own += 1
        questions.answer(longest)


main()

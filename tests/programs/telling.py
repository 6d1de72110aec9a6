"""Programs that say when they are ready, do the rest when the test says so, and tell how it went."""

import os
import sys

import harness

HEAD = """
import errno, os, socket, struct, sys, time
def tell(name, text=""):
    with open(name + ".part", "w") as file:
        file.write(str(text))
    os.rename(name + ".part", name)
def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)
def attempt(call):
    try:
        return call()
    except OSError as error:
        return errno.errorcode.get(error.errno, "timeout")
def all_of(sock):
    got = []
    while True:
        one = attempt(lambda: sock.recv(100000, socket.MSG_DONTWAIT))
        if one == "EAGAIN":
            return got
        got.append(one)
        if not isinstance(one, bytes):
            return got
def tcp_pair(family=socket.AF_INET):
    listener = socket.create_server(("127.0.0.1" if family == socket.AF_INET else "::1", 0), family=family)
    client = socket.create_connection(listener.getsockname()[:2])
    server = listener.accept()[0]
    listener.close()
    return client, server
"""


def start(program, *arguments):
    for name in ("ready", "go", "result"):
        if os.path.exists(name):
            os.unlink(name)
    pid = harness.start([sys.executable, "-c", HEAD + program, *map(str, arguments)], "out")
    harness.wait_until(lambda: os.path.exists("ready") or harness.read("out.err"), 20, "the program")
    harness.expect(os.path.exists("ready"), harness.read("out.err"))
    return pid


def result(seconds=20):
    open("go", "w").close()
    harness.wait_until(lambda: os.path.exists("result") or harness.read("out.err"), seconds, "the program's result")
    harness.expect(os.path.exists("result"), harness.read("out.err"))
    return harness.read("result")


def finish(expected, seconds=20):
    found = result(seconds)
    harness.expect(found == expected, f"'{found}' instead of '{expected}'; {harness.read('out.err')}")


def go_through(pid, images="image", *options):
    harness.must(harness.dump_and_reap(pid, images, *options))
    harness.must(harness.restore(images))


def expect_refused(outcome, *texts):
    for text in texts:
        harness.expect(outcome.code != 0 and text in outcome.text, f"no '{text}' in {outcome}")


def in_directory(test):
    def run(directory):
        os.chdir(directory)
        test()

    return run

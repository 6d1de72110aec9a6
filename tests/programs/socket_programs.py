"""Programs with sockets in two steps, between which a test dumps and restores them."""

import os
import sys

import harness

# Of every program: it says when it is ready, does the rest when the test says so, and tells how it went.
HEAD = """
import os, socket, struct, sys, time
def tell(name, text=""):
    with open(name + ".part", "w") as file:
        file.write(str(text))
    os.rename(name + ".part", name)
def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.01)
"""


def start(program, *arguments):
    pid = harness.start([sys.executable, "-c", HEAD + program, *map(str, arguments)], "out")
    harness.wait_until(lambda: os.path.exists("ready") or harness.read("out.err"), 20, "the program")
    harness.expect(os.path.exists("ready"), harness.read("out.err"))
    return pid


def finish(expected):
    open("go", "w").close()
    harness.wait_until(lambda: os.path.exists("result") or harness.read("out.err"), 20, "the program's result")
    harness.expect(harness.read("result") == expected,
                   f"'{harness.read('result')}' instead of '{expected}'; {harness.read('out.err')}")


def go_through(pid, images="image", *options):
    harness.must(harness.dump_and_reap(pid, images, *options))
    harness.must(harness.restore(images))


def expect_refused(result, *texts):
    for text in texts:
        harness.expect(result.code != 0 and text in result.text, f"no '{text}' in {result}")


def in_directory(test):
    def run(directory):
        os.chdir(directory)
        test()

    return run

# ctest: TIMEOUT 180
# ctest: CASES python3 perl node java xz
"""Busy programs, dumped at random moments, restored without running, dumped again: `diff` finds nothing but what has a
documented reason."""

import os
import shutil
import time

import harness
from sources import compile_java, make_input

ROUNDS = 3

PYTHON = """
import hashlib, threading
def work(seed):
    kept, state = {}, str(seed).encode()
    while True:
        state = hashlib.sha256(state).digest()
        kept[state[0] << 8 | state[1]] = state * (state[2] + 1)
for seed in range(3):
    threading.Thread(target=work, args=(seed,)).start()
"""
PERL = """
my (%kept, $state); $state = 1;
while (1) { $state = ($state * 1103515245 + 12345) % 2147483648; $kept{$state % 50000} = "x" x ($state % 300); }
"""
NODE = """
const crypto = require('crypto'), kept = new Map();
let state = Buffer.from('1');
function work() {
  for (let i = 0; i < 2000; i++) {
    state = crypto.createHash('sha256').update(state).digest();
    kept.set(state.readUInt16LE(0), state.toString('hex').repeat(1 + state[2] % 9));
  }
  setImmediate(work);
}
setInterval(() => crypto.pbkdf2('a', 'b', 20000, 64, 'sha512', () => 0), 20);
work();
"""


def command(directory):
    """The arguments and the standard input of the case."""
    if harness.CASE == "python3":
        return ["python3", "-c", PYTHON], "/dev/null"
    if harness.CASE == "perl":
        return ["perl", "-e", PERL], "/dev/null"
    if harness.CASE == "node":
        return ["node", "-e", NODE], "/dev/null"
    if harness.CASE == "java":
        return compile_java(directory) + ["10000000"], "/dev/null"
    source = os.path.join(directory, "input")
    make_input(source, 64 << 20)
    return ["xz", "-T2", "-6", "--block-size=4MiB", "-c"], source


def dump(pid, images):
    harness.must(harness.dump(pid, images))
    harness.expect(harness.wait_for(pid) == -9, "the dump did not end the program")


def test(directory):
    if not shutil.which(harness.CASE):
        raise harness.Skip(f"{harness.CASE} is not installed")
    arguments, source = command(directory)
    arguments[0] = os.path.realpath(shutil.which(arguments[0]))
    chance = harness.seeded()
    for number in range(ROUNDS):
        output = os.path.join(directory, f"output-{number}")
        pid = harness.start(arguments, output, stdin=source)
        time.sleep(chance.uniform(0.4, 2.0))
        harness.expect(not harness.trouble_of(pid), f"{harness.trouble_of(pid)} {harness.read(output + '.err')}")
        first, second = (os.path.join(directory, f"{name}-{number}") for name in ("first", "second"))
        dump(pid, first)
        harness.must(harness.restore(first, "--leave-stopped"))
        dump(pid, second)
        harness.no_helpers()
        result = harness.engine("diff", first, second, "--expected")
        told = [line for line in result.output.splitlines() if not line.startswith("(expected)")]
        harness.expect(result.code == 0 and not told, "\n".join(told[:40]) + result.errors)
        # What was compared is a whole image: it goes on from there.
        harness.must(harness.restore(second))
        os.kill(pid, harness.signal.SIGCONT)
        harness.wait_until(lambda: not harness.trouble_of(pid), 5, "going on")
        harness.kill_and_reap(pid)
        print(f"round {number}: nothing differs; {len(result.output.splitlines())} lines with a documented reason")
        for folder in (first, second):
            shutil.rmtree(folder)


harness.run(test)

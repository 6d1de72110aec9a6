# ctest: TIMEOUT 60
# ctest: CASES perl bash
"""Counters in Perl and in Bash: one round each, every number once."""

import os
import shutil
import signal
import time

import harness

PROGRAMS = {
    "perl": ["perl", "-e", '$| = 1; for ($i = 0; ; $i++) { print "$i\\n"; select(undef, undef, undef, 0.001); }'],
    "bash": ["bash", "--norc", "-c", 'for ((i = 0; ; i++)); do echo $i; for ((k = 0; k < 300; k++)); do :; done; done'],
}


def numbers(path):
    text = harness.read(path)
    return [int(line) for line in text[:text.rfind("\n") + 1].split()]


def test(directory):
    if not shutil.which(harness.CASE):
        raise harness.Skip(f"{harness.CASE} is not installed")
    output, images = os.path.join(directory, "numbers"), os.path.join(directory, "images")
    pid = harness.start(PROGRAMS[harness.CASE], output)
    harness.wait_until(lambda: len(numbers(output)) > 100, 10, "counting")
    harness.dump_and_reap(pid, images)
    reached = len(numbers(output))
    time.sleep(0.1)
    harness.expect(len(numbers(output)) == reached, "something counts on after the dump")
    harness.must(harness.restore(images))
    harness.wait_until(lambda: len(numbers(output)) > reached + 100, 10, "counting after the restore")
    harness.expect(harness.trouble_of(pid) == "", harness.trouble_of(pid))
    os.kill(pid, signal.SIGTERM)
    harness.expect(harness.wait_for(pid) == -signal.SIGTERM, "SIGTERM did not end it")
    found = numbers(output)
    harness.expect(found == list(range(len(found))), "the numbers are not consecutive")
    harness.no_helpers()


harness.run(test)

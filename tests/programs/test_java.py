# ctest: TIMEOUT 240
"""A JVM with eight threads and a busy garbage collector, through five rounds: the same output as undisturbed."""

import harness
import rounds
from sources import compile_java


def test(directory):
    rounds.compare(compile_java(directory) + ["40000"], directory, harness.read)


harness.run(test)

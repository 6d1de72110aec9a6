# ctest: TIMEOUT 180
"""A Python program that computes in four threads, through five rounds: the same lines as undisturbed."""

import os
import sys

import harness
import rounds


def lines(path):
    """The lines of each thread in their order; which thread prints first is chance."""
    text = harness.read(path).splitlines()
    harness.expect(len(text) == 81 and text[-1] == "all done", f"{len(text)} lines instead of 81")
    return "\n".join(sorted(text, key=lambda line: line.split(" step ")[0]))


harness.run(lambda directory: rounds.compare(
    [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "hash_chains.py"), "1200000"], directory,
    lines))

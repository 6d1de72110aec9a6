# ctest: TIMEOUT 240
"""A tree with all kinds of kernel objects in it through 6 rounds of dump and restore; tests/long/soak has one of each
kind through 500."""

import os
import sys

import harness
import soak

if os.geteuid() != 0:
    print("SKIPPED: many of the kinds take root")
    sys.exit(77)
harness.run(lambda directory: soak.rounds(directory, soak.KINDS, 6))

# ctest: TIMEOUT 180
"""64 MiB compressed by xz in two threads through five rounds: the same SHA-256 as undisturbed."""

import hashlib
import os
import shutil

import harness
import rounds
from sources import make_input


def digest(path):
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else \
            hashlib.sha256(stream.read()).hexdigest()


def test(directory):
    if not shutil.which("xz"):
        raise harness.Skip("xz is not installed")
    source = os.path.join(directory, "input")
    make_input(source, 64 << 20)
    # Blocks of 4 MiB, so that both threads are busy to the end.
    rounds.compare(["xz", "-T2", "-2", "--block-size=4MiB", "-c"], directory, digest, stdin=source)


harness.run(test)

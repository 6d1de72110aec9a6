"""What the tests of whole programs give to those programs."""

import os
import random
import shutil
import subprocess

import harness


def make_input(path, size):
    """Bytes that xz has some work with; the same in every run."""
    chance = random.Random(7)
    phrases = [chance.randbytes(chance.randrange(8, 200)) for _ in range(6000)]
    with open(path, "wb") as stream:
        while stream.tell() < size:
            stream.write(b"".join(chance.choices(phrases, k=8000)))
        stream.truncate(size)


def compile_java(directory):
    """The command line of Pressure.java, to which the number of its rounds is to be added."""
    if not shutil.which("java") or not shutil.which("javac"):
        raise harness.Skip("no Java development kit is installed")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "Pressure.java")
    subprocess.run(["javac", "-d", directory, source], check=True, timeout=60)
    # A heap of a size of its own: by default it is a quarter of the host's memory, and all of that goes to the disk.
    return [os.path.realpath(shutil.which("java")), "-Xmx512m", "-cp", directory, "Pressure"]

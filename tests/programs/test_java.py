# ctest: TIMEOUT 240
"""A JVM with eight threads and a busy garbage collector, through five rounds: the same output as undisturbed."""

import os
import shutil
import subprocess

import harness
import rounds


def test(directory):
    if not shutil.which("java") or not shutil.which("javac"):
        raise harness.Skip("no Java development kit is installed")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "Pressure.java")
    subprocess.run(["javac", "-d", directory, source], check=True, timeout=60)
    java = os.path.realpath(shutil.which("java"))
    rounds.compare([java, "-cp", directory, "Pressure", "40000"], directory, harness.read)


harness.run(test)

#!/usr/bin/env python3
"""Stands in for the engine: `-D DIR` of a dump or a restore becomes `-D -`, with the file DIR/stream behind or before it.

    stream_engine.py dump -t PID -D DIR ...     the engine itself is named by MCR_STREAM_ENGINE
"""

import os
import signal
import sys

engine = os.environ["MCR_STREAM_ENGINE"]
words = sys.argv[1:]
if words and words[0] == "verify" and "-D" not in words:
    words.insert(1, "-D")
if words and words[0] in ("dump", "restore", "verify") and "-D" in words:
    at = words.index("-D") + 1
    folder = words[at]
    if words[0] == "dump":
        os.makedirs(folder, 0o700, exist_ok=True)
        stream = os.open(f"{folder}/stream", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(stream, 1)
        os.close(stream)
    elif os.path.exists(f"{folder}/stream"):
        stream = os.open(f"{folder}/stream", os.O_RDONLY)
        os.dup2(stream, 0)
        os.close(stream)
    words[at] = "-"
    if words[0] != "verify" and "-W" not in words:
        words += ["-W", folder]
for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
    signal.signal(number, signal.SIG_DFL)
os.execv(engine, [engine, *words])

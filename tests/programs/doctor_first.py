#!/usr/bin/env python3
"""An engine that asks `check` before each dump and each restore, with the same options, and notes where the two disagree:
one line a question in the file MCR_DOCTOR_NOTES, "agree" or "DISAGREE" first. MCR_REAL_ENGINE is the engine itself. All
tests of programs can be run with it in the engine's place."""

import json
import os
import re
import subprocess
import sys

ENGINE, NOTES = os.environ["MCR_REAL_ENGINE"], os.environ["MCR_DOCTOR_NOTES"]
OF_LOG = ("-o", "--log-file", "-W", "--work-dir", "--action-script", "--status-fd", "--pidfile")
# What is asked of a restore that has nothing to do with whether it can be done.
LEFT_OUT = ("--exec-cmd", "--display-stats", "--json", "-d", "--restore-detached")


def options_for_check(words, without_folder):
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in OF_LOG or (without_folder and word in ("-D", "--images-dir")):
            skip = True
        elif not re.fullmatch(r"-v\d*", word) and word not in LEFT_OUT:
            kept.append(word)
    return kept


def ask(words):
    command = words[0]
    is_dump = command == "dump"
    own = words[1:words.index("--")] if "--" in words else words[1:]
    asked = [ENGINE, "check", "--json", *options_for_check(own, is_dump)]
    done = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        report = {"ok": False, "problems": [], "reason": f"no JSON: {done.stdout}{done.stderr}"}
    if (done.returncode == 0) != report["ok"]:
        report["reason"] = f"it ended with {done.returncode}, and said ok = {report['ok']}"
    return report


def note(words, report, code, said):
    reasons = [f"{one['object']}: {one['reason']}" for one in report.get("problems", [])]
    if report.get("reason"):
        reasons.append(report["reason"])
    agree = report["ok"] == (code == 0)
    line = f"{'agree' if agree else 'DISAGREE'}\t{words[0]}\t{code}\t{' | '.join(reasons)}\t{said}"
    with open(NOTES, "a") as out:
        out.write(line.replace("\n", " ") + "\n")


def main():
    words = sys.argv[1:]
    if not words or words[0] not in ("dump", "restore") or "-" in words:
        os.execv(ENGINE, [ENGINE, *words])
    report = ask(words)
    if words[0] == "restore" and not {"-d", "--restore-detached", "-dS"} & set(words):
        os.execv(ENGINE, [ENGINE, *words])  # it stays in the foreground
    done = subprocess.run([ENGINE, *words], stderr=subprocess.PIPE, text=True, errors="replace", close_fds=False)
    sys.stderr.write(done.stderr)
    note(words, report, done.returncode, " ".join(done.stderr.splitlines()[:3]))
    sys.exit(done.returncode if done.returncode >= 0 else 128 - done.returncode)


main()

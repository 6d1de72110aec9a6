"""Which files of the source tree the lints look at."""

import os
import subprocess
import sys

ROOT = os.path.abspath(sys.argv[1])
SKIPPED_FOLDERS = {"build", ".git", ".cache", "corpus", "__pycache__"}
CODE = (".cc", ".h", ".c", ".S")


def files(suffixes=None):
    """Paths relative to the root, sorted. Files that git ignores are left out."""
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        for name in names:
            if name == ".git":  # of a linked worktree
                continue
            path = os.path.relpath(os.path.join(folder, name), ROOT)
            if suffixes is None or path.endswith(suffixes):
                found.append(path)
    ignored = set()
    if os.path.exists(os.path.join(ROOT, ".git")) and found:
        done = subprocess.run(["git", "-C", ROOT, "-c", f"safe.directory={ROOT}", "check-ignore", "--stdin"],
                              input="\n".join(found), capture_output=True, text=True)
        ignored = set(done.stdout.splitlines())
    return sorted(set(found) - ignored)


def text(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as stream:
        return stream.read()


def finish(findings):
    for finding in findings:
        print(finding)
    print(f"{len(findings)} findings")
    sys.exit(1 if findings else 0)

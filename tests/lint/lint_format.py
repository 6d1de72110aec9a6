"""clang-format has nothing to change. Other versions than 14 lay out a few things differently and are skipped."""

import os
import re
import shutil
import subprocess
import sys

import source_tree as tree

program = shutil.which("clang-format-14") or shutil.which("clang-format")
if not program:
    print("clang-format is not installed")
    sys.exit(77)
version = re.search(r"version (\d+)", subprocess.run([program, "--version"], capture_output=True, text=True).stdout)
if not version or version.group(1) != "14":
    print("this is not clang-format 14")
    sys.exit(77)
paths = [os.path.join(tree.ROOT, path) for path in tree.files((".cc", ".h"))]
done = subprocess.run([program, "--dry-run", "--Werror", "--style=file", *paths], capture_output=True, text=True)
findings = [line.replace(tree.ROOT + "/", "") for line in done.stderr.splitlines() if "error:" in line]
tree.finish(findings)

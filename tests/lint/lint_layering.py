"""Includes point one way: tools -> jobs -> engine -> stacks -> inspect -> {gpu, kinds, facets, mem, tree} ->
{inject, images} -> trace -> {arch, procfs} -> sys -> base. A folder may include itself and what lies below it;
neighbours of one level may not include each other, except where it is said here."""

import re

import source_tree as tree

LEVELS = [
    ["tools"],
    ["core/jobs"],
    ["core/engine"],
    ["core/stacks"],
    ["core/inspect"],
    ["core/kinds", "core/facets", "core/mem", "core/tree", "gpu"],
    ["core/inject", "images"],
    ["core/trace"],
    ["core/arch", "core/procfs"],
    ["core/sys"],
    ["core/base"],
]
# Read by both sides of the injection; it includes nothing of ours itself.
SHARED = {"parasite/protocol.h"}
LEVEL = {folder: number for number, folders in enumerate(LEVELS) for folder in folders}


def folder_of(path):
    for folder in LEVEL:
        if path.startswith(folder + "/"):
            return folder
    return None


findings = []
for path in tree.files((".cc", ".h")):
    own = folder_of(path)
    for number, line in enumerate(tree.text(path).splitlines(), 1):
        included = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if not included:
            continue
        target = included.group(1)
        if path.startswith("parasite/") and not target.startswith("parasite/"):
            findings.append(f"{path}:{number}: the parasite stands alone and includes {target}")
        if own is None or target in SHARED:
            continue
        other = folder_of(target)
        if other is None:
            if target.startswith(("tests/", "bench/", "parasite/")):
                findings.append(f"{path}:{number}: {own} must not include {target}")
            continue
        if other != own and LEVEL[other] <= LEVEL[own]:
            findings.append(f"{path}:{number}: {own} must not include {target}")
tree.finish(findings)

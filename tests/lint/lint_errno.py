"""errno is read in core/sys only; the parasite has none. (Tests may.)"""

import re

import source_tree as tree

findings = []
for path in tree.files((".cc", ".h")):
    if not path.startswith(("core/", "images/", "gpu/", "tools/", "parasite/")) or path.startswith("core/sys/"):
        continue
    for number, line in enumerate(tree.text(path).splitlines(), 1):
        code = re.sub(r'"(\\.|[^"\\])*"', '""', line.split("//")[0])
        if re.search(r"\berrno\b", code) and "#include" not in code:
            findings.append(f"{path}:{number}: {line.strip()}")
tree.finish(findings)

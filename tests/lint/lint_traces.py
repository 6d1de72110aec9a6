"""The tree tells nothing about the machine or the manner in which it was written: no path of somebody's home or
workplace, no reference to where the work was discussed."""

import re

import source_tree as tree

# Written in pieces, so that this file does not find itself.
PATTERNS = [
    r"/" + r"work/(main|shared)",
    r"/" + r"home/[a-z]\w*",
    r"/" + r"Users/[A-Za-z]\w*",
    r"\bissue" + r"s? #?\d+",
    r"\bsession " + r"\d+\b",
    r"\bthis " + r"(session|prompt|conversation|issue)\b",
    r"\b(chat" + r"gpt|cla" + r"ude|co" + r"pilot|anth" + r"ropic|open" + r"ai)\b",
    r"\b(AI|LLM)" + r"[- ](generated|written|assisted)\b",
    r"\b" + r"prompts?\b.*\b(model|agent)\b",
    r"\." + r"\./shared\b",
]
BINARY = (".png", ".lz4", ".img", ".bin", ".gz")

findings = []
for path in tree.files():
    if path.endswith(BINARY) or path.endswith("lint_traces.py"):
        continue
    for number, line in enumerate(tree.text(path).splitlines(), 1):
        for pattern in PATTERNS:
            if re.search(pattern, line, re.I):
                findings.append(f"{path}:{number}: {line.strip()[:120]}")
                break
tree.finish(findings)

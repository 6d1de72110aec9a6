"""Source files of at most 600 lines, functions of at most 60. Tables are exempt: a file or a function that is mostly
rows of braces."""

import re

import source_tree as tree

FILE_LIMIT, FUNCTION_LIMIT = 600, 60
ROW = re.compile(r"^\s*(\{.*\},?\s*\};?|\{.*|\".*\",?\)*;?,?)$")


def is_table(lines):
    rows = sum(1 for line in lines if ROW.match(line))
    return len(lines) > 0 and rows * 10 >= len(lines) * 6


def without_literals(line):
    line = re.sub(r'"(\\.|[^"\\])*"', '""', line)
    line = re.sub(r"'(\\.|[^'\\])*'", "''", line)
    return line.split("//")[0]


def functions(lines):
    """(first line, length) of every function body: a brace that follows a closing parenthesis and is no control
    structure, outside every other function."""
    depth, start, start_depth, raw, head = 0, None, 0, None, ""
    for number, line in enumerate(lines):
        if raw:
            if raw in line:
                raw = None
            continue
        opened = re.search(r'R"(\w*)\(', line)
        if opened and f'){opened.group(1)}"' not in line:
            raw = f'){opened.group(1)}"'
            line = line[:opened.start()]
        code = without_literals(line)
        for character in code:
            if character == "{":
                signature = head.strip()
                if start is None and re.search(r"\)\s*(const|noexcept|override|final|mutable|->[^;{}]*|:[^;{}]*|\s)*$",
                                               signature) and not re.search(r"\b(namespace|enum)\b", signature) and \
                        not re.match(r"\s*(class|struct|union)\b", signature):
                    start, start_depth = number, depth
                depth += 1
                head = ""
            elif character == "}":
                depth -= 1
                if start is not None and depth == start_depth:
                    yield start, number - start + 1
                    start = None
                head = ""
            elif character == ";":
                head = ""
            else:
                head += character
        head += " "


findings = []
for path in tree.files((".cc", ".h", ".c")):
    lines = tree.text(path).splitlines()
    if len(lines) > FILE_LIMIT and not is_table(lines):
        findings.append(f"{path}: {len(lines)} lines")
    for first, length in functions(lines):
        if length > FUNCTION_LIMIT and not is_table(lines[first:first + length]):
            findings.append(f"{path}:{first + 1}: a function of {length} lines")
for path in tree.files((".py",)):
    lines = tree.text(path).splitlines()
    if len(lines) > FILE_LIMIT:
        findings.append(f"{path}: {len(lines)} lines")
tree.finish(findings)

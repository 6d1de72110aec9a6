"""What the results mean: names, amounts, who is first. Used by both pages."""

import os
import re

# By figure: its name for readers.
FIGURES = {
    "dump_ms": "dump",
    "pause_ms": "pause",
    "restore_ms": "restore",
    "answer_ms": "first answer",
    "image_bytes": "image",
    "dump_cpu_ms": "CPU of dump",
    "restore_cpu_ms": "CPU of restore",
    "peak_bytes": "memory of engine",
    "work_ms": "work",
}
MEANING = {
    "dump_ms": "from the start of the dump to its end, when the program is gone or runs on",
    "pause_ms": "the largest gap that the program saw in its own clock during a dump after which it runs on; of redis, the longest wait for an answer",
    "restore_ms": "from the start of the restore to its end; DMTCP has none, as its process becomes the program",
    "answer_ms": "from the start of the restore to the first right answer of the program",
    "image_bytes": "what the image takes from the file system, holes left out",
    "dump_cpu_ms": "processor time of the engine's processes, and of the program on their behalf",
    "restore_cpu_ms": "the same, of the restore",
    "peak_bytes": "largest resident set of a process of the engine",
    "work_ms": "a fixed amount of allocations, locks, pipes, files, threads and processes before any checkpoint",
}
MAIN = ["dump_ms", "pause_ms", "restore_ms", "answer_ms", "image_bytes", "work_ms"]
LIMITS = {
    "memcpy_ms": "copying it",
    "fill_ms": "copying it into fresh memory",
    "write_ms": "writing it to a file",
    "read_ms": "reading that into fresh memory",
    "fork_ms": "fork of a process that has it",
}
STATUS = {"missing": "not measured", "failed": "fails", "wrong": "does harm"}


def amount(figure, value):
    if figure.endswith("_bytes"):
        return f"{value / 2**20:.1f} MiB" if value < 2**30 else f"{value / 2**30:.2f} GiB"
    if value >= 10000:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"


def with_quartiles(figure, summary):
    median = amount(figure, summary["median"])
    if summary["count"] < 3 or summary["low"] == summary["high"]:
        return median
    low, high = amount(figure, summary["low"]), amount(figure, summary["high"])
    unit = " " + median.split()[1]
    if low.endswith(unit) and high.endswith(unit):
        low = low[:-len(unit)]
    return f"{median} ({low} to {high})"


def growth(results):
    """{(family, engine, figure): exponent}"""
    return {(g["family"], g["engine"], g["figure"]): g["exponent"] for g in results["growth"]}


def result_of(case, engine):
    return next((r for r in case["results"] if r["engine"] == engine), None)


def engines(results):
    return [engine["name"] for engine in results["engines"]]


def first_without(case, figure):
    """The engines whose median is below that of the best mini-criu, and that one; None when mini-criu is first."""
    medians = {r["engine"]: r["summary"][figure]["median"] for r in case["results"] if figure in r["summary"]}
    ours = {name: value for name, value in medians.items() if name.startswith("mini-criu")}
    if not ours:
        return None
    best = min(ours, key=ours.get)
    quicker = {name: value for name, value in medians.items() if name not in ours and value < ours[best]}
    return (best, ours[best], quicker) if quicker else None


def reasons():
    """[(pattern, reason)] of reasons.md: lines "- `memory/*` dump: reason"."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reasons.md")
    found = []
    with open(path, encoding="utf-8") as file:
        for entry in re.findall(r"^- `([^`]+)` ([a-zA-Z, ]+): (.+(?:\n  .+)*)", file.read(), re.M):
            found.append((entry[0], [name.strip() for name in entry[1].split(",")], " ".join(entry[2].split())))
    return found


def reason_for(case, figure, known):
    for pattern, names, reason in known:
        if re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), case["name"]) and FIGURES[figure] in names:
            return reason
    return "not looked into yet"


def not_first(results):
    """[(case, figure, our engine, our median, {engine: median}, reason)] of times and sizes."""
    known = reasons()
    rows = []
    for case in results["cases"]:
        if case["mode"] == "work":
            continue
        for figure in MAIN:
            found = first_without(case, figure)
            if found:
                rows.append((case, figure, *found, reason_for(case, figure, known)))
    return rows


def machine_lines(results):
    machine, suite = results["machine"], results["suite"]
    kind = "virtual machine with" if machine["virtual"] else "machine with"
    lines = [
        ("Machine", f"{kind} {machine['cores']} cores, {machine['cpu']}, {machine['memory_mib'] / 1024:.0f} GiB of memory"),
        ("System", f"{machine['system']}, Linux {machine['kernel']}; transparent huge pages: {machine['huge_pages']}; "
                   f"images on {machine['images_on']}" + (f", disk cases on {machine['disk']}" if "disk" in machine else "")),
        ("Run", f"{suite['started']}, {suite['mode']} mode, {suite['seconds']:.0f} s, commit {suite['commit'] or 'unknown'}, "
                f"load average before it {suite['load_before']:.1f}"),
    ]
    for engine in results["engines"]:
        if " " not in engine["name"]:
            lines.append((engine["name"], engine.get("version") or "not measured: " + engine["missing"]))
    return lines

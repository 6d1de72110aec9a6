#!/usr/bin/env python3
"""table.py RESULTS.json...: the results of engine-bench as tables in Markdown.

The files are what `engine-bench --benchmark_out=RESULTS.json` writes; of a case in several of them the last counts. One row a case: the median of its rounds, the
quarter below and above which a quarter of them lie, and how the engines' medians compare."""

import json
import statistics
import sys


def load(path):
    cases = {}  # by case and engine: its rounds
    with open(path, encoding="utf-8") as file:
        for entry in json.load(file)["benchmarks"]:
            if entry.get("run_type") != "iteration":
                continue
            name = entry["name"].split("/iterations:")[0]
            if entry.get("error_occurred"):
                sys.exit(f"{name} failed: {entry.get('error_message')}")
            case, engine = name.rsplit("/", 1)
            cases.setdefault(case, {}).setdefault(engine, []).append(entry)
    return cases


def figure(rounds):
    times = sorted(entry["real_time"] for entry in rounds)
    if len(times) < 4:
        return f"{statistics.median(times):.1f}"
    low, _, high = statistics.quantiles(times, n=4)
    return f"{statistics.median(times):.1f} ({low:.1f} to {high:.1f})"


def median(rounds):
    return statistics.median(entry["real_time"] for entry in rounds)


def times(cases):
    print("| case | rounds | mini-criu, ms | CRIU, ms | mini-criu / CRIU | other |")
    print("| --- | --- | --- | --- | --- | --- |")
    for case, engines in cases.items():
        ours, peer = engines.get("mini-criu"), engines.get("criu")
        ratio = f"{median(ours) / median(peer):.2f}" if ours and peer else ""
        others = "; ".join(f"{name}: {figure(rounds)}" for name, rounds in engines.items()
                           if name not in ("mini-criu", "criu"))
        print(f"| {case} | {len(next(iter(engines.values())))} | {figure(ours) if ours else ''} | "
              f"{figure(peer) if peer else ''} | {ratio} | {others} |")


def phases(cases):
    print("| case | phases that mini-criu reports, medians in ms |")
    print("| --- | --- |")
    for case, engines in cases.items():
        rounds = engines.get("mini-criu", [])
        names = [key for key in rounds[0] if key.endswith("_ms")] if rounds else []
        parts = [f"{name[:-3]} {statistics.median(entry[name] for entry in rounds):.2f}" for name in names]
        print(f"| {case} | {', '.join(parts)} |")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    cases = {}
    for path in sys.argv[1:]:
        cases.update(load(path))
    times(cases)
    print()
    phases(cases)


main()

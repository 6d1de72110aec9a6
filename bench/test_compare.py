#!/usr/bin/env python3
"""test_compare.py COMPARE CASE: the benchmark suite itself, without other engines."""

import html.parser
import json
import os
import re
import subprocess
import sys
import tempfile

COMPARE, CASE = sys.argv[1:3]
ALONE = ["--without", "criu", "--without", "dmtcp"]


def run(*words, status=0):
    done = subprocess.run([COMPARE, *words], capture_output=True, text=True)
    if done.returncode == 77:
        sys.exit(77)
    if done.returncode != status:
        sys.exit(f"{words} ended with {done.returncode}, not {status}:\n{done.stdout}{done.stderr}")
    return done.stdout


def quick(folder):
    """Every case runs or says what is missing, and has the figures of its kind."""
    path = os.path.join(folder, "quick.json")
    run("--quick", *ALONE, "--disk-dir", folder, "--limit", "60", "--budget", "200", "--json", path)
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    wanted = {"stop": ["dump_ms", "restore_ms", "answer_ms", "image_bytes", "dump_cpu_ms", "peak_bytes"],
              "snapshot": ["dump_ms", "pause_ms", "quiet_ms", "restore_ms", "answer_ms", "image_bytes"], "work": ["work_ms"]}
    for case in results["cases"]:
        for result in case["results"]:
            assert "time was spent" not in result.get("reason", ""), (case["name"], result)
            if result["engine"] in ("criu", "dmtcp"):
                assert result["status"] == "missing" and result["reason"] == "left out", (case["name"], result)
            elif result["status"] == "ok":
                assert len(result["samples"]) == 1, (case["name"], result)
                assert all(result["summary"][figure]["median"] > 0 for figure in wanted[case["mode"]]), (case["name"], result)
            else:
                assert result["status"] == "missing" and case["name"].startswith(("python/", "mpi/")), (case["name"], result)
    names = [case["family"] for case in results["cases"]]
    for family in ("small", "pause/hot-writer", "memory/random", "threads", "processes", "files", "one-file", "mappings", "pipes",
                   "connections", "python/arrays", "python/training", "python/redis_under_load", "mpi/3-ranks", "overhead", "disk/memory"):
        assert family in names, family


def harmed(folder):
    """A program that answers something else, has lost its secret, finds itself harmed or ends, is noticed."""
    path = os.path.join(folder, "harmed.json")
    run("--harmed", "--quick", *ALONE, "--limit", "60", "--json", path, status=1)
    with open(path, encoding="utf-8") as file:
        results = json.load(file)
    said = {"harmed/value": "instead of 7", "harmed/secret": "lost its secret", "harmed/check": "wrong it is told so",
            "harmed/end": "the program has ended"}
    assert {case["name"] for case in results["cases"]} == set(said)
    for case in results["cases"]:
        ours = next(result for result in case["results"] if result["engine"] == "mini-criu")
        assert ours["status"] == "wrong" and said[case["name"]] in ours["reason"], ours
        assert not ours["summary"] and "retries" not in ours, ours


def forged():
    """Results of a run that never was: two sizes, three engines."""
    def result(engine, dump, ratio=None):
        summary = {"dump_ms": {"median": dump, "low": dump * 0.9, "high": dump * 1.1, "least": dump * 0.8, "most": dump * 1.2, "count": 5}}
        return {"engine": engine, "status": "ok", "samples": [{"dump_ms": dump}] * 5, "summary": summary,
                **({"ratio": {"dump_ms": ratio}} if ratio else {})}
    cases = [{"name": f"threads/{n}", "family": "threads", "size": n, "unit": "threads", "mode": "stop",
              "results": [result("mini-criu", 2.0 * n, 0.5), result("criu", 4.0 * n), {
                  "engine": "dmtcp", "status": "failed", "reason": "a <reason> & more", "samples": [], "summary": {}, "ratio": {}}]}
             for n in (10, 100, 1000)]
    cases.append({"name": "small", "family": "small", "mode": "stop", "results": [result("mini-criu", 8.0, 2.0), result("criu", 4.0)]})
    machine = {"cpu": "none", "cores": 1, "virtual": False, "memory_mib": 1024, "kernel": "0", "system": "none", "huge_pages": "never",
               "images_on": "tmpfs"}
    return {"format": 1, "machine": machine, "limits": [], "cases": cases,
            "suite": {"commit": "0", "mode": "full", "started": "never", "seconds": 1, "load_before": 0, "rounds_at_most": 5},
            "engines": [{"name": name, "version": "1"} for name in ("mini-criu", "criu", "dmtcp")],
            "growth": [{"family": "threads", "engine": "mini-criu", "figure": "dump_ms", "exponent": 1.0}]}


def check(folder):
    """15 % more than in the baseline is too much, less is not; so is a case that no longer passes, or nothing to compare."""
    def verdict(now, status):
        paths = [os.path.join(folder, name) for name in ("now.json", "before.json")]
        for path, results in zip(paths, (now, forged())):
            with open(path, "w", encoding="utf-8") as file:
                json.dump(results, file)
        return run("--from", paths[0], "--check", paths[1], status=status)

    assert "4 ratios to CRIU compared, 0 worse" in verdict(forged(), 0)
    slower = forged()
    slower["cases"][1]["results"][0]["ratio"]["dump_ms"] = 0.57
    verdict(slower, 0)
    slower["cases"][1]["results"][0]["ratio"]["dump_ms"] = 0.58
    assert "worse: threads/100 dump_ms with mini-criu: 0.580 of CRIU's, 0.500 in the baseline (+16 %)" in verdict(slower, 1)
    quicker = forged()
    quicker["cases"][1]["results"][0]["ratio"]["dump_ms"] = 0.1
    verdict(quicker, 0)
    broken = forged()
    broken["cases"][3]["results"][0].update(status="wrong", reason="lost", summary={}, ratio={})
    assert "worse: small with mini-criu: fails now: lost" in verdict(broken, 1)
    fewer = forged()
    del fewer["cases"][3]
    assert "not compared: small" in verdict(fewer, 0)
    nothing = forged()
    nothing["cases"] = []
    assert "nothing could be compared" in verdict(nothing, 1)


class Page(html.parser.HTMLParser):
    """Every tag is closed in its turn, and nothing is fetched or run."""
    VOID = {"meta", "br", "img", "link", "input", "hr"}

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "iframe", "img"), tag
        assert not [a for a in attributes if a[0] in ("src", "href", "onload", "onclick")], attributes
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())


def report(folder):
    """The pages hold the results, are complete in themselves, and take text for text."""
    paths = {name: os.path.join(folder, name) for name in ("r.json", "r.html", "r.md")}
    with open(paths["r.json"], "w", encoding="utf-8") as file:
        json.dump(forged(), file)
    table = run("--from", paths["r.json"], "--html", paths["r.html"], "--markdown", paths["r.md"])
    assert "n^1.00" in table and "failed: a <reason> & more" in table, table
    with open(paths["r.html"], encoding="utf-8") as file:
        page = file.read()
    parser = Page()
    parser.feed(page)
    assert not parser.open and {"svg", "polyline", "rect"} <= parser.seen, (parser.open, parser.seen)
    assert "a &lt;reason&gt; &amp; more" in page and "http" not in page and "url(" not in page
    with open(paths["r.md"], encoding="utf-8") as file:
        text = file.read()
    assert re.search(r"\| small \| dump \| mini-criu 8\.0 ms \| criu 4\.0 ms \|", text), text
    assert "| threads/100 | dump | 200 ms (180 to 220 ms); 0.50; n^1.00 | 400 ms (360 to 440 ms) | fails | 5 |" in text, text


with tempfile.TemporaryDirectory() as scratch:
    {"quick": quick, "harmed": harmed, "check": check, "report": report}[CASE](scratch)

"""The page with charts: one file, no scripts, nothing from the network, in the colours that the reader prefers."""

import html
import re
import statistics

import charts
import figures as f

STYLE = """
:root { color-scheme: light dark; --text: #1c1e21; --soft: #666c75; --line: #d9dce1; --back: #ffffff; --bar: #f2f3f5;
  --e0: #1668c7; --e1: #58a0e8; --e2: #9cc6ef; --e3: #d9822b; --e4: #8a64b0; --bad: #b3261e; --good: #1b7a3d; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e6ea; --soft: #a0a6b0; --line: #3a3f47; --back: #16181c;
  --bar: #20242a; --e0: #5aa6ff; --e1: #8cc2ff; --e2: #3d6fa8; --e3: #f0a85c; --e4: #bd9ae0; --bad: #ff8a80; --good: #6fd08c; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.8rem; margin-bottom: .3rem; } h2 { font-size: 1.3rem; margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; } p, li { max-width: 50rem; } .soft { color: var(--soft); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
td, th { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; } .bad { color: var(--bad); } .good { color: var(--good); }
.pair { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 1rem 2rem; } svg { max-width: 100%; height: auto; } svg text { fill: var(--text); font: 12px system-ui, sans-serif; }
svg .soft { fill: var(--soft); } svg .grid { stroke: var(--line); } svg .spread { stroke: var(--text); }
.key { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin: 0 .3em 0 1em; }
"""


def escape(value):
    return html.escape(str(value))


def table(head, rows, numbers=()):
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = [f'<div class="wide"><table><tr>{cells}</tr>']
    for row in rows:
        lines.append("<tr>" + "".join(f'<td{" class=n" if i in numbers else ""}>{cell}</td>' for i, cell in enumerate(row)) + "</tr>")
    return "\n".join(lines) + "</table></div>"


def colours(results):
    return {name: f"var(--e{number})" for number, name in enumerate(f.engines(results))}


def legend(results):
    shown = [n for n in f.engines(results) if any(f.result_of(c, n) for c in results["cases"])]
    paint = colours(results)
    return "<p>" + "".join(f'<span class="key" style="background:{paint[n]}"></span>{escape(n)}' for n in shown) + "</p>"


def summary(results):
    """The ratio to CRIU in each figure, over all cases: how many are better, and the middle one."""
    rows = []
    variants = [(figure, "mini-criu") for figure in f.MAIN[:-1]]
    variants.insert(2, ("pause_ms", "mini-criu --live"))
    for figure, engine in variants:
        ratios = sorted(r["ratio"][figure] for c in results["cases"] for r in c["results"]
                        if r["engine"] == engine and figure in r.get("ratio", {}))
        if ratios:
            middle = statistics.median(ratios)
            rows.append([f.FIGURES[figure] + engine.removeprefix("mini-criu").replace(" ", ", "), f"{sum(x < 1 for x in ratios)} of {len(ratios)}", f"{middle:.2f}",
                         f"{ratios[0]:.2f} to {ratios[-1]:.2f}"])
    if not rows:
        return ""
    return ("<h2>mini-criu beside CRIU</h2><p>Ratios of medians in the same run; below 1, mini-criu takes less.</p>"
            + table(["figure", "cases in which it takes less", "middle ratio", "range"], rows, (1, 2, 3)))


def behind(results):
    rows = []
    for case, figure, engine, ours, quicker, reason in f.not_first(results):
        others = ", ".join(f"{n} {f.amount(figure, v)}" for n, v in sorted(quicker.items(), key=lambda x: x[1]))
        cells = [escape(x) for x in (case["name"], f.FIGURES[figure], f"{engine} {f.amount(figure, ours)}", others, reason)]
        rows.append(cells[:-1] + [re.sub("`([^`]*)`", r"<code>\1</code>", cells[-1])])
    body = table(["case", "figure", "mini-criu at its best", "before it", "reason"], rows, (0, 2, 3)) if rows else "<p>Nowhere in this run.</p>"
    return "<h2>Where mini-criu is not first</h2>" + body


def families(results):
    found = {}
    for case in results["cases"]:
        found.setdefault(case["family"], []).append(case)
    return found


def family_section(family, cases, results, exponents):
    paint, parts = colours(results), [f"<h3>{escape(family)}</h3>"]
    bars = charts.bars if len(cases) < 3 else None
    drawn = []
    for figure in f.MAIN:
        if not any(figure in r["summary"] for c in cases for r in c["results"]):
            continue
        drawn.append(bars(cases, figure, paint) if bars else charts.growth(cases, figure, paint, exponents))
    parts.append('<div class="pair">' + "".join(drawn) + "</div>")
    for case in cases:
        for result in case["results"]:
            if result["status"] != "ok":
                parts.append(f'<p class="bad">{escape(case["name"])}, {escape(result["engine"])}: {f.STATUS[result["status"]]}: {escape(result["reason"])}</p>')
    return "".join(parts)


def all_figures(results):
    exponents, rows = f.growth(results), []
    for case in results["cases"]:
        name = escape(case["name"])
        for result in case["results"]:
            for figure in f.FIGURES:
                if figure not in result["summary"]:
                    continue
                ratio, power = result.get("ratio", {}).get(figure), exponents.get((case["family"], result["engine"], figure))
                mark = "" if ratio is None else f'<span class="{"good" if ratio < 1 else "bad"}">{ratio:.2f}</span>'
                rows.append([name, escape(result["engine"]), f.FIGURES[figure], f.with_quartiles(figure, result["summary"][figure]),
                             mark, "" if power is None or "size" not in case else f"n<sup>{power:.2f}</sup>", result["summary"][figure]["count"]])
                name = ""
    return "<h2>All figures</h2>" + table(["case", "engine", "figure", "median (quartiles)", "ratio to CRIU", "growth", "rounds"], rows, (3, 4, 5, 6))


def limits(results):
    rows = [[f"{x['mib']} MiB"] + [f.with_quartiles(n, x["summary"][n]) for n in f.LIMITS] for x in results["limits"]]
    return ("<h2>What the machine itself takes</h2><p>No engine can be quicker than these, in the same run.</p>"
            + table(["memory", *f.LIMITS.values()], rows, range(1, 6))) if rows else ""


def text(results):
    exponents = f.growth(results)
    meanings = "".join(f"<li><b>{f.FIGURES[n]}</b>: {escape(m)}</li>" for n, m in f.MEANING.items())
    sections = "".join(family_section(name, cases, results, exponents) for name, cases in families(results).items())
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>mini-criu, CRIU and DMTCP: benchmarks</title><style>{STYLE}</style></head><body>
<h1>Checkpoint engines, measured in turn</h1>
<p class="soft">Every program is checked after every restore; one that is harmed or lost counts as a failure, not as a time.</p>
{table(["", ""], [[escape(a), escape(b)] for a, b in f.machine_lines(results)])}
{summary(results)}{behind(results)}
<h2>Cases</h2><p>Bars and points are medians, thin lines the quartiles. Less is better everywhere.</p><ul>{meanings}</ul>
{legend(results)}{sections}{limits(results)}{all_figures(results)}</body></html>
"""

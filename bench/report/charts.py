"""Charts as SVG: bars for one or two sizes, lines on logarithmic axes for more."""

import html
import math

import figures as f

WIDTH, LABEL = 500, 150


def svg(height, parts, title):
    return (f'<svg width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(title)}">'
            + "".join(parts) + "</svg>")


def text(x, y, value, anchor="start", soft=False):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{" class=soft" if soft else ""}>{html.escape(str(value))}</text>'


def line(x1, y1, x2, y2, kind):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def bars(cases, figure, paint):
    """One bar for each case and engine."""
    rows = [(case, r) for case in cases for r in case["results"] if figure in r["summary"]]
    most = max(r["summary"][figure]["high"] for _, r in rows) or 1
    scale, y, parts = (WIDTH - LABEL - 90) / most, 22, [text(0, 13, f.FIGURES[figure])]
    for case, result in rows:
        s = result["summary"][figure]
        label = result["engine"] if len(cases) == 1 else f"{result['engine']}, {case['size']} {case['unit']}"
        end = LABEL + s["median"] * scale
        parts.append(text(LABEL - 8, y + 12, label, "end", True))
        parts.append(f'<rect x="{LABEL}" y="{y}" width="{max(s["median"] * scale, 1):.1f}" height="15" rx="2" fill="{paint[result["engine"]]}"/>')
        if s["count"] > 2:
            parts.append(line(LABEL + s["low"] * scale, y + 7.5, LABEL + s["high"] * scale, y + 7.5, "spread"))
        parts.append(text(max(end, LABEL + s["high"] * scale) + 6, y + 12, f.amount(figure, s["median"])))
        y += 21
    return svg(y + 4, parts, f.FIGURES[figure])


def decades(low, high, unit):
    return [unit * 10.0 ** e for e in range(math.floor(math.log10(low / unit)), math.ceil(math.log10(high / unit)) + 1)]


def apart(labels, distance=13):
    """The heights of labels, moved so that none lies on another."""
    placed = []
    for y, label in sorted(labels):
        placed.append((max(y, placed[-1][0] + distance) if placed else y, label))
    return placed


def growth(cases, figure, paint, exponents):
    """One line for each engine, both axes logarithmic; at its end its name and its exponent."""
    series = {}
    for case in cases:
        for r in case["results"]:
            if figure in r["summary"] and r["summary"][figure]["median"] > 0:
                series.setdefault(r["engine"], []).append((case["size"], r["summary"][figure]))
    values = [s["median"] for points in series.values() for _, s in points]
    sizes = sorted({case["size"] for case in cases})
    grid = decades(min(values), max(values), 2**20 if figure.endswith("_bytes") else 1)
    low, high = grid[0], max(grid[-1], grid[0] * 10)
    left, right, top, bottom = 62, WIDTH - 150, 28, 210
    x_of = lambda v: left + (right - left) * math.log(v / sizes[0]) / math.log(sizes[-1] / sizes[0])
    y_of = lambda v: bottom - (bottom - top) * math.log(v / low) / math.log(high / low)
    parts = [text(0, 13, f.FIGURES[figure])]
    for value in grid:
        parts += [line(left, y_of(value), right, y_of(value), "grid"), text(left - 6, y_of(value) + 4, short(figure, value), "end", True)]
    for size in sizes:
        parts.append(text(x_of(size), bottom + 17, f"{size:,}", "middle", True))
    parts.append(text(right + 8, bottom + 17, cases[0]["unit"], "start", True))
    labels = []
    for engine, points in series.items():
        places = [(x_of(size), y_of(s["median"]), s) for size, s in sorted(points, key=lambda p: p[0])]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{paint[engine]}" stroke-width="2"/>')
        for x, y, s in places:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{paint[engine]}"/>')
            if s["count"] > 2 and s["low"] > 0:
                parts.append(line(x, min(y_of(s["low"]), bottom), x, max(y_of(s["high"]), top), "spread"))
        power = exponents.get((cases[0]["family"], engine, figure))
        labels.append((places[-1][1] + 4, engine + (f", n^{power:.2f}" if power is not None else "")))
    parts += [text(right + 8, y, label) for y, label in apart(labels)]
    return svg(bottom + 26, parts, f.FIGURES[figure])


def short(figure, value):
    if figure.endswith("_bytes"):
        mib = value / 2**20
        return f"{mib:g} MiB"
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"

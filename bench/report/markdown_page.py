"""docs/benchmarks.md."""

import figures as f


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def columns(results):
    return [name for name in f.engines(results) if any(f.result_of(case, name) for case in results["cases"])]


def case_rows(results, exponents):
    names = columns(results)
    for case in results["cases"]:
        for figure in f.FIGURES:
            cells, anything = [], False
            for name in names:
                result = f.result_of(case, name)
                if result is None:
                    cells.append("")
                elif figure in result["summary"]:
                    anything = True
                    ratio = result.get("ratio", {}).get(figure)
                    power = exponents.get((case["family"], name, figure)) if "size" in case else None
                    text = f.with_quartiles(figure, result["summary"][figure])
                    text += f"; {ratio:.2f}" if ratio is not None else ""
                    cells.append(text + (f"; n^{power:.2f}" if power is not None else ""))
                else:
                    cells.append(f.STATUS.get(result["status"], "–"))
            if anything:
                rounds = max(len(result["samples"]) for result in case["results"])
                yield [case["name"], f.FIGURES[figure], *cells, rounds]


def troubles(results):
    for case in results["cases"]:
        for result in case["results"]:
            if result["status"] != "ok":
                yield [case["name"], result["engine"], f.STATUS[result["status"]], result["reason"]]


def limit_rows(results):
    for limit in results["limits"]:
        yield [f"{limit['mib']} MiB"] + [f.with_quartiles(name, limit["summary"][name]) for name in f.LIMITS]


def behind_rows(results):
    for case, figure, engine, ours, quicker, reason in f.not_first(results):
        others = ", ".join(f"{name} {f.amount(figure, value)}" for name, value in sorted(quicker.items(), key=lambda x: x[1]))
        yield [case["name"], f.FIGURES[figure], f"{engine} {f.amount(figure, ours)}", others, reason]


def text(results):
    parts = ["# Benchmarks\n\nWritten by `bench/compare` from its results ([benchmarks.json](benchmarks.json), every sample;"
             " [benchmarks.html](benchmarks.html), with charts); nothing here is typed in. How it measures:"
             " [bench/README.md](../bench/README.md). Earlier runs and what is behind the times:"
             " [benchmarks-notes.md](benchmarks-notes.md).\n"]
    parts.append(table(["", ""], f.machine_lines(results)))
    parts.append("## Where mini-criu is not first\n")
    behind = list(behind_rows(results))
    parts.append(table(["case", "figure", "mini-criu at its best", "before it", "reason"], behind) if behind else
                 "Nowhere in this run.\n")
    parts.append("## What fails and what is missing\n")
    rows = list(troubles(results))
    parts.append(table(["case", "engine", "", "reason"], rows) if rows else "Nothing in this run.\n")
    parts.append("## All figures\n\nMedians, in parentheses the quartiles; then the ratio to CRIU in the same run, below 1 where CRIU needs"
                 " more; then how the figure grows with the size n of the case, fitted to all sizes of it.\n")
    parts.append("".join(f"- {f.FIGURES[name]}: {meaning}\n" for name, meaning in f.MEANING.items()))
    parts.append(table(["case", "figure", *columns(results), "rounds"], case_rows(results, f.growth(results))))
    parts.append("## What the machine itself takes\n\nNo engine can be quicker than these, in the same run.\n")
    parts.append(table(["memory", *f.LIMITS.values()], limit_rows(results)))
    return "\n".join(parts)

#!/usr/bin/env python3
"""report.py RESULTS.json [--html PAGE.html] [--markdown PAGE.md]: what bench/compare has measured, for reading.

Takes every number from the results. The only text from elsewhere are the reasons in bench/report/reasons.md why
mini-criu is not first in a case."""

import argparse
import json

import markdown_page
import web_page


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results")
    parser.add_argument("--html")
    parser.add_argument("--markdown")
    options = parser.parse_args()
    with open(options.results, encoding="utf-8") as file:
        results = json.load(file)
    for path, write in ((options.html, web_page.text), (options.markdown, markdown_page.text)):
        if path:
            with open(path, "w", encoding="utf-8") as file:
                file.write(write(results))


main()

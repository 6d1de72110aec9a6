// Two images compared by what they hold of the program, not by how they are written. docs/diff.md says what counts.
// Reads only; damage is thrown as in store.h. Checksums of pages are believed where they can be compared: `verify`
// proves that they are right.
#pragma once

#include <string>
#include <vector>

namespace mcr::images {

struct Difference {
  std::vector<std::string> trail;  // "process 4711", "thread 4712"
  std::string field;               // "Credentials.euid", or what it is about: "memory 0x7f…-0x7f…"
  std::string before, after;       // both empty when `field` says it all
  std::string reason;              // the documented reason; empty: it counts
  std::string line() const;        // "process 4711 > thread 4712 > Credentials.euid: 0 -> 1000"
};

// `before` and `after`: folders of images.
std::vector<Difference> diff(const std::string& before, const std::string& after);

// One line a difference; `expected`: also those with a documented reason, and the reason.
std::string diff_text(const std::vector<Difference>& differences, bool expected);
// {"ok": true, "command": "diff", "same": …, "count": …, "differences": [{"trail", "field", …}]}
std::string diff_json(const std::vector<Difference>& differences);

}  // namespace mcr::images

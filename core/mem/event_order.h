// In which order threads have changed their mappings, when userfaultfd(2) tells of what was under way at the same time.
// The kernel tells of a move (mremap) or an unmapping when it is done and the lock of the mappings is free again, so
// that of two threads the later one may tell first. But nothing is moved onto a mapping that is still there, and what
// is mapped now can be asked for. All orders that agree with both are gone through. Pure; any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <vector>

namespace mcr::mem {

struct Range {
  uint64_t start, end;
  auto operator<=>(const Range&) const = default;
};
// Disjoint; start -> end.
using Ranges = std::map<uint64_t, uint64_t>;
void add_range(Ranges& ranges, Range range);
void take_range(Ranges& ranges, Range range);
std::vector<Range> common(const Ranges& ranges, Range range);

struct LayoutEvent {
  enum class Kind : uint32_t { remap, unmap, remove } kind;  // remove: its pages are discarded
  uint64_t from, to, bytes;                                  // to: of remap only
  // Between two of different stages nothing was under way: the one with the lower has happened first.
  uint32_t stage = 0;
  int thread = 0;               // whose; what it does is told of in order. 0: not known
  uint64_t more = 0;            // remap: bytes by which it was made longer, where that is known
  bool leaves_nothing = false;  // remap: that `from` is unmapped is known
};

enum class Mapped { yes, no, unknown };
using AskMapped = std::function<Mapped(Range)>;  // whether it lies in one mapping that is watched now

// What was at `origin` is at `at`.
struct Kept {
  uint64_t origin, at, bytes;
  bool is_discarded;
  auto operator<=>(const Kept&) const = default;
};
constexpr uint64_t kNowhere = ~0ULL;  // as an origin: no page was missing there, or is known of

// What has become of the ranges in `touched`: those of `kept`, and nothing else of what was there.
struct Resolved {
  std::vector<Range> touched;
  std::vector<Kept> kept;
  std::vector<Range> unsure;  // whose pages may be anything
};

// A child that was forked meanwhile, and when it was told of. It must not have changed anything yet.
struct Birth {
  size_t events_before;
  uint32_t stage;
  int thread;
  AskMapped is_mapped;
};

struct Resolution {
  Resolved memory;
  std::vector<Resolved> births;
};
// occupied: what was mapped before the first of them.
Resolution order_events(const Ranges& occupied, std::span<const LayoutEvent> events, const AskMapped& is_mapped,
                        std::span<const Birth> births);

}  // namespace mcr::mem

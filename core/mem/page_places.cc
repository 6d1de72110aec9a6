#include "core/mem/page_places.h"

#include <algorithm>

namespace mcr::mem {
namespace {

constexpr uint64_t kPage = 4096;

uint64_t end_of(const Kept& kept) {
  return kept.at + kept.bytes;
}

}  // namespace

void PagePlaces::put(const Stretch& stretch) {
  by_address_[stretch.address] = {stretch.number, stretch.pages};
  by_number_[stretch.number] = stretch.address;
}

// A stretch begins at this address, if one goes across it.
void PagePlaces::cut(uint64_t address) {
  const auto next = by_address_.upper_bound(address);
  if (next == by_address_.begin()) return;
  auto& [start, piece] = *std::prev(next);
  const uint64_t before = (address - start) / kPage;
  if (start == address || before >= piece.pages) return;
  const Stretch rest{address, piece.number + before, piece.pages - before};
  piece.pages = before;
  put(rest);
}

std::vector<Stretch> PagePlaces::take(Range range) {
  cut(range.start), cut(range.end);
  std::vector<Stretch> taken;
  const auto first = by_address_.lower_bound(range.start), end = by_address_.lower_bound(range.end);
  for (auto it = first; it != end; ++it) {
    taken.push_back({it->first, it->second.number, it->second.pages});
    by_number_.erase(it->second.number);
  }
  by_address_.erase(first, end);
  return taken;
}

// The parts of stretches that lie there.
std::vector<Stretch> PagePlaces::in(Range range) const {
  std::vector<Stretch> found;
  auto it = by_address_.upper_bound(range.start);
  if (it != by_address_.begin()) --it;
  for (; it != by_address_.end() && it->first < range.end; ++it) {
    const auto& [start, piece] = *it;
    const uint64_t from = std::max(start, range.start), to = std::min(start + piece.pages * kPage, range.end);
    if (from < to) found.push_back({from, piece.number + (from - start) / kPage, (to - from) / kPage});
  }
  return found;
}

// All at once: what is moved may go to where something else is taken away.
void PagePlaces::apply(const Resolved& resolved) {
  std::vector<Stretch> arrived;
  std::vector<Range> unsure = resolved.unsure;
  for (const Kept& kept : resolved.kept) {
    if (kept.origin == kNowhere) continue;
    for (const Range& range : common(unsure_, {kept.origin, kept.origin + kept.bytes}))
      unsure.push_back({range.start - kept.origin + kept.at, range.end - kept.origin + kept.at});
    for (const Stretch& s : in({kept.origin, kept.origin + kept.bytes}))
      arrived.push_back({s.address - kept.origin + kept.at, s.number, s.pages});
  }
  for (const Range& range : resolved.touched) {
    take(range);
    take_range(occupied_, range), take_range(unsure_, range);
  }
  for (const Stretch& stretch : arrived) put(stretch);
  for (const Kept& kept : resolved.kept) add_range(occupied_, {kept.at, end_of(kept)});
  for (const Range& range : unsure) add_range(unsure_, range);
}

void PagePlaces::each_ended(const Resolved& resolved, const std::function<void(uint64_t, uint64_t)>& act) const {
  Ranges ended;
  for (const Range& range : resolved.touched) add_range(ended, range);
  for (const Kept& kept : resolved.kept)
    if (kept.origin != kNowhere && !kept.is_discarded) take_range(ended, {kept.origin, kept.origin + kept.bytes});
  for (const auto& [start, end] : ended)
    for (const Stretch& stretch : in({start, end})) act(stretch.number, stretch.pages);
}

void PagePlaces::each(const std::function<void(const Stretch&)>& act) const {
  for (const auto& [start, piece] : by_address_) act({start, piece.number, piece.pages});
}

std::optional<uint64_t> PagePlaces::number_at(uint64_t address) const {
  const auto next = by_address_.upper_bound(address);
  if (next == by_address_.begin()) return std::nullopt;
  const auto& [start, piece] = *std::prev(next);
  const uint64_t at = (address - start) / kPage;
  if (at >= piece.pages) return std::nullopt;
  return piece.number + at;
}

std::optional<Stretch> PagePlaces::place_of(uint64_t number) const {
  const auto next = by_number_.upper_bound(number);
  if (next == by_number_.begin()) return std::nullopt;
  const auto [first, address] = *std::prev(next);
  const uint64_t pages = by_address_.at(address).pages, before = number - first;
  if (before >= pages) return std::nullopt;
  return Stretch{address + before * kPage, number, pages - before};
}

}  // namespace mcr::mem

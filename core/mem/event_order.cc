#include "core/mem/event_order.h"

#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <set>

namespace mcr::mem {
namespace {

using Kind = LayoutEvent::Kind;

constexpr uint64_t kPage = 4096;
constexpr size_t kMostEvents = 256, kMostStates = 4000;

// ghost: MREMAP_DONTUNMAP may have left it, empty. gone: it was unmapped.
enum class State : uint8_t { real, ghost, gone };

struct Part {
  uint64_t start, end, origin;
  State state;
  bool is_discarded;
  auto operator<=>(const Part&) const = default;
};
using World = std::vector<Part>;  // in address order

std::vector<Range> ranges_of(const LayoutEvent& event) {
  std::vector<Range> ranges{{event.from, event.from + event.bytes}};
  if (event.kind == Kind::remap) ranges.push_back({event.to, event.to + event.bytes + event.more});
  return ranges;
}

uint64_t origin_at(const Part& part, uint64_t address) {
  return part.origin == kNowhere ? kNowhere : part.origin + (address - part.start);
}

// Takes [range) out of the world; the rest stays.
World cut_out(World& world, Range range) {
  World rest, taken;
  for (const Part& part : world) {
    const uint64_t start = std::max(part.start, range.start), end = std::min(part.end, range.end);
    if (start >= end) {
      rest.push_back(part);
      continue;
    }
    const auto piece = [&](uint64_t from, uint64_t to) {
      return Part{from, to, origin_at(part, from), part.state, part.is_discarded};
    };
    if (part.start < start) rest.push_back(piece(part.start, start));
    taken.push_back(piece(start, end));
    if (end < part.end) rest.push_back(piece(end, part.end));
  }
  world = std::move(rest);
  return taken;
}

bool follows(const Part& a, const Part& b) {
  if (a.end != b.start || a.state != b.state || a.is_discarded != b.is_discarded) return false;
  return a.origin == kNowhere ? b.origin == kNowhere : b.origin == a.origin + (a.end - a.start);
}

void put_in_order(World& world) {
  std::ranges::sort(world);
  World joined;
  for (const Part& part : world)
    if (!joined.empty() && follows(joined.back(), part))
      joined.back().end = part.end;
    else
      joined.push_back(part);
  world = std::move(joined);
}

bool has(const World& parts, State state) {
  return std::ranges::any_of(parts, [&](const Part& part) { return part.state == state; });
}

// False: that cannot have happened there. `strict`: nor with what is not known of (a mapping that has grown).
bool move(World& world, const LayoutEvent& event, bool strict) {
  const World taken = cut_out(world, {event.from, event.from + event.bytes});
  World arrived;
  for (Part part : taken) {
    const bool is_gone = event.leaves_nothing || part.state == State::gone;
    world.push_back({part.start, part.end, kNowhere, is_gone ? State::gone : State::ghost, false});
    if (part.state != State::real) continue;
    part.start = part.start - event.from + event.to, part.end = part.end - event.from + event.to;
    arrived.push_back(part);
  }
  if (arrived.empty()) {
    if (strict && !has(taken, State::ghost)) return false;
    arrived.push_back({event.to, event.to + event.bytes, kNowhere, State::real, false});
  }
  const uint64_t end = event.to + event.bytes;
  if (event.more != 0) arrived.push_back({end, end + event.more, kNowhere, State::real, false});
  for (const Part& part : arrived) {
    if (has(cut_out(world, {part.start, part.end}), State::real)) return false;
    world.push_back(part);
  }
  return true;
}

bool unmap(World& world, const LayoutEvent& event, bool strict) {
  const World taken = cut_out(world, {event.from, event.from + event.bytes});
  if (strict && !has(taken, State::real) && !has(taken, State::ghost)) return false;
  for (const Part& part : taken) world.push_back({part.start, part.end, kNowhere, State::gone, false});
  return true;
}

bool discard(World& world, const LayoutEvent& event, bool strict) {
  World taken = cut_out(world, {event.from, event.from + event.bytes});
  if (strict && !has(taken, State::real)) return false;
  for (Part& part : taken) {
    part.is_discarded = part.is_discarded || part.state == State::real;
    world.push_back(part);
  }
  return true;
}

std::optional<World> after(World world, const LayoutEvent& event, bool strict) {
  const bool can_be = event.kind == Kind::remap   ? move(world, event, strict)
                      : event.kind == Kind::unmap ? unmap(world, event, strict)
                                                  : discard(world, event, strict);
  if (!can_be) return std::nullopt;
  put_in_order(world);
  return world;
}

Mapped ask(const AskMapped& is_mapped, uint64_t page) {
  return is_mapped({page, page + kPage});
}

// Nobody is told when a mapping grows: it may have grown to where another one was.
bool may_have_grown(uint64_t start, const AskMapped& is_mapped) {
  return is_mapped({start - kPage, start + kPage}) != Mapped::no;
}

// Where an event has begun or ended: in between all pages had the same fate.
using Borders = std::set<uint64_t>;

// False when it is for one of the pieces.
bool each_piece(Range range, const Borders& borders, const std::function<bool(Range)>& act) {
  for (uint64_t start = range.start; start < range.end;) {
    const auto border = borders.upper_bound(start);
    const uint64_t end = border == borders.end() ? range.end : std::min(range.end, *border);
    if (!act({start, end})) return false;
    start = end;
  }
  return true;
}

// Whether that is what is mapped now. is_doubtful: it may be, if a mapping has grown.
bool agrees(const World& world, const Borders& borders, const AskMapped& is_mapped, bool& is_doubtful) {
  return std::ranges::all_of(world, [&](const Part& part) {
    if (part.state == State::ghost) return true;
    return each_piece({part.start, part.end}, borders, [&](Range piece) {
      const Mapped first = ask(is_mapped, piece.start), last = ask(is_mapped, piece.end - kPage);
      if (part.state == State::real) return first != Mapped::no && last != Mapped::no;
      if (first != Mapped::yes && last != Mapped::yes) return true;
      if (first != Mapped::yes || !may_have_grown(piece.start, is_mapped)) return false;
      return is_doubtful = true;
    });
  });
}

std::vector<Kept> kept_of(const World& world) {
  std::vector<Kept> kept;
  for (const Part& part : world)
    if (part.state == State::real) kept.push_back({part.origin, part.start, part.end - part.start, part.is_discarded});
  return kept;
}

using Numbered = std::pair<size_t, LayoutEvent>;  // among all that were told of
using Ends = std::map<std::vector<Kept>, World>;  // what is kept, and one world in which it is

// The orders of events of which each has to do with another one.
class Orders {
 public:
  Orders(std::vector<Numbered> events, const Borders& borders, const AskMapped& is_mapped, bool strict)
      : events_(std::move(events)), borders_(borders), is_mapped_(is_mapped), strict_(strict) {}

  // False: there is none, or there are too many.
  bool find(const World& first) { return events_.size() <= kMostEvents && leads_on({}, first) && !is_too_much(); }
  bool is_too_much() const { return known_.size() > kMostStates; }
  bool is_doubtful() const { return is_doubtful_; }
  const Ends& ends() const { return ends_; }

  // What a child can have, that was told of after so many events. Between its birth and being told of it others may
  // have discarded pages: it has them, or zeros, and gets what was told. Which pages these were must be sure.
  Ends births(const Birth& birth) const {
    struct Found {
      bool as_told = false;
      Ends ends;
    };
    std::map<std::vector<Kept>, Found> all;  // by what is where, discarded or not
    for (const auto& [state, leads] : known_) {
      if (!leads || !could_be_born(state.first, state.second, birth)) continue;
      const bool as_told = is_discarded_as_told(state.first, birth);
      Found& found = all[kept_of(all_there(state.second))];
      if (as_told && !found.as_told) found = {true, {}};
      if (as_told == found.as_told) found.ends.try_emplace(kept_of(state.second), state.second);
    }
    Ends ends;
    for (auto& [kept, found] : all) ends.merge(found.ends);
    return ends;
  }

 private:
  using Done = std::array<uint64_t, kMostEvents / 64>;  // which of them have happened
  using Key = std::pair<Done, World>;

  bool leads_on(const Done& done, const World& world) {
    const Key key{done, world};
    if (const auto known = known_.find(key); known != known_.end()) return known->second;
    if (is_too_much()) return false;
    bool leads = false;
    if (count(done) == events_.size()) {
      leads = agrees(world, borders_, is_mapped_, is_doubtful_);
      if (leads) ends_.try_emplace(kept_of(world), world);
    }
    for (size_t i = 0; i < events_.size(); ++i) {
      if (has(done, i) || !may_be_next(done, i)) continue;
      Done more = done;
      more[i / 64] |= uint64_t{1} << i % 64;
      if (const auto next = after(world, events_[i].second, strict_); next && leads_on(more, *next)) leads = true;
    }
    known_[key] = leads;
    return leads;
  }

  static bool has(const Done& done, size_t i) { return done[i / 64] >> i % 64 & 1; }
  static size_t count(const Done& done) {
    return std::accumulate(done.begin(), done.end(), size_t{0},
                           [](size_t sum, uint64_t word) { return sum + static_cast<size_t>(std::popcount(word)); });
  }

  // Of one that was told of earlier: it has happened earlier, too.
  static bool is_before(const LayoutEvent& told_earlier, uint32_t stage, int thread) {
    return told_earlier.stage < stage || (thread != 0 && told_earlier.thread == thread);
  }

  // Discarding is told before it is done: whatever was told earlier has happened.
  bool may_be_next(const Done& done, size_t i) const {
    const LayoutEvent& event = events_[i].second;
    for (size_t k = 0; k < i; ++k)
      if (!has(done, k) && (event.kind == Kind::remove || is_before(events_[k].second, event.stage, event.thread)))
        return false;
    return true;
  }

  static World all_there(World world) {
    for (Part& part : world) part.is_discarded = false;
    put_in_order(world);
    return world;
  }

  bool is_discarded_as_told(const Done& done, const Birth& birth) const {
    for (size_t i = 0; i < events_.size(); ++i)
      if (events_[i].second.kind == Kind::remove && has(done, i) != (events_[i].first < birth.events_before))
        return false;
    return true;
  }

  bool could_be_born(const Done& done, const World& world, const Birth& birth) const {
    for (size_t i = 0; i < events_.size(); ++i) {
      const LayoutEvent& event = events_[i].second;
      const bool is_earlier = events_[i].first < birth.events_before;
      if (is_earlier && !has(done, i) && is_before(event, birth.stage, birth.thread)) return false;
      const bool is_later = event.stage > birth.stage || (birth.thread != 0 && event.thread == birth.thread);
      if (!is_earlier && has(done, i) && is_later) return false;
      if (event.kind != Kind::remap || has(done, i)) continue;
      World copy = world;
      if (cut_out(copy, {event.to, event.to + kPage}).empty() && ask(birth.is_mapped, event.to) == Mapped::yes &&
          !may_have_grown(event.to, birth.is_mapped))
        return false;
    }
    // Between a move with MREMAP_DONTUNMAP and the unmapping that was joined with it there is an empty mapping.
    return std::ranges::all_of(world, [&](const Part& part) {
      return part.state != State::real ||
             (ask(birth.is_mapped, part.start) != Mapped::no && ask(birth.is_mapped, part.end - kPage) != Mapped::no);
    });
  }

  std::vector<Numbered> events_;
  const Borders& borders_;
  const AskMapped& is_mapped_;
  bool strict_;
  std::map<Key, bool> known_;  // whether an order that can be goes on from there
  Ends ends_;
  bool is_doubtful_ = false;
};

// Whoever moves tells of that first, and then that it has unmapped what it has moved from: at once, or
// (MREMAP_DONTUNMAP) when it likes. Nothing else comes there in between. So of its own thread it is the first one; of a
// thread that is not known it is the only one. nullopt: it cannot be said.
std::optional<size_t> unmapping_of(std::span<const LayoutEvent> events, size_t i) {
  const LayoutEvent& event = events[i];
  std::optional<size_t> first;
  for (size_t k = i + 1; k < events.size(); ++k) {
    const LayoutEvent& other = events[k];
    if (other.kind != Kind::unmap || other.from != event.from || other.bytes != event.bytes) continue;
    if (event.thread != 0 && other.thread != 0 && other.thread != event.thread) continue;
    if (first) return std::nullopt;
    if (event.thread != 0 && other.thread == event.thread) return k;
    first = k;
  }
  return first;
}

std::vector<Numbered> joined(std::span<const LayoutEvent> events) {
  std::vector<Numbered> all;
  std::set<size_t> parts;
  for (size_t i = 0; i < events.size(); ++i) {
    if (parts.contains(i)) continue;
    LayoutEvent event = events[i];
    if (const auto part = event.kind == Kind::remap ? unmapping_of(events, i) : std::nullopt)
      event.leaves_nothing = parts.insert(*part).second;
    all.emplace_back(i, event);
  }
  return all;
}

struct Group {
  std::vector<Numbered> events;
  Ranges touched;
  Borders borders;
};

// Events that have no address in common have nothing to do with each other.
std::vector<Group> groups_of(const std::vector<Numbered>& events) {
  std::vector<Group> groups;
  for (const Numbered& numbered : events) {
    const LayoutEvent& event = numbered.second;
    Group group;
    group.events.push_back(numbered);
    for (const Range& range : ranges_of(event)) add_range(group.touched, range);
    std::erase_if(groups, [&](const Group& other) {
      if (std::ranges::none_of(other.touched, [&](const auto& r) {
            return std::ranges::any_of(ranges_of(event),
                                       [&](const Range& own) { return r.first < own.end && own.start < r.second; });
          }))
        return false;
      group.events.insert(group.events.end(), other.events.begin(), other.events.end());
      for (const auto& [start, end] : other.touched) add_range(group.touched, {start, end});
      return true;
    });
    std::ranges::sort(group.events, {}, [](const Numbered& one) { return one.first; });
    groups.push_back(std::move(group));
  }
  for (Group& group : groups)
    for (const auto& [number, event] : group.events)
      for (const Range& range : ranges_of(event)) group.borders.insert({range.start, range.end});
  return groups;
}

// What may be mapped there, in parts of which each was moved as a whole.
void add_unsure(Resolved& resolved, const Ranges& occupied, const Group& group, const AskMapped& is_mapped) {
  Ranges unsure;
  for (const auto& [start, end] : group.touched)
    for (const Range& range : common(occupied, {start, end})) add_range(unsure, range);
  for (const auto& [number, event] : group.events)
    for (const Range& range : ranges_of(event))
      if (event.kind == Kind::remap) add_range(unsure, range);
  for (const auto& [from, end] : unsure)
    each_piece({from, end}, group.borders, [&](Range piece) {
      if (ask(is_mapped, piece.start) != Mapped::no || ask(is_mapped, piece.end - kPage) != Mapped::no) {
        resolved.unsure.push_back(piece);
        resolved.kept.push_back({kNowhere, piece.start, piece.end - piece.start, false});
      }
      return true;
    });
}

void add_result(Resolved& resolved, const Ends& found, const Ranges& occupied, const Group& group,
                const AskMapped& is_mapped) {
  for (const auto& [start, end] : group.touched) resolved.touched.push_back({start, end});
  if (found.size() != 1) return add_unsure(resolved, occupied, group, is_mapped);
  const auto& [kept, world] = *found.begin();
  resolved.kept.insert(resolved.kept.end(), kept.begin(), kept.end());
  for (const Part& part : world)
    each_piece({part.start, part.end}, group.borders, [&](Range piece) {
      if (part.state != State::real && ask(is_mapped, piece.start) == Mapped::yes)
        resolved.kept.push_back({kNowhere, piece.start, piece.end - piece.start, false});
      return true;
    });
}

// With what is not known of only where nothing else can be, or where a mapping may have grown.
void resolve(const Ranges& occupied, const Group& group, const AskMapped& is_mapped, std::span<const Birth> births,
             Resolution& into) {
  World first;
  for (const auto& [start, end] : group.touched)
    for (const Range& range : common(occupied, {start, end}))
      first.push_back({range.start, range.end, range.start, State::real, false});
  put_in_order(first);
  Orders strict(group.events, group.borders, is_mapped, true), any(group.events, group.borders, is_mapped, false);
  const bool is_strict = strict.find(first) && !strict.is_doubtful();
  const bool is_found = is_strict || (!strict.is_too_much() && any.find(first));
  const Orders& orders = is_strict ? strict : any;
  add_result(into.memory, is_found ? orders.ends() : Ends{}, occupied, group, is_mapped);
  for (size_t i = 0; i < births.size(); ++i)
    add_result(into.births[i], is_found ? orders.births(births[i]) : Ends{}, occupied, group, births[i].is_mapped);
}

}  // namespace

void add_range(Ranges& ranges, Range range) {
  if (range.start >= range.end) return;
  auto it = ranges.upper_bound(range.start);
  if (it != ranges.begin() && std::prev(it)->second >= range.start) --it;
  while (it != ranges.end() && it->first <= range.end) {
    range = {std::min(range.start, it->first), std::max(range.end, it->second)};
    it = ranges.erase(it);
  }
  ranges[range.start] = range.end;
}

void take_range(Ranges& ranges, Range range) {
  for (const Range& part : common(ranges, range)) {
    const auto it = std::prev(ranges.upper_bound(part.start));
    const Range whole{it->first, it->second};
    ranges.erase(it);
    if (whole.start < part.start) ranges[whole.start] = part.start;
    if (part.end < whole.end) ranges[part.end] = whole.end;
  }
}

std::vector<Range> common(const Ranges& ranges, Range range) {
  std::vector<Range> found;
  auto it = ranges.upper_bound(range.start);
  if (it != ranges.begin()) --it;
  for (; it != ranges.end() && it->first < range.end; ++it)
    if (const Range both{std::max(it->first, range.start), std::min(it->second, range.end)}; both.start < both.end)
      found.push_back(both);
  return found;
}

Resolution order_events(const Ranges& occupied, std::span<const LayoutEvent> events, const AskMapped& is_mapped,
                        std::span<const Birth> births) {
  Resolution resolution;
  resolution.births.resize(births.size());
  for (const Group& group : groups_of(joined(events))) resolve(occupied, group, is_mapped, births, resolution);
  return resolution;
}

}  // namespace mcr::mem

#include "core/mem/missing_pages.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/mem/event_calls.h"

namespace mcr::mem {
namespace {

constexpr uint64_t kPage = 4096;
constexpr size_t kMostMemories = 16384, kMostRecords = 1 << 20, kMostPieces = kMostRecords / 2, kEvents = 32;
constexpr uint64_t kSecondList = uint64_t{1} << 63;

uint64_t words_of(uint64_t pages) {
  return (pages + 63) / 64;
}

struct PiecesHead {
  uint64_t pieces, mappings;
};

void tell_events(log::Level level, const std::vector<LayoutEvent>& events) {
  if (!log::enabled(level)) return;
  constexpr const char* kNames[] = {"moved", "unmapped", "discarded"};
  for (const LayoutEvent& e : events)
    log::write(
        level, "lazy",
        fmt::format("{} by {} in stage {}: {:#x}-{:#x}{}", kNames[static_cast<int>(e.kind)], e.thread, e.stage, e.from,
                    e.from + e.bytes,
                    e.kind == LayoutEvent::Kind::remap ? fmt::format(" to {:#x} and {} more", e.to, e.more) : ""));
}

void tell_resolved(size_t memory, const Resolved& resolved) {
  if (!log::enabled(log::Level::debug)) return;
  for (const Range& r : resolved.touched) log::debug("lazy", "memory {}: touched {:#x}-{:#x}", memory, r.start, r.end);
  for (const Kept& k : resolved.kept)
    log::debug("lazy", "memory {}: {:#x}-{:#x} is {}{}", memory, k.at, k.at + k.bytes,
               k.origin == kNowhere ? "new" : fmt::format("what was at {:#x}", k.origin),
               k.is_discarded ? ", discarded" : "");
}

// Whether an answer of the kernel was had while something was under way.
AskMapped asks(int file, bool& is_changing) {
  return [file, &is_changing](Range range) {
    if (is_changing) return Mapped::unknown;
    switch (sys::probe_pages(file, range.start, range.end - range.start)) {
      case sys::Watched::yes:
        return Mapped::yes;
      case sys::Watched::no:
        return Mapped::no;
      case sys::Watched::changing:
        is_changing = true;
        [[fallthrough]];
      default:
        return Mapped::unknown;
    }
  };
}

}  // namespace

struct MissingPages::Entry {
  int32_t file, tasks;
  uint32_t process, is_over, is_child, reserved;
  uint64_t pieces, bits, pages;  // offsets; pages of all pieces
};
struct MissingPages::Record {
  enum Kind : uint32_t { stretch, mapping, event, fork, child, touched, kept, unsure, settled, end_unsure };
  uint64_t tag = 0;  // of the event
  uint32_t memory = 0;
  Kind kind{};
  uint64_t a = 0, b = 0, c = 0;
  uint32_t flag = 0, stage = 0;
  int32_t thread = 0;
  uint32_t more_pages = 0;
};
struct MissingPages::Shared {
  sys::TrioState trio;
  std::atomic<uint64_t> used;
  std::atomic<uint32_t> is_settled, is_lost, entries;
  // What is being read: the memory (+1), how often that was done, how many events are applied.
  std::atomic<uint32_t> reading, applied;
  std::atomic<uint64_t> batch;
  std::byte events[kEvents * sys::kFaultEventBytes];
  std::atomic<int32_t> thread[kEvents];       // whose events they are; 0: not known
  std::atomic<uint32_t> more_pages[kEvents];  // by which they have made longer what they moved
  Entry entry[kMostMemories];
  std::atomic<uint64_t> list;  // how many records count, and of which of the two lists
  Record record[2][kMostRecords];
};

MissingPages::Shared& MissingPages::header(const sys::SharedMemory& shared) {
  return *reinterpret_cast<Shared*>(shared.data());
}

sys::TrioState& MissingPages::trio_of(sys::SharedMemory& shared) {
  return header(shared).trio;
}
void MissingPages::settle(sys::SharedMemory& shared) {
  header(shared).is_settled = 1;
}
bool MissingPages::is_settled(const sys::SharedMemory& shared) {
  return header(shared).is_settled != 0;
}
bool MissingPages::is_lost() const {
  return header(shared_).is_lost != 0;
}

// nullopt: there is no room.
std::optional<uint64_t> MissingPages::take(sys::SharedMemory& shared, uint64_t bytes) {
  bytes = (bytes + 63) / 64 * 64;
  std::atomic<uint64_t>& used = header(shared).used;
  const uint64_t at = (sizeof(Shared) + 63) / 64 * 64 + used;
  if (at > shared.bytes() || bytes > shared.bytes() - at) return std::nullopt;
  used += bytes;
  return at;
}

uint64_t MissingPages::put_pieces(sys::SharedMemory& shared, std::span<const LatePiece> pieces,
                                  std::span<const Range> mappings) {
  const PiecesHead head{pieces.size(), mappings.size()};
  uint64_t pages = 0;
  for (const LatePiece& piece : pieces) pages += piece.bytes / kPage;
  const uint64_t bytes = sizeof head + pieces.size_bytes() + mappings.size_bytes();
  const auto at = head.pieces + head.mappings > kMostPieces ? std::nullopt : take(shared, bytes);
  if (!at || sizeof(Shared) + header(shared).used + words_of(pages) * sizeof(uint64_t) + kPage > shared.bytes())
    throw Error(Fault::refused, "there is no room to note which pages are missing", "restore without --lazy-pages");
  std::byte* to = shared.data() + *at;
  std::memcpy(to, &head, sizeof head);
  if (!pieces.empty()) std::memcpy(to + sizeof head, pieces.data(), pieces.size_bytes());
  if (!mappings.empty()) std::memcpy(to + sizeof head + pieces.size_bytes(), mappings.data(), mappings.size_bytes());
  return *at;
}

MissingPages::MissingPages(sys::SharedMemory& shared) : shared_(shared) {
  Shared& state = header(shared_);
  for (size_t i = 0; i < state.entries; ++i) load(i);
  replay();
  if (state.reading == 0) return;
  std::vector<uint64_t> faults;  // all that wait are woken by whoever takes over
  apply_batch(state.reading - 1, faults);
}

std::vector<int> MissingPages::files() const {
  std::vector<int> files;
  for (const Memory& memory : memories_)
    if (!memory.is_over) files.insert(files.end(), {memory.file, memory.tasks});
  return files;
}

// All but the places, which are in the list.
void MissingPages::load(size_t index) {
  const Entry& entry = header(shared_).entry[index];
  if (memories_.size() <= index) memories_.resize(index + 1);
  Memory& memory = memories_[index] = Memory{};
  memory.file = entry.file, memory.tasks = entry.tasks, memory.process = entry.process;
  memory.is_over = entry.is_over != 0, memory.is_child = entry.is_child != 0;
  PiecesHead head;
  std::memcpy(&head, shared_.data() + entry.pieces, sizeof head);
  memory.pieces = {reinterpret_cast<const LatePiece*>(shared_.data() + entry.pieces + sizeof head), head.pieces};
  memory.bits = {reinterpret_cast<uint64_t*>(shared_.data() + entry.bits), words_of(entry.pages)};
  uint64_t number = 0;
  for (const LatePiece& piece : memory.pieces) {
    memory.firsts.push_back(number);
    number += piece.bytes / kPage;
  }
  if (memory.is_over) return;
  for (const uint64_t word : memory.bits) memory.waiting += static_cast<uint64_t>(std::popcount(word));
}

void MissingPages::add(int file, int pid, uint32_t process, uint64_t pieces) {
  Shared& state = header(shared_);
  const size_t index = state.entries;
  PiecesHead head;
  std::memcpy(&head, shared_.data() + pieces, sizeof head);
  const std::byte* from = shared_.data() + pieces + sizeof head;
  const std::span all(reinterpret_cast<const LatePiece*>(from), head.pieces);
  const std::span mappings(reinterpret_cast<const Range*>(from + all.size_bytes()), head.mappings);
  std::vector<Record> records;
  uint64_t pages = 0;
  for (const LatePiece& piece : all) {
    records.push_back({0, static_cast<uint32_t>(index), Record::stretch, piece.start, pages, piece.bytes / kPage});
    pages += piece.bytes / kPage;
  }
  for (const Range& range : mappings)
    records.push_back({0, static_cast<uint32_t>(index), Record::mapping, range.start, range.end});
  const auto bits = take(shared_, words_of(pages) * sizeof(uint64_t));
  make_room(records.size());
  if (index == kMostMemories || !bits || !append(records))
    throw Error(Fault::system, "there are too many processes for --lazy-pages");
  auto* words = reinterpret_cast<uint64_t*>(shared_.data() + *bits);
  for (uint64_t i = 0; i < pages; ++i) words[i / 64] |= 1ULL << i % 64;
  const int tasks = ::open(fmt::format("/proc/{}/task", pid).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  state.entry[index] = {file, tasks, process, 0, 0, 0, pieces, *bits, pages};
  state.entries = static_cast<uint32_t>(index + 1);
  load(index);
  Resolved none;
  for (const Record& record : records) replay(record, none);
}

// The number may mean something else as soon as it is closed; whoever takes over closes what nobody uses.
void MissingPages::drop(size_t index) {
  header(shared_).entry[index].is_over = 1;
  Memory& memory = memories_[index];
  ::close(memory.file);
  if (memory.tasks >= 0) ::close(memory.tasks);
  memory = Memory{};
  memory.is_over = true;
}

// ---- the list ----

bool MissingPages::append(std::span<const Record> records) {
  Shared& state = header(shared_);
  const uint64_t list = state.list, count = list & ~kSecondList;
  if (count + records.size() > kMostRecords) {
    state.is_lost = 1;
    return false;
  }
  std::ranges::copy(records, state.record[list >= kSecondList] + count);
  state.list = list + records.size();
  return true;
}

// The other list gets what this one comes to. Not while events are noted: their tags are lost.
void MissingPages::make_room(size_t for_records) {
  Shared& state = header(shared_);
  if ((state.list & ~kSecondList) + for_records <= kMostRecords) return;
  std::vector<Record> records;
  for (size_t i = 0; i < memories_.size(); ++i)
    if (!memories_[i].is_over) describe(records, i);
  for (size_t i = 0; i < memories_.size(); ++i)
    for (const Child& child : memories_[i].children)
      records.push_back({0, static_cast<uint32_t>(child.memory), Record::child, i, child.events_before, child.stage, 0,
                         0, child.thread});
  if (records.size() > kMostRecords / 4 * 3) return;
  const bool is_second = state.list < kSecondList;
  std::ranges::copy(records, state.record[is_second]);
  state.list = records.size() | (is_second ? kSecondList : 0);
}

void MissingPages::describe(std::vector<Record>& records, size_t index) const {
  const Memory& memory = memories_[index];
  const auto number = static_cast<uint32_t>(index);
  memory.places.each([&](const Stretch& s) {
    records.push_back({0, number, Record::stretch, s.address, s.number, s.pages});
  });
  for (const auto& [start, end] : memory.places.occupied()) records.push_back({0, number, Record::mapping, start, end});
  for (const auto& [start, end] : memory.places.unsure()) records.push_back({0, number, Record::unsure, start, end});
  for (const LayoutEvent& event : memory.events)
    records.push_back({0, number, Record::event, event.from, event.to, event.bytes, static_cast<uint32_t>(event.kind),
                       event.stage, event.thread, static_cast<uint32_t>(event.more / kPage)});
}

void MissingPages::replay() {
  const Shared& state = header(shared_);
  const uint64_t list = state.list;
  Resolved resolved;
  for (uint64_t i = 0; i < (list & ~kSecondList); ++i) replay(state.record[list >= kSecondList][i], resolved);
}

void MissingPages::replay(const Record& record, Resolved& resolved) {
  if (record.memory >= memories_.size()) return;  // it was noted, and not entered
  Memory& memory = memories_[record.memory];
  switch (record.kind) {
    case Record::stretch:
      memory.places.put({record.a, record.b, record.c});
      break;
    case Record::mapping:
      memory.places.occupy({record.a, record.b});
      break;
    case Record::event:
      memory.events.push_back({static_cast<LayoutEvent::Kind>(record.flag), record.a, record.b, record.c, record.stage,
                               record.thread, record.more_pages * kPage});
      memory.stage = record.stage;
      break;
    case Record::fork:
      memory.places = memories_[record.a].places;
      memory.events.clear(), memory.children.clear();
      [[fallthrough]];
    case Record::child:
      be_born(record.a, {record.memory, record.b, static_cast<uint32_t>(record.c), record.thread});
      break;
    case Record::touched:
      resolved.touched.push_back({record.a, record.b});
      break;
    case Record::kept:
      resolved.kept.push_back({record.a, record.b, record.c, record.flag != 0});
      break;
    case Record::unsure:
      if (resolved.touched.empty())
        memory.places.add_unsure({record.a, record.b});
      else
        resolved.unsure.push_back({record.a, record.b});
      break;
    case Record::settled:
      take_effect(record.memory, resolved);
      resolved = {};
      break;
    case Record::end_unsure:
      memory.places.end_unsure();
      break;
  }
}

void MissingPages::add_records(std::vector<Record>& records, size_t index, const Resolved& resolved) {
  const auto memory = static_cast<uint32_t>(index);
  for (const Range& r : resolved.touched) records.push_back({0, memory, Record::touched, r.start, r.end});
  for (const Kept& k : resolved.kept)
    records.push_back({0, memory, Record::kept, k.origin, k.at, k.bytes, k.is_discarded ? 1U : 0U});
  for (const Range& r : resolved.unsure) records.push_back({0, memory, Record::unsure, r.start, r.end});
  records.push_back({0, memory, Record::settled});
}

void MissingPages::take_effect(size_t index, const Resolved& resolved) {
  Memory& memory = memories_[index];
  memory.places.apply(resolved);
  memory.events.clear();
  for (const Child& child : memory.children) memories_[child.memory].is_embryo = false;
  memory.children.clear();
}

// ---- events ----

uint64_t MissingPages::tag() const {
  const Shared& state = header(shared_);
  return state.batch * kEvents + state.applied;
}

// Events are handed out once each: a fork that cannot be entered must not be read.
bool MissingPages::has_room(size_t memory) const {
  const Shared& state = header(shared_);
  const uint64_t bits = words_of(state.entry[memory].pages) * sizeof(uint64_t) + 64;
  const uint64_t used = sizeof(Shared) + 64 + state.used;
  size_t room = std::min<uint64_t>(kMostMemories - state.entries, (shared_.bytes() - used) / bits);
  for (size_t i = 0; i < state.entries && room < kEvents; ++i)
    if (state.entry[i].is_over && state.entry[i].pieces == state.entry[memory].pieces) ++room;
  return room >= kEvents;
}

std::vector<uint64_t> MissingPages::read_events(size_t memory) {
  Shared& state = header(shared_);
  make_room(kEvents);
  std::vector<uint64_t> faults;
  std::memset(state.events, 0, sizeof state.events);
  for (auto& thread : state.thread) thread = 0;
  for (auto& more : state.more_pages) more = 0;
  state.applied = 0;
  ++state.batch;
  state.reading = static_cast<uint32_t>(memory + 1);
  read_batch(memories_[memory]);
  apply_batch(memory, faults);
  return faults;
}

// One at a time, so that the threads can be looked at that wait meanwhile. A killed process ends the system call that
// it is in: what the kernel has handed out is there.
void MissingPages::read_batch(const Memory& memory) {
  Shared& state = header(shared_);
  for (size_t i = 0; i < kEvents; ++i) {
    const auto slot = std::span(state.events).subspan(i * sys::kFaultEventBytes, sys::kFaultEventBytes);
    pollfd waiting{memory.file, POLLIN, 0};
    if (i > 0 && ::poll(&waiting, 1, 0) != 1) return;
    const auto calls = memory.tasks < 0 ? std::vector<sys::ThreadCall>() : sys::calls_of_threads(memory.tasks);
    // Known before it is read: whoever takes over has nothing to ask any more.
    if (calls.size() == 1 && calls.front().is_only) state.thread[i] = calls.front().thread;
    if (sys::read_fault_events(memory.file, slot) == 0) return;
    const auto event = sys::decode_fault_event(slot.data());
    const sys::ThreadCall call = call_behind(event, calls);
    state.thread[i] = call.thread, state.more_pages[i] = pages_more(event, call);
  }
}

uint64_t MissingPages::more_bytes() const {
  const Shared& state = header(shared_);
  return state.more_pages[state.applied] * kPage;
}

int MissingPages::thread_of_event() const {
  const Shared& state = header(shared_);
  return state.thread[state.applied];
}

// Each event once more does no harm: whoever applied it last may have been killed before that was noted.
void MissingPages::apply_batch(size_t memory, std::vector<uint64_t>& faults) {
  Shared& state = header(shared_);
  for (; state.applied < kEvents; ++state.applied) {
    const auto event = sys::decode_fault_event(state.events + state.applied * sys::kFaultEventBytes);
    if (event.kind == sys::FaultEvent::Kind::none) break;
    apply(memory, event, faults);
  }
  state.reading = 0;
}

void MissingPages::apply(size_t index, const sys::FaultEvent& event, std::vector<uint64_t>& faults) {
  const uint64_t bytes = event.end - event.start;
  const uint32_t stage = memories_[index].stage;
  switch (event.kind) {
    case sys::FaultEvent::Kind::fault:
      faults.push_back(event.start);
      break;
    case sys::FaultEvent::Kind::fork:
      fork(index, event.file);
      break;
    case sys::FaultEvent::Kind::remap:
      note_event(index,
                 {LayoutEvent::Kind::remap, event.start, event.to, bytes, stage, thread_of_event(), more_bytes()});
      break;
    case sys::FaultEvent::Kind::remove:
      note_event(index, {LayoutEvent::Kind::remove, event.start, 0, bytes, stage, thread_of_event()});
      break;
    case sys::FaultEvent::Kind::unmap:
      note_event(index, {LayoutEvent::Kind::unmap, event.start, 0, bytes, stage, thread_of_event()});
      break;
    default:
      break;
  }
}

// Whoever noted this one was killed then.
bool MissingPages::is_noted() const {
  const Shared& state = header(shared_);
  const uint64_t list = state.list, count = list & ~kSecondList;
  return count > 0 && state.record[list >= kSecondList][count - 1].tag == tag();
}

void MissingPages::note_event(size_t index, const LayoutEvent& event) {
  if (is_noted()) return;
  const Record record{tag(),
                      static_cast<uint32_t>(index),
                      Record::event,
                      event.from,
                      event.to,
                      event.bytes,
                      static_cast<uint32_t>(event.kind),
                      event.stage,
                      event.thread,
                      static_cast<uint32_t>(event.more / kPage)};
  append(std::span(&record, 1));
  memories_[index].events.push_back(event);
}

// A place may be used again by a relative only: it has as many pages.
size_t MissingPages::place_for_child(size_t parent) const {
  const Shared& state = header(shared_);
  size_t index = 0;
  while (index < state.entries &&
         !(state.entry[index].is_over && state.entry[index].pieces == state.entry[parent].pieces))
    ++index;
  return index;
}

// The child has what its parent had in that instant.
void MissingPages::fork(size_t parent, int file) {
  Shared& state = header(shared_);
  for (size_t i = 0; i < state.entries; ++i)
    if (!state.entry[i].is_over && state.entry[i].file == file) return;
  const size_t index = place_for_child(parent);
  const Entry& old = state.entry[parent];
  const bool is_new = index == state.entries;
  const uint64_t bits =
      is_new ? take(shared_, words_of(old.pages) * sizeof(uint64_t)).value() : state.entry[index].bits;
  std::memcpy(shared_.data() + bits, memories_[parent].bits.data(), memories_[parent].bits.size_bytes());
  const Child child{index, memories_[parent].events.size(), memories_[parent].stage, thread_of_event()};
  const Record record{
      tag(), static_cast<uint32_t>(index), Record::fork, parent, child.events_before, child.stage, 0, 0, child.thread};
  if (!is_noted()) append(std::span(&record, 1));
  state.entry[index] = {file, -1, old.process, is_new ? 0U : 1U, 1, 0, old.pieces, bits, old.pages};
  if (is_new) state.entries = static_cast<uint32_t>(index + 1);
  state.entry[index].is_over = 0;
  load(index);
  memories_[index].places = memories_[parent].places;
  be_born(parent, child);
}

void MissingPages::be_born(size_t parent, const Child& child) {
  auto& children = memories_[parent].children;
  if (std::ranges::none_of(children, [&](const Child& other) { return other.memory == child.memory; }))
    children.push_back(child);
  memories_[child.memory].is_embryo = true;
}

// ---- what has happened ----

bool MissingPages::settle_events(size_t index) {
  const Memory& memory = memories_[index];
  if (is_lost()) return true;
  if (memory.is_embryo) return false;
  if (!memory.is_open()) return true;
  if (!sys::is_quiet(memory.file)) return false;
  ++memories_[index].stage;
  const Resolution resolution = resolve(index);
  if (!sys::is_quiet(memory.file)) return false;
  tell_events(resolution.memory.unsure.empty() ? log::Level::debug : log::Level::info, memory.events);
  tell_resolved(index, resolution.memory);
  for (size_t i = 0; i < memory.children.size(); ++i) {
    const Child& child = memory.children[i];
    log::debug("lazy", "memory {} was forked from {} by {} after {} events, in stage {}", child.memory, index,
               child.thread, child.events_before, child.stage);
    tell_resolved(child.memory, resolution.births[i]);
  }
  std::vector<Record> records;
  const auto settle = [&](size_t i, const Resolved& resolved) {
    // Before it is noted: a list that is gone through again must not take away what was entered there later.
    memories_[i].places.each_ended(resolved, [&](uint64_t first, uint64_t count) { clear(i, first, count); });
    add_records(records, i, resolved);
  };
  const std::vector<Child> children = memory.children;
  for (size_t i = 0; i < children.size(); ++i) settle(children[i].memory, resolution.births[i]);
  settle(index, resolution.memory);
  make_room(records.size());
  if (!append(records)) return false;
  for (size_t i = 0; i < children.size(); ++i) take_effect(children[i].memory, resolution.births[i]);
  take_effect(index, resolution.memory);
  return true;
}

// A child that goes on already cannot be asked what it had at first.
Resolution MissingPages::resolve(size_t index) {
  const Memory& memory = memories_[index];
  bool is_changing = false;
  const AskMapped own = asks(memory.file, is_changing);
  std::vector<char> has_changed(memory.children.size());
  for (;;) {
    std::vector<std::unique_ptr<bool>> flags;
    std::vector<Birth> births;
    for (size_t i = 0; i < memory.children.size(); ++i) {
      flags.push_back(std::make_unique<bool>(has_changed[i] != 0));
      births.push_back({memory.children[i].events_before, memory.children[i].stage, memory.children[i].thread,
                        asks(memories_[memory.children[i].memory].file, *flags[i])});
    }
    Resolution resolution = order_events(memory.places.occupied(), memory.events, own, births);
    bool again = false;
    for (size_t i = 0; i < births.size(); ++i)
      if (!has_changed[i] && (*flags[i] || !sys::is_quiet(memories_[memory.children[i].memory].file)))
        has_changed[i] = 1, again = true;
    if (!again) return resolution;
  }
}

void MissingPages::end_unsure(size_t index) {
  const Record record{0, static_cast<uint32_t>(index), Record::end_unsure};
  make_room(1);
  append(std::span(&record, 1));
  memories_[index].places.end_unsure();
}

// ---- pages ----

void MissingPages::clear(size_t index, uint64_t first, uint64_t count) {
  Memory& memory = memories_[index];
  for (uint64_t number = first; number < first + count; ++number) {
    uint64_t& word = memory.bits[number / 64];
    const uint64_t bit = 1ULL << number % 64;
    if (word & bit) word &= ~bit, --memory.waiting;
  }
}

bool MissingPages::waits(size_t index, uint64_t number) const {
  return memories_[index].bits[number / 64] >> number % 64 & 1;
}

std::optional<uint64_t> MissingPages::waiting_at(size_t index, uint64_t address) const {
  const auto number = memories_[index].places.number_at(address);
  return number && waits(index, *number) ? number : std::nullopt;
}

std::optional<uint64_t> MissingPages::next_waiting(size_t index, uint64_t from) const {
  const Memory& memory = memories_[index];
  for (uint64_t word = from / 64; word < memory.bits.size(); ++word) {
    uint64_t bits = memory.bits[word];
    if (word == from / 64) bits &= ~0ULL << from % 64;
    if (bits != 0) return word * 64 + static_cast<uint64_t>(std::countr_zero(bits));
  }
  return std::nullopt;
}

const LatePiece& MissingPages::piece_of(size_t index, uint64_t number, uint64_t& first) const {
  const Memory& memory = memories_[index];
  const auto next = std::ranges::upper_bound(memory.firsts, number);
  const auto at = static_cast<size_t>(next - memory.firsts.begin()) - 1;
  first = memory.firsts[at];
  return memory.pieces[at];
}

}  // namespace mcr::mem

// What is missing in the memory of processes that run already: which pages wait for their content, and where these are
// now. All that changes lies in shared memory and is whole at every instruction: of whoever keeps it and is killed,
// another process takes it over (sys::start_service_trio). One process at a time, one thread.
//
// A page of the image has a number; a bit tells whether it still waits. It is taken back when the page has been put
// there, and when the program has discarded it: from then on it is a page of zeros. What the kernel tells of mappings
// is noted in a list. When nothing is under way any more, it is settled what has happened (event_order.h), and that is
// noted too; until then nothing may be put there.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/mem/late_pages.h"
#include "core/mem/page_places.h"
#include "core/sys/service_trio.h"
#include "core/sys/user_fault.h"

namespace mcr::mem {

class MissingPages {
 public:
  // `shared`: zeros at first. Takes over what is there.
  explicit MissingPages(sys::SharedMemory& shared);

  // Any process: a place for the pieces, and for the mappings that they are of, as add() wants it. Throws
  // Fault::refused where there are too many.
  static uint64_t put_pieces(sys::SharedMemory& shared, std::span<const LatePiece> pieces,
                             std::span<const Range> mappings);
  static sys::TrioState& trio_of(sys::SharedMemory& shared);
  // The engine's last word: the program lives.
  static void settle(sys::SharedMemory& shared);
  static bool is_settled(const sys::SharedMemory& shared);

  // `file`: the userfaultfd(2) of the memory, `pid` its process; `process`: index among the images.
  void add(int file, int pid, uint32_t process, uint64_t pieces);

  struct Child {
    size_t memory, events_before;
    uint32_t stage;
    int thread;
  };
  struct Memory {
    int file = -1, tasks = -1;  // tasks: /proc/PID/task, where the pid is known
    uint32_t process = 0;
    bool is_over = false, is_child = false;
    bool is_embryo = false;  // what it has is settled with its parent
    uint64_t waiting = 0;    // pages
    std::span<const LatePiece> pieces{};
    std::vector<uint64_t> firsts{};  // number of the first page of each piece
    std::span<uint64_t> bits{};      // by number: it waits
    PagePlaces places{};             // before the events
    std::vector<LayoutEvent> events{};
    uint32_t stage = 0;             // of the next one
    std::vector<Child> children{};  // that were forked among the events

    bool is_open() const { return !events.empty() || !children.empty(); }
  };
  const std::vector<Memory>& memories() const { return memories_; }
  // Descriptors that are in use.
  std::vector<int> files() const;

  // Whether a child of it could be entered; else its events have to wait until one is over.
  bool has_room(size_t memory) const;
  // Reads what has happened to a memory and notes it. Returns the pages that somebody waits for.
  std::vector<uint64_t> read_events(size_t memory);
  // Settles what was read. False: something is under way.
  bool settle_events(size_t memory);
  void end_unsure(size_t memory);  // places.unsure() are poisoned
  void drop(size_t memory);        // it is complete, or gone: closes its file

  // The number of the page that waits to come to this address.
  std::optional<uint64_t> waiting_at(size_t memory, uint64_t address) const;
  // The next one that waits, from this number on; nullopt: none.
  std::optional<uint64_t> next_waiting(size_t memory, uint64_t from) const;
  bool waits(size_t memory, uint64_t number) const;
  void clear(size_t memory, uint64_t first, uint64_t count);  // they wait no longer
  const LatePiece& piece_of(size_t memory, uint64_t number, uint64_t& first) const;
  // The list was full: what was taken over is not known. Nothing may be filled any more.
  bool is_lost() const;

 private:
  struct Shared;
  struct Entry;
  struct Record;
  static Shared& header(const sys::SharedMemory& shared);
  static std::optional<uint64_t> take(sys::SharedMemory& shared, uint64_t bytes);
  void load(size_t index);
  void replay();
  void replay(const Record& record, Resolved& resolved);
  void read_batch(const Memory& memory);
  int thread_of_event() const;
  uint64_t more_bytes() const;
  void apply_batch(size_t memory, std::vector<uint64_t>& faults);
  void apply(size_t memory, const sys::FaultEvent& event, std::vector<uint64_t>& faults);
  void note_event(size_t memory, const LayoutEvent& event);
  bool is_noted() const;
  bool append(std::span<const Record> records);
  void make_room(size_t for_records);
  static void add_records(std::vector<Record>& records, size_t index, const Resolved& resolved);
  void describe(std::vector<Record>& records, size_t index) const;
  size_t place_for_child(size_t parent) const;
  void fork(size_t parent, int file);
  void be_born(size_t parent, const Child& child);
  Resolution resolve(size_t memory);
  void take_effect(size_t memory, const Resolved& resolved);
  uint64_t tag() const;

  sys::SharedMemory& shared_;
  std::vector<Memory> memories_;
};

}  // namespace mcr::mem

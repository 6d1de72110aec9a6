// Where the missing pages of a memory are: by number, by address, through all that moves them. One thread.
#pragma once

#include <functional>
#include <map>
#include <optional>

#include "core/mem/event_order.h"

namespace mcr::mem {

struct Stretch {
  uint64_t address, number, pages;
};

class PagePlaces {
 public:
  void put(const Stretch& stretch);
  void occupy(Range range) { add_range(occupied_, range); }  // a mapping that is watched
  void apply(const Resolved& resolved);

  std::optional<uint64_t> number_at(uint64_t address) const;
  // Where a page is now, and how many follow it there; nullopt: nowhere.
  std::optional<Stretch> place_of(uint64_t number) const;
  // Numbers that are nowhere any more, or zeros, when this has happened. Before apply().
  void each_ended(const Resolved& resolved, const std::function<void(uint64_t number, uint64_t pages)>& act) const;
  void each(const std::function<void(const Stretch&)>& act) const;

  const Ranges& occupied() const { return occupied_; }
  // Missing pages there are to be SIGBUS: what they are is not known.
  const Ranges& unsure() const { return unsure_; }
  void add_unsure(Range range) { add_range(unsure_, range); }
  void end_unsure() { unsure_.clear(); }

 private:
  struct Piece {
    uint64_t number, pages;
  };
  std::vector<Stretch> in(Range range) const;
  void cut(uint64_t address);
  std::vector<Stretch> take(Range range);

  std::map<uint64_t, Piece> by_address_;
  std::map<uint64_t, uint64_t> by_number_;  // first number of a stretch -> its address
  Ranges occupied_, unsure_;
};

}  // namespace mcr::mem

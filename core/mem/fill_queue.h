// What is to be filled of a new process, handed out to the threads that do it. Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <vector>

namespace mcr::mem {

struct Piece {  // a part of a run, made of whole chunks
  uint64_t address, bytes;
  size_t run;
  // ordinary: the process can write to it; from_outside: it cannot; placed: by userfaultfd(2) (placed_pages.h).
  enum class Way { ordinary, from_outside, placed } way;
};

struct Group {  // pieces that lie one behind the other in the pages file, for one preadv
  size_t first, count;
  uint64_t offset, bytes;
};

class FillQueue {
 public:
  // `groups` are for the process itself, of `theirs`; `ours` for the engine only.
  FillQueue(std::vector<Piece> theirs, std::vector<Group> groups, std::vector<Piece> ours)
      : theirs_(std::move(theirs)), groups_(std::move(groups)), ours_(std::move(ours)), end_(groups_.size()) {}

  const std::vector<Piece>& pieces_of_groups() const { return theirs_; }
  const Group& group(size_t index) const { return groups_[index]; }

  // The next group from the front, for the process.
  std::optional<size_t> take_group() {
    const std::scoped_lock lock(mutex_);
    if (stopped_ || next_ == end_) return std::nullopt;
    return next_++;
  }
  // The next piece for the engine: one that only it can fill, then those of the last group.
  std::optional<Piece> take_piece() {
    const std::scoped_lock lock(mutex_);
    if (stopped_) return std::nullopt;
    if (next_ours_ < ours_.size()) return ours_[next_ours_++];
    if (taken_.empty() && next_ < end_) {
      const Group& last = groups_[--end_];
      for (size_t i = 0; i < last.count; ++i) taken_.push_back(theirs_[last.first + i]);
    }
    if (taken_.empty()) return std::nullopt;
    const Piece piece = taken_.front();
    taken_.pop_front();
    return piece;
  }
  void stop() {  // something failed: nothing is handed out any more
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
  }

 private:
  const std::vector<Piece> theirs_;
  const std::vector<Group> groups_;
  const std::vector<Piece> ours_;
  std::mutex mutex_;
  size_t next_ = 0, end_, next_ours_ = 0;
  std::deque<Piece> taken_;
  bool stopped_ = false;
};

}  // namespace mcr::mem

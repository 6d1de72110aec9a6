// What is said of a mapping besides its place, protection and content, in a new process.
#pragma once

#include <optional>
#include <set>
#include <string>

#include "core/inject/channel.h"
#include "images/proto/mm.pb.h"

namespace mcr::mem {

// Batch after batch of calls about mappings: the next one is queued while the process executes the one before. A call
// that may fail is only warned of: what it was for is lost.
class CallQueue {
 public:
  explicit CallQueue(inject::Channel& channel) : channel_(channel), batch_(channel.batch()) {}
  inject::Batch& batch() { return batch_; }
  void make_room();  // sends what is queued when less than 4 KiB are left: more than one mapping needs
  void add_optional(const char* call, long number, std::initializer_list<uint64_t> args, std::string lost);
  void run();  // until all is executed

 private:
  using Optional = std::vector<std::pair<size_t, std::string>>;
  void send();
  void collect();

  inject::Channel& channel_;
  inject::Batch batch_;
  Optional optional_;
  std::optional<inject::Batch> sent_;  // being executed
  Optional sent_optional_;
  std::set<std::string> warned_;
};

// Queues what must be known before pages are made: name, memory policy, huge pages. `in_whole_blocks` as in
// vma_flags.h.
void add_attributes(CallQueue& calls, const mcr::image::Vma& vma, bool in_whole_blocks);

}  // namespace mcr::mem

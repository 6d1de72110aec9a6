#include "core/mem/kernel_words.h"

#include <algorithm>
#include <cstring>

#include "core/mem/filling.h"
#include "core/trace/remote_memory.h"
#include "images/proto/facets.pb.h"

namespace mcr::mem {
namespace {

constexpr uint64_t kPage = 4096;
constexpr int kMostFutexes = 2048;  // ROBUST_LIST_LIMIT: the kernel goes no further

struct RobustList {  // struct robust_list_head
  uint64_t first, futex_offset, pending;
};

// Bytes of a program whose memory is there in part.
class Content {
 public:
  Content(inject::NewProcess& process, const RestoreMemory& memory) : target_(process.pid()), memory_(memory) {
    for (size_t i = 0; i < memory.runs.size(); ++i)
      if (memory.runs[i].shared() == 0 && is_late(memory, memory.runs[i].start())) late_.push_back(i);
  }

  template <typename T>
  bool read(uint64_t address, T& value) {
    const uint64_t start = address / kPage * kPage;
    if (address % kPage > kPage - sizeof value) return false;
    if (!is_late(memory_, start))
      return target_.try_read(RemoteAddr(address), std::as_writable_bytes(std::span(&value, 1)));
    if (start != page_at_) load(start);
    std::memcpy(&value, page_.data() + address % kPage, sizeof value);
    return true;
  }

 private:
  void load(uint64_t start) {
    std::ranges::fill(page_, std::byte{0});
    for (const size_t i : late_)
      if (const auto& run = memory_.runs[i]; run.start() <= start && start - run.start() < run.bytes())
        memory_.content->read({memory_.pid, memory_.pages_name}, run, start, page_);
    page_at_ = start;
  }

  trace::RemoteMemory target_;
  const RestoreMemory& memory_;
  std::vector<size_t> late_;
  std::vector<std::byte> page_ = std::vector<std::byte>(kPage);
  uint64_t page_at_ = ~0ULL;
};

class Words {
 public:
  Words(inject::NewProcess& process, const RestoreMemory& memory) : content_(process, memory) {}

  void add(uint64_t address, uint64_t bytes) {
    if (address == 0 || address > ~0ULL - bytes) return;
    pages_.insert(address / kPage * kPage);
    pages_.insert((address + bytes - 1) / kPage * kPage);
  }

  // The list is the program's: it may be anything.
  void add_robust(uint64_t head) {
    RobustList list{};
    add(head, sizeof list);
    if (head == 0 || !content_.read(head, list)) return;
    const auto futex = [&](uint64_t entry) {
      if (entry != 0) add(entry, sizeof entry), add(entry + list.futex_offset, sizeof(uint32_t));
    };
    futex(list.pending & ~uint64_t{1});
    uint64_t entry = list.first & ~uint64_t{1};
    for (int i = 0; i < kMostFutexes && entry != 0 && entry != head; ++i) {
      futex(entry);
      uint64_t next = 0;
      if (!content_.read(entry, next)) return;
      entry = next & ~uint64_t{1};
    }
  }

  std::set<uint64_t> pages() { return std::move(pages_); }

 private:
  Content content_;
  std::set<uint64_t> pages_;
};

}  // namespace

std::set<uint64_t> pages_of_kernel_words(inject::NewProcess& process, const RestoreMemory& memory,
                                         const std::vector<image::ThreadCore>& threads) {
  Words words(process, memory);
  for (const auto& thread : threads)
    for (const auto& facet : thread.facets()) {
      image::ThreadPointers pointers;
      if (!facet.UnpackTo(&pointers)) continue;
      words.add(pointers.clear_child_tid(), sizeof(uint32_t));
      words.add(pointers.rseq_address(), std::max<uint64_t>(pointers.rseq_size(), 1));
      words.add_robust(pointers.robust_list());
    }
  return words.pages();
}

}  // namespace mcr::mem

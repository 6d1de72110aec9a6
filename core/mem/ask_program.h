// What only the program itself can ask about its memory: memory policies, protection keys, and what becomes of mappings
// that are still to come. Asked through the parasite; changes nothing.
#pragma once

#include "core/inject/session.h"
#include "core/mem/address_space.h"

namespace mcr::mem {

// Which keys pkey_alloc(2) has given out, whether new mappings are mergeable (PR_SET_MEMORY_MERGE, 6.4), and mbind(2)
// of each mapping, where there is NUMA. The constructor adds to a batch what there is room for.
class MemoryQuestions {
 public:
  MemoryQuestions(inject::Batch& batch, std::vector<mcr::image::Vma>& vmas);
  // When the batch has been run; asks the rest.
  void finish(const inject::Batch& batch, inject::Channel& channel, mcr::image::MemoryMap& map);

 private:
  struct Asked {
    size_t vma, call;
    RemoteAddr mode;
  };
  void ask_modes(inject::Batch& batch);
  void take_modes(const inject::Batch& batch);

  std::vector<mcr::image::Vma>& vmas_;
  std::vector<size_t> keys_;
  size_t merge_ = 0, next_ = 0;
  std::vector<Asked> asked_;
  std::vector<size_t> chosen_;
};
// MCL_FUTURE and MCL_ONFAULT, seen in what the kernel has made of the parasite's own mapping. `locked_kb`: VmLck
// before.
void find_future_locks(const inject::ParasiteSession& parasite, uint64_t locked_kb, mcr::image::MemoryMap& map);

}  // namespace mcr::mem

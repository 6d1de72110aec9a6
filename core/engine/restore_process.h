// Builds one process from its image: the new process stands still, complete, until it is released.
#pragma once

#include <map>
#include <set>

#include "core/engine/create_tree.h"
#include "core/engine/engine.h"
#include "core/engine/lazy_memory.h"
#include "core/inject/new_process.h"
#include "core/kinds/opened_files.h"
#include "core/procfs/maps.h"
#include "core/procfs/status.h"
#include "core/tree/process_image.h"
#include "images/page_content.h"
#include "images/proto/inventory.pb.h"

namespace mcr::engine {

// Anonymous shared memory that several processes have: made by the first, open here for the others.
class LentMemory {
 public:
  explicit LentMemory(const std::vector<tree::ProcessImage>& images);
  // It is mapped there as a whole.
  void lend(int32_t lender, uint32_t id, const std::string& door);
  int borrow(int32_t lender, uint32_t id) const;

 private:
  using Key = std::pair<int32_t, uint32_t>;
  std::set<Key> wanted_;
  std::map<Key, UniqueFd> lent_;
};

struct RestoreContext {
  const RestoreOptions& options;
  const procfs::Status& own;  // what they began with: the status of the first
  const images::ImageReader& reader;
  const images::PageContent& content;
  kinds::OpenedFiles& files;
  LentMemory& lent;
  const InheritedMemory& inherited;
  Damage& damage;
  const NewProcesses& processes;
  const std::vector<tree::ProcessImage>& images;
  LazyMemory* lazy;  // null: all memory is there before the program runs
  std::map<int32_t, uint64_t>
      vdsos{};  // where each memory has that of this kernel, by the process that it is stored with

  std::vector<int32_t> sharers_of_files(int32_t first) const;
};

// One process that create_tree() made, being filled. In steps that each come for all processes before the next: memory
// takes long, timers must not run meanwhile, and a parent has to act when its children are complete.
class RestoringProcess {
 public:
  virtual ~RestoringProcess() = default;
  // Whether its memory, descriptors and state have nothing to do with those of other processes: fill(),
  // create_threads() and restore_state() may be called by another thread than others' then, once open_files() was
  // called by ours.
  virtual bool stands_alone() const = 0;
  virtual void open_files() = 0;
  virtual void fill() = 0;  // memory and descriptors
  virtual void create_threads() = 0;
  // Files that only the process itself can open, as all threads of all processes exist, and facets. Timers run from
  // here on.
  virtual void restore_state() = 0;
  virtual void watch(const std::vector<kinds::OpenedFiles::Watch>& watches) = 0;  // what its own thread must add
  // The parasite goes, every thread gets its registers. Children before parents. `stopped`: by job control.
  virtual void finish(bool stopped) = 0;
  struct Spent {
    uint64_t memory_us = 0, threads_us = 0, pages = 0;
  };
  virtual Spent spent() const = 0;  // so far, by whatever thread
};
std::unique_ptr<RestoringProcess> begin_process(const tree::ProcessImage& image, inject::NewProcess& process,
                                                RestoreContext& context);

}  // namespace mcr::engine

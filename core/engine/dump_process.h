// Collects one frozen process: everything of it goes into a tree::ProcessImage, its pages into the pages file.
#pragma once

#include "core/engine/confinement.h"
#include "core/engine/copied_memory.h"
#include "core/engine/held_memory.h"
#include "core/engine/late_memory.h"
#include "core/engine/memory_sharers.h"
#include "core/engine/memory_tracking.h"
#include "core/engine/options.h"
#include "core/engine/read_ahead.h"
#include "core/engine/settle_threads.h"
#include "core/engine/shared_tables.h"
#include "core/kinds/open_files.h"
#include "core/mem/shared_objects.h"
#include "core/trace/frozen_tree.h"
#include "core/tree/process_image.h"
#include "images/proto/inventory.pb.h"
#include "images/proto/stats.pb.h"

namespace mcr::engine {

struct DumpContext {
  const DumpOptions& options;
  images::ImageWriter& writer;
  kinds::OpenFiles& files;
  MemorySharers& sharers;
  mem::SharedObjects& shared;
  mcr::image::DumpStatistics& statistics;
  mcr::image::Inventory& inventory;
  Damage& damage;
  Bystanders& bystanders;
  const SharedTables& tables;
  const trace::FrozenTree& tree;
  const std::vector<tree::ProcessImage>& before;  // parents come before their children; none of them moves
  ReadAhead& read_ahead;
  CopiedMemory& copies;
  const mem::OtherFiles& other_files;  // of pages, besides that of each process
  LateMemory& late;
  MemoryTracking& tracking;
  HeldMemory& held;
  mcr::image::DumpStatistics late_statistics{};  // of what `late` does
  std::map<pid_t, pid_t> numbers{};              // of parents, as they have them themselves
  std::map<HostPid, uint64_t> plain_mappings{};  // of each memory one without a memory policy, by its first process
};

// All of it, but for its pages when they are few: these come later.
tree::ProcessImage dump_process(trace::FrozenProcess& process, const SettledProcess& settled, DumpContext& context,
                                bool& has_pages_left);
// What is left of a process that has ended.
tree::ProcessImage dump_zombie(HostPid pid);

}  // namespace mcr::engine

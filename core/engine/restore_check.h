// Everything that would make a restore fail on this host, found before anything is created and listed all at once.
#pragma once

#include "core/engine/caller.h"
#include "core/engine/options.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/sysv_ipc.h"
#include "core/tree/process_image.h"
#include "images/proto/inventory.pb.h"

namespace mcr::engine {

// Where the processes get their pids.
struct PidPlace {
  bool own_pids = false;  // in a pid namespace of their own, where none is taken
  bool own_user = false;  // which belongs to a user namespace of their own: nobody there has a right outside
};

void check_host(const mcr::image::Inventory& inventory, const std::vector<tree::ProcessImage>& processes,
                const kinds::OpenedFiles& files, const kinds::IpcObjects& ipc, const RestoreOptions& options,
                const Caller& caller, PidPlace place, std::vector<Problem>& problems);

// Whether somebody here has one of the numbers that they are to get: most likely the program itself, which runs.
bool are_numbers_taken(const std::vector<tree::ProcessImage>& processes, const RestoreOptions& options);

}  // namespace mcr::engine

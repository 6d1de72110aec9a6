// What can be done about the descriptors of a new process only when it is nearly complete: files about processes of the
// tree, and who gets the signals of a file. Used by the thread that holds the process.
#pragma once

#include <set>

#include "core/engine/create_tree.h"
#include "core/inject/new_process.h"
#include "core/kinds/opened_files.h"
#include "core/tree/process_image.h"

namespace mcr::engine {

class LateFiles {
 public:
  LateFiles(const tree::ProcessImage& image, inject::NewProcess& process, kinds::OpenedFiles& files,
            const NewProcesses& all, std::set<int> sockets)
      : image_(image), process_(process), files_(files), all_(all), sockets_(std::move(sockets)) {}

  void open();        // all processes have their threads and descriptors
  void take_locks();  // all opened what they have, and nothing will be closed; before it loses rights
  void set_owners();  // all processes and their threads exist, it has its credentials, the parasite still answers

 private:
  void open_here(const mcr::image::Descriptor& descriptor, const kinds::LateOpen& late, uint64_t lowest);
  std::string path_of(const kinds::LateOpen& late) const;
  void break_lease(const mcr::image::Descriptor& d, const mcr::image::FileLock& lock);
  void take_lock(const mcr::image::Descriptor& descriptor, const mcr::image::FileLock& lock);
  void take(const mcr::image::Descriptor& descriptor, int opened);

  const tree::ProcessImage& image_;
  inject::NewProcess& process_;
  kinds::OpenedFiles& files_;
  const NewProcesses& all_;
  std::set<int> sockets_;  // of the parasites, in this table
};

}  // namespace mcr::engine

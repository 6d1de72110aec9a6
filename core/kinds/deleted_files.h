// Restore: deleted files (and memfds, which never had a name) are made again, opened by everybody who has them while
// they have their old name, and deleted.
//
// A file needs its name for an instant, so that /proc shows it with "(deleted)" as before. No existing file is touched:
// where the name is taken, another one beside it is used (temporary_names.h).
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>

#include "core/kinds/kind.h"
#include "core/kinds/temporary_names.h"
#include "images/store.h"

namespace mcr::kinds {

class DeletedFiles {
 public:
  explicit DeletedFiles(const images::ImageReader& reader) : reader_(reader) {}
  void add(mcr::image::Ghost ghost);
  // An object that take() will be called for: how it opens the file, and by which name it had it.
  void expect(uint32_t ghost, uint32_t object, const std::string& path, uint32_t flags);

  const mcr::image::Ghost* find(uint32_t ghost) const;  // nullptr: there is none
  void for_each(const std::function<void(const mcr::image::Ghost&)>& visit) const;
  // `mode`: of what type it must be.
  void check(uint32_t ghost, uint32_t mode, std::vector<Problem>& problems) const;
  UniqueFd take(uint32_t ghost, uint32_t object);  // opened as expected; once
  // The descriptor that memfd_create(2) gave: other than one that was opened, it is no writer to execve(2). Once.
  UniqueFd take_maker(uint32_t ghost);
  std::string door(uint32_t ghost);  // path below /proc/self/fd for further opens
  void set_time(uint32_t ghost);     // after its content was written: a FIFO's
  void finish_memory();              // every process has mapped what it maps: seals
  void close_all();

 private:
  struct Opening {
    uint32_t object;
    std::string path;
    uint32_t flags;
    UniqueFd fd;
  };
  struct Entry {
    mcr::image::Ghost ghost;
    std::vector<Opening> openings;
    UniqueFd holder;                     // O_PATH
    UniqueFd maker;                      // of a memfd
    std::map<std::string, Place> names;  // by the old name, the one that it has for this instant
    bool is_made = false;
  };
  static std::vector<Opening>::iterator find_maker(Entry& entry);
  Entry& entry(uint32_t ghost);
  Entry& made(uint32_t ghost);
  std::vector<Entry*> group_of(Entry& entry);
  void make(const std::vector<Entry*>& group);
  void make_memory(Entry& entry);
  void make_unnamed(Entry& entry, TemporaryNames& names);
  void make_named(Entry& entry, TemporaryNames& names);
  void make_file(Entry& entry, const std::set<std::string>& paths, TemporaryNames& names);
  void make_node(Entry& entry, const std::string& path, Folder& folder, TemporaryNames& names);
  void open_all(Entry& entry);
  Folder& folder_for(const Entry& entry, const std::string& path, TemporaryNames& names);
  void fill(const mcr::image::Ghost& ghost, int file) const;

  const images::ImageReader& reader_;
  std::map<uint32_t, Entry> entries_;
};

}  // namespace mcr::kinds

// Restore: names that exist for an instant, in folders that others may write in.
//
// A folder is opened once, and all that is done in it is done by that descriptor: who puts a link in its place, or
// moves it away, leads nobody elsewhere. Nothing is removed by its name alone: it must be what was made.
//
// What is made is marked (an extended attribute), should this restore be killed in that instant. The mark names a
// workshop: a folder of ours beside it, .mini-criu-workshop.N, which is locked (flock(2)) as long as its maker lives
// and in which things are made before they get their places. Only what has a mark whose workshop can be locked was left
// behind, and is removed; what another restore is using stays. The lock is on the workshop and on nothing else, so it
// is in the way of no lock of a program. Not thread-safe.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"

namespace mcr::kinds {

// A folder in which names are made.
struct Folder {
  std::string path;  // for messages; without its last slash, empty for the root
  UniqueFd fd;       // O_PATH
  UniqueFd workshop;
  std::string workshop_name;  // what a mark says; empty: it cannot be locked here, and nothing is marked
};

struct Place {
  Folder* folder = nullptr;
  std::string name;
  std::string path() const { return folder->path + "/" + name; }
};

class TemporaryNames {
 public:
  TemporaryNames() = default;
  TemporaryNames(const TemporaryNames&) = delete;
  TemporaryNames& operator=(const TemporaryNames&) = delete;
  ~TemporaryNames();  // takes away what is left, in the opposite order

  // The folder with this path; one that is missing is made, and goes with the names. Throws Error (refused) where a
  // symbolic link of somebody else leads elsewhere, or another restore goes on using it for seconds.
  Folder& folder(const std::string& path);
  // That which an O_PATH descriptor leads to. `path`: its place.
  Folder& folder_of(int fd, const std::string& path);

  // A file is marked before it gets a name in these folders.
  void mark_file(int fd, const std::vector<Folder*>& folders);
  // Gives the file behind `door` the name in the folder, or one beside it when it is taken.
  Place link(const std::string& door, Folder& folder, const std::string& name);
  // Makes an empty file there, where files without a name cannot be made. Open for reading and writing.
  Place create_file(Folder& folder, const std::string& name, UniqueFd& file);
  // Makes a folder or a node, which `finish` completes in the workshop by an O_PATH descriptor, its folder and its name
  // there.
  struct Node {
    mode_t mode = 0;
    dev_t device = 0;
    std::string target;
  };
  using Finish = std::function<void(int workshop, const std::string& name)>;
  Place make_node(Folder& folder, const std::string& name, const Node& node, const Finish& finish, UniqueFd& holder);

  // Everything that was made goes. Throws Error (refused) when somebody has put something else in a place.
  void remove();

  static void unmark(const std::string& door, mode_t mode);  // of what has no name any more

 private:
  struct Name {
    Folder* folder;
    std::string name;
    struct stat made;
    bool is_workshop;
  };
  Folder& open_folder(Folder& parent, const std::string& name, const std::string& path);
  void wait_while_used(Folder& parent, const std::string& name);
  Folder& keep(Folder folder);
  bool have_workshop(Folder& folder);
  bool is_own(const Folder& folder, const std::string& name) const;
  std::string free_name(Folder& folder, const std::string& name, int attempt);
  Place enter(Folder& folder, const std::string& name, const struct stat& made);
  bool take_away(Name& name);

  std::list<Folder> folders_;
  std::map<std::string, Folder*> by_path_;
  std::vector<Name> names_;
};

}  // namespace mcr::kinds

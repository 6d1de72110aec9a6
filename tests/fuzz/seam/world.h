// The world that a fuzz target sees instead of the machine: the functions of core/sys that reach out of the engine,
// linked in front of the real ones. Files are descriptors of memory, the new process is a struct, its memory a sparse
// file in memory. What an engine must never ask of a kernel, whatever an image says, ends the run by abort().
//
// A function of core/sys that has no stand-in here is the real one; forbid_effects() makes the kernel refuse it then.
#pragma once

#include <sys/stat.h>

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/inject/batch.h"
#include "core/sys/ptrace.h"

namespace mcr::fuzz {

// A property of the engine that no image may break.
void require(bool holds, const char* what);

struct Node {  // what lies at a path
  mode_t mode = 0;
  uint64_t size = 0;
  dev_t device = 0;
};

struct FakeTask {
  std::deque<sys::StopEvent> events;
  sys::Registers registers = [] {
    sys::Registers r{};
    r.cs = 0x33, r.ss = 0x2b;
    return r;
  }();
};

struct FakeProcess {
  pid_t pid = 0;
  uint64_t base = 0, end = 0;  // of the parasite
  int socket = -1;             // its number over there
  UniqueFd memory;
  int next_fd = 3;
  std::set<int> fds;
  std::map<pid_t, FakeTask> tasks;
  std::map<uint64_t, uint64_t> mappings;  // start -> end
  uint64_t next_mapping = 0x10000000000;
  std::deque<parasite::Reply> replies;
  bool expects_descriptors = false;
  bool has_closed = false;  // its socket
};

class World {
 public:
  static World& get();  // one a process: the functions of core/sys have no other way to it
  void reset();

  // ---- set up by the target ----
  using Image = std::map<std::string, UniqueFd>;
  std::map<std::string, Image> images;  // by folder ("/image"): its files, as descriptors of memory
  std::map<std::string, Node> nodes;    // every other file
  uint32_t fail_at = 0;                 // the call of the new process that fails; 0: none
  int fail_with = 0;
  std::string answers;  // dump: what the memory of the program holds, over and over

  // ---- for the stand-ins ----
  UniqueFd open_node(const std::string& path, int flags);
  void remember(int fd, const Node& node) { open_nodes_[fd] = node; }
  const Node* node_of(int fd) const;
  void forget_descriptor(int fd) { open_nodes_.erase(fd); }
  std::map<std::string, UniqueFd> linked;     // names that the engine has given
  std::map<int, const Image*> image_folders;  // as they are open
  std::map<int, std::string> folders;         // others, by their paths
  std::optional<FakeProcess> process;
  std::map<void*, size_t> local_mappings;
  uint32_t calls = 0;
  FakeProcess& made(pid_t pid);

 private:
  std::map<int, Node> open_nodes_;
};

// What the new process does with a message of the engine.
void answer_doorbell(FakeProcess& process, std::string_view message, size_t descriptors);
void read_process_memory(FakeProcess& process, uint64_t at, void* to, size_t size);
void write_process_memory(FakeProcess& process, uint64_t at, const void* from, size_t size);

// From the next call on the kernel refuses this process everything that would change the machine.
void forbid_effects();

}  // namespace mcr::fuzz

// What is mapped where in a process, and the ELF files among it: their unwind tables and their names of functions.
// One thread.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"
#include "core/stacks/elf_symbols.h"
#include "core/stacks/frame_index.h"
#include "core/stacks/memory.h"

namespace mcr::stacks {

struct Region {
  uint64_t start = 0, end = 0;  // addresses
  bool executable = false;
  uint64_t offset = 0;   // in the file
  std::string file;      // the path, any bytes; "[vdso]"; empty: anonymous memory
  uint64_t file_id = 0;  // the same for all regions of one file; 0: anonymous memory
  std::string build_id;  // what an image says of the file; empty: not known
  uint64_t inode = 0;    // 0: not known
};

// Opens the file behind a region for reading; an invalid descriptor: it cannot be had. `why` then says so.
using OpenFile = std::function<UniqueFd(const Region& region, std::string& why)>;

// Tables that we have made ourselves are read like those in memory, at addresses that no program has: a gigabyte for
// each module.
inline constexpr uint64_t kMadeTables = uint64_t{1} << 56, kMadeTableBytes = uint64_t{1} << 30;

struct Module {
  std::string path;
  uint64_t bias = 0;  // what is added to the file's own addresses
  uint64_t text_start = 0, text_end = 0;
  ElfHeaders headers;
  std::optional<UnwindTable> table;
  std::vector<FrameIndexEntry> index;  // where the file has no table: stands at kMadeTables
  std::string build_id;
  UniqueFd file;        // with symbols; may be invalid
  std::string trouble;  // why something cannot be had; empty: nothing is missing
};

class Modules {
 public:
  // debug_folders: with files by build-id below .build-id. `memory` outlives this.
  Modules(std::vector<Region> regions, Memory& memory, OpenFile open, std::vector<std::string> debug_folders);
  ~Modules();

  const Region* region_at(uint64_t address) const;
  Module* module_at(uint64_t address);                           // null: no code of an ELF file
  bool read_made_table(uint64_t address, uint64_t& word) const;  // from kMadeTables on
  // Names for addresses of code; those without one are left out. The starts are addresses of the process.
  SymbolsByAddress names_of(const std::set<uint64_t>& addresses);
  // The starts of code of files with this in their name, a bounded number of them.
  std::vector<uint64_t> code_named(std::string_view part) const;
  // Addresses of what the file of this code exports, by name.
  std::map<std::string, uint64_t> find_exported(uint64_t code, const std::set<std::string>& names);
  std::vector<std::string> troubles() const;  // of the modules that were asked for

 private:
  std::unique_ptr<Module> load(const Region& region);
  bool read_mapped(Module& module, const Region& region);
  void read_file(Module& module, const Region& region);
  void find_debug_file(Module& module);
  ReadBytes by_address(const Module& module);
  void make_table(Module& module);
  SymbolsByAddress names_in(Module& module, const std::set<uint64_t>& wanted);

  std::vector<Region> regions_;  // in address order
  Memory& memory_;
  OpenFile open_;
  std::vector<std::string> debug_folders_;
  std::map<uint64_t, std::unique_ptr<Module>> modules_;  // by the start of their region of code
  std::vector<const Module*> made_;                      // that have a table of ours
};

}  // namespace mcr::stacks

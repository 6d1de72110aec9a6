#include "core/stacks/modules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/stacks/debug_folders.h"
#include "core/sys/file.h"

namespace mcr::stacks {
namespace {

constexpr size_t kMostModules = 4096;

bool is_code(const ElfHeaders& headers) {
  return headers.machine == EM_X86_64;
}

}  // namespace

Modules::Modules(std::vector<Region> regions, Memory& memory, OpenFile open, std::vector<std::string> debug_folders)
    : regions_(std::move(regions)), memory_(memory), open_(std::move(open)), debug_folders_(std::move(debug_folders)) {}

Modules::~Modules() = default;

const Region* Modules::region_at(uint64_t address) const {
  const auto after = std::ranges::upper_bound(regions_, address, {}, &Region::start);
  if (after == regions_.begin() || address >= std::prev(after)->end) return nullptr;
  return &*std::prev(after);
}

Module* Modules::module_at(uint64_t address) {
  const Region* region = region_at(address);
  if (!region || !region->executable || region->file_id == 0) return nullptr;
  const auto found = modules_.find(region->start);
  if (found != modules_.end()) return found->second.get();
  if (modules_.size() >= kMostModules) return nullptr;
  return modules_.emplace(region->start, load(*region)).first->second.get();
}

ReadBytes Modules::by_address(const Module& module) {
  return [this, bias = module.bias](uint64_t address, std::span<std::byte> out) {
    return memory_.read(bias + address, out);
  };
}

// The headers of a mapped file lie at its beginning, which is mapped as well, before its code.
bool Modules::read_mapped(Module& module, const Region& region) {
  const Region* first = nullptr;
  for (const Region& other : regions_) {
    if (other.start > region.start) break;
    if (other.file_id == region.file_id && other.offset == 0) first = &other;
  }
  if (!first) return false;
  const auto headers = read_elf_headers([&](uint64_t offset, std::span<std::byte> out) {
    return offset <= first->end - first->start && memory_.read(first->start + offset, out);
  });
  if (!headers) return false;
  module.headers = *headers;
  return true;
}

void Modules::read_file(Module& module, const Region& region) {
  std::string why;
  UniqueFd file = open_(region, why);
  if (!file.valid()) {
    module.trouble = why;
    return;
  }
  const ReadBytes read = bytes_of_file(file.get());
  const auto headers = read_elf_headers(read);
  if (!headers) return;
  if (module.headers.segments.empty()) module.headers = *headers;
  module.file = std::move(file);
}

// The file of that build-id with all of its symbols, if there is one.
void Modules::find_debug_file(Module& module) {
  for (const char* ending : {".debug", ""}) {
    UniqueFd file = open_by_build_id(debug_folders_, module.build_id, ending);
    if (!file.valid()) continue;
    module.file = std::move(file);
    return;
  }
}

// In a file of symbols alone the section has no content.
void Modules::make_table(Module& module) {
  if (!module.file.valid()) return;
  const ReadBytes read = bytes_of_file(module.file.get());
  const auto headers = read_elf_headers(read);
  auto index = headers ? index_frames(*headers, read) : std::nullopt;
  if (!index || index->entries.empty() || index->entries.size() >= kMadeTableBytes / sizeof(FrameIndexEntry)) return;
  module.table =
      UnwindTable{index->section, kMadeTables + made_.size() * kMadeTableBytes - module.bias, index->entries.size()};
  module.index = std::move(index->entries);
  made_.push_back(&module);
}

bool Modules::read_made_table(uint64_t address, uint64_t& word) const {
  const uint64_t number = (address - kMadeTables) / kMadeTableBytes, at = (address - kMadeTables) % kMadeTableBytes;
  static_assert(sizeof(FrameIndexEntry) == sizeof word);
  if (number >= made_.size() || at % sizeof word != 0 || at / sizeof word >= made_[number]->index.size()) return false;
  std::memcpy(&word, &made_[number]->index[at / sizeof word], sizeof word);
  return true;
}

std::unique_ptr<Module> Modules::load(const Region& region) {
  auto module = std::make_unique<Module>();
  module->path = region.file, module->build_id = region.build_id;
  module->text_start = region.start, module->text_end = region.end;
  read_mapped(*module, region);
  read_file(*module, region);
  if (!is_code(module->headers)) {
    module->headers = {};
    if (module->trouble.empty()) module->trouble = "it is no ELF file of this processor";
    return module;
  }
  const auto address = address_of_offset(module->headers, region.offset, true);
  if (!address) {
    module->trouble = "its code is mapped at no place that its headers know";
    return module;
  }
  module->bias = region.start - *address;
  if (auto id = read_build_id(module->headers, by_address(*module), true); !id.empty())
    module->build_id = std::move(id);
  // Another file may have the name by now.
  if (module->file.valid()) {
    const std::string id = build_id_of(module->file.get());
    if (id != module->build_id && !id.empty()) {
      module->file.reset();
      module->trouble = "the file that has its name now is another one";
    }
  }
  module->table = find_unwind_table(module->headers, by_address(*module));
  if (!module->table) make_table(*module);
  find_debug_file(*module);
  return module;
}

SymbolsByAddress Modules::names_in(Module& module, const std::set<uint64_t>& wanted) {
  SymbolsByAddress names;
  if (module.file.valid()) {
    const ReadBytes read = bytes_of_file(module.file.get());
    if (const auto headers = read_elf_headers(read)) names = read_file_symbols(*headers, read, wanted);
  }
  names.merge(read_dynamic_symbols(module.headers, by_address(module), module.bias, wanted));
  return names;
}

SymbolsByAddress Modules::names_of(const std::set<uint64_t>& addresses) {
  std::map<Module*, std::set<uint64_t>> wanted;
  for (const uint64_t address : addresses)
    if (Module* module = module_at(address)) wanted[module].insert(address - module->bias);
  SymbolsByAddress names;
  for (const auto& [module, own] : wanted)
    for (auto& [address, symbol] : names_in(*module, own)) {
      symbol.start += module->bias;
      names.emplace(address + module->bias, std::move(symbol));
    }
  return names;
}

std::vector<uint64_t> Modules::code_named(std::string_view part) const {
  constexpr size_t kMost = 16;
  std::vector<uint64_t> starts;
  for (const Region& region : regions_) {
    const size_t slash = region.file.rfind('/');
    if (region.executable && slash != std::string::npos && region.file.find(part, slash) != std::string::npos &&
        starts.size() < kMost)
      starts.push_back(region.start);
  }
  return starts;
}

std::map<std::string, uint64_t> Modules::find_exported(uint64_t code, const std::set<std::string>& names) {
  const Module* module = module_at(code);
  if (!module) return {};
  auto found = read_exported(module->headers, by_address(*module), module->bias, names);
  for (auto& [name, address] : found) address += module->bias;
  return found;
}

std::vector<std::string> Modules::troubles() const {
  std::vector<std::string> lines;
  for (const auto& [start, module] : modules_)
    if (!module->trouble.empty())
      lines.push_back(fmt::format("{}{}: {}", module->path,
                                  module->build_id.empty() ? "" : fmt::format(" (build-id {})", module->build_id),
                                  module->trouble));
  return lines;
}

}  // namespace mcr::stacks

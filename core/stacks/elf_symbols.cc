#include "core/stacks/elf_symbols.h"

#include <algorithm>
#include <cstring>

namespace mcr::stacks {
namespace {

constexpr uint64_t kMostSymbols = 1u << 22;  // the largest browsers have two millions
constexpr size_t kMostTables = 4;            // of one kind; there is one
constexpr uint64_t kLongestAssembly = 4096, kMostComparisons = 1u << 26;
constexpr size_t kLongestName = 4096;
constexpr size_t kAtOnce = 4096;

struct Table {
  uint64_t symbols = 0, count = 0, names = 0, name_bytes = 0;  // where they are, for `read`
};

// How well a symbol that is at or before an address names it; the higher the better.
int rank(const Elf64_Sym& symbol, uint64_t address) {
  const bool covers = address - symbol.st_value < symbol.st_size;
  const unsigned bind = ELF64_ST_BIND(symbol.st_info), type = ELF64_ST_TYPE(symbol.st_info);
  const int binding = bind == STB_GLOBAL ? 2 : bind == STB_WEAK ? 1 : 0;
  return (covers ? 8 : 0) + (type == STT_FUNC || type == STT_GNU_IFUNC ? 4 : 0) + binding;
}

bool may_be_code(const Elf64_Sym& symbol) {
  const unsigned type = ELF64_ST_TYPE(symbol.st_info);
  return symbol.st_shndx != SHN_UNDEF && symbol.st_value != 0 &&
         (type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE);
}

// One without a size (assembly) names what follows it, up to the next one.
bool is_better(const Elf64_Sym& candidate, const Elf64_Sym& best, uint64_t address) {
  const bool covers = address - candidate.st_value < candidate.st_size;
  const bool best_covers = address - best.st_value < best.st_size;
  if (covers != best_covers) return covers;
  if (candidate.st_value != best.st_value) return candidate.st_value > best.st_value;
  return rank(candidate, address) > rank(best, address);
}

class Search {
 public:
  explicit Search(const std::set<uint64_t>& wanted) : wanted_(wanted.begin(), wanted.end()) {}

  void take(const Elf64_Sym& symbol) {
    if (!may_be_code(symbol)) return;
    // One without a size is of assembly, which is short.
    const uint64_t end = symbol.st_value + (symbol.st_size == 0 ? kLongestAssembly : symbol.st_size);
    for (auto at = std::ranges::lower_bound(wanted_, symbol.st_value); at != wanted_.end() && *at < end; ++at) {
      if (++compared_ > kMostComparisons) return;
      const auto best = best_.find(*at);
      if (best == best_.end())
        best_.emplace(*at, symbol);
      else if (is_better(symbol, best->second, *at))
        best->second = symbol;
    }
  }
  const std::map<uint64_t, Elf64_Sym>& best() const { return best_; }

 private:
  std::vector<uint64_t> wanted_;
  std::map<uint64_t, Elf64_Sym> best_;
  uint64_t compared_ = 0;
};

std::string read_name(const ReadBytes& read, const Table& table, uint32_t offset) {
  if (offset >= table.name_bytes) return {};
  std::string name(std::min<uint64_t>(table.name_bytes - offset, kLongestName), '\0');
  if (!read(table.names + offset, std::as_writable_bytes(std::span(name)))) return {};
  name.resize(std::min(name.find('\0'), name.size()));
  name.resize(std::min(name.find('@'), name.size()));  // a version, which linkers put there in .symtab
  return name;
}

void search_table(const ReadBytes& read, const Table& table, const std::set<uint64_t>& wanted,
                  SymbolsByAddress& found) {
  Search search(wanted);
  std::vector<Elf64_Sym> symbols;
  for (uint64_t done = 0; done < std::min(table.count, kMostSymbols); done += symbols.size()) {
    symbols.resize(std::min<uint64_t>(kAtOnce, table.count - done));
    if (!read(table.symbols + done * sizeof(Elf64_Sym), std::as_writable_bytes(std::span(symbols)))) break;
    for (const Elf64_Sym& symbol : symbols) search.take(symbol);
  }
  for (const auto& [address, symbol] : search.best()) {
    std::string name = read_name(read, table, symbol.st_name);
    if (!name.empty()) found.emplace(address, Symbol{symbol.st_value, symbol.st_size, std::move(name)});
  }
}

// How many symbols there are stands nowhere: the names follow the symbols, as every linker lays them out.
std::vector<Table> find_dynamic_tables(const ElfHeaders& headers, const ReadBytes& read, uint64_t bias) {
  constexpr size_t kMostEntries = 256;
  std::vector<Table> tables;
  for (const Segment& segment : headers.segments) {
    if (segment.type != PT_DYNAMIC || tables.size() == kMostTables) continue;
    std::vector<Elf64_Dyn> entries(std::min<uint64_t>(kMostEntries, segment.bytes / sizeof(Elf64_Dyn)));
    if (!read(segment.address, std::as_writable_bytes(std::span(entries)))) continue;
    Table table;
    for (const Elf64_Dyn& entry : entries) {
      const uint64_t value = entry.d_un.d_ptr, address = value >= bias ? value - bias : value;
      if (entry.d_tag == DT_NULL) break;
      if (entry.d_tag == DT_SYMTAB) table.symbols = address;
      if (entry.d_tag == DT_STRTAB) table.names = address;
      if (entry.d_tag == DT_STRSZ) table.name_bytes = value;
    }
    if (table.symbols == 0 || table.names <= table.symbols) continue;
    table.count = (table.names - table.symbols) / sizeof(Elf64_Sym);
    tables.push_back(table);
  }
  return tables;
}

}  // namespace

SymbolsByAddress read_file_symbols(const ElfHeaders& headers, const ReadBytes& read, const std::set<uint64_t>& wanted) {
  SymbolsByAddress found;
  const auto sections = read_sections(headers, read);
  for (const uint32_t type : {SHT_SYMTAB, SHT_DYNSYM}) {
    size_t tables = 0;
    for (const Elf64_Shdr& section : sections) {
      if (section.sh_type != type || section.sh_link >= sections.size() || !has_content(section)) continue;
      const Elf64_Shdr& names = sections[section.sh_link];
      if (!has_content(names) || ++tables > kMostTables) continue;
      const Table table{section.sh_offset, section.sh_size / sizeof(Elf64_Sym), names.sh_offset, names.sh_size};
      search_table(read, table, wanted, found);
    }
  }
  return found;
}

SymbolsByAddress read_dynamic_symbols(const ElfHeaders& headers, const ReadBytes& read, uint64_t bias,
                                      const std::set<uint64_t>& wanted) {
  SymbolsByAddress found;
  for (const Table& table : find_dynamic_tables(headers, read, bias)) search_table(read, table, wanted, found);
  return found;
}

std::map<std::string, uint64_t> read_exported(const ElfHeaders& headers, const ReadBytes& read, uint64_t bias,
                                              const std::set<std::string>& names) {
  constexpr uint64_t kMostExported = 1u << 18, kMostNameBytes = 16 << 20;
  std::map<std::string, uint64_t> found;
  for (const Table& table : find_dynamic_tables(headers, read, bias)) {
    if (table.count > kMostExported || table.name_bytes > kMostNameBytes) continue;
    std::vector<Elf64_Sym> symbols(table.count);
    std::string texts(table.name_bytes, '\0');
    if (!read(table.symbols, std::as_writable_bytes(std::span(symbols))) ||
        !read(table.names, std::as_writable_bytes(std::span(texts))))
      continue;
    for (const Elf64_Sym& symbol : symbols) {
      if (symbol.st_shndx == SHN_UNDEF || symbol.st_name >= texts.size()) continue;
      const std::string name(texts.c_str() + symbol.st_name);
      if (names.contains(name)) found.emplace(name, symbol.st_value);
    }
  }
  return found;
}

}  // namespace mcr::stacks

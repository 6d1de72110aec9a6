// Names of functions from the symbol tables of ELF files, for addresses that are known beforehand: a table is read
// once, from its beginning to its end, and never held. Bounded as in elf_headers.h. Any thread.
#pragma once

#include <map>
#include <set>

#include "core/stacks/elf_headers.h"

namespace mcr::stacks {

struct Symbol {
  uint64_t start = 0, bytes = 0;  // in the file's own numbering
  std::string name;               // as it stands there, any bytes
};
using SymbolsByAddress = std::map<uint64_t, Symbol>;  // only of addresses that have one

// Of a file: .symtab, and .dynsym for what that does not name.
SymbolsByAddress read_file_symbols(const ElfHeaders& headers, const ReadBytes& read, const std::set<uint64_t>& wanted);
// Of what is mapped: the symbols that the dynamic linker uses. `read` takes addresses. `bias`: what the dynamic linker
// has added to the addresses that it uses; a vdso is not touched by it.
SymbolsByAddress read_dynamic_symbols(const ElfHeaders& headers, const ReadBytes& read, uint64_t bias,
                                      const std::set<uint64_t>& wanted);
// Of these names what is exported, functions or data, as the dynamic linker finds it; arguments as above.
std::map<std::string, uint64_t> read_exported(const ElfHeaders& headers, const ReadBytes& read, uint64_t bias,
                                              const std::set<std::string>& names);

}  // namespace mcr::stacks

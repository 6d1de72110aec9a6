// Fuzz target of the reader of build-ids: any file that a program has open may claim to be an ELF file.
#include <cstdlib>
#include <string>

#include "core/base/error.h"
#include "core/kinds/build_id.h"
#include "core/sys/file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const mcr::UniqueFd file = mcr::sys::make_memfd("elf");
  mcr::sys::write_fully(file.get(), data, size);
  const std::string id = mcr::kinds::read_build_id("/proc/self/fd/" + std::to_string(file.get()));
  if (id.size() > 2 * size) std::abort();
  return 0;
}

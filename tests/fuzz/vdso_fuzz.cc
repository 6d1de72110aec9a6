// Fuzz target of the vdso parser: a kernel's own image at a dump, but also what an image claims it was.
#include <cstdlib>
#include <string>

#include "core/base/error.h"
#include "core/mem/vdso.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const mcr::mem::VdsoSymbols symbols = mcr::mem::parse_vdso(bytes);
    if (symbols.image_bytes > size) std::abort();
    for (const auto& [name, offset] : symbols.entries)
      if (name.size() > size) std::abort();
  } catch (const mcr::Error& error) {
    if (error.fault() != mcr::Fault::image || error.reason().empty()) std::abort();
  }
  return 0;
}

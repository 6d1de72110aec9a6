#include "core/stacks/unwind_library.h"

#include <dlfcn.h>

#include "core/base/error.h"

namespace mcr::stacks {
namespace {

constexpr char kLibrary[] = "libunwind-x86_64.so.8";
constexpr char kRemedy[] = "install libunwind (Debian: libunwind8)";

#define MCR_TEXT(name) #name
#define MCR_SYMBOL(name) MCR_TEXT(name)

template <typename Function>
void load(void* library, const char* name, Function& function) {
  void* symbol = ::dlsym(library, name);
  if (!symbol) throw Error(Fault::refused, fmt::format("{} has no {}", kLibrary, name), kRemedy);
  function = reinterpret_cast<Function>(symbol);
}

UnwindLibrary load_library() {
  void* library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* text = ::dlerror();
    throw Error(Fault::refused, fmt::format("{} cannot be loaded ({})", kLibrary, text ? text : "no reason given"),
                kRemedy);
  }
  UnwindLibrary functions;
  load(library, MCR_SYMBOL(unw_create_addr_space), functions.create);
  load(library, MCR_SYMBOL(unw_destroy_addr_space), functions.destroy);
  load(library, MCR_SYMBOL(unw_set_caching_policy), functions.set_caching);
  load(library, MCR_SYMBOL(unw_init_remote), functions.begin);
  load(library, MCR_SYMBOL(unw_step), functions.step);
  load(library, MCR_SYMBOL(unw_get_reg), functions.get_register);
  load(library, "_Ux86_64_dwarf_search_unwind_table", functions.search_table);
  return functions;
}

}  // namespace

const UnwindLibrary& unwind_library() {
  static const UnwindLibrary functions = load_library();
  return functions;
}

}  // namespace mcr::stacks

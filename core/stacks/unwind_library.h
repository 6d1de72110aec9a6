// libunwind for other address spaces (libunwind-x86_64.so.8), loaded when it is first needed: nothing but `stacks`
// wants it, so that all else works on a host that lacks it. Its own unwinder of exceptions stays out of this program.
#pragma once

#include <libunwind.h>

namespace mcr::stacks {

struct UnwindLibrary {
  unw_addr_space_t (*create)(unw_accessors_t*, int) = nullptr;
  void (*destroy)(unw_addr_space_t) = nullptr;
  int (*set_caching)(unw_addr_space_t, unw_caching_policy_t) = nullptr;
  int (*begin)(unw_cursor_t*, unw_addr_space_t, void*) = nullptr;  // unw_init_remote
  int (*step)(unw_cursor_t*) = nullptr;
  int (*get_register)(unw_cursor_t*, unw_regnum_t, unw_word_t*) = nullptr;
  // Looks an address up in the sorted table of a .eh_frame_hdr. Exported, though no header declares it.
  int (*search_table)(unw_addr_space_t, unw_word_t, unw_dyn_info_t*, unw_proc_info_t*, int, void*) = nullptr;
};

// Throws Error (refused) when it cannot be loaded. Never unloaded. Main thread.
const UnwindLibrary& unwind_library();

}  // namespace mcr::stacks

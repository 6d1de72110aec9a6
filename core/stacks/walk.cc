#include "core/stacks/walk.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "core/base/error.h"
#include "core/stacks/unwind_library.h"

namespace mcr::stacks {
namespace {

constexpr int kMostReads = 50'000;  // of one step: a table of a million functions takes some hundred

constexpr uint64_t kMostReadsOfAll = 200'000'000;  // of all stacks of a process

// By the numbers of DWARF, which are those of libunwind too.
constexpr std::array<unsigned long long sys::Registers::*, 17> kRegisters = {
    &sys::Registers::rax, &sys::Registers::rdx, &sys::Registers::rcx, &sys::Registers::rbx, &sys::Registers::rsi,
    &sys::Registers::rdi, &sys::Registers::rbp, &sys::Registers::rsp, &sys::Registers::r8,  &sys::Registers::r9,
    &sys::Registers::r10, &sys::Registers::r11, &sys::Registers::r12, &sys::Registers::r13, &sys::Registers::r14,
    &sys::Registers::r15, &sys::Registers::rip};

// mov $15, %rax; syscall: rt_sigreturn(2), to which a handler returns.
constexpr unsigned char kSignalReturn[] = {0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05};

}  // namespace

struct Walker::Impl {
  Modules& modules;
  Memory& memory;
  const UnwindLibrary& library = unwind_library();
  unw_accessors_t accessors{};
  unw_addr_space_t space = nullptr;
  sys::Registers registers{};
  int reads = 0;
  uint64_t all_reads = 0;
  bool has_no_table = false;  // the last step asked for one that is not there
  uint64_t unreadable = 0;    // the last address that could not be read

  Impl(Modules& m, Memory& bytes) : modules(m), memory(bytes) {
    accessors.find_proc_info = find_procedure;
    accessors.put_unwind_info = [](unw_addr_space_t, unw_proc_info_t*, void*) {};
    accessors.get_dyn_info_list_addr = [](unw_addr_space_t, unw_word_t*, void*) { return -UNW_ENOINFO; };
    accessors.access_mem = read_word;
    accessors.access_reg = read_register;
    accessors.access_fpreg = [](unw_addr_space_t, unw_regnum_t, unw_fpreg_t*, int, void*) { return -UNW_EBADREG; };
    accessors.resume = [](unw_addr_space_t, unw_cursor_t*, void*) { return -UNW_EINVAL; };
    accessors.get_proc_name = [](unw_addr_space_t, unw_word_t, char*, size_t, unw_word_t*, void*) {
      return -UNW_ENOINFO;
    };
    space = library.create(&accessors, 0);
    if (!space) throw Error(Fault::system, "libunwind makes no address space: memory is short");
    library.set_caching(space, UNW_CACHE_GLOBAL);
  }
  ~Impl() { library.destroy(space); }

  static Impl& self(void* argument) { return *static_cast<Impl*>(argument); }

  static int read_word(unw_addr_space_t, unw_word_t address, unw_word_t* value, int write, void* argument) {
    Impl& impl = self(argument);
    if (write || ++impl.reads > kMostReads || ++impl.all_reads > kMostReadsOfAll) return -UNW_EINVAL;
    uint64_t word;
    const bool is_made = address >= kMadeTables;
    if (is_made ? !impl.modules.read_made_table(address, word) : !impl.memory.read_value(address, word)) {
      impl.unreadable = address;
      return -UNW_EINVAL;
    }
    *value = word;
    return 0;
  }

  static int read_register(unw_addr_space_t, unw_regnum_t number, unw_word_t* value, int write, void* argument) {
    if (write || number < 0 || static_cast<size_t>(number) >= kRegisters.size()) return -UNW_EBADREG;
    *value = self(argument).registers.*kRegisters[static_cast<size_t>(number)];
    return 0;
  }

  static int find_procedure(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t* found, int whole, void* argument) {
    Impl& impl = self(argument);
    const Module* module = impl.modules.module_at(ip);
    if (!module || !module->table) {
      impl.has_no_table = true;
      return -UNW_ENOINFO;
    }
    unw_dyn_info_t table{};
    table.format = UNW_INFO_FORMAT_REMOTE_TABLE;
    table.start_ip = module->text_start, table.end_ip = module->text_end;
    table.u.rti.segbase = module->bias + module->table->header;
    table.u.rti.table_data = module->bias + module->table->table;
    table.u.rti.table_len = module->table->entries * 8 / sizeof(unw_word_t);
    const int result = impl.library.search_table(space, ip, &table, found, whole, argument);
    if (result == -UNW_ENOINFO) impl.has_no_table = true;
    return result;
  }

  bool is_signal_return(uint64_t pc) {
    unsigned char code[sizeof kSignalReturn];
    return memory.read(pc, std::as_writable_bytes(std::span(code))) &&
           std::memcmp(code, kSignalReturn, sizeof code) == 0;
  }

  std::string no_code_at(uint64_t pc) const;
  std::string why_stopped(uint64_t pc, int result) const;
};

// Why the walk ends at this address, before it is tried; empty: it may go on.
std::string Walker::Impl::no_code_at(uint64_t pc) const {
  const Region* region = modules.region_at(pc);
  if (!region) return fmt::format("nothing is mapped at {:#x}", pc);
  if (!region->executable) return fmt::format("there is no code at {:#x}", pc);
  if (region->file_id == 0)
    return "this code was made by the program itself (JIT): it has no unwind information, and the walk ends";
  return {};
}

std::string Walker::Impl::why_stopped(uint64_t pc, int result) const {
  if (reads > kMostReads || all_reads > kMostReadsOfAll) return "the unwind information of this code is broken";
  if (has_no_table) {
    const Module* module = modules.module_at(pc);
    if (module && !module->trouble.empty()) return fmt::format("{}: {}", module->path, module->trouble);
    return "this code has no unwind information";
  }
  if (unreadable != 0) return fmt::format("memory at {:#x}, where the stack goes on, cannot be had", unreadable);
  return fmt::format("the stack or its unwind information is broken (libunwind: {})", result);
}

Walker::Walker(Modules& modules, Memory& memory) : impl_(std::make_unique<Impl>(modules, memory)) {}
Walker::~Walker() = default;

Walked Walker::walk(const sys::Registers& registers) {
  Walked walked;
  impl_->registers = registers;
  unw_cursor_t cursor;
  if (const int result = impl_->library.begin(&cursor, impl_->space, impl_.get()); result != 0) {
    walked.ending = impl_->why_stopped(registers.rip, result);
    return walked;
  }
  bool is_exact = true, is_guessed = false;  // the address is the next instruction's, and not behind a call
  while (true) {
    unw_word_t pc = 0, sp = 0;
    impl_->library.get_register(&cursor, UNW_REG_IP, &pc);
    impl_->library.get_register(&cursor, UNW_REG_SP, &sp);
    if (pc == 0 && !walked.frames.empty()) break;
    if (walked.frames.size() == kMostFrames) {
      walked.ending = fmt::format("there are more than {} frames", kMostFrames);
      break;
    }
    const bool is_signal = impl_->is_signal_return(pc);
    walked.frames.push_back({pc, sp, is_exact || is_signal ? pc : pc - 1, is_signal, is_guessed});
    walked.ending = impl_->no_code_at(pc);
    if (!walked.ending.empty()) break;
    impl_->modules.module_at(walked.frames.back().lookup);  // what it throws is not thrown through libunwind
    impl_->reads = 0, impl_->unreadable = 0, impl_->has_no_table = false;
    const int result = impl_->library.step(&cursor);
    impl_->memory.check();
    if (result < 0 || (result == 0 && impl_->has_no_table)) walked.ending = impl_->why_stopped(pc, result);
    if (result <= 0) break;
    is_exact = is_signal;
    is_guessed = impl_->has_no_table && !is_signal;
  }
  return walked;
}

}  // namespace mcr::stacks

// Probes: looking into a stopped task.
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "core/base/unique_fd.h"
#include "core/sys/failure.h"
#include "core/sys/features_probe.h"

namespace mcr::sys::probe {

Finding ptrace_seize() {
  Victim victim;
  return by_code(victim.seize(), "PTRACE_SEIZE of a child");
}

Finding ptrace_peeksiginfo() {
  Victim victim;
  if (const int code = victim.seize()) return by_code(code, "PTRACE_SEIZE");
  siginfo_t info;
  __ptrace_peeksiginfo_args args = {};
  args.nr = 1;
  return by_errno(ptrace(PTRACE_PEEKSIGINFO, victim.pid(), &args, &info), "PTRACE_PEEKSIGINFO");
}

Finding ptrace_rseq_configuration() {
  constexpr auto kGetRseqConfiguration = static_cast<__ptrace_request>(0x420f);  // 5.13; glibc names it later
  struct {
    uint64_t address;
    uint32_t size, signature, flags, pad;
  } configuration = {};
  Victim victim;
  if (const int code = victim.seize()) return by_code(code, "PTRACE_SEIZE");
  return by_errno(ptrace(kGetRseqConfiguration, victim.pid(), sizeof configuration, &configuration),
                  "PTRACE_GET_RSEQ_CONFIGURATION");
}

Finding ptrace_xstate() {
  alignas(64) static std::array<char, 64 * 1024> buffer;  // with AMX the area has some 11 KiB
  iovec area = {buffer.data(), buffer.size()};
  Victim victim;
  if (const int code = victim.seize()) return by_code(code, "PTRACE_SEIZE");
  Finding finding = by_errno(ptrace(PTRACE_GETREGSET, victim.pid(), NT_X86_XSTATE, &area), "PTRACE_GETREGSET");
  if (finding.available) finding.detail = fmt::format("{} bytes", area.iov_len);
  return finding;
}

Finding process_vm_read() {
  static const uint64_t known = 0x6d696e692d637269;
  uint64_t read = 0;
  Victim victim;
  if (victim.failure() != 0) return by_code(victim.failure(), "fork");
  const iovec here = {&read, sizeof read};
  const iovec there = {const_cast<uint64_t*>(&known), sizeof known};
  const ssize_t size = process_vm_readv(victim.pid(), &here, 1, &there, 1, 0);
  if (size < 0) return by_errno(size, "process_vm_readv");
  return read == known ? yes() : no("process_vm_readv: it read something else");
}

// A debugger may write where the task itself may not (FOLL_FORCE). Since 6.12 the option proc_mem.force_override can
// restrict that to tracers ("ptrace", which is enough here) or forbid it ("never").
Finding proc_mem_write() {
  const Page page(PROT_READ);
  Victim victim;
  if (page.data() == nullptr) return no("mmap: no memory");
  if (const int code = victim.seize()) return by_code(code, "PTRACE_SEIZE");
  const UniqueFd memory(::open(fmt::format("/proc/{}/mem", victim.pid()).c_str(), O_RDWR | O_CLOEXEC));
  if (!memory.valid()) return by_errno(-1, "open /proc/PID/mem");
  const char written = 'm';
  const auto offset = static_cast<off_t>(page.address());
  Finding finding = by_errno(pwrite(memory.get(), &written, 1, offset), "write to a read-only page");
  char read = 0;
  if (finding.available && (pread(memory.get(), &read, 1, offset) != 1 || read != written))
    return no("/proc/PID/mem: the page did not change");
  return finding;
}

}  // namespace mcr::sys::probe

#include "core/tree/process_check.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/user.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "core/base/bounds.h"
#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/run_shape.h"

namespace mcr::tree {
namespace {

using bounds::kPage, bounds::kTaskSize;
using image::Vma;

constexpr uint64_t kMostVdso = 1 << 20;  // vdso and its data: tens of KiB
constexpr size_t kMostAuxiliary = 4096;  // saved_auxv of mm_struct: some 400 bytes
constexpr uint64_t kVsyscall = 0xffffffffff600000;

class ProcessCheck {
 public:
  ProcessCheck(const ProcessImage& process, const images::ImageReader& reader)
      : p_(process), reader_(reader), pid_(process.core.pid()) {}

  void run() {
    check_core();
    for (const auto& thread : p_.threads) check_thread(thread);
    if (p_.has_own(Shared::memory)) check_memory();
    check_context();
  }

 private:
  void check_memory() const {
    check_map();
    check_shared();
    for (const Vma& vma : p_.vmas) check_vma(vma);
    check_kernel_pages();
    check_runs();
  }

  [[noreturn]] void bad(const char* file, const std::string& what) const {
    throw Error(Fault::image, fmt::format("{}-{}.img: {}", file, pid_, what),
                "the image is damaged or was made by a faulty program");
  }
  template <typename Value>
  void require(bool holds, const char* file, const char* field, const Value& value) const {
    if (!holds) bad(file, fmt::format("{} cannot be {}", field, value));
  }

  void check_core() const;
  void check_thread(const image::ThreadCore& thread) const;
  void check_registers(const image::ThreadCore& thread) const;
  void check_map() const;
  void check_shared() const;
  void check_vma(const Vma& vma) const;
  void check_kernel_pages() const;
  void check_runs() const;
  void check_context() const;

  const ProcessImage& p_;
  const images::ImageReader& reader_;
  int32_t pid_;
};

void ProcessCheck::check_core() const {
  const auto& core = p_.core;
  require(bounds::is_pid(core.pid()), "core", "pid", core.pid());
  for (const auto& [field, value] :
       {std::pair{"ppid", core.ppid()}, std::pair{"pgid", core.pgid()}, std::pair{"sid", core.sid()}})
    require(value >= 0 && value <= bounds::kMaxPid, "core", field, value);  // 0: outside of its pid namespace
  require(bounds::is_signal_or_none(core.stop_signal()), "core", "stop_signal", core.stop_signal());
  require(core.personality() != UINT32_MAX, "core", "personality", core.personality());  // asks, sets nothing
  std::set<int32_t> tids;
  for (const auto& thread : p_.threads) {
    require(bounds::is_pid(thread.tid()), "core", "tid", thread.tid());
    if (!tids.insert(thread.tid()).second) bad("core", fmt::format("two threads have tid {}", thread.tid()));
  }
}

void ProcessCheck::check_thread(const image::ThreadCore& thread) const {
  if (thread.name().size() > 64) bad("core", fmt::format("thread {} has a name that is too long", thread.tid()));
  if (thread.registers().size() == sizeof(user_regs_struct)) check_registers(thread);  // of other CPUs: a problem
  if (!thread.restart().present()) return;
  // The time goes into an int of milliseconds there (poll(2)), of which a negative one is no limit; for the others a
  // time_t holds all of it.
  const uint64_t most = thread.restart().number() == SYS_poll ? uint64_t{UINT32_MAX} * 1'000'000 : INT64_MAX;
  require(thread.restart().remaining_ns() <= most, "core", "remaining_ns", thread.restart().remaining_ns());
}

// As PTRACE_SETREGS wants them (arch/x86/kernel/ptrace.c), which would refuse when all else is done.
void ProcessCheck::check_registers(const image::ThreadCore& thread) const {
  user_regs_struct r{};
  std::memcpy(&r, thread.registers().data(), sizeof r);
  const auto check = [&](bool holds, const char* name, uint64_t value) {
    if (!holds) bad("core", fmt::format("thread {}: register {} cannot be {:#x}", thread.tid(), name, value));
  };
  const auto is_selector = [](uint64_t value) { return value <= 0xffff && (value == 0 || (value & 3) == 3); };
  check(is_selector(r.cs) && r.cs != 0, "cs", r.cs);
  check(is_selector(r.ss) && r.ss != 0, "ss", r.ss);
  check(is_selector(r.ds), "ds", r.ds);
  check(is_selector(r.es), "es", r.es);
  check(is_selector(r.fs), "fs", r.fs);
  check(is_selector(r.gs), "gs", r.gs);
  check(bounds::is_user_address(r.fs_base), "fs_base", r.fs_base);
  check(bounds::is_user_address(r.gs_base), "gs_base", r.gs_base);
  check(r.rip <= kTaskSize || r.rip - kVsyscall < kPage, "rip", r.rip);
}

void ProcessCheck::check_map() const {
  const auto& map = p_.map;
  const auto check_pair = [&](const char* field, uint64_t start, uint64_t end) {
    if (start > end || end > kTaskSize) bad("mm", fmt::format("{} cannot be {:#x}-{:#x}", field, start, end));
  };
  check_pair("code", map.start_code(), map.end_code());
  check_pair("data", map.start_data(), map.end_data());
  check_pair("brk", map.start_brk(), map.brk());
  check_pair("arg", map.arg_start(), map.arg_end());
  check_pair("env", map.env_start(), map.env_end());
  check_pair("start_stack", map.start_stack(), map.start_stack());
  require(map.auxv().size() <= kMostAuxiliary && map.auxv().size() % 16 == 0, "mm", "auxv's size", map.auxv().size());
}

void ProcessCheck::check_shared() const {
  std::set<uint32_t> ids;
  for (const auto& object : p_.shared) {
    require(object.id() != 0, "mm", "the id of shared memory", object.id());
    if (!ids.insert(object.id()).second) bad("mm", fmt::format("shared memory {} is described twice", object.id()));
  }
}

void ProcessCheck::check_vma(const Vma& vma) const {
  const auto fail = [&](const std::string& what) {
    bad("mm", fmt::format("mapping {:#x}-{:#x}: {}", vma.start(), vma.end(), what));
  };
  if (!Vma::Kind_IsValid(vma.kind())) fail(fmt::format("kind {} is not known", static_cast<int>(vma.kind())));
  if (vma.end() > kTaskSize) fail("it reaches into the kernel");
  if (vma.prot() > (PROT_READ | PROT_WRITE | PROT_EXEC)) fail(fmt::format("prot cannot be {:#x}", vma.prot()));
  if (vma.name().size() > bounds::kMaxPath + 64) fail("its name is too long");
  const uint64_t bytes = vma.end() - vma.start();
  if (vma.offset() > INT64_MAX || bytes > INT64_MAX - vma.offset())
    fail(fmt::format("offset cannot be {:#x}", vma.offset()));
  const bool is_file = vma.kind() == Vma::PRIVATE_FILE || vma.kind() == Vma::SHARED_FILE;
  if (is_file && vma.file() == 0) fail("it has no file");
  if (vma.kind() != Vma::SHARED_ANONYMOUS) return;
  const auto is_its = [&](const image::SharedMemory& memory) { return memory.id() == vma.shared(); };
  if (std::ranges::none_of(p_.shared, is_its) && std::ranges::none_of(p_.borrowed, is_its, &BorrowedMemory::memory))
    fail(fmt::format("there is no shared memory {}", vma.shared()));
}

// They are moved as one block, to where the first of them was.
void ProcessCheck::check_kernel_pages() const {
  uint64_t start = 0, end = 0, vdsos = 0;
  for (const Vma& vma : p_.vmas) {
    if (vma.kind() != Vma::VDSO && vma.kind() != Vma::VVAR) continue;
    if (end != 0 && vma.start() != end) bad("mm", fmt::format("vdso and its data lie apart at {:#x}", vma.start()));
    if (end == 0) start = vma.start();
    end = vma.end();
    vdsos += vma.kind() == Vma::VDSO;
  }
  if (end - start > kMostVdso || vdsos > 1) bad("mm", fmt::format("the vdso cannot have {} bytes", end - start));
}

// Whole runs inside the file and none over another: so what is read is never more than the file has. One page may stand
// for many: it is read once for all that lie side by side.
void ProcessCheck::check_runs() const {
  if (!reader_.has(p_.map.pages_file()))
    bad("mm", fmt::format("pages_file: the inventory lists no \"{}\"", p_.map.pages_file().substr(0, 64)));
  const images::PageFile pages = reader_.pages(p_.map.pages_file());
  const std::vector<uint64_t> streams = images::stream_sizes(reader_);
  images::StoreSizes sizes;
  sizes.pages_file = pages.size();
  sizes.streams = streams;
  std::vector<std::pair<uint64_t, uint64_t>> places;
  for (const auto& run : p_.runs) {
    if (const std::string fault = images::run_fault(run, sizes); !fault.empty())
      bad("mm", fmt::format("run of pages at {:#x}: it {}", run.start(), fault));
    if (run.source() == image::PageRun::FILE) places.emplace_back(run.offset(), run.bytes());
  }
  std::sort(places.begin(), places.end());
  for (size_t i = 1; i < places.size(); ++i)
    if (places[i].first - places[i - 1].first < places[i - 1].second)
      bad("mm", fmt::format("two runs of pages share the bytes at {} of {}", places[i].first, p_.map.pages_file()));
}

void ProcessCheck::check_context() const {
  require(p_.fs.umask() <= 0777, "fs", "umask", p_.fs.umask());
  std::set<int32_t> numbers;
  for (const auto& descriptor : p_.descriptors)
    if (!numbers.insert(descriptor.fd()).second)
      bad("fdinfo", fmt::format("descriptor {} is described twice", descriptor.fd()));
}

}  // namespace

void check_process(const ProcessImage& process, const images::ImageReader& reader) {
  ProcessCheck(process, reader).run();
}

}  // namespace mcr::tree

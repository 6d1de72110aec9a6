#include "images/kernel_writes.h"

#include <sys/syscall.h>

#include <algorithm>

#include "images/format.h"
#include "images/message_json.h"
#include "images/proto/facets.pb.h"

namespace mcr::images {
namespace {

constexpr char kRseq[] = "the kernel writes there on which processor the thread runs (rseq)";
constexpr char kTimeLeft[] = "the kernel writes the remaining time of an interrupted call there";
constexpr uint64_t kSecond = 1'000'000'000;

// struct rseq: cpu_id_start, cpu_id, rseq_cs (cleared when the thread stands outside of the section), flags, node_id,
// mm_cid (6.3).
void add_rseq(const image::ThreadPointers& pointers, std::vector<KernelWrite>& writes) {
  const uint64_t at = pointers.rseq_address();
  if (at == 0) return;
  writes.push_back({at, 8, KernelWrite::What::anything, 1, kRseq});
  writes.push_back({at + 8, 8, KernelWrite::What::zero, 1, kRseq});
  writes.push_back({at + 20, 8, KernelWrite::What::anything, 1, kRseq});
}

// The argument that a call interrupted by a stop has its remaining time written to.
void add_time_left(const image::ThreadCore& thread, std::vector<KernelWrite>& writes) {
  const auto number =
      thread.restart().present() ? thread.restart().number() : static_cast<int64_t>(register_of(thread, "orig_rax"));
  const auto result = static_cast<int64_t>(register_of(thread, "rax"));
  if (number < 0 || result > -512 || result < -516) return;  // -ERESTARTSYS to -ERESTART_RESTARTBLOCK
  const char* argument = nullptr;
  if (number == SYS_nanosleep) argument = "rsi";
  if (number == SYS_clock_nanosleep) argument = "r10";
  if (number == SYS_select || number == SYS_pselect6) argument = "r8";
  if (number == SYS_ppoll) argument = "rdx";
  if (!argument || register_of(thread, argument) == 0) return;
  writes.push_back({register_of(thread, argument), 16, KernelWrite::What::time_left,
                    number == SYS_select ? uint64_t{1000} : 1, kTimeLeft});
}

uint64_t time_at(std::string_view bytes, size_t at, uint64_t unit_ns) {
  return number_at<uint64_t>(bytes, at) * kSecond + number_at<uint64_t>(bytes, at + 8) * unit_ns;
}

bool is_plausible(const KernelWrite& write, uint64_t at, std::string_view a, std::string_view b, uint64_t elapsed_ns) {
  if (write.what == KernelWrite::What::anything) return true;
  // The numbers are the image's: no sum is formed. A place may lie across two pages, of which this is one.
  if (write.start < at || a.size() < write.bytes || write.start - at > a.size() - write.bytes) return false;
  const size_t offset = write.start - at;
  if (write.what == KernelWrite::What::zero) return number_at<uint64_t>(b, offset) == 0;
  return is_time_left(time_at(a, offset, write.unit_ns), time_at(b, offset, write.unit_ns), 0, elapsed_ns);
}

}  // namespace

uint64_t register_of(const image::ThreadCore& thread, std::string_view name) {
  const auto names = register_names();
  const auto at = static_cast<size_t>(std::find(names.begin(), names.end(), name) - names.begin());
  if ((at + 1) * 8 > thread.registers().size()) return 0;
  return number_at<uint64_t>(thread.registers(), at * 8);
}

std::vector<KernelWrite> kernel_writes(const image::ThreadCore& thread) {
  std::vector<KernelWrite> writes;
  for (const auto& facet : thread.facets()) {
    image::ThreadPointers pointers;
    if (facet.UnpackTo(&pointers)) add_rseq(pointers, writes);
  }
  add_time_left(thread, writes);
  return writes;
}

const char* explains(const std::vector<KernelWrite>& writes, uint64_t at, std::string_view a, std::string_view b,
                     uint64_t elapsed_ns) {
  const char* reason = nullptr;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const auto found = std::find_if(writes.begin(), writes.end(), [&](const KernelWrite& write) {
      return at + i - write.start < write.bytes && is_plausible(write, at, a, b, elapsed_ns);
    });
    if (found == writes.end()) return nullptr;
    reason = found->reason;
  }
  return reason;
}

bool is_time_left(uint64_t before, uint64_t after, uint64_t interval, uint64_t elapsed_ns) {
  if (after <= before) return before - after <= elapsed_ns;
  return after <= interval && before <= elapsed_ns;  // it went round
}

}  // namespace mcr::images

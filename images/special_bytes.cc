#include "images/special_bytes.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstring>

#include "images/byte_text.h"
#include "images/format.h"
#include "images/message_json.h"

namespace mcr::images {
namespace {

constexpr size_t kShown = 16;

size_t first_difference(std::string_view a, std::string_view b) {
  const size_t shared = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(shared), b.begin()).first -
                             a.begin());
}

struct SignalField {
  const char* name;
  size_t offset, bytes;
};

// Which members of the union count, by code and number (sigaction(2)).
std::vector<SignalField> signal_fields(const siginfo_t& info) {
  constexpr size_t kUnion = offsetof(siginfo_t, si_pid);
  if (info.si_code == SI_TIMER)
    return {{"si_timerid", kUnion, 4}, {"si_overrun", kUnion + 4, 4}, {"si_value", kUnion + 8, 8}};
  if (info.si_code > 0 && info.si_code < SI_KERNEL) {
    if (info.si_signo == SIGSEGV || info.si_signo == SIGBUS || info.si_signo == SIGILL || info.si_signo == SIGFPE ||
        info.si_signo == SIGTRAP)
      return {{"si_addr", kUnion, 8}};
    if (info.si_signo == SIGIO) return {{"si_band", kUnion, 8}, {"si_fd", kUnion + 8, 4}};
    if (info.si_signo == SIGCHLD)
      return {{"si_pid", kUnion, 4}, {"si_uid", kUnion + 4, 4}, {"si_status", kUnion + 8, 4}};
  }
  return {{"si_pid", kUnion, 4}, {"si_uid", kUnion + 4, 4}, {"si_value", kUnion + 8, 8}};
}

std::string number_text(std::string_view bytes, const SignalField& field) {
  if (field.bytes == 8) return fmt::format("{:#x}", number_at<uint64_t>(bytes, field.offset));
  return fmt::to_string(number_at<int32_t>(bytes, field.offset));
}

}  // namespace

PartChange compare_bytes(std::string_view a, std::string_view b) {
  const size_t at = first_difference(a, b);
  const auto text = [at](std::string_view bytes) {
    const std::string_view shown = bytes.substr(std::min(at, bytes.size()), kShown);
    return fmt::format("{} bytes, at {}: {}", bytes.size(), at, shown.empty() ? "end" : hexadecimal(shown));
  };
  return {"", text(a), text(b)};
}

std::vector<PartChange> compare_registers(std::string_view a, std::string_view b) {
  const auto names = register_names();
  if (a.size() != b.size() || a.size() != names.size() * sizeof(uint64_t)) return {compare_bytes(a, b)};
  std::vector<PartChange> changes;
  for (size_t i = 0; i < names.size(); ++i) {
    const auto before = number_at<uint64_t>(a, i * 8), after = number_at<uint64_t>(b, i * 8);
    if (before != after) changes.push_back({names[i], fmt::format("{:#x}", before), fmt::format("{:#x}", after)});
  }
  return changes;
}

// The FXSAVE area (Intel SDM 1, 10.5.1): a register in each 16 bytes from 32 on, of which x87 uses 10.
std::vector<PartChange> compare_legacy_state(std::string_view a, std::string_view b) {
  constexpr size_t kX87 = 32, kSse = 160, kEnd = 416;
  if (a.size() != b.size() || a.size() != kEnd) return {compare_bytes(a, b)};
  std::vector<PartChange> changes;
  const auto compare = [&](const std::string& name, size_t from, size_t bytes) {
    const std::string_view before = a.substr(from, bytes), after = b.substr(from, bytes);
    if (before != after) changes.push_back({name, hexadecimal(before), hexadecimal(after)});
  };
  compare("fcw", 0, 2), compare("fsw", 2, 2), compare("ftw", 4, 2), compare("fop", 6, 2);
  compare("fip", 8, 8), compare("fdp", 16, 8), compare("mxcsr", 24, 4), compare("mxcsr_mask", 28, 4);
  for (size_t i = 0; i < 8; ++i) compare(fmt::format("st{}", i), kX87 + 16 * i, 16);
  for (size_t i = 0; i < 16; ++i) compare(fmt::format("xmm{}", i), kSse + 16 * i, 16);
  return changes;
}

std::vector<PartChange> compare_siginfo(std::string_view a, std::string_view b) {
  siginfo_t before{}, after{};
  if (a.size() != sizeof before || b.size() != sizeof after) return {compare_bytes(a, b)};
  std::memcpy(&before, a.data(), sizeof before);
  std::memcpy(&after, b.data(), sizeof after);
  std::vector<PartChange> changes;
  std::vector<SignalField> fields = {{"si_signo", offsetof(siginfo_t, si_signo), 4},
                                     {"si_errno", offsetof(siginfo_t, si_errno), 4},
                                     {"si_code", offsetof(siginfo_t, si_code), 4}};
  for (const SignalField& field : signal_fields(before)) fields.push_back(field);
  for (const SignalField& field : fields) {
    const std::string left = number_text(a, field), right = number_text(b, field);
    if (left != right) changes.push_back({field.name, left, right});
  }
  if (changes.empty() && a != b) changes.push_back(compare_bytes(a, b));
  return changes;
}

int signal_number(const std::string& siginfo) {
  return siginfo.size() == sizeof(siginfo_t) ? number_at<int32_t>(siginfo, offsetof(siginfo_t, si_signo)) : 0;
}

std::string siginfo_text(std::string_view bytes) {
  siginfo_t info{};
  if (bytes.size() != sizeof info) return fmt::format("{} bytes", bytes.size());
  std::memcpy(&info, bytes.data(), sizeof info);
  std::string text = fmt::format("signal {}, code {}", info.si_signo, info.si_code);
  for (const SignalField& field : signal_fields(info))
    text += fmt::format(", {} {}", field.name, number_text(bytes, field));
  return text;
}

}  // namespace mcr::images

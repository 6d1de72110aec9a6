#include "core/engine/forecast.h"

namespace mcr::engine {
namespace {

// Sizes as the image format has them; times from medians of dumps on two busy cores (docs/doctor.md).
constexpr uint64_t kImageBytes = 1'000, kProcessBytes = 13'000, kThreadBytes = 2'300, kMappingBytes = 95,
                   kDescriptorBytes = 190;
constexpr double kPauseUs = 6'000, kProcessUs = 4'000, kThreadUs = 120, kMappingUs = 8, kDescriptorUs = 15;
constexpr double kCopiedBytesAUs = 750, kForkedBytesAUs = 16'000;                 // a forked one costs its page tables
constexpr double kCommitUs = 60'000, kFilesUs = 20'000, kSyncedBytesAUs = 2'000;  // a disk that syncs

}  // namespace

Forecast forecast(const Amounts& a) {
  Forecast all;
  all.image_bytes = kImageBytes + a.processes * kProcessBytes + a.threads * kThreadBytes + a.mappings * kMappingBytes +
                    a.descriptors * kDescriptorBytes + a.stored_bytes();
  const double state = kPauseUs + kProcessUs * static_cast<double>(a.processes) +
                       kThreadUs * static_cast<double>(a.threads) + kMappingUs * static_cast<double>(a.mappings) +
                       kDescriptorUs * static_cast<double>(a.descriptors);
  const auto later = static_cast<double>(a.private_bytes), now = static_cast<double>(a.shared_bytes + a.file_bytes);
  all.pause_us = static_cast<uint64_t>(state + (later + now) / kCopiedBytesAUs);
  all.live_us = static_cast<uint64_t>(state + now / kCopiedBytesAUs + later / kForkedBytesAUs);
  const double commit = kCommitUs + kFilesUs * static_cast<double>(a.processes) + (later + now) / kSyncedBytesAUs;
  all.total_us = a.look_us + all.pause_us + static_cast<uint64_t>(commit);
  return all;
}

}  // namespace mcr::engine

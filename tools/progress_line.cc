#include "tools/progress_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <system_error>

#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"

namespace mcr::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kFirst = std::chrono::milliseconds(1000);
constexpr auto kTurn = std::chrono::milliseconds(200);
constexpr std::string_view kErase = "\r\x1b[K";

struct Amount {
  double value;
  const char* unit;
};

Amount amount_of(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < std::size(kUnits); ++unit) bytes /= 1024;
  return {bytes, kUnits[unit]};
}

void show(std::string_view text) {
  try {
    sys::write_fully(2, text.data(), text.size());
  } catch (const std::exception&) {  // a terminal that was closed: there is nobody to tell
  }
}

}  // namespace

size_t write_progress(char* to, size_t size, std::string_view phase, uint64_t done, uint64_t total, double seconds) {
  size_t used = 0;
  const auto add = [&]<typename... Args>(fmt::format_string<Args...> format, Args&&... args) {
    used += std::min(fmt::format_to_n(to + used, size - used, format, std::forward<Args>(args)...).size, size - used);
  };
  const Amount so_far = amount_of(static_cast<double>(done));
  add("{} {:.1f} {}", phase, so_far.value, so_far.unit);
  if (total >= done && total != 0) {
    const Amount all = amount_of(static_cast<double>(total));
    add(" of {:.1f} {}", all.value, all.unit);
  }
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  if (rate < 1) return used;
  const Amount a_second = amount_of(rate);
  add(", {:.1f} {}/s", a_second.value, a_second.unit);
  if (total > done) add(", {:.0f} s left", std::min(static_cast<double>(total - done) / rate + 0.5, 1e6));
  return used;
}

// The thread must not be given a signal that is meant for the main one.
ProgressLine::ProgressLine(const Progress& progress, bool wanted) : progress_(progress) {
  if (!wanted || !sys::is_terminal(2)) return;
  const sys::NoSignals none;
  try {
    thread_ = std::thread([this] { tick(); });
  } catch (const std::system_error& error) {
    log::debug("progress", "no thread can be made: {}", error.what());
  }
}

void ProgressLine::stop() {
  ends_ = true;
  if (thread_.joinable()) thread_.join();
}

void ProgressLine::tick() {
  const auto start = Clock::now();
  auto phase_start = start, next = start + kFirst;
  uint64_t phase = progress_.phases;
  bool shown = false;
  while (!ends_) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const auto now = Clock::now();
    if (progress_.phases != phase) phase = progress_.phases, phase_start = now;
    if (now < next || phase == 0) continue;
    next = now + kTurn;
    std::array<char, 200> text;
    std::copy(kErase.begin(), kErase.end(), text.begin());
    const double seconds = std::chrono::duration<double>(now - phase_start).count();
    size_t used = kErase.size();
    used += write_progress(text.data() + used, text.size() - used - 1, progress_.phase.load(), progress_.done,
                           progress_.total, seconds);
    text[used++] = '\r';  // a line of the log begins where this one does
    show({text.data(), used});
    shown = true;
  }
  if (shown) show(kErase);
}

}  // namespace mcr::cli

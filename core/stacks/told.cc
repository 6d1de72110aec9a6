#include "core/stacks/told.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <string_view>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::stacks {
namespace {

constexpr size_t kLongest = 256 << 20;
constexpr char kText = 'T', kError = 'E';
constexpr std::string_view kEnd("\0told\0", 6);  // of all words: without it somebody has ended before he had said them

// Ended and collected, however the reading of its words ends.
class Teller {
 public:
  explicit Teller(HostPid pid) : pid_(pid) {}
  Teller(const Teller&) = delete;
  Teller& operator=(const Teller&) = delete;
  ~Teller() {
    try {
      sys::try_kill(pid_, SIGKILL);
      while (!sys::collect_ended(pid_)) sys::wait_any_readable({}, 1);
    } catch (const Error& error) {
      log::debug("stacks", "{}", error.what());
    }
  }

 private:
  HostPid pid_;
};

std::string words_of(const Error& error) {
  const auto& trail = error.trail();
  std::string place;
  for (size_t i = std::min(Step::trail().size(), trail.size()); i < trail.size(); ++i) place += trail[i] + ": ";
  return fmt::format("{}{}{}\n{}", kError, static_cast<char>('0' + static_cast<int>(error.fault())),
                     place + error.reason(), error.remedy());
}

[[noreturn]] void throw_words(const std::string& words) {
  const size_t line = std::min(words.rfind('\n'), words.size());
  throw Error(static_cast<Fault>(words[1] - '0'), words.substr(2, line - 2),
              words.substr(std::min(line + 1, words.size())));
}

// false: the time is over, or there is no end of it.
bool read_all(int pipe, std::chrono::milliseconds limit, std::string& words) {
  std::string piece(1 << 16, '\0');
  const auto end = sys::Clock::now() + limit;
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - sys::Clock::now()).count();
    if (left <= 0 || words.size() > kLongest || !sys::wait_readable(pipe, static_cast<int>(left))) return false;
    const size_t n = sys::read_some(pipe, piece.data(), piece.size());
    if (n == 0) return true;
    words.append(piece, 0, n);
  }
}

}  // namespace

Told told_by_child(std::chrono::milliseconds limit, const std::function<std::string()>& work) {
  sys::Pipe pipe = sys::make_pipe(O_CLOEXEC);
  const Teller teller(sys::start_twin([&, us = sys::own_pid()] {
    std::string words;
    try {
      sys::end_with(us);
      words = kText + work();
    } catch (const Error& error) {
      words = words_of(error);
    }
    sys::write_text(pipe.write_end.get(), words.append(kEnd));
    return 0;
  }));
  pipe.write_end.reset();
  std::string words;
  if (!read_all(pipe.read_end.get(), limit, words))
    return {{}, fmt::format("what the program says of itself could not be followed within {} s", limit.count() / 1000)};
  if (!words.ends_with(kEnd)) return {{}, "what the program says of itself misleads: whoever followed it has stumbled"};
  words.resize(words.size() - kEnd.size());
  if (words[0] == kError) throw_words(words);
  return {words.substr(1), {}};
}

std::string told_stacks(int32_t pid, const std::string& name, const Tell& tell,
                        const std::function<ProcessStacks()>& walk) {
  constexpr auto kLimit = std::chrono::seconds(60);
  const Told told = told_by_child(kLimit, [&] { return tell(walk()); });
  if (told.text) return *told.text;
  ProcessStacks none;
  none.pid = pid, none.name = name;
  none.missing.push_back("all stacks: " + told.trouble);
  return tell(none);
}

}  // namespace mcr::stacks

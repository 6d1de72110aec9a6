#include "core/engine/obstacle_stack.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "core/base/log.h"
#include "core/stacks/frame_text.h"
#include "core/stacks/told.h"

namespace mcr::engine {
namespace {

std::optional<pid_t> number_behind(std::string_view text, std::string_view word) {
  const size_t at = text.find(word);
  pid_t number = 0;
  if (at == std::string_view::npos) return std::nullopt;
  const char* first = text.data() + at + word.size();
  const bool is_one = std::from_chars(first, text.data() + text.size(), number).ec == std::errc();
  return is_one ? std::optional(number) : std::nullopt;
}

// "thread 4711" in the reason, else in the last step that has one.
std::optional<pid_t> number_in(const Error& error, std::string_view word) {
  if (const auto number = number_behind(error.reason(), word)) return number;
  for (auto step = error.trail().rbegin(); step != error.trail().rend(); ++step)
    if (const auto number = number_behind(*step, word)) return number;
  return std::nullopt;
}

}  // namespace

void ObstacleStack::copy(const trace::FrozenTree& tree, const Error& error) noexcept {
  try {
    const auto pid = number_in(error, "process ");
    if (!pid) return;
    const auto& all = tree.processes();
    const auto found = std::ranges::find_if(all, [&](const auto& p) { return p->pid.get() == *pid && !p->zombie; });
    if (found == all.end()) return;
    thread_ = HostTid(number_in(error, "thread ").value_or((*found)->view().get()));
    process_ = stacks::copy_process(**found);
    std::erase_if(process_->threads, [&](const auto& thread) { return thread.tid != thread_; });
  } catch (const std::exception& failure) {
    log::debug("dump", "the stack of what stood in the way cannot be copied: {}", failure.what());
  }
}

namespace {

std::string text_of(stacks::StoppedProcess& stopped) {
  std::string text;
  const auto process = stacks::stacks_of_stopped(stopped, {{"/usr/lib/debug"}});
  for (const stacks::ThreadStack& thread : process.threads) {
    text += fmt::format("Stack of thread {} of process {}, {}:\n", thread.tid, process.pid, thread.state);
    for (size_t i = 0; i < thread.frames.size(); ++i)
      text += fmt::format("  #{} {:#018x} {}{}\n", i, thread.frames[i].pc, stacks::function_text(thread.frames[i]),
                          stacks::module_text(thread.frames[i]));
    if (!thread.ending.empty()) text += fmt::format("  ends here: {}\n", thread.ending);
  }
  return text;
}

}  // namespace

void ObstacleStack::log() noexcept {
  try {
    if (!process_ || process_->threads.empty()) return;
    const auto told = stacks::told_by_child(std::chrono::seconds(3), [&] { return text_of(*process_); });
    std::istringstream lines(told.text.value_or(fmt::format("The stack of what stood in the way: {}", told.trouble)));
    for (std::string line; std::getline(lines, line);) log::info("dump", "{}", line);
  } catch (const std::exception& failure) {
    log::debug("dump", "the stack of what stood in the way cannot be told: {}", failure.what());
  }
}

}  // namespace mcr::engine

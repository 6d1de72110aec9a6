#include "core/engine/crew.h"

#include <atomic>
#include <exception>
#include <future>

#include "core/base/aside.h"
#include "core/base/two_threads.h"
#include "core/trace/tracer_desk.h"

namespace mcr::engine {
namespace {

constexpr size_t kMany = 4;

class DeskForAll {
 public:
  DeskForAll(NewProcesses& processes, trace::TracerDesk& desk) : processes_(processes) {
    for (auto& [pid, process] : processes_) process->channel().set_desk(&desk);
  }
  ~DeskForAll() {
    for (auto& [pid, process] : processes_) process->channel().set_desk(nullptr);
  }
  DeskForAll(const DeskForAll&) = delete;
  DeskForAll& operator=(const DeskForAll&) = delete;

 private:
  NewProcesses& processes_;
};

}  // namespace

void by_crew(NewProcesses& processes, const std::vector<size_t>& numbers, const std::function<void(size_t)>& work) {
  if (numbers.size() < kMany) {
    for (const size_t number : numbers) work(number);
    return;
  }
  std::vector<std::exception_ptr> errors(numbers.size());
  std::atomic<size_t> next{0};
  const auto run = [&] {
    for (size_t i; (i = next.fetch_add(1)) < numbers.size();) try {
        work(numbers[i]);
      } catch (...) {
        errors[i] = std::current_exception();
        next = numbers.size();
      }
  };
  trace::TracerDesk desk(1);
  const DeskForAll everywhere(processes, desk);
  const std::vector<std::string> trail = Step::trail();  // what the second one tells of begins as it would here
  std::future<void> second = begin_aside([&] {
    const ContinuedTrail steps(trail);
    run();
    desk.leave();
  });
  run();
  if (has_thread(second)) {
    desk.serve_until_alone();
    second.get();
  }
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace mcr::engine

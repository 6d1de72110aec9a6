#include "core/engine/aio_requests.h"

#include <sys/sysmacros.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <thread>

#include "core/base/error.h"
#include "core/mem/aio_ring.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/trace/frozen_tree.h"
#include "core/trace/remote_memory.h"

namespace mcr::engine {
namespace {

using namespace std::chrono_literals;

constexpr auto kStill = 20ms;  // from the end of a transfer to its event in the ring: a work queue lies between

std::vector<std::string> descriptors_of(HostPid pid) {
  return sys::list_directory(fmt::format("/proc/{}/fd", pid));
}

// Block devices of its open files that tell what they are doing ("reads writes").
std::set<std::string> counters_of(HostPid pid) {
  std::set<std::string> counters;
  for (const std::string& fd : descriptors_of(pid)) {
    const auto status = sys::try_stat(fmt::format("/proc/{}/fd/{}", pid, fd));
    if (!status || (!S_ISREG(status->st_mode) && !S_ISBLK(status->st_mode))) continue;
    const dev_t device = S_ISBLK(status->st_mode) ? status->st_rdev : status->st_dev;
    const std::string counter = fmt::format("/sys/dev/block/{}:{}/inflight", major(device), minor(device));
    if (sys::try_stat(counter)) counters.insert(counter);
  }
  return counters;
}

bool is_idle(const std::string& counter) {
  std::istringstream words(sys::try_read_text(counter).value_or("0 0"));
  uint64_t reads = 0, writes = 0;
  words >> reads >> writes;
  return reads == 0 && writes == 0;
}

std::vector<uint32_t> tails(HostPid pid, const std::vector<image::Vma>& vmas) {
  const trace::RemoteMemory memory(pid);
  std::vector<uint32_t> all;
  for (const image::Vma& vma : vmas)
    if (mem::is_aio_ring(vma)) all.push_back(mem::collect_aio_context(memory, vma).tail());
  return all;
}

}  // namespace

void refuse_endless_requests(HostPid pid) {
  const UniqueFd pidfd = trace::open_view_pidfd(pid);
  for (const std::string& fd : descriptors_of(pid)) {
    const auto copy = sys::try_get_fd(pidfd.get(), std::stoi(fd));
    if (!copy || !sys::can_be_polled(copy->get())) continue;
    throw Error(Fault::refused,
                fmt::format("it has a context of asynchronous I/O, and requests in flight may wait for fd {} {}", fd,
                            sys::try_read_link(fmt::format("/proc/{}/fd/{}", pid, fd)).value_or("?")),
                "such requests (IOCB_CMD_POLL) cannot be seen: let the program close the context (io_destroy) or that "
                "descriptor");
  }
}

void await_requests(HostPid pid, const std::vector<image::Vma>& vmas, const sys::Deadline& deadline) {
  if (std::none_of(vmas.begin(), vmas.end(), [](const image::Vma& vma) { return mem::is_aio_ring(vma); })) return;
  const Step step("requests of asynchronous I/O");
  refuse_endless_requests(pid);  // nothing can be opened any more
  std::set<std::string> busy = counters_of(pid);
  const auto too_late = [&] { return deadline && sys::Clock::now() > *deadline; };
  while (!busy.empty()) {
    std::erase_if(busy, is_idle);
    if (!busy.empty() && too_late())
      throw Error(Fault::refused, fmt::format("they may still be in flight: {} was never at rest", *busy.begin()),
                  "dump at a moment with less input and output, or raise --timeout");
    std::this_thread::sleep_for(1ms);
  }
  for (std::vector<uint32_t> before, now = tails(pid, vmas); before != now; now = tails(pid, vmas)) {
    if (!before.empty() && too_late())
      throw Error(Fault::refused, "they are still in flight: events go on to arrive", "raise --timeout");
    before = now;
    std::this_thread::sleep_for(kStill);
  }
}

}  // namespace mcr::engine

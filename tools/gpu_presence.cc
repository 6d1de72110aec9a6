#include "tools/gpu_presence.h"

#include <fcntl.h>

#include <string>

#include "core/base/error.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "gpu/driver.h"

namespace mcr::cli {
namespace {

std::string what_is_missing() {
  std::string why;
  const auto driver = gpu::Driver::open(why);
  if (!driver) return why;
  return driver->gpus().empty() ? "this host has no GPU" : "";
}

}  // namespace

void require_gpu() {
  sys::Pipe pipe = sys::make_pipe(O_CLOEXEC);
  const int kept[] = {pipe.write_end.get()};
  const HostPid child = sys::start_child(kept, [&] {
    sys::write_text(kept[0], "answer:" + what_is_missing());
    return 0;
  });
  pipe.write_end.reset();
  const UniqueFd pidfd = sys::open_pidfd(child);
  std::string answer;
  char buffer[1024];
  while (const size_t n = sys::read_some(pipe.read_end.get(), buffer, sizeof buffer)) answer.append(buffer, n);
  sys::wait_readable(pidfd.get(), -1);
  sys::collect_ended(child);
  if (answer == "answer:") return;
  throw Error(Fault::refused, answer.empty() ? "the CUDA driver has crashed" : answer.substr(sizeof "answer:" - 1),
              "--gpu needs NVIDIA's driver, version 570 or newer; leave it out where the program can do without a GPU");
}

}  // namespace mcr::cli

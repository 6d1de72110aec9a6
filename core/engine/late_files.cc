#include "core/engine/late_files.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include <map>
#include <set>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::engine {
namespace {

uint64_t flag_of(const image::Descriptor& d) {
  return d.close_on_exec() ? O_CLOEXEC : 0;
}

}  // namespace

// A folder stands at the number so far. The first process that has the file opens it; an open file that is shared goes
// from there to the others. O_PATH has no state to share, and pidfd_getfd refuses it on some kernels.
void LateFiles::open() {
  std::set<int> taken{process_.control_socket()};
  for (const auto& d : image_.descriptors) taken.insert(d.fd());
  uint64_t lowest = 0;
  while (taken.contains(static_cast<int>(lowest))) ++lowest;
  std::map<uint32_t, int> placed;
  for (const auto& d : image_.descriptors) {
    const auto late = files_.late(d.file());
    if (!late) continue;
    const Step step("fd {}", d.fd());
    const auto [first, is_first] = placed.try_emplace(d.file(), d.fd());
    const std::optional<int> opened = files_.opened_late(d.file());
    if (!is_first) {
      inject::Batch batch = process_.channel().small_batch();
      batch.add("dup3", SYS_dup3, {static_cast<uint64_t>(first->second), static_cast<uint64_t>(d.fd()), flag_of(d)});
      process_.channel().run(batch);
    } else if (opened) {
      take(d, *opened);
    } else {
      open_here(d, *late, lowest);
    }
  }
}

// By the numbers that /proc has here.
std::string LateFiles::path_of(const kinds::LateOpen& late) const {
  const auto found = all_.find(late.pid);
  if (found == all_.end()) throw Error(Fault::image, fmt::format("there is no living process {}", late.pid));
  const inject::NewProcess& subject = *found->second;
  return fmt::format("{}/{}", subject.pid(),
                     kinds::renumber_thread(late.path, [&](pid_t tid) { return subject.host_tid(tid).get(); }));
}

// What is opened arrives at the lowest number that is free.
void LateFiles::open_here(const image::Descriptor& d, const kinds::LateOpen& late, uint64_t lowest) {
  inject::Batch batch = process_.channel().small_batch();
  const auto fd = static_cast<uint64_t>(d.fd());
  batch.add("openat", SYS_openat, {fd, batch.put_string(path_of(late)).get(), late.flags});
  batch.add("dup3", SYS_dup3, {lowest, fd, flag_of(d)});
  batch.add("close", SYS_close, {lowest});
  process_.channel().run(batch);
  if (!(late.flags & O_PATH)) files_.keep_late(d.file(), sys::get_fd(process_.pidfd(), d.fd()));
}

void LateFiles::take(const image::Descriptor& d, int opened) {
  const auto arrived = static_cast<uint64_t>(process_.channel().send(std::span(&opened, 1)).front());
  inject::Batch batch = process_.channel().small_batch();
  batch.add("dup3", SYS_dup3, {arrived, static_cast<uint64_t>(d.fd()), flag_of(d)});
  batch.add("close", SYS_close, {arrived});
  process_.channel().run(batch);
}

// After the credentials: the right to send a signal is that of the one who has set the owner. O_ASYNC notes the number
// of the descriptor (si_fd).
void LateFiles::set_owners() {
  constexpr size_t kBytesForOne = 256;
  inject::Batch batch = process_.channel().small_batch();
  std::set<uint32_t> done;
  for (const auto& d : image_.descriptors) {
    const auto& object = files_.object(d.file());
    const bool is_asynchronous = files_.is_asynchronous(d.file());
    if ((object.owner_pid() == 0 && !is_asynchronous) || !done.insert(d.file()).second) continue;
    const auto fd = static_cast<uint64_t>(d.fd());
    const f_owner_ex owner{static_cast<__pid_type>(object.owner_type()), object.owner_pid()};
    if (owner.pid != 0) batch.add("fcntl(F_SETOWN_EX)", SYS_fcntl, {fd, F_SETOWN_EX, batch.put_value(owner).get()});
    if (is_asynchronous) batch.add("fcntl(F_SETFL)", SYS_fcntl, {fd, F_SETFL, object.flags() | O_ASYNC});
    if (batch.has_room_for(kBytesForOne)) continue;
    process_.channel().run(batch);
    batch.clear();
  }
  process_.channel().run(batch);
}

}  // namespace mcr::engine

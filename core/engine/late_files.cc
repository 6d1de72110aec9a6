#include "core/engine/late_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/engine/rings.h"
#include "core/kinds/file_locks.h"
#include "core/kinds/io_uring.h"
#include "core/sys/failure.h"
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
  if (std::ranges::none_of(image_.descriptors, [&](const auto& d) { return files_.late(d.file()).has_value(); }))
    return;
  std::set<int> taken = sockets_;
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
  const bool is_ring = kinds::is_ring(files_.object(d.file()));
  const auto arrived = static_cast<uint64_t>(is_ring ? take_ring(process_, opened)
                                                     : process_.channel().send(std::span(&opened, 1)).front());
  inject::Batch batch = process_.channel().small_batch();
  batch.add("dup3", SYS_dup3, {arrived, static_cast<uint64_t>(d.fd()), flag_of(d)});
  batch.add("close", SYS_close, {arrived});
  process_.channel().run(batch);
}

// Those of an open file once. A process loses its own when it closes any descriptor of the file (fcntl(2)).
void LateFiles::take_locks() {
  for (const auto& d : image_.descriptors) {
    for (const auto& lock : d.locks()) take_lock(d, lock);
    const auto& object = files_.object(d.file());
    if (object.locks_size() == 0 || !files_.take_turn(d.file())) continue;
    for (const auto& lock : object.locks()) take_lock(d, lock);
  }
}

void LateFiles::take_lock(const image::Descriptor& d, const image::FileLock& lock) {
  const Step step("fd {}", d.fd());
  inject::Batch batch = process_.channel().small_batch();
  const auto fd = static_cast<uint64_t>(d.fd());
  const uint64_t type = lock.write() ? F_WRLCK : F_RDLCK;
  size_t call = 0;
  if (lock.kind() == kinds::kFlock) {
    call = batch.try_add("flock", SYS_flock, {fd, static_cast<uint64_t>(lock.write() ? LOCK_EX : LOCK_SH) | LOCK_NB});
  } else if (lock.kind() == kinds::kLease) {
    call = batch.try_add("fcntl(F_SETLEASE)", SYS_fcntl, {fd, F_SETLEASE, type});
  } else {
    struct flock request {};
    request.l_type = static_cast<short>(type);
    request.l_start = static_cast<off_t>(lock.start()), request.l_len = static_cast<off_t>(lock.bytes());
    const uint64_t command = lock.kind() == kinds::kPosix ? F_SETLK : F_OFD_SETLK;
    call = batch.try_add("fcntl(F_SETLK)", SYS_fcntl, {fd, command, batch.put_value(request).get()});
  }
  process_.channel().run(batch);
  if (const int64_t result = batch.result(call); result < 0)
    throw Error(Fault::refused,
                fmt::format("{} on {} cannot be taken again ({})", kinds::describe(lock),
                            files_.path_of(d.file()).value_or("its file"), sys::code_name(static_cast<int>(-result))),
                "another process has the file open or locked since the check: restore again when it has let it go");
  if (lock.breaking() != 0) break_lease(d, lock);
}

// As the one did who wants it: by an open(2) that would have to wait. The holder has been told of it once already; that
// signal is SIGIO still, and waits, as all are blocked here.
void LateFiles::break_lease(const image::Descriptor& d, const image::FileLock& lock) {
  const uint64_t set = uint64_t{1} << (SIGIO - 1);
  inject::Batch before = process_.channel().small_batch();
  const RemoteAddr waiting = before.put_value(uint64_t{0});
  before.add("rt_sigpending", SYS_rt_sigpending, {waiting.get(), sizeof set});
  process_.channel().run(before);
  uint64_t pending = 0;
  sys::read_memory(process_.pid(), waiting, &pending, sizeof pending);
  const std::string door = fmt::format("/proc/{}/fd/{}", process_.pid(), d.fd());
  int code = 0;
  (void)sys::probe_open(door, (lock.breaking() == kinds::kToRead ? O_RDONLY : O_WRONLY) | O_NONBLOCK | O_NOCTTY, code);
  if (code != EWOULDBLOCK)
    throw Error(Fault::refused,
                fmt::format("{} cannot be broken again ({})", kinds::describe(lock), sys::code_name(code)),
                "the file has changed since the check: restore again");
  if (pending & set) return;
  inject::Batch after = process_.channel().small_batch();
  after.add("rt_sigtimedwait", SYS_rt_sigtimedwait,
            {after.put_value(set).get(), 0, after.put_value(timespec{}).get(), 8});
  process_.channel().run(after);
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
    // A lease makes its taker the owner; the one who had it may have ended.
    const bool has_owner = object.owner_pid() != 0 || object.locks_size() != 0;
    if ((!has_owner && !is_asynchronous) || !done.insert(d.file()).second) continue;
    const auto fd = static_cast<uint64_t>(d.fd());
    const f_owner_ex owner{static_cast<__pid_type>(object.owner_type()), object.owner_pid()};
    if (has_owner) batch.add("fcntl(F_SETOWN_EX)", SYS_fcntl, {fd, F_SETOWN_EX, batch.put_value(owner).get()});
    if (is_asynchronous) batch.add("fcntl(F_SETFL)", SYS_fcntl, {fd, F_SETFL, object.flags() | O_ASYNC});
    if (batch.has_room_for(kBytesForOne)) continue;
    process_.channel().run(batch);
    batch.clear();
  }
  process_.channel().run(batch);
}

}  // namespace mcr::engine

#include "core/engine/lazy_memory.h"

#include <sys/syscall.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/page_service.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/user_fault.h"
#include "images/far_image.h"

namespace mcr::engine {
namespace {

constexpr size_t kSharedBytes = size_t{8} << 30;  // of addresses
constexpr char kName[] = "mini-criu-lazy", kRemedy[] = "restore without --lazy-pages";
constexpr std::chrono::seconds kPatience{10};

std::vector<int> kept_there(std::set<int> without, int line, int ours, const images::ImageReader& reader) {
  without.insert(ours);
  if (const auto* far = reader.far())
    for (const int fd : far->descriptors()) without.insert(fd);
  std::vector<int> kept{line};
  for (const int fd : open_descriptors())
    if (!without.contains(fd) && fd != line) kept.push_back(fd);
  // Whoever reads our standard error to its end does not wait for them.
  if (log::descriptor() > 2) kept.push_back(log::descriptor());
  return kept;
}

}  // namespace

std::set<int> open_descriptors() {
  std::set<int> open;
  for (const std::string& name : sys::list_directory("/proc/self/fd"))
    if (const int fd = std::stoi(name); sys::is_open(fd)) open.insert(fd);  // not the one of the listing
  return open;
}

LazyMemory::LazyMemory(const images::ImageReader& reader, const std::vector<tree::ProcessImage>& images,
                       const std::set<int>& before)
    : shared_(kSharedBytes) {
  if (const std::string why = sys::why_no_user_faults(); !why.empty())
    throw Error(Fault::refused, fmt::format("memory cannot be restored lazily: {}", why), kRemedy);
  sys::SocketPair pair = sys::make_socket_pair();
  log::flush();
  const int line = pair.theirs.get();
  // Runs in another process, which has copies of all that is meant here.
  sys::start_service_trio(mem::MissingPages::trio_of(shared_), kName, kept_there(before, line, pair.ours.get(), reader),
                          [&](sys::Partner& partner) { PageService(reader, images, shared_, line, partner).run(); });
  line_ = std::move(pair.ours);
}

void LazyMemory::add(size_t index, inject::NewProcess& process, const mem::RestoreMemory& memory,
                     const std::set<uint64_t>& at_once) {
  const Step step("lazy memory");
  const std::vector<mem::LatePiece> pieces = mem::late_pieces(memory, at_once);
  if (pieces.empty()) return;
  for (const mem::LatePiece& piece : pieces)
    memory.content->check_shape({memory.pid, memory.pages_name}, memory.runs[piece.run]);
  auto [file, code] =
      process.channel().take_made("userfaultfd", SYS_userfaultfd, {sys::user_fault_flags()}, process.pidfd());
  if (!file.valid()) sys::throw_code(code, "userfaultfd");
  if (const int failed = sys::try_enable_user_faults(file.get()); failed != 0) sys::throw_code(failed, "UFFDIO_API");
  std::vector<mem::Range> mappings;
  for (size_t i = 0; i < memory.vmas.size(); ++i) {
    if (!memory.late[i]) continue;
    const auto& vma = memory.vmas[i];
    mappings.push_back({vma.start(), vma.end()});
    if (const int failed = sys::try_register_missing(file.get(), vma.start(), vma.end()); failed != 0)
      sys::throw_code(failed, fmt::format("UFFDIO_REGISTER of {:#x}-{:#x}", vma.start(), vma.end()));
  }
  const std::scoped_lock lock(mutex_);
  const LateMemory late{static_cast<uint32_t>(index), static_cast<int32_t>(process.pid().get()),
                        mem::MissingPages::put_pieces(shared_, pieces, mappings)};
  const int number = file.get();
  sys::send_message(line_.get(), &late, sizeof late, std::span(&number, 1));
  char answer = 0;
  const auto got = sys::receive_message(line_.get(), &answer, 1, sys::Clock::now() + kPatience);
  if (!got || *got == 0)
    throw Error(Fault::system, fmt::format("the process that is to bring the pages ({}) does not answer", kName),
                kRemedy);
}

void LazyMemory::settle() {
  mem::MissingPages::settle(shared_);
  const char done = 0;  // wakes them, should somebody else have our end of the line too
  sys::send_message(line_.get(), &done, 1);
  line_.reset();
}

bool receive_late_memory(int line, LateMemory& late, int& file) {
  UniqueFd received;
  if (!sys::try_receive_with_file(line, &late, sizeof late, received)) return false;
  file = received.release();
  return true;
}

void answer_late_memory(int line) {
  const char answer = 1;
  sys::send_message(line, &answer, 1);
}

}  // namespace mcr::engine

#include "core/kinds/memfd.h"

#include <fcntl.h>

#include <bit>

#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"

namespace mcr::kinds {
namespace {

constexpr std::string_view kPrefix = "/memfd:";
constexpr uint32_t kSealFutureWrite = 0x10, kSealExec = 0x20;  // F_SEAL_*, 5.1 and 6.3
constexpr uint32_t kLargeFile = 0100000;                       // O_LARGEFILE as the kernel has it
constexpr uint32_t kMemoryFlags =
    O_ACCMODE | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | O_DIRECT | kLargeFile | O_NOATIME | O_PATH;
constexpr size_t kLongestName = 249;  // NAME_MAX without "memfd:"

// A memfd with MFD_EXEC and F_SEAL_EXEC keeps its mode's x bits; one with MFD_NOEXEC_SEAL never had them.
bool needs_exec(const image::Ghost& ghost) {
  return !(ghost.memfd().seals() & kSealExec) || (ghost.mode() & 0111) != 0;
}

// What the program had from memfd_create(2) can be executed, what it has opened to write cannot: the first that may
// have been made so gets the maker.
UniqueFd open_memory(uint32_t ghost, uint32_t flags, DeletedFiles& files) {
  constexpr uint32_t kSettable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;
  if ((flags & kMemoryFlags & ~kSettable) == (O_RDWR | kLargeFile)) {
    if (UniqueFd maker = files.take_maker(ghost); maker.valid()) {
      sys::set_status_flags(maker.get(), static_cast<int>(flags & kSettable));
      return maker;
    }
  }
  return sys::open(files.door(ghost), static_cast<int>(flags & kMemoryFlags));
}

class MemfdKind : public Kind {
 public:
  const char* name() const override { return "memfd"; }

  bool claims(const FileView& file) const override {
    return S_ISREG(file.status.st_mode) && file.link.starts_with(kPrefix) && sys::is_kernel_memory(file.status.st_dev);
  }

  void look(const FileView&, const OpenFiles&) const override {}

  void dump(const FileView& file, OpenFiles& table, image::FileObject& object) const override {
    image::MemfdFile message;
    message.set_ghost(table.enter_ghost(file));
    image::Ghost& ghost = table.ghost(message.ghost());
    if (!ghost.has_memfd()) {
      const UniqueFd fd = sys::open(file.door, O_RDONLY | O_NONBLOCK);
      ghost.mutable_memfd()->set_name(file.link.substr(kPrefix.size()));
      ghost.mutable_memfd()->set_seals(sys::seals_of(fd.get()));
      if (sys::is_on_hugetlbfs(fd.get()))
        ghost.mutable_memfd()->set_huge_page_shift(
            static_cast<uint32_t>(std::countr_zero(static_cast<uint64_t>(file.status.st_blksize))));
    }
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    image::MemfdFile message;
    const image::Ghost* ghost = nullptr;
    if (object.body().UnpackTo(&message)) ghost = table.find_ghost(message.ghost());
    if (!ghost || !ghost->has_memfd() || ghost->memfd().name().size() > kLongestName || ghost->size() > INT64_MAX)
      return problems.push_back({"memfd", "its record is unreadable", {}});
    const auto policy = sys::try_read_text("/proc/sys/vm/memfd_noexec");
    if (policy && policy->starts_with("2") && needs_exec(*ghost))
      problems.push_back({ghost->path(), "may be executed, which vm.memfd_noexec forbids here",
                          "set vm.memfd_noexec to 0 or 1 for the restore"});
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles& table) const override {
    image::MemfdFile message;
    if (!object.body().UnpackTo(&message)) throw Error(Fault::image, "its record is unreadable");
    UniqueFd fd = open_memory(message.ghost(), object.flags(), table.deleted_files());
    if (object.offset() != 0 && !(object.flags() & O_PATH)) sys::seek(fd.get(), object.offset(), SEEK_SET);
    return fd;
  }
};

}  // namespace

UniqueFd make_memfd(const image::Ghost& ghost) {
  const std::string& name = ghost.memfd().name();
  if (name.size() > kLongestName || name.find('\0') != std::string::npos)
    throw Error(Fault::image, "the name of a memfd is impossible");
  UniqueFd fd = sys::make_sealable_memfd({name, needs_exec(ghost), ghost.memfd().huge_page_shift()});
  sys::truncate_fd(fd.get(), ghost.size());
  return fd;
}

bool is_sealed_late(const image::Ghost& ghost) {
  return (ghost.memfd().seals() & kSealFutureWrite) && !(ghost.memfd().seals() & F_SEAL_WRITE);
}

void seal_memfd(int fd, const image::Ghost& ghost) {
  const uint32_t missing = ghost.memfd().seals() & ~sys::seals_of(fd);
  if (missing != 0) sys::add_seals(fd, missing);
}

bool has_write_seal(int fd) {
  return (sys::seals_of(fd) & F_SEAL_WRITE) != 0;
}

const Kind* memfd_kind() {
  static const MemfdKind kind;
  return &kind;
}

}  // namespace mcr::kinds

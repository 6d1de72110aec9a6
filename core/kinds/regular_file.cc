// Regular files and directories: reopened by path, at the same offset, with the same flags. A deleted file's content is
// stored in the image.
#include <fcntl.h>

#include "core/kinds/build_id.h"
#include "core/kinds/file_locks.h"
#include "core/kinds/file_names.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"
#include "core/sys/rights.h"

namespace mcr::kinds {
namespace {

class RegularFileKind : public Kind {
 public:
  const char* name() const override { return "regular_file"; }

  bool claims(const FileView& file) const override {
    return (S_ISREG(file.status.st_mode) || S_ISDIR(file.status.st_mode)) && file.link.starts_with("/") &&
           !sys::is_kernel_memory(file.status.st_dev) &&
           !(file.link.starts_with("/secretmem") && sys::is_secret_memory(file.door));
  }

  void look(const FileView& file, const OpenFiles& table) const override { table.require_kept(file); }

  void dump(const FileView& file, OpenFiles& table, image::FileObject& object) const override {
    image::RegularFile message;
    message.set_path(file.deleted ? file.link : table.name_of(file));
    message.set_mode(file.status.st_mode);
    message.set_size(static_cast<uint64_t>(file.status.st_size));
    message.set_mtime_ns(file.status.st_mtim.tv_sec * 1'000'000'000 + file.status.st_mtim.tv_nsec);
    message.set_uid(file.status.st_uid);
    message.set_gid(file.status.st_gid);
    if (file.asked)
      message.set_write_hint(file.asked->write_hint);
    else if (S_ISREG(file.status.st_mode) && file.copy >= 0)
      message.set_write_hint(sys::get_write_hint(file.copy));
    if (file.deleted) {
      message.set_deleted(true);
      message.set_ghost(table.enter_ghost(file));
    } else if (S_ISREG(file.status.st_mode) && table.policy().build_ids && !is_of_proc(file.link)) {
      message.set_build_id(build_id_of(file));
    }
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    const image::RegularFile* record = table.regular_file(object.id());
    if (!record) return problems.push_back({"file", "its record is unreadable", {}});
    const image::RegularFile& m = *record;
    if (!is_path(m.path())) return problems.push_back({m.path(), "is no absolute path", {}});
    if (m.deleted()) return table.deleted_files().check(m.ghost(), m.mode(), problems);
    const auto place = table.find_named(m.path());
    if (!place) return problems.push_back({m.path(), "file missing", "put it back"});
    const struct stat now = sys::stat_fd(place->get());
    if ((now.st_mode & S_IFMT) != (m.mode() & S_IFMT))
      return problems.push_back({m.path(), "is of another type than at the dump", {}});
    if (!sys::may_open(place->get(), static_cast<int>(object.flags())))
      return problems.push_back({m.path(), "may not be opened by mini-criu as the program had it open",
                                 "restore as root, or allow its user to open it"});
    if (!S_ISREG(now.st_mode) || is_of_proc(m.path()) || table.policy().validation == Validation::none) return;
    if (!is_owner_same(now, m)) return problems.push_back({m.path(), owners(now, m), kOwnerRemedy});
    if (static_cast<uint64_t>(now.st_size) != m.size())
      return problems.push_back({m.path(), fmt::format("has {} bytes, had {} at the dump", now.st_size, m.size()),
                                 "put back the file as it was, or give --file-validation none"});
    if (table.policy().validation != Validation::buildid || m.build_id().empty()) return;
    const std::string id = build_id_now(table, m.path());
    if (id != m.build_id())
      problems.push_back({m.path(), fmt::format("has build-id {}, had {} at the dump", id, m.build_id()),
                          "put back the file as it was"});
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles& table) const override {
    const image::RegularFile* record = table.regular_file(object.id());
    if (!record) throw Error(Fault::image, "its record is unreadable");
    const image::RegularFile& message = *record;
    UniqueFd fd = message.deleted() ? table.deleted_files().take(message.ghost(), object.id())
                                    : table.open_named(message.path(), object.flags() & kReopenFlags);
    const struct stat now = sys::stat_fd(fd.get());
    if ((now.st_mode & S_IFMT) != (message.mode() & S_IFMT))
      throw Error(Fault::refused, fmt::format("{} is of another type than at the dump", message.path()));
    const bool is_compared = S_ISREG(now.st_mode) && !message.deleted() && !is_of_proc(message.path()) &&
                             table.policy().validation != Validation::none;
    if (is_compared && !is_owner_same(now, message))
      throw Error(Fault::refused, fmt::format("{} {}", message.path(), owners(now, message)), kOwnerRemedy);
    if (object.offset() != 0 && !(object.flags() & O_PATH)) sys::seek(fd.get(), object.offset(), SEEK_SET);
    if (message.write_hint() != 0) sys::set_write_hint(fd.get(), message.write_hint());
    return fd;
  }

 private:
  static constexpr const char* kOwnerRemedy = "put back the file as it was, or give --file-validation none";

  // Always in the record: a file that is another's now is another file, which the program may not have been able to
  // open.
  static bool is_owner_same(const struct stat& now, const image::RegularFile& m) {
    return now.st_uid == m.uid() && now.st_gid == m.gid();
  }
  static std::string owners(const struct stat& now, const image::RegularFile& m) {
    return fmt::format("belongs to user {} and group {}, belonged to user {} and group {} at the dump", now.st_uid,
                       now.st_gid, m.uid(), m.gid());
  }
  // Empty when it may not be read.
  static std::string build_id_now(const OpenedFiles& table, const std::string& path) {
    try {
      return read_build_id(table.open_named(path, O_RDONLY | O_NONBLOCK).get());
    } catch (const Error&) {
      return {};
    }
  }
  static std::string build_id_of(const FileView& file) {
    if (static_cast<uint64_t>(file.status.st_size) < kSmallestElf) return {};
    const bool readable = file.copy >= 0 && (file.info.flags & O_ACCMODE) != O_WRONLY && !(file.info.flags & O_DIRECT);
    if (readable) return read_build_id(file.copy);
    return has_lease(file) ? std::string() : read_build_id(file.door);  // opening it would break the lease
  }
};

}  // namespace

const Kind* regular_file_kind() {
  static const RegularFileKind kind;
  return &kind;
}

}  // namespace mcr::kinds

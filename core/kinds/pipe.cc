// Pipes and FIFOs with what waits in them. Both ends inside the tree, or the other end closed.
#include <fcntl.h>
#include <poll.h>

#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

class PipeKind : public Kind {
 public:
  const char* name() const override { return "pipe"; }
  bool claims(const FileView& file) const override {
    return S_ISFIFO(file.status.st_mode) && !(file.info.flags & O_PATH);
  }

  void look(const FileView& file, const OpenFiles& table) const override {
    if (!is_anonymous(file)) table.require_kept(file);
    table.require_closed_pipe(file);
  }

  void dump(const FileView& file, OpenFiles& table, image::FileObject& object) const override {
    image::Pipe message;
    message.set_pipe(file.status.st_ino);
    if (!is_anonymous(file)) {
      message.set_fifo_path(file.deleted ? file.link : table.name_of(file));
      message.set_mode(file.status.st_mode);
      if (file.deleted) message.set_ghost(table.enter_ghost(file));
    }
    message.set_data(table.enter_pipe(file, message.fifo_path()));
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    image::Pipe message;
    if (!object.body().UnpackTo(&message)) return problems.push_back({"pipe", "its record is unreadable", {}});
    if (message.fifo_path().empty()) return;
    if (!is_path(message.fifo_path())) return problems.push_back({message.fifo_path(), "is no absolute path", {}});
    if (message.ghost() != 0) return table.deleted_files().check(message.ghost(), S_IFIFO, problems);
    if (table.policy().beside_original)
      return problems.push_back({message.fifo_path(),
                                 "is a named pipe, which the original may have: what is in it would "
                                 "be there twice, and go to either",
                                 "restore without --new-pids when the original has ended"});
    const auto status = table.stat_named(message.fifo_path());
    if (!status || !S_ISFIFO(status->st_mode))
      problems.push_back(
          {message.fifo_path(), "is not a named pipe here", fmt::format("mkfifo {}", message.fifo_path())});
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles& table) const override {
    image::Pipe message;
    if (!object.body().UnpackTo(&message)) throw Error(Fault::image, "its record is unreadable");
    return table.open_pipe_end(object, message);
  }

 private:
  static bool is_anonymous(const FileView& file) { return file.link.starts_with("pipe:["); }
};

}  // namespace

const Kind* pipe_kind() {
  static const PipeKind kind;
  return &kind;
}

}  // namespace mcr::kinds

// export, import, merge: images made of images.
#include <fcntl.h>
#include <fmt/format.h>

#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/stream.h"
#include "images/carry.h"
#include "images/merge.h"
#include "tools/commands.h"
#include "tools/json_object.h"
#include "tools/report.h"
#include "tools/standard_streams.h"

namespace mcr::cli {
namespace {

std::string output_of(const CommandLine& line, const char* what) {
  const auto output = line.settings.value("output");
  if (!output) usage(fmt::format("{} needs -o: {}", line.command->name, what));
  return *output;
}

// A file that appears under its name when it is whole.
class NewFile {
 public:
  explicit NewFile(const std::string& path) : path_(path), draft_(fmt::format("{}.part-{}", path, sys::own_pid())) {
    if (const auto there = sys::try_stat(path); there && !S_ISREG(there->st_mode))
      usage(fmt::format("{} is there already, and no file", path), "give another name with -o");
    sys::try_unlink_at(AT_FDCWD, draft_);
    fd_ = sys::open(draft_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  }
  ~NewFile() {
    if (fd_.valid()) sys::try_unlink_at(AT_FDCWD, draft_);
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  void write(const void* data, size_t size) { sys::write_fully(fd_.get(), data, size); }
  void publish() {
    sys::sync_fd(fd_.get());
    sys::rename_at(AT_FDCWD, draft_, AT_FDCWD, path_);
    fd_.reset();
  }

 private:
  std::string path_, draft_;
  UniqueFd fd_;
};

void tell(const CommandLine& line, const std::string& place, const images::CarryReport& report) {
  if (!line.settings.flag("json")) {
    print(fmt::format("{}: {} image{}, {} files, {}\n", place, report.images, report.images == 1 ? "" : "s",
                      report.files, readable_bytes(report.bytes)));
    return;
  }
  JsonObject object;
  put_flag(object, "ok", true);
  put(object, "command", line.command->name);
  put(object, "output", place);
  put(object, "images", static_cast<double>(report.images));
  put(object, "files", static_cast<double>(report.files));
  put(object, "bytes", static_cast<double>(report.bytes));
  print(json_text(object) + "\n");
}

images::CarryReport import_from(int fd, const CommandLine& line, const std::string& folder) {
  return images::import_image([fd](void* data, size_t size) { return sys::read_some(fd, data, size); }, folder,
                              line.settings.flag("sync"), [](const std::string& staged) { verify_chain(staged); });
}

}  // namespace

int run_export(const CommandLine& line) {
  const std::string folder = image_operand(line),
                    output = output_of(line, "the tar file to write, or - for standard output");
  if (folder == kStream) usage("export reads an image folder", "mini-criu export DIR -o FILE.tar");
  check_seal_of(line, folder);
  verify_chain(folder);
  if (output == kStream) {
    OutputStream stream(false);  // what is told goes to standard error from here on
    tell(line, "standard output",
         images::export_image(folder, [&](const void* data, size_t size) { stream.write(data, size); }));
    stream.complete();
    return 0;
  }
  NewFile file(output);
  const auto report = images::export_image(folder, [&](const void* data, size_t size) { file.write(data, size); });
  file.publish();
  tell(line, output, report);
  return 0;
}

int run_import(const CommandLine& line) {
  if (line.operands.size() != 1) usage("import takes one tar file", "mini-criu import FILE.tar -D DIR");
  const auto folder = line.settings.value("images-dir");
  if (!folder) usage("import needs -D: the folder to make", "mini-criu import FILE.tar -D DIR");
  if (line.operands.front() == kStream) {
    tell(line, *folder, import_from(0, line, *folder));
    return 0;
  }
  const UniqueFd fd = sys::open(line.operands.front(), O_RDONLY | O_NOCTTY);
  const Step step("{}", line.operands.front());
  tell(line, *folder, import_from(fd.get(), line, *folder));
  return 0;
}

int run_merge(const CommandLine& line) {
  const std::string folder = image_operand(line), output = output_of(line, "the folder of the new image");
  check_seal_of(line, folder);  // or what was altered since would get a seal of its own
  const images::MergeReport report = images::merge(folder, output, line.settings.flag("sync"));
  if (!line.settings.flag("json")) {
    print(fmt::format("{}: of {} image{}, {}; {} of memory are not stored again\n", output, report.images,
                      report.images == 1 ? "" : "s", readable_bytes(report.bytes), readable_bytes(report.repeated)));
    return 0;
  }
  JsonObject object;
  put_flag(object, "ok", true);
  put(object, "command", "merge");
  put(object, "output", output);
  put(object, "images", static_cast<double>(report.images));
  put(object, "bytes", static_cast<double>(report.bytes));
  put(object, "repeated_bytes", static_cast<double>(report.repeated));
  print(json_text(object) + "\n");
  return 0;
}

}  // namespace mcr::cli

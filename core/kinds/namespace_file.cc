// Descriptors of namespaces (/proc/PID/ns/*, namespaces(7)) that are those of mini-criu itself: the program that is
// restored gets those of `restore`, as with all namespaces that it lives in.
#include <fcntl.h>

#include <algorithm>

#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

constexpr std::string_view kNames[] = {"mnt", "net", "pid", "user", "uts", "ipc", "cgroup", "time"};

// "net:[4026531840]"
std::optional<std::string> path_for(const std::string& link) {
  for (const std::string_view name : kNames)
    if (link.starts_with(name) && link.substr(name.size()).starts_with(":["))
      return fmt::format("/proc/self/ns/{}", name);
  return std::nullopt;
}

bool is_namespace_path(const std::string& path) {
  return std::any_of(std::begin(kNames), std::end(kNames),
                     [&](std::string_view name) { return path == fmt::format("/proc/self/ns/{}", name); });
}

class NamespaceFileKind : public Kind {
 public:
  const char* name() const override { return "namespace_file"; }
  bool claims(const FileView& file) const override { return path_for(file.link).has_value(); }

  void look(const FileView& file, const OpenFiles&) const override {
    if (sys::try_read_link(*path_for(file.link)) != file.link)
      throw Error(Fault::refused, fmt::format("{} is another namespace than that of mini-criu", file.link),
                  "let the program close it, or run mini-criu inside that namespace (nsenter)");
  }

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    image::RegularFile message;
    message.set_path(*path_for(file.link));
    message.set_mode(file.status.st_mode);
    object.mutable_body()->PackFrom(message);
  }

  void require_valid(const image::FileObject& object) const override {
    if (const std::string path = body_of<image::RegularFile>(object).path(); !is_namespace_path(path))
      throw Error(Fault::image, "its path is none of a namespace");
  }

  void check(const image::FileObject& object, const OpenedFiles&, std::vector<Problem>& problems) const override {
    const std::string path = body_of<image::RegularFile>(object).path();
    if (!sys::try_stat(path)) problems.push_back({path, "this kernel has no such namespaces", {}});
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles&) const override {
    return sys::open(body_of<image::RegularFile>(object).path(), static_cast<int>(object.flags() & kReopenFlags));
  }
};

}  // namespace

const Kind* namespace_file_kind() {
  static const NamespaceFileKind kind;
  return &kind;
}

}  // namespace mcr::kinds

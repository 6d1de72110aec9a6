#include "core/kinds/external.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "core/kinds/kinds.h"
#include "core/kinds/opened_files.h"
#include "core/sys/file.h"

namespace mcr::kinds {
namespace {

std::optional<uint64_t> take_number(std::string_view& text, int base) {
  uint64_t number = 0;
  const auto [after, code] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (code != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(after - text.data()));
  return number;
}

// "A:B]" after the opening bracket.
std::optional<std::string> two_numbers(std::string_view name, std::string_view text) {
  const auto first = take_number(text, 16);
  if (!first || !text.starts_with(":")) return std::nullopt;
  text.remove_prefix(1);
  const auto second = take_number(text, 16);
  if (!second || text != "]") return std::nullopt;
  return fmt::format("{}[{:x}:{:x}]", name, *first, *second);
}

std::optional<std::string> one_number(std::string_view name, std::string_view text) {
  const auto number = take_number(text, 10);
  if (!number || text != "]") return std::nullopt;
  return fmt::format("{}[{}]", name, *number);
}

// What --inherit-fd may call the object.
std::string name_of(const image::FileObject& object) {
  image::ExternalFile external;
  image::RegularFile file;
  image::CharDevice device;
  image::Pipe pipe;
  if (object.body().UnpackTo(&external)) return external.resource();
  if (object.body().UnpackTo(&file)) return file.path();
  if (object.body().UnpackTo(&device)) return device.path();
  if (object.body().UnpackTo(&pipe)) return pipe.fifo_path();
  return {};
}

bool suits(int fd, const image::FileObject& object) {
  const int access = sys::get_status_flags(fd) & O_ACCMODE;
  return (object.flags() & O_PATH) != 0 || access == O_RDWR || access == static_cast<int>(object.flags() & O_ACCMODE);
}

class ExternalKind : public Kind {
 public:
  const char* name() const override { return "external"; }
  bool claims(const FileView&) const override { return false; }  // the user says which ones
  void look(const FileView&, const OpenFiles&) const override {}

  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    image::ExternalFile message;
    message.set_resource(resource_of(file));
    message.set_link(file.link);
    message.set_mode(file.status.st_mode);
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject& object, const OpenedFiles&, std::vector<Problem>& problems) const override {
    image::ExternalFile m;
    if (!object.body().UnpackTo(&m) || canonical_resource(m.resource()) != m.resource())
      return problems.push_back({"external file", "its record is unreadable", {}});
    problems.push_back({m.resource(),
                        fmt::format("stayed outside of the image ({}), and no descriptor is there for it", m.link()),
                        fmt::format("open it and give --inherit-fd 'fd[N]:{}'", m.resource())});
  }

  UniqueFd restore(const image::FileObject&, OpenedFiles&) const override {
    throw Error(Fault::internal, "an external file is inherited, not opened");
  }
};

}  // namespace

std::optional<std::string> canonical_resource(std::string_view text) {
  const auto after = [&](std::string_view start) { return text.substr(start.size()); };
  for (const std::string_view name : {"file", "tty"})
    if (const std::string start = fmt::format("{}[", name); text.starts_with(start))
      return two_numbers(name, after(start));
  for (const auto& [start, name] :
       {std::pair{"pipe[", "pipe"}, std::pair{"pipe:[", "pipe"}, std::pair{"socket[", "socket"},
        std::pair{"socket:[", "socket"}, std::pair{"unix[", "socket"}})
    if (text.starts_with(start)) return one_number(name, after(start));
  return std::nullopt;
}

std::string resource_of(const FileView& file) {
  if (file.fd < 0) return {};
  if (file.link.starts_with("pipe:[")) return fmt::format("pipe[{}]", file.status.st_ino);
  if (S_ISSOCK(file.status.st_mode) && !(file.info.flags & O_PATH))
    return fmt::format("socket[{}]", file.status.st_ino);
  if (terminal_kind()->claims(file)) return fmt::format("tty[{:x}:{:x}]", file.status.st_rdev, file.status.st_dev);
  if (file.link.starts_with("/")) return fmt::format("file[{:x}:{:x}]", file.info.mount_id, file.status.st_ino);
  return {};
}

std::string external_remedy(const FileView& file) {
  const std::string name = resource_of(file);
  return name.empty()
             ? std::string()
             : fmt::format(", or give --external '{}', and a descriptor in its place to restore (--inherit-fd)", name);
}

InheritedFiles::InheritedFiles(const std::multimap<std::string, int>& given) : given_(given) {
  std::set<int> numbers;
  for (const auto& [name, fd] : given_)
    if (fd > STDERR_FILENO && numbers.insert(fd).second) owned_.emplace_back(fd);
}

std::optional<int> InheritedFiles::find(const image::FileObject& object) const {
  if (given_.empty()) return std::nullopt;
  const auto [first, last] = given_.equal_range(name_of(object));
  if (first == last) return std::nullopt;
  const auto fits = std::find_if(first, last, [&](const auto& g) { return suits(g.second, object); });
  return fits == last ? first->second : fits->second;
}

void InheritedFiles::check(const std::map<uint32_t, image::FileObject>& objects, std::vector<Problem>& problems) const {
  std::set<std::string> used;
  for (const auto& [id, object] : objects) {
    const auto fd = find(object);
    if (!fd) continue;
    const std::string name = name_of(object);
    used.insert(name);
    if (!suits(*fd, object))
      problems.push_back({name, fmt::format("descriptor {} is not open for what the program did with it", *fd),
                          "open it for reading and writing as the program had it"});
  }
  for (const auto& [name, fd] : given_)
    if (!used.contains(name))
      problems.push_back({fmt::format("fd[{}]", fd), fmt::format("the image has no file {}", name),
                          "mini-criu show lists the files of an image"});
}

const Kind* external_kind() {
  static const ExternalKind kind;
  return &kind;
}

}  // namespace mcr::kinds

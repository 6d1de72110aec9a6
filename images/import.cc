#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "images/byte_text.h"
#include "images/carry.h"
#include "images/carry_layout.h"
#include "images/digest.h"
#include "images/file_list.h"
#include "images/format.h"
#include "images/holed_file.h"
#include "images/staging.h"
#include "images/store.h"
#include "images/tar.h"

namespace mcr::images {
namespace {

constexpr char kPrefix[] = ".mini-criu-import-";
constexpr char kRemedy[] = "give a file that mini-criu export has written, unaltered";

[[noreturn]] void throw_foreign(const std::string& reason) {
  throw Error(Fault::image, reason, kRemedy);
}

// Files, and folders of files.
void empty_folder(int folder) {
  for (const std::string& name : sys::list_directory_fd(folder)) {
    if (sys::try_unlink_at(folder, name)) continue;
    const auto below = sys::try_open_at(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!below) continue;
    for (const std::string& file : sys::list_directory_fd(below->get())) sys::try_unlink_at(below->get(), file);
    sys::try_unlink_at(folder, name, true);
  }
}

// A hidden folder beside the one that is to be: locked while its writer lives.
class HiddenFolder {
 public:
  HiddenFolder(int above, std::string path) : above_(above), path_(std::move(path)) {
    remove_stale();
    for (int attempt = 0; attempt < 100; ++attempt)
      if (try_create()) return;
    throw Error(Fault::system, fmt::format("another program keeps removing what is made in {}", path_),
                "import to another folder");
  }
  ~HiddenFolder() {
    if (!fd_.valid()) return;
    try {
      empty_folder(fd_.get());
      sys::unlink_at(above_, name_, true);
    } catch (const std::exception& error) {
      log::warning("images", "{} could not be removed: {}", path(), error.what());
    }
  }
  HiddenFolder(const HiddenFolder&) = delete;
  HiddenFolder& operator=(const HiddenFolder&) = delete;

  int fd() const { return fd_.get(); }
  std::string path() const { return fmt::format("{}/{}", path_, name_); }
  void become(const std::string& name) {
    sys::rename_at(above_, name_, above_, name);  // over an empty folder too, and over nothing else
    fd_.reset();
  }

 private:
  // Another import that cleans up may find the new folder before it is locked; then another one is made.
  bool try_create() {
    name_ = kPrefix + hexadecimal(random_image_id()).substr(0, 12);
    sys::make_directory_at(above_, name_, 0700);
    auto folder = sys::try_open_at(above_, name_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!folder || lock_folder(folder->get()) == Lock::taken_by_another) return false;
    if (sys::stat_fd(folder->get()).st_nlink == 0) return false;
    fd_ = std::move(*folder);
    return true;
  }
  void remove_stale() const {
    for (const std::string& name : sys::list_directory_fd(above_)) {
      if (!name.starts_with(kPrefix)) continue;
      try {
        const auto folder = sys::try_open_at(above_, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (!folder || lock_folder(folder->get()) != Lock::held || !is_same_folder(above_, name, folder->get()))
          continue;
        empty_folder(folder->get());
        sys::try_unlink_at(above_, name, true);
      } catch (const Error& error) {  // another user's
        log::debug("images", "{} stays: {}", name, error.reason());
      }
    }
  }

  int above_;
  std::string path_, name_;
  UniqueFd fd_;
};

FileList read_manifest(TarReader& tar) {
  const auto entry = tar.next();
  if (!entry) throw_foreign("the tar file is empty");
  if (entry->name != kManifestName)
    throw_foreign(fmt::format("the first file is \"{:.300}\", and no manifest", escaped(entry->name)));
  if (entry->size > kMostListBytes) throw_foreign(fmt::format("a manifest of {} bytes is too large", entry->size));
  std::string text;
  for (auto piece = tar.data(); !piece.empty(); piece = tar.data()) text.append(piece.data(), piece.size());
  FileList list = parse_file_list(text, kManifestTitle, kManifestName);
  if (!has_right_end(text)) throw_foreign("the manifest is damaged: its digest differs");
  return list;
}

// The images are numbered without a gap, each has an inventory, and no file has the name of a folder.
uint32_t count_images(const FileList& list) {
  std::set<uint32_t> numbers;
  for (const ListedFile& file : list.files) {
    ListedName name;
    parse_listed_name(file.name, name);
    if (name.parent == 0 && name.file.starts_with("parent-"))
      throw_foreign(fmt::format("the manifest has a file {}", file.name));
    if (name.file == kInventoryName) numbers.insert(name.parent);
  }
  for (const ListedFile& file : list.files) {
    ListedName name;
    parse_listed_name(file.name, name);
    if (!numbers.contains(name.parent))
      throw_foreign(fmt::format("the manifest has {} and no {} with it", file.name, kInventoryName));
  }
  if (numbers.empty() || *numbers.rbegin() + 1 != numbers.size())
    throw_foreign("the manifest lacks an image between others, or all of them");
  return static_cast<uint32_t>(numbers.size());
}

class Unpacking {
 public:
  Unpacking(int folder, bool sync) : folder_(folder), sync_(sync) {}
  void make_folders(uint32_t images) {
    for (uint32_t i = 1; i < images; ++i) {
      sys::make_directory_at(folder_, parent_folder_name(i), 0700);
      parents_.push_back(sys::open_at(folder_, parent_folder_name(i), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    }
  }
  void unpack(TarReader& tar, const ListedFile& file);
  void sync_folders() const {
    if (!sync_) return;
    for (const UniqueFd& parent : parents_) sys::sync_fd(parent.get());
    sys::sync_fd(folder_);
  }

 private:
  int folder_;
  bool sync_;
  std::vector<UniqueFd> parents_;  // parent-1 first
};

void Unpacking::unpack(TarReader& tar, const ListedFile& file) {
  const Step step("{}", file.name);
  const auto entry = tar.next();
  if (!entry) throw_foreign("the tar file ends before it");
  if (entry->name != file.name)
    throw_foreign(fmt::format("the tar file has \"{:.300}\" in its place", escaped(entry->name)));
  if (entry->size != file.size)
    throw_foreign(fmt::format("it has {} bytes, the manifest says {}", entry->size, file.size));
  ListedName name;
  parse_listed_name(file.name, name);
  const int folder = name.parent == 0 ? folder_ : parents_.at(name.parent - 1).get();
  UniqueFd fd = sys::open_at(folder, std::string(name.file), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  HoledFile to(std::move(fd));
  Digest digest;
  for (auto piece = tar.data(); !piece.empty(); piece = tar.data()) {
    digest.add(piece.data(), piece.size());
    to.append(piece);
  }
  if (!is_same_digest(digest.finish(), file.digest)) throw_foreign("its content is not what the manifest says");
  to.finish(sync_);
}

// None of them may lead out of the folder.
void check_parents(const std::string& folder, uint32_t images) {
  for (uint32_t i = 0; i < images; ++i) {
    const std::string directory = i == 0 ? folder : fmt::format("{}/{}", folder, parent_folder_name(i));
    const ImageReader reader(directory);
    const auto& inventory = reader.inventory();
    const bool is_last = i + 1 == images;
    if (inventory.has_parent() != !is_last || (!is_last && inventory.parent().path() != carried_parent_path(i)))
      throw_foreign(fmt::format("{} builds upon an image that is not in the tar file",
                                i == 0 ? "the image" : "the one in " + parent_folder_name(i)));
  }
}

void require_free(int above, const std::string& name, const std::string& directory) {
  const auto there = sys::try_stat_at(above, name);
  if (!there) return;
  if (S_ISDIR(there->st_mode) &&
      sys::list_directory_fd(sys::open_at(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW).get()).empty())
    return;
  throw Error(Fault::refused, fmt::format("{} exists and is not empty", directory), "give another folder with -D");
}

}  // namespace

CarryReport import_image(const ReadBytes& read, const std::string& directory, bool sync,
                         const std::function<void(const std::string&)>& check) {
  std::filesystem::path path = std::filesystem::absolute(directory).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const std::string name = path.filename(), parent = path.parent_path();
  if (name.empty()) throw Error(Fault::refused, fmt::format("{} cannot be made anew", directory), "give a new folder");
  const UniqueFd above = sys::open(parent, O_RDONLY | O_DIRECTORY);
  require_free(above.get(), name, directory);
  TarReader tar(read);
  const FileList list = read_manifest(tar);
  const uint32_t images = count_images(list);
  HiddenFolder hidden(above.get(), parent);
  CarryReport report{images, list.files.size(), 0};
  Unpacking unpacking(hidden.fd(), sync);
  unpacking.make_folders(images);
  for (const ListedFile& file : list.files) {
    unpacking.unpack(tar, file);
    report.bytes += file.size;
  }
  if (const auto more = tar.next())
    throw_foreign(fmt::format("\"{:.300}\" is not in the manifest", escaped(more->name)));
  unpacking.sync_folders();
  check_parents(hidden.path(), images);
  if (check) check(hidden.path());
  hidden.become(name);
  if (sync) sys::sync_fd(above.get());
  return report;
}

}  // namespace mcr::images

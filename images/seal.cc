#include "images/seal.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "images/byte_text.h"
#include "images/file_list.h"
#include "images/folder_files.h"
#include "images/format.h"
#include "images/parent_chain.h"

namespace mcr::images {
namespace {

constexpr char kTitle[] = "mini-criu seal 1";
constexpr char kParentFact[] = "builds-upon";
constexpr char kUnreadable[] = "unreadable";
constexpr char kUseAnother[] = "do not use this image; take another copy of it";

std::string path_of_seal(const std::string& directory) {
  return fmt::format("{}/{}", directory, kSealName);
}

UniqueFd open_folder(const std::string& directory) {
  if (!sys::try_stat(directory))
    throw Error(Fault::image, fmt::format("{} does not exist", directory), "give the folder of an image");
  return sys::open(directory, O_RDONLY | O_DIRECTORY);
}

// nullopt: there is none.
std::optional<std::string> read_seal(int folder, const std::string& directory) {
  const auto fd = open_image_file(folder, kSealName);
  if (!fd) return std::nullopt;
  const auto size = static_cast<uint64_t>(sys::stat_fd(fd->get()).st_size);
  if (size > kMostListBytes)
    throw Error(Fault::image, fmt::format("{} has {} bytes, more than a seal can", path_of_seal(directory), size),
                kUseAnother);
  std::string text(size, '\0');
  if (sys::pread_whole(fd->get(), text.data(), text.size(), 0) != text.size())
    throw Error(Fault::image, path_of_seal(directory) + " became shorter while it was read", kUseAnother);
  return text;
}

ListedFile sealed_file(int folder, const std::string& name, const SealKey& key) {
  const auto fd = open_image_file(folder, name);
  if (!fd) throw Error(Fault::image, fmt::format("{} is missing", name), "use another copy of the image");
  ListedFile file{name, 0, {}};
  file.digest = digest_of_file(fd->get(), file.size, &key.of_files());
  return file;
}

void write_seal(int folder, const std::string& text) {
  const std::string fresh = fmt::format(".{}-{}", kSealName, sys::own_pid());
  sys::try_unlink_at(folder, fresh);
  try {
    const UniqueFd fd = sys::open_at(folder, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    sys::write_text(fd.get(), text);
    sys::sync_fd(fd.get());
    sys::rename_at(folder, fresh, folder, kSealName);
    sys::sync_fd(folder);
  } catch (const Error&) {
    sys::try_unlink_at(folder, fresh);
    throw;
  }
}

void seal_one(const std::string& directory, const SealKey& key, SealReport& report) {
  const Step step("{}", directory);
  const UniqueFd folder = open_settled_folder(directory);
  const ImageReader reader(directory);
  const FolderFiles files = files_of_folder(folder.get(), reader);
  if (!files.others.empty())
    throw Error(Fault::refused,
                fmt::format("{} is no file of the image, and would lie there unsealed", escaped(files.others.front())),
                "move it elsewhere (logs, whose names end in .log, may stay)");
  FileList list{kTitle, {{"key", key.id()}, {"image", image_id_of(folder.get())}}, {}};
  if (reader.inventory().has_parent())
    list.facts.emplace_back(kParentFact, hexadecimal(reader.inventory().parent().image_id()));
  for (const std::string& name : files.image) {
    list.files.push_back(sealed_file(folder.get(), name, key));
    ++report.files, report.bytes += list.files.back().size;
  }
  write_seal(folder.get(), text_of(list, &key.of_list()));
  ++report.images;
}

// What is wrong with the files of one folder.
class Comparison {
 public:
  Comparison(std::string directory, int folder, const SealKey& key, const FileList& list)
      : directory_(std::move(directory)), folder_(folder), key_(key), list_(list) {}
  std::vector<Problem> run(SealReport& report);

 private:
  void compare(const ListedFile& sealed, SealReport& report);
  void look_for_added();
  std::vector<const ListedFile*>::iterator find_missing(const std::string& name);
  void tell(const std::string& name, const std::string& reason) {
    problems_.push_back({fmt::format("{}/{}", directory_, escaped(name)), reason, {}});
  }

  std::string directory_;
  int folder_;
  const SealKey& key_;
  const FileList& list_;
  std::vector<const ListedFile*> missing_;
  std::vector<Problem> problems_;
};

void Comparison::compare(const ListedFile& sealed, SealReport& report) {
  try {
    const auto fd = open_image_file(folder_, sealed.name);
    if (!fd) return missing_.push_back(&sealed);
    uint64_t size = 0;
    const std::string digest = digest_of_file(fd->get(), size, &key_.of_files());
    ++report.files, report.bytes += size;
    if (size != sealed.size)
      tell(sealed.name, fmt::format("it was altered: it has {} bytes, and {} were sealed", size, sealed.size));
    else if (!is_same_digest(digest, sealed.digest))
      tell(sealed.name, "it was altered: its content is not what was sealed");
  } catch (const Error& error) {
    if (error.fault() != Fault::image) throw;
    tell(sealed.name, error.reason());  // a link, a FIFO
  }
}

// By the folder itself: its inventory may not even be readable any more.
void Comparison::look_for_added() {
  std::vector<std::string> names = sys::list_directory_fd(folder_);
  std::ranges::sort(names);
  const bool has_parent = list_.fact(kParentFact) != nullptr;
  std::set<std::string_view> sealed;
  for (const ListedFile& file : list_.files) sealed.insert(file.name);
  for (const std::string& name : names) {
    if (sealed.contains(name) || lies_beside(name, has_parent)) continue;
    const auto twin = find_missing(name);
    if (twin == missing_.end()) {
      tell(name, "it was added: it was not there when the image was sealed");
      continue;
    }
    tell((*twin)->name, fmt::format("it was renamed: it is called {} now", escaped(name)));
    missing_.erase(twin);
  }
}

// The one that has exactly this content.
std::vector<const ListedFile*>::iterator Comparison::find_missing(const std::string& name) {
  const auto found = sys::try_stat_at(folder_, name);
  const auto is_as_long = [&](const ListedFile* file) { return static_cast<uint64_t>(found->st_size) == file->size; };
  if (!found || !S_ISREG(found->st_mode) || std::ranges::none_of(missing_, is_as_long)) return missing_.end();
  const auto fd = sys::try_open_at(folder_, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd) return missing_.end();
  uint64_t size = 0;
  const std::string digest = digest_of_file(fd->get(), size, &key_.of_files());
  return std::ranges::find_if(missing_, [&](const ListedFile* file) { return is_same_digest(digest, file->digest); });
}

std::vector<Problem> Comparison::run(SealReport& report) {
  for (const ListedFile& sealed : list_.files) compare(sealed, report);
  look_for_added();
  for (const ListedFile* file : missing_) tell(file->name, "it was removed");
  return std::move(problems_);
}

// What cannot be read at all is told as an altered file.
bool is_another_image(int folder, const std::string& id) {
  try {
    return image_id_of(folder) != id;
  } catch (const Error& error) {
    if (error.fault() != Fault::image) throw;
    return false;
  }
}

void check_one(const std::string& directory, const SealKey& key, SealReport& report, std::vector<Problem>& problems) {
  const Step step("{}", directory);
  const UniqueFd folder = open_folder(directory);
  const auto text = read_seal(folder.get(), directory);
  if (!text)
    throw Error(Fault::refused, fmt::format("the image in {} is not sealed: there is no {}", directory, kSealName),
                "it was never sealed, or the seal was taken away; use it without --key only if you trust the folder");
  const FileList list = parse_file_list(*text, kTitle, path_of_seal(directory));
  const std::string* id = list.fact("key");
  if (!id || *id != key.id())
    throw Error(Fault::refused,
                fmt::format("the image in {} is sealed with the key {}, and not with {}", directory,
                            id ? *id : "of nobody", key.id()),
                "give the file of that key with --key");
  if (!has_right_end(*text, &key.of_list()))
    return problems.push_back({path_of_seal(directory), "it was altered: the key did not make it", {}});
  if (const std::string* image = list.fact("image"); !image || is_another_image(folder.get(), *image))
    return problems.push_back({directory, "it holds another image than the one that was sealed",
                               fmt::format("remove {}, if it was dumped there anew", path_of_seal(directory))});
  for (Problem& problem : Comparison(directory, folder.get(), key, list).run(report))
    problems.push_back(std::move(problem));
  ++report.images;
}

void throw_problems(std::vector<Problem> problems) {
  if (problems.empty()) return;
  std::string summary = "the seal does not hold: a file is not as it was sealed";
  if (problems.size() > 1)
    summary = fmt::format("the seal does not hold: {} files are not as they were sealed", problems.size());
  throw ProblemList(Fault::image, std::move(summary), std::move(problems));
}

std::vector<std::string> parents_of(const std::string& directory) {
  const auto chain = ParentChain::of(ImageReader(directory));
  return chain ? chain->directories() : std::vector<std::string>();
}

}  // namespace

SealReport seal(const std::string& directory, const SealKey& key) {
  std::vector<std::string> all = parents_of(directory);
  all.insert(all.begin(), directory);
  SealReport report, before;
  for (const std::string& one : all) {
    if (!sealed_with(one)) continue;
    std::vector<Problem> problems;
    check_one(one, key, before, problems);  // or it would be whatever was made of it since
    throw_problems(std::move(problems));
  }
  for (const std::string& one : all) seal_one(one, key, report);
  return report;
}

SealReport check_seal(const std::string& directory, const SealKey& key) {
  SealReport report;
  std::vector<Problem> problems;
  check_one(directory, key, report, problems);
  throw_problems(std::move(problems));
  // What it builds upon is known from the inventory, which is as it was sealed.
  problems.clear();
  for (const std::string& parent : parents_of(directory)) check_one(parent, key, report, problems);
  throw_problems(std::move(problems));
  return report;
}

void unseal(const std::string& directory, const SealKey& key) {
  SealReport report;
  std::vector<Problem> problems;
  check_one(directory, key, report, problems);
  throw_problems(std::move(problems));
  const UniqueFd folder = open_folder(directory);
  sys::unlink_at(folder.get(), kSealName);
  sys::sync_fd(folder.get());
}

std::optional<std::string> sealed_with(const std::string& directory) {
  const auto what = sys::try_stat(directory);
  if (!what || !S_ISDIR(what->st_mode)) return std::nullopt;
  try {
    const auto text = read_seal(open_folder(directory).get(), directory);
    if (!text) return std::nullopt;
    const FileList list = parse_file_list(*text, kTitle, path_of_seal(directory));
    const std::string* id = list.fact("key");
    return id ? *id : kUnreadable;
  } catch (const Error&) {
    return kUnreadable;  // damaged, or another's: it proves nothing here, and whoever has the key will be told
  }
}

}  // namespace mcr::images

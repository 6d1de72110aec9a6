#include <fcntl.h>

#include <deque>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/byte_text.h"
#include "images/carry.h"
#include "images/carry_layout.h"
#include "images/digest.h"
#include "images/file_list.h"
#include "images/folder_files.h"
#include "images/format.h"
#include "images/parent_chain.h"
#include "images/seal.h"
#include "images/tar.h"

namespace mcr::images {
namespace {

constexpr size_t kPieceBytes = 1 << 20;

// One image of the chain.
struct Source {
  std::string directory;
  uint32_t number = 0;  // 0: the one that was asked for
  UniqueFd folder;
  std::vector<std::string> names;
  std::string inventory;  // another one than in the folder; empty: that one
};

// The inventory with the parent where it lies in the tar file; empty: that is what it says already.
std::string moved_inventory(const ImageReader& reader, uint32_t number) {
  image::Inventory inventory = reader.inventory();
  if (!inventory.has_parent() || inventory.parent().path() == carried_parent_path(number)) return {};
  inventory.mutable_parent()->set_path(carried_parent_path(number));
  std::string bytes;
  RecordWriter records([&](const void* data, size_t size) { bytes.append(static_cast<const char*>(data), size); },
                       kInventoryName, id_of(reader));
  records.append(inventory);
  records.finish();
  return bytes;
}

Source source_of(const std::string& directory, uint32_t number) {
  const Step step("{}", directory);
  Source source{directory, number, open_settled_folder(directory), {}, {}};
  const ImageReader reader(directory);
  source.names = files_of_folder(source.folder.get(), reader).image;
  source.inventory = moved_inventory(reader, number);
  if (!sealed_with(directory)) return source;
  if (!source.inventory.empty())
    throw Error(Fault::refused,
                "it is sealed, and in a tar file it would have to name another place for the image that it builds upon",
                "mini-criu merge makes one image of all of them, which can be sealed and exported; or unseal it");
  source.names.emplace_back(kSealName);
  return source;
}

std::string carried_name(const Source& source, const std::string& name) {
  return source.number == 0 ? name : fmt::format("{}/{}", parent_folder_name(source.number), name);
}

UniqueFd open_source(const Source& source, const std::string& name) {
  auto fd = open_image_file(source.folder.get(), name);
  if (!fd)
    throw Error(Fault::image, fmt::format("{}/{} is missing", source.directory, name),
                "the image is damaged, or was replaced meanwhile: try again");
  return std::move(*fd);
}

ListedFile listed(const Source& source, const std::string& name) {
  ListedFile file{carried_name(source, name), 0, {}};
  if (name == kInventoryName && !source.inventory.empty()) {
    file.size = source.inventory.size();
    file.digest = digest_of(source.inventory);
  } else {
    file.digest = digest_of_file(open_source(source, name).get(), file.size);
  }
  return file;
}

void write_file(TarWriter& tar, const Source& source, const std::string& name, const ListedFile& file) {
  const Step step("{}/{}", source.directory, name);
  tar.begin(file.name, file.size);
  if (name == kInventoryName && !source.inventory.empty())
    return tar.append(source.inventory.data(), source.inventory.size());
  const UniqueFd fd = open_source(source, name);
  std::vector<char> piece(kPieceBytes);
  Digest digest;
  for (uint64_t done = 0; done < file.size;) {
    const size_t n = sys::pread_some(fd.get(), piece.data(), std::min<uint64_t>(piece.size(), file.size - done), done);
    if (n == 0) break;
    digest.add(piece.data(), n);
    tar.append(piece.data(), n);
    done += n;
  }
  if (!is_same_digest(digest.finish(), file.digest))
    throw Error(Fault::image, "it changed while it was read", "try again when nobody writes to the folder");
}

std::deque<Source> sources_of(const std::string& directory) {
  std::deque<Source> sources;
  sources.push_back(source_of(directory, 0));
  const ImageReader reader(directory);
  if (const auto chain = ParentChain::of(reader))
    for (const std::string& parent : chain->directories())
      sources.push_back(source_of(parent, static_cast<uint32_t>(sources.size())));
  return sources;
}

}  // namespace

CarryReport export_image(const std::string& directory, const WriteBytes& write) {
  const std::deque<Source> sources = sources_of(directory);
  CarryReport report{sources.size(), 0, 0};
  FileList list{kManifestTitle,
                {{"image", image_id_of(sources.front().folder.get())}, {"images", std::to_string(sources.size())}},
                {}};
  for (const Source& source : sources)
    for (const std::string& name : source.names) {
      list.files.push_back(listed(source, name));
      ++report.files, report.bytes += list.files.back().size;
    }
  const std::string manifest = text_of(list);
  if (manifest.size() > kMostListBytes)
    throw Error(Fault::refused, fmt::format("{} files are more than a tar file of an image has", report.files));
  TarWriter tar(write);
  tar.begin(kManifestName, manifest.size());
  tar.append(manifest.data(), manifest.size());
  size_t at = 0;
  for (const Source& source : sources)
    for (const std::string& name : source.names) write_file(tar, source, name, list.files[at++]);
  tar.finish();
  return report;
}

}  // namespace mcr::images

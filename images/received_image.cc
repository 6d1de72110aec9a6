#include "images/received_image.h"

#include <fcntl.h>

#include <charconv>
#include <map>
#include <vector>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/archive_reader.h"

namespace mcr::images {
namespace {

constexpr char kMemfdName[] = "mini-criu image";
constexpr size_t kSmall = 1 << 20;          // a descriptor for each of thousands of small files would be too many
constexpr uint64_t kLookEvery = 64 << 20;   // at the memory that is left
constexpr uint64_t kSpared = 128ull << 20;  // what must stay available

struct ReceivedFile {
  std::string small;
  UniqueFd large;
};

// Of /proc/meminfo, in bytes.
uint64_t amount(const std::string& text, std::string_view key) {
  const size_t at = text.find(key);
  if (at == std::string::npos) return 0;
  const size_t digit = text.find_first_of("0123456789", at);
  uint64_t kilobytes = 0;
  if (digit != std::string::npos) std::from_chars(text.data() + digit, text.data() + text.size(), kilobytes);
  return kilobytes << 10;
}

void refuse_when_memory_ends(uint64_t bytes) {
  const auto text = sys::try_read_text("/proc/meminfo");
  if (!text || text->find("MemAvailable:") == std::string::npos) return;
  if (amount(*text, "MemAvailable:") + amount(*text, "SwapFree:") > kSpared) return;
  throw Error(Fault::refused, fmt::format("the memory of this machine ends after {} MiB of the image", bytes >> 20),
              "free memory, or write the stream to a file of a larger machine");
}

void append(ReceivedFile& file, const std::string& name, const ArchiveReader::Piece& piece) {
  const size_t size = piece.data.size();
  if (!file.large.valid() && file.small.size() + size <= kSmall) {
    file.small.append(piece.data.data(), size);
    return;
  }
  const Step step("keep {} in memory", name);
  if (!file.large.valid()) {
    file.large = sys::make_memfd(kMemfdName);
    sys::write_text(file.large.get(), file.small);
    file.small = {};
  }
  sys::write_fully(file.large.get(), piece.data.data(), size);
}

}  // namespace

struct ReceivedImage::Impl {
  std::vector<ReceivedFile> files;
  std::map<std::string, size_t> numbers;
  uint64_t bytes = 0;
};

ReceivedImage::ReceivedImage() : impl_(std::make_unique<Impl>()) {}
ReceivedImage::~ReceivedImage() = default;

std::shared_ptr<const ReceivedImage> ReceivedImage::receive(const ReadBytes& read, Progress* progress) {
  const Step step("receive the image");
  std::shared_ptr<ReceivedImage> image(new ReceivedImage);
  Impl& impl = *image->impl_;
  if (progress) progress->begin("receiving");
  ArchiveReader reader(read);
  uint64_t next_look = kLookEvery;
  while (const auto piece = reader.next()) {
    if (piece->kind == BlockKind::name) {
      impl.numbers.emplace(piece->name, impl.files.size());
      impl.files.emplace_back();
    } else if (piece->kind == BlockKind::data) {
      append(impl.files[piece->file], piece->name, *piece);
      impl.bytes += piece->data.size();
      if (progress) progress->done = impl.bytes;
    } else {
      impl.files[piece->file].small.shrink_to_fit();
    }
    if (impl.bytes < next_look) continue;
    refuse_when_memory_ends(impl.bytes);
    next_look = impl.bytes + kLookEvery;
  }
  return image;
}

std::optional<UniqueFd> ReceivedImage::open(const std::string& name) const {
  const auto found = impl_->numbers.find(name);
  if (found == impl_->numbers.end()) return std::nullopt;
  const ReceivedFile& file = impl_->files[found->second];
  if (file.large.valid()) return sys::open(fmt::format("/proc/self/fd/{}", file.large.get()), O_RDWR);
  UniqueFd copy = sys::make_memfd(kMemfdName);
  sys::write_text(copy.get(), file.small);
  return copy;
}

size_t ReceivedImage::count() const {
  return impl_->files.size();
}
uint64_t ReceivedImage::bytes() const {
  return impl_->bytes;
}

}  // namespace mcr::images

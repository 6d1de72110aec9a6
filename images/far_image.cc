#include "images/far_image.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "images/byte_text.h"
#include "images/far_protocol.h"
#include "images/format.h"

namespace mcr::images {
namespace {

using far::Answer;
using far::Ask;
using far::Outcome;
using far::Question;

constexpr uint64_t kBlock = 64 << 10;        // comes whole
constexpr uint64_t kMostAtOnce = 4 << 20;    // bytes of one question
constexpr uint64_t kMostPassing = 32 << 20;  // bytes of a file that stay here after they were read
constexpr std::chrono::seconds kConnect{5}, kMark{10}, kSilence{60};
constexpr std::chrono::seconds kHurried{1};  // for each of the first two, where others wait for us meanwhile
constexpr std::chrono::milliseconds kAgain{200};
constexpr char kRemedy[] = "see whether mini-criu lazy-pages still runs there, and --address and --port";

// The connection, and not the image, is at fault.
class Broken : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void receive(int fd, void* data, size_t size, std::chrono::milliseconds silence = kSilence) {
  if (!sys::receive_all(fd, data, size, silence)) throw Broken("the server has closed the connection");
}

}  // namespace

FarImage::FarImage(sys::TcpPlace place, std::chrono::seconds patience) : place_(std::move(place)), patience_(patience) {
  const std::scoped_lock lock(mutex_);
  try {
    connect();
  } catch (const Broken& broken) {
    throw Error(Fault::system, fmt::format("{}: {}", name(), broken.what()), kRemedy);
  } catch (const Error& error) {
    throw Error(error.fault(), error.reason(), error.remedy().empty() ? kRemedy : error.remedy(), error.code());
  }
}
FarImage::~FarImage() = default;

void FarImage::connect() {
  const bool is_hurried = patience_ == std::chrono::seconds(0);
  const std::chrono::milliseconds for_mark = is_hurried ? kHurried : kMark;
  UniqueFd fd = sys::connect_tcp(place_, is_hurried ? kHurried : kConnect);
  sys::write_stream(fd.get(), far::kClientMark, sizeof far::kClientMark);
  char mark[sizeof far::kServerMark];
  std::string id(kImageIdBytes, '\0');
  receive(fd.get(), mark, sizeof mark, for_mark);
  if (std::memcmp(mark, far::kServerMark, sizeof mark) != 0) throw Broken("this is no server of images");
  receive(fd.get(), id.data(), id.size(), for_mark);
  if (!image_id_.empty() && id != image_id_) throw Broken("it has another image by now");
  image_id_ = id;
  connection_ = std::move(fd);
}

void FarImage::require_id(const std::string& image_id) const {
  if (image_id != image_id_)
    throw Error(Fault::image, fmt::format("{} has announced another image than it has", place_.text()),
                "another dump has replaced it meanwhile: start the server anew");
}

// Again on a new connection when one breaks, and when there is none: whoever is there may be started just now. One
// attempt is made on a new connection however long the old one was silent.
template <typename Work>
void FarImage::insist(const Work& work) {
  const std::scoped_lock lock(mutex_);
  std::chrono::steady_clock::time_point deadline;
  for (int attempt = 1;; ++attempt) {
    std::string why;
    try {
      if (!connection_.valid()) connect();
      return work();
    } catch (const Broken& broken) {
      why = broken.what();
    } catch (const Error& error) {
      if (error.fault() != Fault::system) throw;
      why = error.reason();
    }
    connection_.reset();
    const auto now = std::chrono::steady_clock::now();
    if (attempt == 1) deadline = now + patience_;
    if (attempt > 1 && now >= deadline)
      throw Error(Fault::system, fmt::format("{} cannot be reached any more: {}", name(), why), kRemedy);
    if (attempt == 2) {  // a first one breaks where a server was started anew
      log::warning("images", "{}: {}; trying for {} s", name(), why, patience_.count());
      log::flush();
    }
    if (attempt > 1) std::this_thread::sleep_for(kAgain);
  }
}

// Returns Answer.bytes; what follows it is still to be received. The caller has the lock.
uint64_t FarImage::ask(const std::string& name, uint32_t what, uint64_t offset, uint64_t bytes) {
  const Question question{static_cast<Ask>(what), static_cast<uint32_t>(name.size()), offset, bytes};
  std::string words(reinterpret_cast<const char*>(&question), sizeof question);
  words += name;
  sys::write_stream(connection_.get(), words.data(), words.size());
  Answer answer;
  receive(connection_.get(), &answer, sizeof answer);
  if (answer.outcome == Outcome::good) return answer.bytes;
  if (answer.outcome != Outcome::refused || answer.bytes > far::kMostWords)
    throw Broken("the answer of the server makes no sense");
  std::string why(answer.bytes, '\0');
  receive(connection_.get(), why.data(), why.size());
  throw Error(Fault::refused, fmt::format("{}: {}", place_.text(), escaped(why)));
}

void FarImage::read(const std::string& name, uint64_t offset, std::byte* out, uint64_t bytes) {
  while (bytes > 0) {
    const uint64_t part = std::min(bytes, kMostAtOnce);
    insist([&] {
      if (ask(name, static_cast<uint32_t>(Ask::bytes), offset, part) != part)
        throw Broken("the answer of the server makes no sense");
      receive(connection_.get(), out, part);
    });
    offset += part, out += part, bytes -= part;
  }
}

std::optional<UniqueFd> FarImage::open(const std::string& name) {
  uint64_t bytes = 0;
  insist([&] { bytes = ask(name, static_cast<uint32_t>(Ask::size), 0, 0); });
  if (bytes > kMaxRecordFileBytes)
    throw Error(Fault::image, fmt::format("{}: {} is larger than a file of records can be", place_.text(), name));
  std::vector<std::byte> content(bytes);
  read(name, 0, content.data(), bytes);
  UniqueFd fd = sys::make_memfd("mini-criu image");
  sys::pwrite_fully(fd.get(), content.data(), content.size(), 0);
  return fd;
}

// What the inventory says of its size is all that is known, and a bit for each block must have room here.
PageFile FarImage::open_pages(const std::string& name, uint64_t bytes) {
  constexpr uint64_t kMostBytes = uint64_t{16} << 40;
  if (bytes > kMostBytes)
    throw Error(Fault::image, fmt::format("{}: {} cannot have {} bytes", place_.text(), name, bytes),
                "the image is damaged: use another copy");
  std::shared_ptr<FarFile> file;
  {
    const std::scoped_lock lock(mutex_);
    if (const auto known = files_.find(name); known != files_.end())
      file = known->second;
    else
      file = files_.emplace(name, std::make_shared<FarFile>(*this, name, bytes)).first->second;
  }
  file->bring(0, std::min(bytes, kPageFileHeader));
  return PageFile(file);
}

void FarImage::connect_now() {
  insist([&] { ask(kInventoryName, static_cast<uint32_t>(Ask::size), 0, 0); });
}

void FarImage::say_done() {
  insist([&] { ask({}, static_cast<uint32_t>(Ask::done), 0, 0); });
}

void tell_done(FarImage& image) {
  try {
    image.say_done();
  } catch (const Error& error) {
    log::warning("images", "{} was not told that all is here: {}", image.name(), error.reason());
    log::flush();
  }
}

void FarImage::begin_anew(std::chrono::seconds patience) {
  connection_.release();
  for (const auto& [name, file] : files_) file->forget();
  files_.clear();
  patience_ = patience;
}

std::vector<int> FarImage::descriptors() const {
  const std::scoped_lock lock(mutex_);
  std::vector<int> all{connection_.get()};
  for (const auto& [name, file] : files_) all.push_back(file->get());
  return all;
}

FarFile::FarFile(FarImage& image, std::string name, uint64_t bytes)
    : image_(image),
      name_(std::move(name)),
      bytes_(bytes),
      fd_(sys::make_memfd("mini-criu image")),
      is_here_((bytes + kBlock - 1) / kBlock),
      stays_(is_here_.size()) {
  sys::truncate_fd(fd_.get(), bytes);
}

void FarFile::forget() {
  fd_.release();
}

// What is behind its end is found missing by whoever reads it.
void FarFile::make_present(uint64_t offset, uint64_t bytes) {
  const uint64_t end = (offset + bytes + kBlock - 1) / kBlock;
  for (uint64_t block = offset / kBlock; block < end;) {
    uint64_t behind = block;
    while (behind < end && behind - block < kMostAtOnce / kBlock && !is_here_[behind]) ++behind;
    if (behind == block)
      ++block;
    else
      fetch(block, behind), block = behind;
  }
}

void FarFile::bring(uint64_t offset, uint64_t bytes) {
  if (offset >= bytes_) return;
  bytes = std::min(bytes_ - offset, bytes);
  const std::scoped_lock lock(mutex_);
  make_present(offset, bytes);
  for (uint64_t block = offset / kBlock; block * kBlock < offset + bytes; ++block) stays_[block] = true;
}

size_t FarFile::read(uint64_t offset, void* data, size_t bytes) {
  if (offset >= bytes_) return 0;
  bytes = std::min<uint64_t>({bytes_ - offset, bytes, kMostAtOnce});
  const std::scoped_lock lock(mutex_);
  make_present(offset, bytes);
  const size_t n = sys::pread_some(fd_.get(), data, bytes, offset);
  while (passing_.size() * kBlock > kMostPassing) drop_oldest();
  return n;
}

void FarFile::fetch(uint64_t first, uint64_t end) {
  const uint64_t from = first * kBlock, bytes = std::min(end * kBlock, bytes_) - from;
  buffer_.resize(std::max<size_t>(buffer_.size(), bytes));
  image_.read(name_, from, buffer_.data(), bytes);
  sys::pwrite_fully(fd_.get(), buffer_.data(), bytes, from);
  for (uint64_t block = first; block < end; ++block) {
    is_here_[block] = true;
    passing_.push_back(block);
  }
}

void FarFile::drop_oldest() {
  const uint64_t block = passing_.front();
  passing_.pop_front();
  if (stays_[block]) return;
  is_here_[block] = false;
  sys::punch_hole(fd_.get(), block * kBlock, kBlock);
}

}  // namespace mcr::images

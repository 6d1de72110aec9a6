#include "images/far_image.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "images/far_protocol.h"
#include "images/format.h"

namespace mcr::images {
namespace {

using far::Answer;
using far::Ask;
using far::Outcome;
using far::Question;

constexpr uint64_t kBlock = 64 << 10;      // comes whole
constexpr uint64_t kMostAtOnce = 4 << 20;  // bytes of one question
constexpr std::chrono::seconds kConnect{5};
constexpr std::chrono::milliseconds kAgain{200};
constexpr char kRemedy[] = "see whether mini-criu lazy-pages still runs there, and --address and --port";

// The connection, and not the image, is at fault.
class Broken : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

void receive(int fd, void* data, size_t size) {
  for (size_t done = 0; done < size;) {
    const size_t n = sys::read_stream(fd, static_cast<char*>(data) + done, size - done);
    if (n == 0) throw Broken("the server has closed the connection");
    done += n;
  }
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
  UniqueFd fd = sys::connect_tcp(place_, kConnect);
  sys::write_stream(fd.get(), far::kClientMark, sizeof far::kClientMark);
  char mark[sizeof far::kServerMark];
  std::string id(kImageIdBytes, '\0');
  receive(fd.get(), mark, sizeof mark);
  if (std::memcmp(mark, far::kServerMark, sizeof mark) != 0)
    throw Error(Fault::image, fmt::format("{} is no server of images", name()),
                "start one there: mini-criu lazy-pages -D DIR --port PORT");
  receive(fd.get(), id.data(), id.size());
  if (!image_id_.empty() && id != image_id_)
    throw Error(Fault::image, fmt::format("{} has another image by now", name()), "serve the one that was begun with");
  image_id_ = id;
  connection_ = std::move(fd);
}

void FarImage::connect_patiently() {
  const auto deadline = std::chrono::steady_clock::now() + patience_;
  for (bool is_first = true;; is_first = false) {
    std::string why;
    try {
      return connect();
    } catch (const Broken& broken) {
      why = broken.what();
    } catch (const Error& error) {
      if (error.fault() == Fault::image) throw;
      why = error.reason();
    }
    if (std::chrono::steady_clock::now() > deadline)
      throw Error(Fault::system, fmt::format("{} cannot be reached any more: {}", name(), why), kRemedy);
    if (is_first) {
      log::warning("images", "{}: {}; trying for {} s", name(), why, patience_.count());
      log::flush();
    }
    std::this_thread::sleep_for(kAgain);
  }
}

// Again on a new connection when one breaks: but not for ever with a server that only ever answers the first words.
template <typename Work>
void FarImage::insist(const Work& work) {
  constexpr int kMost = 10;
  const std::scoped_lock lock(mutex_);
  for (int attempt = 1;; ++attempt) {
    std::string why;
    try {
      if (!connection_.valid()) connect_patiently();
      return work();
    } catch (const Broken& broken) {
      why = broken.what();
    } catch (const Error& error) {
      if (error.fault() != Fault::system || !connection_.valid()) throw;
      why = error.reason();
    }
    log::debug("images", "{}: {}", name(), why);
    connection_.reset();
    if (attempt == kMost) throw Error(Fault::system, fmt::format("{} does not answer: {}", name(), why), kRemedy);
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
  throw Error(Fault::image, fmt::format("{}: {}", place_.text(), why));
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

PageFile FarImage::open_pages(const std::string& name, uint64_t bytes) {
  std::shared_ptr<FarFile> file;
  {
    const std::scoped_lock lock(mutex_);
    auto& known = files_[name];
    if (!known) known = std::make_shared<FarFile>(*this, name, bytes, most_kept_);
    file = known;
  }
  file->bring(0, std::min(bytes, kPageFileHeader));
  return PageFile(file);
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

void FarImage::begin_anew(uint64_t most, std::chrono::seconds patience) {
  connection_.release();
  for (const auto& [name, file] : files_) file->forget();
  files_.clear();
  most_kept_ = most;
  patience_ = patience;
}

std::vector<int> FarImage::descriptors() const {
  const std::scoped_lock lock(mutex_);
  std::vector<int> all{connection_.get()};
  for (const auto& [name, file] : files_) all.push_back(file->get());
  return all;
}

FarFile::FarFile(FarImage& image, std::string name, uint64_t bytes, uint64_t most_kept)
    : image_(image),
      name_(std::move(name)),
      bytes_(bytes),
      most_kept_(most_kept),
      fd_(sys::make_memfd("mini-criu image")),
      is_here_((bytes + kBlock - 1) / kBlock) {
  sys::truncate_fd(fd_.get(), bytes);
}

void FarFile::forget() {
  fd_.release();
}

void FarFile::bring(uint64_t offset, uint64_t bytes) {
  if (bytes == 0 || offset >= bytes_) return;  // who reads behind its end finds it
  const std::scoped_lock lock(mutex_);
  const uint64_t end = (std::min(bytes_ - offset, bytes) + offset + kBlock - 1) / kBlock;
  for (uint64_t block = offset / kBlock; block < end;) {
    uint64_t behind = block;
    while (behind < end && behind - block < kMostAtOnce / kBlock && !is_here_[behind]) ++behind;
    if (behind == block)
      ++block;
    else
      fetch(block, behind), block = behind;
  }
  for (size_t looked = oldest_.size(); looked > 0 && most_kept_ < oldest_.size() * kBlock; --looked)
    drop_oldest(offset / kBlock, end);
}

void FarFile::fetch(uint64_t first, uint64_t end) {
  const uint64_t from = first * kBlock, bytes = std::min(end * kBlock, bytes_) - from;
  buffer_.resize(std::max<size_t>(buffer_.size(), bytes));
  image_.read(name_, from, buffer_.data(), bytes);
  sys::pwrite_fully(fd_.get(), buffer_.data(), bytes, from);
  for (uint64_t block = first; block < end; ++block) {
    is_here_[block] = true;
    if (most_kept_ != UINT64_MAX) oldest_.push_back(block);
  }
}

// Never what was just asked for.
void FarFile::drop_oldest(uint64_t wanted, uint64_t end) {
  const uint64_t block = oldest_.front();
  oldest_.pop_front();
  if (block >= wanted && block < end) return oldest_.push_back(block);
  is_here_[block] = false;
  sys::punch_hole(fd_.get(), block * kBlock, kBlock);
}

}  // namespace mcr::images

#include "core/jobs/output_log.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/base/error.h"
#include "core/jobs/job_file.h"
#include "core/jobs/line.h"
#include "core/sys/file.h"

namespace mcr::jobs {
namespace {

constexpr char kTaken[] = "taken-back.json";

uint64_t size_of(const UniqueFd& fd) {
  return static_cast<uint64_t>(sys::stat_fd(fd.get()).st_size);
}

void copy_stretch(int from, uint64_t from_at, int to, uint64_t to_at, uint64_t bytes) {
  std::vector<char> buffer(1 << 16);
  while (bytes > 0) {
    const size_t n = sys::pread_some(from, buffer.data(), std::min<uint64_t>(buffer.size(), bytes), from_at);
    if (n == 0) return;
    sys::pwrite_fully(to, buffer.data(), n, to_at);
    from_at += n, to_at += n, bytes -= n;
  }
}

uint64_t bytes_of(const std::vector<LogStretch>& parts) {
  uint64_t bytes = 0;
  for (const LogStretch& part : parts) bytes += part.bytes;
  return bytes;
}

// To so many bytes at most.
void shorten(std::vector<LogStretch>& parts, uint64_t bytes) {
  std::vector<LogStretch> shorter;
  for (LogStretch part : parts) {
    part.bytes = std::min(part.bytes, bytes);
    bytes -= part.bytes;
    if (part.bytes > 0) shorter.push_back(part);
  }
  parts = std::move(shorter);
}

}  // namespace

UniqueFd open_output(const JobFolder& job) {
  return sys::open(job.output(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
}

std::vector<LogStretch> log_at_checkpoint(const job::Line& line, uint64_t size, const job::TakenBack& taken,
                                          uint32_t number, uint64_t bytes) {
  std::vector<LogStretch> parts = {{false, 0, size}};
  // Piece by piece to what the log was before that one was taken out of it. It is too short where a resume was killed.
  bool is_there = number == 0 || (has(line, number) && size >= bytes);
  for (int i = taken.pieces_size() - 1; i >= 0 && !is_there; --i) {
    const auto& piece = taken.pieces(i);
    shorten(parts, piece.from());
    parts.push_back({true, piece.at(), piece.bytes()});
    is_there = has(piece.line(), number) && bytes_of(parts) >= bytes;
  }
  if (!is_there) parts = {{false, 0, size}};  // an image of an older version
  shorten(parts, bytes);
  return parts;
}

OutputTakenBack::OutputTakenBack(const JobFolder& job, const job::Line& line, uint32_t number, uint64_t bytes)
    : job_(job), log_(sys::open(job.output(), O_RDWR | O_CREAT | O_NOFOLLOW, 0600)), old_size_(size_of(log_)) {
  try_read_message(job.file(kTaken), taken_);
  const auto parts = log_at_checkpoint(line, old_size_, taken_, number, bytes);
  kept_bytes_ = parts.empty() || parts.front().discarded ? 0 : parts.front().bytes;
  if (old_size_ == bytes && kept_bytes_ == bytes) return;
  discarded_ = sys::open(job.file("discarded.log"), O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  head_at_ = size_of(discarded_);
  if (old_size_ > kept_bytes_) move_tail(kept_bytes_, line, number);
  sys::truncate_fd(log_.get(), kept_bytes_);
  uint64_t end = kept_bytes_;
  for (const LogStretch& part : parts) {
    if (!part.discarded) continue;
    copy_stretch(discarded_.get(), part.at, log_.get(), end, part.bytes);
    end += part.bytes;
  }
  // A restore compares the size of the file.
  if (end < bytes)
    job.note(
        fmt::format("output.log had {} bytes at checkpoint {}, of which {} are there: zeros stand for what is gone",
                    bytes, number, end));
  sys::truncate_fd(log_.get(), bytes);
  sys::sync_fd(log_.get());
}

void OutputTakenBack::move_tail(uint64_t from, const job::Line& line, uint32_t number) {
  const uint64_t bytes = old_size_ - from;
  const std::string head = fmt::format("--- {} bytes printed after checkpoint {}\n", bytes, number);
  tail_at_ = head_at_ + head.size();
  sys::pwrite_fully(discarded_.get(), head.data(), head.size(), head_at_);
  copy_stretch(log_.get(), from, discarded_.get(), tail_at_, bytes);
  sys::sync_fd(discarded_.get());
  job::TakenBack taken = taken_;
  auto& piece = *taken.add_pieces();
  *piece.mutable_line() = line;
  piece.set_from(from), piece.set_bytes(bytes), piece.set_at(tail_at_);
  write_message(job_.file(kTaken), taken);
}

OutputTakenBack::~OutputTakenBack() {
  if (kept_) return;
  try {
    undo();
  } catch (const Error& error) {
    job_.note(fmt::format("the end of output.log is in discarded.log: {}", error.what()));
  }
}

void OutputTakenBack::undo() {
  if (!discarded_.valid()) return;
  sys::truncate_fd(log_.get(), kept_bytes_);
  if (old_size_ == kept_bytes_) return;
  copy_stretch(discarded_.get(), tail_at_, log_.get(), kept_bytes_, old_size_ - kept_bytes_);
  write_message(job_.file(kTaken), taken_);
  sys::truncate_fd(discarded_.get(), head_at_);
}

}  // namespace mcr::jobs

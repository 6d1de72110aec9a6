// What waits in a pipe.
#include <fcntl.h>

#include "core/kinds/open_files.h"

namespace mcr::kinds {

// tee(2) copies without consuming, from the beginning only: our pipe must hold all of it. Packets stay packets: one
// read returns one of them.
std::vector<std::string> PipeCopier::copy(int reader, size_t bytes, int capacity) {
  if (!pipe_.read_end.valid()) {
    pipe_ = sys::make_pipe(O_CLOEXEC | O_NONBLOCK);
    capacity_ = sys::get_pipe_size(pipe_.write_end.get());
  }
  if (capacity_ < capacity) capacity_ = sys::try_set_pipe_size(pipe_.write_end.get(), capacity).value_or(capacity_);
  if (sys::tee(reader, pipe_.write_end.get(), bytes) != bytes) {
    pipe_ = {};
    throw Error(
        Fault::refused,
        fmt::format("the {} bytes in this pipe of {} cannot be copied through one of {}", bytes, capacity, capacity_),
        "raise /proc/sys/fs/pipe-max-size, or give mini-criu CAP_SYS_RESOURCE");
  }
  std::vector<std::string> chunks;
  std::string buffer(bytes, '\0');
  for (size_t left = bytes; left > 0;) {
    const size_t n = sys::read_some(pipe_.read_end.get(), buffer.data(), buffer.size());
    if (n == 0) break;
    left -= std::min(left, n);
    chunks.push_back(buffer.substr(0, n));
  }
  return chunks;
}

uint32_t OpenFiles::enter_pipe(const FileView& file, const std::string& fifo_path) {
  auto [entry, is_new] = pipe_ids_.try_emplace({file.status.st_dev, file.status.st_ino}, 0);
  if (!is_new) return entry->second;
  image::PipeData data;
  data.set_id(static_cast<uint32_t>(pipes_.size() + 1));
  data.set_pipe(file.status.st_ino);
  data.set_fifo_path(fifo_path);
  data.set_capacity(static_cast<uint32_t>(sys::get_pipe_size(file.copy)));
  if (const int bytes = sys::bytes_readable(file.copy); bytes > 0) {
    UniqueFd reader;  // of an end that is open for writing only
    if ((file.info.flags & O_ACCMODE) == O_WRONLY) reader = sys::open(file.door, O_RDONLY | O_NONBLOCK);
    for (auto& chunk : copier_.copy(reader.valid() ? reader.get() : file.copy, static_cast<size_t>(bytes),
                                    static_cast<int>(data.capacity())))
      data.add_chunks(std::move(chunk));
  }
  data.set_packets((ends_of(file) & kPackets) != 0 || data.chunks_size() > 1);
  entry->second = data.id();
  pipes_.push_back(std::move(data));
  return entry->second;
}

}  // namespace mcr::kinds

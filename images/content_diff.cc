#include "images/content_diff.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/format.h"

namespace mcr::images {
namespace {

constexpr size_t kBufferBytes = kChunkBytes;  // a chunk is read and checked as a whole

class Side {
 public:
  explicit Side(const Content& content) : next_(content.stretches().begin()), end_(content.stretches().end()) {}

  // The stretch that holds `at`, null when none does. `at` never goes back.
  const Stretch* at(uint64_t at) {
    while (next_ != end_ && next_->at + next_->bytes <= at) ++next_;
    return next_ != end_ && next_->at <= at ? &*next_ : nullptr;
  }
  // Where the next stretch begins behind `at`.
  uint64_t begin_behind(uint64_t at) {
    for (auto i = next_; i != end_; ++i)
      if (i->at > at) return i->at;
    return ~0ULL;
  }
  std::string_view read(const Stretch* stretch, uint64_t at, size_t bytes) {
    buffer_.assign(bytes, '\0');
    if (stretch) stretch->read(at - stretch->at, std::as_writable_bytes(std::span(buffer_)));
    return buffer_;
  }

 private:
  std::vector<Stretch>::const_iterator next_, end_;
  std::string buffer_;
};

// Bytes from `at` on that one checksum covers; 0 when none begins there.
uint64_t chunk_at(const Stretch& s, uint64_t at) {
  if (s.chunk_bytes == 0 || (at - s.at) % s.chunk_bytes != 0) return 0;
  if ((at - s.at) / s.chunk_bytes >= s.checksums.size()) return 0;
  return std::min<uint64_t>(s.chunk_bytes, s.at + s.bytes - at);
}

uint64_t checksum_at(const Stretch& s, uint64_t at) {
  return s.checksums[(at - s.at) / s.chunk_bytes];
}

// Up to the next place where a chunk of either side begins, so that checksums can be compared from there.
uint64_t to_next_chunk(const Stretch* s, uint64_t at, uint64_t limit) {
  if (!s || s->chunk_bytes == 0) return limit;
  return std::min<uint64_t>(limit, s->chunk_bytes - (at - s->at) % s->chunk_bytes);
}

bool is_zero(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; });
}

}  // namespace

Stretch stretch_of(const image::GhostExtent& extent, int fd) {
  return {extent.file_offset(),
          extent.bytes(),
          extent.chunk_bytes(),
          {extent.checksums().begin(), extent.checksums().end()},
          [fd, offset = extent.offset()](uint64_t skipped, std::span<std::byte> out) {
            for (size_t done = 0; done < out.size();) {
              const size_t n = sys::pread_some(fd, out.data() + done, out.size() - done, offset + skipped + done);
              if (n == 0) throw Error(Fault::image, "a file of pages became shorter while it was read");
              done += n;
            }
          }};
}

void Content::add(Stretch stretch) {
  const uint64_t end = stretches_.empty() ? 0 : stretches_.back().at + stretches_.back().bytes;
  if (stretch.at < end || stretch.bytes == 0 || stretch.bytes > ~0ULL - stretch.at)
    throw Error(Fault::image, fmt::format("{}: content at {:#x} is out of order", owner_, stretch.at),
                "the image is damaged: use another copy");
  stretches_.push_back(std::move(stretch));
}

int PageFiles::open(const std::string& name) {
  const auto found = files_.find(name);
  if (found != files_.end()) return found->second.get();
  return files_.emplace(name, reader_.pages(name)).first->second.get();
}

std::string read_content(const Content& content, uint64_t at, size_t bytes) {
  std::string result(bytes, '\0');
  if (at > ~0ULL - bytes) return result;
  Side side(content);
  for (size_t done = 0; done < bytes;) {
    const Stretch* stretch = side.at(at + done);
    const uint64_t end = stretch ? stretch->at + stretch->bytes : side.begin_behind(at + done);
    const auto n = static_cast<size_t>(std::min<uint64_t>(bytes - done, end - at - done));
    if (stretch) result.replace(done, n, side.read(stretch, at + done, n));
    done += n;
  }
  return result;
}

void compare_contents(const Content& a, const Content& b, const std::function<bool(uint64_t)>& is_zero_when_absent,
                      const std::function<void(const DifferentPiece&)>& tell) {
  Side left(a), right(b);
  for (uint64_t at = 0;;) {
    const Stretch *l = left.at(at), *r = right.at(at);
    if (!l && !r) {
      at = std::min(left.begin_behind(at), right.begin_behind(at));
      if (at == ~0ULL) return;
      continue;
    }
    uint64_t end = std::min(left.begin_behind(at), right.begin_behind(at));
    if (l) end = std::min(end, l->at + l->bytes);
    if (r) end = std::min(end, r->at + r->bytes);
    if (l && r) {
      const uint64_t chunk = chunk_at(*l, at);
      if (chunk != 0 && chunk == chunk_at(*r, at) && checksum_at(*l, at) == checksum_at(*r, at)) {
        at += chunk;
        continue;
      }
    }
    const uint64_t limit = to_next_chunk(l, at, to_next_chunk(r, at, std::min<uint64_t>(end - at, kBufferBytes)));
    const auto bytes = static_cast<size_t>(limit);
    const std::string_view before = left.read(l, at, bytes), after = right.read(r, at, bytes);
    for (size_t done = 0; done < bytes;) {
      const size_t n = std::min(bytes - done, kPieceBytes - static_cast<size_t>((at + done) % kPieceBytes));
      const std::string_view x = before.substr(done, n), y = after.substr(done, n);
      const bool told = l && r ? x != y : !is_zero_when_absent(at + done) || !is_zero(l ? x : y);
      if (told) tell({at + done, x, y, l != nullptr, r != nullptr});
      done += n;
    }
    at += bytes;
  }
}

}  // namespace mcr::images

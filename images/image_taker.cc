#include "images/image_taker.h"

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "core/sys/tcp.h"
#include "images/archive_reader.h"
#include "images/far_protocol.h"
#include "images/format.h"
#include "images/holed_file.h"
#include "images/staged_image.h"
#include "images/store.h"

namespace mcr::images {
namespace {

constexpr std::chrono::seconds kMark{10}, kBetween{5};
constexpr std::chrono::hours kSilence{1};  // scripts and GPUs of the sender come first; of a dead host the kernel tells
constexpr int kDrainMilliseconds = 5'000;

// Whoever comes and is silent, or says something else, is sent away.
UniqueFd accept_sender(int listener) {
  const sys::Pipe never = sys::make_pipe(O_CLOEXEC);
  for (;;) {
    UniqueFd fd = sys::accept_tcp(listener, never.read_end.get());
    const std::string peer = sys::peer_text(fd.get());
    try {
      char mark[sizeof far::kSenderMark];
      if (sys::receive_all(fd.get(), mark, sizeof mark, kMark) &&
          std::memcmp(mark, far::kSenderMark, sizeof mark) == 0) {
        sys::write_stream(fd.get(), far::kTakerMark, sizeof far::kTakerMark);
        log::info("server", "{} sends an image", peer);
        return fd;
      }
      log::warning("server", "{} is nobody who sends an image", peer);
    } catch (const Error& error) {
      log::warning("server", "{}: {}", peer, error.reason());
    }
  }
}

// What is still on its way is read, or the answer would be thrown away with it (RFC 2525, 2.17).
void refuse(int fd, std::string why) {
  try {
    why.resize(std::min(why.size(), far::kMostWords));
    const far::Answer answer{far::Outcome::refused, 0, why.size()};
    sys::write_stream(fd, &answer, sizeof answer);
    sys::write_stream(fd, why.data(), why.size());
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kDrainMilliseconds);
    std::vector<char> buffer(1 << 20);
    while (std::chrono::steady_clock::now() < deadline && sys::wait_readable(fd, kDrainMilliseconds) &&
           sys::read_stream(fd, buffer.data(), buffer.size()) != 0)
      ;
  } catch (const Error& error) {
    log::debug("server", "{}", error.reason());
  }
}

// Tells the sender, while it lives, that he need not give up. Nobody else writes to the connection meanwhile.
class Heartbeat {
 public:
  explicit Heartbeat(int fd) {
    const sys::NoSignals not_for_the_thread;
    try {
      thread_ = std::thread([this, fd] { beat(fd); });
    } catch (const std::system_error& error) {  // he waits for a minute all the same
      log::debug("server", "no thread can be made: {}", error.what());
    }
  }
  ~Heartbeat() {
    {
      const std::scoped_lock lock(mutex_);
      is_over_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
  }
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

 private:
  void beat(int fd) {
    const far::Answer busy{far::Outcome::busy, 0, 0};
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, kBetween, [&] { return is_over_; })) try {
        sys::write_stream(fd, &busy, sizeof busy);
      } catch (const Error& error) {  // he has left
        log::debug("server", "{}", error.reason());
        return;
      }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_over_ = false;
  std::thread thread_;
};

class Taking {
 public:
  Taking(const std::string& directory, bool sync) : staged_(directory, sync) {}

  void receive(const ReadBytes& read, Progress* progress);
  void check(const std::function<void(const std::string&)>& check_path) const;
  void publish() {
    names_.erase(kInventoryName);
    staged_.publish(names_);
  }
  TakerReport report() const { return report_; }

 private:
  StagedImage staged_;
  std::set<std::string> names_;
  TakerReport report_;
};

// The files come one after the other, or several at once: a dump sends memory while it writes records.
void Taking::receive(const ReadBytes& read, Progress* progress) {
  if (progress) progress->begin("receiving");
  ArchiveReader reader(read);
  std::map<uint32_t, HoledFile> open;
  while (const auto piece = reader.next()) {
    if (piece->kind == BlockKind::name) {
      if (!is_valid_file_name(piece->name))
        throw Error(Fault::image, fmt::format("\"{:.64}\" is no name for a file of an image", piece->name));
      names_.insert(piece->name);
      open.emplace(piece->file, HoledFile(staged_.create(piece->name)));
      ++report_.files;
    } else if (piece->kind == BlockKind::data) {
      open.at(piece->file).append(piece->data);
      report_.bytes += piece->data.size();
      if (progress) progress->done = report_.bytes;
    } else {
      open.extract(piece->file).mapped().finish(false);  // all are synced when they are published
    }
  }
}

void Taking::check(const std::function<void(const std::string&)>& check_path) const {
  const std::string path = fmt::format("/proc/self/fd/{}", staged_.fd());
  const ImageReader reader(path);
  const auto& inventory = reader.inventory();
  if (inventory.has_parent())
    throw Error(Fault::image, "it builds upon another image", "send one that is whole by itself");
  std::set<std::string> listed{kInventoryName};
  for (const auto& file : inventory.files()) listed.insert(file.name());
  for (const std::string& name : names_)
    if (!listed.contains(name)) throw Error(Fault::image, fmt::format("its inventory lists no {}", name));
  if (check_path) check_path(path);
}

}  // namespace

TakerReport take_image(int listener, const std::string& directory, bool sync,
                       const std::function<void(const std::string&)>& check, Progress* progress) {
  Taking taking(directory, sync);
  const UniqueFd fd = accept_sender(listener);
  try {
    sys::end_tcp(listener);  // a second sender is to hear at once that nobody listens
    taking.receive(
        [&](void* data, size_t size) {
          if (!sys::wait_readable(fd.get(), static_cast<int>(std::chrono::milliseconds(kSilence).count())))
            throw Error(Fault::system, fmt::format("nothing has come for {} h", kSilence.count()));
          return sys::read_stream(fd.get(), data, size);
        },
        progress);
    {
      const Heartbeat heartbeat(fd.get());
      taking.check(check);
      if (sys::has_left(fd.get())) throw Error(Fault::system, "the sender has left before the image was checked");
      taking.publish();
    }
  } catch (const Error& error) {
    refuse(fd.get(), error.reason());
    throw;
  } catch (const std::exception& error) {
    refuse(fd.get(), error.what());
    throw;
  }
  TakerReport report = taking.report();
  try {
    const far::Answer kept{far::Outcome::good, 0, 0};
    const bool is_there = !sys::has_left(fd.get());  // he hangs up when he has heard it
    sys::write_stream(fd.get(), &kept, sizeof kept);
    report.was_heard = is_there;
  } catch (const Error& error) {
    log::debug("server", "{}", error.reason());
  }
  return report;
}

}  // namespace mcr::images

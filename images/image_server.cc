#include "images/image_server.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/stream.h"
#include "core/sys/tcp.h"
#include "images/far_protocol.h"
#include "images/format.h"
#include "images/store.h"

namespace mcr::images {
namespace {

using far::Answer;
using far::Ask;
using far::Outcome;
using far::Question;

constexpr size_t kMostConnections = 64;

// False: it has left.
bool receive(int fd, void* data, size_t size) {
  for (size_t done = 0; done < size;) {
    const size_t n = sys::read_stream(fd, static_cast<char*>(data) + done, size - done);
    if (n == 0) return false;
    done += n;
  }
  return true;
}

void answer(int fd, Outcome outcome, uint64_t bytes) {
  const Answer words{outcome, 0, bytes};
  sys::write_stream(fd, &words, sizeof words);
}

void refuse(int fd, std::string why) {
  why.resize(std::min(why.size(), far::kMostWords));
  answer(fd, Outcome::refused, why.size());
  sys::write_stream(fd, why.data(), why.size());
}

struct Connection {
  UniqueFd fd;
  std::thread thread;
  std::atomic<bool> is_over = false;
};

}  // namespace

struct ImageServer::Impl {
  explicit Impl(const std::string& directory) : reader(directory) {}

  void serve_one(int fd);
  bool answer_one(int fd);
  void answer_question(int fd, const Question& question, const std::string& name);
  void send(int fd, const Question& question, const std::string& name);
  std::pair<int, uint64_t> open(const std::string& name);
  void end_over(bool all);

  const ImageReader reader;
  std::string image_id;
  std::mutex mutex;                                            // of what follows
  std::map<std::string, std::pair<UniqueFd, uint64_t>> files;  // and their sizes
  sys::Pipe stop = sys::make_pipe(O_CLOEXEC);                  // readable when somebody has all
  std::atomic<uint64_t> sent = 0;
  Progress* progress = nullptr;
  std::vector<std::unique_ptr<Connection>> connections;  // of the thread that accepts them
};

ImageServer::ImageServer(const std::string& directory) : impl_(std::make_unique<Impl>(directory)) {
  if (impl_->reader.inventory().has_parent())
    throw Error(Fault::refused,
                fmt::format("{} builds upon the image in {}", directory, impl_->reader.inventory().parent().path()),
                "make one image of all of them first: mini-criu merge DIR -o NEW");
  if (impl_->reader.inventory().memory_only())
    throw Error(Fault::image, fmt::format("{} holds memory only: it was made by pre-dump", directory),
                "serve the image of the dump that was made after it");
  impl_->image_id = read_header(impl_->reader.as_it_is(kInventoryName).get(), kInventoryName).image_id;
}
ImageServer::~ImageServer() = default;

// What an inventory lists, and nothing else; open from the first time on, so that all parts are those of one image.
std::pair<int, uint64_t> ImageServer::Impl::open(const std::string& name) {
  const std::scoped_lock lock(mutex);
  auto found = files.find(name);
  if (found == files.end()) {
    UniqueFd fd = reader.as_it_is(name);
    const auto size = static_cast<uint64_t>(sys::stat_fd(fd.get()).st_size);
    found = files.emplace(name, std::pair(std::move(fd), size)).first;
  }
  return {found->second.first.get(), found->second.second};
}

void ImageServer::Impl::send(int fd, const Question& question, const std::string& name) {
  const auto [file, size] = open(name);
  if (question.bytes > far::kMostAsked || question.offset > size || question.bytes > size - question.offset)
    throw Error(Fault::image, fmt::format("{} has no {} bytes at {}", name, question.bytes, question.offset));
  answer(fd, Outcome::good, question.bytes);
  try {
    sys::send_file(fd, file, question.offset, question.bytes);
  } catch (const Error& error) {  // what was announced cannot be taken back
    throw Error(Fault::system, fmt::format("{}: {}", name, error.reason()));
  }
  sent += question.bytes;
  if (progress) progress->done = sent.load();
}

void ImageServer::Impl::answer_question(int fd, const Question& question, const std::string& name) {
  switch (question.ask) {
    case Ask::size:
      return answer(fd, Outcome::good, open(name).second);
    case Ask::bytes:
      return send(fd, question, name);
    case Ask::done: {
      answer(fd, Outcome::good, 0);
      const std::scoped_lock lock(mutex);
      stop.write_end.reset();
      return;
    }
  }
  refuse(fd, "nobody knows this question");
}

// False: no more will come.
bool ImageServer::Impl::answer_one(int fd) {
  Question question;
  if (!receive(fd, &question, sizeof question)) return false;
  if (question.name_bytes > far::kMostName) return refuse(fd, "a name is too long"), false;
  std::string name(question.name_bytes, '\0');
  if (!receive(fd, name.data(), name.size())) return false;
  try {
    answer_question(fd, question, name);
  } catch (const Error& error) {
    if (error.fault() == Fault::system) throw;  // the way to it
    log::warning("server", "{}: {}", sys::peer_text(fd), error.reason());
    refuse(fd, error.reason());
  }
  return true;
}

void ImageServer::Impl::serve_one(int fd) {
  const std::string peer = sys::peer_text(fd);
  try {
    char mark[sizeof far::kClientMark];
    if (!receive(fd, mark, sizeof mark) || std::memcmp(mark, far::kClientMark, sizeof mark) != 0) {
      log::warning("server", "{} is nobody who asks for an image", peer);
      return;
    }
    sys::write_stream(fd, far::kServerMark, sizeof far::kServerMark);
    sys::write_stream(fd, image_id.data(), image_id.size());
    log::info("server", "{} asks for the image", peer);
    while (answer_one(fd))
      ;
    log::info("server", "{} has left", peer);
  } catch (const Error& error) {
    log::warning("server", "{}: {}", peer, error.reason());
  }
}

void ImageServer::Impl::end_over(bool all) {
  for (const auto& connection : connections)
    if (all) sys::end_tcp(connection->fd.get());
  std::erase_if(connections, [&](const auto& connection) {
    if (!all && !connection->is_over) return false;
    connection->thread.join();
    return true;
  });
}

ServerReport ImageServer::serve(int listener, Progress* progress) {
  ServerReport report;
  impl_->progress = progress;
  if (progress) progress->begin("sending");
  for (;;) {
    UniqueFd fd = sys::accept_tcp(listener, impl_->stop.read_end.get());
    if (!fd.valid()) break;
    impl_->end_over(false);
    ++report.connections;
    if (impl_->connections.size() == kMostConnections) {
      log::warning("server", "{}: there are too many already", sys::peer_text(fd.get()));
      continue;
    }
    auto& connection = *impl_->connections.emplace_back(std::make_unique<Connection>());
    connection.fd = std::move(fd);
    const sys::NoSignals not_for_threads;
    connection.thread = std::thread([this, &connection] {
      impl_->serve_one(connection.fd.get());
      connection.is_over = true;
      sys::end_tcp(connection.fd.get());
    });
  }
  impl_->end_over(true);
  report.bytes = impl_->sent;
  return report;
}

}  // namespace mcr::images

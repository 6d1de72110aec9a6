// An image that a server on another host has (images/image_server.h): small files come whole when they are asked for,
// files of pages in parts. All of it is checked like what lies in a folder. A connection that breaks is made again.
// Any thread, but begin_anew(). Errors: what the server refuses is Fault::image, the way to it Fault::system.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/base/page_buffer.h"
#include "core/base/unique_fd.h"
#include "core/sys/tcp.h"
#include "images/page_file.h"

namespace mcr::images {

class FarImage {
 public:
  FarImage(sys::TcpPlace place, std::chrono::seconds patience);  // connects
  ~FarImage();
  FarImage(const FarImage&) = delete;
  FarImage& operator=(const FarImage&) = delete;

  std::string name() const { return place_.text(); }
  std::optional<UniqueFd> open(const std::string& name);         // whole; nullopt: the server has none
  PageFile open_pages(const std::string& name, uint64_t bytes);  // the same file for all who open it
  void read(const std::string& name, uint64_t offset, std::byte* out, uint64_t bytes);
  void say_done();  // nobody will ask for more: the server may end

  void connect_now();                                  // and asks for something: the server knows that we need it
  void require_id(const std::string& image_id) const;  // that the server has announced; throws when it is another one

  // In a process that was forked, whose copies of our descriptors are closed: everything is opened anew there.
  // patience: how long a server may be away.
  void begin_anew(std::chrono::seconds patience);
  std::vector<int> descriptors() const;

 private:
  void connect();
  template <typename Work>
  void insist(const Work& work);
  uint64_t ask(const std::string& name, uint32_t what, uint64_t offset, uint64_t bytes);

  const sys::TcpPlace place_;
  std::chrono::seconds patience_;
  mutable std::mutex mutex_;  // of what follows
  UniqueFd connection_;
  std::string image_id_;  // the same after every connect; empty: not known yet
  std::map<std::string, std::shared_ptr<FarFile>> files_;
};

// The same when the program runs already: that a server cannot be told is only logged.
void tell_done(FarImage& image);

// A file of pages of such an image. Any thread.
class FarFile {
 public:
  FarFile(FarImage& image, std::string name, uint64_t bytes);
  int get() const { return fd_.get(); }
  void bring(uint64_t offset, uint64_t bytes);  // to stay: somebody reads it by the descriptor
  size_t read(uint64_t offset, void* data, size_t bytes);
  void forget();  // our descriptor is closed already

 private:
  void make_present(uint64_t offset, uint64_t bytes);
  void fetch(uint64_t first, uint64_t end);  // blocks
  void drop_oldest();

  FarImage& image_;
  const std::string name_;
  const uint64_t bytes_;
  UniqueFd fd_;
  std::mutex mutex_;
  std::vector<bool> is_here_, stays_;  // by block
  std::deque<uint64_t> passing_;       // that are here, the oldest first; some of them may stay by now
  PageBuffer buffer_;
};

}  // namespace mcr::images

// What the reading of queues changes in sockets. The process apart that reads puts it back; should it be killed, the
// engine does, before the program runs on.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace mcr::kinds {

class ReadingUndo {
 public:
  // Notes what they are like now; they need to be open as long as this lives.
  explicit ReadingUndo(std::span<const int> sockets);
  ~ReadingUndo();  // without forget(): puts back what has changed
  ReadingUndo(const ReadingUndo&) = delete;
  ReadingUndo& operator=(const ReadingUndo&) = delete;

  void forget() { noted_.clear(); }

 private:
  struct Noted {
    int fd = -1, name = 0;
    std::string value;
  };
  std::vector<Noted> noted_;
  std::vector<int> sockets_;
};

}  // namespace mcr::kinds

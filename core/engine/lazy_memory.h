// restore --lazy-pages: memory that comes when the program runs already. Two processes are made before anything else,
// while the engine has nothing open but the image; they get the userfaultfd of each memory, bring pages
// (page_service.h) and end with the last of them. The engine's part; main thread, add() any.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "core/inject/new_process.h"
#include "core/mem/late_pages.h"
#include "core/sys/service_trio.h"
#include "core/tree/process_image.h"
#include "images/store.h"

namespace mcr::engine {

// Descriptors of this process.
std::set<int> open_descriptors();

class LazyMemory {
 public:
  // Throws Fault::refused where it cannot be had. `before`: descriptors that were open before the image was: all but
  // the log's are closed over there.
  LazyMemory(const images::ImageReader& reader, const std::vector<tree::ProcessImage>& images,
             const std::set<int>& before);

  // From here on the pages of that process come when they are touched, but for `at_once`. Its mappings are complete
  // otherwise.
  void add(size_t index, inject::NewProcess& process, const mem::RestoreMemory& memory,
           const std::set<uint64_t>& at_once);
  void settle();  // the program lives, whatever becomes of us

 private:
  sys::SharedMemory shared_;
  UniqueFd line_;
  std::mutex mutex_;
};

// ---- on the line ----
struct LateMemory {
  uint32_t process = 0;
  int32_t pid = 0;      // here
  uint64_t pieces = 0;  // MissingPages::put_pieces
};
bool receive_late_memory(int line, LateMemory& late, int& file);  // false: its end
void answer_late_memory(int line);

}  // namespace mcr::engine

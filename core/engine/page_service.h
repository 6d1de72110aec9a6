// Brings the pages of lazily restored processes: those that somebody waits for at once, the others one chunk after the
// other, until all are there. Runs in a process of its own, one thread: an event of a memory (core/sys/user_fault.h) is
// read before anything else is put there, so that nothing comes back that the program has discarded.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "core/base/error.h"
#include "core/base/page_buffer.h"
#include "core/mem/missing_pages.h"
#include "core/tree/process_image.h"
#include "images/page_content.h"
#include "images/parent_chain.h"

namespace mcr::engine {

class PageService {
 public:
  // line: to the engine; from it come memories, and its end. All outlive the service.
  PageService(const images::ImageReader& reader, const std::vector<tree::ProcessImage>& images,
              sys::SharedMemory& shared, int line, sys::Partner& partner);
  // Returns when nothing is missing any more, or when the engine has ended and its restore with it.
  void run();

 private:
  struct Wait {  // somebody does, for a page
    size_t memory;
    uint64_t address;
    sys::Clock::time_point since;
  };
  enum class Outcome { done, later };
  bool is_ready(size_t memory);
  bool poison_unsure(size_t memory);
  bool fetch_of(bool children);
  void open_content();
  void wait(bool is_busy, bool was_asked);
  void hear_engine();
  void serve_faults();
  bool puts_off();
  bool fetch_ahead();
  void end_complete();
  Outcome answer(const Wait& fault);
  Outcome deliver(size_t memory, uint64_t number, const Wait* waiting);  // null: nobody waits for it
  struct Chunk {
    uint64_t first = 0, count = 0;  // numbers of pages
    bool is_lost = false;
    bool is_away = false;  // lost for the one who has waited for too long, and for nobody else
  };
  Chunk read_chunk(size_t memory, uint64_t number, const Wait* waiting);
  bool may_be_had_later(const Error& error, const Wait* waiting);
  void note_attempt(sys::Clock::time_point begin, const Wait* waiting);
  void read_content(size_t memory, const image::PageRun& run, uint64_t start, std::span<std::byte> out);
  Outcome put(size_t memory, const Chunk& chunk, uint64_t first, uint64_t end);
  Outcome put_stretch(size_t memory, const Chunk& chunk, mem::Stretch place, uint64_t count);
  sys::Filled fill(int file, const Chunk& chunk, uint64_t number, uint64_t address, uint64_t bytes) const;
  void tell_lost(size_t memory, const image::PageRun& run, uint64_t start, uint64_t bytes, const Error& why);
  void tell_end();

  const images::ImageReader& reader_;
  const std::vector<tree::ProcessImage>& images_;
  sys::SharedMemory& shared_;
  int line_;
  sys::Partner& partner_;
  mem::MissingPages missing_;
  std::unique_ptr<images::ParentChain> parents_;
  std::unique_ptr<images::PageContent> content_;
  std::string why_no_content_;
  std::deque<Wait> faults_;
  std::vector<uint64_t> next_;  // by memory: the page that is to be fetched ahead
  size_t turn_ = 0;             // the memory that has its turn
  PageBuffer buffer_;
  std::byte* pages_ = nullptr;                // in buffer_, aligned: the content of a chunk
  const image::PageRun* read_run_ = nullptr;  // whose bytes it holds, and which; null: of none
  uint64_t read_from_ = 0, read_end_ = 0;
  sys::Clock::time_point not_before_{};  // nothing is read: the image, on another host, could not be reached
  std::string why_away_;
  bool is_put_off_ = false;  // the last attempt to fetch ahead came to nothing
  bool has_served_ = false;
  unsigned put_off_ = 0;  // how often nothing was fetched ahead, as somebody waited a moment ago
  uint64_t told_ = 0, lost_ = 0;
};

}  // namespace mcr::engine

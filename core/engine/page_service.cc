#include "core/engine/page_service.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/lazy_memory.h"
#include "core/sys/process.h"
#include "images/far_image.h"

namespace mcr::engine {
namespace {

using image::PageRun;
using sys::Clock;

constexpr uint64_t kPage = 4096, kPieceBytes = 64 << 10, kTaskSize = 0x7ffffffff000;
constexpr int kAgain = 2;    // ms until what cannot be done now is tried again
constexpr int kPause = 1;    // ms after a page that was waited for
constexpr int kLook = 1000;  // ms until it is asked whether anybody is left
// Of an image on another host: how long its server may be away when somebody waits, and how often it is looked for.
constexpr std::chrono::seconds kPatience{300};
constexpr std::chrono::milliseconds kUntilAskedAgain{200};

// What is read as a whole: a chunk has one checksum.
uint64_t unit_of(const PageRun& run) {
  const bool has_chunks = run.source() == PageRun::FILE || run.source() == PageRun::STREAMS;
  return has_chunks && run.chunk_bytes() != 0 ? run.chunk_bytes() : kPieceBytes;
}

bool passes_by_itself(const Error& error) {
  return error.code() == ENOMEM || error.code() == EMFILE || error.code() == ENFILE;
}

}  // namespace

PageService::PageService(const images::ImageReader& reader, const std::vector<tree::ProcessImage>& images,
                         sys::SharedMemory& shared, int line, sys::Partner& partner)
    : reader_(reader),
      images_(images),
      shared_(shared),
      line_(line),
      partner_(partner),
      missing_(shared),
      buffer_(images::kChunkBytes + kPage) {
  const auto at = reinterpret_cast<uint64_t>(buffer_.data());
  pages_ = buffer_.data() + ((at + kPage - 1) / kPage * kPage - at);
  std::vector<int> files = missing_.files();
  files.push_back(line_);
  partner_.close_all_but(std::move(files));
  open_content();
  // Faults that another has read, who was killed before they were answered.
  for (const auto& memory : missing_.memories())
    if (!memory.is_over) sys::wake_all_faults(memory.file);
  if (missing_.is_lost())
    log::error("lazy",
               "what had become of the missing pages is not known any more: a touch of one is SIGBUS from here on");
}

// Its own descriptors: those of one that was killed have numbers that may mean something else by now.
void PageService::open_content() {
  auto* far = reader_.far();
  try {
    if (far) far->begin_anew(std::chrono::seconds(0));  // events are to be served meanwhile
    if (far) far->connect_now();                        // before the engine has left: the server counts who needs it
    parents_ = images::ParentChain::of(reader_);
    content_ = std::make_unique<images::PageContent>(reader_, parents_.get());
  } catch (const Error& error) {
    if (passes_by_itself(error)) throw;
    if (!far || error.fault() == Fault::image) why_no_content_ = error.what();  // else it is tried again
  }
}

void PageService::run() {
  for (;;) {
    has_served_ = false;
    serve_faults();
    const bool was_asked = has_served_;
    const bool is_settled = mem::MissingPages::is_settled(shared_);
    const bool is_busy = is_settled && faults_.empty() && !puts_off() && fetch_ahead();
    end_complete();
    const bool is_over = std::ranges::all_of(missing_.memories(), [](const auto& m) { return m.is_over; });
    if (line_ < 0 && (!is_settled || is_over)) break;
    wait(is_busy, was_asked);
  }
  if (!mem::MissingPages::is_settled(shared_)) return;
  tell_end();
  if (reader_.far()) images::tell_done(*reader_.far());
}

// Events of a child are read when it is known what it had at first.
void PageService::wait(bool is_busy, bool was_asked) {
  std::vector<pollfd> waited{{line_, POLLIN, 0}, {partner_.pidfd(), POLLIN, 0}};
  std::vector<size_t> memories;
  bool is_soon = !faults_.empty() || partner_.pidfd() < 0;
  for (size_t i = 0; i < missing_.memories().size(); ++i) {
    const auto& memory = missing_.memories()[i];
    if (memory.is_over) continue;
    if (!is_ready(i)) is_soon = true;
    if ((memory.is_embryo && !missing_.is_lost()) || !missing_.has_room(i)) continue;
    memories.push_back(i);
    waited.push_back({memory.file, POLLIN, 0});
  }
  // What was put off is tried again, though nobody may ever touch it.
  constexpr int kPutOff = static_cast<int>(kUntilAskedAgain.count());
  const bool is_away = Clock::now() < not_before_;
  const int limit = is_away              ? kPutOff
                    : is_busy            ? 0
                    : was_asked          ? kPause
                    : is_soon            ? kAgain
                    : is_put_off_        ? kPutOff
                    : missing_.is_lost() ? kLook
                                         : -1;
  if (::poll(waited.data(), waited.size(), limit) < 0) return;
  if (partner_.pidfd() < 0 || waited[1].revents != 0) {
    log::warning("lazy", "the process that stands by for the one that brings pages has ended: another one is made");
    partner_.make_anew();
  }
  for (size_t i = 0; i < memories.size(); ++i)
    if (waited[i + 2].revents != 0)
      for (const uint64_t address : missing_.read_events(memories[i]))
        faults_.push_back({memories[i], address, Clock::now()});
  if (waited[0].revents != 0) hear_engine();
}

void PageService::hear_engine() {
  int file = -1;
  LateMemory late;
  if (!receive_late_memory(line_, late, file)) {
    line_ = -1;  // poll(2) passes over it
    return;
  }
  missing_.add(file, late.pid, late.process, late.pieces);
  answer_late_memory(line_);
}

// Who has met a missing page is soon to meet the next one, and should find us listening.
bool PageService::puts_off() {
  constexpr unsigned kMost = 16;
  if (!has_served_ || ++put_off_ % kMost == 0) return false;
  has_served_ = false;
  return true;
}

void PageService::serve_faults() {
  if (!faults_.empty()) has_served_ = true;
  for (size_t left = faults_.size(); left > 0; --left) {
    const Wait fault = faults_.front();
    faults_.pop_front();
    if (!missing_.memories()[fault.memory].is_over && answer(fault) == Outcome::later) faults_.push_back(fault);
  }
}

// Nothing is under way there, and what has happened is known.
bool PageService::is_ready(size_t memory) {
  return missing_.settle_events(memory) && poison_unsure(memory);
}

bool PageService::poison_unsure(size_t memory) {
  const auto& target = missing_.memories()[memory];
  if (target.places.unsure().empty()) return true;
  for (const auto& [start, end] : target.places.unsure()) {
    for (uint64_t at = start; at < end; at += kPage) {
      const int code = sys::try_poison_pages(target.file, at, kPage).code;
      if (code == EAGAIN || code == ENOMEM) return false;
      if (code == ESRCH) break;
      if (code == ENOENT && !sys::is_quiet(target.file)) return false;
    }
    log::error("lazy",
               "process {}{}: what was moved to {:#x}-{:#x} at the same time cannot be told apart, a touch of "
               "what is missing there is SIGBUS",
               images_[target.process].core.pid(), target.is_child ? " (a child of it)" : "", start, end);
  }
  log::flush();
  missing_.end_unsure(memory);
  return true;
}

PageService::Outcome PageService::answer(const Wait& fault) {
  if (!is_ready(fault.memory)) return Outcome::later;
  const int file = missing_.memories()[fault.memory].file;
  if (!missing_.is_lost()) {
    if (const auto number = missing_.waiting_at(fault.memory, fault.address))
      return deliver(fault.memory, *number, &fault);
  }
  const sys::Filled done = missing_.is_lost() ? sys::try_poison_pages(file, fault.address, kPage)
                                              : sys::try_zero_pages(file, fault.address, kPage);
  if (done.code == EAGAIN || done.code == ENOMEM) return Outcome::later;
  if (done.code == ESRCH)
    missing_.drop(fault.memory);
  else if (done.bytes == 0)
    sys::wake_faults(file, fault.address, kPage);  // it is there, or no longer ours
  return Outcome::done;
}

// Children are the last to be given what they may never look at.
bool PageService::fetch_ahead() {
  is_put_off_ = Clock::now() < not_before_;
  if (is_put_off_) return false;
  return !missing_.is_lost() && (fetch_of(false) || fetch_of(true));
}

// A chunk of the next memory that lacks one. False: there is nothing to be done now.
bool PageService::fetch_of(bool children) {
  const auto& memories = missing_.memories();
  next_.resize(memories.size());
  for (size_t i = 0; i < memories.size(); ++i) {
    const size_t memory = turn_++ % memories.size();
    const auto& target = memories[memory];
    if (target.is_over || target.is_child != children || target.waiting == 0 || !is_ready(memory)) continue;
    auto number = missing_.next_waiting(memory, next_[memory]);
    if (!number) number = missing_.next_waiting(memory, 0);
    if (!number) continue;
    const Outcome outcome = deliver(memory, *number, nullptr);
    next_[memory] = outcome == Outcome::later ? *number : *number + 1;
    is_put_off_ = outcome == Outcome::later;
    return outcome == Outcome::done;
  }
  return false;
}

// Nobody waits for a page that is there: with its file the memory is as any other.
void PageService::end_complete() {
  if (!mem::MissingPages::is_settled(shared_)) return;
  for (size_t i = 0; i < missing_.memories().size(); ++i) {
    const auto& memory = missing_.memories()[i];
    if (memory.is_over || !is_ready(i)) continue;
    const bool is_over = missing_.is_lost() ? sys::try_poison_pages(memory.file, kTaskSize - kPage, kPage).code == ESRCH
                                            : memory.waiting == 0;
    if (is_over) missing_.drop(i);
  }
}

// Only what is damaged is lost for good: a server, or the way to it, may be there again when somebody needs it.
bool PageService::may_be_had_later(const Error& error, const Wait* waiting) {
  if (passes_by_itself(error)) return true;
  if (!reader_.far() || error.fault() == Fault::image) return false;
  if (waiting && Clock::now() > waiting->since + kPatience) return false;
  if (why_away_ != error.reason()) {
    why_away_ = error.reason();
    log::warning("lazy", "{}: who touches what is missing waits, up to {} s", error.reason(), kPatience.count());
    log::flush();
  }
  return true;
}

// An attempt may take seconds, in which no event is served: far less time is spent with attempts than with listening.
void PageService::note_attempt(Clock::time_point begin, const Wait* waiting) {
  constexpr int kListening = 4;
  const auto now = Clock::now();
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(now - begin);
  not_before_ = now + std::max(kUntilAskedAgain, waiting ? took : kListening * took);
}

PageService::Chunk PageService::read_chunk(size_t memory, uint64_t number, const Wait* waiting) {
  uint64_t first = 0;
  const mem::LatePiece& piece = missing_.piece_of(memory, number, first);
  const tree::ProcessImage& image = images_[missing_.memories()[memory].process];
  const PageRun& run = image.runs.at(piece.run);
  const uint64_t at = piece.start + (number - first) * kPage, unit = unit_of(run);
  const uint64_t start = run.start() + (at - run.start()) / unit * unit;
  const uint64_t end = std::min({start + unit, run.start() + run.bytes(), piece.start + piece.bytes});
  const uint64_t from = std::max(start, piece.start);
  Chunk chunk{first + (from - piece.start) / kPage, (end - from) / kPage};
  const auto begin = Clock::now();
  try {
    if (read_run_ != &run || read_from_ != from || read_end_ != end) {
      read_run_ = nullptr;
      if (begin < not_before_) throw std::bad_alloc();
      read_content(memory, run, from, std::span(pages_, end - from));
      why_away_.clear();
      read_run_ = &run, read_from_ = from, read_end_ = end;
    }
  } catch (const Error& error) {
    chunk.is_away = reader_.far() && error.fault() != Fault::image;
    if (chunk.is_away) note_attempt(begin, waiting);
    if (may_be_had_later(error, waiting)) throw std::bad_alloc();
    chunk.is_lost = true;
    if (chunk.is_away)
      tell_lost(memory, run, at, kPage, error);
    else
      tell_lost(memory, run, from, end - from, error);
  }
  return chunk;
}

void PageService::read_content(size_t memory, const PageRun& run, uint64_t start, std::span<std::byte> out) {
  if (!content_ && !why_no_content_.empty()) throw Error(Fault::image, why_no_content_);
  if (!content_) content_ = std::make_unique<images::PageContent>(reader_, parents_.get());
  const tree::ProcessImage& image = images_[missing_.memories()[memory].process];
  content_->read({image.core.pid(), image.map.pages_file()}, run, start, out);
}

PageService::Outcome PageService::deliver(size_t memory, uint64_t number, const Wait* waiting) {
  const bool is_waited_for = waiting != nullptr;
  const mem::MissingPages::Memory& target = missing_.memories()[memory];
  Chunk chunk;
  try {
    chunk = read_chunk(memory, number, waiting);
  } catch (const std::bad_alloc&) {
    return Outcome::later;
  }
  // The one that is waited for comes first; whoever waits for another one may have to wait for the rest.
  if (is_waited_for && put(memory, chunk, number, number + 1) == Outcome::later) return Outcome::later;
  if (target.is_over || chunk.is_away) return Outcome::done;
  if (!is_waited_for) return put(memory, chunk, chunk.first, chunk.first + chunk.count);
  // Its neighbours: a few, as the next one may wait already.
  constexpr uint64_t kNear = 16;
  const uint64_t near = std::max(chunk.first, number / kNear * kNear);
  put(memory, chunk, near, std::min(chunk.first + chunk.count, near + kNear));
  return Outcome::done;
}

PageService::Outcome PageService::put(size_t memory, const Chunk& chunk, uint64_t first, uint64_t end) {
  for (uint64_t number = first; number < end;) {
    if (missing_.memories()[memory].is_over) return Outcome::done;
    if (!missing_.waits(memory, number)) {
      ++number;
      continue;
    }
    const auto place = missing_.memories()[memory].places.place_of(number);
    uint64_t count = 1;
    while (place && number + count < end && count < place->pages && missing_.waits(memory, number + count)) ++count;
    if (!place)
      missing_.clear(memory, number, 1);
    else if (put_stretch(memory, chunk, *place, count) == Outcome::later)
      return Outcome::later;
    number += count;
  }
  return Outcome::done;
}

sys::Filled PageService::fill(int file, const Chunk& chunk, uint64_t number, uint64_t address, uint64_t bytes) const {
  if (chunk.is_lost) return sys::try_poison_pages(file, address, bytes);
  return sys::try_copy_pages(file, address, pages_ + (number - chunk.first) * kPage, bytes);
}

// Neighbours, at one stretch of addresses.
PageService::Outcome PageService::put_stretch(size_t memory, const Chunk& chunk, mem::Stretch place, uint64_t count) {
  const int file = missing_.memories()[memory].file;
  bool one_by_one = false;  // the program has cut the mapping
  const auto pass = [&](uint64_t pages) {
    missing_.clear(memory, place.number, pages);
    place.number += pages, place.address += pages * kPage, count -= pages;
  };
  while (count > 0) {
    const sys::Filled done = fill(file, chunk, place.number, place.address, (one_by_one ? 1 : count) * kPage);
    pass(done.bytes / kPage);
    switch (done.code) {
      case 0:
        break;
      case EEXIST:
        sys::wake_faults(file, place.address, kPage);
        pass(1);
        break;
      case ENOENT:
        // What is looked for before it is asked whether anything is under way, may just have been moved.
        if (!sys::is_quiet(file)) return Outcome::later;
        if (one_by_one) {  // unmapped: nobody can touch it
          sys::wake_faults(file, place.address, kPage);
          pass(1);
        }
        one_by_one = true;
        break;
      case ESRCH:
        missing_.drop(memory);
        return Outcome::done;
      default:
        if (done.bytes == 0) return Outcome::later;
    }
  }
  return Outcome::done;
}

void PageService::tell_lost(size_t memory, const PageRun& run, uint64_t start, uint64_t bytes, const Error& why) {
  constexpr uint64_t kMostTold = 20;
  lost_ += bytes;
  if (told_++ >= kMostTold) return;
  log::error("lazy", "process {}: {} bytes of its memory at {:#x}{} are lost, a touch of them is SIGBUS: {}",
             images_[missing_.memories()[memory].process].core.pid(), bytes, start,
             run.source() == PageRun::PARENT ? " (of an image before)" : "", why.what());
  log::flush();
}

void PageService::tell_end() {
  if (lost_ != 0)
    log::error("lazy", "{} bytes of memory could not be restored", lost_);
  else
    log::info("lazy", "all memory is there");
  log::flush();
}

}  // namespace mcr::engine

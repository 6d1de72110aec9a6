#include "core/engine/read_ahead.h"

#include <algorithm>

#include "core/base/aside.h"
#include "core/base/error.h"
#include "core/engine/early_mappings.h"
#include "core/sys/file.h"

namespace mcr::engine {
namespace {

constexpr size_t kAhead = 8, kFewThreads = 16;

}  // namespace

// A piece is parsed while the next one is read: of very many mappings both take their time.
std::vector<procfs::Mapping> read_smaps(HostPid pid) {
  procfs::SmapsParser parser;
  std::string before;
  std::future<void> parsing;
  constexpr size_t kMuch = 128 * 1024;
  sys::read_pieces(fmt::format("/proc/{}/smaps", pid), [&](std::string_view piece) {
    if (parsing.valid()) parsing.get();
    if (piece.size() < kMuch) return parser.take(piece);
    before.assign(piece);
    parsing = begin_aside([&parser, &before] { parser.take(before); });
  });
  if (parsing.valid()) parsing.get();
  return parser.finish();
}

ProcessTexts read_process_texts(const trace::FrozenProcess& process, bool has_own_memory, const EarlyMappings* early) {
  ProcessTexts texts;
  const HostPid view = process.view();
  texts.status = sys::read_text(fmt::format("/proc/{}/status", view));
  texts.leader_status =
      view == process.pid ? texts.status : sys::read_text(fmt::format("/proc/{}/status", process.pid));
  texts.stat = sys::read_text(fmt::format("/proc/{}/stat", view));
  if (process.threads.size() <= kFewThreads) {
    std::vector<HostTid> tids;
    for (const auto& thread : process.threads) tids.push_back(thread->tid());
    texts.threads = begin_thread_files(view, std::move(tids)).get();
  }
  if (!has_own_memory) return texts;
  auto mappings = early ? early->confirm(view, procfs::parse_status(texts.status)) : std::nullopt;
  if (mappings)
    texts.mappings = std::move(*mappings), texts.has_early_mappings = true;
  else
    texts.mappings = read_smaps(view);
  return texts;
}

ReadAhead::ReadAhead(const trace::FrozenTree& tree, const SharedTables& tables, const EarlyMappings& early) {
  for (const auto& process : tree.processes()) {
    if (process->zombie) continue;
    const bool is_alone = tables.sharers(tree::Shared::memory, process->view()).empty();
    work_.push_back(
        {process.get(), tables.has_own(tree::Shared::memory, process->view()), is_alone ? &early : nullptr});
  }
  thread_ = begin_aside([this] {
    try {
      run();
    } catch (const std::exception&) {  // no memory even to say so
      const std::lock_guard lock(lock_);
      is_given_up_ = true;
    }
    changed_.notify_all();
  });
  if (!has_thread(thread_)) is_given_up_ = true;
}

ReadAhead::~ReadAhead() {
  {
    const std::lock_guard lock(lock_);
    is_over_ = true;
  }
  changed_.notify_all();
}

void ReadAhead::run() {
  for (size_t i = 0; i < work_.size(); ++i) {
    {
      std::unique_lock lock(lock_);
      changed_.wait(lock, [&] { return is_over_ || i < taken_ + kAhead; });
      if (is_over_) return;
    }
    std::optional<ProcessTexts> texts;
    try {
      texts = read_process_texts(*work_[i].process, work_[i].has_own_memory, work_[i].early);
    } catch (const std::exception&) {  // the one who wants it reads it again, and says where that was
    }
    {
      const std::lock_guard lock(lock_);
      ready_[work_[i].process] = std::move(texts);
    }
    changed_.notify_all();
  }
}

ProcessTexts ReadAhead::take(const trace::FrozenProcess& process) {
  const auto work = std::ranges::find_if(work_, [&](const Work& w) { return w.process == &process; });
  if (work == work_.end()) throw Error(Fault::internal, "a process is read that was not there");
  std::unique_lock lock(lock_);
  changed_.wait(lock, [&] { return is_given_up_ || ready_.contains(&process); });
  std::optional<ProcessTexts> texts;
  if (const auto found = ready_.find(&process); found != ready_.end()) {
    texts = std::move(found->second);
    ready_.erase(found);
  }
  ++taken_;
  lock.unlock();
  changed_.notify_all();
  return texts ? std::move(*texts) : read_process_texts(process, work->has_own_memory, work->early);
}

}  // namespace mcr::engine

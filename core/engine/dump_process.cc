#include "core/engine/dump_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <charconv>

#include "core/arch/xstate.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/aio_requests.h"
#include "core/engine/confinement.h"
#include "core/engine/look.h"
#include "core/engine/memory_charge.h"
#include "core/engine/rings.h"
#include "core/engine/seccomp_state.h"
#include "core/engine/stored_pages.h"
#include "core/engine/thread_files.h"
#include "core/engine/timer_clocks.h"
#include "core/facets/extended_state.h"
#include "core/facets/facet.h"
#include "core/kinds/memfd.h"
#include "core/mem/address_space.h"
#include "core/mem/aio_ring.h"
#include "core/mem/ask_program.h"
#include "core/mem/inheritance.h"
#include "core/mem/page_writer.h"
#include "core/mem/shared_by_mapping.h"
#include "core/mem/sysv_segment.h"
#include "core/mem/vdso.h"
#include "core/mem/write_tracking.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/tree/inherited_check.h"
#include "images/proto/io_uring.pb.h"

namespace mcr::engine {
namespace {

using sys::Clock;

uint64_t since_us(Clock::time_point start) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
}

class ProcessDumper {
 public:
  ProcessDumper(trace::FrozenProcess& process, const SettledProcess& settled, DumpContext& context)
      : process_(process),
        settled_(settled),
        context_(context),
        pid_(process.view()),
        texts_(context.read_ahead.take(process)),
        leader_status_(procfs::parse_status(texts_.leader_status)),
        status_(procfs::parse_status(texts_.status)),
        stat_(procfs::parse_stat(texts_.stat)),
        mappings_(std::move(texts_.mappings)) {}

  tree::ProcessImage run(bool& has_pages_left) {
    if (context_.options.memory_only) return run_for_memory();
    const auto start = Clock::now();
    std::vector<HostTid> tids;
    for (const auto& thread : process_.threads) tids.push_back(thread->tid());
    std::future<std::vector<ThreadFiles>> thread_files;
    if (!texts_.threads) thread_files = begin_thread_files(pid_, std::move(tids));
    collect_core();
    collect_sharing();
    if (image_.has_own(tree::Shared::memory)) {
      collect_memory();
    } else {
      context_.sharers.note(pid_, {});
      mappings_ = procfs::parse_maps(sys::read_text(fmt::format("/proc/{}/maps", pid_)));
    }
    log::debug("dump", "{} mappings collected after {} us", mappings_.size(), since_us(start));
    collect_files();  // before the parasite has descriptors of its own
    log::debug("dump", "{} descriptors collected after {} us", image_.descriptors.size(), since_us(start));
    {
      const procfs::Status host_status = status_of_host();
      inject::ParasiteSession parasite(process_, host(), mappings_, context_.damage,
                                       users_of_memory(context_.tables, context_.tree, process_),
                                       settled_.filters[settled_.host_index].empty() ? &host_status : nullptr);
      guard(parasite);
      ask(parasite, host_status);
      log::debug("dump", "infected and asked after {} us", since_us(start));
      thread_files_ = texts_.threads ? std::move(*texts_.threads) : thread_files.get();
      for (const ThreadFiles& thread : thread_files_) refuse_thread(pid_, thread);
      if (image_.has_own(tree::Shared::memory)) mem::find_future_locks(parasite, status_.locked_kb, image_.map);
      collect_threads(parasite);
      name_timer_clocks(parasite, process_, thread_files_, settled_.host_index, image_);
      log::debug("dump", "{} threads collected after {} us", image_.threads.size(), since_us(start));
      context_.statistics.set_state_us(context_.statistics.state_us() + since_us(start));
      const auto memory_start = Clock::now();
      has_pages_left = image_.has_own(tree::Shared::memory) && has_few_pages();
      if (image_.has_own(tree::Shared::memory)) prepare_memory(parasite, has_pages_left);
      context_.statistics.set_memory_us(context_.statistics.memory_us() + since_us(memory_start));
      parasite.cure();
    }
    count();
    return std::move(image_);
  }

 private:
  // Ahead of a dump: the private memory and what is needed to find it again.
  tree::ProcessImage run_for_memory() {
    const auto start = Clock::now();
    collect_core();
    image_.core.set_thread_count(0);
    collect_sharing();
    if (!image_.has_own(tree::Shared::memory)) return std::move(image_);
    memory_ = context_.tracking.look_at(process_, image_.core.pid(), mappings_);
    space_ = mem::collect_address_space(
        mappings_, [](const procfs::Mapping&, bool) { return 0u; }, context_.shared);
    space_.shared.clear();
    {
      inject::ParasiteSession parasite(process_, host(), mappings_, context_.damage,
                                       users_of_memory(context_.tables, context_.tree, process_));
      guard(parasite);
      prepare_memory(parasite, false);
      parasite.cure();
    }
    context_.statistics.set_memory_us(context_.statistics.memory_us() + since_us(start));
    count();
    return std::move(image_);
  }

  void guard(inject::ParasiteSession& parasite) {
    parasite.channel().set_guard([this](const char* name, const parasite::Call& call) {
      refuse_harmful_call(host().tid(), settled_.filters[settled_.host_index], name, call.number,
                          std::to_array(call.args));
    });
  }

  procfs::Status status_of_host() {
    if (host().tid().get() == pid_.get()) return status_;
    return procfs::parse_status(sys::read_text(fmt::format("/proc/{}/task/{}/status", pid_, host().tid())));
  }

  trace::Tracee& host() { return *process_.threads[settled_.host_index]; }

  void collect_core() {
    refuse_tagged_addresses(texts_.status);
    auto& core = image_.core;
    core.set_pid(leader_status_.ns_pid.back());
    core.set_ppid(number_of_parent());
    core.set_pgid(leader_status_.ns_pgid.empty() ? stat_.pgrp : leader_status_.ns_pgid.back());
    core.set_sid(leader_status_.ns_sid.empty() ? stat_.session : leader_status_.ns_sid.back());
    core.set_exit_signal(stat_.exit_signal);
    core.set_command(leader_status_.name);
    core.set_stopped(process_.stopped_by_job_control());
    core.set_stop_signal(process_.stop_signal());
    // Of a stopped process the field holds what a waiting parent would be told (5.16).
    core.set_stop_collected(process_.stopped_by_job_control() && stat_.exit_code == 0);
    core.set_thread_count(static_cast<uint32_t>(process_.threads.size() + (process_.leader_ended() ? 1 : 0)));
    if (const auto text = sys::try_read_text(fmt::format("/proc/{}/personality", pid_)))
      core.set_personality(static_cast<uint32_t>(std::stoul(*text, nullptr, 16)));
  }

  pid_t number_of_parent() {
    auto [entry, is_new] = context_.numbers.try_emplace(stat_.ppid, 0);
    if (is_new) entry->second = trace::number_inside(HostTid(stat_.ppid));
    return entry->second;
  }

  // What it shares is collected with the first process that has it.
  void collect_sharing() {
    for (const tree::Shared what : tree::kShared)
      if (const auto first = context_.tables.first(what, pid_)) {
        const auto status = procfs::parse_status(sys::read_text(fmt::format("/proc/{}/status", *first)));
        image_.shared_with[static_cast<size_t>(what)] =
            status.ns_tgid.empty() ? status.tgid : static_cast<int32_t>(status.ns_tgid.back());
      }
  }

  void collect_memory() {
    collect_mappings();
    collect_aio_contexts();
  }

  void collect_mappings() {
    const Step step("memory");
    memory_ = context_.tracking.look_at(process_, image_.core.pid(), mappings_);
    context_.sharers.note(pid_, mappings_);
    const auto enter = [&](const procfs::Mapping& m, bool writable) { return enter_mapped(m, writable); };
    space_ = mem::collect_address_space(mappings_, enter, context_.shared);
    auto& map = image_.map;
    map.set_start_code(stat_.start_code), map.set_end_code(stat_.end_code);
    map.set_start_data(stat_.start_data), map.set_end_data(stat_.end_data);
    map.set_start_brk(stat_.start_brk), map.set_start_stack(stat_.start_stack);
    map.set_arg_start(stat_.arg_start), map.set_arg_end(stat_.arg_end);
    map.set_env_start(stat_.env_start), map.set_env_end(stat_.env_end);
    map.set_auxv(sys::read_text(fmt::format("/proc/{}/auxv", pid_)));
    map.set_vdso_address(space_.vdso_address), map.set_vvar_address(space_.vvar_address);
    map.set_exe_file(context_.files.enter_path(pid_, fmt::format("/proc/{}/exe", pid_), O_RDONLY, context_.writer));
    if (space_.vdso_address != 0 && !context_.inventory.has_vdso()) {
      std::vector<std::byte> bytes(space_.vdso_size);
      trace::RemoteMemory(pid_).read(RemoteAddr(space_.vdso_address), bytes);
      *context_.inventory.mutable_vdso() = mem::record_vdso(bytes, space_.vdso_address);
    }
  }

  void collect_aio_contexts() {
    sys::Deadline deadline;
    if (context_.options.timeout.count() > 0) deadline = Clock::now() + context_.options.timeout;
    await_requests(pid_, space_.vmas, deadline);
    await_rings(pid_, process_.descriptors_pidfd(), context_.files, deadline);
    const trace::RemoteMemory memory(pid_);
    for (const image::Vma& vma : space_.vmas)
      if (mem::is_aio_ring(vma)) image_.aio.push_back(mem::collect_aio_context(memory, vma));
  }

  uint32_t enter_mapped(const procfs::Mapping& m, bool writable) {
    if (mem::is_ring(m)) return 0;  // known when the descriptors are
    const auto door = [&] { return fmt::format("/proc/{}/map_files/{:x}-{:x}", pid_, m.start, m.end); };
    if (mem::is_sysv_segment(m)) {
      context_.files.enter_segment(pid_, static_cast<int>(m.inode), door(), context_.writer);
      return 0;
    }
    // "sh": the file was open for writing. The mapping cannot become writable all the same when a seal forbids it.
    if (m.shared && !writable && m.has_flag("sh") && m.path.starts_with("/memfd:"))
      writable = kinds::has_write_seal(sys::open(door(), O_RDONLY).get());
    return context_.files.enter_mapping(pid_, m, writable ? O_RDWR : O_RDONLY, context_.writer);
  }

  // Everything in one batch, as each has its price: the way there and back.
  void ask(inject::ParasiteSession& parasite, const procfs::Status& host_status) {
    const Step step("state");
    const facets::ProcessView view{pid_, host(), status_};
    const bool has_memory = image_.has_own(tree::Shared::memory);
    auto all = facets::process_facets();
    inject::Batch batch = parasite.channel().batch();
    const ConfinementQuestions confinement(batch, pid_, host_status, context_.bystanders);
    const size_t brk = batch.add("brk", SYS_brk, {0});
    const size_t slack = batch.add("prctl(PR_GET_TIMERSLACK)", SYS_prctl, {PR_GET_TIMERSLACK, 0, 0, 0, 0});
    const RemoteAddr descriptor = batch.reserve(8), adopts = batch.reserve(8);
    batch.add("prctl(PR_GET_CHILD_SUBREAPER)", SYS_prctl, {PR_GET_CHILD_SUBREAPER, adopts.get(), 0, 0, 0});
    const size_t table = batch.try_add("modify_ldt(0)", SYS_modify_ldt, {0, descriptor.get(), 8});
    for (auto& facet : all) facet->ask(batch, view);
    const inject::HostQuestions host_questions(batch);
    std::optional<mem::MemoryQuestions> memory;
    if (has_memory) memory.emplace(batch, space_.vmas);
    parasite.channel().run(batch);
    confinement.refuse(batch, parasite);
    host_probe_ = host_questions.answers(batch);
    if (has_memory) mem::require_own_contexts(parasite.channel(), image_.aio);
    refuse_registered_rings(parasite.channel(), pid_, context_.files);
    if (batch.result(table) > 0)
      throw Error(Fault::refused, "it has segments of its own in a local descriptor table (modify_ldt)",
                  "such a table cannot be saved yet");
    if (has_memory) image_.map.set_brk(static_cast<uint64_t>(batch.result(brk)));
    timer_slack_ns_ = static_cast<uint64_t>(batch.result(slack));
    if (batch.get<int32_t>(adopts) != 0 || image_.core.pid() == 1) context_.copies.note_adopter(process_.pid);
    if (memory) memory->finish(batch, parasite.channel(), image_.map);
    // Pending signals and extended registers are read through ptrace, for which the host has to stand still. It waits
    // inside the parasite, which touches no more of it than its general registers.
    host().stop_again(sys::Clock::now() + std::chrono::seconds(10));
    for (auto& facet : all) facet->collect(batch, view, *image_.core.add_facets());
  }

  // A leader that has ended stays a zombie as long as other threads live; its number, name and rights are still seen.
  void record_ended_leader() {
    image::ThreadCore core;
    core.set_tid(leader_status_.ns_pid.back());
    core.set_name(leader_status_.name);
    // The thread's own file: that of a stopped process shows the stop signal in this place (do_task_stat in
    // fs/proc/array.c).
    const auto stat = procfs::parse_stat(sys::read_text(fmt::format("/proc/{0}/task/{0}/stat", process_.pid)));
    core.mutable_ended()->set_exit_code(static_cast<uint32_t>(stat.exit_code >> 8 & 0xff));
    facets::dump_ended_thread(HostTid(process_.pid.get()), leader_status_, *core.mutable_facets());
    image_.threads.push_back(std::move(core));
  }

  // While one thread wakes up to answer, the one before is written down.
  void collect_threads(inject::ParasiteSession& parasite) {
    if (process_.leader_ended()) record_ended_leader();
    std::optional<size_t> asked;
    inject::ThreadProbe last;
    for (size_t i = 0; i < process_.threads.size(); ++i) {
      trace::Tracee& thread = *process_.threads[i];
      const Step step("thread {}", thread.tid());
      if (i != settled_.host_index) parasite.begin_probe(thread, thread_files_.at(i).status);
      if (asked) record_thread(*asked, last);
      asked.reset();
      if (i == settled_.host_index)
        record_thread(i, host_probe_);
      else
        last = parasite.end_probe(thread), asked = i;
    }
    if (asked) record_thread(*asked, last);
  }

  void record_thread(size_t index, const inject::ThreadProbe& probe) {
    trace::Tracee& thread = *process_.threads[index];
    const ThreadFiles& files = thread_files_.at(index);
    image::ThreadCore core;
    core.set_tid(files.status.ns_pid.back());
    core.set_name(files.status.name);
    core.set_registers(&thread.frame(), sizeof(sys::Registers));
    *core.mutable_extended() = facets::extended_message(arch::save_xstate(thread.tid()));
    record_filters(index, core);
    if (const auto& sleep = settled_.sleeping[index]) {
      core.mutable_restart()->set_present(true);
      core.mutable_restart()->set_number(sleep->number);
      core.mutable_restart()->set_remaining_ns(sleep->remaining_ns);
    }
    const facets::ThreadView view{pid_,           thread, files.status, probe, slack_of(index), settled_.rseq[index],
                                  plain_mapping()};
    for (const auto& facet : thread_facets_) {
      google::protobuf::Any message;
      facet->dump(view, message);
      if (!message.type_url().empty()) *core.add_facets() = std::move(message);
    }
    image_.threads.push_back(std::move(core));
  }

  uint64_t plain_mapping() const {
    if (const auto first = context_.tables.first(tree::Shared::memory, pid_)) return context_.plain_mappings.at(*first);
    for (const image::Vma& vma : space_.vmas)
      if (!vma.has_policy() && vma.kind() != image::Vma::VSYSCALL) return vma.start();
    return 0;
  }

  // Each chain once.
  void record_filters(size_t index, image::ThreadCore& core) const {
    const trace::SeccompChain& chain = settled_.filters[index];
    if (chain.empty()) return;
    const auto first = std::ranges::find_if(
        settled_.filters, [&](const trace::SeccompChain& other) { return trace::is_same(chain, other); });
    const auto number = static_cast<size_t>(first - settled_.filters.begin());
    core.mutable_seccomp()->set_chain(static_cast<uint32_t>(number + 1));
    if (number == index) *core.mutable_seccomp()->mutable_filters() = filters_message(chain);
  }

  // Another's may be read with CAP_SYS_NICE only, where the kernel does not show it to be 0. A thread that nobody has
  // given one of its own has that of its maker.
  uint64_t slack_of(size_t index) const {
    const uint64_t seen = thread_files_.at(index).timer_slack_ns;
    return seen != 0 ? seen : timer_slack_ns_;
  }

  void collect_files() {
    if (image_.has_own(tree::Shared::files))
      image_.descriptors = context_.files.enter_descriptors(pid_, process_.descriptors_pidfd(), context_.writer);
    if (!image_.has_own(tree::Shared::directories)) return;
    image_.fs.set_cwd_file(
        context_.files.enter_path(pid_, fmt::format("/proc/{}/cwd", pid_), O_RDONLY | O_DIRECTORY, context_.writer));
    image_.fs.set_root_file(
        context_.files.enter_path(pid_, fmt::format("/proc/{}/root", pid_), O_RDONLY | O_DIRECTORY, context_.writer));
    image_.fs.set_umask(status_.umask);
    name_rings();
  }

  void name_rings() {
    size_t at = 0;
    for (image::Vma& vma : space_.vmas) {
      while (mappings_[at].start != vma.start()) ++at;
      if (!mem::is_ring(mappings_[at])) continue;
      vma.set_file(ring_of(context_.files, mappings_[at].inode));
      if (vma.file() == 0) throw_lost_ring(mappings_[at]);
    }
  }

  // A program with a file size limit would be sent SIGXFSZ for what its parasite writes; one of another memory cgroup
  // may be killed for it. Then we write ourselves.
  bool may_write_itself(int pages_fd) const {
    for (const auto& limit : procfs::parse_limits(sys::read_text(fmt::format("/proc/{}/limits", pid_))))
      if (limit.resource == RLIMIT_FSIZE) return limit.soft == RLIM_INFINITY && may_be_charged(pid_, pages_fd);
    return false;
  }

  // By the counts of its status, which are about right: what costs the program a round trip is copied sooner by us. Not
  // of memory into which a parasite is put again.
  bool has_few_pages() const {
    if (!memory_.watched.empty() || context_.options.track_memory || !context_.options.previous_images.empty())
      return false;
    if (context_.options.live || context_.other_files.streams || context_.writer.is_stream()) return false;
    if (!context_.tables.sharers(tree::Shared::memory, pid_).empty()) return false;
    constexpr uint64_t kFewKb = 4096;
    return space_.shared.empty() && status_.anonymous_kb && status_.swapped_kb &&
           *status_.anonymous_kb + *status_.swapped_kb <= kFewKb;
  }

  void prepare_memory(inject::ParasiteSession& parasite, bool later) {
    image_.map.set_pages_file(fmt::format("pages-{}.img", image_.core.pid()));
    context_.plain_mappings[pid_] = plain_mapping();
    if (!later) {
      context_.late.finish();  // its parent, who may lend it pages
      store_memory(parasite);
    }
    image_.vmas = std::move(space_.vmas);
    image_.map.set_vma_count(image_.vmas.size());
  }

  void store_memory(inject::ParasiteSession& parasite) {
    const Step step("store memory");
    UniqueFd pages = context_.writer.pages(image_.map.pages_file());
    const trace::RemoteMemory memory(pid_);
    auto copy = context_.options.live ? copy_memory(parasite) : nullptr;
    mem::PageWriter writer(parasite.channel(), memory, pages.get(), images::kPageFileHeader,
                           may_write_itself(pages.get()), context_.other_files);
    writer.on_stored([&](uint64_t end) { context_.writer.stored(image_.map.pages_file(), pages.get(), end); });
    const sys::Pagemap pagemap(pid_);
    const auto is_not_copied = [](const image::Vma& vma) { return !mem::is_copied_on_write(vma); };
    mem::ChangedPages pages_of_its_own;
    if (copy) {
      pages_of_its_own.changed = mem::select_pages(pagemap, space_.vmas, is_not_copied);
    } else {
      const auto pinned = pinned_memory(context_.files);
      pages_of_its_own = mem::select_changed(pagemap, space_.vmas, memory_.watched, memory_.known, pinned);
      take_inherited_of(pages_of_its_own, pagemap);
      context_.tracking.watch(process_, image_.core.pid(), std::move(memory_), parasite, pagemap, space_.vmas,
                              contents_of(pages_of_its_own), pinned);
    }
    for (const mem::PageSource& source : pages_of_its_own.changed) context_.writer.expect(source.bytes);
    if (!pages_of_its_own.unchanged.empty()) context_.tracking.note_parent();
    auto held = copy ? std::nullopt : context_.held.hold(memory, pages_of_its_own.changed);
    if (held) {
      note_contents(pages_of_its_own);
    } else {
      image_.runs = writer.write(pages_of_its_own.changed);
      append_unchanged(image_, pages_of_its_own.unchanged);
      std::ranges::sort(image_.runs, {}, &image::PageRun::start);
    }
    for (const auto& object : space_.shared) store_shared(object, parasite.channel(), memory, writer);
    count_pages(context_.statistics, pagemap, writer);
    if (copy)
      context_.copies.add(context_.before.size(), {std::move(copy), std::move(pages), writer.offset(),
                                                   texts_.has_early_mappings, starts_of_copied(space_.vmas)});
    else if (held)
      context_.held.add(context_.before.size(),
                        {std::move(*held), std::move(pages_of_its_own.unchanged), std::move(pages), writer.offset()});
    else
      finish_pages(context_.writer, pages.get(), writer, image_);
  }

  static std::set<uint64_t> starts_of_copied(const std::vector<image::Vma>& vmas) {
    std::set<uint64_t> starts;
    for (const image::Vma& vma : vmas)
      if (mem::is_copied_on_write(vma)) starts.insert(vma.start());
    return starts;
  }

  // nullptr: the memory is to be stored now.
  std::unique_ptr<inject::MemoryCopy> copy_memory(inject::ParasiteSession& parasite) {
    std::string why;
    std::unique_ptr<inject::MemoryCopy> copy;
    if (!allow_copy(settled_.filters[settled_.host_index]))
      why = "its seccomp filters do not allow it";
    else if (context_.copies.would_be_adopted(context_.tree, process_.pid))
      why = "it would become a child of a process of the tree, which takes in orphans";
    else
      copy = inject::MemoryCopy::make(parasite, host(), why);
    if (copy)
      context_.sharers.note(copy->pid(), mappings_);  // it has the same attachments
    else
      log::warning("dump", "There can be no copy of its memory ({}): process {} stands still until all is stored", why,
                   pid_);
    return copy;
  }

  // They stay with the parent process, which stands still and is stored already.
  void take_inherited_of(mem::ChangedPages& pages, const sys::Pagemap& pagemap) {
    const Lender lender = find_lender(process_, image_, context_);
    if (!lender.image) return;
    std::vector<image::InheritedPages> all;
    for (auto* sources : {&pages.changed, &pages.unchanged}) {
      take_inherited(lender, image_, space_.vmas, *sources, pagemap);
      all.insert(all.end(), image_.inherited.begin(), image_.inherited.end());
    }
    std::ranges::sort(all, {}, &image::InheritedPages::start);
    image_.inherited = std::move(all);
  }

  std::vector<sys::PageRange> contents_of(const mem::ChangedPages& pages) const {
    std::vector<sys::PageRange> contents;
    for (const auto* sources : {&pages.changed, &pages.unchanged})
      for (const mem::PageSource& source : *sources) contents.push_back({source.start, source.start + source.bytes});
    for (const auto& inherited : image_.inherited)
      contents.push_back({inherited.start(), inherited.start() + inherited.bytes()});
    return contents;
  }

  // Its children ask for them; until they are stored.
  void note_contents(const mem::ChangedPages& pages) {
    if (context_.tree.processes().size() == 1) return;
    for (const auto* sources : {&pages.changed, &pages.unchanged})
      for (const mem::PageSource& source : *sources) {
        image::PageRun& run = image_.runs.emplace_back();
        run.set_start(source.start);
        run.set_bytes(source.bytes);
      }
  }

  void store_shared(const mem::SharedObject& object, inject::Channel& channel, const trace::RemoteMemory& memory,
                    mem::PageWriter& writer) {
    const Step step("shared memory at {:#x}", object.map_start);
    const std::string door = fmt::format("/proc/{}/map_files/{:x}-{:x}", pid_, object.map_start, object.map_end);
    image::SharedMemory message;
    message.set_id(object.id);
    message.set_huge_page_shift(object.huge_page_shift);
    std::vector<image::PageRun> runs;
    int code = 0;
    if (const auto file = sys::probe_open(door, O_RDONLY, code)) {
      message.set_size((static_cast<uint64_t>(sys::stat_fd(file->get()).st_size) + 4095) / 4096 * 4096);
      context_.writer.expect(static_cast<uint64_t>(sys::stat_fd(file->get()).st_blocks) * 512);
      runs = writer.write_file(file->get(), object.id, message.size());
    } else {
      log::info("dump", "{} cannot be opened: read through the program's mappings", door);
      runs = mem::store_by_mappings(object, space_.vmas, channel, memory, writer, message);
    }
    for (auto& run : runs) image_.runs.push_back(std::move(run));
    image_.shared.push_back(std::move(message));
  }

  void count() {
    auto& s = context_.statistics;
    s.set_processes(s.processes() + 1);
    s.set_threads(s.threads() + static_cast<uint32_t>(image_.threads.size()));
    s.set_descriptors(s.descriptors() + static_cast<uint32_t>(image_.descriptors.size()));
    s.set_mappings(s.mappings() + static_cast<uint32_t>(image_.vmas.size()));
  }

  trace::FrozenProcess& process_;
  const SettledProcess& settled_;
  DumpContext& context_;
  HostPid pid_;  // of the leader, or of another thread when it has ended: all of /proc is read through it
  ProcessTexts texts_;
  procfs::Status leader_status_, status_;
  procfs::Stat stat_;
  std::vector<procfs::Mapping> mappings_;
  mem::AddressSpace space_;
  MemoryTracking::Memory memory_;
  uint64_t timer_slack_ns_ = 0;  // of the host
  inject::ThreadProbe host_probe_;
  const std::vector<std::unique_ptr<facets::ThreadFacet>> thread_facets_ = facets::thread_facets();
  std::vector<ThreadFiles> thread_files_;  // by thread
  tree::ProcessImage image_;
};

}  // namespace

tree::ProcessImage dump_zombie(HostPid pid) {
  const Step step("zombie {}", pid);
  const auto stat = procfs::parse_stat(sys::read_text(fmt::format("/proc/{}/stat", pid)));
  tree::ProcessImage image;
  auto& core = image.core;
  const auto numbers = member_of(pid);
  if (!numbers) throw Error(Fault::system, "it is gone");
  core.set_pid(numbers->pid), core.set_ppid(numbers->parent);
  core.set_pgid(numbers->group), core.set_sid(numbers->session);
  core.set_command(stat.comm);
  core.set_zombie(true);
  core.set_exit_status(stat.exit_code);
  core.set_exit_signal(stat.exit_signal);
  return image;
}

tree::ProcessImage dump_process(trace::FrozenProcess& process, const SettledProcess& settled, DumpContext& context,
                                bool& has_pages_left) {
  const Step step("process {}", process.pid);
  return ProcessDumper(process, settled, context).run(has_pages_left);
}

// Statistics are the other thread's until all is finished.
}  // namespace mcr::engine

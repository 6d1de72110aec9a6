#include "core/engine/restore_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include <algorithm>
#include <set>

#include "core/arch/cave.h"
#include "core/arch/xstate.h"
#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/count_timers.h"
#include "core/engine/install_seccomp.h"
#include "core/engine/late_files.h"
#include "core/engine/rings.h"
#include "core/engine/spawn_threads.h"
#include "core/facets/extended_state.h"
#include "core/facets/facet.h"
#include "core/facets/timer_calls.h"
#include "core/kinds/io_uring.h"
#include "core/mem/address_space.h"
#include "core/mem/aio_ring.h"
#include "core/mem/kernel_words.h"
#include "core/mem/late_pages.h"
#include "core/mem/one_processor.h"
#include "core/mem/page_reader.h"
#include "core/mem/vdso.h"
#include "core/sys/features.h"
#include "core/sys/file.h"
#include "images/proto/facets.pb.h"

namespace mcr::engine {
namespace {

using sys::Clock;

uint64_t since_us(Clock::time_point start) {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count());
}

facets::TimerSignals timers_of(const tree::ProcessImage& process, bool real) {
  std::map<pid_t, const facets::Facets*> threads;
  for (const auto& thread : process.threads) threads.emplace(thread.tid(), &thread.facets());
  return facets::timer_signals_of(process.core.facets(), threads, real);
}

class ProcessRestorer : public RestoringProcess {
 public:
  ProcessRestorer(const tree::ProcessImage& image, inject::NewProcess& process, RestoreContext& context)
      : image_(image),
        process_(process),
        context_(context),
        own_(context.own),
        filters_(image),
        late_files_(image, process, context.files, context.processes, sockets_of_sharers()) {}

  bool stands_alone() const override {
    const auto own = {tree::Shared::memory, tree::Shared::handlers, tree::Shared::files, tree::Shared::directories};
    if (!std::ranges::all_of(own, [&](tree::Shared what) { return image_.has_own(what); }) || is_shared_by_others())
      return false;
    if (!image_.shared.empty() || !image_.borrowed.empty() || !image_.aio.empty()) return false;
    const auto is_apart = [&](const image::Vma& vma) {
      return vma.kind() != image::Vma::SYSV_SEGMENT && (vma.file() == 0 || !is_ring(vma.file()));
    };
    return std::ranges::all_of(image_.vmas, is_apart) &&
           std::ranges::all_of(image_.descriptors, [&](const image::Descriptor& d) {
             return d.locks().empty() && context_.files.object(d.file()).locks().empty() &&
                    !context_.files.late(d.file()) && !is_ring(d.file());
           });
  }

  void open_files() override {
    const Step step("process {}", image_.core.pid());
    context_.vdsos[image_.core.pid()] = 0;
    std::vector<uint32_t> ids{image_.map.exe_file(), image_.fs.cwd_file(), image_.fs.root_file()};
    for (const auto& vma : image_.vmas)
      if (vma.file() != 0) ids.push_back(vma.file());
    for (const auto& d : image_.descriptors) ids.push_back(d.file());
    context_.files.open_all(ids);
  }

  void fill() override {
    const Step step("process {}", image_.core.pid());
    auto start = Clock::now();
    prepare();
    const std::set<int> before = image_.has_own(tree::Shared::files) ? std::set<int>() : open_numbers();
    if (image_.has_own(tree::Shared::memory))
      rebuild_memory();
    else
      live_vdso_ = context_.vdsos.at(image_.shared_with[0]);
    finish_filling(before);
    spent_.memory_us += since_us(start);
    start = Clock::now();
    place_descriptors();
    spent_.threads_us += since_us(start);
  }

  void create_threads() override {
    const Step step("process {}", image_.core.pid()), state_step("threads");
    queue_threads();
  }

  void restore_state() override {
    const Step step("process {}", image_.core.pid()), state_step("state");
    queue_state();
  }

  void watch(const std::vector<kinds::OpenedFiles::Watch>& watches) override {
    const Step step("process {}", image_.core.pid()), epoll_step("epoll");
    inject::Batch batch = channel().small_batch();
    for (const auto& watch : watches) {
      if (!batch.has_room_for(256)) {
        channel().run(batch);
        batch.clear();
      }
      epoll_event event{};
      event.events = watch.events;
      event.data.u64 = watch.data;
      batch.add("epoll_ctl(EPOLL_CTL_ADD)", SYS_epoll_ctl,
                {static_cast<uint64_t>(watch.epoll), EPOLL_CTL_ADD, static_cast<uint64_t>(watch.fd),
                 batch.put_value(event).get()});
    }
    channel().run(batch);
  }

  void finish(bool stopped) override {
    const Step step("process {}", image_.core.pid());
    finish_threads(stopped);
  }

  Spent spent() const override { return spent_; }

 private:
  inject::Channel& channel() { return process_.channel(); }

  // What must hold while it is being rebuilt, or can only be set before.
  void prepare() {
    inject::Batch batch = channel().batch();
    batch.add("personality", SYS_personality, {0});  // READ_IMPLIES_EXEC would change every mapping that is made
    constexpr uint64_t kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM, 5.16; of the process
    for (const unsigned component : arch::components_by_permission(register_permission()))
      batch.add("arch_prctl(ARCH_REQ_XCOMP_PERM)", SYS_arch_prctl, {kRequestPermission, component});
    channel().run(batch);
    restore_login_uid();
  }

  // Images of early versions do not tell it: then it is seen by what is in use.
  uint64_t register_permission() const {
    uint64_t permitted = 0;
    for (const auto& facet : image_.core.facets()) {
      image::ProcessControl control;
      if (facet.UnpackTo(&control)) permitted |= control.register_permission();
    }
    for (const auto& thread : image_.threads)
      if (!thread.has_ended() && arch::uses_tiles(facets::extended_state(thread, context_.reader.inventory().cpu())))
        permitted |= uint64_t{1} << arch::kTileData;
    return permitted;
  }

  // A process may set its own only (kernel/auditsc.c), by a file that may be out of its sight later. Its threads
  // inherit.
  void restore_login_uid() {
    for (const auto& facet : image_.core.facets()) {
      image::ProcessControl control;
      if (!facet.UnpackTo(&control) || !control.has_login_uid()) continue;
      const std::string path = fmt::format("/proc/{}/loginuid", process_.pid()),
                        wanted = fmt::to_string(control.login_uid());
      if (sys::try_read_text(path).value_or(wanted) == wanted) continue;
      int code = 0;
      const auto file = sys::probe_open(path, O_WRONLY, code);
      size_t written = 0;
      inject::Batch batch = channel().batch();
      if (file) {
        const int fd = file->get();
        const auto remote = static_cast<uint64_t>(channel().send(std::span(&fd, 1)).front());
        written = batch.try_add("write", SYS_write, {remote, batch.put_string(wanted).get(), wanted.size()});
        batch.add("close", SYS_close, {remote});
        channel().run(batch);
      }
      if (!file || batch.result(written) < 0)
        log::warning("engine", "process {}: its login uid was {}; it stays that of restore", image_.core.pid(), wanted);
    }
  }

  // Sends what is only needed to rebuild: mapped files, the executable, pages.
  void rebuild_memory() {
    const int32_t pid = image_.core.pid();
    mem::RestoreMemory memory{image_.map,
                              image_.vmas,
                              image_.runs,
                              image_.inherited,
                              image_.shared,
                              {},
                              {},
                              nullptr,
                              -1,
                              image_.map.pages_file(),
                              {},
                              {},
                              {},
                              {}};
    memory.release = context_.reader.may_release() && !context_.inherited.is_lender_of_any(pid);
    memory.progress = context_.options.progress;
    context_.inherited.describe(pid, memory);
    add_segments(memory);
    add_shared(memory);
    const images::PageFile pages = context_.reader.pages(image_.map.pages_file());
    memory.pages = &pages;
    memory.pid = pid;
    memory.content = &context_.content;
    memory.threads = context_.options.threads;
    std::vector<uint32_t> ids{image_.map.exe_file()};
    for (const auto& vma : image_.vmas)
      if (vma.file() != 0 && !is_ring(vma.file()) && std::find(ids.begin(), ids.end(), vma.file()) == ids.end())
        ids.push_back(vma.file());
    std::vector<int> fds{pages.get()};
    for (const uint32_t id : ids) fds.push_back(context_.files.open(id));
    if (image_.has_own(tree::Shared::directories))
      for (const uint32_t id : {image_.fs.cwd_file(), image_.fs.root_file()}) fds.push_back(context_.files.open(id));
    const std::vector<int> remote = channel().send_all(fds);
    if (image_.has_own(tree::Shared::directories)) directories_ = {remote[ids.size() + 1], remote[ids.size() + 2]};
    memory.remote_pages_fd = remote[0];
    for (size_t i = 0; i < ids.size(); ++i) memory.files[ids[i]] = remote[i + 1];

    place_rings(memory);

    const auto placed = context_.inherited.vdso(pid);
    live_vdso_ = placed ? *placed
                        : mem::place_vdso(process_, context_.inherited.kernel_pages(pid), image_.vmas,
                                          context_.reader.inventory().vdso(), context_.inherited.redirects_vdso(pid));
    mem::map_all(process_, memory);
    context_.vdsos[pid] = live_vdso_;
    map_rings();
    if (context_.inherited.redirects_vdso(pid))
      mem::write_redirections(process_, image_.vmas, context_.reader.inventory().vdso(), live_vdso_);
    mem::make_aio_contexts(process_, image_.vmas, image_.aio);
    if (context_.lazy) memory.late = mem::late_mappings(memory);
    const mem::OneProcessor one(process_, memory);
    spent_.pages += mem::fill(process_, memory, 0, 0) + context_.inherited.copy_rest(pid, process_, memory);
    if (std::ranges::find(memory.late, true) == memory.late.end())
      mem::protect_all(process_, memory);
    else
      finish_lazily(memory);
    executable_ = memory.files.at(image_.map.exe_file());
  }

  void finish_lazily(const mem::RestoreMemory& memory) {
    mem::SmallPagesOnly small(process_);
    const std::set<uint64_t> at_once = mem::pages_of_kernel_words(process_, memory, image_.threads);
    spent_.pages += mem::fill_first_pages(process_, memory, at_once);
    mem::protect_all(process_, memory);
    context_.lazy->add(static_cast<size_t>(&image_ - context_.images.data()), process_, memory, at_once);
    small.end();
  }

  bool is_shared_by_others() const {
    return std::ranges::any_of(context_.images, [&](const tree::ProcessImage& other) {
      return std::ranges::find(other.shared_with, image_.core.pid()) != other.shared_with.end();
    });
  }

  bool is_ring(uint32_t file) const { return kinds::is_ring(context_.files.object(file)); }

  // The first process that has a descriptor of it makes it. An empty file keeps the place of its memory.
  void place_rings(mem::RestoreMemory& memory) {
    std::optional<int> keeper;
    const auto place = [&](uint32_t file) {
      if (!is_ring(file) || rings_.contains(file)) return;
      bool made = false;
      rings_[file] = place_ring(process_, context_.files, file, made);
      if (made) made_rings_.push_back(file);
      if (!keeper) keeper = send_one(sys::make_memfd("place of a ring").get());
      memory.files[file] = *keeper;
    };
    for (const auto& d : image_.descriptors) place(d.file());
    for (const auto& vma : image_.vmas)
      if (vma.file() != 0) place(vma.file());
  }

  void map_rings() {
    std::vector<RingMapping> mappings;
    for (const auto& vma : image_.vmas)
      if (const auto ring = rings_.find(vma.file()); vma.file() != 0 && ring != rings_.end())
        mappings.push_back({vma.start(), vma.end() - vma.start(), vma.prot(), vma.offset(), ring->second});
    engine::map_rings(process_, mappings);
  }

  void register_buffers() {
    for (const uint32_t ring : made_rings_)
      for (const auto& d : image_.descriptors)
        if (d.file() == ring) {
          engine::register_buffers(process_, context_.files.object(ring), d.fd());
          break;
        }
  }

  void add_shared(mem::RestoreMemory& memory) {
    const int32_t pid = image_.core.pid();
    memory.lend_shared = [this, pid](const image::SharedMemory& object, uint64_t start, uint64_t end) {
      context_.lent.lend(pid, object.id(), fmt::format("/proc/{}/map_files/{:x}-{:x}", process_.pid(), start, end));
    };
    for (const auto& [lender, object] : image_.borrowed)
      memory.borrowed.emplace_back(object, context_.lent.borrow(lender, object.id()));
  }

  void add_segments(mem::RestoreMemory& memory) {
    memory.prepare_segment = [this](int32_t id) { return context_.files.segments().prepare(id); };
    memory.segment_bytes = [this](int32_t id) { return context_.files.segments().segment(id).size(); };
    memory.fill_segment = [this](int32_t id, uint64_t base) {
      const trace::RemoteMemory remote(process_.pid());
      context_.files.fill_segment(id, [&](std::span<const std::byte> bytes, uint64_t offset) {
        remote.write(RemoteAddr(base + offset), bytes);
      });
    };
  }

  int send_one(int fd) { return channel().send(std::span(&fd, 1)).front(); }

  // The fields of its memory map, its folders; then what was sent for the rebuilding goes.
  void finish_filling(const std::set<int>& before) {
    if (image_.has_own(tree::Shared::directories) && !directories_) directories_ = send_directories();
    inject::Batch batch = channel().batch();
    if (executable_) mem::add_memory_map(batch, image_.map, *executable_);
    if (directories_) enter_directories(batch);
    close_what_came(batch, before);
    channel().run(batch);
  }

  std::pair<int, int> send_directories() {
    const std::vector<int> fds{context_.files.open(image_.fs.cwd_file()), context_.files.open(image_.fs.root_file())};
    const std::vector<int> remote = channel().send_all(fds);
    return {remote[0], remote[1]};
  }

  void enter_directories(inject::Batch& batch) {
    if (is_changed_root()) {
      batch.add("fchdir", SYS_fchdir, {static_cast<uint64_t>(directories_->second)});
      batch.add("chroot", SYS_chroot, {batch.put_string(".").get()});
    }
    batch.add("fchdir", SYS_fchdir, {static_cast<uint64_t>(directories_->first)});
    batch.add("umask", SYS_umask, {image_.fs.umask()});
  }

  // Everything sent so far was for the rebuilding only. The table may be shared: then what the first process has, and
  // the sockets of all that share it, stay.
  void close_what_came(inject::Batch& batch, const std::set<int>& before) {
    if (image_.has_own(tree::Shared::files)) {
      uint64_t from = 0;
      for (const int socket : sockets_of_sharers()) {
        const auto number = static_cast<uint64_t>(socket);
        if (number > from) batch.add("close_range", SYS_close_range, {from, number - 1, 0});
        from = number + 1;
      }
      batch.add("close_range", SYS_close_range, {from, 0xffffffff, 0});
    } else {
      for (const int fd : open_numbers())
        if (!before.contains(fd)) batch.add("close", SYS_close, {static_cast<uint64_t>(fd)});
    }
  }

  std::set<int> open_numbers() const {
    std::set<int> numbers;
    for (const std::string& name : sys::list_directory(fmt::format("/proc/{}/fd", process_.pid())))
      numbers.insert(std::stoi(name));
    return numbers;
  }

  std::set<int> sockets_of_sharers() const {
    std::set<int> sockets{process_.control_socket()};
    for (const int32_t pid : context_.sharers_of_files(image_.core.pid()))
      sockets.insert(context_.processes.at(pid)->control_socket());
    return sockets;
  }

  bool is_changed_root() const {
    image::RegularFile root;
    return context_.files.object(image_.fs.root_file()).body().UnpackTo(&root) && root.path() != "/";
  }

  // Descriptors arrive at the lowest free numbers. Sent in the order of their final numbers, the j-th arrives at or
  // below its place, so that moving from the last to the first never meets one that has not moved yet.
  void place_descriptors() {
    const Step step("descriptors");
    std::vector<const image::Descriptor*> firsts, copies;
    std::map<uint32_t, int> first_of;
    std::vector<const image::Descriptor*> all;
    for (const auto& d : image_.descriptors) all.push_back(&d);
    std::sort(all.begin(), all.end(), [](const auto* a, const auto* b) { return a->fd() < b->fd(); });
    for (const auto* d : all) (first_of.try_emplace(d->file(), d->fd()).second ? firsts : copies).push_back(d);
    std::vector<int> fds;
    for (const auto* d : firsts) fds.push_back(context_.files.open(d->file()));
    const std::vector<int> arrived = channel().send_all(fds);
    inject::Batch batch = channel().batch();
    const auto flush_if_full = [&] {
      if (batch.has_room_for(4096)) return;
      channel().run(batch);
      batch.clear();
    };
    for (size_t i = firsts.size(); i-- > 0;) {
      const auto from = static_cast<uint64_t>(arrived[i]), to = static_cast<uint64_t>(firsts[i]->fd());
      const uint64_t flag = firsts[i]->close_on_exec() ? O_CLOEXEC : 0;
      if (from == to) {
        if (flag == 0) batch.add("fcntl(F_SETFD)", SYS_fcntl, {to, F_SETFD, 0});
      } else {
        batch.add("dup3", SYS_dup3, {from, to, flag});
        batch.add("close", SYS_close, {from});
      }
      flush_if_full();
    }
    for (const auto* d : copies) {
      batch.add("dup3", SYS_dup3,
                {static_cast<uint64_t>(first_of.at(d->file())), static_cast<uint64_t>(d->fd()),
                 d->close_on_exec() ? static_cast<uint64_t>(O_CLOEXEC) : 0});
      flush_if_full();
    }
    channel().run(batch);
  }

  bool counts_timers() const {
    sys::KernelFeatures features;
    return context_.options.count_timers || !features.has("timer_restore_ids");
  }

  void queue_threads() {
    inject::Batch& batch = state_batch_.emplace(channel().batch());
    timers_ = timers_of(image_, context_.options.timers == Timers::real);
    timers_.counted_ids = !timers_.timers.empty() && counts_timers();
    thread_work_ = plan_threads(image_, own_, batch, timers_);
    plan_.emplace(facets::ProcessPlan{image_.core.pid(), process_.pid(), own_, batch, timers_, {}, {}, {}, {}});
    auto all = facets::process_facets();
    for (const auto& any : image_.core.facets()) {
      const bool known = std::any_of(all.begin(), all.end(), [&](auto& facet) { return facet->restore(any, *plan_); });
      if (!known)
        throw Error(Fault::image, fmt::format("state of type {} is not known to this version", any.type_url()));
    }
    for (size_t i = 0; i < thread_work_.size(); ++i) thread_work_[i].last_is_later = filters_.needs_rights(i);
    batch.add("personality", SYS_personality, {image_.core.personality()});
    batch.append(plan_->early);
    add_thread_creation(batch, thread_work_, image_.core.pid());
    channel().run(batch);
    wait_for_threads(channel(), batch, thread_work_);  // some of what follows needs what they have done
    batch.clear_calls();
  }

  void queue_state() {
    inject::Batch& batch = *state_batch_;
    late_files_.open();
    register_buffers();
    late_files_.take_locks();
    if (timers_.counted_ids) count_timers(channel(), timers_);
    batch.append(thread_work_.front().plan.calls);
    batch.append(plan_->late);
    batch.append(plan_->signals);
    if (filters_.needs_rights(0)) {
      process_last_ = plan_->last;
    } else {
      batch.append(thread_work_.front().plan.last);
      batch.append(plan_->last);
    }
    channel().run(batch);
  }

  void finish_threads(bool stopped) {
    const Step step("threads");
    late_files_.set_owners();
    std::vector<pid_t> tids;
    for (size_t i = 1; i < image_.threads.size(); ++i) tids.push_back(image_.threads[i].tid());
    process_.seize_threads(tids);
    std::vector<sys::Registers> frames(image_.threads.size());
    for (size_t i = 0; i < frames.size(); ++i)
      if (!image_.threads[i].has_ended())
        std::memcpy(&frames[i], image_.threads[i].registers().data(), sizeof frames[i]);
    const RemoteAddr gadget = mem::find_syscall_gadget(live_vdso_);
    filters_.install(process_, *state_batch_, gadget, thread_work_, process_last_);
    const bool closes_itself = image_.has_own(tree::Shared::files) && !is_shared_by_others();
    if (closes_itself) process_.close_channel();
    std::vector<arch::ExtendedState> extended;
    for (size_t i = 0; i < frames.size(); ++i) {
      extended.emplace_back();
      if (image_.threads[i].has_ended()) continue;
      extended.back() = facets::extended_state(image_.threads[i], context_.reader.inventory().cpu());
      if (arch::uses_tiles(extended.back())) process_.make_room_for_tiles(*process_.threads()[i]);
    }
    prime_restarts(process_, image_, gadget, channel().area().base, frames);
    const int64_t result =
        process_.last_call(gadget, SYS_munmap, {process_.blob_start(), process_.blob_end() - process_.blob_start()});
    if (result != 0) throw Error(Fault::internal, fmt::format("the parasite could not be unmapped: {}", result));
    // The socket is the parasite's last trace; closed from the same instruction.
    if (!closes_itself) process_.last_call(gadget, SYS_close, {static_cast<uint64_t>(process_.control_socket())});
    for (size_t i = 0; i < frames.size(); ++i) {
      trace::Tracee& thread = *process_.threads()[i];
      const Step thread_step("thread {}", thread.tid());
      if (image_.threads[i].has_ended()) continue;
      arch::load_xstate(thread.tid(), extended[i]);
      sys::set_registers(thread.tid(), frames[i]);
    }
    if (image_.threads.front().has_ended())
      process_.end_leader(gadget, static_cast<int>(image_.threads.front().ended().exit_code()));
    if (stopped) process_.stop_by_job_control();
    for (size_t i = 0; i < frames.size(); ++i) {
      trace::Tracee& thread = *process_.threads()[i];
      const Step thread_step("thread {}", thread.tid());
      for (const auto& action : thread_work_[i].plan.outside) action(thread);
    }
  }

  const tree::ProcessImage& image_;
  inject::NewProcess& process_;
  RestoreContext& context_;
  const procfs::Status& own_;
  uint64_t live_vdso_ = 0;
  facets::TimerSignals timers_;
  std::optional<facets::ProcessPlan> plan_;
  std::vector<ThreadWork> thread_work_;
  SeccompInstallation filters_;
  std::map<uint32_t, int> rings_;     // their numbers while memory is rebuilt
  std::vector<uint32_t> made_rings_;  // made by this process
  LateFiles late_files_;
  std::optional<inject::Batch> state_batch_;  // its buffers hold what is still to be done
  inject::CallList process_last_;
  std::optional<int> executable_;                   // while memory is rebuilt: its number there
  std::optional<std::pair<int, int>> directories_;  // the working directory's and the root's
  Spent spent_;
};

}  // namespace

LentMemory::LentMemory(const std::vector<tree::ProcessImage>& images) {
  for (const auto& image : images)
    for (const auto& borrowed : image.borrowed) wanted_.emplace(borrowed.lender, borrowed.memory.id());
}

void LentMemory::lend(int32_t lender, uint32_t id, const std::string& door) {
  if (wanted_.contains({lender, id})) lent_[{lender, id}] = sys::open(door, O_RDWR);
}

int LentMemory::borrow(int32_t lender, uint32_t id) const {
  const auto found = lent_.find({lender, id});
  if (found == lent_.end()) throw Error(Fault::image, fmt::format("process {} has no shared memory {}", lender, id));
  return found->second.get();
}

std::vector<int32_t> RestoreContext::sharers_of_files(int32_t first) const {
  std::vector<int32_t> pids;
  for (const auto& image : images)
    if (image.shared_with[static_cast<size_t>(tree::Shared::files)] == first) pids.push_back(image.core.pid());
  return pids;
}

std::unique_ptr<RestoringProcess> begin_process(const tree::ProcessImage& image, inject::NewProcess& process,
                                                RestoreContext& context) {
  return std::make_unique<ProcessRestorer>(image, process, context);
}

}  // namespace mcr::engine

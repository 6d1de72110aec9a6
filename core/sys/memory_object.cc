#include "core/sys/memory_object.h"

#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <sstream>

#include "core/sys/failure.h"
#include "core/sys/file.h"

namespace mcr::sys {
namespace {

constexpr unsigned kExec = 0x0010;        // MFD_EXEC, 6.3
constexpr unsigned kNoExecSeal = 0x0008;  // MFD_NOEXEC_SEAL, 6.3
constexpr unsigned kShiftPosition = 26;   // MFD_HUGE_SHIFT, SHM_HUGE_SHIFT
constexpr long kHugetlbfsMagic = 0x958458f6;
constexpr const char* kNextId = "/proc/sys/kernel/shm_next_id";

std::vector<dev_t> find_kernel_memory() {
  std::vector<dev_t> devices;
  const auto note = [&](unsigned flags) {
    UniqueFd fd(::memfd_create("mini-criu", MFD_CLOEXEC | flags));
    if (!fd.valid() && errno == EACCES)  // vm.memfd_noexec is 2
      fd = UniqueFd(::memfd_create("mini-criu", MFD_CLOEXEC | flags | kNoExecSeal));
    if (fd.valid()) devices.push_back(stat_fd(fd.get()).st_dev);
  };
  note(0);
  for (const unsigned shift : {21u, 30u}) note(MFD_HUGETLB | shift << kShiftPosition);
  return devices;
}

// The creator of a segment stays for good, IPC_SET changes the owner only. Credentials belong to a thread, but a change
// of them makes the whole process undumpable: so a child makes the segment. Returns the pid that stands as its creator.
pid_t make_segment_as(uint32_t uid, uint32_t gid, int id, int key, size_t size, int flags) {
  const UniqueFd next_id = open(kNextId, O_WRONLY | O_CLOEXEC);
  const std::string id_text = std::to_string(id);
  const pid_t child = check(::fork(), "fork");
  if (child == 0) {
    const bool is_other = uid != ::geteuid() || gid != ::getegid();
    // As late as possible: whoever makes one next gets the id.
    if (::write(next_id.get(), id_text.data(), id_text.size()) < 0) ::_exit(errno);
    if (is_other && (::syscall(SYS_setresgid, -1, gid, -1) != 0 || ::syscall(SYS_setresuid, -1, uid, -1) != 0))
      ::_exit(errno);
    ::_exit(::shmget(key, size, flags) < 0 ? errno : 0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (const int code = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR; code != 0)
    throw_code(code, fmt::format("shmget({:#x}, {} bytes) as user {}", key, size, uid));
  return child;
}

uint64_t read_count(const std::string& path) {
  const auto text = try_read_text(path);
  return text ? std::stoull(*text) : 0;
}

}  // namespace

bool is_kernel_memory(dev_t device) {
  static const std::vector<dev_t> devices = find_kernel_memory();
  return std::find(devices.begin(), devices.end(), device) != devices.end();
}

bool is_secret_memory(const std::string& door) {
  constexpr long kSecretMemory = 0x5345434d;  // SECRETMEM_MAGIC, 5.14
  struct statfs status {};
  return ::statfs(door.c_str(), &status) == 0 && status.f_type == kSecretMemory;
}

bool is_on_hugetlbfs(int fd) {
  struct statfs status {};
  check(::fstatfs(fd, &status), "fstatfs");
  return status.f_type == kHugetlbfsMagic;
}

bool is_in_memory(int fd) {
  constexpr long kTmpfs = 0x01021994, kRamfs = 0x858458f6;  // linux/magic.h
  struct statfs status {};
  check(::fstatfs(fd, &status), "fstatfs");
  const auto type = static_cast<uint32_t>(status.f_type);
  return type == kTmpfs || type == kRamfs || status.f_type == kHugetlbfsMagic;
}

UniqueFd make_sealable_memfd(const MemfdRequest& request) {
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  if (request.huge_page_shift != 0) flags |= MFD_HUGETLB | request.huge_page_shift << kShiftPosition;
  int fd = ::memfd_create(request.name.c_str(), flags | (request.executable ? kExec : kNoExecSeal));
  if (fd < 0 && errno == EINVAL && request.executable) fd = ::memfd_create(request.name.c_str(), flags);  // before 6.3
  return UniqueFd(check(fd, "memfd_create " + request.name));
}

uint32_t seals_of(int fd) {
  return static_cast<uint32_t>(check(::fcntl(fd, F_GET_SEALS), "fcntl(F_GET_SEALS)"));
}

void add_seals(int fd, uint32_t seals) {
  check(::fcntl(fd, F_ADD_SEALS, seals), "fcntl(F_ADD_SEALS)");
}

void write_huge(int fd, const void* data, size_t size, uint64_t offset, uint64_t huge_page_bytes) {
  for (size_t done = 0; done < size;) {
    const uint64_t page = (offset + done) / huge_page_bytes * huge_page_bytes, inside = offset + done - page;
    const size_t n = std::min<uint64_t>(size - done, huge_page_bytes - inside);
    void* at = ::mmap(nullptr, huge_page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(page));
    if (at == MAP_FAILED) throw_errno("map a huge page");
    std::memcpy(static_cast<char*>(at) + inside, static_cast<const char*>(data) + done, n);
    ::munmap(at, huge_page_bytes);
    done += n;
  }
}

std::vector<Segment> list_segments() {
  std::vector<Segment> segments;
  std::istringstream lines(read_text("/proc/sysvipc/shm"));
  std::string line;
  std::getline(lines, line);  // the header
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    Segment s;
    words >> s.key >> s.id >> std::oct >> s.mode >> std::dec >> s.size >> s.creator >> s.last_user >> s.attached >>
        s.uid >> s.gid >> s.creator_uid >> s.creator_gid >> s.attach_time;
    if (!words) throw Error(Fault::system, "/proc/sysvipc/shm: a line cannot be read");
    segments.push_back(s);
  }
  return segments;
}

std::optional<Segment> find_segment(int id) {
  for (const Segment& segment : list_segments())
    if (segment.id == id) return segment;
  return std::nullopt;
}

bool may_choose_segment_id() {
  int code = 0;
  return probe_open(kNextId, O_WRONLY, code).has_value();
}

unsigned segment_index_bits() {
  const bool extended = read_text("/proc/cmdline").find("ipcmni_extend") != std::string::npos;
  return extended ? 24 : 15;  // IPCMNI_EXTEND_SHIFT, IPCMNI_SHIFT of ipc/util.h
}

std::optional<int> try_make_segment(const Segment& wanted, uint32_t huge_page_shift) {
  int flags = IPC_CREAT | IPC_EXCL | static_cast<int>(wanted.mode & 0777);
  if (huge_page_shift != 0) flags |= SHM_HUGETLB | static_cast<int>(huge_page_shift << kShiftPosition);
  pid_t creator = -1;
  try {
    creator = make_segment_as(wanted.creator_uid, wanted.creator_gid, wanted.id, wanted.key, wanted.size, flags);
  } catch (...) {
    write_file(kNextId, "-1");  // or the next one to make a segment would get it
    throw;
  }
  int made = -1;
  for (const Segment& s : list_segments())
    if (s.creator == creator && s.key == wanted.key && s.attached == 0 && s.last_user == 0) made = s.id;
  if (made == wanted.id) return made;
  if (made >= 0) try_remove_segment(made);
  return std::nullopt;
}

void own_segment(int id, uint32_t uid, uint32_t gid, uint32_t mode) {
  struct shmid_ds ds {};
  check(::shmctl(id, IPC_STAT, &ds), fmt::format("shmctl({}, IPC_STAT)", id));
  ds.shm_perm.uid = uid, ds.shm_perm.gid = gid;
  ds.shm_perm.mode = static_cast<decltype(ds.shm_perm.mode)>(mode & 0777);
  check(::shmctl(id, IPC_SET, &ds), fmt::format("shmctl({}, IPC_SET)", id));
}

void lock_segment(int id) {
  check(::shmctl(id, SHM_LOCK, nullptr), fmt::format("shmctl({}, SHM_LOCK)", id));
}

void remove_segment(int id) {
  check(::shmctl(id, IPC_RMID, nullptr), fmt::format("shmctl({}, IPC_RMID)", id));
}

bool try_remove_segment(int id) {
  return ::shmctl(id, IPC_RMID, nullptr) == 0;
}

HugePages huge_pages(uint32_t shift) {
  const std::string folder = fmt::format("/sys/kernel/mm/hugepages/hugepages-{}kB/", (uint64_t{1} << shift) >> 10);
  HugePages pages;
  pages.supported = try_stat(folder).has_value();
  if (!pages.supported) return pages;
  const uint64_t more = read_count(folder + "nr_overcommit_hugepages"),
                 surplus = read_count(folder + "surplus_hugepages");
  const uint64_t free = read_count(folder + "free_hugepages"), promised = read_count(folder + "resv_hugepages");
  pages.available = free - std::min(free, promised) + (more - std::min(more, surplus));
  return pages;
}

}  // namespace mcr::sys

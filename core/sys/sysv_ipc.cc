#include "core/sys/sysv_ipc.h"

#include <fcntl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <sstream>

#include "core/sys/failure.h"
#include "core/sys/file.h"

namespace mcr::sys {
namespace {

constexpr int kMessageCopy = 040000;  // MSG_COPY, 3.8
constexpr uint32_t kPermissions = 0777;

union SemaphoreArgument {  // semctl(2) leaves its definition to us
  int value;
  semid_ds* status;
  unsigned short* array;
};

const char* next_id_of(IpcType type) {
  return type == IpcType::semaphores ? "/proc/sys/kernel/sem_next_id" : "/proc/sys/kernel/msg_next_id";
}

const char* name_of(IpcType type) {
  return type == IpcType::semaphores ? "semget" : "msgget";
}

std::istringstream lines_of(const std::string& path) {
  std::istringstream lines(read_text(path));
  std::string header;
  std::getline(lines, header);
  return lines;
}

void require_words(const std::istringstream& words, const char* path) {
  if (!words) throw Error(Fault::system, fmt::format("{}: a line cannot be read", path));
}

int make(IpcType type, const IpcObject& wanted, uint32_t count) {
  const int flags = IPC_CREAT | IPC_EXCL | static_cast<int>(wanted.mode & kPermissions);
  return type == IpcType::semaphores ? ::semget(wanted.key, static_cast<int>(count), flags)
                                     : ::msgget(wanted.key, flags);
}

// The creator stays for good, and a change of our own credentials would make us undumpable: a child makes it and tells
// the id.
int make_as_creator(IpcType type, const IpcObject& wanted, uint32_t count) {
  const Pipe answer = make_pipe(O_CLOEXEC);
  const UniqueFd next_id = open(next_id_of(type), O_WRONLY | O_CLOEXEC);
  const std::string id_text = std::to_string(wanted.id);
  const pid_t child = check(::fork(), "fork");
  if (child == 0) {
    const bool is_other = wanted.creator_uid != ::geteuid() || wanted.creator_gid != ::getegid();
    // As late as possible: whoever makes one next gets the id.
    if (::write(next_id.get(), id_text.data(), id_text.size()) < 0) ::_exit(errno);
    if (is_other && (::syscall(SYS_setresgid, -1, wanted.creator_gid, -1) != 0 ||
                     ::syscall(SYS_setresuid, -1, wanted.creator_uid, -1) != 0))
      ::_exit(errno);
    const int id = make(type, wanted, count);
    if (id < 0) ::_exit(errno);
    ::_exit(::write(answer.write_end.get(), &id, sizeof id) == sizeof id ? 0 : EIO);
  }
  int status = 0, id = -1;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (const int code = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR; code != 0)
    throw_code(code, fmt::format("{}({:#x}) as user {}", name_of(type), wanted.key, wanted.creator_uid));
  if (read_some(answer.read_end.get(), reinterpret_cast<char*>(&id), sizeof id) != sizeof id)
    throw Error(Fault::internal, fmt::format("{}: no answer", name_of(type)));
  return id;
}

// Whether a call has failed because the object has gone: removed since it was listed (its number is perhaps another's
// by now), or never ours to read. Throws when it has failed otherwise.
bool has_gone(int result, const char* call, int id) {
  if (result >= 0) return false;
  if (errno == EIDRM || errno == EINVAL || errno == EACCES) return true;
  throw_errno(fmt::format("{}({})", call, id));
}

}  // namespace

std::vector<SemaphoreSet> list_semaphore_sets() {
  constexpr const char* kPath = "/proc/sysvipc/sem";
  std::vector<SemaphoreSet> sets;
  std::istringstream lines = lines_of(kPath);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    SemaphoreSet& s = sets.emplace_back();
    words >> s.key >> s.id >> std::oct >> s.mode >> std::dec >> s.count >> s.uid >> s.gid >> s.creator_uid >>
        s.creator_gid;
    require_words(words, kPath);
    s.mode &= kPermissions;
  }
  return sets;
}

bool read_semaphores(SemaphoreSet& set) {
  set.values.resize(set.count);
  set.last_users.resize(set.count);
  SemaphoreArgument argument{};
  argument.array = set.values.data();
  if (has_gone(::semctl(set.id, 0, GETALL, argument), "semctl", set.id)) return false;
  for (uint32_t i = 0; i < set.count; ++i)
    if (has_gone(set.last_users[i] = ::semctl(set.id, static_cast<int>(i), GETPID), "semctl", set.id)) return false;
  return true;
}

std::vector<MessageQueue> list_message_queues() {
  constexpr const char* kPath = "/proc/sysvipc/msg";
  std::vector<MessageQueue> queues;
  std::istringstream lines = lines_of(kPath);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    uint64_t bytes = 0;
    MessageQueue& q = queues.emplace_back();
    words >> q.key >> q.id >> std::oct >> q.mode >> std::dec >> bytes >> q.waiting >> q.last_sender >>
        q.last_receiver >> q.uid >> q.gid >> q.creator_uid >> q.creator_gid;
    require_words(words, kPath);
    q.mode &= kPermissions;
  }
  return queues;
}

bool read_queue(MessageQueue& queue) {
  msqid_ds status{};
  if (has_gone(::msgctl(queue.id, IPC_STAT, &status), "msgctl", queue.id)) return false;
  queue.capacity = status.msg_qbytes;
  queue.waiting = status.msg_qnum;
  return true;
}

std::vector<Message> copy_messages(int queue) {
  std::vector<Message> messages;
  std::vector<char> buffer(sizeof(long) + 8192);
  for (;;) {
    const ssize_t n = ::msgrcv(queue, buffer.data(), buffer.size() - sizeof(long), static_cast<long>(messages.size()),
                               kMessageCopy | IPC_NOWAIT);
    if (n < 0 && errno == E2BIG) {  // longer than the buffer
      buffer.resize(buffer.size() * 2);
      continue;
    }
    if (n < 0 && errno == ENOMSG) return messages;
    check(n, fmt::format("msgrcv({}, MSG_COPY)", queue));
    long type = 0;
    std::memcpy(&type, buffer.data(), sizeof type);
    messages.push_back({type, std::string(buffer.data() + sizeof type, static_cast<size_t>(n))});
  }
}

bool may_choose_ipc_id(IpcType type) {
  int code = 0;
  return probe_open(next_id_of(type), O_WRONLY, code).has_value();
}

bool try_make_ipc(IpcType type, const IpcObject& wanted, uint32_t count) {
  int made = -1;
  try {
    made = make_as_creator(type, wanted, count);
  } catch (...) {
    write_file(next_id_of(type), "-1");  // or the next one to make anything would get it
    throw;
  }
  if (made == wanted.id) return true;
  try_remove_ipc(type, made);
  return false;
}

void own_ipc(IpcType type, int id, uint32_t uid, uint32_t gid, uint32_t mode) {
  const auto change = [&](ipc_perm& permissions) {
    permissions.uid = uid, permissions.gid = gid;
    permissions.mode = static_cast<decltype(permissions.mode)>(mode & kPermissions);
  };
  if (type == IpcType::semaphores) {
    semid_ds status{};
    SemaphoreArgument argument{};
    argument.status = &status;
    check(::semctl(id, 0, IPC_STAT, argument), fmt::format("semctl({}, IPC_STAT)", id));
    change(status.sem_perm);
    check(::semctl(id, 0, IPC_SET, argument), fmt::format("semctl({}, IPC_SET)", id));
    return;
  }
  msqid_ds status{};
  check(::msgctl(id, IPC_STAT, &status), fmt::format("msgctl({}, IPC_STAT)", id));
  change(status.msg_perm);
  check(::msgctl(id, IPC_SET, &status), fmt::format("msgctl({}, IPC_SET)", id));
}

void set_queue_capacity(int id, uint64_t capacity) {
  msqid_ds status{};
  check(::msgctl(id, IPC_STAT, &status), fmt::format("msgctl({}, IPC_STAT)", id));
  status.msg_qbytes = capacity;
  check(::msgctl(id, IPC_SET, &status), fmt::format("msgctl({}, IPC_SET) to {} bytes", id, capacity));
}

void empty_queue(int id) {
  std::vector<char> buffer(sizeof(long));
  while (::msgrcv(id, buffer.data(), 0, 0, IPC_NOWAIT | MSG_NOERROR) >= 0) {
  }
  if (errno != ENOMSG) throw_errno(fmt::format("msgrcv({})", id));
}

void set_semaphore(int id, uint32_t index, uint16_t value) {
  SemaphoreArgument argument{};
  argument.value = value;
  check(::semctl(id, static_cast<int>(index), SETVAL, argument), fmt::format("semctl({}, {}, SETVAL)", id, index));
}

void send_message(int queue, const Message& message) {
  std::vector<char> buffer(sizeof(long) + message.text.size());
  std::memcpy(buffer.data(), &message.type, sizeof message.type);
  std::memcpy(buffer.data() + sizeof(long), message.text.data(), message.text.size());
  check(::msgsnd(queue, buffer.data(), message.text.size(), IPC_NOWAIT),
        fmt::format("msgsnd({}, {} bytes)", queue, message.text.size()));
}

bool try_remove_ipc(IpcType type, int id) {
  return (type == IpcType::semaphores ? ::semctl(id, 0, IPC_RMID) : ::msgctl(id, IPC_RMID, nullptr)) == 0;
}

}  // namespace mcr::sys

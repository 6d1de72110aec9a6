#include "core/kinds/sysv_ipc.h"

#include <linux/capability.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "core/base/bounds.h"
#include "core/base/log.h"
#include "core/sys/file.h"
#include "core/sys/memory_object.h"
#include "core/sys/sysv_ipc.h"

namespace mcr::kinds {
namespace {

using sys::IpcType;

constexpr const char* kFile = "ipc.img";
constexpr uint32_t kPermissions = 0777;
constexpr int kMostSemaphores = 65536, kLargestValue = 32767;  // SEMVMX
constexpr uint64_t kLongestMessage = 16 << 20, kMostInQueue = INT32_MAX;
constexpr int kTries = 60;

struct Traits {
  IpcType type;
  const char* name;
  const char* removal;
};
Traits traits_of(const image::SysvSemaphores&) {
  return {IpcType::semaphores, "System V semaphores", "ipcrm -s"};
}
Traits traits_of(const image::SysvQueue&) {
  return {IpcType::queue, "System V message queue", "ipcrm -q"};
}

sys::IpcObject request_of(const image::SysvObject& wanted) {
  sys::IpcObject object;
  object.id = wanted.id(), object.key = wanted.key(), object.mode = wanted.mode();
  object.uid = wanted.uid(), object.gid = wanted.gid();
  object.creator_uid = wanted.creator_uid(), object.creator_gid = wanted.creator_gid();
  return object;
}

image::SysvObject message_of(const sys::IpcObject& object, bool is_shared) {
  image::SysvObject message;
  message.set_id(object.id), message.set_key(object.key), message.set_mode(object.mode);
  message.set_uid(object.uid), message.set_gid(object.gid);
  message.set_creator_uid(object.creator_uid), message.set_creator_gid(object.creator_gid);
  message.set_shared(is_shared);
  return message;
}

// Left by a restore that was killed while it filled it.
bool is_being_filled(const image::SysvObject& wanted, const sys::IpcObject& found) {
  return found.mode == 0 && wanted.mode() != 0;
}

// ---- dump ----

bool is_used(const sys::SemaphoreSet& set, const IpcUse& use, bool& is_shared) {
  bool is_ours = use.awaited_semaphores.contains(set.id);
  is_shared = false;
  for (const pid_t user : set.last_users) {
    if (use.pids.contains(user)) is_ours = true;
    if (user != 0 && !use.pids.contains(user)) is_shared = true;
  }
  return is_ours;
}

bool is_used(const sys::MessageQueue& queue, const IpcUse& use, bool& is_shared) {
  const auto is_foreign = [&](pid_t pid) { return pid != 0 && !use.pids.contains(pid); };
  is_shared = is_foreign(queue.last_sender) || is_foreign(queue.last_receiver);
  return use.awaited_queues.contains(queue.id) || use.pids.contains(queue.last_sender) ||
         use.pids.contains(queue.last_receiver);
}

image::SysvSemaphores message_of(const sys::SemaphoreSet& set, bool is_shared) {
  image::SysvSemaphores message;
  *message.mutable_object() = message_of(static_cast<const sys::IpcObject&>(set), is_shared);
  for (const uint16_t value : set.values) message.add_values(value);
  for (const pid_t user : set.last_users) message.add_last_users(user);
  return message;
}

image::SysvQueue message_of(const sys::MessageQueue& queue, bool is_shared) {
  const Step step("System V message queue {}", queue.id);
  image::SysvQueue message;
  *message.mutable_object() = message_of(static_cast<const sys::IpcObject&>(queue), is_shared);
  message.set_capacity(queue.capacity);
  message.set_last_sender(queue.last_sender), message.set_last_receiver(queue.last_receiver);
  if (queue.waiting == 0) return message;
  for (const sys::Message& waiting : sys::copy_messages(queue.id)) {
    image::SysvMessage& copy = *message.add_messages();
    copy.set_type(waiting.type);
    copy.set_text(waiting.text);
  }
  return message;
}

// ---- checks of a restore ----

template <typename Record>
[[noreturn]] void bad(const Record& record, const std::string& what) {
  throw Error(Fault::image, fmt::format("{}: {} {}: {}", kFile, traits_of(record).name, record.object().id(), what),
              "the image is damaged or was made by a faulty program");
}

template <typename Record>
void check_object(const Record& record) {
  const auto& object = record.object();
  if (object.id() < 0) bad(record, "its id cannot be negative");
  if (object.mode() > kPermissions) bad(record, fmt::format("mode cannot be {:o}", object.mode()));
}

void check_record(const image::SysvSemaphores& record) {
  check_object(record);
  if (record.values_size() == 0 || record.values_size() > kMostSemaphores ||
      record.last_users_size() != record.values_size())
    bad(record, fmt::format("it cannot have {} semaphores", record.values_size()));
  for (const uint32_t value : record.values())
    if (value > kLargestValue) bad(record, fmt::format("a value cannot be {}", value));
}

void check_record(const image::SysvQueue& record) {
  check_object(record);
  if (record.capacity() > kMostInQueue) bad(record, fmt::format("capacity cannot be {}", record.capacity()));
  for (const auto& message : record.messages())
    if (message.type() <= 0 || message.text().size() > kLongestMessage) bad(record, "a message in it is none");
}

std::string difference(const image::SysvObject& wanted, const sys::IpcObject& found) {
  if (found.key != wanted.key()) return fmt::format("has key {:#x}, not {:#x}", found.key, wanted.key());
  if (found.creator_uid != wanted.creator_uid() || found.creator_gid != wanted.creator_gid())
    return fmt::format("was made by user {}, group {}", found.creator_uid, found.creator_gid);
  if (is_being_filled(wanted, found)) return {};
  if (found.uid != wanted.uid() || found.gid != wanted.gid())
    return fmt::format("belongs to user {}, group {}", found.uid, found.gid);
  if (found.mode != wanted.mode()) return fmt::format("has mode {:o}, not {:o}", found.mode, wanted.mode());
  return {};
}

std::string difference(const image::SysvSemaphores& wanted, const sys::SemaphoreSet& found) {
  if (static_cast<int>(found.count) != wanted.values_size())
    return fmt::format("has {} semaphores, not {}", found.count, wanted.values_size());
  return difference(wanted.object(), static_cast<const sys::IpcObject&>(found));
}

std::string difference(const image::SysvQueue& wanted, const sys::MessageQueue& found) {
  return difference(wanted.object(), static_cast<const sys::IpcObject&>(found));
}

bool has_same_content(const image::SysvSemaphores& wanted, const sys::SemaphoreSet& found) {
  return std::ranges::equal(wanted.values(), found.values);
}

bool has_same_content(const image::SysvQueue& wanted, const sys::MessageQueue& found) {
  if (found.capacity != wanted.capacity() || static_cast<int>(found.waiting) != wanted.messages_size()) return false;
  if (found.waiting == 0) return true;
  return std::ranges::equal(wanted.messages(), sys::copy_messages(found.id),
                            [](const auto& a, const auto& b) { return a.type() == b.type && a.text() == b.text; });
}

std::vector<pid_t> users_of(const sys::SemaphoreSet& set) {
  return set.last_users;
}
std::vector<pid_t> users_of(const sys::MessageQueue& queue) {
  return {queue.last_sender, queue.last_receiver};
}

// With all that can be asked of them; what has gone meanwhile is left out.
std::vector<sys::SemaphoreSet> existing(const image::SysvSemaphores&) {
  std::vector<sys::SemaphoreSet> sets = sys::list_semaphore_sets();
  std::erase_if(sets, [](sys::SemaphoreSet& set) { return !sys::read_semaphores(set); });
  return sets;
}
std::vector<sys::MessageQueue> existing(const image::SysvQueue&) {
  std::vector<sys::MessageQueue> queues = sys::list_message_queues();
  std::erase_if(queues, [](sys::MessageQueue& queue) { return !sys::read_queue(queue); });
  return queues;
}

template <typename Record, typename Found>
void check_existing(const Record& wanted, const Found& found, const std::set<int>& pids,
                    std::vector<Problem>& problems) {
  const Traits traits = traits_of(wanted);
  const std::string object = fmt::format("{} {}", traits.name, found.id);
  const std::string remedy = fmt::format("if it may be lost: {} {}", traits.removal, found.id);
  if (const std::string what = difference(wanted, found); !what.empty())
    return problems.push_back({object, fmt::format("exists and {}: it is another one", what), remedy});
  if (wanted.object().shared() || is_being_filled(wanted.object(), found) || has_same_content(wanted, found)) return;
  for (const pid_t user : users_of(found))
    if (user != 0 && !pids.contains(user))
      return problems.push_back(
          {object, fmt::format("was used since the dump, by process {}: its content may be newer", user), remedy});
}

template <typename Record>
void check_one(const Record& wanted, const std::set<int>& pids, std::vector<Problem>& problems) {
  const Traits traits = traits_of(wanted);
  const int id = wanted.object().id(), key = wanted.object().key();
  const int index = (1 << sys::segment_index_bits()) - 1;
  const std::string object = fmt::format("{} {}", traits.name, id);
  for (const auto& found : existing(wanted)) {
    const std::string remedy = fmt::format("end its users and remove it: {} {}", traits.removal, found.id);
    if (found.id == id)
      check_existing(wanted, found, pids, problems);
    else if ((found.id & index) == (id & index))
      problems.push_back({object, fmt::format("cannot have its id while there is {}", found.id), remedy});
    else if (found.key == key && key != IPC_PRIVATE)
      problems.push_back({object, fmt::format("has key {:#x}, which {} has now", key, found.id), remedy});
  }
}

}  // namespace

void IpcUse::note_call(int64_t number, uint64_t first_argument) {
  const auto id = static_cast<int>(first_argument);
  if (number == SYS_semop || number == SYS_semtimedop) awaited_semaphores.insert(id);
  if (number == SYS_msgsnd || number == SYS_msgrcv) awaited_queues.insert(id);
}

void dump_ipc(const IpcUse& use, images::ImageWriter& writer) {
  const Step step("System V semaphores and message queues");
  std::vector<image::SysvSemaphores> sets;
  std::vector<image::SysvQueue> queues;
  bool is_shared = false;
  for (const auto& set : existing(image::SysvSemaphores()))
    if (is_used(set, use, is_shared)) sets.push_back(message_of(set, is_shared));
  for (const auto& queue : existing(image::SysvQueue()))
    if (is_used(queue, use, is_shared)) queues.push_back(message_of(queue, is_shared));
  if (sets.empty() && queues.empty()) return;
  auto records = writer.records(kFile);
  for (const auto& set : sets) records.append(set);
  for (const auto& queue : queues) records.append(queue);
  records.finish();
  writer.add(records);
}

// ---- restore ----

IpcObjects::IpcObjects(const images::ImageReader& reader) {
  if (!reader.has(kFile)) return;
  auto records = reader.records(kFile);
  while (const auto type = records.next_type()) {
    if (*type == image::SysvSemaphores::descriptor()->full_name())
      check_record(sets_.emplace_back(records.read<image::SysvSemaphores>()));
    else if (*type == image::SysvQueue::descriptor()->full_name())
      check_record(queues_.emplace_back(records.read<image::SysvQueue>()));
    else
      throw Error(Fault::image, fmt::format("{}: a record of type {} does not belong there", kFile, *type));
  }
}

IpcObjects::~IpcObjects() {
  if (kept_) return;
  for (const auto& undo : to_undo_) undo();
}

bool made_with_its_id(const std::function<bool()>& make) {
  constexpr long kMillisecond = 1'000'000;
  for (int i = 0; i < kTries; ++i) {
    if (make()) return true;
    const timespec pause{0, std::min(i / 4, 10) * kMillisecond + ::getpid() % 64 * (kMillisecond / 64)};
    ::nanosleep(&pause, nullptr);  // not in step with the other
  }
  return false;
}

void require_ipc_rights(const char* what, bool of_others, std::vector<Problem>& problems) {
  if (!sys::has_capability(CAP_IPC_OWNER))
    problems.push_back({what, "nobody may use them while they are being filled", "give CAP_IPC_OWNER"});
  if (of_others && !(sys::has_capability(CAP_SETUID) && sys::has_capability(CAP_SETGID)))
    problems.push_back({what, "some were made by another user", "give CAP_SETUID and CAP_SETGID"});
}

void IpcObjects::check(const std::set<int>& pids, std::vector<Problem>& problems) const {
  if (sets_.empty() && queues_.empty()) return;
  for (const IpcType type : {IpcType::semaphores, IpcType::queue})
    if (!sys::may_choose_ipc_id(type))
      return problems.push_back({"System V semaphores and queues", "their ids cannot be chosen here",
                                 "give CAP_CHECKPOINT_RESTORE, or restore on a kernel with CONFIG_CHECKPOINT_RESTORE"});
  const auto is_of_other = [](const auto& record) {
    return sys::is_other_user(record.object().creator_uid(), record.object().creator_gid());
  };
  require_ipc_rights("System V semaphores and queues",
                     std::ranges::any_of(sets_, is_of_other) || std::ranges::any_of(queues_, is_of_other), problems);
  for (const auto& set : sets_) check_one(set, pids, problems);
  for (const auto& queue : queues_) check_one(queue, pids, problems);
}

void IpcObjects::restore(const std::function<inject::Channel*(int)>& channel_of) {
  for (const auto& set : sets_) take(set, channel_of);
  for (const auto& queue : queues_) take(queue, channel_of);
}

// While it is being filled nobody may use it: should we be killed, the next restore sees by its mode what it is.
template <typename Record>
void IpcObjects::take(const Record& wanted, const std::function<inject::Channel*(int)>& channel_of) {
  const Traits traits = traits_of(wanted);
  const image::SysvObject& object = wanted.object();
  const Step step("{} {}", traits.name, object.id());
  const auto all = existing(wanted);
  const auto found = std::ranges::find(all, object.id(), &sys::IpcObject::id);
  if (found != all.end()) {
    if (!difference(wanted, *found).empty())
      throw Error(Fault::refused, "it has changed since the check", "restore again");
    const bool is_left = is_being_filled(object, *found);
    if (object.shared() && !is_left && !has_same_content(wanted, *found))
      log::warning("kinds", "{} {} is used by others too: it is left as it is now", traits.name, object.id());
    if (!is_left && (object.shared() || has_same_content(wanted, *found))) return;
  }
  if (found == all.end()) {
    sys::IpcObject request = request_of(object);
    request.mode = 0;
    uint32_t count = 0;
    if constexpr (std::is_same_v<Record, image::SysvSemaphores>) count = static_cast<uint32_t>(wanted.values_size());
    if (!made_with_its_id([&] { return sys::try_make_ipc(traits.type, request, count); }))
      throw Error(Fault::refused, "its id went to another process", "restore again");
  }
  to_undo_.push_back([type = traits.type, name = traits.name, id = object.id(), was_there = found != all.end()] {
    if (was_there)
      log::warning("kinds", "{} {} was there before; it is without permissions until a restore succeeds", name, id);
    else
      sys::try_remove_ipc(type, id);
  });
  sys::own_ipc(traits.type, object.id(), object.uid(), object.gid(), 0);
  fill(wanted, channel_of);
  to_finish_.push_back(
      [type = traits.type, &object] { sys::own_ipc(type, object.id(), object.uid(), object.gid(), object.mode()); });
}

void IpcObjects::fill(const image::SysvSemaphores& wanted, const std::function<inject::Channel*(int)>& channel_of) {
  // SETVAL takes back what other processes have adjusted: not where nothing is to be changed.
  sys::SemaphoreSet now;
  now.id = wanted.object().id(), now.count = static_cast<uint32_t>(wanted.values_size());
  if (!sys::read_semaphores(now)) throw Error(Fault::refused, "it has gone meanwhile", "restore again");
  for (int i = 0; i < wanted.values_size(); ++i) {
    const auto at = static_cast<size_t>(i);
    inject::Channel* user = channel_of(wanted.last_users(i));
    if (now.values[at] == wanted.values(i) && (!user || now.last_users[at] == wanted.last_users(i))) continue;
    if (!user) {
      sys::set_semaphore(wanted.object().id(), static_cast<uint32_t>(i), static_cast<uint16_t>(wanted.values(i)));
      continue;
    }
    inject::Batch batch = user->batch();
    batch.add("semctl(SETVAL)", SYS_semctl,
              {static_cast<uint64_t>(wanted.object().id()), static_cast<uint64_t>(i), SETVAL, wanted.values(i)});
    user->run(batch);
  }
}

void IpcObjects::fill(const image::SysvQueue& wanted, const std::function<inject::Channel*(int)>& channel_of) {
  const int id = wanted.object().id();
  const auto queue = static_cast<uint64_t>(id);
  sys::empty_queue(id);
  sys::set_queue_capacity(id, wanted.capacity());
  inject::Channel* sender = channel_of(wanted.last_sender());
  if (inject::Channel* receiver = channel_of(wanted.last_receiver())) {
    inject::Channel* first = sender ? sender : receiver;
    inject::Batch sending = first->batch();
    sending.add("msgsnd", SYS_msgsnd, {queue, sending.put_value(int64_t{1}).get(), 0, IPC_NOWAIT});
    first->run(sending);
    inject::Batch receiving = receiver->batch();
    receiving.add("msgrcv", SYS_msgrcv, {queue, receiving.reserve(sizeof(int64_t)).get(), 0, 0, IPC_NOWAIT});
    receiver->run(receiving);
  }
  for (int i = 0; i < wanted.messages_size(); ++i) {
    const auto& message = wanted.messages(i);
    const bool is_last = i + 1 == wanted.messages_size();
    if (!is_last || !sender || !sender->batch().has_room_for(message.text().size() + 256)) {
      sys::send_message(id, {message.type(), message.text()});
      continue;
    }
    inject::Batch batch = sender->batch();
    std::string bytes(sizeof(int64_t), '\0');
    const int64_t type = message.type();
    std::memcpy(bytes.data(), &type, sizeof type);
    bytes += message.text();
    batch.add("msgsnd", SYS_msgsnd,
              {queue, batch.put(std::as_bytes(std::span(bytes))).get(), message.text().size(), IPC_NOWAIT});
    sender->run(batch);
  }
}

void IpcObjects::finish() {
  for (const auto& finish : to_finish_) finish();
}

}  // namespace mcr::kinds

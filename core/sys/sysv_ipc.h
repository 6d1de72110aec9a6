// System V semaphores (semget(2)) and message queues (msgget(2)) of our IPC namespace. Throws Error unless said
// otherwise. Main thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mcr::sys {

enum class IpcType { semaphores, queue };

struct IpcObject {
  int id = 0, key = 0;
  uint32_t mode = 0;  // rwxrwxrwx
  uint32_t uid = 0, gid = 0, creator_uid = 0, creator_gid = 0;
};
struct SemaphoreSet : IpcObject {
  uint32_t count = 0;
  std::vector<uint16_t> values;
  std::vector<pid_t> last_users;  // of each semaphore; 0: nobody
};
struct Message {
  int64_t type = 0;
  std::string text;
};
struct MessageQueue : IpcObject {
  uint64_t capacity = 0, waiting = 0;  // bytes that fit in, messages that wait
  pid_t last_sender = 0, last_receiver = 0;
};

std::vector<SemaphoreSet> list_semaphore_sets();  // without values and users
bool read_semaphores(SemaphoreSet& set);          // false: it is gone
std::vector<MessageQueue> list_message_queues();  // /proc/sysvipc/msg; capacity is not there
bool read_queue(MessageQueue& queue);             // its capacity; false: it is gone
// Without taking them out (MSG_COPY, which needs CONFIG_CHECKPOINT_RESTORE).
std::vector<Message> copy_messages(int queue);

bool may_choose_ipc_id(IpcType type);  // /proc/sys/kernel/*_next_id can be written
// Makes one with this very id, key, mode and creator; its owner is its creator. `count`: of semaphores.
// false: the id went to another process meanwhile.
bool try_make_ipc(IpcType type, const IpcObject& wanted, uint32_t count);
void own_ipc(IpcType type, int id, uint32_t uid, uint32_t gid, uint32_t mode);  // IPC_SET
void set_queue_capacity(int id, uint64_t capacity);
void empty_queue(int id);
void set_semaphore(int id, uint32_t index, uint16_t value);  // SETVAL: we are its last user then
void send_message(int queue, const Message& message);        // we are the last sender then
bool try_remove_ipc(IpcType type, int id);

}  // namespace mcr::sys

// Objects of memory that the kernel keeps on mounts of its own: memfds, System V segments, rings of asynchronous I/O.
// Throws Error unless said otherwise. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/unique_fd.h"

namespace mcr::sys {

// True for files of the kernel's own mounts of shmem and hugetlbfs. Only what is there are memfds, System V segments
// and anonymous shared memory; a deleted file with such a name lies elsewhere.
bool is_kernel_memory(dev_t device);
bool is_secret_memory(const std::string& door);  // of memfd_secret(2); door: a path of /proc that leads to it
bool is_on_hugetlbfs(int fd);                    // its files cannot be written with write(2)
bool is_in_memory(int fd);                       // on tmpfs, ramfs or hugetlbfs

struct MemfdRequest {
  std::string name;
  bool executable = true;        // MFD_EXEC (6.3), else MFD_NOEXEC_SEAL
  uint32_t huge_page_shift = 0;  // 0: ordinary pages
};
UniqueFd make_sealable_memfd(const MemfdRequest& request);  // MFD_ALLOW_SEALING
uint32_t seals_of(int fd);                                  // F_GET_SEALS
void add_seals(int fd, uint32_t seals);                     // F_ADD_SEALS
// Writes into a file of hugetlbfs through a mapping of the huge page.
void write_huge(int fd, const void* data, size_t size, uint64_t offset, uint64_t huge_page_bytes);

struct Segment {  // a line of /proc/sysvipc/shm
  int id = 0, key = 0;
  uint32_t mode = 0;  // rwxrwxrwx, SHM_DEST, SHM_LOCKED
  uint64_t size = 0;
  pid_t creator = 0, last_user = 0;  // last_user: of shmat or shmdt; 0: nobody ever
  uint64_t attached = 0;             // mappings
  uint32_t uid = 0, gid = 0, creator_uid = 0, creator_gid = 0;
  int64_t attach_time = 0;  // of the last shmat(2) or fork(2), seconds of CLOCK_REALTIME
};
std::vector<Segment> list_segments();
std::optional<Segment> find_segment(int id);
bool may_choose_segment_id();   // /proc/sys/kernel/shm_next_id can be written
unsigned segment_index_bits();  // ids that agree in so many low bits exclude each other
// Makes a segment with this very id, key, size, mode and creator; its owner is its creator. huge_page_shift as above.
// nullopt: the id went to another process meanwhile.
std::optional<int> try_make_segment(const Segment& wanted, uint32_t huge_page_shift);
void own_segment(int id, uint32_t uid, uint32_t gid, uint32_t mode);  // IPC_SET
void lock_segment(int id);                                            // SHM_LOCK
void remove_segment(int id);                                          // IPC_RMID
bool try_remove_segment(int id);

struct HugePages {
  uint64_t available = 0;  // that could be mapped now: free or allowed to be made, and promised to nobody
  bool supported = false;
};
HugePages huge_pages(uint32_t shift);

}  // namespace mcr::sys

// --rollback-files: the regular files that a program has open for writing are copied while it stands still, and put
// back before it is restored. Throws Error.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "core/base/ids.h"
#include "core/jobs/proto/job.pb.h"

namespace mcr::jobs {

// Copies into `folder` (made when there is something to copy) what these processes may write to by a name that still
// leads to it, but `left_out`. Deleted files are in the image itself. Blocks are shared where the file system can.
// One at a place of which a whole copy cannot be made (no space) is an Error.
std::vector<job::SavedFile> save_written_files(const std::vector<HostPid>& pids, const std::string& folder,
                                               const std::set<std::string>& left_out);
void sync_saved(const std::vector<job::SavedFile>& files, const std::string& folder);

// The files as they were, for a restore. All copies are looked at before anything is changed. A file keeps its inode;
// one that is gone is made again. What stood in them is kept in the folder `replaced` meanwhile, with a list of it on
// the disk before the first is changed, and is back unless keep() is called: nothing was restored then. What a former
// one, which was killed, has left there is given back first.
class FilesPutBack {
 public:
  FilesPutBack(const std::vector<job::SavedFile>& files, const std::string& folder, const std::string& replaced);
  ~FilesPutBack();
  FilesPutBack(const FilesPutBack&) = delete;
  FilesPutBack& operator=(const FilesPutBack&) = delete;
  void keep() { kept_ = true; }

 private:
  void give_back_former();
  void keep_what_stands(const std::vector<job::SavedFile>& files);
  enum class MadeAnew { remove, leave };  // files that were not there: since a killed resume they may be somebody's
  void give_back(MadeAnew made) const;
  const std::string replaced_folder_;
  job::Replaced replaced_;
  bool kept_ = false;
};

}  // namespace mcr::jobs

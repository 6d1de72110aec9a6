// The control groups of a tree (cgroups(7)), both directions: who is in which, and how each is configured.
//
// Only with --manage-cgroups. Without it a restored program stays in the groups of `restore`, as every child does.
#pragma once

#include <memory>
#include <set>
#include <span>

#include "core/base/error.h"
#include "core/base/ids.h"
#include "core/tree/cgroup_hierarchies.h"
#include "core/tree/process_image.h"
#include "images/proto/cgroups.pb.h"
#include "images/store.h"

namespace mcr::tree {

// Whether processes of the tree are in different groups. Reads /proc.
bool spans_several_cgroups(const std::vector<HostPid>& tree);

// Dump: while the tree stands still.
class CgroupCollector {
 public:
  // A process and its threads; pid and tids as the tree itself sees them. A process in a group that lies outside of our
  // cgroup namespace is refused.
  void enter(HostPid pid);
  void write(images::ImageWriter& writer);  // cgroups.img

 private:
  std::vector<uint32_t> enter_groups(const std::vector<procfs::CgroupLine>& lines);
  uint32_t enter_group(const std::string& hierarchy, const std::string& path);
  void enter_below(const std::string& hierarchy, const std::string& path);

  CgroupHierarchies hierarchies_;
  std::map<std::pair<std::string, std::string>, mcr::image::Cgroup> groups_;  // by hierarchy and path
  std::set<std::pair<std::string, std::string>> walked_;                      // everything below is entered
  std::vector<mcr::image::CgroupMember> members_;
};

enum class CgroupMode {
  ignore,  // nothing is done
  none,    // the groups must be there and stay as they are
  props,   // they must be there and are configured
  soft,    // missing ones are made and configured, others stay as they are
  full,    // missing ones are made, all are configured
  strict   // those that the tree was in may not be there, but for our own; all are made and configured
};

struct CgroupPolicy {
  CgroupMode mode = CgroupMode::ignore;
  // --cgroup-root: hierarchy (empty: all that are not named) and the group that the root process was in is to be.
  std::vector<std::pair<std::string, std::string>> roots;
};

// Restore. Groups that it made are removed by the destructor, and those that it configured are as before, unless keep()
// was called: end the processes before.
class RestoredCgroups {
 public:
  // Throws Fault::image when records do not fit.
  RestoredCgroups(const images::ImageReader& reader, CgroupPolicy policy);
  ~RestoredCgroups();
  RestoredCgroups(const RestoredCgroups&) = delete;
  RestoredCgroups& operator=(const RestoredCgroups&) = delete;

  // Throws Fault::image when a member is no process or thread of these: it would be moved.
  void require_members(std::span<const ProcessImage> images) const;
  void check(std::vector<Problem>& problems);
  void make();                      // groups and their configuration
  void enter_process(int32_t pid);  // moves a new process that has one thread
  void enter_threads();             // threads that are somewhere else than their process
  void keep();                      // freezes what was frozen; nothing is undone any more

 private:
  struct Group {
    mcr::image::Cgroup saved;
    std::string path;  // here
    bool has_members = false, made = false, wanted = true;
  };
  void read(const images::ImageReader& reader);
  void forget_strangers();
  void put_back(const mcr::image::Cgroup& before) noexcept;
  std::string path_here(const mcr::image::Cgroup& group) const;
  bool is_there(Group& group);
  void make_group(Group& group);
  void configure(Group& group, bool last);
  void make_folder(const std::string& hierarchy, const std::string& path);
  void enter(const mcr::image::CgroupMember& member);
  void move(uint32_t group, int32_t task, bool thread);

  CgroupPolicy policy_;
  CgroupHierarchies hierarchies_;
  std::map<uint32_t, Group> groups_;
  std::vector<mcr::image::CgroupMember> members_;
  std::vector<std::pair<std::string, std::string>> made_;  // hierarchy and path
  std::vector<mcr::image::Cgroup> changed_;                // as they were before
  bool is_in_image_ = false, kept_ = false;
};

}  // namespace mcr::tree

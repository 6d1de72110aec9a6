#include "core/tree/cgroups.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "core/base/bounds.h"
#include "core/base/log.h"
#include "core/sys/descriptor.h"
#include "core/sys/file.h"
#include "core/trace/frozen_tree.h"
#include "core/tree/cgroup_files.h"

namespace mcr::tree {
namespace {

using image::Cgroup;
using image::CgroupMember;

constexpr char kFile[] = "cgroups.img";
constexpr size_t kMostBelow = 4096;  // groups below one of the tree's

// Below a root that is open: "/" is ".".
std::string relative(const std::string& path) {
  return path == "/" ? "." : path.substr(1);
}

std::string parent_of(const std::string& path) {
  const size_t at = path.rfind('/');
  return at == 0 ? "/" : path.substr(0, at);
}

std::vector<procfs::CgroupLine> groups_of(const std::string& folder) {
  return procfs::parse_cgroups(sys::read_text(folder + "/cgroup"));
}

std::string describe(const std::string& hierarchy, const std::string& path) {
  return fmt::format("control group {} ({})", path, describe_hierarchy(hierarchy));
}

UniqueFd open_group(CgroupHierarchies& hierarchies, const std::string& hierarchy, const std::string& path) {
  return sys::open_at(hierarchies.root(hierarchy), relative(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

}  // namespace

bool spans_several_cgroups(const std::vector<HostPid>& tree) {
  std::optional<std::string> first;
  for (const HostPid pid : tree) {
    auto text = sys::try_read_text(fmt::format("/proc/{}/cgroup", pid));
    if (!text) continue;
    if (!first)
      first = std::move(text);
    else if (*text != *first)
      return true;
  }
  return false;
}

void CgroupCollector::enter(HostPid pid) {
  const Step step("control groups of process {}", pid);
  const auto own = groups_of(fmt::format("/proc/{}", pid));
  CgroupMember process;
  process.set_pid(trace::number_inside(HostTid(pid.get())));
  for (const uint32_t group : enter_groups(own)) process.add_cgroups(group);
  members_.push_back(process);
  for (const HostTid tid : trace::threads_of(pid)) {
    const auto lines = groups_of(fmt::format("/proc/{}/task/{}", pid, tid));
    if (lines == own) continue;
    CgroupMember thread;
    thread.set_pid(process.pid());
    thread.set_tid(trace::number_inside(tid));
    for (const uint32_t group : enter_groups(lines)) thread.add_cgroups(group);
    members_.push_back(std::move(thread));
  }
}

std::vector<uint32_t> CgroupCollector::enter_groups(const std::vector<procfs::CgroupLine>& lines) {
  std::vector<uint32_t> ids;
  for (const auto& [hierarchy, path] : lines) {
    if (!bounds::is_kernel_path(path))
      throw Error(Fault::refused, fmt::format("{} cannot be reached from here", describe(hierarchy, path)),
                  "run mini-criu in the cgroup namespace of the host, or without --manage-cgroups");
    ids.push_back(enter_group(hierarchy, path));
    enter_below(hierarchy, path);
  }
  return ids;
}

// With all above it, which a restore may have to make.
uint32_t CgroupCollector::enter_group(const std::string& hierarchy, const std::string& path) {
  const auto [place, is_new] = groups_.try_emplace({hierarchy, path});
  if (!is_new) return place->second.id();
  Cgroup& group = place->second;
  group.set_id(static_cast<uint32_t>(groups_.size()));
  group.set_hierarchy(hierarchy);
  group.set_path(path);
  const Step step("{}", describe(hierarchy, path));
  const UniqueFd folder = open_group(hierarchies_, hierarchy, path);
  const auto status = sys::stat_fd(folder.get());
  group.set_mode(status.st_mode & 07777), group.set_uid(status.st_uid), group.set_gid(status.st_gid);
  if (path == "/") return group.id();
  for (auto& file : read_cgroup_files(folder.get())) *group.add_files() = std::move(file);
  const uint32_t id = group.id();
  enter_group(hierarchy, parent_of(path));
  return id;
}

// Only below groups that the tree is in: their neighbours are somebody else's.
void CgroupCollector::enter_below(const std::string& hierarchy, const std::string& path) {
  if (path == "/" || !walked_.emplace(hierarchy, path).second) return;
  const UniqueFd folder = open_group(hierarchies_, hierarchy, path);
  for (const std::string& name : sys::list_directory_fd(folder.get())) {
    const auto status = sys::try_stat_at(folder.get(), name);
    if (!status || !S_ISDIR(status->st_mode)) continue;
    if (groups_.size() > kMostBelow)
      throw Error(Fault::refused, fmt::format("more than {} control groups lie below those of the program", kMostBelow),
                  "dump without --manage-cgroups");
    enter_group(hierarchy, path + "/" + name);
    enter_below(hierarchy, path + "/" + name);
  }
}

void CgroupCollector::write(images::ImageWriter& writer) {
  auto records = writer.records(kFile);
  for (const auto& [place, group] : groups_) records.append(group);
  for (const CgroupMember& member : members_) records.append(member);
  records.finish();
  writer.add(records);
}

RestoredCgroups::RestoredCgroups(const images::ImageReader& reader, CgroupPolicy policy) : policy_(std::move(policy)) {
  is_in_image_ = reader.has(kFile);
  if (is_in_image_) read(reader);
}

RestoredCgroups::~RestoredCgroups() {
  if (kept_) return;
  for (size_t i = changed_.size(); i-- > 0;) put_back(changed_[i]);
  for (size_t i = made_.size(); i-- > 0;) {
    const auto& [hierarchy, path] = made_[i];
    if (!sys::try_unlink_at(hierarchies_.root(hierarchy), relative(path), true))
      log::warning("cgroups", "{} could not be removed again", describe(hierarchy, path));
  }
}

void RestoredCgroups::read(const images::ImageReader& reader) {
  const Step step("{}", kFile);
  const auto require = [](bool good, const char* what) {
    if (!good) throw Error(Fault::image, fmt::format("{} cannot be; the image is damaged", what));
  };
  auto records = reader.records(kFile);
  while (const auto type = records.next_type()) {
    if (*type == Cgroup::descriptor()->full_name()) {
      Group group{records.read<Cgroup>(), {}};
      const auto& saved = group.saved;
      require(bounds::is_kernel_path(saved.path()), "the path of a control group");
      require(saved.hierarchy().size() <= 255 && saved.hierarchy().find_first_of("\n\\/ ") == std::string::npos &&
                  saved.hierarchy().find('\0') == std::string::npos,
              "the name of a hierarchy");
      for (const auto& file : saved.files()) require(is_cgroup_file(file), "the name of a file");
      require(saved.id() != 0 && groups_.emplace(saved.id(), group).second, "the number of a control group");
      continue;
    }
    CgroupMember member = records.read<CgroupMember>();
    require(bounds::is_pid(member.pid()) && (member.tid() == 0 || bounds::is_pid(member.tid())), "a member");
    for (const uint32_t id : member.cgroups()) {
      require(groups_.contains(id), "the group of a member");
      groups_.at(id).has_members = true;
    }
    members_.push_back(std::move(member));
  }
  forget_strangers();
  for (auto& [id, group] : groups_) group.path = path_here(group.saved);
}

// Groups that no process of the image is in, nor above or below: an image has no business with them.
void RestoredCgroups::forget_strangers() {
  using Place = std::pair<std::string, std::string>;
  std::set<Place> of_members, above;
  for (const auto& [id, group] : groups_) {
    const auto& saved = group.saved;
    if (!group.has_members) continue;
    of_members.emplace(saved.hierarchy(), saved.path());
    for (std::string path = saved.path(); path != "/"; path = parent_of(path))
      above.emplace(saved.hierarchy(), parent_of(path));
  }
  const auto is_below = [&](const Cgroup& saved) {
    for (std::string path = saved.path(); path != "/"; path = parent_of(path))
      if (of_members.contains({saved.hierarchy(), path})) return true;
    return false;
  };
  std::erase_if(groups_, [&](const auto& entry) {
    const Cgroup& saved = entry.second.saved;
    return !entry.second.has_members && !above.contains({saved.hierarchy(), saved.path()}) && !is_below(saved);
  });
}

void RestoredCgroups::require_members(std::span<const ProcessImage> images) const {
  std::set<std::pair<int32_t, int32_t>> known;
  for (const ProcessImage& image : images) {
    known.emplace(image.core.pid(), 0);
    for (const auto& thread : image.threads) known.emplace(image.core.pid(), thread.tid());
  }
  for (const CgroupMember& member : members_)
    if (!known.contains({member.pid(), member.tid()}))
      throw Error(Fault::image, fmt::format("{}: {} of process {} is not in the image", kFile,
                                            member.tid() == 0 ? "a member" : "a thread", member.pid()));
}

// The root process is the first member.
std::string RestoredCgroups::path_here(const Cgroup& group) const {
  const std::string *wanted = nullptr, *for_all = nullptr;
  for (const auto& [hierarchy, path] : policy_.roots) {
    if (hierarchy.empty())
      for_all = &path;
    else if (hierarchy == group.hierarchy())
      wanted = &path;
  }
  if (!wanted) wanted = for_all;
  if (!wanted || members_.empty()) return group.path();
  for (const uint32_t id : members_.front().cgroups()) {
    const Cgroup& root = groups_.at(id).saved;
    if (root.hierarchy() != group.hierarchy()) continue;
    if (group.path() == root.path()) return *wanted;
    const std::string prefix = root.path() == "/" ? "/" : root.path() + "/";
    if (group.path().starts_with(prefix))
      return (*wanted == "/" ? "" : *wanted) + "/" + group.path().substr(prefix.size());
  }
  return group.path();
}

// A root always is; of a hierarchy that has gone since, nobody was anywhere else.
bool RestoredCgroups::is_there(Group& group) {
  if (group.path == "/") return true;
  if (!hierarchies_.has(group.saved.hierarchy())) return false;
  return sys::try_stat_at(hierarchies_.root(group.saved.hierarchy()), relative(group.path)).has_value();
}

void RestoredCgroups::check(std::vector<Problem>& problems) {
  if (policy_.mode == CgroupMode::ignore) return;
  if (!is_in_image_) {
    problems.push_back({"control groups", "are not in this image", "dump with --manage-cgroups, or restore without"});
    return;
  }
  const bool must_be_there = policy_.mode == CgroupMode::none || policy_.mode == CgroupMode::props;
  for (auto& [id, group] : groups_) {
    const std::string name = describe(group.saved.hierarchy(), group.path);
    if (group.path == "/") continue;
    if (!hierarchies_.can_have(group.saved.hierarchy())) {
      problems.push_back({name, "there is no such hierarchy here", "restore without --manage-cgroups"});
      continue;
    }
    const bool there = is_there(group);
    if (must_be_there && group.has_members && !there)
      problems.push_back({name, "is not there", "make it, or use --manage-cgroups=soft, which does"});
    if (policy_.mode == CgroupMode::strict && group.has_members && there &&
        group.path != hierarchies_.own_path(group.saved.hierarchy()))
      problems.push_back({name, "is there already", "remove it, or use --manage-cgroups=full"});
    if (must_be_there && !there) group.wanted = false;
  }
}

void RestoredCgroups::make() {
  if (policy_.mode == CgroupMode::ignore) return;
  std::vector<Group*> in_order;
  for (auto& [id, group] : groups_) in_order.push_back(&group);
  std::sort(in_order.begin(), in_order.end(), [](const Group* a, const Group* b) { return a->path < b->path; });
  for (Group* group : in_order) {
    if (!group->wanted || group->path == "/") continue;
    const Step step("{}", describe(group->saved.hierarchy(), group->path));
    if (!is_there(*group)) make_group(*group);
    configure(*group, false);
  }
}

void RestoredCgroups::make_folder(const std::string& hierarchy, const std::string& path) {
  sys::make_directory_at(hierarchies_.root(hierarchy), relative(path), 0755);
  made_.emplace_back(hierarchy, path);
}

// With everything above it: with --cgroup-root that may be what the image does not know.
void RestoredCgroups::make_group(Group& group) {
  const int root = hierarchies_.root(group.saved.hierarchy());
  for (size_t at = group.path.find('/', 1); at != std::string::npos; at = group.path.find('/', at + 1)) {
    const std::string above = group.path.substr(0, at);
    if (!sys::try_stat_at(root, relative(above))) make_folder(group.saved.hierarchy(), above);
  }
  make_folder(group.saved.hierarchy(), group.path);
  group.made = true;
  const UniqueFd folder = open_group(hierarchies_, group.saved.hierarchy(), group.path);
  sys::set_ownership(folder.get(), group.saved.uid(), group.saved.gid());
  sys::set_mode(folder.get(), group.saved.mode() & 07777);
  for (const auto& file : group.saved.files()) {
    const auto open = sys::try_open_at(folder.get(), file.name(), O_WRONLY | O_NOFOLLOW);
    if (!open) continue;  // a controller that this host lacks
    const auto status = sys::stat_fd(open->get());
    if (status.st_uid != file.uid() || status.st_gid != file.gid())
      sys::set_ownership(open->get(), file.uid(), file.gid());
    if ((status.st_mode & 07777) != file.mode()) sys::set_mode(open->get(), file.mode() & 07777);
  }
}

void RestoredCgroups::configure(Group& group, bool last) {
  const bool all = policy_.mode == CgroupMode::full || policy_.mode == CgroupMode::props;
  if (policy_.mode == CgroupMode::none || (!group.made && !all)) return;
  const UniqueFd folder = open_group(hierarchies_, group.saved.hierarchy(), group.path);
  if (!group.made && !last) {
    Cgroup& before = changed_.emplace_back();
    before.set_hierarchy(group.saved.hierarchy()), before.set_path(group.path);
    for (auto& file : read_cgroup_files(folder.get())) *before.add_files() = std::move(file);
  }
  for (const std::string& name : set_cgroup_files(folder.get(), group.saved, last))
    log::warning("cgroups", "{}: {} could not be set to what it was", describe(group.saved.hierarchy(), group.path),
                 name);
}

// What was there before us, and was configured.
void RestoredCgroups::put_back(const Cgroup& before) noexcept {
  try {
    const UniqueFd folder = open_group(hierarchies_, before.hierarchy(), before.path());
    for (const bool last : {false, true})
      for (const std::string& name : set_cgroup_files(folder.get(), before, last))
        log::warning("cgroups", "{}: {} could not be set back", describe(before.hierarchy(), before.path()), name);
  } catch (const Error& error) {
    log::warning("cgroups", "{} could not be configured as before: {}", describe(before.hierarchy(), before.path()),
                 error.what());
  }
}

void RestoredCgroups::move(uint32_t id, int32_t task, bool thread) {
  Group& group = groups_.at(id);
  const std::string& hierarchy = group.saved.hierarchy();
  const Step step("{}", describe(hierarchy, group.path));
  const UniqueFd folder = open_group(hierarchies_, hierarchy, group.path);
  const char* file = !thread ? "cgroup.procs" : hierarchy.empty() ? "cgroup.threads" : "tasks";
  const UniqueFd members = sys::open_at(folder.get(), file, O_WRONLY | O_NOFOLLOW);
  sys::write_text(members.get(), std::to_string(task));
}

// Only where it is not yet: a move takes the kernel some time.
void RestoredCgroups::enter(const CgroupMember& member) {
  const int32_t task = member.tid() != 0 ? member.tid() : member.pid();
  const auto now = groups_of(fmt::format("/proc/{}/task/{}", member.pid(), task));
  for (const uint32_t id : member.cgroups()) {
    const Group& group = groups_.at(id);
    const procfs::CgroupLine line{group.saved.hierarchy(), group.path};
    const bool is_gone =
        line.path == "/" && std::ranges::find(now, line.hierarchy, &procfs::CgroupLine::hierarchy) == now.end();
    if (!is_gone && std::find(now.begin(), now.end(), line) == now.end()) move(id, task, member.tid() != 0);
  }
}

void RestoredCgroups::enter_process(int32_t pid) {
  if (policy_.mode == CgroupMode::ignore) return;
  for (const CgroupMember& member : members_)
    if (member.pid() == pid && member.tid() == 0) enter(member);
}

void RestoredCgroups::enter_threads() {
  if (policy_.mode == CgroupMode::ignore) return;
  for (const CgroupMember& member : members_)
    if (member.tid() != 0) enter(member);
}

void RestoredCgroups::keep() {
  if (policy_.mode != CgroupMode::ignore)
    for (auto& [id, group] : groups_)
      if (group.wanted && group.path != "/") configure(group, true);
  kept_ = true;
}

}  // namespace mcr::tree

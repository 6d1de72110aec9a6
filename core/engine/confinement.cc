#include "core/engine/confinement.h"

#include <linux/keyctl.h>
#include <sys/syscall.h>

#include <cerrno>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/procfs/status.h"
#include "core/sys/file.h"
#include "core/sys/namespaces.h"

namespace mcr::engine {
namespace {

constexpr size_t kTextBytes = 256, kMostKeys = 64;

uint64_t key_id(int32_t serial) {
  return static_cast<uint64_t>(static_cast<int64_t>(serial));
}

// get_robust_list(2) of another task asks for the right to trace it. A task in a Landlock domain never has it over one
// outside (security/landlock/task.c), whatever its rules are about; everybody else has it over a bystander.
std::optional<size_t> ask_landlock(inject::Batch& batch, HostPid pid, const procfs::Status& host,
                                   Bystanders& bystanders) {
  const sys::Bystander* bystander = bystanders.of(host.uid[0], host.gid[0]);
  if (!bystander || !bystander->ready()) return std::nullopt;
  const RemoteAddr head = batch.reserve(8), length = batch.reserve(8);
  // In a pid namespace that a restore has made its process 1 stands by: same user, no capabilities.
  const pid_t other = sys::lives_in_own_namespaces(pid) ? 1 : bystander->pid();
  return batch.try_add("get_robust_list", SYS_get_robust_list,
                       {static_cast<uint64_t>(other), head.get(), length.get()});
}

void refuse_landlock(int64_t answer) {
  if (answer != -EPERM) return;
  throw Error(Fault::refused, "it has restricted itself with Landlock, and the rules cannot be read back",
              "a restored program would be free of them: run it without its Landlock sandbox");
}

// "keyring;UID;GID;PERMISSIONS;NAME"
std::string name_in(const std::string& description) {
  size_t at = 0;
  for (int field = 0; field < 4; ++field) {
    at = description.find(';', at);
    if (at == std::string::npos) return {};
    ++at;
  }
  return description.substr(at);
}
bool is_of_user(const std::string& description) {
  return description.starts_with("keyring;") && name_in(description).starts_with("_uid");
}

std::string text_at(const inject::Batch& batch, RemoteAddr at) {
  const auto bytes = batch.get<std::array<char, kTextBytes>>(at);
  return std::string(bytes.data(), strnlen(bytes.data(), bytes.size() - 1));
}

struct Keyrings {
  int64_t thread = 0, process = 0, session = 0;  // serial numbers, or -errno
  std::string session_name;
  std::vector<int32_t> session_keys;
};

// What a login makes holds nothing but a link to the keyring of its user (pam_keyinit(8)).
size_t count_own(inject::ParasiteSession& parasite, const std::vector<int32_t>& keys) {
  inject::Batch batch = parasite.channel().batch();
  std::vector<RemoteAddr> names;
  for (const int32_t key : keys) {
    names.push_back(batch.reserve(kTextBytes));
    batch.try_add("keyctl(KEYCTL_DESCRIBE)", SYS_keyctl,
                  {KEYCTL_DESCRIBE, key_id(key), names.back().get(), kTextBytes - 1});
  }
  parasite.channel().run(batch);
  size_t own = 0;
  for (const RemoteAddr name : names) own += is_of_user(text_at(batch, name)) ? 0 : 1;
  return own;
}

void refuse_session_keyring(inject::ParasiteSession& parasite, const Keyrings& all) {
  if (all.session <= 0 || all.session_name.starts_with("_uid")) return;
  if (const auto ours = sys::session_keyring(); ours && *ours == all.session) return;
  const size_t own = count_own(parasite, all.session_keys);
  const bool is_named = all.session_name != "_ses";
  if (!is_named && own == 0) return;
  throw Error(Fault::refused,
              fmt::format("it has the session keyring {:#x} (\"{}\"), with {} key{} of its own", all.session,
                          all.session_name, own, own == 1 ? "" : "s"),
              "a restored program has the session keyring of restore: run mini-criu inside that session, or start the "
              "program without a keyring of its own");
}

}  // namespace

void refuse_foreign_label(HostPid view) {
  static const std::string ours = sys::security_label("/proc/self");
  const std::string theirs = sys::security_label(fmt::format("/proc/{}", view));
  if (theirs == ours) return;
  throw Error(Fault::refused,
              fmt::format("a security module has given it the label \"{}\", mini-criu has \"{}\"", theirs, ours),
              "run mini-criu under the same label (runcon, aa-exec): a restored program has that of restore");
}

void Bystanders::prepare(const std::set<HostPid>& tree) {
  if (!are_needed_) return;
  for (const HostPid pid : tree)
    if (const auto text = sys::try_read_text(fmt::format("/proc/{}/status", pid))) {
      const auto ids = procfs::parse_status(*text);
      of(ids.uid[0], ids.gid[0]);
    }
}

const sys::Bystander* Bystanders::of(uint32_t uid, uint32_t gid) {
  if (!are_needed_) return nullptr;
  return &all_.try_emplace({uid, gid}, uid, gid).first->second;
}

// No question makes a keyring, but for those of the user.
ConfinementQuestions::ConfinementQuestions(inject::Batch& batch, HostPid pid, const procfs::Status& host,
                                           Bystanders& bystanders)
    : landlock_(ask_landlock(batch, pid, host, bystanders)) {
  const auto id_of = [&](int32_t special) {
    return batch.try_add("keyctl(KEYCTL_GET_KEYRING_ID)", SYS_keyctl, {KEYCTL_GET_KEYRING_ID, key_id(special), 0});
  };
  thread_ = id_of(KEY_SPEC_THREAD_KEYRING);
  process_ = id_of(KEY_SPEC_PROCESS_KEYRING);
  session_ = id_of(KEY_SPEC_SESSION_KEYRING);
  name_ = batch.reserve(kTextBytes);
  keys_ = batch.reserve(kMostKeys * sizeof(int32_t));
  batch.try_add("keyctl(KEYCTL_DESCRIBE)", SYS_keyctl,
                {KEYCTL_DESCRIBE, key_id(KEY_SPEC_SESSION_KEYRING), name_.get(), kTextBytes - 1});
  listed_ = batch.try_add("keyctl(KEYCTL_READ)", SYS_keyctl,
                          {KEYCTL_READ, key_id(KEY_SPEC_SESSION_KEYRING), keys_.get(), kMostKeys * sizeof(int32_t)});
}

void ConfinementQuestions::refuse(const inject::Batch& batch, inject::ParasiteSession& parasite) const {
  if (landlock_) refuse_landlock(batch.result(*landlock_));
  Keyrings all{
      batch.result(thread_), batch.result(process_), batch.result(session_), name_in(text_at(batch, name_)), {}};
  const auto serials = batch.get<std::array<int32_t, kMostKeys>>(keys_);
  const size_t count = static_cast<size_t>(std::max<int64_t>(batch.result(listed_), 0)) / sizeof(int32_t);
  all.session_keys.assign(serials.begin(), serials.begin() + static_cast<ptrdiff_t>(std::min(count, kMostKeys)));
  for (const auto& [serial, what] : {std::pair{all.thread, "thread"}, std::pair{all.process, "process"}})
    if (serial > 0)
      throw Error(Fault::refused, fmt::format("it has a {} keyring of its own, {:#x}", what, serial),
                  "keys cannot be saved: let it keep them in its user's keyring (@u), which stays");
  refuse_session_keyring(parasite, all);
}

}  // namespace mcr::engine

// Sockets of the family AF_UNIX: pairs, named, abstract and unbound ones, listeners with those who wait, and what lies
// in their queues.
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include <cstring>

#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/socket_options.h"
#include "core/kinds/unix_sockets.h"
#include "core/sys/file.h"
#include "core/sys/process.h"

namespace mcr::kinds {
namespace {

constexpr int kListening = 10;
constexpr int kPeerCredentials = 17, kPeerGroups = 59;  // SO_PEERCRED, SO_PEERGROUPS

[[noreturn]] void refuse(const std::string& reason, const std::string& remedy) {
  throw Error(Fault::refused, reason, remedy);
}

bool is_abstract(const std::string& name) {
  return name.empty() || name.front() == '\0';
}

// The bytes of sun_path in an address; of a path without the zero at its end.
std::string name_in(const std::string& address) {
  if (address.size() <= sizeof(sa_family_t)) return {};
  const std::string name = address.substr(sizeof(sa_family_t));
  return is_abstract(name) ? name : std::string(name.c_str());
}

std::string shown(const std::string& name) {
  std::string text = is_abstract(name) ? fmt::format("@{}", name.substr(name.empty() ? 0 : 1)) : name;
  while (!text.empty() && text.back() == '\0') text.pop_back();
  return text;
}

// Where the socket's file is found under its name: by the roots and working directories that the tree has.
void find_place(const procfs::UnixSocket& socket, const std::set<HostPid>& tree, image::UnixSocket& message) {
  const std::string& name = message.name();
  std::vector<std::pair<std::string, std::string>> places;  // root, folder
  if (name.front() == '/') places.emplace_back("", "/");
  for (const HostPid pid : tree) {
    const std::string base = fmt::format("/proc/{}", pid);
    const auto link = sys::try_read_link(base + (name.front() == '/' ? "/root" : "/cwd"));
    if (!link || *link == "/") continue;
    places.emplace_back(name.front() == '/' ? *link : "", name.front() == '/' ? "/" : *link);
  }
  if (name.front() != '/') places.emplace_back("", "/");
  for (const auto& [root, folder] : places) {
    const auto status = sys::try_stat(root + folder + "/" + name, false);
    if (!status || !S_ISSOCK(status->st_mode) || static_cast<uint32_t>(status->st_ino) != socket.file_inode) continue;
    message.set_root(root), message.set_folder(folder), message.set_on_disk(true);
    message.set_mode(status->st_mode & 07777), message.set_uid(status->st_uid), message.set_gid(status->st_gid);
    return;
  }
}

// Its file has another name now, or its name began in a folder that is nobody's any more: the kernel knows where it is.
void find_file(int fd, image::UnixSocket& message) {
  const UniqueFd file = sys::try_open_socket_file(fd);
  if (!file.valid()) return;
  const std::string& name = message.name();
  const auto path = sys::try_read_link(fmt::format("/proc/self/fd/{}", file.get()));
  const struct stat status = sys::stat_fd(file.get());
  const auto there = path ? sys::try_stat(*path, false) : std::nullopt;
  if (!there || there->st_dev != status.st_dev || there->st_ino != status.st_ino) return;  // deleted, or out of reach
  const std::string tail = (name.front() == '/' ? "" : "/") + name;
  const size_t slash = path->rfind('/');
  if (path->ends_with(tail)) {
    const std::string head = path->substr(0, path->size() - tail.size());
    message.set_root(name.front() == '/' ? head : ""),
        message.set_folder(name.front() == '/' || head.empty() ? "/" : head);
    message.set_on_disk(true);
  } else if (name.front() == '/' || name.find('/') == std::string::npos) {
    message.set_folder(name.front() == '/' || slash == 0 ? "/" : path->substr(0, slash));
    message.set_file(*path);
  } else {
    return;
  }
  message.set_mode(status.st_mode & 07777), message.set_uid(status.st_uid), message.set_gid(status.st_gid);
}

// Whoever accepts a connection sees the ids of the one that made it (SO_PEERCRED). They are shown to nobody before:
// but if all who have the socket are whose it is, it was one of them.
void require_known_ids(const FileView& file, const OpenFiles& table) {
  const bool is_in_flight = file.pid == sys::own_pid();
  const std::set<HostPid> holders = is_in_flight ? table.tree() : std::set<HostPid>{file.pid};
  for (const HostPid pid : holders) {
    const auto text = sys::try_read_text(fmt::format("/proc/{}/status", pid));
    if (!text) continue;
    const procfs::Status status = procfs::parse_status(*text);
    if (status.uid[1] != file.status.st_uid || status.gid[1] != file.status.st_gid)
      refuse(fmt::format("it waits to be accepted, and cannot be told with which ids it was connected: it is of {}:{}, "
                         "process {} is {}:{} now",
                         file.status.st_uid, file.status.st_gid, pid, status.uid[1], status.gid[1]),
             "let the program accept the connection, and dump again");
  }
}

void read_peer_ids(int fd, image::UnixSocket& message) {
  const auto ids = sys::try_get_option(fd, SOL_SOCKET, kPeerCredentials, sizeof(ucred));
  if (!ids || ids->size() != sizeof(ucred)) return;
  ucred peer{};
  std::memcpy(&peer, ids->data(), sizeof peer);
  if (peer.uid == static_cast<uid_t>(-1)) return;
  auto& into = *message.mutable_peer_ids();
  into.set_uid(peer.uid), into.set_gid(peer.gid);
  constexpr size_t kMostGroups = 65536;
  const auto groups = sys::try_get_option(fd, SOL_SOCKET, kPeerGroups, kMostGroups * sizeof(gid_t));
  for (size_t at = 0; groups && at + sizeof(gid_t) <= groups->size(); at += sizeof(gid_t)) {
    gid_t group = 0;
    std::memcpy(&group, groups->data() + at, sizeof group);
    into.add_groups(group);
  }
}

class UnixSocketKind : public Kind {
 public:
  const char* name() const override { return "unix_socket"; }

  bool claims(const FileView& file) const override {
    if (!is_socket(file)) return false;
    const auto protocol = sys::protocol_name(file.door);
    return protocol && protocol->starts_with("UNIX");
  }

  void look(const FileView& file, const OpenFiles& table) const override {
    const SocketTable& sockets = table.sockets();
    const procfs::UnixSocket* socket = sockets.find_unix(file.status.st_ino);
    if (!socket)
      refuse("the kernel does not tell who its peer is",
             "use a kernel with CONFIG_UNIX_DIAG, in this network namespace");
    if (socket->state == kListening) return look_at_listener(*socket, table);
    if (!socket->has_peer) return;
    if (socket->peer != 0) return look_at_peer(*socket, table);
    const uint64_t listener = sockets.listener_of(socket->inode);
    if (listener == 0) return;  // the peer is closed
    if (!sockets.has_collected() && !sockets.holds(listener) && !sockets.has_holder(listener, table.tree())) return;
    if (!sockets.holds(listener))
      refuse(fmt::format("it waits to be accepted by {} outside of the tree",
                         sockets.describe_holder(listener, table.tree())),
             "dump again when it is accepted, or dump both together");
    if (socket->backlog != 0)  // bytes that it has sent
      refuse("it has sent something before it was accepted, which nobody can read before that",
             "let the program accept the connection, and dump again");
    require_known_ids(file, table);
  }

  void dump(const FileView& file, OpenFiles& table, image::FileObject& object) const override {
    const SocketTable& sockets = table.sockets();
    const procfs::UnixSocket& socket = *sockets.find_unix(file.status.st_ino);
    image::UnixSocket message;
    dump_socket(file.copy, file.status, *message.mutable_common());
    message.set_state(socket.state), message.set_shutdown(socket.shutdown);
    if (socket.name) {
      message.set_has_name(true);
      message.set_name(is_abstract(*socket.name) ? *socket.name : std::string(socket.name->c_str()));
      const bool has_file = !is_abstract(*socket.name) && (socket.type == SOCK_DGRAM || !socket.has_peer);
      if (has_file) find_place(socket, table.tree(), message);
      if (has_file && !message.on_disk()) find_file(file.copy, message);
    }
    if (socket.state == kListening) {
      message.set_backlog(static_cast<int>(socket.backlog));
      for (const uint64_t client : socket.pending) message.add_pending()->set_client(client);
    } else if (socket.has_peer) {
      message.set_has_peer(true);
      if (sockets.holds(socket.peer)) message.set_peer(socket.peer);
      if (socket.peer == 0) message.set_listener(sockets.listener_of(socket.inode));
      if (socket.peer != 0 && !sockets.holds(socket.peer)) message.set_outside_peer(*sys::peer_name(file.copy));
      if (socket.peer == 0 && message.listener() == 0)
        if (const auto address = sys::peer_name(file.copy)) message.set_peer_name(name_in(*address));
      message.set_reset(socket.peer == 0 && message.listener() == 0 && sys::has_error(file.copy));
    }
    read_peer_ids(file.copy, message);
    table.dump_queue(file.status.st_ino, *message.mutable_queue());
    object.mutable_body()->PackFrom(message);
  }

  // The groups of those whose connections wait: all descriptors of the tree are known now.
  void connect(const FileView&, const OpenFiles& table, image::FileObject& object) const override {
    auto message = body_of<image::UnixSocket>(object);
    if (message.pending_size() == 0) return;
    for (auto& pending : *message.mutable_pending())
      for (const auto& [pid, views] : table.views())
        for (const FileView& view : views)
          if (is_socket(view) && view.status.st_ino == pending.client() && !pending.has_ids()) {
            const auto status = procfs::parse_status(sys::read_text(fmt::format("/proc/{}/status", pid)));
            auto& ids = *pending.mutable_ids();
            ids.set_uid(view.status.st_uid), ids.set_gid(view.status.st_gid);
            for (const uint32_t group : status.groups) ids.add_groups(group);
          }
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    image::UnixSocket message;
    if (!object.body().UnpackTo(&message)) return problems.push_back({"unix socket", "its record is unreadable", {}});
    check_unix_socket(message, table, problems);
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles& table) const override {
    return table.unix_sockets().take(object.id(), table);
  }

 private:
  static void look_at_listener(const procfs::UnixSocket& socket, const OpenFiles& table) {
    const SocketTable& sockets = table.sockets();
    for (const uint64_t client : socket.pending) {
      if (client == 0)
        refuse("a connection waits to be accepted whose other end is closed already",
               "let the program accept it, and dump again");
      if (!sockets.holds(client) && (sockets.has_collected() || sockets.has_holder(client, table.tree())))
        refuse(fmt::format("a connection of {} outside of the tree waits to be accepted",
                           sockets.describe_holder(client, table.tree())),
               "let the program accept it, and dump again, or dump both together");
    }
  }

  // Before the freeze nobody knows yet what travels in messages.
  static void look_at_peer(const procfs::UnixSocket& socket, const OpenFiles& table) {
    const SocketTable& sockets = table.sockets();
    if (sockets.holds(socket.peer)) return;
    if (!sockets.has_collected() && !sockets.has_holder(socket.peer, table.tree())) return;
    const procfs::UnixSocket* peer = sockets.find_unix(socket.peer);
    const std::string who = fmt::format("its other end{} is held by {} outside of the tree",
                                        peer && peer->name ? fmt::format(" {}", shown(*peer->name)) : "",
                                        sockets.describe_holder(socket.peer, table.tree()));
    if (!table.policy().allows_outside_peer(socket.inode))
      refuse(who, "dump both together, or give --ext-unix-sk to have it connected again by name");
    if (!peer || !peer->name) refuse(who + ", and has no name to be connected to again", "dump both together");
    if (socket.type != SOCK_DGRAM && socket.queued != 0)
      refuse(who + ", and has sent what is not read yet", "let the program read it, and dump again");
    if (sockets.has_collected() && !sockets.queue(socket.inode).empty() && socket.type != SOCK_DGRAM)
      refuse(who + ", and has sent what is not read yet", "let the program read it, and dump again");
  }
};

}  // namespace

const Kind* unix_socket_kind() {
  static const UnixSocketKind kind;
  return &kind;
}

}  // namespace mcr::kinds

#include "core/kinds/unix_sockets.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>

#include "core/base/log.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/socket_options.h"
#include "core/sys/descriptor.h"
#include "core/sys/detached_mount.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "core/sys/rights.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

constexpr int kListening = 10;
constexpr size_t kLongestName = sizeof(sockaddr_un::sun_path);

bool is_path_name(const std::string& name) {
  return !name.empty() && name.front() != '\0';
}

std::string address_of(const std::string& name) {
  const sa_family_t family = AF_UNIX;
  return std::string(reinterpret_cast<const char*>(&family), sizeof family) + name;
}

// nullopt: of a socket without a name.
std::optional<std::string> name_in(const std::string& address) {
  if (address.size() <= sizeof(sa_family_t)) return std::nullopt;
  std::string name = address.substr(sizeof(sa_family_t));
  return is_path_name(name) ? std::string(name.c_str()) : name;
}

bool is_datagram(const image::UnixSocket& message) {
  return message.common().type() == SOCK_DGRAM;
}

std::unique_ptr<sys::AssumedIds> as(const image::SocketPeerIds& ids) {
  if (ids.uid() == sys::effective_uid() && ids.gid() == sys::effective_gid()) return nullptr;
  const std::vector<gid_t> groups(ids.groups().begin(), ids.groups().end());
  return std::make_unique<sys::AssumedIds>(ids.uid(), ids.gid(), groups);
}

std::unique_ptr<sys::AssumedIds> as(const image::UnixSocket& message) {
  return message.has_peer_ids() ? as(message.peer_ids()) : nullptr;
}

bool has_closed_peer(const image::UnixSocket& message) {
  return message.has_peer() && message.peer() == 0 && message.listener() == 0 && message.outside_peer().empty();
}

// An abstract name belongs to one socket of each type.
bool is_free(int type, const std::string& name) {
  if (is_path_name(name)) return true;
  const UniqueFd probe = sys::make_socket({AF_UNIX, type, 0});
  return sys::try_bind_socket(probe.get(), address_of(name)) == 0;
}

// Whether somebody has a socket with this file: ECONNREFUSED if nobody has. The probe is a datagram socket, of which
// the other one learns nothing: a stream refuses it as the wrong type, and one for datagrams is only connected to.
int probe_file(const std::string& path) {
  const UniqueFd probe = sys::make_socket({AF_UNIX, SOCK_DGRAM, 0});
  return sys::try_connect_socket(probe.get(), address_of(path));
}

// In the present folder: a file that a socket left behind goes, and nothing else.
void make_way(int folder, const std::string& name) {
  const auto old = sys::try_stat(name, false);
  if (!old) return;
  if (!S_ISSOCK(old->st_mode)) throw Error(Fault::refused, fmt::format("{} is no socket", name));
  const int code = probe_file(name);
  if (code != ECONNREFUSED && code != EACCES)
    throw Error(Fault::refused, fmt::format("another socket has the file {} now", name),
                "end the program that has it (ss -xlp names it)");
  sys::unlink_at(folder, name);
}

}  // namespace

UniqueFd UnixSockets::take(uint32_t id, OpenedFiles& table) {
  if (!is_made_) {
    is_made_ = true;
    load(table);
    make_all(table);
  }
  const auto found = sockets_.find(id);
  if (found == sockets_.end()) throw Error(Fault::image, "its record is unreadable");
  return sys::duplicate(found->second.fd.get());
}

void UnixSockets::load(const OpenedFiles& table) {
  for (const auto& [id, object] : table.objects()) {
    image::UnixSocket message;
    if (!object.body().Is<image::UnixSocket>() || !object.body().UnpackTo(&message)) continue;
    Socket& socket = sockets_[id];
    socket.flags = object.flags();
    socket.message = std::move(message);
    if (!by_inode_.emplace(socket.message.common().inode(), &socket).second)
      throw Error(Fault::image, fmt::format("files.img: object {}: its inode is another's", id));
  }
}

UnixSockets::Socket* UnixSockets::find(uint64_t inode) {
  const auto found = by_inode_.find(inode);
  return found == by_inode_.end() ? nullptr : found->second;
}

int UnixSockets::scratch() {
  if (!scratch_.valid()) scratch_ = sys::mount_detached("tmpfs", {});
  return scratch_.get();
}

void UnixSockets::make_all(OpenedFiles& table) {
  const auto each = [this](auto action) {
    for (auto& [id, socket] : sockets_) {
      const Step step("unix socket, object {}", id);
      action(socket);
    }
  };
  each([&](Socket& s) { make_connected(s); });  // first: some need a name that a listener has later
  each([&](Socket& s) { make_alone(s); });
  each([&](Socket& s) { bind(s); });
  each([&](Socket& s) { listen(s); });
  each([&](Socket& s) { fill(s, table); });
  each([&](Socket& s) { connect_datagrams(s, 0); });
  each([&](Socket& s) { fill(s, table); });  // what the peers of datagram sockets have sent
  each([&](Socket& s) { connect_pending(s); });
  each([&](Socket& s) { connect_outside(s); });
  each([&](Socket& s) { finish(s); });
}

void UnixSockets::make_connected(Socket& socket) {
  const image::UnixSocket& m = socket.message;
  if (socket.fd.valid() || !m.has_peer() || m.listener() != 0 || !m.outside_peer().empty()) return;
  if (m.peer() == 0) return make_widowed(socket);
  Socket* other = find(m.peer());
  if (!other) throw Error(Fault::image, fmt::format("files.img: there is no socket {}", m.peer()));
  const image::UnixSocket& o = other->message;
  if (other == &socket && is_datagram(m) && m.has_name()) return;  // connected to itself, later, by its name
  if (other == &socket || o.common().type() != m.common().type())
    throw Error(Fault::image, "files.img: two sockets that cannot be connected");
  const bool mutual = o.peer() == m.common().inode() && !other->fd.valid();
  if (is_datagram(m)) {
    // Only a pair connects those without a name, or was connected so before one of them went elsewhere. In a pair all
    // messages come from the other end.
    const bool must_be_pair = !o.has_name() || (mutual && !m.has_name());
    const bool may_be_pair = mutual && sent_by_others(socket) == 0 && sent_by_others(*other) == 0;
    if (!other->fd.valid() && (must_be_pair || may_be_pair)) make_pair(socket, *other);
    return;
  }
  if (!mutual) throw Error(Fault::image, "files.img: two sockets that cannot be connected");
  if (!m.has_name() && !o.has_name()) return make_pair(socket, *other);
  const bool is_server = o.has_name() == m.has_name() ? is_listener_name(socket) : m.has_name();
  is_server ? make_accepted(*other, socket) : make_accepted(socket, *other);
}

bool UnixSockets::is_listener_name(const Socket& socket) const {
  return std::ranges::any_of(sockets_, [&](const auto& entry) {
    return entry.second.message.state() == kListening && entry.second.message.name() == socket.message.name();
  });
}

void UnixSockets::make_pair(Socket& one, Socket& other) {
  const auto ids = as(one.message);
  auto [a, b] = sys::make_socket_pair(one.message.common().type());
  one.fd = std::move(a), other.fd = std::move(b);
  one.connected = other.connected = true;
  if (is_datagram(one.message)) {
    one.connected = one.message.peer() == other.message.common().inode();
    other.connected = other.message.peer() == one.message.common().inode();
    const sa_family_t nobody[8] = {AF_UNSPEC};  // now: what waits in one would be lost when it is connected elsewhere
    for (const Socket* end : {&one, &other})
      if (!end->connected) sys::connect_socket(end->fd.get(), {reinterpret_cast<const char*>(nobody), sizeof nobody});
  }
}

// Who is accepted has the name of the listener, and each end knows the ids of the other: of the one that listened and
// of the one that connected (unix(7), SO_PEERCRED).
UnixSockets::Ends UnixSockets::connect_by_name(const std::string& name, const image::UnixSocket& client,
                                               const image::UnixSocket& server, const std::string& client_name) {
  Ends ends;
  const sys::SocketType type{AF_UNIX, server.common().type(), 0};
  const UniqueFd listener = sys::make_socket(type);
  if (is_path_name(name))
    ends.aside = bind_aside(listener.get(), name);
  else
    sys::bind_socket(listener.get(), address_of(name));
  {
    const auto ids = as(client);
    sys::listen_on(listener.get(), 1);
  }
  ends.client = sys::make_socket(type);
  if (is_path_name(client_name)) (void)bind_aside(ends.client.get(), client_name);
  if (!client_name.empty() && !is_path_name(client_name)) sys::bind_socket(ends.client.get(), address_of(client_name));
  {
    std::optional<sys::AssumedPlace> place;
    const std::string folder = fmt::format("/aside-{}/", ends.aside);
    if (ends.aside != 0) place.emplace(scratch(), folder);
    const auto ids = as(server);
    sys::connect_socket(ends.client.get(), address_of(ends.aside != 0 ? folder + "s" : name));
  }
  ends.server = sys::accept_connection(listener.get());
  return ends;
}

void UnixSockets::make_accepted(Socket& client, Socket& server) {
  Ends ends = connect_by_name(server.message.name(), client.message, server.message, {});
  client.fd = std::move(ends.client), server.fd = std::move(ends.server);
  server.aside = ends.aside;
  client.connected = server.connected = server.bound = true;
}

void UnixSockets::make_widowed(Socket& socket) {
  const image::UnixSocket& m = socket.message;
  const int type = m.common().type();
  std::string peer_name = m.peer_name();
  const bool is_server = !is_datagram(m) && m.has_name() && (peer_name.empty() || is_listener_name(socket));
  const auto has_it = [&](const auto& entry) {
    return entry.second.message.name() == peer_name && entry.second.message.common().type() == type;
  };
  // A stand-in has it until the end of the restore; a listener of the moment does not.
  const bool is_ours = (is_server || is_datagram(m)) && std::ranges::any_of(sockets_, has_it);
  if (!peer_name.empty() && !is_path_name(peer_name) && (is_ours || !is_free(type, peer_name))) {
    log::warning("kinds", "the name of a closed peer, @{}, is another's now: the peer has none", peer_name.substr(1));
    socket.message.clear_peer_name(), peer_name.clear();
  }
  if (is_datagram(m) && !peer_name.empty() && (m.has_name() || m.queue_size() == 0)) return;  // name_stand_in
  if (is_datagram(m) || (!is_server && peer_name.empty())) {
    const auto ids = as(m);
    auto [a, b] = sys::make_socket_pair(type);
    socket.fd = std::move(a), socket.stand_in = std::move(b);
  } else {
    image::UnixSocket other;
    other.mutable_common()->set_type(type);
    Ends ends = is_server ? connect_by_name(m.name(), other, m, peer_name) : connect_by_name(peer_name, m, other, {});
    socket.fd = std::move(is_server ? ends.server : ends.client);
    socket.stand_in = std::move(is_server ? ends.client : ends.server);
    if (is_server) socket.bound = true, socket.aside = ends.aside;
  }
  socket.connected = true;
}

// Of a datagram socket that is connected to one that is closed: a socket with the name of that one.
void UnixSockets::name_stand_in(Socket& socket) {
  const image::UnixSocket& m = socket.message;
  const std::string& name = m.peer_name();
  if (!socket.stand_in.valid()) {
    socket.stand_in = sys::make_socket({AF_UNIX, SOCK_DGRAM, 0});
    grow_socket_buffers(socket.stand_in.get());
  }
  std::string address = address_of(name);
  std::optional<sys::AssumedPlace> place;
  if (is_path_name(name)) {
    const std::string folder = fmt::format("/aside-{}/", bind_aside(socket.stand_in.get(), name));
    place.emplace(scratch(), folder);
    address = address_of(folder + "s");
  } else if (sys::try_bind_socket(socket.stand_in.get(), address) != 0 && !socket.connected) {
    for (const auto& [id, other] : sockets_)  // several were connected to the same one
      if (&other != &socket && other.stand_in.valid() && other.message.peer_name() == name)
        socket.stand_in = sys::duplicate(other.stand_in.get());
  }
  if (!socket.connected) sys::connect_socket(socket.fd.get(), address);
  socket.connected = true;
}

void UnixSockets::make_alone(Socket& socket) {
  const image::SocketCommon& common = socket.message.common();
  if (!socket.fd.valid()) socket.fd = sys::make_socket({AF_UNIX, common.type(), 0});
  set_socket_options(socket.fd.get(), common, OptionTime::early);
  grow_socket_buffers(socket.fd.get());
  if (socket.stand_in.valid()) grow_socket_buffers(socket.stand_in.get());
}

// Under a path that nobody sees. Then it gets another, which is short and its own.
int UnixSockets::bind_aside(int fd, const std::string& name) {
  const sys::AssumedPlace place(scratch(), name);
  sys::bind_socket(fd, address_of(name));
  sys::set_path_mode(name, 0777);
  const std::string folder = fmt::format("/aside-{}", ++asides_);
  sys::try_make_directory(folder, 0755);
  sys::rename_at(AT_FDCWD, name, AT_FDCWD, folder + "/s");
  return asides_;
}

// Its address, for as long as `place` lives.
std::string UnixSockets::reach(const Socket& socket, std::optional<sys::AssumedPlace>& place) {
  const image::UnixSocket& m = socket.message;
  if (!m.has_name()) throw Error(Fault::image, "files.img: a socket is connected to one without a name");
  if (!is_path_name(m.name())) return address_of(m.name());
  if (socket.aside == 0) {
    place.emplace(m.root(), m.folder());
    return address_of(m.name());
  }
  const std::string folder = fmt::format("/aside-{}/", socket.aside);
  place.emplace(scratch(), folder);
  return address_of(folder + "s");
}

void UnixSockets::bind(Socket& socket) {
  const image::UnixSocket& m = socket.message;
  if (!m.has_name() || socket.bound) return;
  socket.bound = true;
  const int fd = socket.fd.get();
  const bool is_stream_end = socket.connected && !is_datagram(m);
  if (!is_path_name(m.name())) return sys::bind_socket(fd, address_of(m.name()));
  if (!m.file().empty() && !is_stream_end) return bind_elsewhere(socket);
  if (!m.on_disk() || is_stream_end) {
    socket.aside = bind_aside(fd, m.name());
    return;
  }
  const sys::AssumedPlace place(m.root(), m.folder());
  make_way(AT_FDCWD, m.name());
  sys::bind_socket(fd, address_of(m.name()));
  sys::set_path_ownership(m.name(), m.uid(), m.gid());
  sys::set_path_mode(m.name(), m.mode());
}

// Its file has another name than it was bound to.
void UnixSockets::bind_elsewhere(Socket& socket) {
  const image::UnixSocket& m = socket.message;
  const sys::AssumedPlace place(m.root(), m.folder());
  make_way(AT_FDCWD, m.file());
  make_way(AT_FDCWD, m.name());
  sys::bind_socket(socket.fd.get(), address_of(m.name()));
  sys::set_path_ownership(m.name(), m.uid(), m.gid());
  sys::set_path_mode(m.name(), m.mode());
  sys::rename_at(AT_FDCWD, m.name(), AT_FDCWD, m.file());
}

void UnixSockets::listen(Socket& socket) {
  const image::UnixSocket& m = socket.message;
  if (m.state() != kListening) return;
  const auto ids = as(m);
  sys::listen_on(socket.fd.get(), std::max(m.backlog(), m.pending_size() + 1));
}

// The messages up to the last one that is not its peer's: they came before it was connected, as from then on it takes
// those of its peer only (unix(7)).
size_t UnixSockets::sent_by_others(const Socket& socket) {
  const image::UnixSocket& m = socket.message;
  const Socket* peer = m.peer() != 0 ? find(m.peer()) : nullptr;
  const std::string name = peer ? peer->message.name() : m.peer_name();
  int count = m.queue_size();
  while (count > 0 && name_in(m.queue(count - 1).address()).value_or("") == name) --count;
  return static_cast<size_t>(count);
}

// For all but its peer a datagram socket is full with `net.unix.max_dgram_qlen` messages; so the peer's own wait until
// it is connected.
void UnixSockets::fill(Socket& socket, OpenedFiles& table) {
  const Step step("what waits in it");
  auto& queue = *socket.message.mutable_queue();
  const bool has_peer = socket.message.peer() != 0 || has_closed_peer(socket.message);
  const bool waits = is_datagram(socket.message) && has_peer && !socket.connected;
  const int now = waits ? static_cast<int>(sent_by_others(socket)) : queue.size();
  for (int i = 0; i < now; ++i) {
    std::vector<int> files;
    for (const auto& file : queue[i].files()) files.push_back(table.open(file.file()));
    put_back(socket, queue[i], files);
  }
  queue.DeleteSubrange(0, now);
}

// A socket of the image that has the name, or one made for the moment.
UniqueFd UnixSockets::sender_named(const std::string& address, int& fd) {
  const auto name = name_in(address);
  UniqueFd made;
  if (name)
    for (auto& [id, socket] : sockets_)
      if (socket.message.has_name() && socket.message.name() == *name && is_datagram(socket.message) && socket.bound) {
        fd = socket.fd.get();
        return made;
      }
  made = sys::make_socket({AF_UNIX, SOCK_DGRAM, 0});
  grow_socket_buffers(made.get());
  if (name && is_path_name(*name)) (void)bind_aside(made.get(), *name);
  if (name && !is_path_name(*name) && sys::try_bind_socket(made.get(), address_of(*name)) != 0)
    log::warning("kinds", "@{}, which sent a message, is another's now: it comes from nobody", name->substr(1));
  fd = made.get();
  return made;
}

void UnixSockets::put_back(Socket& socket, const image::SocketMessage& waiting, const std::vector<int>& files) {
  const image::UnixSocket& m = socket.message;
  Socket* peer = m.peer() != 0 ? find(m.peer()) : nullptr;
  const bool by_peer = socket.connected || (!m.has_name() && peer && peer->connected);
  sys::SocketMessage message;
  message.data = waiting.data();
  if (waiting.has_credentials()) message.credentials = {waiting.pid(), waiting.uid(), waiting.gid()};
  UniqueFd made;
  std::optional<sys::AssumedPlace> place;
  int from = socket.stand_in.get();
  if (from >= 0 && is_datagram(m) && m.has_name()) message.address = reach(socket, place);
  if (from < 0 && by_peer && peer) {
    from = peer->fd.get();
    if (peer->message.peer() != m.common().inode()) message.address = reach(socket, place);
  }
  if (from < 0 && !m.has_name())  // one that has left its peer, which has not left it
    for (const auto& [id, other] : sockets_)
      if (other.connected && other.message.peer() == m.common().inode()) from = other.fd.get();
  if (from < 0) {
    made = sender_named(waiting.address(), from);
    message.address = reach(socket, place);
  }
  const int flags = waiting.end_of_record() ? MSG_EOR : 0;
  int code = sys::try_send(from, message, files, flags);
  if (code == ESRCH) {  // its sender has ended: nobody can be named who is not there (unix(7))
    log::warning("kinds", "process {}, which sent a message, is gone: the message comes from restore", waiting.pid());
    message.credentials.reset();
    code = sys::try_send(from, message, files, flags);
  }
  if (code != 0) sys::throw_code(code, "put back a message");
}

void UnixSockets::connect_datagrams(Socket& socket, int depth) {
  const image::UnixSocket& m = socket.message;
  if (is_datagram(m) && has_closed_peer(m) && !m.peer_name().empty()) return name_stand_in(socket);
  if (!is_datagram(m) || socket.connected || m.peer() == 0 || depth > 64) return;
  Socket* other = find(m.peer());
  if (!other) throw Error(Fault::image, fmt::format("files.img: there is no socket {}", m.peer()));
  // One that is connected takes only its peer's messages (unix(7)): whoever is to be connected to it goes first.
  for (auto& [id, third] : sockets_)
    if (&third != &socket && third.message.peer() == m.common().inode() && !third.connected)
      if (m.peer() != third.message.common().inode()) connect_datagrams(third, depth + 1);
  std::optional<sys::AssumedPlace> place;
  sys::connect_socket(socket.fd.get(), reach(*other, place));
  socket.connected = true;
}

void UnixSockets::connect_pending(Socket& listener) {
  const image::UnixSocket& m = listener.message;
  for (const auto& pending : m.pending()) {
    Socket* client = find(pending.client());
    if (!client || client->connected || client->message.listener() != m.common().inode())
      throw Error(Fault::image, "files.img: a connection waits that nobody made");
    std::optional<sys::AssumedPlace> place;
    const std::string address = reach(listener, place);
    image::SocketPeerIds owner;
    owner.set_uid(client->message.common().uid()), owner.set_gid(client->message.common().gid());
    const auto ids = as(pending.has_ids() ? pending.ids() : owner);
    const sys::EffectiveRights rights;  // they need not reach the file any more
    sys::connect_socket(client->fd.get(), address);
    client->connected = true;
  }
}

void UnixSockets::connect_outside(Socket& socket) {
  const image::UnixSocket& m = socket.message;
  if (m.outside_peer().empty()) return;
  const Step step("connect to {}", name_in(m.outside_peer()).value_or("?"));
  sys::connect_socket(socket.fd.get(), m.outside_peer());
}

void UnixSockets::finish(Socket& socket) {
  const image::UnixSocket& m = socket.message;
  const int fd = socket.fd.get();
  if (socket.stand_in.valid()) {
    if (m.reset()) {  // closed with something unread: the other end is told ECONNRESET
      sys::SocketMessage unread;
      unread.data = "x";
      (void)sys::try_send(fd, unread, {});
    }
    socket.stand_in.reset();
  }
  if (m.shutdown() & 1) (void)sys::try_shutdown(fd, SHUT_RD);
  if (m.shutdown() & 2) (void)sys::try_shutdown(fd, SHUT_WR);
  if (m.state() == kListening) {
    const auto ids = as(m);
    sys::listen_on(fd, m.backlog());
  }
  set_socket_options(fd, m.common(), OptionTime::late);
  sys::set_status_flags(fd, static_cast<int>(socket.flags));
}

void check_unix_record(const std::string& record, const image::UnixSocket& socket) {
  const auto bad = [&](const std::string& what) {
    throw Error(Fault::image, fmt::format("files.img: {}: {}", record, what),
                "the image is damaged or was made by a faulty program");
  };
  check_socket_record(record, socket.common());
  const int type = socket.common().type();
  if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET) bad("type cannot be so");
  if (socket.name().size() > kLongestName || (socket.has_name() && socket.name().empty())) bad("name cannot be so");
  if (is_path_name(socket.name()) && socket.name().find('\0') != std::string::npos) bad("name cannot be so");
  if (is_path_name(socket.name()) && socket.name().back() == '/') bad("name cannot be so");
  const std::string& peer_name = socket.peer_name();
  if (peer_name.size() > kLongestName || (is_path_name(peer_name) && peer_name.find('\0') != std::string::npos) ||
      (is_path_name(peer_name) && peer_name.back() == '/'))
    bad("peer_name cannot be so");
  if (!socket.file().empty() && (!is_path(socket.file()) || !is_path_name(socket.name()) || socket.folder().empty()))
    bad("file cannot be so");
  const auto check_ids = [&](const image::SocketPeerIds& ids) {
    if (ids.uid() == UINT32_MAX || ids.gid() == UINT32_MAX || ids.groups_size() > 65536)  // NGROUPS_MAX
      bad("the ids of a peer cannot be so");
  };
  check_ids(socket.peer_ids());
  for (const auto& pending : socket.pending()) check_ids(pending.ids());
  if (socket.outside_peer().size() > sizeof(sockaddr_un)) bad("outside_peer cannot be so");
  for (const std::string* path : {&socket.root(), &socket.folder()})
    if (!path->empty() && (path->front() != '/' || path->find('\0') != std::string::npos)) bad("folder cannot be so");
  if (socket.on_disk() && (socket.folder().empty() || !is_path_name(socket.name()))) bad("folder is missing");
  if (socket.state() == kListening && (!socket.has_name() || type == SOCK_DGRAM)) bad("state cannot be so");
  if (socket.backlog() < 0 || socket.shutdown() > 3) bad("backlog or shutdown cannot be so");
}

namespace {

// The messages that do not come from its peer find no more room in a datagram socket than this.
void check_room(const image::UnixSocket& socket, std::vector<Problem>& problems) {
  if (!is_datagram(socket) || !socket.has_name()) return;
  int others = 0;
  const bool may_be_full = socket.peer() == 0 && !has_closed_peer(socket);
  for (int i = 0; may_be_full && i < socket.queue_size(); ++i)
    if (name_in(socket.queue(i).address()).value_or("") != socket.name()) others = i;
  const auto limit = sys::try_read_text("/proc/sys/net/unix/max_dgram_qlen");
  if (limit && others > std::atoi(limit->c_str()))
    problems.push_back({"net.unix.max_dgram_qlen",
                        fmt::format("is too small for the {} datagrams that wait in a socket", others + 1),
                        fmt::format("sysctl net.unix.max_dgram_qlen={}", others + 1)});
}

// A path may be too long for an address.
bool is_in_use(const std::string& path) {
  const UniqueFd file = sys::open(path, O_PATH | O_NOFOLLOW);
  const int code = probe_file(fmt::format("/proc/self/fd/{}", file.get()));
  return code != ECONNREFUSED && code != EACCES;
}

}  // namespace

void check_unix_socket(const image::UnixSocket& socket, const OpenedFiles& table, std::vector<Problem>& problems) {
  if (!socket.has_name()) return;
  check_room(socket, problems);
  const bool is_path_bound = is_path_name(socket.name());
  const bool is_own = !socket.has_peer() || is_datagram(socket) || !is_path_bound;
  const bool is_renamed = !socket.file().empty();
  if (!is_own || (is_path_bound && !socket.on_disk() && !is_renamed)) return;
  const std::string bound = socket.root() + socket.folder() + "/" + socket.name();
  const std::string path = is_renamed ? socket.file() : bound;
  std::optional<struct stat> status;
  if (is_path_bound) {
    for (const std::string& each : {path, bound}) {
      const std::string folder = each.substr(0, each.rfind('/') + 1);
      if (!sys::try_stat(folder))
        return problems.push_back({folder, "is not there", "make the folder: a socket had its name in it"});
    }
    // A restore that was killed between the two leaves a socket file of the same owner that nobody is bound to.
    const auto there = is_renamed ? sys::try_stat(bound, false) : std::nullopt;
    if (there && !(S_ISSOCK(there->st_mode) && there->st_uid == socket.uid() && !is_in_use(bound)))
      return problems.push_back({bound, "is there: a socket is bound to this name, and renamed then", "move it away"});
    status = sys::try_stat(path, false);
    if (status && !S_ISSOCK(status->st_mode))
      return problems.push_back({path, "is no socket here", "move it away: the program had a socket of that name"});
    if (!status) return;
  }
  std::string who;
  for (const procfs::UnixSocket& other : table.host_sockets().unix_sockets()) {
    if (!other.name) continue;
    // Only a hint of a file: numbers of inodes come again in every file system.
    const bool same =
        is_path_bound ? other.file_inode == static_cast<uint32_t>(status->st_ino) : *other.name == socket.name();
    if (same) who = fmt::format(" (inode {})", other.inode);
  }
  if (is_path_bound ? is_in_use(path) : !who.empty())
    problems.push_back({is_path_bound ? path : fmt::format("@{}", socket.name().substr(1)),
                        "another socket has this name" + who, "end the program that has it (ss -xlp names it)"});
}

}  // namespace mcr::kinds

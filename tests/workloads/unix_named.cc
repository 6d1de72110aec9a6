// Named unix sockets: by absolute and relative paths, abstract, with a deleted or replaced file; listeners with those
// who wait to be accepted; accepted ones; datagrams with their senders.
#include <sys/stat.h>

#include "sockets.h"

using namespace workload;

namespace {

std::string sender_of(int fd, std::string& text) {
  char buffer[4096];
  sockaddr_un address{};
  socklen_t length = sizeof address;
  ssize_t n = recvfrom(fd, buffer, sizeof buffer, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&address), &length);
  if (n < 0) fail("recvfrom: %s", strerror(errno));
  text.assign(buffer, static_cast<size_t>(n));
  if (length <= offsetof(sockaddr_un, sun_path)) return "";
  std::string name(address.sun_path, length - offsetof(sockaddr_un, sun_path));
  return name[0] != 0 ? std::string(name.c_str()) : name;
}

int accepted(int listener) {
  int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
  if (fd < 0) fail("accept: %s", strerror(errno));
  return fd;
}

void new_connection(int type, const std::string& name, int listener) {
  int client = unix_connected(type, name), server = accepted(listener);
  both_ways(client, server, "new");
  close(client), close(server);
}

ucred peer_ids(int fd) {
  ucred ids{};
  socklen_t length = sizeof ids;
  MUST(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &ids, &length) == 0);
  return ids;
}

void check_box(int box, int sender, const std::string& sender_name) {
  std::string text;
  MUST(sender_of(box, text) == sender_name && text == "s");
  MUST(sender_of(box, text) == prefix + ".third" && text == "t");
  say(sender, "connected");
  MUST(sender_of(box, text) == sender_name && text == "connected");
}

void check_replaced(int replaced, int replacing, const std::string& replaced_path) {
  expect_heard(replaced, "to the old one");
  say(unix_connected(SOCK_DGRAM, replaced_path), "to the new one");
  expect_heard(replacing, "to the new one");
  expect_heard(replaced, "nothing");
  MUST(unix_name(replaced) == replaced_path && unix_name(replacing) == replaced_path);
}

void check_ids(int client, int server, const std::string& path) {
  MUST(unix_name(server) == path && unix_name(client, true) == path && unix_name(client).empty());
  MUST_BE(peer_ids(client).uid, getuid());
  MUST_BE(peer_ids(server).gid, getgid());
}

void check_abstract(int by_abstract, int abstract_client, int abstract_server, const std::string& abstract) {
  expect_heard(abstract_client, "packet");
  both_ways(abstract_client, abstract_server, "abstract");
  MUST(unix_name(abstract_server) == abstract && unix_name(by_abstract) == abstract);
  new_connection(SOCK_SEQPACKET, abstract, by_abstract);
}

void check_relative(int by_relative, const std::string& relative) {
  MUST(unix_name(by_relative) == relative);
  new_connection(SOCK_STREAM, relative, by_relative);
}

void check_deleted(int deleted, int deleted_client, int deleted_server, int deleted_waits, const std::string& gone) {
  MUST(unix_name(deleted) == gone && access(gone.c_str(), F_OK) != 0);
  both_ways(deleted_client, deleted_server, "deleted");
  both_ways(deleted_waits, accepted(deleted), "deleted, waiting");
}

void check_file(const std::string& path) {
  struct stat status {};
  MUST(stat(path.c_str(), &status) == 0);
  MUST_BE(status.st_mode, S_IFSOCK | 0640);
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  std::string folder = prefix.substr(0, prefix.rfind('/')), tag = std::to_string(getpid());
  MUST(chdir(folder.c_str()) == 0);
  std::string path = prefix + ".listen", abstract = std::string(1, '\0') + "mcr-test-" + tag, relative = "rel-" + tag;
  int by_path = unix_bound(SOCK_STREAM, path);
  MUST(chmod(path.c_str(), 0640) == 0 && listen(by_path, 7) == 0);
  int client = unix_connected(SOCK_STREAM, path), server = accepted(by_path);
  say(client, "to the server");
  int waiting = unix_connected(SOCK_STREAM, path), waiting2 = unix_connected(SOCK_STREAM, path);
  int by_abstract = unix_bound(SOCK_SEQPACKET, abstract);
  MUST(listen(by_abstract, 3) == 0);
  int abstract_client = unix_connected(SOCK_SEQPACKET, abstract), abstract_server = accepted(by_abstract);
  say(abstract_server, "packet");
  int by_relative = unix_bound(SOCK_STREAM, relative);
  MUST(listen(by_relative, 1) == 0);
  std::string gone = prefix + ".gone";
  int deleted = unix_bound(SOCK_STREAM, gone);
  MUST(listen(deleted, 5) == 0);
  int deleted_client = unix_connected(SOCK_STREAM, gone), deleted_server = accepted(deleted);
  int deleted_waits = unix_connected(SOCK_STREAM, gone);
  unlink(gone.c_str());
  std::string replaced_path = prefix + ".replaced";
  int replaced = unix_bound(SOCK_DGRAM, replaced_path);
  say(unix_connected(SOCK_DGRAM, replaced_path), "to the old one");
  MUST(unlink(replaced_path.c_str()) == 0);
  int replacing = unix_bound(SOCK_DGRAM, replaced_path);
  std::string box_path = prefix + ".box", sender_name = std::string(1, '\0') + "mcr-sender-" + tag;
  int box = unix_bound(SOCK_DGRAM, box_path), sender = unix_bound(SOCK_DGRAM, sender_name),
      third = unix_bound(SOCK_DGRAM, prefix + ".third");
  UnixName to_box(box_path);
  for (auto [fd, text] : {std::pair{sender, "s"}, {third, "t"}})
    MUST(sendto(fd, text, 1, 0, to_box.get(), to_box.length) == 1);
  close(third);
  MUST(unlink((prefix + ".third").c_str()) == 0);
  MUST(connect(sender, to_box.get(), to_box.length) == 0);
  int unbound = socket(AF_UNIX, SOCK_STREAM, 0), unnamed = socket(AF_UNIX, SOCK_DGRAM, 0);
  ready();
  wait_for_end();
  expect_heard(server, "to the server");
  both_ways(client, server, "named");
  check_ids(client, server, path);
  int first = accepted(by_path), second = accepted(by_path);
  both_ways(waiting, first, "first");
  both_ways(waiting2, second, "second");
  new_connection(SOCK_STREAM, path, by_path);
  check_file(path);
  check_abstract(by_abstract, abstract_client, abstract_server, abstract);
  check_relative(by_relative, relative);
  check_deleted(deleted, deleted_client, deleted_server, deleted_waits, gone);
  check_replaced(replaced, replacing, replaced_path);
  check_box(box, sender, sender_name);
  MUST(connect(unbound, UnixName(path).get(), UnixName(path).length) == 0);
  both_ways(unbound, accepted(by_path), "unbound");
  MUST(sendto(unnamed, "u", 1, 0, to_box.get(), to_box.length) == 1);
  std::string text;
  MUST(sender_of(box, text).empty() && text == "u");
  for (const std::string& name : {path, relative, replaced_path, box_path}) unlink(name.c_str());
  return passed();
}

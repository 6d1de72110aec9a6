// Netlink sockets: protocol, port id, groups, options. What waits in one is refused: it is about a moment that is over.
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/socket_options.h"
#include "core/sys/file.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

constexpr int kMembership = 1;  // NETLINK_ADD_MEMBERSHIP
constexpr size_t kMostGroupBytes = 4096;

std::string address_of(uint32_t portid, uint32_t groups) {
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_pid = portid;
  address.nl_groups = groups;
  return std::string(reinterpret_cast<const char*>(&address), sizeof address);
}

bool is_bound(int fd) {
  sockaddr_nl address{};
  const std::string name = sys::socket_name(fd);
  std::memcpy(&address, name.data(), std::min(name.size(), sizeof address));
  return address.nl_pid != 0 || address.nl_groups != 0;
}

class NetlinkSocketKind : public Kind {
 public:
  const char* name() const override { return "netlink_socket"; }

  bool claims(const FileView& file) const override {
    return is_socket(file) && sys::protocol_name(file.door) == "NETLINK";
  }

  void look(const FileView& file, const OpenFiles& table) const override {
    // One that was never bound is not in the list; nor is any other without CONFIG_NETLINK_DIAG.
    if (file.copy >= 0 && !table.sockets().find_netlink(file.status.st_ino) && is_bound(file.copy))
      throw Error(Fault::refused, "the kernel does not tell its groups", "use a kernel with CONFIG_NETLINK_DIAG");
    if (file.copy >= 0 && (sys::poll_now(file.copy, POLLIN) & POLLIN))
      throw Error(Fault::refused, "messages of the kernel wait in it", "let the program read them, and dump again");
  }

  void dump(const FileView& file, OpenFiles& table, image::FileObject& object) const override {
    const procfs::NetlinkSocket* known = table.sockets().find_netlink(file.status.st_ino);
    const procfs::NetlinkSocket socket = known ? *known : procfs::NetlinkSocket();
    image::NetlinkSocket message;
    dump_socket(file.copy, file.status, *message.mutable_common());
    message.set_portid(socket.portid);
    message.set_remote_portid(socket.remote_portid), message.set_remote_groups(socket.remote_group);
    std::string groups = socket.groups;
    groups.resize(groups.find_last_not_of('\0') + 1);
    message.set_groups(groups);
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject& object, const OpenedFiles&, std::vector<Problem>& problems) const override {
    image::NetlinkSocket message;
    if (!object.body().UnpackTo(&message) || message.groups().size() > kMostGroupBytes)
      problems.push_back({"netlink socket", "its record is unreadable", {}});
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles&) const override {
    image::NetlinkSocket message;
    if (!object.body().UnpackTo(&message) || message.groups().size() > kMostGroupBytes)
      throw Error(Fault::image, "its record is unreadable");
    const image::SocketCommon& common = message.common();
    UniqueFd fd = sys::make_socket({AF_NETLINK, common.type(), common.protocol()});
    set_socket_options(fd.get(), common, OptionTime::early);
    if (message.portid() != 0) {
      const Step step("port id {}", message.portid());
      sys::bind_socket(fd.get(), address_of(message.portid(), 0));
    }
    for (size_t bit = 0; bit < message.groups().size() * 8; ++bit)
      if (static_cast<unsigned char>(message.groups()[bit / 8]) >> bit % 8 & 1)
        sys::set_int_option(fd.get(), SOL_NETLINK, kMembership, static_cast<int>(bit + 1));
    // Groups are told by their number, and asked for by a bit (netlink_connect, net/netlink/af_netlink.c).
    const uint32_t group = message.remote_groups();
    if (message.remote_portid() != 0 || group != 0)
      sys::connect_socket(fd.get(), address_of(message.remote_portid(), group == 0 ? 0 : 1u << ((group - 1) & 31)));
    set_socket_options(fd.get(), common, OptionTime::late);
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }
};

}  // namespace

const Kind* netlink_socket_kind() {
  static const NetlinkSocketKind kind;
  return &kind;
}

}  // namespace mcr::kinds

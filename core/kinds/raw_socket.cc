// Sockets that see packets as they are: AF_PACKET, raw IP, and ICMP sockets (ping). What waits in one is refused: it
// cannot be put back.
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/socket_options.h"
#include "core/kinds/tcp_sockets.h"
#include "core/sys/file.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

constexpr int kPacket = 263, kFanout = 18;  // SOL_PACKET, PACKET_FANOUT

void refuse_waiting(const FileView& file) {
  if (file.copy >= 0 && (sys::poll_now(file.copy, POLLIN) & POLLIN))
    throw Error(Fault::refused, "packets wait in it to be received", "let the program receive them, and dump again");
}

class PacketSocketKind : public Kind {
 public:
  const char* name() const override { return "packet_socket"; }
  bool claims(const FileView& file) const override {
    return is_socket(file) && sys::protocol_name(file.door) == "PACKET";
  }
  void look(const FileView& file, const OpenFiles&) const override {
    if (file.copy < 0) return;
    if (sys::type_of_socket(file.copy).type == SOCK_PACKET)
      throw Error(Fault::refused, "it is of the obsolete type SOCK_PACKET, whose protocol the kernel shows to nobody",
                  "let the program use AF_PACKET with SOCK_RAW or SOCK_DGRAM");
    if (const auto fanout = sys::try_get_option(file.copy, kPacket, kFanout, sizeof(int));
        fanout && fanout->find_first_not_of('\0') != std::string::npos)
      throw Error(Fault::refused, "it shares its packets with others (PACKET_FANOUT)", "this cannot be saved yet");
    refuse_waiting(file);
  }
  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    image::PacketSocket message;
    dump_socket(file.copy, file.status, *message.mutable_common());
    std::string local = sys::socket_name(file.copy);
    local.resize(sizeof(sockaddr_ll));  // with the hardware address of the interface: not asked for by bind(2)
    message.set_local(local);
    object.mutable_body()->PackFrom(message);
  }
  void check(const image::FileObject& object, const OpenedFiles&, std::vector<Problem>& problems) const override {
    image::PacketSocket message;
    if (!object.body().UnpackTo(&message) || message.local().size() != sizeof(sockaddr_ll))
      problems.push_back({"packet socket", "its record is unreadable", {}});
  }
  UniqueFd restore(const image::FileObject& object, OpenedFiles&) const override {
    image::PacketSocket message;
    if (!object.body().UnpackTo(&message) || message.local().size() != sizeof(sockaddr_ll))
      throw Error(Fault::image, "its record is unreadable");
    const image::SocketCommon& common = message.common();
    // Made for no protocol: it hears nothing before it is bound and has its filter.
    UniqueFd fd = sys::make_socket({AF_PACKET, common.type(), 0});
    set_socket_options(fd.get(), common, OptionTime::early);
    set_socket_options(fd.get(), common, OptionTime::late);
    sys::bind_socket(fd.get(), message.local());
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }
};

class RawSocketKind : public Kind {
 public:
  const char* name() const override { return "raw_socket"; }
  bool claims(const FileView& file) const override {
    if (!is_socket(file)) return false;
    const auto protocol = sys::protocol_name(file.door);
    return protocol == "RAW" || protocol == "RAWv6" || protocol == "PING" || protocol == "PINGv6";
  }
  void look(const FileView& file, const OpenFiles&) const override { refuse_waiting(file); }
  void dump(const FileView& file, OpenFiles&, image::FileObject& object) const override {
    image::RawSocket message;
    dump_socket(file.copy, file.status, *message.mutable_common());
    message.set_local(sys::socket_name(file.copy));
    if (const auto remote = sys::peer_name(file.copy)) message.set_remote(*remote);
    object.mutable_body()->PackFrom(message);
  }
  void check(const image::FileObject& object, const OpenedFiles&, std::vector<Problem>& problems) const override {
    image::RawSocket message;
    if (!object.body().UnpackTo(&message) || !is_inet_address(message.local()))
      problems.push_back({"raw socket", "its record is unreadable", {}});
  }
  UniqueFd restore(const image::FileObject& object, OpenedFiles&) const override {
    image::RawSocket message;
    if (!object.body().UnpackTo(&message) || !is_inet_address(message.local()))
      throw Error(Fault::image, "its record is unreadable");
    const image::SocketCommon& common = message.common();
    UniqueFd fd = sys::make_socket({common.domain(), common.type(), common.protocol()});
    set_socket_options(fd.get(), common, OptionTime::early);
    const bool is_bound = message.local().find_first_not_of('\0', 2) != std::string::npos;
    std::string local = message.local();
    if (common.type() == SOCK_RAW) local[2] = local[3] = 0;  // shows the protocol where others have a port
    if (is_bound) sys::bind_socket(fd.get(), local);
    if (!message.remote().empty()) sys::connect_socket(fd.get(), message.remote());
    set_socket_options(fd.get(), common, OptionTime::late);
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }
};

}  // namespace

const Kind* packet_socket_kind() {
  static const PacketSocketKind kind;
  return &kind;
}
const Kind* raw_socket_kind() {
  static const RawSocketKind kind;
  return &kind;
}

}  // namespace mcr::kinds

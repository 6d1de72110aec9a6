// UDP and UDP-Lite over IPv4 and IPv6.
#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <thread>

#include "core/kinds/address_check.h"
#include "core/kinds/kinds.h"
#include "core/kinds/open_files.h"
#include "core/kinds/opened_files.h"
#include "core/kinds/socket_options.h"
#include "core/kinds/tcp_sockets.h"
#include "core/kinds/udp_queue.h"
#include "core/sys/failure.h"
#include "core/sys/file.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

// What UDP_CORK or MSG_MORE holds back counts as not sent, as does for a moment what an interface is sending.
bool has_pending_datagram(int fd) {
  constexpr int kPatience = 200;  // ms
  for (int i = 0; sys::bytes_unsent(fd) != 0; ++i) {
    if (i == kPatience) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

bool has_port(const std::string& address) {
  return address.size() >= 4 && (address[2] != 0 || address[3] != 0);
}

class UdpSocketKind : public Kind {
 public:
  const char* name() const override { return "udp_socket"; }

  bool claims(const FileView& file) const override {
    if (!is_socket(file)) return false;
    const auto protocol = sys::protocol_name(file.door);
    return protocol == "UDP" || protocol == "UDPv6" || protocol == "UDP-Lite" || protocol == "UDPLITEv6";
  }

  void look(const FileView&, const OpenFiles&) const override {}

  void dump(const FileView& file, OpenFiles& table, image::FileObject& object) const override {
    image::UdpSocket message;
    dump_socket(file.copy, file.status, *message.mutable_common());
    if (has_pending_datagram(file.copy))
      throw Error(Fault::refused, "a datagram is being put together in it (UDP_CORK, MSG_MORE)",
                  "let the program send it, and dump again");
    const std::string local = sys::socket_name(file.copy);
    if (has_port(local)) message.set_local(local), message.set_foreign(!is_own_address(local));
    if (const auto* known = table.sockets().find_inet(file.status.st_ino)) message.set_shutdown(known->shutdown);
    if (const auto remote = sys::peer_name(file.copy)) message.set_remote(*remote);
    // One that was connected without a name gets this with the name (inet6_bind).
    auto& options = *message.mutable_common()->mutable_options();
    for (int i = options.size(); i-- > 0 && !message.remote().empty();)
      if (options[i].level() == IPPROTO_IPV6 && options[i].name() == IPV6_V6ONLY) options.DeleteSubrange(i, 1);
    table.dump_queue(file.status.st_ino, *message.mutable_queue());
    require_senders(message);
    object.mutable_body()->PackFrom(message);
  }

  void check(const image::FileObject& object, const OpenedFiles& table, std::vector<Problem>& problems) const override {
    image::UdpSocket message;
    if (!object.body().UnpackTo(&message)) return problems.push_back({"udp socket", "its record is unreadable", {}});
    check_udp_queue(message, problems);
    check_address(message.local(), message.foreign(), problems);
    check_datagram_port(message, table.host_sockets(), problems);
  }

  UniqueFd restore(const image::FileObject& object, OpenedFiles&) const override {
    image::UdpSocket message;
    if (!object.body().UnpackTo(&message)) throw Error(Fault::image, "its record is unreadable");
    const image::SocketCommon& common = message.common();
    UniqueFd fd = sys::make_socket({common.domain(), common.type(), common.protocol()});
    fill_udp_queue(fd.get(), message);
    set_socket_options(fd.get(), common, OptionTime::early);
    sys::set_int_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, int_option_of(common, SOL_SOCKET, SO_REUSEADDR, 0));
    if (!message.local().empty()) {
      const Step step("{}", describe_address(message.local()));
      if (const int code = try_bind_inet(fd.get(), message.local(), message.foreign()); code != 0)
        throw Error(Fault::system, fmt::format("bind: {}", sys::code_name(code)),
                    code == EADDRINUSE ? "end the program that has the address (ss -lunp names it)" : "", code);
    }
    if (!message.remote().empty()) sys::connect_socket(fd.get(), message.remote());
    if (message.shutdown() != 0)  // says that it is not connected, and does it
      (void)sys::try_shutdown(fd.get(), static_cast<int>(message.shutdown()) - 1);
    set_socket_options(fd.get(), common, OptionTime::late);
    sys::set_status_flags(fd.get(), static_cast<int>(object.flags()));
    return fd;
  }
};

}  // namespace

const Kind* udp_socket_kind() {
  static const UdpSocketKind kind;
  return &kind;
}

}  // namespace mcr::kinds

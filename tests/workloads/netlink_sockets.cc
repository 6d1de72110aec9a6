// Netlink sockets with port ids and groups; packet, raw and ICMP sockets.
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>

#include "inet.h"

using namespace workload;

namespace {

// The kernel answers a question over it.
void ask(int fd) {
  struct {
    nlmsghdr head;
    rtgenmsg body;
  } question{};
  question.head.nlmsg_len = NLMSG_LENGTH(sizeof question.body);
  question.head.nlmsg_type = RTM_GETLINK;
  question.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  question.body.rtgen_family = AF_UNSPEC;
  MUST_BE(send(fd, &question, question.head.nlmsg_len, 0), question.head.nlmsg_len);
  char answer[32768];
  pollfd wait{fd, POLLIN, 0};
  while (poll(&wait, 1, 200) == 1) MUST(recv(fd, answer, sizeof answer, 0) > 0);
}

sockaddr_nl name_of(int fd) {
  sockaddr_nl name{};
  socklen_t length = sizeof name;
  MUST(getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) == 0);
  return name;
}

}  // namespace

int main(int argc, char** argv) {
  begin(argc, argv);
  int route = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE),
      fresh = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_ROUTE);
  sockaddr_nl wanted{};
  wanted.nl_family = AF_NETLINK;
  wanted.nl_groups = RTMGRP_NOTIFY;
  MUST(bind(route, reinterpret_cast<sockaddr*>(&wanted), sizeof wanted) == 0);
  set_option(route, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, RTNLGRP_NSID);
  set_option(route, SOL_NETLINK, NETLINK_EXT_ACK, 1);
  sockaddr_nl before = name_of(route);
  ask(route);
  int packet = socket(AF_PACKET, SOCK_DGRAM, 0), raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
  sockaddr_ll link{};
  link.sll_family = AF_PACKET;
  link.sll_protocol = htons(0x88b5);  // for experiments: nobody sends it
  link.sll_ifindex = static_cast<int>(if_nametoindex("lo"));
  if (packet >= 0) {
    MUST(bind(packet, reinterpret_cast<sockaddr*>(&link), sizeof link) == 0);
    set_option(packet, SOL_PACKET, PACKET_AUXDATA, 1);
  }
  if (raw >= 0) set_option(raw, IPPROTO_IP, IP_TTL, 3), set_option(raw, 255, 1, 0x7fffffff);
  ready();
  wait_for_end();
  sockaddr_nl after = name_of(route);
  MUST_BE(after.nl_pid, before.nl_pid);
  MUST_BE(after.nl_groups, before.nl_groups);
  MUST_BE(option(route, SOL_NETLINK, NETLINK_EXT_ACK), 1);
  uint32_t groups[4] = {};
  socklen_t length = sizeof groups;
  MUST(getsockopt(route, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &length) == 0);
  MUST(groups[(RTNLGRP_NSID - 1) / 32] >> (RTNLGRP_NSID - 1) % 32 & 1);
  ask(route), ask(fresh);
  if (packet >= 0) {
    sockaddr_ll now{};
    length = sizeof now;
    MUST(getsockname(packet, reinterpret_cast<sockaddr*>(&now), &length) == 0);
    MUST(now.sll_ifindex == link.sll_ifindex && now.sll_protocol == link.sll_protocol);
    MUST_BE(option(packet, SOL_PACKET, PACKET_AUXDATA), 1);
    MUST_BE(option(packet, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
  }
  if (raw >= 0) {
    MUST_BE(option(raw, IPPROTO_IP, IP_TTL), 3);
    MUST_BE(option(raw, 255, 1), 0x7fffffff);
    MUST_BE(option(raw, SOL_SOCKET, SO_PROTOCOL), IPPROTO_ICMP);
  }
  return passed();
}

// UDP sockets over both versions of IP, bound, connected and neither, with options; UDP-Lite.
#include <linux/filter.h>
#include <net/if.h>

#include "inet.h"

using namespace workload;

int main(int argc, char** argv) {
  begin(argc, argv);
  int four = bound(AF_INET, SOCK_DGRAM), six = bound(AF_INET6, SOCK_DGRAM), lite = bound(AF_INET, SOCK_DGRAM, 136),
      unbound = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  Address at_four = address_of(four), at_six = address_of(six), at_lite = address_of(lite);
  int to_four = bound(AF_INET, SOCK_DGRAM), to_six = socket(AF_INET6, SOCK_DGRAM, 0);
  MUST(connect(to_four, at_four.get(), at_four.length) == 0);
  MUST(connect(to_six, at_six.get(), at_six.length) == 0);
  Address from_four = address_of(to_four), from_six = address_of(to_six);
  set_option(four, SOL_SOCKET, SO_BROADCAST, 1);
  set_option(four, SOL_SOCKET, SO_PRIORITY, 5);
  set_option(four, SOL_SOCKET, SO_TIMESTAMP, 1);
  set_option(four, IPPROTO_IP, IP_TTL, 33);
  set_option(four, IPPROTO_IP, IP_PKTINFO, 1);
  set_option(six, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 44);
  set_option(six, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  bool has_device = setsockopt(to_four, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2) == 0;
  bool has_mark = false;
  int mark = 77;
  has_mark = setsockopt(to_four, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0;
  sock_filter keep_short[] = {{BPF_LD | BPF_W | BPF_LEN, 0, 0, 0},
                              {BPF_JMP | BPF_JGT | BPF_K, 0, 1, 30},
                              {BPF_RET | BPF_K, 0, 0, 0},
                              {BPF_RET | BPF_K, 0, 0, 0xffff}};
  sock_fprog program{4, keep_short};
  MUST(setsockopt(six, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
  ready();
  wait_for_end();
  MUST(same(address_of(four), at_four) && same(address_of(six), at_six) && same(address_of(lite), at_lite));
  MUST(same(address_of(to_four), from_four) && same(address_of(to_six), from_six));
  MUST(same(address_of(to_six, true), at_six));
  MUST_BE(option(four, SOL_SOCKET, SO_BROADCAST), 1);
  MUST_BE(option(four, SOL_SOCKET, SO_PRIORITY), 5);
  MUST_BE(option(four, SOL_SOCKET, SO_TIMESTAMP), 1);
  MUST_BE(option(four, IPPROTO_IP, IP_TTL), 33);
  MUST_BE(option(four, IPPROTO_IP, IP_PKTINFO), 1);
  MUST_BE(option(six, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 44);
  MUST_BE(option(six, IPPROTO_IPV6, IPV6_RECVPKTINFO), 1);
  MUST_BE(option(lite, SOL_SOCKET, SO_PROTOCOL), 136);
  char device[IFNAMSIZ] = {};
  socklen_t length = sizeof device;
  MUST(getsockopt(to_four, SOL_SOCKET, SO_BINDTODEVICE, device, &length) == 0);
  MUST(!has_device || strcmp(device, "lo") == 0);
  if (has_mark) MUST_BE(option(to_four, SOL_SOCKET, SO_MARK), 77);
  say(to_four, "four");
  expect_heard(four, "four");
  say(to_six, std::string(100, 'l'));  // the filter drops it
  say(to_six, "six");
  expect_heard(six, "six");
  expect_heard(six, "nothing");
  MUST(sendto(unbound, "u", 1, 0, at_four.get(), at_four.length) == 1);
  expect_heard(four, "u");
  return passed();
}

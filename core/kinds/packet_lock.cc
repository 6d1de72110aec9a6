#include "core/kinds/packet_lock.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/base/error.h"
#include "core/kinds/tcp_sockets.h"
#include "core/sys/failure.h"
#include "core/sys/netlink.h"
#include "core/sys/socket.h"

namespace mcr::kinds {
namespace {

constexpr uint32_t kOwned = 2;                             // NFT_TABLE_F_OWNER, 5.12
constexpr int kSetType = 7, kPortType = 13, kSixType = 8;  // what nft(8) calls ipv4_addr, inet_service, ipv6_addr
constexpr size_t kElementsAtOnce = 1000;                   // the length of an attribute has 16 bits
constexpr int kSendRoom = 32;                              // SO_SNDBUFFORCE
constexpr char kFour[] = "connections4", kSix[] = "connections6";
constexpr std::string_view kPrefix = "mini-criu-";

template <typename T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string big(uint32_t value) {
  return bytes_of(htonl(value));
}
std::string text(std::string_view value) {
  return std::string(value) + '\0';
}

std::string attribute(int type, std::string_view value) {
  const nlattr head{static_cast<uint16_t>(NLA_HDRLEN + value.size()), static_cast<uint16_t>(type)};
  std::string all = bytes_of(head) + std::string(value);
  all.resize(NLA_ALIGN(all.size()));
  return all;
}
std::string nest(int type, std::string_view value) {
  return attribute(type | NLA_F_NESTED, value);
}

std::string message(int type, int flags, int family, const std::string& attributes, uint16_t resource = 0) {
  const nlmsghdr head{static_cast<uint32_t>(NLMSG_HDRLEN + sizeof(nfgenmsg) + attributes.size()),
                      static_cast<uint16_t>(type), static_cast<uint16_t>(NLM_F_REQUEST | flags), 1, 0};
  const nfgenmsg net{static_cast<uint8_t>(family), NFNETLINK_V0, htons(resource)};
  return bytes_of(head) + bytes_of(net) + attributes;
}
std::string table_message(int type, int flags, const std::string& attributes) {
  return message(NFNL_SUBSYS_NFTABLES << 8 | type, flags, NFPROTO_INET, attributes);
}
std::string batch_of(const std::string& messages) {
  return message(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, {}, NFNL_SUBSYS_NFTABLES) + messages +
         message(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, {}, NFNL_SUBSYS_NFTABLES);
}

std::string expression(std::string_view name, const std::string& data) {
  return nest(NFTA_LIST_ELEM, attribute(NFTA_EXPR_NAME, text(name)) + nest(NFTA_EXPR_DATA, data));
}
std::string meta(int key) {
  return expression(
      "meta", attribute(NFTA_META_KEY, big(static_cast<uint32_t>(key))) + attribute(NFTA_META_DREG, big(NFT_REG32_00)));
}
std::string equals(const std::string& value) {
  return expression("cmp", attribute(NFTA_CMP_SREG, big(NFT_REG32_00)) + attribute(NFTA_CMP_OP, big(NFT_CMP_EQ)) +
                               nest(NFTA_CMP_DATA, attribute(NFTA_DATA_VALUE, value)));
}
std::string load(int base, uint32_t offset, uint32_t length, uint32_t into) {
  return expression("payload", attribute(NFTA_PAYLOAD_DREG, big(into)) +
                                   attribute(NFTA_PAYLOAD_BASE, big(static_cast<uint32_t>(base))) +
                                   attribute(NFTA_PAYLOAD_OFFSET, big(offset)) +
                                   attribute(NFTA_PAYLOAD_LEN, big(length)));
}
std::string verdict(uint32_t code) {
  const std::string value = nest(NFTA_DATA_VERDICT, attribute(NFTA_VERDICT_CODE, big(code)));
  return expression("immediate",
                    attribute(NFTA_IMMEDIATE_DREG, big(NFT_REG_VERDICT)) + nest(NFTA_IMMEDIATE_DATA, value));
}

// A key of a set has its parts at multiples of four bytes, as registers have them.
struct Family {
  const char* set;
  uint8_t protocol;
  uint32_t address_at, address_bytes, type;
  uint32_t key_bytes() const { return 2 * (address_bytes + 4); }
  uint32_t type_of_key() const { return type << 18 | kPortType << 12 | type << 6 | kPortType; }
};
constexpr Family kFamilies[] = {{kFour, NFPROTO_IPV4, 12, 4, kSetType}, {kSix, NFPROTO_IPV6, 8, 16, kSixType}};

std::string dropping_rule(const Family& family) {
  const uint32_t address = family.address_bytes, words = address / 4;
  uint32_t next = NFT_REG32_00;
  const auto take = [&](uint32_t count) { return std::exchange(next, next + count); };
  std::string all = meta(NFT_META_NFPROTO) + equals(std::string(1, static_cast<char>(family.protocol))) +
                    meta(NFT_META_L4PROTO) + equals(std::string(1, IPPROTO_TCP));
  for (const uint32_t side : {0U, 1U}) {
    all += load(NFT_PAYLOAD_NETWORK_HEADER, family.address_at + side * address, address, take(words));
    all += load(NFT_PAYLOAD_TRANSPORT_HEADER, side * 2, 2, take(1));
  }
  all += expression("lookup",
                    attribute(NFTA_LOOKUP_SET, text(family.set)) + attribute(NFTA_LOOKUP_SREG, big(NFT_REG32_00)));
  return all + verdict(NF_DROP);
}

std::string rule(const std::string& table, const char* chain, const std::string& expressions) {
  return table_message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND,
                       attribute(NFTA_RULE_TABLE, text(table)) + attribute(NFTA_RULE_CHAIN, text(chain)) +
                           nest(NFTA_RULE_EXPRESSIONS, expressions));
}

std::string chain(const std::string& table, const char* name, uint32_t hook) {
  constexpr uint32_t kEarly = static_cast<uint32_t>(-300);  // NF_IP_PRI_RAW: before connections are tracked
  std::string all = table_message(
      NFT_MSG_NEWCHAIN, NLM_F_CREATE,
      attribute(NFTA_CHAIN_TABLE, text(table)) + attribute(NFTA_CHAIN_NAME, text(name)) +
          nest(NFTA_CHAIN_HOOK, attribute(NFTA_HOOK_HOOKNUM, big(hook)) + attribute(NFTA_HOOK_PRIORITY, big(kEarly))) +
          attribute(NFTA_CHAIN_POLICY, big(NF_ACCEPT)) + attribute(NFTA_CHAIN_TYPE, text("filter")));
  all += rule(table, name, meta(NFT_META_MARK) + equals(bytes_of(kPassingMark)) + verdict(NF_ACCEPT));
  for (const Family& family : kFamilies) all += rule(table, name, dropping_rule(family));
  return all;
}

// As packets have them: address, port.
std::string key(const std::string& from, const std::string& to) {
  const std::string padding(2, '\0');
  return from + padding + to + padding;
}

std::string elements(const std::string& table, const Family& family, const std::vector<std::string>& keys) {
  std::string all;
  for (size_t at = 0; at < keys.size(); at += kElementsAtOnce) {
    std::string list;
    for (size_t i = at; i < std::min(keys.size(), at + kElementsAtOnce); ++i)
      list += nest(NFTA_LIST_ELEM, nest(NFTA_SET_ELEM_KEY, attribute(NFTA_DATA_VALUE, keys[i])));
    all += table_message(NFT_MSG_NEWSETELEM, NLM_F_CREATE,
                         attribute(NFTA_SET_ELEM_LIST_TABLE, text(table)) +
                             attribute(NFTA_SET_ELEM_LIST_SET, text(family.set)) +
                             nest(NFTA_SET_ELEM_LIST_ELEMENTS, list));
  }
  return all;
}

std::string set(const std::string& table, const Family& family, uint32_t id) {
  return table_message(NFT_MSG_NEWSET, NLM_F_CREATE,
                       attribute(NFTA_SET_TABLE, text(table)) + attribute(NFTA_SET_NAME, text(family.set)) +
                           attribute(NFTA_SET_FLAGS, big(0)) + attribute(NFTA_SET_KEY_TYPE, big(family.type_of_key())) +
                           attribute(NFTA_SET_KEY_LEN, big(family.key_bytes())) + attribute(NFTA_SET_ID, big(id)));
}

int send(int socket, const std::string& batch) {
  const int room = static_cast<int>(batch.size() * 2 + (64 << 10));
  (void)sys::try_set_option(socket, SOL_SOCKET, kSendRoom, bytes_of(room));
  return sys::send_netfilter_batch(socket, batch, 1);
}

void lock(int socket, const std::string& table, const std::vector<ConnectionEnds>& connections, bool is_owned) {
  const Step step("nf_tables: add table inet {}", table);
  const int code = send(socket, lock_batch(table, connections, is_owned));
  if (code == 0) return;
  throw Error(Fault::refused,
              fmt::format("the packets of TCP connections cannot be kept away while the program is down: {}",
                          sys::code_name(code)),
              code == EPERM ? "CAP_NET_ADMIN is needed; --network-lock skip does without, if something else does it"
                            : "nf_tables with tables that have an owner is needed (Linux 5.12); --network-lock skip "
                              "does without, if something else keeps them away",
              code);
}

}  // namespace

std::string lock_batch(const std::string& table, const std::vector<ConnectionEnds>& connections, bool is_owned) {
  std::vector<std::string> keys[2];
  for (const ConnectionEnds& one : connections) {
    const std::string ours = plain_end(one.local), theirs = plain_end(one.remote);
    if (ours.size() != theirs.size() || (ours.size() != 6 && ours.size() != 18))
      throw Error(Fault::internal, "a connection without addresses");
    auto& list = keys[ours.size() == 6 ? 0 : 1];
    list.push_back(key(ours, theirs)), list.push_back(key(theirs, ours));
  }
  std::string all =
      table_message(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL,
                    attribute(NFTA_TABLE_NAME, text(table)) + attribute(NFTA_TABLE_FLAGS, big(is_owned ? kOwned : 0)));
  for (uint32_t i = 0; i < 2; ++i) {
    std::ranges::sort(keys[i]);
    keys[i].erase(std::unique(keys[i].begin(), keys[i].end()), keys[i].end());
    all += set(table, kFamilies[i], i + 1) + elements(table, kFamilies[i], keys[i]);
  }
  all += chain(table, "input", NF_INET_LOCAL_IN) + chain(table, "output", NF_INET_LOCAL_OUT);
  // The only one that is answered when all is well.
  all +=
      table_message(NFT_MSG_NEWTABLE, NLM_F_ACK,
                    attribute(NFTA_TABLE_NAME, text(table)) + attribute(NFTA_TABLE_FLAGS, big(is_owned ? kOwned : 0)));
  return batch_of(all);
}

std::string unlock_batch(const std::string& table) {
  return batch_of(table_message(NFT_MSG_DELTABLE, NLM_F_ACK, attribute(NFTA_TABLE_NAME, text(table))));
}

bool is_lock_name(const std::string& table) {
  return table.starts_with(kPrefix) && table.size() <= 64 &&
         table.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
}

std::string describe_lock(const std::string& table) {
  return fmt::format(
      "table inet {} of nf_tables drops the packets of its TCP connections; a restore that succeeds "
      "removes it, to give the connections up: nft delete table inet {}",
      table, table);
}

void add_lock(const std::string& table, const std::vector<ConnectionEnds>& connections) {
  lock(sys::open_netlink(NETLINK_NETFILTER).get(), table, connections, false);
}

bool remove_lock(const std::string& table) {
  const int code = send(sys::open_netlink(NETLINK_NETFILTER).get(), unlock_batch(table));
  if (code != 0 && code != ENOENT) sys::throw_code(code, fmt::format("nft delete table inet {}", table));
  return code == 0;
}

bool has_lock(const std::string& table) {
  const UniqueFd socket = sys::open_netlink(NETLINK_NETFILTER);
  // Asked for by name: one answer, or an error.
  return sys::netlink_get(socket.get(), table_message(NFT_MSG_GETTABLE, 0, attribute(NFTA_TABLE_NAME, text(table)))) ==
         0;
}

PacketLock::PacketLock(const std::string& table, const std::vector<ConnectionEnds>& connections)
    : socket_(sys::open_netlink(NETLINK_NETFILTER)) {
  lock(socket_.get(), table, connections, true);
}

}  // namespace mcr::kinds

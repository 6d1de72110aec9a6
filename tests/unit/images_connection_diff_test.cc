// Which differences between the TCP connections of two images have a reason.
#include <gtest/gtest.h>
#include <linux/tcp.h>
#include <netinet/in.h>

#include "images/connection_diff.h"

namespace mcr::images {
namespace {

std::string end_at(uint16_t port, bool mapped = false) {
  if (mapped) {
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6, six.sin6_port = htons(port);
    six.sin6_addr.s6_addr[10] = six.sin6_addr.s6_addr[11] = 0xff;
    six.sin6_addr.s6_addr[12] = 127, six.sin6_addr.s6_addr[15] = 1;
    return {reinterpret_cast<const char*>(&six), sizeof six};
  }
  sockaddr_in four{};
  four.sin_family = AF_INET, four.sin_port = htons(port), four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return {reinterpret_cast<const char*>(&four), sizeof four};
}

// Port 1 has sent to port 2.
struct Sample {
  image::TcpSocket sender, receiver;
  explicit Sample(uint32_t sent_at = 0xfffffffe, const std::string& sent = "cdefg", uint32_t received_at = 0xfffffffc,
                  const std::string& received = "abcd") {
    sender.set_local(end_at(1)), sender.set_remote(end_at(2)), sender.set_state(1);
    receiver.set_local(end_at(2, true)), receiver.set_remote(end_at(1, true)), receiver.set_state(1);
    sender.mutable_send()->set_sequence(sent_at), sender.mutable_send()->set_data(sent);
    receiver.mutable_receive()->set_sequence(received_at), receiver.mutable_receive()->set_data(received);
  }
};

enum class Ends { both, sender, receiver };

bool is_same(const Sample& a, const Sample& b, Ends ends = Ends::both) {
  BothConnections all;
  const auto add = [&](Connections& to, const Sample& sample) {
    if (ends != Ends::receiver) to.add(sample.sender);
    if (ends != Ends::sender) to.add(sample.receiver);
  };
  add(all.a, a), add(all.b, b);
  FieldChange change;
  const bool of_receiver = ends == Ends::receiver;
  change.outer_a = of_receiver ? &a.receiver : &a.sender, change.outer_b = of_receiver ? &b.receiver : &b.sender;
  change.a = of_receiver ? &a.receiver.receive() : &a.sender.send();
  change.b = of_receiver ? &b.receiver.receive() : &b.sender.send();
  return is_same_stream(change, all);
}

TEST(ConnectionDiff, WhatArrives) {
  const Sample before;  // abcd waits, cdefg is not known to have arrived
  EXPECT_TRUE(is_same(before, before));
  EXPECT_TRUE(is_same(before, Sample(3, "", 0xfffffffc, "abcdefg")));
  EXPECT_TRUE(is_same(before, Sample(0, "efg", 0xfffffffc, "abcd")));
  EXPECT_TRUE(is_same(before, Sample(0xfffffffc, "abcdefg", 0xfffffffc, "abcde")));
}

TEST(ConnectionDiff, WhatIsLostOrAnother) {
  const Sample before;
  EXPECT_FALSE(is_same(before, Sample(3, "", 0xfffffffc, "abcd"))) << "bytes under way are gone";
  EXPECT_FALSE(is_same(before, Sample(3, "", 0xfffffffc, "abcdefx"))) << "another byte";
  EXPECT_FALSE(is_same(before, Sample(3, "", 0xfffffffc, "abcdefgh"))) << "more";
  EXPECT_FALSE(is_same(before, Sample(3, "", 0xfffffffd, "bcdefg"))) << "the first is gone";
  EXPECT_FALSE(is_same(before, Sample(1, "fg", 0xfffffffc, "abcd"))) << "a hole";
  EXPECT_FALSE(is_same(before, Sample(0xfffffffe, "cXefg", 0xfffffffc, "abcd"))) << "they contradict each other";
}

TEST(ConnectionDiff, OneEndElsewhere) {
  const Sample before;
  EXPECT_TRUE(is_same(before, Sample(0, "efg"), Ends::sender));
  EXPECT_FALSE(is_same(before, Sample(0, "ef"), Ends::sender)) << "the end of the queue is gone";
  EXPECT_FALSE(is_same(before, Sample(0xfffffffd, "bcdefg"), Ends::sender)) << "more than was there";
  EXPECT_TRUE(is_same(before, Sample(0, "", 0xfffffffc, "abcdx"), Ends::receiver));
  EXPECT_FALSE(is_same(before, Sample(0, "", 0xfffffffc, "abc"), Ends::receiver)) << "received bytes are gone";
  EXPECT_FALSE(is_same(before, Sample(0, "", 0xfffffffb, "abcd"), Ends::receiver)) << "another place";
}

FieldChange between(const image::TcpSocket& a, const image::TcpSocket& b) {
  FieldChange change;
  change.a = &a, change.b = &b;
  return change;
}

TEST(ConnectionDiff, Clock) {
  image::TcpSocket a, b;
  a.set_timestamp(0xffffff00), b.set_timestamp(500);
  EXPECT_TRUE(is_later_timestamp(between(a, b), 1'000'000'000));
  EXPECT_FALSE(is_later_timestamp(between(b, a), 1'000'000'000)) << "earlier";
  EXPECT_FALSE(is_later_timestamp(between(a, b), 100'000'000)) << "too fast";
}

TEST(ConnectionDiff, Windows) {
  const auto window = [](uint32_t largest, uint32_t sent, uint32_t update) {
    const tcp_repair_window w{100, sent, largest, 1000, update};
    return std::string(reinterpret_cast<const char*>(&w), sizeof w);
  };
  image::TcpSocket a, b;
  a.mutable_receive()->set_sequence(90), b.mutable_receive()->set_sequence(90);
  a.set_window(window(500, 500, 90)), b.set_window(window(600, 600, 90));
  EXPECT_TRUE(is_possible_window(between(a, b)));
  EXPECT_FALSE(is_possible_window(between(b, a))) << "the largest fell";
  b.set_window(window(600, 601, 90));
  EXPECT_FALSE(is_possible_window(between(a, b))) << "larger than the largest";
  b.set_window(window(600, 600, 91));
  EXPECT_FALSE(is_possible_window(between(a, b))) << "told for bytes that have not come";
}

TEST(ConnectionDiff, EndsThatArrive) {
  Sample a, b;
  BothConnections all;
  a.receiver.set_state(1), b.receiver.set_state(8), b.receiver.set_received_fin(true);
  all.a.add(a.sender);
  EXPECT_FALSE(is_arrived_end(between(a.receiver, b.receiver), all)) << "nobody had ended it";
  a.sender.set_sent_fin(true);
  all.a = {};
  all.a.add(a.sender);
  EXPECT_TRUE(is_arrived_end(between(a.receiver, b.receiver), all));
  EXPECT_FALSE(is_arrived_end(between(b.receiver, a.receiver), all)) << "backwards";
}

}  // namespace
}  // namespace mcr::images

// The TCP connections of two images of one standing program: what was under way between two ends arrives and is
// acknowledged, but not a byte of it comes, goes or changes. Pure.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>

#include "images/message_diff.h"
#include "images/proto/sockets.pb.h"

namespace mcr::images {

// Those of one image.
class Connections {
 public:
  void add(const image::TcpSocket& socket);
  const image::TcpSocket* peer_of(const image::TcpSocket& socket) const;  // nullptr: it is not in the image

 private:
  std::deque<image::TcpSocket> sockets_;
  std::map<std::string, const image::TcpSocket*> by_ends_;
};

struct BothConnections {
  Connections a, b;
};

// `change`: of a field of a TcpQueue. The bytes between the one who sends and the one who has not yet read are the
// same.
bool is_same_stream(const FieldChange& change, const BothConnections& connections);
// Of TcpSocket.timestamp: its clock (ms) runs on, no faster than time does.
bool is_later_timestamp(const FieldChange& change, uint64_t elapsed_ns);
// Of TcpSocket.never_sent: some of it was sent.
bool is_sent(const FieldChange& change);
// Of TcpSocket.window: one that fits the sequence numbers.
bool is_possible_window(const FieldChange& change);
// Of TcpSocket.state and received_fin: an end that was under way arrives, or is acknowledged.
bool is_arrived_end(const FieldChange& change, const BothConnections& connections);

}  // namespace mcr::images

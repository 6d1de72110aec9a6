// An image of one process whose records can be changed at will, and what a restore says to it.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/tree/process_image.h"
#include "images/proto/files.pb.h"
#include "images/proto/gpu.pb.h"
#include "images/proto/inventory.pb.h"
#include "images/proto/ipc.pb.h"
#include "images/proto/terminals.pb.h"

namespace mcr::restore_sample {

inline constexpr int kPid = 4100001;  // above what a machine hands out by itself
inline constexpr char kAllRight[] = "nothing stood in the way";

// A whole image of one process with one of everything.
struct Sample {
  image::Inventory inventory;
  tree::ProcessImage process;
  std::optional<tree::ProcessImage> second;
  std::vector<image::FileObject> objects;
  image::Ghost ghost;
  image::PipeData pipe;
  std::vector<image::Pty> ptys;
  std::vector<image::SysvSemaphores> semaphores;
  std::vector<image::SysvQueue> queues;
  std::optional<image::GpuState> gpu;
  std::string pages = std::string(8192, 'p'), ghost_content = std::string(4096, 'g');

  Sample();
  void add_object(uint32_t id, const char* kind, const google::protobuf::Message& body);
  void write(const std::string& directory) const;
};

// What `verify` and `restore` say to it. Before a restore would create anything it is stopped.
std::string verify(const Sample& sample);
std::string restore(const Sample& sample);
// That `restore` says so, and `verify` something too when it is no matter of the host.
void expect_refused(const std::function<void(Sample&)>& change, const std::string& expected);

template <typename Body>
void expect_body_refused(size_t object, const std::function<void(Body&)>& change, const std::string& expected) {
  expect_refused(
      [&](Sample& s) {
        Body body;
        s.objects[object].body().UnpackTo(&body);
        change(body);
        s.objects[object].mutable_body()->PackFrom(body);
      },
      expected);
}

// An object of a kind that the sample has none of.
template <typename Body>
void expect_object_refused(const char* kind, const std::function<void(Body&)>& change, const std::string& expected) {
  Body body;
  Sample good;
  good.add_object(5, kind, body);
  EXPECT_NE(restore(good).find(kAllRight), std::string::npos) << restore(good);
  change(body);
  expect_refused([&](Sample& s) { s.add_object(5, kind, body); }, expected);
}

}  // namespace mcr::restore_sample

// Pages that an image says a process has from its parent: believed only where both sides can have them.
#include <gtest/gtest.h>

#include <functional>

#include "core/base/error.h"
#include "core/tree/inherited_check.h"

namespace mcr::tree {
namespace {

using image::Vma;

constexpr uint64_t kPage = 4096, kBase = 0x10000000;

void add_vma(ProcessImage& p, uint64_t start, uint64_t pages, Vma::Kind kind = Vma::PRIVATE_ANONYMOUS) {
  Vma& vma = p.vmas.emplace_back();
  vma.set_start(start), vma.set_end(start + pages * kPage), vma.set_kind(kind);
}
void add_run(ProcessImage& p, uint64_t start, uint64_t pages) {
  image::PageRun& run = p.runs.emplace_back();
  run.set_start(start), run.set_bytes(pages * kPage);
}
void add_inherited(ProcessImage& p, uint64_t start, uint64_t pages) {
  image::InheritedPages& inherited = p.inherited.emplace_back();
  inherited.set_start(start), inherited.set_bytes(pages * kPage);
}

// Process 7 with pages 0 to 9, two runs; its child 8 with pages 2 to 7 of them.
struct Family {
  std::vector<ProcessImage> parents{1};
  ProcessImage child;
  Family() {
    ProcessImage& parent = parents.front();
    parent.core.set_pid(7), parent.core.set_ppid(1);
    child.core.set_pid(8), child.core.set_ppid(7);
    add_vma(parent, kBase, 16), add_vma(child, kBase, 16);
    add_run(parent, kBase, 5), add_run(parent, kBase + 5 * kPage, 5);
    add_inherited(child, kBase + 2 * kPage, 6);
  }
};

std::string refusal(const std::function<void(Family&)>& change) {
  Family family;
  change(family);
  try {
    check_inherited(family.child, family.parents);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::image);
    return error.what();
  }
  return "";
}

TEST(TreeInherited, WhatTheParentHasIsBelieved) {
  EXPECT_EQ(refusal([](Family&) {}), "");
  // What it has from its own parent in turn.
  EXPECT_EQ(refusal([](Family& f) {
              f.parents.front().runs.pop_back();
              add_inherited(f.parents.front(), kBase + 5 * kPage, 5);
            }),
            "");
}

TEST(TreeInherited, NothingElseIs) {
  const auto expect = [](const char* words, const std::function<void(Family&)>& change) {
    const std::string text = refusal(change);
    EXPECT_NE(text.find(words), std::string::npos) << "\"" << text << "\" does not say \"" << words << "\"";
  };
  expect("no parent", [](Family& f) { f.child.core.set_ppid(6); });
  expect("no parent", [](Family& f) { f.parents.front().core.set_zombie(true); });
  expect("no parent", [](Family& f) { f.parents.front().shared_with[0] = 5; });
  expect("not there in its parent", [](Family& f) { f.parents.front().runs.pop_back(); });
  expect("not there in its parent", [](Family& f) { f.parents.front().runs.front().set_bytes(4 * kPage); });
  expect("not there in its parent", [](Family& f) { f.parents.front().runs.front().set_shared(1); });
  expect("not there in its parent", [](Family& f) { f.child.inherited.front().set_bytes(9 * kPage); });
  expect("not there in its parent", [](Family& f) { f.parents.front().vmas.front().set_kind(Vma::SHARED_ANONYMOUS); });
  expect("outside of its private", [](Family& f) { f.child.vmas.front().set_kind(Vma::SHARED_FILE); });
  expect("outside of its private", [](Family& f) { f.child.vmas.front().set_end(kBase + 7 * kPage); });
  expect("are none", [](Family& f) { f.child.inherited.front().set_start(kBase + 1); });
  expect("are none", [](Family& f) { f.child.inherited.front().set_bytes(0); });
  expect("are none", [](Family& f) { f.child.inherited.front().set_bytes(0 - kBase - 2 * kPage); });
  expect("are none", [](Family& f) { add_inherited(f.child, kBase + 2 * kPage, 1); });
  expect("stored as well", [](Family& f) { add_run(f.child, kBase + 7 * kPage, 2); });
}

}  // namespace
}  // namespace mcr::tree

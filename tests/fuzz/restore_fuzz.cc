// Fuzz target of everything that reads an image: restore as far as it goes, verify, show, stat, diff, core, stacks. The
// image is built from the bytes (seam/image_folder.h); the system calls are behind a seam (seam/world.h), which watches
// that whatever the image says the engine reaches nothing but the new process, and leaves nothing when it fails.
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/engine/engine.h"
#include "core/inspect/core_notes.h"
#include "core/inspect/core_segments.h"
#include "core/stacks/image_stacks.h"
#include "images/diff.h"
#include "images/show.h"
#include "images/store.h"
#include "tests/fuzz/seam/image_folder.h"
#include "tests/fuzz/seam/world.h"

namespace {

using namespace mcr;
using fuzz::require;
using fuzz::World;

engine::RestoreOptions options_from(const std::string& settings) {
  engine::RestoreOptions options;
  const auto bits = static_cast<unsigned char>(settings[0]);
  options.images_dir = "/image";
  options.shell_job = (bits & 1) != 0;
  options.redirect_vdso = (bits & 2) != 0;
  options.validation = static_cast<engine::FileValidation>((bits >> 3) % 3);
  options.detached = (bits & 32) != 0;
  options.sibling = (bits & 64) != 0;
  return options;
}

void show(unsigned side, bool json) {
  const auto require_text = [](const std::string& text) { require(!text.empty(), "an image is shown as nothing"); };
  if (side % 8 == 0) return require_text(images::show_image_text("/image"));
  if (side % 8 == 1) return require_text(json ? images::stat_json("/image") : images::stat_text("/image"));
  const images::Shown shown{static_cast<images::Part>(side % 8 % 5), 0};
  require_text(json ? images::show_part_json("/image", shown) : images::show_part_text("/image", shown));
}

// As `core` does, but for writing it: what the image says of its size is too much for a fuzzer.
void look_into(const std::string& directory) {
  const inspect::SavedTree tree(directory);
  for (const tree::ProcessImage& process : tree.processes()) {
    if (process.core.zombie()) continue;
    inspect::ProcessMemory memory(tree, process.core.pid());
    require(!inspect::core_notes(tree, process, memory).empty(), "a core without notes");
    std::array<std::byte, 65536> bytes;
    uint64_t last = 0;
    for (const inspect::CoreSegment& segment : inspect::core_segments(memory, true)) {
      require(segment.start >= last && segment.start < segment.end, "segments of a core overlap");
      last = segment.end;
      if (!segment.is_stored) continue;
      const uint64_t wanted = std::min<uint64_t>(bytes.size(), segment.end - segment.start);
      require(memory.read_exactly(segment.start, std::span(bytes).first(wanted)), "a segment of a core has no bytes");
    }
  }
}

void walk_stacks(const std::string& directory) {
  const inspect::SavedTree tree(directory);
  for (const tree::ProcessImage& process : tree.processes()) {
    const auto stacks = stacks::stacks_in_image(tree, process, {});
    require(stacks.ended || stacks.threads.size() == process.threads.size(), "a thread has no stack");
  }
}

void use(const fuzz::ImageBytes& image) {
  Damage damage;
  switch (static_cast<unsigned char>(image.settings[4]) % 8) {
    case 1:
      images::verify("/image");
      return;
    case 2:
      require(!images::show_image_json("/image").empty(), "an image is shown as nothing");
      return;
    case 3:
      show(static_cast<unsigned char>(image.settings[5]), image.settings[6] % 2 != 0);
      return;
    case 4: {  // with the same after a few changes
      std::string other = fuzz::serialize(image);
      for (uint32_t i = 0; i < 3; ++i)
        other = fuzz::mutate(other, other.size() + 4096, static_cast<unsigned char>(image.settings[5]) * 3u + i);
      fuzz::build_image(fuzz::parse_image(other), "/other", true);
      require(!images::diff_json(images::diff("/image", "/other")).empty(), "a comparison that says nothing");
      return;
    }
    case 5:
      look_into("/image");
      return;
    case 6:
      walk_stacks("/image");
      return;
    default:
      engine::restore(options_from(image.settings), damage);
      require(!damage.any(), "a restore does damage");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const google::protobuf::LogSilencer silencer;
  static const bool started = [] {
    log::start({.level = log::Level::message, .ring_lines = 0});
    fuzz::forbid_effects();
    return true;
  }();
  World& world = World::get();
  world.reset();
  const fuzz::ImageBytes image = fuzz::parse_image({reinterpret_cast<const char*>(data), size});
  fuzz::build_image(image, "/image", (image.settings[0] & 4) == 0);
  fuzz::make_nodes(image);
  world.fail_at = static_cast<unsigned char>(image.settings[1]) | static_cast<unsigned char>(image.settings[2]) << 8;
  world.fail_with = 1 + static_cast<unsigned char>(image.settings[3]) % 40;
  try {
    use(image);
  } catch (const Error& error) {
    if (std::getenv("MCR_FUZZ_SAY") != nullptr) std::fprintf(stderr, "%s\n", error.what());
    require(error.fault() != Fault::internal, error.what());
    require(error.fault() != Fault::timeout, error.what());
    require(!error.reason().empty(), "an error without a reason");
  }
  require(world.linked.empty(), "a name stays behind");
  return started ? 0 : 1;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t limit, unsigned seed) {
  const std::string changed = fuzz::mutate({reinterpret_cast<const char*>(data), size}, limit, seed);
  std::copy(changed.begin(), changed.end(), data);
  return changed.size();
}

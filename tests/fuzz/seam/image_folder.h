// An image built from fuzz bytes: which files it has, which records, which pages. Framing, checksums and the
// inventory's list of files are put right, so that what a reader does with the values behind them is reached.
//
// The bytes: 8 of settings, then frames of
//     u8 length of the file's name, the name; u8 length of the record's type, the type; u24 length of the payload, it.
// A frame without a type is the content of a file of pages; its first 8 bytes give the size, zeros follow the rest.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "images/proto/inventory.pb.h"

namespace mcr::fuzz {

struct Frame {
  std::string file, type, payload;
};

struct ImageBytes {
  static constexpr size_t kSettings = 8;
  std::string settings = std::string(kSettings, '\0');
  std::vector<Frame> frames;
};

inline constexpr char kInventoryType[] = "mcr.image.Inventory";

ImageBytes parse_image(std::string_view bytes);  // whatever the bytes
std::string serialize(const ImageBytes& image);
// As the folder of that name. `mend`: checksums of page runs are those of the pages.
void build_image(const ImageBytes& image, const std::string& folder, bool mend);
// Every file that a message names exists as the message says.
void make_nodes(const ImageBytes& image);

// Changes one value somewhere in one message, or the frames themselves; at most `limit` bytes.
std::string mutate(std::string_view bytes, size_t limit, uint32_t seed);

}  // namespace mcr::fuzz

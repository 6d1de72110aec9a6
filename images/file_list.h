// Names, sizes and digests of files, as text that a person can read and `grep` can search: the manifest of an exported
// image and the seal of one. docs/image-format.md specifies it. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "images/digest.h"

namespace mcr::images {

inline constexpr size_t kMostListBytes = 64u << 20;
inline constexpr size_t kMostListedFiles = 1u << 18;

struct ListedFile {
  std::string name;  // "core-12.img", "parent-1/core-12.img"
  uint64_t size = 0;
  std::string digest;  // kDigestBytes raw bytes
};

struct FileList {
  std::string title;                                       // "mini-criu seal 1"
  std::vector<std::pair<std::string, std::string>> facts;  // one line each: words of letters, digits and "-"
  std::vector<ListedFile> files;
  const std::string* fact(std::string_view name) const;  // nullptr: it says none
};

// `key`: the digest of the list itself, at its end, is made with it.
std::string text_of(const FileList& list, const SecretBytes* key = nullptr);

// Throws Fault::image with the line. `from`: how errors call it. The names are such as an image has, none comes twice,
// and the sizes add up to something.
FileList parse_file_list(std::string_view text, const std::string& title, const std::string& from);
// Whether its last line is what text_of() would have put there.
bool has_right_end(std::string_view text, const SecretBytes* key = nullptr);

// "parent-3/core-1.img": 3 and "core-1.img"; without a folder: 0. False for names that no image has.
struct ListedName {
  uint32_t parent = 0;
  std::string_view file;
};
bool parse_listed_name(std::string_view name, ListedName& parsed);
std::string parent_folder_name(uint32_t parent);  // "parent-3"

}  // namespace mcr::images

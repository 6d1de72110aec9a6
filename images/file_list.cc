#include "images/file_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "core/base/error.h"
#include "images/byte_text.h"
#include "images/format.h"
#include "images/parent_chain.h"

namespace mcr::images {
namespace {

constexpr std::string_view kParentPrefix = "parent-";
constexpr size_t kEndLine = 4 + 2 * kDigestBytes + 1;  // "end DIGEST\n"

struct Line {
  const std::string& from;
  size_t number = 1;
  [[noreturn]] void fail(const std::string& reason) const {
    throw Error(Fault::image, fmt::format("{}, line {}: {}", from, number, reason),
                "it is damaged or was altered: use another copy");
  }
};

bool parse_number(std::string_view text, uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && (text == "0" || text.front() != '0');
}

bool parse_digest(std::string_view text, std::string& digest) {
  if (text.size() != 2 * kDigestBytes) return false;
  digest.clear();
  for (size_t i = 0; i < text.size(); i += 2) {
    unsigned byte = 0;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + i + 2, byte, 16);
    if (error != std::errc() || end != text.data() + i + 2) return false;
    digest += static_cast<char>(byte);
  }
  return hexadecimal(digest) == text;
}

std::string_view take_word(std::string_view& line) {
  const std::string_view word = line.substr(0, line.find(' '));
  line.remove_prefix(std::min(word.size() + 1, line.size()));
  return word;
}

bool is_word(std::string_view text) {
  return !text.empty() && text.size() <= 128 &&
         std::ranges::all_of(text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

ListedFile parse_file(std::string_view rest, const Line& line) {
  ListedFile file;
  if (!parse_digest(take_word(rest), file.digest)) line.fail("there is no digest");
  if (!parse_number(take_word(rest), file.size)) line.fail("there is no size");
  ListedName parsed;
  if (!parse_listed_name(rest, parsed)) line.fail(fmt::format("\"{}\" is no name in an image", escaped(rest)));
  file.name = rest;
  return file;
}

}  // namespace

const std::string* FileList::fact(std::string_view name) const {
  const auto found = std::ranges::find(facts, name, &std::pair<std::string, std::string>::first);
  return found == facts.end() ? nullptr : &found->second;
}

std::string text_of(const FileList& list, const SecretBytes* key) {
  std::string text = list.title + "\n";
  for (const auto& [name, value] : list.facts) text += fmt::format("{} {}\n", name, value);
  for (const ListedFile& file : list.files)
    text += fmt::format("file {} {} {}\n", hexadecimal(file.digest), file.size, file.name);
  return text + fmt::format("end {}\n", hexadecimal(digest_of(text, key)));
}

bool has_right_end(std::string_view text, const SecretBytes* key) {
  if (text.size() < kEndLine) return false;
  const std::string_view end = text.substr(text.size() - kEndLine);
  std::string digest;
  return end.starts_with("end ") && end.ends_with('\n') && parse_digest(end.substr(4, 2 * kDigestBytes), digest) &&
         is_same_digest(digest, digest_of(text.substr(0, text.size() - kEndLine), key));
}

FileList parse_file_list(std::string_view text, const std::string& title, const std::string& from) {
  FileList list;
  Line line{from};
  std::set<std::string_view> names;
  uint64_t total = 0;
  bool ended = false;
  for (; !text.empty(); ++line.number) {
    const size_t length = text.find('\n');
    if (length == std::string_view::npos) line.fail("it ends inside a line");
    std::string_view rest = text.substr(0, length);
    text.remove_prefix(length + 1);
    if (line.number == 1) {
      if (rest != title) line.fail(fmt::format("it does not begin with \"{}\"", title));
      list.title = title;
      continue;
    }
    if (ended) line.fail("it goes on behind its end");
    const std::string_view word = take_word(rest);
    if (word == "file") {
      if (list.files.size() == kMostListedFiles) line.fail("there are too many files");
      list.files.push_back(parse_file(rest, line));
      if (list.files.back().size > UINT64_MAX - total) line.fail("the sizes are impossible");
      total += list.files.back().size;
    } else if (word == "end") {
      std::string digest;
      if (!parse_digest(rest, digest)) line.fail("there is no digest");
      ended = true;
    } else {
      if (!is_word(word) || !is_word(rest) || list.fact(word) || list.facts.size() == 16 || !list.files.empty())
        line.fail("it says nothing that is known");
      list.facts.emplace_back(word, rest);
    }
  }
  if (!ended) line.fail("its end is missing");
  for (const ListedFile& file : list.files)
    if (!names.insert(file.name).second) line.fail(fmt::format("{} is listed twice", file.name));
  return list;
}

bool parse_listed_name(std::string_view name, ListedName& parsed) {
  const size_t slash = name.find('/');
  parsed = {0, name.substr(slash == std::string_view::npos ? 0 : slash + 1)};
  if (slash != std::string_view::npos) {
    uint64_t number = 0;
    if (!name.starts_with(kParentPrefix) || slash == kParentPrefix.size() ||
        !parse_number(name.substr(kParentPrefix.size(), slash - kParentPrefix.size()), number) || number == 0 ||
        number > kMostParents)
      return false;
    parsed.parent = static_cast<uint32_t>(number);
  }
  return is_valid_file_name(parsed.file);
}

std::string parent_folder_name(uint32_t parent) {
  return fmt::format("{}{}", kParentPrefix, parent);
}

}  // namespace mcr::images

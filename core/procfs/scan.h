// Scanning of the text that the kernel prints into /proc: a cursor over one line, and over the lines of a file. Private
// to core/procfs. Nothing is copied; every view points into the caller's text. Throws Error (Fault::system).
#pragma once

#include <charconv>
#include <source_location>
#include <string>
#include <string_view>

namespace mcr::procfs {

// Quotes the start of the text, so that a hostile name cannot write escape sequences into a terminal.
[[noreturn]] void throw_unreadable(std::string_view file, std::string_view text,
                                   std::source_location where = std::source_location::current());
[[noreturn]] void throw_missing(std::string_view file, std::string_view line,
                                std::source_location where = std::source_location::current());

inline bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

// The lines of a file, without their line feeds. A last line that lacks its line feed counts.
class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}
  bool next(std::string_view& line) {
    if (rest_.empty()) return false;
    const size_t end = rest_.find('\n');
    line = rest_.substr(0, end);
    rest_ = end == std::string_view::npos ? std::string_view() : rest_.substr(end + 1);
    return true;
  }

 private:
  std::string_view rest_;
};

// A cursor over one line. `file` is what an error names: "maps", "status".
class Cursor {
 public:
  Cursor(std::string_view file, std::string_view line) : file_(file), line_(line), rest_(line) {}

  bool at_end() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  Cursor& skip_blanks() {
    size_t count = 0;
    while (count < rest_.size() && is_blank(rest_[count])) ++count;
    rest_.remove_prefix(count);
    return *this;
  }

  bool accept(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }
  Cursor& expect(std::string_view text) {
    if (!accept(text)) fail();
    return *this;
  }

  char character() {
    if (rest_.empty()) fail();
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }

  // A number directly at the cursor; one that does not fit into Number is an error.
  template <typename Number>
  Number number(int base = 10) {
    Number value{};
    const char* end = rest_.data() + rest_.size();
    const auto [after, code] = std::from_chars(rest_.data(), end, value, base);
    if (code != std::errc()) fail();
    rest_.remove_prefix(static_cast<size_t>(after - rest_.data()));
    return value;
  }

  // Blanks, a number, and then nothing but blanks.
  template <typename Number>
  Number last_number(int base = 10) {
    const Number value = skip_blanks().number<Number>(base);
    finish();
    return value;
  }

  // The non-blank characters up to the next blank or the end; perhaps empty.
  std::string_view word() {
    skip_blanks();
    size_t count = 0;
    while (count < rest_.size() && !is_blank(rest_[count])) ++count;
    const std::string_view text = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return text;
  }

  // Nothing but blanks may follow.
  void finish() {
    if (!skip_blanks().at_end()) fail();
  }

  [[noreturn]] void fail(std::source_location where = std::source_location::current()) const {
    throw_unreadable(file_, line_, where);
  }

 private:
  std::string_view file_, line_, rest_;
};

}  // namespace mcr::procfs

// The log: levels as on the command line, one module name a line, and a ring in memory that keeps the last
// debug lines, so that a failure can show what led to it even when -v4 was not given.
#pragma once

#include <fmt/format.h>

#include <source_location>
#include <string>
#include <string_view>

namespace mcr::log {

enum class Level { message = 0, error = 1, warning = 2, info = 3, debug = 4 };

struct Settings {
  Level level = Level::warning;  // -v[N]; default as with -v2
  std::string file;              // empty: standard error
  int descriptor = -1;           // of the file, open for writing; start() takes it
  bool show_pid = false;         // --log-pid
  size_t ring_lines = 256;       // kept for a failure; 0 keeps none
};

// Once, before any other thread exists.
void start(const Settings& settings);
void flush();
int descriptor();  // that it is written to
bool enabled(Level level);
void write(Level level, std::string_view module, std::string_view text);
// Writes the ring of unshown debug lines, once, below an error.
void dump_ring();

template <typename... Args>
void debug(std::string_view module, fmt::format_string<Args...> format, Args&&... args) {
  write(Level::debug, module, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(std::string_view module, fmt::format_string<Args...> format, Args&&... args) {
  write(Level::info, module, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(std::string_view module, fmt::format_string<Args...> format, Args&&... args) {
  write(Level::warning, module, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(std::string_view module, fmt::format_string<Args...> format, Args&&... args) {
  write(Level::error, module, fmt::format(format, std::forward<Args>(args)...));
}
// Shown whatever the level: the closing line of a command.
template <typename... Args>
void message(std::string_view module, fmt::format_string<Args...> format, Args&&... args) {
  write(Level::message, module, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace mcr::log

#include "tools/stacks_report.h"

#include <fmt/format.h>

#include "core/base/error.h"
#include "core/stacks/frame_text.h"
#include "images/byte_text.h"
#include "tools/json_object.h"

namespace mcr::cli {
namespace {

using images::escaped;

struct Style {
  bool is_on = false;
  std::string bold(const std::string& text) const { return is_on ? "\x1b[1m" + text + "\x1b[0m" : text; }
  std::string faint(const std::string& text) const { return is_on ? "\x1b[2m" + text + "\x1b[0m" : text; }
  std::string warning(const std::string& text) const { return is_on ? "\x1b[33m" + text + "\x1b[0m" : text; }
};

std::string frame_line(size_t number, const stacks::Frame& frame, const Style& style) {
  return fmt::format("    {:<4}{} {}{}{}\n", fmt::format("#{}", number), style.faint(fmt::format("{:#018x}", frame.pc)),
                     stacks::function_text(frame), style.faint(stacks::module_text(frame)),
                     frame.is_guessed ? style.warning(" by the frame pointer, may be wrong") : "");
}

std::string thread_text(const stacks::ThreadStack& thread, const Style& style) {
  std::string text = fmt::format(
      "  {}, {}\n", style.bold(fmt::format("thread {} {}", thread.tid, escaped(thread.name))), thread.state);
  for (size_t i = 0; i < thread.frames.size(); ++i) text += frame_line(i, thread.frames[i], style);
  for (const stacks::PythonFrame& frame : thread.python)
    text += fmt::format("    py  {}\n", stacks::python_text(frame));
  if (!thread.ending.empty())
    text += style.warning(fmt::format("        ends here: {}", escaped(thread.ending))) + "\n";
  return text;
}

void put_frame(JsonObject& object, const stacks::Frame& frame) {
  put(object, "address", fmt::format("{:#x}", frame.pc));
  if (!frame.function.empty()) {
    put(object, "function", escaped(frame.function));
    put(object, "offset", static_cast<double>(frame.offset));
  }
  if (!frame.module.empty()) {
    put(object, "module", escaped(frame.module));
    put(object, "module_offset", static_cast<double>(frame.module_offset));
  }
  if (frame.is_signal) put_flag(object, "signal", true);
  if (frame.is_guessed) put_flag(object, "by_frame_pointer", true);
}

void put_thread(JsonObject& object, const stacks::ThreadStack& thread) {
  put(object, "tid", static_cast<double>(thread.tid));
  put(object, "name", escaped(thread.name));
  put(object, "state", thread.state);
  JsonList& frames = put_list(object, "frames");
  for (const stacks::Frame& frame : thread.frames) put_frame(*frames.add_values()->mutable_struct_value(), frame);
  JsonList& python = put_list(object, "python");
  for (const stacks::PythonFrame& frame : thread.python) {
    JsonObject& entry = *python.add_values()->mutable_struct_value();
    put(entry, "function", escaped(frame.function));
    put(entry, "file", escaped(frame.file));
    put(entry, "line", static_cast<double>(frame.line));
  }
  put_flag(object, "complete", thread.ending.empty());
  if (!thread.ending.empty()) put(object, "ending", escaped(thread.ending));
}

}  // namespace

stacks::Tell in_words(bool styled) {
  return [style = Style{styled}](const stacks::ProcessStacks& process) {
    std::string text = style.bold(fmt::format("process {} {}", process.pid, escaped(process.name)));
    text += process.ended ? ", has ended and was not collected by its parent\n" : "\n";
    for (const stacks::ThreadStack& thread : process.threads) text += thread_text(thread, style);
    for (const std::string& line : process.missing)
      text += style.warning(fmt::format("  missing: {}", escaped(line))) + "\n";
    return text;
  };
}

std::string in_json(const stacks::ProcessStacks& process) {
  JsonObject entry;
  put(entry, "pid", static_cast<double>(process.pid));
  put(entry, "name", escaped(process.name));
  put_flag(entry, "ended", process.ended);
  JsonList& threads = put_list(entry, "threads");
  for (const stacks::ThreadStack& thread : process.threads)
    put_thread(*threads.add_values()->mutable_struct_value(), thread);
  JsonList& missing = put_list(entry, "missing");
  for (const std::string& line : process.missing) missing.add_values()->set_string_value(escaped(line));
  return entry.SerializeAsString();
}

std::string stacks_text(const stacks::TreeStacks& tree, bool styled) {
  std::string text;
  for (const std::string& process : tree.processes) text += process;
  if (tree.pause_us != 0)
    text +=
        Style{styled}.faint(fmt::format("stood still for {:.3f} ms", static_cast<double>(tree.pause_us) / 1000)) + "\n";
  return text;
}

std::string stacks_json(const stacks::TreeStacks& tree, const std::string& target) {
  JsonObject object;
  put_flag(object, "ok", true);
  put(object, "command", "stacks");
  put(object, "of", target);
  if (tree.pause_us != 0) put(object, "pause_ms", static_cast<double>(tree.pause_us) / 1000);
  JsonList& processes = put_list(object, "processes");
  for (const std::string& process : tree.processes)
    if (!processes.add_values()->mutable_struct_value()->ParseFromString(process))
      throw Error(Fault::internal, "the words of a child cannot be understood");
  return json_text(object) + "\n";
}

}  // namespace mcr::cli

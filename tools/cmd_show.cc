#include <fmt/format.h>

#include "core/sys/file.h"
#include "images/show.h"
#include "tools/commands.h"
#include "tools/values.h"

namespace mcr::cli {
namespace {

// nullopt: the whole image, in short.
std::optional<images::Shown> shown_part(const Settings& settings) {
  std::vector<images::Shown> asked;
  for (const auto& [name, part] :
       {std::pair{"show-tree", images::Part::tree}, std::pair{"fds", images::Part::descriptors},
        std::pair{"mem", images::Part::memory}, std::pair{"sockets", images::Part::sockets}})
    if (settings.flag(name)) asked.push_back({part, 0});
  if (const auto pid = settings.value("maps")) asked.push_back({images::Part::mappings, parse_pid("maps", *pid)});
  if (asked.size() > 1)
    usage("show prints one side of an image at a time", "give one of --tree --fds --mem --sockets --maps");
  if (asked.empty()) return std::nullopt;
  return asked.front();
}

std::string image_text(const images::ImagePlace& place, const std::optional<images::Shown>& part, bool json) {
  if (part) return json ? images::show_part_json(place, *part) : images::show_part_text(place, *part);
  return json ? images::show_image_json(place) : images::show_image_text(place);
}

}  // namespace

int run_show(const CommandLine& line) {
  const std::string path = image_operand(line);
  const auto part = shown_part(line.settings);
  const images::ImagePlace place = image_place(path);
  const auto what = sys::try_stat(place.received ? "/" : path);
  if (!what)
    throw Error(Fault::image, fmt::format("{} does not exist", path), "give an image folder or one of its files");
  if (!S_ISDIR(what->st_mode) && part)
    usage(fmt::format("{} is a file, of which there are no such sides", path), "give the folder of an image");
  std::string text =
      S_ISDIR(what->st_mode) ? image_text(place, part, line.settings.flag("json")) : images::show_file_json(path);
  if (!text.ends_with('\n')) text += '\n';
  print(text);
  return 0;
}

int run_stat(const CommandLine& line) {
  const images::ImagePlace place = image_place(image_operand(line));
  print(line.settings.flag("json") ? images::stat_json(place) : images::stat_text(place));
  return 0;
}

}  // namespace mcr::cli

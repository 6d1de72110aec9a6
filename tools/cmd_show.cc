#include <fmt/format.h>

#include "core/sys/file.h"
#include "images/show.h"
#include "tools/commands.h"

namespace mcr::cli {

int run_show(const CommandLine& line) {
  const std::string path = image_operand(line);
  const auto what = sys::try_stat(path);
  if (!what)
    throw Error(Fault::image, fmt::format("{} does not exist", path), "give an image folder or one of its files");
  std::string text;
  if (!S_ISDIR(what->st_mode))
    text = images::show_file_json(path);
  else if (line.settings.flag("json"))
    text = images::show_image_json(path);
  else
    text = images::show_image_text(path);
  if (!text.ends_with('\n')) text += '\n';
  print(text);
  return 0;
}

}  // namespace mcr::cli

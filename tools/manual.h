// The man pages and the table of docs/cli.md, made from the table of options.
#pragma once

#include <string>

#include "tools/option_table.h"

namespace mcr::cli {

std::string overview_page();                       // mini-criu(1), as roff
std::string command_page(const Command& command);  // mini-criu-dump(1)
void write_manual(const std::string& folder);      // one file a page; the folder is made when it is missing
std::string options_table();                       // Markdown

}  // namespace mcr::cli

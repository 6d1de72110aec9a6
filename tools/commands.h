// One function a command, one file each. They return the exit code of a success and throw Error otherwise; what
// they learn for the report of a failure goes into the situation.
#pragma once

#include "tools/command_line.h"
#include "tools/request.h"
#include "tools/situation.h"

namespace mcr::cli {

int run_dump(const CommandLine& line, Situation& situation);
int run_restore(const CommandLine& line, Situation& situation);
int run_check(const CommandLine& line);
int run_show(const CommandLine& line);
int run_verify(const CommandLine& line);
int run_diff(const CommandLine& line);

inline constexpr int kImagesDiffer = 4;  // exit code of diff; 1 to 3 say that a command failed

// Shared by dump and restore.
// Opens the log before anything else. makes_folder: the image folder is made when the log goes there.
void open_log(const Surroundings& around, bool makes_folder, Situation& situation);
void check_status_descriptor(int fd);  // Error(usage) when it is not open
void tell_status_descriptor(int fd);   // one zero byte, then closed
void print(const std::string& text);   // to standard output, at once

// Shared by show and verify: the operand, or -D, or the current folder.
std::string image_operand(const CommandLine& line);

}  // namespace mcr::cli

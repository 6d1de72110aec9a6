// One function a command, one file each. They return the exit code of a success and throw Error otherwise; what
// they learn for the report of a failure goes into the situation.
#pragma once

#include "images/store.h"
#include "tools/command_line.h"
#include "tools/request.h"
#include "tools/situation.h"

namespace mcr::cli {

int run_dump(const CommandLine& line, Situation& situation);
int run_restore(const CommandLine& line, Situation& situation);
int run_check(const CommandLine& line);
int run_show(const CommandLine& line);
int run_stat(const CommandLine& line);
int run_export(const CommandLine& line);
int run_import(const CommandLine& line);
int run_merge(const CommandLine& line);
int run_seal(const CommandLine& line);
int run_unseal(const CommandLine& line);
int run_keygen(const CommandLine& line);
int run_verify(const CommandLine& line);
int run_diff(const CommandLine& line);
int run_lazy_pages(const CommandLine& line);
int run_page_server(const CommandLine& line);
int run_stacks(const CommandLine& line, Situation& situation);
int run_core(const CommandLine& line);
int run_gpu(const CommandLine& line, Situation& situation);
int run_run(const CommandLine& line);
int run_ps(const CommandLine& line);
int run_logs(const CommandLine& line);
int run_attach(const CommandLine& line);
int run_checkpoint(const CommandLine& line);
int run_stop(const CommandLine& line);
int run_resume(const CommandLine& line);
int run_rm(const CommandLine& line);
int run_inspect(const CommandLine& line);

inline constexpr int kImagesDiffer = 4;  // exit code of diff; 1 to 3 say that a command failed

// Shared by dump and restore.
// Opens the log before anything else. makes_folder: the image folder is made when the log goes there.
void open_log(const Surroundings& around, bool makes_folder, Situation& situation);
void check_status_descriptor(int fd);  // Error(usage) when it is not open
void tell_status_descriptor(int fd);   // one zero byte, then closed
void print(const std::string& text);   // to standard output, at once
void say(const std::string& text);     // to standard error; on a full disk it is lost, and nothing else is

// Shared by those who read an image: the operand, or -D, or the current folder.
std::string image_operand(const CommandLine& line);
images::ImagePlace image_place(const std::string& operand);  // "-": standard input, which is read
// Every byte of an image folder and of all that it builds upon. Throws at the first bad one.
images::VerifyReport verify_chain(const std::string& folder);
// restore and verify: the seal of --key holds, or, without it, a sealed image is told of.
void check_seal_of(const CommandLine& line, const std::string& folder);

}  // namespace mcr::cli

// What a command says at its end: lines for a person, one JSON object for a script.
#pragma once

#include <string>

#include "core/base/error.h"
#include "core/engine/engine.h"

namespace mcr::cli {

std::string dump_json(const std::string& images_dir, HostPid tree, const image::DumpStatistics& figures);
// receive_us: the time that the image took to come as a stream; 0: it lay in a folder.
std::string restore_json(const std::string& images_dir, HostPid root, const engine::RestoreStatistics& figures,
                         uint64_t receive_us = 0);
std::string failure_json(const std::string& command, const Error& error, int exit_code);

// One line: the folder, its size, the times.
std::string readable_bytes(uint64_t bytes);  // "1.5 MiB", "12 KiB", "80 B"
std::string dump_line(const std::string& images_dir, HostPid tree, const image::DumpStatistics& figures);
// --display-stats: one figure a line.
std::string dump_figures(const image::DumpStatistics& figures);
std::string restore_figures(const engine::RestoreStatistics& figures, uint64_t receive_us = 0);

// "dump > pid 4711 > fd 7": begins with the command, whether or not the engine had opened a step for it.
std::string object_of(const std::string& command, const Error& error);
std::string failure_line(const std::string& command, const Error& error);  // "dump > pid 4711: reason; remedy"
int exit_code_of(const Error& error, bool harmed);

}  // namespace mcr::cli

#include "tools/request.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "tools/standard_streams.h"
#include "tools/values.h"

namespace mcr::cli {
namespace {

// As CRIU: relative to the work folder. path::operator/ keeps an absolute right side as it is.
std::string in_folder(const std::string& folder, const std::string& file) {
  return (std::filesystem::path(folder) / file).lexically_normal().string();
}

sys::TcpPlace server_of_image(const Settings& settings) {
  if (settings.typed("images-dir"))
    usage("--page-server says that the image is with a server, and -D that it is in a folder", "give one of them");
  if (settings.value("key"))
    usage("a seal lies in the folder of the image, which the server has", "give --key to mini-criu lazy-pages there");
  sys::TcpPlace place = place_of_server(settings);
  if (place.port == 0) usage("--page-server needs the port of the server", "add --port");
  return place;
}

Surroundings surroundings(const Settings& settings) {
  Surroundings around;
  around.images_dir = settings.value("images-dir").value_or(".");
  if (settings.flag("page-server")) around.server = server_of_image(settings);
  for (const char* name : {"address", "port"})
    if (settings.typed(name) && !around.server)
      usage(fmt::format("--{} says where a server is, and nothing that it is to be used", name), "add --page-server");
  if (around.server) around.images_dir = around.server->text();
  const bool has_folder = !is_stream(around) && !around.server;
  around.work_dir = settings.value("work-dir").value_or(has_folder ? around.images_dir : ".");
  if (around.images_dir.empty() || around.work_dir.empty()) usage("the name of a folder is empty");
  around.log = log_settings(settings, around.work_dir);
  around.json = settings.flag("json");
  around.display_stats = settings.flag("display-stats");
  if (const auto fd = settings.value("status-fd")) around.status_fd = parse_descriptor("status-fd", *fd);
  for (const std::string& script : settings.values("action-script"))
    around.action_scripts.push_back(std::filesystem::absolute(script).lexically_normal().string());
  return around;
}

// What both directions have under the same names.
template <typename Options>
void fill_common(Options& options, const Settings& settings, const std::string& images_dir) {
  options.images_dir = images_dir;
  options.leave_stopped = settings.flag("leave-stopped");
  options.shell_job = settings.flag("shell-job");
  if (const auto seconds = settings.value("timeout")) options.timeout = parse_seconds("timeout", *seconds);
  if (const auto how = settings.value("file-validation"))
    options.validation = parse_validation("file-validation", *how);
}

void refuse_operands(const CommandLine& line) {
  if (line.operands.empty()) return;
  usage(fmt::format("{} takes no operand, but was given \"{}\"", line.command->name, line.operands.front()),
        fmt::format("mini-criu {} --help shows how it is called", line.command->name));
}

void refuse_together(const Settings& settings, std::string_view one, std::string_view other) {
  if (settings.flag(one) && settings.flag(other))
    usage(fmt::format("--{} and --{} exclude each other", one, other), "give one of them");
}

bool locks_network(const Settings& settings) {
  const auto method = settings.value("network-lock");
  if (!method || *method == "nftables") return true;
  if (*method != "skip")
    usage(fmt::format("--network-lock: \"{}\" is not available", *method), "give nftables, or skip");
  return false;
}

}  // namespace

sys::TcpPlace place_of_server(const Settings& settings) {
  const auto port = settings.value("port");
  return {settings.value("address").value_or("127.0.0.1"), port ? parse_port("port", *port) : uint16_t{0}};
}

bool is_stream(const Surroundings& around) {
  return around.images_dir == kStream;
}

bool shows_progress(const Surroundings& around) {
  return !around.json && (!around.log.file.empty() || around.log.level <= log::Level::warning);
}

std::string absolute_folder(const std::string& folder) {
  if (folder == kStream) return folder;
  const std::filesystem::path path = std::filesystem::absolute(folder).lexically_normal();
  return path.has_filename() || path == path.root_path() ? path.string() : path.parent_path().string();
}

log::Settings log_settings(const Settings& settings, const std::string& work_dir) {
  log::Settings log;
  log.level = parse_verbosity(settings.values("verbosity"));
  log.show_pid = settings.flag("log-pid");
  if (const auto file = settings.value("log-file"); file && !file->empty()) log.file = in_folder(work_dir, *file);
  return log;
}

namespace {

void refuse_combined(const DumpRequest& request, const Settings& settings) {
  const auto& options = request.options;
  const bool builds_upon_another = options.track_memory || !options.previous_images.empty();
  const bool is_one_stream = is_stream(request.around) || request.around.server;
  const char* what = request.around.server ? "--page-server" : "-D -";
  if (is_one_stream && options.streams != 0)
    usage(fmt::format("{} is one stream: it cannot be written in several files, nor compressed", what),
          "leave out --stream and --compress, or put a compressor behind the pipe");
  if (is_one_stream && builds_upon_another)
    usage(fmt::format("{} holds a whole image, which builds upon no other", what),
          "leave out --track-mem and --prev-images-dir");
  if (options.live && builds_upon_another)
    usage("--live stores all memory, and --track-mem notes what is written while the program stands still",
          "give one of them");
  if (settings.flag("live")) refuse_together(settings, "live", "leave-stopped");
}

// What is stored of the memory, when and where.
void fill_memory(DumpRequest& request, const CommandLine& line) {
  const Settings& settings = line.settings;
  auto& options = request.options;
  options.live = settings.flag("live");
  options.leave_running = settings.flag("leave-running") || options.live;
  options.track_memory = settings.flag("track-mem");
  if (line.command->name == "pre-dump") {
    if (settings.flag("leave-stopped")) usage("pre-dump lets the process go on", "leave out --leave-stopped");
    options.memory_only = options.track_memory = options.leave_running = true;
  }
  if (const auto previous = settings.value("prev-images-dir")) {
    if (previous->empty()) usage("--prev-images-dir: the name of a folder is empty");
    if (!is_stream(request.around))
      options.previous_images = in_folder(absolute_folder(request.around.images_dir), *previous);
    else
      options.previous_images = *previous;
  }
  if (const auto how = settings.value("compress")) {
    options.compression = parse_compression("compress", *how);
    options.streams = std::clamp(std::thread::hardware_concurrency(), 1u, 64u);
  }
  if (const auto count = settings.value("stream")) options.streams = parse_streams("stream", *count);
  refuse_combined(request, settings);
}

}  // namespace

DumpRequest dump_request(const CommandLine& line) {
  const Settings& settings = line.settings;
  for (const char* name : {"exec-cmd", "lazy-pages"})
    if (settings.flag(name)) usage(fmt::format("--{} belongs to restore", name), "leave it out");
  refuse_operands(line);
  refuse_together(settings, "leave-running", "leave-stopped");
  const auto tree = settings.value("tree");
  if (!tree) usage("the process to save is missing", "give it with -t PID");

  DumpRequest request{surroundings(settings), {}};
  fill_common(request.options, settings, request.around.images_dir);
  request.options.tree = HostPid(parse_pid("tree", *tree));
  request.options.sync = settings.flag("sync");
  if (const auto demand = settings.value("cpu-cap")) parse_cpu_demand("cpu-cap", *demand);  // of interest to restore
  request.options.file_locks = settings.flag("file-locks");
  for (const std::string& resource : settings.values("external"))
    request.options.external.insert(parse_resource("external", resource));
  request.options.link_remap = settings.flag("link-remap");
  if (const auto mode = settings.value("manage-cgroups"))
    request.options.manage_cgroups = parse_cgroup_mode("manage-cgroups", *mode) != tree::CgroupMode::ignore;
  request.options.tcp_established = settings.flag("tcp-established");
  request.options.tcp_close = settings.flag("tcp-close");
  request.options.skip_in_flight = settings.flag("skip-in-flight");
  request.options.lock_network = locks_network(settings);
  for (const std::string& inode : settings.values("ext-unix-sk")) {
    auto& peers = request.options.outside_unix_peers;
    if (!peers) peers.emplace();
    if (inode != "+") peers->insert(parse_inode("ext-unix-sk", inode));
  }
  fill_memory(request, line);
  if (const auto size = settings.value("ghost-limit")) request.options.ghost_limit = parse_size("ghost-limit", *size);
  return request;
}

namespace {

void fill_debugging(RestoreRequest& request, const CommandLine& line) {
  const Settings& settings = line.settings;
  request.options.new_pids = settings.flag("new-pids");
  if (settings.flag("gdb")) {
    if (is_stream(request.around)) usage("--gdb reads commands where -D - reads the image", "restore from a folder");
    request.gdb = line.operands;
  }
  request.stopped = settings.flag("stopped") || request.gdb;
  if (request.stopped) request.options.leave_stopped = true;
}

}  // namespace

RestoreRequest restore_request(const CommandLine& line) {
  const Settings& settings = line.settings;
  refuse_together(settings, "leave-running", "leave-stopped");
  refuse_together(settings, "restore-detached", "exec-cmd");
  RestoreRequest request{surroundings(settings), {}};
  fill_common(request.options, settings, request.around.images_dir);
  request.options.sibling = settings.flag("restore-sibling");
  if (const auto demand = settings.value("cpu-cap")) request.options.cpu = parse_cpu_demand("cpu-cap", *demand);
  if (const auto how = settings.value("timers")) request.options.timers = parse_timers("timers", *how);
  if (const auto mode = settings.value("manage-cgroups"))
    request.options.cgroups.mode = parse_cgroup_mode("manage-cgroups", *mode);
  for (const std::string& root : settings.values("cgroup-root"))
    request.options.cgroups.roots.push_back(parse_cgroup_root("cgroup-root", root));
  if (!request.options.cgroups.roots.empty() && request.options.cgroups.mode == tree::CgroupMode::ignore)
    usage("--cgroup-root says where control groups go, which are not restored", "add --manage-cgroups");
  for (const std::string& resource : settings.values("external")) parse_resource("external", resource);
  for (const std::string& given : settings.values("inherit-fd"))
    request.options.inherited.insert(parse_inherited("inherit-fd", given));
  for (const std::string& given : settings.values("gpu-map"))
    if (!request.options.gpu_map.insert(parse_gpu_pair("gpu-map", given)).second)
      usage(fmt::format("--gpu-map: {} is given twice", given.substr(0, given.find('='))));
  if (is_stream(request.around))
    for (const auto& [resource, fd] : request.options.inherited)
      if (fd == 0)
        usage(fmt::format("--inherit-fd: descriptor 0 for {} is the stream of the image", resource),
              "give another one");
  if (const auto count = settings.value("stream")) request.options.threads = parse_streams("stream", *count);
  request.options.lazy = settings.flag("lazy-pages");
  if (request.options.lazy && is_stream(request.around))
    usage("--lazy-pages reads the image while the program runs, and -D - comes through a pipe once",
          "restore from a folder, or leave out --lazy-pages");
  request.options.count_timers = settings.flag("count-timers");
  request.options.lock_network = locks_network(settings);
  request.options.tcp_close = settings.flag("tcp-close");
  request.options.redirect_vdso = settings.flag("redirect-vdso");
  request.detached = request.options.detached = settings.flag("restore-detached");
  if (request.options.sibling && !request.detached)
    usage("--restore-sibling works only together with --restore-detached", "add -d");
  if (const auto file = settings.value("pidfile")) request.pidfile = in_folder(request.around.work_dir, *file);
  fill_debugging(request, line);
  if (request.gdb) {
    if (settings.flag("exec-cmd")) usage("--gdb and --exec-cmd do not go together", "leave out one of them");
  } else if (!settings.flag("exec-cmd")) {
    refuse_operands(line);
  } else {
    if (line.operands.empty()) usage("--exec-cmd needs a command", "put it at the end: --exec-cmd -- COMMAND ARGUMENT");
    request.exec_command = line.operands;
  }
  return request;
}

}  // namespace mcr::cli

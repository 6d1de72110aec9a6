#include "images/image_tables.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "images/byte_text.h"
#include "images/socket_view.h"

namespace mcr::images {
namespace {

constexpr size_t kDeepest = 40;  // steps that a line is indented

// A row of the tree: whose it is and how deep it lies.
struct Branch {
  size_t process;
  size_t depth;
};

// Children behind their parents. What an image says of parents may be a circle: who comes before counts.
std::vector<Branch> branches_of(const ImageView& image) {
  std::map<int32_t, size_t> seen;
  std::vector<std::vector<size_t>> children(image.processes.size());
  std::vector<size_t> open;  // the next one last
  for (size_t i = 0; i < image.processes.size(); ++i) {
    const auto& core = image.processes[i].core;
    if (const auto parent = seen.find(core.ppid()); parent != seen.end())
      children[parent->second].push_back(i);
    else
      open.push_back(i);
    seen.emplace(core.pid(), i);
  }
  std::ranges::reverse(open);
  std::vector<size_t> depths(image.processes.size());
  std::vector<Branch> branches;
  while (!open.empty()) {
    const size_t process = open.back();
    open.pop_back();
    branches.push_back({process, depths[process]});
    for (auto child = children[process].rbegin(); child != children[process].rend(); ++child) {
      depths[*child] = depths[process] + 1;
      open.push_back(*child);
    }
  }
  return branches;
}

Cell indented(const std::string& command, size_t depth) {
  Cell cell = cell_of_text(command);
  if (depth > 0) cell.text = std::string(4 * (std::min(depth, kDeepest) - 1), ' ') + " \\_ " + cell.text;
  return cell;
}

std::string flags_text(const image::FileObject& object, const image::Descriptor& descriptor) {
  const uint32_t flags = object.flags();
  if ((flags & O_PATH) != 0) return "path";
  std::string text = (flags & O_ACCMODE) == O_RDWR ? "rw" : (flags & O_ACCMODE) == O_WRONLY ? "w" : "r";
  if ((flags & O_APPEND) != 0) text += ",append";
  if ((flags & O_NONBLOCK) != 0) text += ",nonblock";
  if ((flags & O_DIRECT) != 0) text += ",direct";
  if (descriptor.close_on_exec()) text += ",cloexec";
  return text;
}

std::string ends_of(const SocketView& socket) {
  std::string text = socket.kind + " " + socket.state;
  if (!socket.local.empty()) text += " " + socket.local;
  if (!socket.remote.empty())
    text += " -> " + socket.remote;
  else if (socket.peer != 0)
    text += fmt::format(" -> socket:[{}]", socket.peer);
  return text;
}

// What it is to a person: a path, the ends of a socket, the number of a pipe.
std::string detail_of(const image::FileObject& object) {
  if (const auto socket = socket_view(object)) return ends_of(*socket);
  if (std::string path = path_of(object); !path.empty()) return path;
  if (image::Pipe pipe; object.body().Is<image::Pipe>() && object.body().UnpackTo(&pipe))
    return fmt::format("pipe:[{}]", pipe.pipe());
  if (image::EventCounter counter; object.body().Is<image::EventCounter>() && object.body().UnpackTo(&counter))
    return fmt::format("at {}", counter.value());
  if (image::Epoll epoll; object.body().Is<image::Epoll>() && object.body().UnpackTo(&epoll))
    return fmt::format("watches {}", epoll.watches_size());
  return {};
}

bool is_shown(const ProcessView& process, int32_t pid) {
  return pid == 0 || process.core.pid() == pid;
}

std::string protection_text(const image::Vma& vma) {
  const bool shared = vma.kind() == image::Vma::SHARED_ANONYMOUS || vma.kind() == image::Vma::SHARED_FILE ||
                      vma.kind() == image::Vma::SYSV_SEGMENT;
  std::string text = "---";
  if ((vma.prot() & 1) != 0) text[0] = 'r';
  if ((vma.prot() & 2) != 0) text[1] = 'w';
  if ((vma.prot() & 4) != 0) text[2] = 'x';
  return text + (shared ? "s" : "p");
}

}  // namespace

Table tree_table(const ImageView& image) {
  Table table({{"PID", "pid"},
               {"PARENT", "ppid"},
               {"GROUP", "pgid"},
               {"SESSION", "sid"},
               {"THREADS", "threads"},
               {"FDS", "descriptors"},
               {"MAPPED", "mapped_bytes"},
               {"CONTENT", "content_bytes"},
               {"STORED", "stored_bytes"},
               {"STATE", "state", true},
               {"COMMAND", "command", true}});
  for (const Branch& branch : branches_of(image)) {
    const ProcessView& process = image.processes[branch.process];
    const auto& core = process.core;
    table.add({cell_of_number(core.pid()), cell_of_number(core.ppid()), cell_of_number(core.pgid()),
               cell_of_number(core.sid()), cell_of_number(core.thread_count()),
               cell_of_number(static_cast<int64_t>(process.descriptors.size())), cell_of_size(process.mapped()),
               cell_of_size(process.sums.content), cell_of_size(process.sums.stored), cell_of_text(state_of(core)),
               indented(core.command(), branch.depth)});
  }
  return table;
}

Table descriptor_table(const ImageView& image, int32_t pid) {
  Table table({{"PID", "pid"},
               {"FD", "fd"},
               {"OBJECT", "object"},
               {"KIND", "kind", true},
               {"OPEN", "open", true},
               {"OFFSET", "offset"},
               {"WHAT", "what", true}});
  static const image::FileObject kNone;
  for (const ProcessView& process : image.processes) {
    if (!is_shown(process, pid)) continue;
    for (const auto& descriptor : process.descriptors) {
      const auto found = image.objects.find(descriptor.file());
      const image::FileObject& object = found == image.objects.end() ? kNone : found->second;
      table.add({cell_of_number(process.core.pid()), cell_of_number(descriptor.fd()), cell_of_number(descriptor.file()),
                 cell_of_text(object.kind()), cell_of_text(flags_text(object, descriptor)),
                 cell_of_number(object.offset()), cell_of_text(detail_of(object))});
    }
  }
  return table;
}

Table memory_table(const ImageView& image, int32_t pid) {
  Table table({{"PID", "pid"},
               {"KIND", "kind", true},
               {"MAPPINGS", "mappings"},
               {"MAPPED", "mapped_bytes"},
               {"CONTENT", "content_bytes"},
               {"STORED", "stored_bytes"},
               {"COMMAND", "command", true}});
  struct Sums {
    int64_t mappings = 0;
    uint64_t mapped = 0;
    ContentSums content;
  };
  for (const ProcessView& process : image.processes) {
    if (!is_shown(process, pid)) continue;
    std::map<std::string, Sums> kinds;
    for (const MappingView& mapping : process.mappings) {
      Sums& sums = kinds[kind_of(mapping.vma)];
      ++sums.mappings, sums.mapped += mapping.bytes();
      sums.content.add(mapping.sums);
    }
    for (const auto& [id, shared] : process.shared) kinds["shared memory"].content.add(shared.sums);
    for (const auto& [kind, sums] : kinds)
      table.add({cell_of_number(process.core.pid()), cell_of_text(kind), cell_of_number(sums.mappings),
                 cell_of_size(sums.mapped), cell_of_size(sums.content.content), cell_of_size(sums.content.stored),
                 cell_of_text(process.core.command())});
  }
  return table;
}

Table socket_table(const ImageView& image, int32_t pid) {
  Table table({{"PID", "pid"},
               {"FD", "fd"},
               {"KIND", "kind", true},
               {"STATE", "state", true},
               {"RECEIVED", "received_bytes"},
               {"TO SEND", "to_send_bytes"},
               {"SOCKET", "inode"},
               {"LOCAL", "local", true},
               {"REMOTE", "remote", true}});
  std::set<uint32_t> listed;
  const auto add = [&](int32_t owner, int32_t fd, const SocketView& socket) {
    const std::string remote =
        socket.remote.empty() && socket.peer != 0 ? fmt::format("socket:[{}]", socket.peer) : socket.remote;
    table.add({owner ? cell_of_number(owner) : Cell{"-", json_of_number(0)},
               owner ? cell_of_number(fd) : Cell{"-", json_of_number(-1)}, cell_of_text(socket.kind),
               cell_of_text(socket.state), cell_of_size(socket.received), cell_of_size(socket.sent),
               cell_of_number(static_cast<int64_t>(socket.inode)), cell_of_text(socket.local), cell_of_text(remote)});
  };
  for (const ProcessView& process : image.processes) {
    for (const auto& descriptor : process.descriptors) {
      const auto found = image.objects.find(descriptor.file());
      if (found == image.objects.end()) continue;
      const auto socket = socket_view(found->second);
      if (!socket) continue;
      listed.insert(descriptor.file());
      if (is_shown(process, pid)) add(process.core.pid(), descriptor.fd(), *socket);
    }
  }
  for (const auto& [id, object] : image.objects) {  // passed in a message, or waiting to be accepted
    if (pid != 0 || listed.contains(id)) continue;
    if (const auto socket = socket_view(object)) add(0, -1, *socket);
  }
  return table;
}

Table mapping_table(const ImageView& image, int32_t pid) {
  Table table({{"PID", "pid"},
               {"START", "start"},
               {"END", "end"},
               {"RIGHTS", "rights", true},
               {"KIND", "kind", true},
               {"SIZE", "bytes"},
               {"CONTENT", "content_bytes"},
               {"STORED", "stored_bytes"},
               {"OFFSET", "offset"},
               {"NAME", "name", true}});
  for (const ProcessView& process : image.processes) {
    if (!is_shown(process, pid)) continue;
    for (const MappingView& mapping : process.mappings) {
      const auto& vma = mapping.vma;
      const auto file = image.objects.find(vma.file());
      const std::string path = vma.file() != 0 && file != image.objects.end() ? path_of(file->second) : std::string();
      table.add({cell_of_number(process.core.pid()), cell_of_address(vma.start()), cell_of_address(vma.end()),
                 cell_of_text(protection_text(vma)), cell_of_text(kind_of(vma)), cell_of_size(mapping.bytes()),
                 cell_of_size(mapping.sums.content), cell_of_size(mapping.sums.stored), cell_of_address(vma.offset()),
                 cell_of_text(path.empty() ? vma.name() : path)});
    }
  }
  return table;
}

}  // namespace mcr::images

#include "tests/cr/process_state.h"

#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <sstream>

namespace cr {

std::string read_file(const std::string& path) {
  std::string text;
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char buffer[65536];
  for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, got);
  close(fd);
  return text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> list_directory(const std::string& path) {
  std::vector<std::string> names;
  if (DIR* directory = opendir(path.c_str())) {
    while (dirent* entry = readdir(directory))
      if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) names.emplace_back(entry->d_name);
    closedir(directory);
  }
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;  // numbers in their order
  });
  return names;
}

namespace {

std::string link_of(const std::string& path) {
  char target[4096];
  ssize_t length = readlink(path.c_str(), target, sizeof target);
  return length < 0 ? "?" : std::string(target, length);
}

// Names for kernel objects whose numbers change when they are made anew (pipes, deleted files): #1, #2, ... in the
// order in which they are met.
class Anonymous {
 public:
  std::string name(const std::string& identity) {
    auto [at, fresh] = names_.try_emplace(identity, "#" + std::to_string(names_.size() + 1));
    return at->second;
  }

 private:
  std::map<std::string, std::string> names_;
};

bool deleted(const std::string& path) {
  return path.size() > 10 && path.ends_with(" (deleted)");
}

// A file made by O_TMPFILE shows its inode number as a name: "/tmp/#1234 (deleted)". A deleted file whose name has gone
// to another file gets a mark from the restore: "/tmp/file.mini-criu-4711 (deleted)".
std::string without_number(const std::string& path) {
  if (size_t mark = path.rfind(".mini-criu-"); deleted(path) && mark != std::string::npos)
    return path.substr(0, mark) + " (deleted)";
  size_t slash = path.rfind('/');
  if (!deleted(path) || slash == std::string::npos || slash + 1 >= path.size() || path[slash + 1] != '#') return path;
  return path.substr(0, slash) + "/#N (deleted)";
}

// One mapping of smaps: its header line as /proc/PID/maps has it, and the lines "Name: value" below it.
struct Mapping {
  std::string place, header;
  std::map<std::string, std::string> lines;
  bool anonymous = false, kernel = false;
};

// Inode numbers of what is made anew (deleted files, anonymous shared memory) differ; what else the line says does not.
Mapping read_header(const std::string& line, Anonymous& names) {
  char protection[8], device[16];
  unsigned long start, end, offset, inode;
  int at = 0;
  Mapping mapping;
  if (sscanf(line.c_str(), "%lx-%lx %7s %lx %15s %lu %n", &start, &end, protection, &offset, device, &inode, &at) != 6)
    return mapping;
  const std::string path = line.substr(static_cast<size_t>(at));
  std::string object = std::string(device) + ":" + std::to_string(inode);
  if (inode != 0 && (deleted(path) || path.starts_with("[") || path.starts_with("anon_inode:")))
    object = names.name(object);
  char text[128];
  snprintf(text, sizeof text, "%lx-%lx", start, end);
  mapping.place = text;
  snprintf(text, sizeof text, " %s %08lx ", protection, offset);
  mapping.header = mapping.place + text + object + " " + without_number(path);
  mapping.anonymous = inode == 0 && !path.starts_with("/SYSV");  // a segment's inode is its id, which may be 0
  mapping.kernel = path.starts_with("[v");                       // vdso, vvar, vsyscall
  return mapping;
}

std::vector<Mapping> read_mappings(pid_t pid) {
  std::vector<Mapping> found;
  Anonymous names;
  for (const std::string& line : lines_of(read_file("/proc/" + std::to_string(pid) + "/smaps"))) {
    const size_t colon = line.find(':');
    if (!line.empty() && line[0] >= 'A' && line[0] <= 'Z' && colon != std::string::npos && !found.empty())
      found.back().lines[line.substr(0, colon)] =
          line.substr(std::min(line.find_first_not_of(' ', colon + 1), line.size()));
    else
      found.push_back(read_header(line, names));
  }
  return found;
}

// What smaps counts, where it says something about the program and not about what the kernel has done for it lately:
// docs/compatibility.md has the others and why.
std::vector<std::string> counters_of(const Mapping& mapping) {
  if (mapping.kernel) return {};
  const auto flags = mapping.lines.find("VmFlags");
  const bool locked = flags != mapping.lines.end() && (" " + flags->second).find(" lo ") != std::string::npos;
  // Of a mapping that MADV_FREE has given up in part only, the kernel does not tell which part.
  const auto value = [&](const char* name) {
    const auto line = mapping.lines.find(name);
    return line == mapping.lines.end() ? std::string() : line->second;
  };
  // A program that has run for a moment may have touched a page more of its stack.
  const bool grows = flags != mapping.lines.end() && (" " + flags->second).find(" gd ") != std::string::npos;
  if (grows) return {"Locked", "Swap"};
  const char* freed = value("LazyFree") == value("Anonymous") ? "LazyFree" : "Locked";
  if (mapping.anonymous) return {"Rss", "Anonymous", freed, "KSM", "Locked", "Swap"};
  return locked ? std::vector<std::string>{"Rss", "Anonymous"} : std::vector<std::string>{"Anonymous"};
}

void capture_mappings(pid_t pid, ProcessState& state) {
  for (const Mapping& mapping : read_mappings(pid)) {
    state.sections["maps"].push_back(mapping.header);
    std::string text = mapping.place;
    std::vector<std::string> wanted{"Size", "KernelPageSize", "MMUPageSize", "ProtectionKey", "THPeligible", "VmFlags"};
    for (const std::string& name : counters_of(mapping)) wanted.push_back(name);
    for (const std::string& name : wanted)
      if (const auto line = mapping.lines.find(name); line != mapping.lines.end())
        text += " " + name + ": " + line->second;
    state.sections["smaps"].push_back(text);
  }
}

// What the kernel says of files that only exist while they are open, less what a restore changes: numbers of the
// kernel's own, and times, which run on.
std::string kernel_object_text(const std::string& line) {
  for (const char* kind : {"eventfd-id:", "it_value:", "ticks:", "mnt_id:", "ino:", "NSpid:"})
    if (line.starts_with(kind)) return {};
  if (line.starts_with("tfd:")) return line.substr(0, line.find(" pos:"));
  return line;
}

std::vector<std::string> descriptors(pid_t pid) {
  std::vector<std::string> lines;
  Anonymous names;
  std::string base = "/proc/" + std::to_string(pid);
  for (const std::string& number : list_directory(base + "/fd")) {
    std::string link = link_of(base + "/fd/" + number);
    struct stat status {};
    stat((base + "/fd/" + number).c_str(), &status);
    std::string object = std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
    size_t bracket = link.find(":[");
    const bool is_anonymous = link.starts_with("anon_inode:");
    if (is_anonymous) {
      object.clear();
    } else if (link[0] != '/' && bracket != std::string::npos) {
      link = link.substr(0, bracket);
      object = names.name(object);
    } else if (link.starts_with("/proc/")) {  // has another number each time that it is looked up
      object = names.name(object);
    } else if (deleted(link)) {
      object = names.name(object);
      link = without_number(link);
    }
    std::string line = number + " -> " + link + " " + object;
    auto infos = lines_of(read_file(base + "/fdinfo/" + number));
    // An epoll shows its watches in the order of the kernel's own addresses.
    std::sort(std::find_if(infos.begin(), infos.end(), [](const std::string& i) { return i.starts_with("tfd:"); }),
              infos.end());
    for (const std::string& info : infos)
      if (info.starts_with("pos:") || info.starts_with("flags:")) {
        line += " " + info;
      } else if (is_anonymous) {
        if (const std::string text = kernel_object_text(info); !text.empty()) line += " " + text;
      }
    std::replace(line.begin(), line.end(), '\t', ' ');
    lines.push_back(line);
  }
  return lines;
}

std::vector<std::string> chosen_lines(const std::string& text, const std::set<std::string>& keys,
                                      const std::string& before = {}) {
  std::vector<std::string> lines;
  for (std::string line : lines_of(text)) {
    if (!keys.count(line.substr(0, line.find(':')))) continue;
    std::replace(line.begin(), line.end(), '\t', ' ');
    lines.push_back(before + line);
  }
  return lines;
}

void append(std::vector<std::string>& to, std::vector<std::string> more) {
  to.insert(to.end(), more.begin(), more.end());
}

// Field of /proc/PID/stat, numbered as in proc(5), from 3 on.
std::string stat_field(const std::string& text, int wanted) {
  size_t at = text.rfind(')');
  if (at == std::string::npos) return "?";
  std::istringstream words(text.substr(at + 2));
  std::string word;
  for (int field = 3; field <= wanted; ++field) words >> word;
  return word;
}

std::string hexadecimal(const std::string& bytes) {
  std::string text;
  char part[4];
  for (unsigned char byte : bytes) {
    snprintf(part, sizeof part, "%02x", byte);
    text += part;
  }
  return text;
}

std::string shown(std::string text) {
  std::replace(text.begin(), text.end(), '\0', ' ');
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// The end of the ELF image in the vdso. The zeros behind it are where a dump puts its way back; of a dump that is
// killed those bytes stay, unreachable, because nobody can say when the last thread has left them
// (docs/architecture.md).
unsigned long end_of_vdso(int memory, unsigned long start, unsigned long end) {
  Elf64_Ehdr header{};
  if (pread(memory, &header, sizeof header, static_cast<off_t>(start)) != sizeof header) return end;
  return std::min(end, start + header.e_shoff + static_cast<unsigned long>(header.e_shnum) * header.e_shentsize);
}

// A checksum of every executable mapping: code that was put there and forgotten shows.
std::vector<std::string> code(const std::string& base) {
  std::vector<std::string> lines;
  int memory = open((base + "/mem").c_str(), O_RDONLY | O_CLOEXEC);
  if (memory < 0) return lines;
  std::vector<uint64_t> words(1 << 15);
  for (const std::string& line : lines_of(read_file(base + "/maps"))) {
    unsigned long start, end;
    char protection[8];
    if (sscanf(line.c_str(), "%lx-%lx %7s", &start, &end, protection) != 3 || protection[2] != 'x') continue;
    if (line.ends_with("[vsyscall]")) continue;
    if (line.ends_with("[vdso]")) end = end_of_vdso(memory, start, end);
    uint64_t sum = 14695981039346656037u, bytes = words.size() * 8;
    for (uint64_t at = start; at < end; at += bytes) {
      ssize_t got = pread(memory, words.data(), std::min<uint64_t>(bytes, end - at), static_cast<off_t>(at));
      for (ssize_t i = 0; i < got / 8; ++i) sum = (sum ^ words[static_cast<size_t>(i)]) * 1099511628211u;
    }
    size_t name = line.find_first_of("/[");
    char text[64];
    snprintf(text, sizeof text, "%lx %016lx ", start, sum);
    lines.push_back(text + (name == std::string::npos ? "" : without_number(line.substr(name))));
  }
  close(memory);
  return lines;
}

// One line a POSIX timer, in the order of their ids. The address of a pending signal is the kernel's own affair.
std::vector<std::string> timers(const std::string& base) {
  std::vector<std::string> found;
  for (std::string line : lines_of(read_file(base + "/timers"))) {
    if (line.starts_with("signal:")) line = line.substr(0, line.find('/'));
    if (line.starts_with("ID:") || found.empty())
      found.push_back(line);
    else
      found.back() += ", " + line;
  }
  std::sort(found.begin(), found.end());
  return found;
}

// A leader may have ended before its threads: then the process is seen through one of those.
pid_t living_thread(pid_t pid) {
  std::string base = "/proc/" + std::to_string(pid);
  if (stat_field(read_file(base + "/stat"), 3) != "Z") return pid;
  for (const std::string& tid : list_directory(base + "/task"))
    if (stat_field(read_file(base + "/task/" + tid + "/stat"), 3) != "Z") return atoi(tid.c_str());
  return pid;
}

void capture_threads(pid_t pid, bool stopped, ProcessState& state) {
  auto& sections = state.sections;
  const std::string leader = std::to_string(pid), base = "/proc/" + leader;
  const bool alive = living_thread(pid) != pid;
  for (const std::string& tid : list_directory(base + "/task")) {
    std::string task = base + "/task/" + tid, status = read_file(task + "/status"), stat = read_file(task + "/stat");
    if (status.empty() || stat.empty()) continue;  // it ended meanwhile
    sections["threads"].push_back(tid + " " + shown(read_file(task + "/comm")) + " nice " + stat_field(stat, 19) +
                                  " policy " + stat_field(stat, 41));
    std::string letter = stat_field(stat, 3);
    if (letter == "Z" && tid == leader && alive) {  // nothing of the rest means anything for it
      sections["threads"].push_back(tid + " has ended, status " + (stopped ? "hidden" : stat_field(stat, 52)));
      append(sections["credentials"], chosen_lines(status, {"Uid", "Gid", "Groups", "CapEff", "CapBnd"}, tid + " "));
      continue;
    }
    append(sections["threads"], chosen_lines(status, {"Cpus_allowed_list"}, tid + " "));
    append(sections["masks"], chosen_lines(status, {"SigBlk", "SigIgn", "SigCgt"}, tid + " "));
    append(sections["pending"], chosen_lines(status, {"SigPnd", "ShdPnd"}, tid + " "));
    append(sections["credentials"], chosen_lines(status,
                                                 {"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd",
                                                  "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters"},
                                                 tid + " "));
    std::string tracer;
    for (const std::string& line : chosen_lines(status, {"TracerPid"})) tracer = line.substr(line.find(' ') + 1);
    if (tracer != "0") state.trouble.push_back("thread " + tid + " is traced by " + tracer);
    bool is_stopped = letter == "T" || letter == "t";
    if (is_stopped != stopped) state.trouble.push_back("thread " + tid + " is in state " + letter);
    if (letter == "Z" || letter == "X") state.trouble.push_back("thread " + tid + " is dead (" + letter + ")");
  }
  if (sections["threads"].empty()) state.trouble.push_back("there is no such process");
}

}  // namespace

ProcessState capture(pid_t pid, bool stopped) {
  ProcessState state;
  auto& sections = state.sections;
  std::string base = "/proc/" + std::to_string(living_thread(pid)), status = read_file(base + "/status"),
              stat = read_file(base + "/stat");
  capture_mappings(living_thread(pid), state);
  sections["fds"] = descriptors(living_thread(pid));
  sections["process"] = chosen_lines(status, {"Name", "Umask", "Tgid", "CoreDumping", "THP_enabled", "untag_mask"});
  sections["process"].push_back("group " + stat_field(stat, 5) + " session " + stat_field(stat, 6) + " terminal " +
                                stat_field(stat, 7));
  for (const char* name : {"exe", "cwd", "root"})
    sections["process"].push_back(std::string(name) + " " + without_number(link_of(base + "/" + name)));
  for (const char* name : {"personality", "timerslack_ns", "coredump_filter", "cmdline", "environ"})
    sections["process"].push_back(std::string(name) + " " + shown(read_file(base + "/" + name)));
  sections["process"].push_back("auxv " + hexadecimal(read_file(base + "/auxv")));
  sections["limits"] = lines_of(read_file(base + "/limits"));
  sections["timers"] = timers(base);
  sections["code"] = code(base);
  for (const std::string& name : list_directory(base + "/ns"))
    if (!name.ends_with("_for_children")) sections["process"].push_back("ns " + link_of(base + "/ns/" + name));
  capture_threads(pid, stopped, state);
  return state;
}

std::string difference(const ProcessState& before, const ProcessState& after, const std::set<std::string>& loose) {
  std::string text;
  auto maps = after.sections.find("maps");
  bool ended = maps == after.sections.end() || maps->second.empty();
  if (ended) text += "  it has ended\n";
  std::map<std::string, std::vector<std::string>> all = before.sections;
  for (const auto& [name, lines] : after.sections) all.try_emplace(name);
  for (const auto& [name, lines] : all) {
    if (ended || loose.count(name)) continue;
    auto other = after.sections.find(name);
    std::vector<std::string> now = other == after.sections.end() ? std::vector<std::string>{} : other->second;
    if (now == lines) continue;
    std::multiset<std::string> was_set(lines.begin(), lines.end()), now_set(now.begin(), now.end());
    text += "  " + name + ":\n";
    for (const auto& line : lines)
      if (auto at = now_set.find(line); at != now_set.end())
        now_set.erase(at);
      else
        text += "    - " + line + "\n";
    for (const auto& line : now)
      if (auto at = was_set.find(line); at != was_set.end())
        was_set.erase(at);
      else
        text += "    + " + line + "\n";
  }
  for (const auto& line : after.trouble) text += "  ! " + line + "\n";
  return text;
}

bool exists(pid_t pid) {
  return kill(pid, 0) == 0 || errno != ESRCH;
}

char state_letter(pid_t pid) {
  std::string field = stat_field(read_file("/proc/" + std::to_string(pid) + "/stat"), 3);
  return field.empty() ? '?' : field[0];
}

pid_t tracer_of(pid_t pid) {
  for (const auto& line : chosen_lines(read_file("/proc/" + std::to_string(pid) + "/status"), {"TracerPid"}))
    return atoi(line.c_str() + line.find(' '));
  return 0;
}

}  // namespace cr

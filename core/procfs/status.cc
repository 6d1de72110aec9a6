#include "core/procfs/status.h"

#include <array>

#include "core/procfs/scan.h"

namespace mcr::procfs {
namespace {

constexpr std::string_view kStatus = "status";
constexpr std::string_view kStat = "stat";

// The Name line shows the line feed as \n and the backslash as \\ (proc_task_name() of fs/proc/array.c), nothing else.
std::string decode_name(std::string_view text) {
  std::string name;
  name.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const char next = i + 1 < text.size() ? text[i + 1] : '\0';
    const bool escaped = text[i] == '\\' && (next == 'n' || next == '\\');
    name += !escaped ? text[i] : next == 'n' ? '\n' : '\\';
    if (escaped) ++i;
  }
  return name;
}

template <typename Number>
void read_list(Cursor& cursor, std::vector<Number>& list) {
  list.clear();
  while (!cursor.skip_blanks().at_end()) list.push_back(cursor.number<Number>());
}

void read_four(Cursor& cursor, std::array<uint32_t, 4>& ids) {
  for (uint32_t& id : ids) id = cursor.skip_blanks().number<uint32_t>();
  cursor.finish();
}

using Read = void (*)(Cursor&, Status&);
struct Line {
  std::string_view key;  // with its colon
  bool required;
  Read read;
};

template <auto Member, int Base = 10>
void read_number(Cursor& cursor, Status& status) {
  using Number = std::remove_reference_t<decltype(status.*Member)>;
  status.*Member = cursor.last_number<Number>(Base);
}

// In the order of fs/proc/array.c, proc_pid_status(). Not required is what depends on the configuration or the version,
// and what a zombie or a kernel thread lacks: Umask (4.7; a zombie has no fs_struct), NSpid (4.1, CONFIG_PID_NS),
// THP_enabled (5.0; needs an mm), CapAmb (4.3), NoNewPrivs (4.10), Seccomp (CONFIG_SECCOMP).
constexpr auto kLines = std::to_array<Line>({
    {"Name:", true,
     [](Cursor& c, Status& s) {
       c.accept("\t");
       s.name = decode_name(c.rest());
     }},
    {"Umask:", false, read_number<&Status::umask, 8>},
    {"State:", true, [](Cursor& c, Status& s) { s.state = c.skip_blanks().character(); }},
    {"Tgid:", true, read_number<&Status::tgid>},
    {"Pid:", true, read_number<&Status::pid>},
    {"PPid:", true, read_number<&Status::ppid>},
    {"TracerPid:", true, read_number<&Status::tracer>},
    {"Uid:", true, [](Cursor& c, Status& s) { read_four(c, s.uid); }},
    {"Gid:", true, [](Cursor& c, Status& s) { read_four(c, s.gid); }},
    {"Groups:", true, [](Cursor& c, Status& s) { read_list(c, s.groups); }},
    {"NStgid:", false, [](Cursor& c, Status& s) { read_list(c, s.ns_tgid); }},
    {"NSpid:", false, [](Cursor& c, Status& s) { read_list(c, s.ns_pid); }},
    {"NSpgid:", false, [](Cursor& c, Status& s) { read_list(c, s.ns_pgid); }},
    {"NSsid:", false, [](Cursor& c, Status& s) { read_list(c, s.ns_sid); }},
    {"VmLck:", false, [](Cursor& c, Status& s) { s.locked_kb = c.skip_blanks().number<uint64_t>(); }},
    {"RssAnon:", false, [](Cursor& c, Status& s) { s.anonymous_kb = c.skip_blanks().number<uint64_t>(); }},
    {"VmSwap:", false, [](Cursor& c, Status& s) { s.swapped_kb = c.skip_blanks().number<uint64_t>(); }},
    {"THP_enabled:", false, [](Cursor& c, Status& s) { s.thp_enabled = c.last_number<int>() != 0; }},
    {"Threads:", true, read_number<&Status::threads>},
    {"SigPnd:", true, read_number<&Status::sig_pending, 16>},
    {"ShdPnd:", true, read_number<&Status::shared_pending, 16>},
    {"SigBlk:", true, read_number<&Status::sig_blocked, 16>},
    {"SigIgn:", true, read_number<&Status::sig_ignored, 16>},
    {"SigCgt:", true, read_number<&Status::sig_caught, 16>},
    {"CapInh:", true, read_number<&Status::cap_inheritable, 16>},
    {"CapPrm:", true, read_number<&Status::cap_permitted, 16>},
    {"CapEff:", true, read_number<&Status::cap_effective, 16>},
    {"CapBnd:", true, read_number<&Status::cap_bounding, 16>},
    {"CapAmb:", false, read_number<&Status::cap_ambient, 16>},
    {"NoNewPrivs:", false, [](Cursor& c, Status& s) { s.no_new_privs = c.last_number<int>() != 0; }},
    {"Seccomp:", false, read_number<&Status::seccomp>},
    {"Speculation_Store_Bypass:", false, [](Cursor& c, Status& s) { s.store_bypass = c.skip_blanks().rest(); }},
    {"SpeculationIndirectBranch:", false, [](Cursor& c, Status& s) { s.indirect_branch = c.skip_blanks().rest(); }},
});

// Looks first behind the line found last: the kernel prints them in a fixed order.
size_t find_line(std::string_view line, size_t hint) {
  for (size_t i = 0; i < kLines.size(); ++i) {
    const size_t at = (hint + i) % kLines.size();
    if (line.starts_with(kLines[at].key)) return at;
  }
  return kLines.size();
}

}  // namespace

Status parse_status(std::string_view text) {
  Status status;
  std::array<bool, kLines.size()> seen{};
  size_t hint = 0;
  std::string_view line;
  for (Lines lines(text); lines.next(line);) {
    const size_t at = find_line(line, hint);
    if (at == kLines.size()) continue;
    Cursor cursor(kStatus, line);
    cursor.expect(kLines[at].key);
    kLines[at].read(cursor, status);
    seen[at] = true;
    hint = at + 1;
  }
  for (size_t i = 0; i < kLines.size(); ++i)
    if (kLines[i].required && !seen[i]) throw_missing(kStatus, kLines[i].key);
  if (status.ns_pid.empty()) status.ns_pid.push_back(status.pid);  // a kernel without pid namespaces
  return status;
}

namespace {

// The numbered fields of proc(5), from the fourth on, in order; a request for field n skips those before it.
class Fields {
 public:
  explicit Fields(Cursor cursor) : cursor_(cursor) {}
  template <typename Number>
  void read(int field, Number& value) {
    for (; next_ < field; ++next_) cursor_.word();
    value = cursor_.skip_blanks().number<Number>();
    if (!cursor_.at_end() && !is_blank(cursor_.rest().front())) cursor_.fail();
    ++next_;
  }

 private:
  Cursor cursor_;
  int next_ = 4;
};

}  // namespace

// comm is printed as it is, brackets and line feeds included. No other field holds a bracket, so the last one ends it.
Stat parse_stat(std::string_view text) {
  const size_t open = text.find('('), close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) throw_unreadable(kStat, text);
  Stat stat;
  Cursor before(kStat, text.substr(0, open));
  stat.pid = before.last_number<pid_t>();
  stat.comm = text.substr(open + 1, close - open - 1);
  std::string_view tail = text.substr(close + 1);
  if (tail.ends_with('\n')) tail.remove_suffix(1);
  Cursor cursor(kStat, tail);
  stat.state = cursor.skip_blanks().character();
  Fields fields(cursor);
  fields.read(4, stat.ppid);
  fields.read(5, stat.pgrp);
  fields.read(6, stat.session);
  fields.read(7, stat.tty_nr);
  fields.read(9, stat.flags);
  fields.read(19, stat.nice);
  fields.read(22, stat.start_time);
  fields.read(26, stat.start_code);
  fields.read(27, stat.end_code);
  fields.read(28, stat.start_stack);
  fields.read(38, stat.exit_signal);
  fields.read(39, stat.processor);
  fields.read(45, stat.start_data);  // 45 to 51: 3.3 and 3.5
  fields.read(46, stat.end_data);
  fields.read(47, stat.start_brk);
  fields.read(48, stat.arg_start);
  fields.read(49, stat.arg_end);
  fields.read(50, stat.env_start);
  fields.read(51, stat.env_end);
  fields.read(52, stat.exit_code);
  return stat;
}

}  // namespace mcr::procfs

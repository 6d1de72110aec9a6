#include <sys/resource.h>

#include <algorithm>

#include "bench/suite/case.h"

namespace bench {
namespace {

std::string sized(const std::string& family, long size, const std::string& unit) {
  return family + "/" + std::to_string(size) + (unit == "MiB" ? "MiB" : "");
}

Case make(const std::string& family, long size, const std::string& unit, Mode mode, Words command) {
  Case one;
  one.name = size > 0 ? sized(family, size, unit) : family;
  one.family = family;
  one.size = size;
  one.unit = unit;
  one.mode = mode;
  one.command = std::move(command);
  return one;
}

std::string text(long number) {
  return std::to_string(number);
}

class List {
 public:
  explicit List(const Workshop& workshop) : workshop_(workshop) {}

  Case& add(const std::string& family, long size, const std::string& unit, Mode mode, const std::string& victim,
            Words arguments) {
    arguments.insert(arguments.begin(), workshop_.victims + "/" + victim);
    return cases_.emplace_back(make(family, size, unit, mode, std::move(arguments)));
  }

  std::vector<Case>& cases() { return cases_; }

 private:
  const Workshop& workshop_;
  std::vector<Case> cases_;
};

void add_memory(const Sizes& sizes, List& list) {
  for (const long mib : sizes.memory)
    list.add("memory/random", mib, "MiB", Mode::stop, "memory", {text(mib), "random", "small"});
  for (const char* content : {"text", "zero", "same"})
    list.add("memory/" + std::string(content), sizes.kinds, "MiB", Mode::stop, "memory",
             {text(sizes.kinds), content, "small"});
  list.add("memory/huge-pages", sizes.kinds, "MiB", Mode::stop, "memory", {text(sizes.kinds), "random", "huge"});
}

void add_pauses(const Sizes& sizes, List& list) {
  list.add("pause/small", 0, "", Mode::snapshot, "busy", {});
  list.add("pause/memory", sizes.pause, "MiB", Mode::snapshot, "busy", {text(sizes.pause), "small"});
  list.add("pause/huge-pages", sizes.pause, "MiB", Mode::snapshot, "busy", {text(sizes.pause), "huge"});
  list.add("pause/one-percent-changed", sizes.pause, "MiB", Mode::snapshot, "busy",
           {text(sizes.pause), "small", "part"})
      .incremental = true;
  list.add("pause/hot-writer", sizes.pause, "MiB", Mode::snapshot, "busy", {text(sizes.pause), "small", "write"});
}

// Whether a program of ours may have so many descriptors; more than the hard limit takes a right that root may lack.
bool may_have_descriptors(long count) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
  if (limit.rlim_max >= static_cast<rlim_t>(count)) return true;
  limit.rlim_max = static_cast<rlim_t>(count);
  return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

void demand_descriptors(Case& one, long count) {
  if (!may_have_descriptors(count + 64)) one.missing = "the limit of descriptors is lower, and may not be raised";
}

void add_many(const Sizes& sizes, List& list) {
  for (const long n : sizes.threads) list.add("threads", n, "threads", Mode::stop, "threads", {text(n)});
  for (const long n : sizes.processes) list.add("processes", n, "processes", Mode::stop, "processes", {text(n), "64"});
  for (const long n : sizes.files)
    demand_descriptors(list.add("files", n, "files", Mode::stop, "files", {text(n), "{folder}/f", text(n)}), n);
  const long most = *std::max_element(sizes.files.begin(), sizes.files.end());
  const long one_file = std::min(most, 10'000L);
  list.add("one-file", one_file, "descriptors", Mode::stop, "files", {text(one_file), "{folder}/f", "1"});
  for (const long n : sizes.mappings) list.add("mappings", n, "mappings", Mode::stop, "mappings", {text(n / 2)});
  for (const long n : sizes.pipes)
    demand_descriptors(list.add("pipes", n, "pipes", Mode::stop, "pipes", {text(n)}), 2 * n);
  for (const long n : sizes.connections)
    list.add("connections", n, "connections", Mode::stop, "connections", {text(n)}).connected = true;
}

// The interpreter itself, not a script that stands for it: what was given, the first in PATH that has the module, or
// that of the system.
std::string python_with(const std::string& module, const std::string& given) {
  for (const std::string& candidate : given.empty() ? Words{"python3", "/usr/bin/python3"} : Words{given}) {
    const std::string program = first_line_of({candidate, "-c", "import " + module + ", sys; print(sys.executable)"});
    if (program.starts_with("/")) return program;
  }
  return "";
}

void add_python(const Workshop& workshop, const std::string& name, const std::string& module, const Words& arguments,
                Mode mode, std::vector<Case>& cases) {
  Case one = make("python/" + name, 0, "", mode, {});
  const std::string program = python_with(module, workshop.python);
  if (program.empty()) {
    one.missing = "no Python with " + module + " was found: give --python FILE";
  } else {
    one.command = {program, "-B", workshop.scripts + "/" + name + ".py"};
    one.command.insert(one.command.end(), arguments.begin(), arguments.end());
  }
  cases.push_back(std::move(one));
}

void add_servers_and_ranks(const Sizes& sizes, const Workshop& workshop, List& list) {
  std::vector<Case>& cases = list.cases();
  add_python(workshop, "arrays", "numpy", {text(sizes.numpy)}, Mode::stop, cases);
  add_python(workshop, "training", "torch", {text(sizes.torch_width)}, Mode::stop, cases);
  add_python(workshop, "redis_under_load", "socket", {text(sizes.redis_keys), "{folder}"}, Mode::snapshot, cases);
  cases.back().connected = true;
  for (const char* program : {"redis-server", "redis-benchmark"})
    if (find_program(program).empty()) cases.back().missing = "no " + std::string(program) + " was found";
  Case& ranks = list.add("mpi/3-ranks", 0, "", Mode::stop, "ranks", {text(sizes.rank_mib)});
  const std::string launcher = find_program("mpiexec");
  if (find_program(ranks.command[0]).empty()) ranks.missing = "no MPI was found when the suite was built";
  if (launcher.empty()) ranks.missing = "no mpiexec was found";
  // Not with our FIFO as its standard input, from which it would take the questions.
  const Words start{"/bin/sh", "-c", "exec \"$0\" \"$@\" </dev/null", launcher, "-n", "3"};
  ranks.command.insert(ranks.command.begin(), start.begin(), start.end());
  ranks.connected = true;
}

void add_disk(const Sizes& sizes, List& list) {
  list.add("disk/small", 0, "", Mode::stop, "small", {}).on_disk = true;
  list.add("disk/memory", sizes.kinds, "MiB", Mode::stop, "memory", {text(sizes.kinds), "random", "small"}).on_disk =
      true;
}

}  // namespace

Sizes full_sizes() {
  return {.memory = {64, 256, 1024},
          .threads = {10, 100, 1000, 5000},
          .processes = {10, 100, 1000},
          .files = {100, 1000, 10'000, 50'000},
          .mappings = {500, 5000, 50'000},
          .pipes = {20, 200, 2000},
          .connections = {10, 100, 1000},
          .kinds = 256,
          .pause = 1024,
          .numpy = 128,
          .redis_keys = 200'000,
          .torch_width = 512,
          .rank_mib = 32};
}

Sizes quick_sizes() {
  return {.memory = {16, 64},
          .threads = {10, 50},
          .processes = {2, 10},
          .files = {20, 200},
          .mappings = {50, 500},
          .pipes = {5, 50},
          .connections = {2, 20},
          .kinds = 32,
          .pause = 64,
          .numpy = 8,
          .redis_keys = 5000,
          .torch_width = 64,
          .rank_mib = 4};
}

std::vector<Case> all_cases(const Sizes& sizes, const Workshop& workshop) {
  List list(workshop);
  list.add("small", 0, "", Mode::stop, "small", {});
  add_pauses(sizes, list);
  add_memory(sizes, list);
  add_many(sizes, list);
  add_servers_and_ranks(sizes, workshop, list);
  list.add("overhead", 0, "", Mode::work, "calls", {});
  if (workshop.disk) add_disk(sizes, list);
  return std::move(list.cases());
}

std::vector<Case> harmed_cases(const Workshop& workshop) {
  List list(workshop);
  for (const char* how : {"value", "secret", "check", "end"})
    list.add("harmed/" + std::string(how), 0, "", Mode::stop, "harmed", {how});
  return std::move(list.cases());
}

}  // namespace bench

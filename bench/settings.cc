#include "bench/settings.h"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>

namespace bench {
namespace {

using Setter = std::function<void(const std::string&)>;

int number(const std::string& option, const std::string& text, int most) {
  char* end = nullptr;
  const long value = strtol(text.c_str(), &end, 10);
  if (*end == '\0' && value >= 1 && value <= most) return static_cast<int>(value);
  fprintf(stderr, "engine-bench: --%s takes a number from 1 to %d, not \"%s\"\n", option.c_str(), most, text.c_str());
  exit(2);
}

std::string variable_of(const std::string& option) {
  std::string name = "MCR_BENCH_";
  for (const char c : option) name += c == '-' ? '_' : static_cast<char>(toupper(c));
  return name;
}

void print_help() {
  puts(
      "engine-bench [--engine FILE] [--criu FILE] [--victims DIR] [--tmpfs DIR] [--disk DIR] [--rounds N]\n"
      "             [--memory-mib N] [--threads N] [--quick] [--benchmark_... as usual]\n"
      "  --criu FILE   measure this CRIU in turn with mini-criu\n"
      "  --disk DIR    also dump to a folder on a disk, with and without waiting for it\n"
      "  --quick       every case once and small, to see that they work");
}

}  // namespace

Settings take_settings(int& argc, char** argv) {
  Settings s;
  const auto text = [](std::string& field) -> Setter { return [&field](const std::string& v) { field = v; }; };
  const std::map<std::string, Setter> options = {
      {"engine", text(s.engine)},
      {"criu", text(s.criu)},
      {"victims", text(s.victims)},
      {"tmpfs", text(s.tmpfs)},
      {"disk", text(s.disk)},
      {"rounds", [&s](const std::string& v) { s.rounds = number("rounds", v, 1000); }},
      {"memory-mib", [&s](const std::string& v) { s.memory_mib = number("memory-mib", v, 1 << 20); }},
      {"threads", [&s](const std::string& v) { s.threads = number("threads", v, 20'000); }},
  };
  for (int i = 1; i < argc; ++i)  // first, so that what is given by name counts more
    if (std::string(argv[i]) == "--quick") s.quick = true, s.rounds = 1, s.memory_mib = 64, s.threads = 50;
  for (const auto& [name, set] : options)
    if (const char* value = getenv(variable_of(name).c_str())) set(value);
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--quick") continue;
    if (argument == "--help") print_help();
    const size_t equals = argument.find('=');
    const auto option = argument.starts_with("--")
                            ? options.find(argument.substr(2, equals == std::string::npos ? equals : equals - 2))
                            : options.end();
    if (option == options.end()) {
      argv[kept++] = argv[i];
    } else if (equals != std::string::npos) {
      option->second(argument.substr(equals + 1));
    } else if (i + 1 < argc) {
      option->second(argv[++i]);
    } else {
      fprintf(stderr, "engine-bench: %s needs a value\n", argument.c_str());
      exit(2);
    }
  }
  argc = kept;
  argv[argc] = nullptr;
  return s;
}

}  // namespace bench

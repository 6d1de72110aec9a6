#include "gpu/device.h"

#include <algorithm>
#include <set>

namespace mcr::gpu {
namespace {

const Gpu* find(const std::vector<Gpu>& gpus, const Uuid& uuid) {
  const auto found = std::ranges::find(gpus, uuid, &Gpu::uuid);
  return found == gpus.end() ? nullptr : &*found;
}

// Why the one cannot stand in for the other; empty: it can. Code and memory layout of a program are made for a chip.
std::string why_not(const Gpu& saved, const Gpu& here) {
  if (here.name != saved.name || here.major != saved.major || here.minor != saved.minor)
    return fmt::format("{} is another chip", describe(here));
  if (here.memory_bytes < saved.memory_bytes) return fmt::format("{} has less memory", describe(here));
  return {};
}

std::string list_of(const std::vector<Gpu>& gpus) {
  std::string text;
  for (const Gpu& gpu : gpus) text += (text.empty() ? "" : ", ") + describe(gpu);
  return text.empty() ? "no GPU" : text;
}

class Matcher {
 public:
  Matcher(const std::vector<Gpu>& saved, const std::vector<Gpu>& present, std::vector<Problem>& problems)
      : saved_(saved), present_(present), problems_(problems) {}

  void take_wanted(const GpuMap& wanted) {
    for (const auto& [old_uuid, new_uuid] : wanted) {
      const Gpu* old_gpu = find(saved_, old_uuid);
      const Gpu* new_gpu = find(present_, new_uuid);
      if (!old_gpu)
        add("--gpu-map", fmt::format("the image has no {}, only {}", to_text(old_uuid), list_of(saved_)));
      else if (!new_gpu)
        add("--gpu-map", fmt::format("there is no {} here, only {}", to_text(new_uuid), list_of(present_)));
      else if (taken_.contains(new_uuid))
        add("--gpu-map", fmt::format("{} is named for two GPUs of the image", to_text(new_uuid)));
      else if (const std::string reason = why_not(*old_gpu, *new_gpu); !reason.empty())
        add(describe(*old_gpu), reason);
      else
        take(old_uuid, new_uuid);
    }
  }

  void keep_those_here() {
    for (const Gpu& gpu : saved_)
      if (!map_.contains(gpu.uuid) && !taken_.contains(gpu.uuid) && find(present_, gpu.uuid)) take(gpu.uuid, gpu.uuid);
  }

  // In the order of both lists: which of several alike gets which is decided by nothing else, and so is not decided.
  void match_rest() {
    for (const Gpu& gpu : saved_) {
      if (map_.contains(gpu.uuid)) continue;
      const std::vector<const Gpu*> fitting = free_for(gpu);
      if (fitting.empty())
        add(describe(gpu), fmt::format("nothing here can stand in for it; there is {}", list_of(present_)),
            "restore on a host with such a GPU");
      else if (fitting.size() > 1 || has_rival(gpu))
        add(describe(gpu), "more than one GPU here, or of the image, could be meant",
            fmt::format("say which: --gpu-map {}={}", to_text(gpu.uuid), to_text(fitting.front()->uuid)));
      else
        take(gpu.uuid, fitting.front()->uuid);
    }
  }

  GpuMap result() const {
    const bool all_stay = std::ranges::all_of(map_, [](const auto& pair) { return pair.first == pair.second; });
    return all_stay ? GpuMap{} : map_;
  }

 private:
  void add(std::string object, std::string reason, std::string remedy = {}) {
    problems_.push_back({std::move(object), std::move(reason), std::move(remedy)});
  }
  void take(const Uuid& old_uuid, const Uuid& new_uuid) {
    map_[old_uuid] = new_uuid;
    taken_.insert(new_uuid);
  }
  std::vector<const Gpu*> free_for(const Gpu& gpu) const {
    std::vector<const Gpu*> fitting;
    for (const Gpu& here : present_)
      if (!taken_.contains(here.uuid) && why_not(gpu, here).empty()) fitting.push_back(&here);
    return fitting;
  }
  bool has_rival(const Gpu& gpu) const {
    return std::ranges::any_of(saved_, [&](const Gpu& other) {
      return other.uuid != gpu.uuid && !map_.contains(other.uuid) && other.name == gpu.name;
    });
  }

  const std::vector<Gpu>& saved_;
  const std::vector<Gpu>& present_;
  std::vector<Problem>& problems_;
  GpuMap map_;
  std::set<Uuid> taken_;
};

}  // namespace

std::string to_text(const Uuid& uuid) {
  std::string text = "GPU-";
  for (size_t i = 0; i < uuid.bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", uuid.bytes[i]);
  }
  return text;
}

std::optional<Uuid> parse_uuid(std::string_view text) {
  if (text.starts_with("GPU-")) text.remove_prefix(4);
  std::string digits;
  for (const char c : text) {
    if (c == '-') continue;
    if (!std::isxdigit(static_cast<unsigned char>(c))) return std::nullopt;
    digits += c;
  }
  Uuid uuid;
  if (digits.size() != 2 * uuid.bytes.size()) return std::nullopt;
  for (size_t i = 0; i < uuid.bytes.size(); ++i)
    uuid.bytes[i] = static_cast<unsigned char>(std::stoi(digits.substr(2 * i, 2), nullptr, 16));
  return uuid;
}

std::string describe(const Gpu& gpu) {
  return fmt::format("{} ({}, {:.1f} GiB, compute capability {}.{})", to_text(gpu.uuid), gpu.name,
                     static_cast<double>(gpu.memory_bytes) / (1 << 30), gpu.major, gpu.minor);
}

GpuMap match_gpus(const std::vector<Gpu>& saved, const std::vector<Gpu>& present, const GpuMap& wanted,
                  std::vector<Problem>& problems) {
  Matcher matcher(saved, present, problems);
  matcher.take_wanted(wanted);
  if (!problems.empty()) return {};
  matcher.keep_those_here();
  matcher.match_rest();
  return matcher.result();
}

}  // namespace mcr::gpu

#include "tests/fake_cuda/devices.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/fake_cuda/mailbox.h"

namespace fake_cuda {

std::vector<DeviceLine> read_devices() {
  std::vector<DeviceLine> devices;
  std::ifstream file(folder() + "/devices");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string digits;
    DeviceLine device;
    if (!(words >> digits >> device.memory_bytes >> device.major >> device.minor) || digits.size() != 32) continue;
    for (size_t i = 0; i < 16; ++i)
      device.uuid[i] = static_cast<unsigned char>(std::stoi(digits.substr(2 * i, 2), nullptr, 16));
    std::getline(words >> std::ws, device.name);
    devices.push_back(device);
  }
  return devices;
}

std::string hex(const Uuid& uuid) {
  std::string text;
  for (const unsigned char byte : uuid) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[byte >> 4], text += kDigits[byte & 15];
  }
  return text;
}

int fault_of(const std::string& call) {
  const std::string path = folder() + "/faults";
  std::ifstream file(path);
  std::string kept;
  int result = 0, delay_ms = 0;
  bool changed = false;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    int wanted = 0, delay = 0, count = 0;
    if (!(words >> name >> wanted >> delay >> count) || name != call) {
      kept += line + "\n";
      continue;
    }
    result = wanted, delay_ms = delay;
    if (count == 0)
      kept += line + "\n";
    else if (changed = true; count > 1)
      kept +=
          name + " " + std::to_string(wanted) + " " + std::to_string(delay) + " " + std::to_string(count - 1) + "\n";
  }
  if (changed) std::ofstream(path) << kept;
  if (delay_ms) std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
  return result;
}

void note_call(const std::string& call, int pid, int result) {
  const std::string line = call + " " + std::to_string(pid) + " " + std::to_string(result) + "\n";
  const int fd = ::open((folder() + "/calls").c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return;
  if (::write(fd, line.data(), line.size()) < 0) std::abort();
  ::close(fd);
}

}  // namespace fake_cuda

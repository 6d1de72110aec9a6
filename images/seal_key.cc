#include "images/seal_key.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sodium/crypto_kdf.h>
#include <sodium/randombytes.h>
#include <sodium/utils.h>

#include <system_error>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "core/sys/process.h"
#include "images/byte_text.h"

namespace mcr::images {
namespace {

constexpr std::string_view kTitle = "mini-criu key 1 ";
constexpr size_t kFileBytes = kTitle.size() + 2 * kKeyBytes + 1;
constexpr char kContext[crypto_kdf_CONTEXTBYTES + 1] = "mcr-seal";
static_assert(crypto_kdf_KEYBYTES == kKeyBytes);

SecretBytes derived(const SecretBytes& key, uint64_t number) {
  SecretBytes made;
  crypto_kdf_derive_from_key(made.data(), kKeyBytes, number, kContext, key.data());
  return made;
}

[[noreturn]] void refuse(const std::string& path, const std::string& reason, const std::string& remedy) {
  throw Error(Fault::refused, fmt::format("the key file {} {}", path, reason), remedy);
}

void check_file(int fd, const std::string& path) {
  const struct stat status = sys::stat_fd(fd);
  if (!S_ISREG(status.st_mode)) refuse(path, "is no regular file", "give a file that mini-criu keygen has made");
  if (status.st_uid != sys::effective_uid() && status.st_uid != 0)
    refuse(path, fmt::format("belongs to user {}, who can put another key there", status.st_uid),
           "give a file of your own");
  if ((status.st_mode & 077) != 0)
    refuse(path, fmt::format("may be read or written by others (its mode is {:04o})", status.st_mode & 07777),
           fmt::format("chmod 600 {}", path));
}

UniqueFd open_key(const std::string& path) {
  try {
    return sys::open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  } catch (const Error& error) {
    if (error.code() == static_cast<int>(std::errc::too_many_symbolic_link_levels))
      refuse(path, "is a symbolic link, which is not followed", "give the file itself");
    refuse(path, fmt::format("cannot be read: {}", error.reason()), "mini-criu keygen FILE makes one");
  }
}

}  // namespace

SealKey::SealKey(const SecretBytes& key) : files_(derived(key, 1)), list_(derived(key, 2)) {
  const SecretBytes name = derived(key, 3);
  id_ = hexadecimal({reinterpret_cast<const char*>(name.data()), 8});
}

SealKey SealKey::read(const std::string& path) {
  start_sodium();
  const UniqueFd fd = open_key(path);
  check_file(fd.get(), path);
  std::array<char, kFileBytes + 1> text{};
  size_t used = 0;
  while (used < text.size()) {
    const size_t n = sys::read_some(fd.get(), text.data() + used, text.size() - used);
    if (n == 0) break;
    used += n;
  }
  SecretBytes key;
  size_t length = 0;
  const bool fits =
      used == kFileBytes && std::string_view(text.data(), kTitle.size()) == kTitle && text[kFileBytes - 1] == '\n' &&
      sodium_hex2bin(key.data(), kKeyBytes, text.data() + kTitle.size(), 2 * kKeyBytes, nullptr, &length, nullptr) ==
          0 &&
      length == kKeyBytes;
  sodium_memzero(text.data(), text.size());
  if (!fits) refuse(path, "holds no key", "give a file that mini-criu keygen has made");
  return SealKey(key);
}

SealKey SealKey::make(const std::string& path) {
  start_sodium();
  SecretBytes key;
  randombytes_buf(key.data(), kKeyBytes);
  std::array<char, 2 * kKeyBytes + 1> digits{};
  sodium_bin2hex(digits.data(), digits.size(), key.data(), kKeyBytes);
  std::string text = std::string(kTitle) + digits.data() + "\n";
  if (sys::try_stat(path, false))
    refuse(path, "exists already", "give another name: a key that was used is not replaced");
  const UniqueFd fd = sys::open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  sys::write_text(fd.get(), text);
  sys::sync_fd(fd.get());
  sodium_memzero(text.data(), text.size());
  sodium_memzero(digits.data(), digits.size());
  return SealKey(key);
}

}  // namespace mcr::images

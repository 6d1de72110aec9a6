// BLAKE2b-256 as libsodium has it: of a file that is carried elsewhere, and, with a key, of one that is sealed. One
// thread an object.
#pragma once

#include <sodium/crypto_generichash_blake2b.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mcr::images {

inline constexpr size_t kDigestBytes = 32;
inline constexpr size_t kKeyBytes = 32;

void start_sodium();  // before anything else of libsodium; any number of times

// Wiped when it goes.
class SecretBytes {
 public:
  SecretBytes() = default;
  ~SecretBytes();
  SecretBytes(const SecretBytes&) = default;
  SecretBytes& operator=(const SecretBytes&) = default;
  unsigned char* data() { return bytes_.data(); }
  const unsigned char* data() const { return bytes_.data(); }

 private:
  std::array<unsigned char, kKeyBytes> bytes_{};
};

class Digest {
 public:
  explicit Digest(const SecretBytes* key = nullptr);
  void add(const void* data, size_t size);
  std::string finish();  // kDigestBytes raw bytes

 private:
  crypto_generichash_blake2b_state state_;
};

std::string digest_of(std::string_view bytes, const SecretBytes* key = nullptr);
// From the start of the file to its end; `size` is set to how many bytes that were.
std::string digest_of_file(int fd, uint64_t& size, const SecretBytes* key = nullptr);
bool is_same_digest(const std::string& a, const std::string& b);  // in a time that tells nothing

}  // namespace mcr::images

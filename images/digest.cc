#include "images/digest.h"

#include <sodium/core.h>
#include <sodium/utils.h>

#include <vector>

#include "core/base/error.h"
#include "core/base/page_buffer.h"
#include "core/sys/file.h"

namespace mcr::images {

constexpr size_t kPieceBytes = 1 << 20;

void start_sodium() {
  static const bool works = sodium_init() >= 0;  // 1: it was started before
  if (!works) throw Error(Fault::system, "libsodium does not start: the kernel gives no random bytes");
}

SecretBytes::~SecretBytes() {
  sodium_memzero(bytes_.data(), bytes_.size());
}

Digest::Digest(const SecretBytes* key) {
  start_sodium();
  crypto_generichash_blake2b_init(&state_, key ? key->data() : nullptr, key ? kKeyBytes : 0, kDigestBytes);
}

void Digest::add(const void* data, size_t size) {
  crypto_generichash_blake2b_update(&state_, static_cast<const unsigned char*>(data), size);
}

std::string Digest::finish() {
  std::string digest(kDigestBytes, '\0');
  crypto_generichash_blake2b_final(&state_, reinterpret_cast<unsigned char*>(digest.data()), kDigestBytes);
  sodium_memzero(&state_, sizeof state_);
  return digest;
}

std::string digest_of(std::string_view bytes, const SecretBytes* key) {
  Digest digest(key);
  digest.add(bytes.data(), bytes.size());
  return digest.finish();
}

std::string digest_of_file(int fd, uint64_t& size, const SecretBytes* key) {
  Digest digest(key);
  PageBuffer piece(kPieceBytes);
  size = 0;
  while (const size_t n = sys::pread_some(fd, piece.data(), piece.size(), size)) {
    digest.add(piece.data(), n);
    size += n;
  }
  return digest.finish();
}

bool is_same_digest(const std::string& a, const std::string& b) {
  return a.size() == kDigestBytes && b.size() == kDigestBytes && sodium_memcmp(a.data(), b.data(), kDigestBytes) == 0;
}

}  // namespace mcr::images

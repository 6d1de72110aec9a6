// The key that images are sealed with, in a file that nobody else may read.
#pragma once

#include <string>

#include "images/digest.h"

namespace mcr::images {

class SealKey {
 public:
  // Throws Error(refused) when others may read or write the file, or it is none of our user's or root's, or no key.
  static SealKey read(const std::string& path);
  // A new file with a new key, 0600. Throws when something is there already.
  static SealKey make(const std::string& path);

  // Tells keys apart without telling anything of them: 16 hexadecimal digits.
  const std::string& id() const { return id_; }
  const SecretBytes& of_files() const { return files_; }
  const SecretBytes& of_list() const { return list_; }

 private:
  explicit SealKey(const SecretBytes& key);
  SecretBytes files_, list_;  // so that no file can be taken for a list
  std::string id_;
};

}  // namespace mcr::images

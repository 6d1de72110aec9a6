// Messages in files, as JSON that people can read. A file is replaced whole: at every moment, also after a power cut,
// it holds the old message or the new one. Throws Error (Fault::system, or Fault::image for a file that is damaged).
#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace mcr::jobs {

// sync: it is on the disk when this returns.
void write_message(const std::string& path, const google::protobuf::Message& message, bool sync = true);
void read_message(const std::string& path, google::protobuf::Message& message);
bool try_read_message(const std::string& path, google::protobuf::Message& message);  // false: there is none
void sync_folder(const std::string& folder);

}  // namespace mcr::jobs

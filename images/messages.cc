#include "images/messages.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>

#include <array>

#include "images/proto/cgroups.pb.h"
#include "images/proto/core.pb.h"
#include "images/proto/facets.pb.h"
#include "images/proto/fanotify.pb.h"
#include "images/proto/files.pb.h"
#include "images/proto/inventory.pb.h"
#include "images/proto/io_uring.pb.h"
#include "images/proto/ipc.pb.h"
#include "images/proto/mm.pb.h"
#include "images/proto/origin.pb.h"
#include "images/proto/sharing.pb.h"
#include "images/proto/sockets.pb.h"
#include "images/proto/stats.pb.h"
#include "images/proto/terminals.pb.h"

namespace mcr::images {
namespace {

constexpr std::string_view kPackage = "mcr.image.";
// Messages nest three or four deep today. The parser recurses on its stack, so a crafted file must not choose the
// depth.
constexpr int kMaxDepth = 32;

// One message of every .proto file. A linker takes from an archive only what is referred to, and a generated file
// that is not linked never registers its messages: reading by name would then not find them.
const std::array<const google::protobuf::Descriptor*, 14>& linked_files() {
  static const std::array<const google::protobuf::Descriptor*, 14> files = {
      image::ProcessCore::descriptor(), image::SignalActions::descriptor(), image::FileObject::descriptor(),
      image::Inventory::descriptor(),   image::MemoryMap::descriptor(),     image::DumpStatistics::descriptor(),
      image::Cgroup::descriptor(),      image::SysvObject::descriptor(),    image::UnixSocket::descriptor(),
      image::Pty::descriptor(),         image::SharedTables::descriptor(),  image::FanotifyGroup::descriptor(),
      image::IoUring::descriptor(),     image::Origin::descriptor(),
  };
  return files;
}

}  // namespace

const google::protobuf::Descriptor* find_message(std::string_view full_name) {
  if (!full_name.starts_with(kPackage)) return nullptr;
  const google::protobuf::DescriptorPool* pool = linked_files().front()->file()->pool();
  return pool->FindMessageTypeByName(std::string(full_name));
}

std::vector<const google::protobuf::Descriptor*> all_messages() {
  std::vector<const google::protobuf::Descriptor*> all;
  for (const auto* one : linked_files())
    for (int i = 0; i < one->file()->message_type_count(); ++i) all.push_back(one->file()->message_type(i));
  return all;
}

std::unique_ptr<google::protobuf::Message> new_message(const google::protobuf::Descriptor* type) {
  auto* factory = google::protobuf::MessageFactory::generated_factory();
  return std::unique_ptr<google::protobuf::Message>(factory->GetPrototype(type)->New());
}

bool parse_bounded(std::string_view bytes, google::protobuf::Message& message) {
  google::protobuf::io::CodedInputStream input(reinterpret_cast<const uint8_t*>(bytes.data()),
                                               static_cast<int>(bytes.size()));
  input.SetRecursionLimit(kMaxDepth);
  return message.ParseFromCodedStream(&input) && input.ConsumedEntireMessage();
}

}  // namespace mcr::images

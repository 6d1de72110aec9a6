// forge-image FROM TO CHANGE: a copy of an image, whole and with right checksums, that asks for what its program never
// had. A hostile image can be made so by anybody.
#include <sys/user.h>

#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/sys/file.h"
#include "images/messages.h"
#include "images/proto/core.pb.h"
#include "images/proto/facets.pb.h"
#include "images/proto/files.pb.h"
#include "images/store.h"

namespace {

using namespace mcr;
using google::protobuf::Message;

template <typename M>
bool change_facet(google::protobuf::RepeatedPtrField<google::protobuf::Any>* facets,
                  const std::function<void(M&)>& change) {
  bool found = false;
  for (auto& facet : *facets) {
    M message;
    if (!facet.UnpackTo(&message)) continue;
    change(message);
    facet.PackFrom(message);
    found = true;
  }
  return found;
}

template <typename M>
bool of_thread(Message& record, const std::function<void(M&)>& change) {
  auto* thread = dynamic_cast<image::ThreadCore*>(&record);
  return thread && change_facet<M>(thread->mutable_facets(), change);
}

template <typename M>
bool of_process(Message& record, const std::function<void(M&)>& change) {
  auto* process = dynamic_cast<image::ProcessCore*>(&record);
  return process && change_facet<M>(process->mutable_facets(), change);
}

bool drop_credentials(Message& record) {
  auto* thread = dynamic_cast<image::ThreadCore*>(&record);
  for (int i = 0; thread && i < thread->facets_size(); ++i)
    if (thread->facets(i).Is<image::Credentials>()) return thread->mutable_facets()->DeleteSubrange(i, 1), true;
  return false;
}

bool double_credentials(Message& record) {
  auto* thread = dynamic_cast<image::ThreadCore*>(&record);
  for (int i = 0; thread && i < thread->facets_size(); ++i)
    if (thread->facets(i).Is<image::Credentials>()) {
      const google::protobuf::Any copy = thread->facets(i);
      *thread->add_facets() = copy;
      return true;
    }
  return false;
}

bool own_ghost(Message& record) {
  auto* ghost = dynamic_cast<image::Ghost*>(&record);
  if (!ghost) return false;
  ghost->set_uid(0), ghost->set_gid(0), ghost->set_mode(0104755);
  return true;
}

constexpr char kForeign[] = "foreign_processor";

bool change_registers(Message& record, const std::string& registers) {
  auto* thread = dynamic_cast<image::ThreadCore*>(&record);
  if (thread) thread->set_registers(registers);
  return thread != nullptr;
}

bool lead_astray(Message& record) {
  auto* thread = dynamic_cast<image::ThreadCore*>(&record);
  user_regs_struct registers;
  if (!thread || thread->registers().size() != sizeof registers) return false;
  std::memcpy(&registers, thread->registers().data(), sizeof registers);
  registers.rip = registers.rsp = 0x414141414141;
  return change_registers(record, std::string(reinterpret_cast<const char*>(&registers), sizeof registers));
}

using Change = std::function<bool(Message&)>;  // true: changed

const std::map<std::string, Change>& changes() {
  using image::Credentials, image::Scheduling, image::ProcessControl;
  static const std::map<std::string, Change> all{
      {"user", [](Message& r) { return of_thread<Credentials>(r, [](auto& c) { c.set_uid(0); }); }},
      {"effective_user", [](Message& r) { return of_thread<Credentials>(r, [](auto& c) { c.set_euid(0); }); }},
      {"saved_user", [](Message& r) { return of_thread<Credentials>(r, [](auto& c) { c.set_suid(0); }); }},
      {"file_user", [](Message& r) { return of_thread<Credentials>(r, [](auto& c) { c.set_fsuid(0); }); }},
      {"group", [](Message& r) { return of_thread<Credentials>(r, [](auto& c) { c.set_sgid(0); }); }},
      {"groups", [](Message& r) { return of_thread<Credentials>(r, [](auto& c) { c.add_groups(0); }); }},
      {"permitted",
       [](Message& r) { return of_thread<Credentials>(r, [](auto& c) { c.set_cap_permitted(1 << 21); }); }},
      {"checkpoint_right",
       [](Message& r) {
         return of_thread<Credentials>(
             r, [](auto& c) { c.set_cap_permitted(1ULL << 40), c.set_cap_effective(1ULL << 40); });
       }},
      {"inheritable",
       [](Message& r) { return of_thread<Credentials>(r, [](auto& c) { c.set_cap_inheritable(1 << 21); }); }},
      {"ambient",
       [](Message& r) {
         return of_thread<Credentials>(r, [](auto& c) {
           c.set_cap_permitted(1 << 21), c.set_cap_inheritable(1 << 21), c.set_cap_ambient(1 << 21);
         });
       }},
      {"no_credentials", drop_credentials},
      {"two_credentials", double_credentials},
      {"real_time",
       [](Message& r) { return of_thread<Scheduling>(r, [](auto& s) { s.set_policy(1), s.set_priority(50); }); }},
      {"nice", [](Message& r) { return of_thread<Scheduling>(r, [](auto& s) { s.set_nice(-20); }); }},
      {"io_priority", [](Message& r) { return of_thread<Scheduling>(r, [](auto& s) { s.set_ioprio(1 << 13); }); }},
      {"oom", [](Message& r) { return of_process<ProcessControl>(r, [](auto& c) { c.set_oom_score_adj(-1000); }); }},
      {"deleted_file", own_ghost},
      {"short_registers", [](Message& r) { return change_registers(r, std::string(100, 'A')); }},
      {"wild_registers", lead_astray},
      {kForeign, [](Message&) { return true; }},
  };
  return all;
}

void copy_records(const images::ImageReader& reader, images::ImageWriter& writer, const std::string& name,
                  const Change& change, int& count) {
  auto from = reader.records(name);
  auto to = writer.records(name);
  while (from.next_type()) {
    const auto record = from.read_any();
    if (change(*record)) ++count;
    to.append(*record);
  }
  to.finish();
  writer.add(to);
}

void copy_pages(const images::ImageReader& reader, images::ImageWriter& writer, const std::string& name) {
  const images::PageFile from = reader.pages(name);
  const UniqueFd to = writer.pages(name);
  std::vector<char> buffer(1 << 20);
  uint64_t at = images::kPageFileHeader;
  while (const size_t n = sys::pread_some(from.get(), buffer.data(), buffer.size(), at)) {
    sys::pwrite_fully(to.get(), buffer.data(), n, at);
    at += n;
  }
  writer.add_pages(name, to.get());
}

}  // namespace

int main(int argc, char** argv) {
  const auto change = argc == 4 ? changes().find(argv[3]) : changes().end();
  if (change == changes().end()) {
    for (const auto& [name, unused] : changes()) std::printf("%s\n", name.c_str());
    return 2;
  }
  try {
    const images::ImageReader reader(argv[1]);
    images::ImageWriter writer(argv[2], false);
    int count = 0;
    for (const auto& file : reader.inventory().files()) {
      const bool is_pages = file.name().starts_with("pages-") || file.name().starts_with("ghost-");
      if (is_pages)
        copy_pages(reader, writer, file.name());
      else
        copy_records(reader, writer, file.name(), change->second, count);
    }
    image::Inventory inventory = reader.inventory();
    if (change->first == kForeign) inventory.set_architecture("aarch64");
    writer.commit(std::move(inventory));
    std::printf("%d records changed\n", count);
    return count > 0 ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "forge-image: %s\n", error.what());
    return 1;
  }
}

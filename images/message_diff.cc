#include "images/message_diff.h"

#include <fmt/format.h>
#include <google/protobuf/any.pb.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/arch/xstate.h"
#include "images/byte_text.h"
#include "images/message_json.h"
#include "images/messages.h"
#include "images/proto/core.pb.h"
#include "images/special_bytes.h"

namespace mcr::images {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kMaxPacked = 4;  // Any in Any; a crafted file must not choose how deep this recurses
constexpr size_t kShownText = 200;
constexpr char kAbsent[] = "absent";

// How an image is written, not what it holds: where bytes lie, numbers that only connect records, counts of records,
// checksums. What they lead to is compared instead.
constexpr std::string_view kStructure[] = {
    "FileObject.id",
    "Pty.id",
    "Ghost.id",
    "PipeData.id",
    "SharedMemory.id",
    "Ghost.content_file",
    "Ghost.extents",
    "Inventory.files",
    "Inventory.streams",
    "Inventory.parent",
    "Inventory.tracking",
    "MemoryMap.pages_file",
    "MemoryMap.vma_count",
    "MemoryMap.run_count",
    "MemoryMap.inherited_count",
    "TcpSocket.lock_table",
};

// Numbers by which one record refers to another. A new one is listed here; unlisted, it is compared as a number.
struct Reference {
  std::string_view field, records;
};
constexpr Reference kReferences[] = {
    {"Descriptor.file", "FileObject"},
    {"Vma.file", "FileObject"},
    {"Vma.shared", "SharedMemory"},
    {"MemoryMap.exe_file", "FileObject"},
    {"FileSystemContext.cwd_file", "FileObject"},
    {"FileSystemContext.root_file", "FileObject"},
    {"RegularFile.ghost", "Ghost"},
    {"MemfdFile.ghost", "Ghost"},
    {"Pipe.ghost", "Ghost"},
    {"CharDevice.ghost", "Ghost"},
    {"Ghost.parent", "Ghost"},
    {"SysvSegment.ghost", "Ghost"},
    {"EpollWatch.target", "FileObject"},
    {"PtyEnd.pty", "Pty"},
    {"Pipe.data", "PipeData"},
    {"Pipe.pipe", "pipe"},  // an inode number, which a new pipe gets anew: only who shares it counts
    {"PipeData.pipe", "pipe"},
    {"SocketCommon.inode", "socket"},
    {"UnixSocket.peer", "socket"},
    {"UnixSocket.listener", "socket"},
    {"PendingConnection.client", "socket"},
    {"SocketFile.file", "FileObject"},
};

// The fields by which elements of a list, or records of a file, are told apart.
constexpr Reference kKeys[] = {
    {"ThreadCore", "tid"}, {"Descriptor", "fd"},          {"SignalAction", "signal"}, {"IntervalTimer", "which"},
    {"PosixTimer", "id"},  {"ResourceLimit", "resource"}, {"VdsoSymbol", "name"},     {"ExtendedComponent", "id"},
    {"SysvSegment", "id"}, {"AioContext", "address"},     {"EpollWatch", "fd"},       {"InotifyWatch", "wd"},
};

template <typename Table>
std::string_view find_in(const Table& table, std::string_view name) {
  const auto* found = std::find_if(std::begin(table), std::end(table), [&](const auto& e) { return e.field == name; });
  return found == std::end(table) ? std::string_view() : found->records;
}

bool is_structure(std::string_view field) {
  return std::find(std::begin(kStructure), std::end(kStructure), field) != std::end(kStructure);
}

std::string shortened(std::string text) {
  if (text.size() <= kShownText) return text;
  return text.substr(0, kShownText) + "…";
}

std::string number_text(const Message& m, const FieldDescriptor& f, int i) {
  const Reflection& r = *m.GetReflection();
  switch (f.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return (i < 0 ? r.GetBool(m, &f) : r.GetRepeatedBool(m, &f, i)) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_INT32:
      return fmt::to_string(i < 0 ? r.GetInt32(m, &f) : r.GetRepeatedInt32(m, &f, i));
    case FieldDescriptor::CPPTYPE_UINT32:
      return fmt::to_string(i < 0 ? r.GetUInt32(m, &f) : r.GetRepeatedUInt32(m, &f, i));
    case FieldDescriptor::CPPTYPE_INT64:
      return fmt::to_string(i < 0 ? r.GetInt64(m, &f) : r.GetRepeatedInt64(m, &f, i));
    case FieldDescriptor::CPPTYPE_UINT64: {
      const uint64_t number = i < 0 ? r.GetUInt64(m, &f) : r.GetRepeatedUInt64(m, &f, i);
      return shows_hexadecimal(f) ? fmt::format("{:#x}", number) : fmt::to_string(number);
    }
    case FieldDescriptor::CPPTYPE_FLOAT:
      return fmt::to_string(i < 0 ? r.GetFloat(m, &f) : r.GetRepeatedFloat(m, &f, i));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return fmt::to_string(i < 0 ? r.GetDouble(m, &f) : r.GetRepeatedDouble(m, &f, i));
    case FieldDescriptor::CPPTYPE_ENUM: {
      const int number = i < 0 ? r.GetEnumValue(m, &f) : r.GetRepeatedEnumValue(m, &f, i);
      const auto* value = f.enum_type()->FindValueByNumber(number);
      return value ? value->name() : fmt::to_string(number);
    }
    default:
      return {};
  }
}

uint64_t reference_of(const Message& m, const FieldDescriptor& f) {
  const Reflection& r = *m.GetReflection();
  switch (f.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return r.GetUInt32(m, &f);
    case FieldDescriptor::CPPTYPE_UINT64:
      return r.GetUInt64(m, &f);
    case FieldDescriptor::CPPTYPE_INT32:
      return static_cast<uint64_t>(r.GetInt32(m, &f));
    default:
      return 0;
  }
}

std::unique_ptr<Message> unpacked(const google::protobuf::Any& any) {
  const std::string_view url = any.type_url();
  const auto* type = find_message(url.substr(url.rfind('/') + 1));
  auto message = type ? new_message(type) : nullptr;
  if (message && !parse_bounded(any.value(), *message)) message.reset();
  return message;
}

std::string type_in(const google::protobuf::Any& any) {
  const std::string& url = any.type_url();
  return url.substr(url.find_last_of("/.") + 1);
}

class Comparison {
 public:
  explicit Comparison(MessageDiffSink& sink) : sink_(sink) {}
  void compare(const Message& a, const Message& b, const std::string& path);

 private:
  void compare_field(const Message& a, const Message& b, const FieldDescriptor& f, FieldChange change);
  void compare_numbers(const Message& a, const Message& b, const FieldDescriptor& f, int i, FieldChange change);
  void compare_text(std::string_view a, std::string_view b, const FieldDescriptor& f, FieldChange change);
  void compare_list(const Message& a, const Message& b, const FieldDescriptor& f, FieldChange change);
  void compare_messages_of_list(const Message& a, const Message& b, const FieldDescriptor& f,
                                const FieldChange& change);
  void compare_signals(const Message& a, const Message& b, const FieldDescriptor& f, const FieldChange& change);
  void compare_packed(const google::protobuf::Any& a, const google::protobuf::Any& b, FieldChange change);
  void report(FieldChange change, std::string before, std::string after);
  void report_parts(const FieldChange& change, const std::vector<PartChange>& parts);

  MessageDiffSink& sink_;
  const Message *outer_a_ = nullptr, *outer_b_ = nullptr;
  int packed_ = 0;
};

void Comparison::report(FieldChange change, std::string before, std::string after) {
  change.before = std::move(before), change.after = std::move(after);
  sink_.changed(change);
}

void Comparison::report_parts(const FieldChange& change, const std::vector<PartChange>& parts) {
  for (const PartChange& part : parts) {
    FieldChange one = change;
    if (!part.name.empty()) one.path += "." + part.name;
    report(std::move(one), part.before, part.after);
  }
}

void Comparison::compare(const Message& a, const Message& b, const std::string& path) {
  const auto& type = *a.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& f = *type.field(i);
    FieldChange change;
    change.path = path + "." + f.name();
    change.field = short_name(type) + "." + f.name();
    change.a = &a, change.b = &b;
    change.outer_a = outer_a_, change.outer_b = outer_b_;
    if (!is_structure(change.field)) compare_field(a, b, f, std::move(change));
  }
  // Of a newer program, if at all: known to be different is all that can be said.
  std::string before, after;
  a.GetReflection()->GetUnknownFields(a).SerializeToString(&before);
  b.GetReflection()->GetUnknownFields(b).SerializeToString(&after);
  FieldChange change;
  change.path = path + " (fields that this program does not know)", change.field = short_name(type);
  change.a = &a, change.b = &b;
  if (before != after) report_parts(change, {compare_bytes(before, after)});
}

void Comparison::compare_field(const Message& a, const Message& b, const FieldDescriptor& f, FieldChange change) {
  const Reflection &ra = *a.GetReflection(), &rb = *b.GetReflection();
  if (f.is_repeated()) return compare_list(a, b, f, std::move(change));
  if (const std::string_view records = find_in(kReferences, change.field); !records.empty())
    return sink_.refers(records, reference_of(a, f), reference_of(b, f), change);
  if (f.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    std::string left, right;
    return compare_text(ra.GetStringReference(a, &f, &left), rb.GetStringReference(b, &f, &right), f,
                        std::move(change));
  }
  if (f.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return compare_numbers(a, b, f, -1, std::move(change));
  if (f.message_type() == google::protobuf::Any::descriptor())
    return compare_packed(static_cast<const google::protobuf::Any&>(ra.GetMessage(a, &f)),
                          static_cast<const google::protobuf::Any&>(rb.GetMessage(b, &f)), std::move(change));
  const Message *outer_a = std::exchange(outer_a_, &a), *outer_b = std::exchange(outer_b_, &b);
  compare(ra.GetMessage(a, &f), rb.GetMessage(b, &f), change.path);  // one that is not set has the default values
  outer_a_ = outer_a, outer_b_ = outer_b;
}

void Comparison::compare_numbers(const Message& a, const Message& b, const FieldDescriptor& f, int i,
                                 FieldChange change) {
  std::string before = number_text(a, f, i), after = number_text(b, f, i);
  if (before != after) report(std::move(change), std::move(before), std::move(after));
}

void Comparison::compare_text(std::string_view a, std::string_view b, const FieldDescriptor& f, FieldChange change) {
  if (a == b) return;
  change.a_bytes = a, change.b_bytes = b;
  if (change.field == "ThreadCore.registers") return report_parts(change, compare_registers(a, b));
  if (change.field == "ExtendedState.legacy") return report_parts(change, compare_legacy_state(a, b));
  if (f.type() == FieldDescriptor::TYPE_BYTES && !shows_text(f)) return report_parts(change, {compare_bytes(a, b)});
  report(std::move(change), fmt::format("\"{}\"", shortened(escaped(a))), fmt::format("\"{}\"", shortened(escaped(b))));
}

void Comparison::compare_list(const Message& a, const Message& b, const FieldDescriptor& f, FieldChange change) {
  const Reflection &ra = *a.GetReflection(), &rb = *b.GetReflection();
  if (change.field == "PendingSignals.siginfo") return compare_signals(a, b, f, change);
  if (f.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return compare_messages_of_list(a, b, f, change);
  const int left = ra.FieldSize(a, &f), right = rb.FieldSize(b, &f);
  for (int i = 0; i < std::max(left, right); ++i) {
    FieldChange one = change;
    one.path += fmt::format("[{}]", i);
    const bool is_text = f.cpp_type() == FieldDescriptor::CPPTYPE_STRING;
    const auto text = [&](const Message& m) {
      if (!is_text) return number_text(m, f, i);
      const std::string value = m.GetReflection()->GetRepeatedString(m, &f, i);
      return f.type() == FieldDescriptor::TYPE_BYTES && !shows_text(f)
                 ? fmt::format("{} bytes {}", value.size(), shortened(hexadecimal(value)))
                 : shortened(escaped(value));
    };
    if (i >= left || i >= right)
      report(std::move(one), i < left ? text(a) : kAbsent, i < right ? text(b) : kAbsent);
    else if (is_text)
      compare_text(ra.GetRepeatedString(a, &f, i), rb.GetRepeatedString(b, &f, i), f, std::move(one));
    else
      compare_numbers(a, b, f, i, std::move(one));
  }
}

// Elements are matched by their keys, those of an Any by their types; without a key by their place.
void Comparison::compare_messages_of_list(const Message& a, const Message& b, const FieldDescriptor& f,
                                          const FieldChange& change) {
  const auto keyed = [&](const Message& m) {
    std::vector<std::pair<std::string, const Message*>> elements;
    std::map<std::string, int> seen;
    for (int i = 0; i < m.GetReflection()->FieldSize(m, &f); ++i) {
      const Message& element = m.GetReflection()->GetRepeatedMessage(m, &f, i);
      const bool is_any = element.GetDescriptor() == google::protobuf::Any::descriptor();
      std::string key = is_any ? type_in(static_cast<const google::protobuf::Any&>(element)) : key_of(element);
      const int ordinal = seen[key]++;
      if (key.empty())
        key = fmt::to_string(i);
      else if (ordinal > 0)
        key += fmt::format(" #{}", ordinal + 1);
      elements.emplace_back(std::move(key), &element);
    }
    return elements;
  };
  const auto left = keyed(a), right = keyed(b);
  const auto find = [](const auto& list, const std::string& key) -> const Message* {
    const auto found = std::find_if(list.begin(), list.end(), [&](const auto& e) { return e.first == key; });
    return found == list.end() ? nullptr : found->second;
  };
  const auto one = [&](const std::string& key, const Message* lonely = nullptr) {
    FieldChange c = change;
    c.element = lonely;
    c.path += fmt::format("[{}]", key);
    return c;
  };
  for (const auto& [key, element] : left) {
    const Message* other = find(right, key);
    if (!other) {
      report(one(key, element), shortened(element->ShortDebugString()), kAbsent);
    } else if (element->GetDescriptor() == google::protobuf::Any::descriptor()) {
      compare_packed(static_cast<const google::protobuf::Any&>(*element),
                     static_cast<const google::protobuf::Any&>(*other), one(key));
    } else {
      compare(*element, *other, one(key).path);
    }
  }
  for (const auto& [key, element] : right)
    if (!find(left, key)) report(one(key, element), kAbsent, shortened(element->ShortDebugString()));
}

// A queue for each signal; which of two different signals came first does not count, the lower number is delivered
// first (signal(7)). As many on both sides are compared in turn, otherwise each that the other side lacks is told.
void Comparison::compare_signals(const Message& a, const Message& b, const FieldDescriptor& f,
                                 const FieldChange& change) {
  const auto all = [&](const Message& m) {
    std::vector<std::string> signals;
    for (int i = 0; i < m.GetReflection()->FieldSize(m, &f); ++i)
      signals.push_back(m.GetReflection()->GetRepeatedString(m, &f, i));
    std::ranges::stable_sort(signals, {}, signal_number);
    return signals;
  };
  std::vector<std::string> left = all(a), right = all(b);
  if (left.size() == right.size()) {
    for (size_t i = 0; i < left.size(); ++i) {
      FieldChange one = change;
      one.path += fmt::format("[{}]", i);
      if (left[i] != right[i]) report_parts(one, compare_siginfo(left[i], right[i]));
    }
    return;
  }
  for (auto it = left.begin(); it != left.end();) {
    const auto same = std::find(right.begin(), right.end(), *it);
    if (same == right.end()) {
      ++it;
      continue;
    }
    right.erase(same);
    it = left.erase(it);
  }
  for (const std::string& signal : left) {
    FieldChange one = change;
    one.a_bytes = signal;
    report(std::move(one), siginfo_text(signal), kAbsent);
  }
  for (const std::string& signal : right) {
    FieldChange one = change;
    one.b_bytes = signal;
    report(std::move(one), kAbsent, siginfo_text(signal));
  }
}

void Comparison::compare_packed(const google::protobuf::Any& a, const google::protobuf::Any& b, FieldChange change) {
  if (a.type_url() != b.type_url()) return report(std::move(change), type_in(a), type_in(b));
  const auto left = packed_ < kMaxPacked ? unpacked(a) : nullptr, right = left ? unpacked(b) : nullptr;
  if (!left || !right) {
    if (a.value() != b.value()) report_parts(change, {compare_bytes(a.value(), b.value())});
    return;
  }
  ++packed_;
  compare(*left, *right, type_in(a));
  --packed_;
}

}  // namespace

std::string short_name(const google::protobuf::Descriptor& type) {
  return type.name();
}

std::string key_of(const Message& message) {
  const auto& type = *message.GetDescriptor();
  const std::string_view key = find_in(kKeys, short_name(type));
  const auto* field = key.empty() ? nullptr : type.FindFieldByName(std::string(key));
  if (!field) return {};
  const std::string value = field->cpp_type() == FieldDescriptor::CPPTYPE_STRING
                                ? escaped(message.GetReflection()->GetString(message, field))
                                : number_text(message, *field, -1);
  if (&type == image::ExtendedComponent::descriptor())
    return arch::component_name(static_cast<const image::ExtendedComponent&>(message).id());
  return fmt::format("{} {}", key == "tid" ? "thread" : key, value);
}

void compare_messages(const Message& a, const Message& b, MessageDiffSink& sink) {
  Comparison(sink).compare(a, b, short_name(*a.GetDescriptor()));
}

}  // namespace mcr::images

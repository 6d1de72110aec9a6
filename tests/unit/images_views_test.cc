// Views of images that nobody dumped: circles of parents, objects that are not there, addresses that are none.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "images/image_tables.h"
#include "images/proto/sockets.pb.h"
#include "images/show.h"
#include "images/socket_view.h"
#include "tests/unit/images_sample.h"

namespace mcr::images {
namespace {

ProcessView process_of(int32_t pid, int32_t ppid, const std::string& command) {
  ProcessView process;
  process.core.set_pid(pid);
  process.core.set_ppid(ppid);
  process.core.set_command(command);
  return process;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size(); at = text.find('\n', at) + 1)
    lines.push_back(text.substr(at, text.find('\n', at) - at));
  return lines;
}

TEST(ImageViews, ChildrenStandBelowTheirParents) {
  ImageView image;
  image.processes = {process_of(1, 0, "root"), process_of(2, 1, "first"), process_of(3, 1, "second"),
                     process_of(4, 2, "grandchild"), process_of(5, 99, "orphan")};
  std::string commands;
  for (const std::string& line : lines_of(tree_table(image).text()))
    commands += line.substr(line.rfind("runs") + 4) + "\n";
  EXPECT_NE(commands.find("   root\n    \\_ first\n        \\_ grandchild\n    \\_ second\n   orphan\n"),
            std::string::npos)
      << commands;
}

TEST(ImageViews, CirclesAndDepthEnd) {
  ImageView image;
  image.processes = {process_of(1, 2, "a"), process_of(2, 1, "b"), process_of(3, 3, "c"), process_of(1, 1, "d")};
  EXPECT_EQ(lines_of(tree_table(image).text()).size(), 5u);
  image.processes.clear();
  for (int32_t pid = 1; pid <= 20'000; ++pid) image.processes.push_back(process_of(pid, pid - 1, "x"));
  const std::string text = tree_table(image).text();
  EXPECT_EQ(lines_of(text).size(), 20'001u);
  EXPECT_LT(text.size(), 20'001u * 320);
}

TEST(ImageViews, ADescriptorOfNothingIsShown) {
  ImageView image;
  image.processes = {process_of(1, 0, "a")};
  image::Descriptor descriptor;
  descriptor.set_fd(-7);
  descriptor.set_file(12);
  image.processes[0].descriptors.push_back(descriptor);
  EXPECT_EQ(lines_of(descriptor_table(image, 0).text()).size(), 2u);
  EXPECT_TRUE(socket_table(image, 0).empty());
  EXPECT_EQ(descriptor_table(image, 2).size(), 0u);
}

// A column that says nothing is left out; a long cell pushes no others aside; blanks do not end a line.
TEST(ImageViews, ATableIsAsWideAsItMustBe) {
  Table table({{"N", "n"}, {"EMPTY", "empty"}, {"NAME", "name", true}, {"LAST", "last", true}});
  table.add({cell_of_number(5), cell_of_size(0), cell_of_text("\xc3\xbc\x1b"), cell_of_text("")});
  table.add({cell_of_number(12345), cell_of_size(0), cell_of_text("long name"), cell_of_text("end")});
  EXPECT_EQ(table.text(), "    N  NAME       LAST\n    5  \xc3\xbc\\x1b\n12345  long name  end\n");
  EXPECT_EQ(Table({{"N", "n"}, {"LAST", "last"}}).text(), "N  LAST\n");
}

template <typename Socket>
SocketView shown(const Socket& socket) {
  image::FileObject object;
  object.mutable_body()->PackFrom(socket);
  const auto view = socket_view(object);
  EXPECT_TRUE(view.has_value());
  return view.value_or(SocketView());
}

std::string ip_address(const char* text, uint16_t port) {
  sockaddr_in6 six{};
  sockaddr_in four{};
  if (inet_pton(AF_INET, text, &four.sin_addr) == 1) {
    four.sin_family = AF_INET, four.sin_port = htons(port);
    return {reinterpret_cast<const char*>(&four), sizeof four};
  }
  inet_pton(AF_INET6, text, &six.sin6_addr);
  six.sin6_family = AF_INET6, six.sin6_port = htons(port);
  return {reinterpret_cast<const char*>(&six), sizeof six};
}

TEST(ImageViews, Sockets) {
  EXPECT_EQ(address_text(ip_address("127.0.0.1", 80)), "127.0.0.1:80");
  EXPECT_EQ(address_text(ip_address("::1", 65535)), "[::1]:65535");
  for (size_t size = 0; size < sizeof(sockaddr_in); ++size)
    EXPECT_EQ(address_text(ip_address("127.0.0.1", 80).substr(0, size)).find("127"), std::string::npos) << size;
  image::TcpSocket tcp;
  tcp.set_state(8);
  tcp.mutable_send()->set_data("abc");
  EXPECT_EQ(shown(tcp).state, "close-wait");
  EXPECT_EQ(shown(tcp).sent, 3u);
  for (const int state : {-1, 0, 13, INT32_MIN, INT32_MAX}) {
    tcp.set_state(state);
    EXPECT_EQ(shown(tcp).state, fmt::format("state {}", state));
  }
  image::UnixSocket unix_socket;
  unix_socket.set_has_name(true);
  unix_socket.set_name(std::string("\0abstract", 9));
  unix_socket.mutable_common()->set_type(77);
  EXPECT_EQ(shown(unix_socket).local, "@abstract");
  EXPECT_EQ(shown(unix_socket).kind, "unix type 77");
  image::FileObject broken;
  broken.mutable_body()->PackFrom(tcp);
  broken.mutable_body()->set_value("\xff\xff");
  EXPECT_FALSE(socket_view(broken).has_value());
}

TEST(ImageViews, EverySideOfAnImage) {
  const sample::Folder folder;
  sample::write_image(folder.path("image"));
  for (const Part part : {Part::tree, Part::descriptors, Part::memory, Part::sockets, Part::mappings}) {
    EXPECT_NE(show_part_text(folder.path("image"), {part, 12}), "");
    EXPECT_NE(show_part_json(folder.path("image"), {part, 0}), "");
    EXPECT_NE(sample::error_of([&] {
                show_part_text(folder.path("image"), {part, 13});
              }).find("no process 13"),
              std::string::npos);
  }
  EXPECT_NE(stat_text(folder.path("image")).find("1.0 KiB of memory take 1.0 KiB"), std::string::npos)
      << stat_text(folder.path("image"));
  EXPECT_NE(stat_json(folder.path("image")).find("\"content_bytes\": 1024"), std::string::npos);
}

}  // namespace
}  // namespace mcr::images

// Images that name each other as what they build upon: by their names, never followed for ever.
#include "images/parent_chain.h"

#include "images/format.h"
#include "tests/unit/images_sample.h"

namespace mcr::images {
namespace {

// An image without memory of its own, whose id is known before it is whole.
class Unfinished {
 public:
  explicit Unfinished(const std::string& directory) : writer_(directory, false) {
    const UniqueFd pages = writer_.pages("pages-1.img");
    id_ = read_header(pages.get(), "pages-1.img").image_id;
    writer_.add_pages("pages-1.img", pages.get());
    sample::write_core(writer_, 1, "one");
  }
  const std::string& id() const { return id_; }
  void build_upon(const std::string& path, const std::string& id) {
    image::Inventory inventory;
    inventory.set_format_version(kFormatVersion);
    inventory.add_pids(1);
    inventory.mutable_parent()->set_path(path);
    inventory.mutable_parent()->set_image_id(id);
    writer_.commit(std::move(inventory));
  }

 private:
  ImageWriter writer_;
  std::string id_;
};

TEST(ParentChain, RefusesACircleOfTwoByName) {
  const sample::Folder folder;
  Unfinished a(folder.path("a")), b(folder.path("b"));
  a.build_upon("../b", b.id());
  b.build_upon("../a", a.id());
  const auto error = sample::error_of([&] { ParentChain::beginning_with(folder.path("a")); });
  EXPECT_NE(error.find("the image in " + folder.path("b") + " builds upon the one in " + folder.path("a")),
            std::string::npos)
      << error;
  EXPECT_NE(error.find("which builds upon itself by others"), std::string::npos) << error;
  EXPECT_NE(sample::error_of([&] { ParentChain::of(ImageReader(folder.path("b"))); }), "");
}

TEST(ParentChain, RefusesAnImageThatBuildsUponItself) {
  const sample::Folder folder;
  Unfinished a(folder.path("a"));
  a.build_upon("../a", a.id());
  const auto error = sample::error_of([&] { ParentChain::beginning_with(folder.path("a")); });
  EXPECT_NE(error.find(folder.path("a")), std::string::npos) << error;
  EXPECT_NE(error.find("which builds upon itself by others"), std::string::npos) << error;
}

}  // namespace
}  // namespace mcr::images

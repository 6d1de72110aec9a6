// An image as whole as a restore would read it, but nothing is made of it: for those who only look. One thread, but for
// what content() says of itself.
#pragma once

#include <memory>
#include <vector>

#include "core/kinds/opened_files.h"
#include "core/tree/process_image.h"
#include "images/page_content.h"
#include "images/parent_chain.h"
#include "images/store.h"

namespace mcr::inspect {

class SavedTree {
 public:
  // Reads and checks all records, and opens what the image builds upon. Throws Fault::image.
  explicit SavedTree(const images::ImagePlace& place);

  const images::ImageReader& reader() const { return reader_; }
  const mcr::image::Inventory& inventory() const { return reader_.inventory(); }
  const std::vector<tree::ProcessImage>& processes() const { return processes_; }  // parents before children
  // A process by its pid in the image; throws Error (usage) when there is none.
  const tree::ProcessImage& process(int32_t pid) const;
  const kinds::OpenedFiles& files() const { return files_; }
  const images::PageContent& content() const { return content_; }

 private:
  images::ImageReader reader_;
  kinds::OpenedFiles files_;
  std::vector<tree::ProcessImage> processes_;
  std::unique_ptr<images::ParentChain> parents_;
  images::PageContent content_;
};

}  // namespace mcr::inspect

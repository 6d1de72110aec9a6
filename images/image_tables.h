// The tables that `show` and `stat` print. Pure; private to images.
#pragma once

#include "images/image_view.h"
#include "images/table.h"

namespace mcr::images {

Table tree_table(const ImageView& image);
Table descriptor_table(const ImageView& image, int32_t pid);  // 0: of all
Table memory_table(const ImageView& image, int32_t pid);
Table socket_table(const ImageView& image, int32_t pid);
Table mapping_table(const ImageView& image, int32_t pid);

Table content_table(const ImageView& image);  // by process
Table kind_table(const ImageView& image);     // by kind of mapping
Table file_table(const ImageView& image);     // by kind of file

}  // namespace mcr::images

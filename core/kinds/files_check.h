// Are the records of files.img such that open files could have been so? Before anything is opened.
#pragma once

#include "images/proto/files.pb.h"
#include "images/store.h"

namespace mcr::kinds {

// All throw Fault::image with record and field.
void check_object(const mcr::image::FileObject& object);
void check_ghost(const mcr::image::Ghost& ghost, const images::ImageReader& reader);
void check_locks(const mcr::image::Descriptor& descriptor);
void check_pipe_data(const mcr::image::PipeData& data);

}  // namespace mcr::kinds

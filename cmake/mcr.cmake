# Compiler settings and the one way to declare a folder as a target.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
if(MCR_PORTABLE)
  set(Protobuf_USE_STATIC_LIBS ON)
endif()
find_package(Protobuf REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(CLI11 REQUIRED)

function(mcr_find_library var name)
  if(MCR_PORTABLE)
    find_library(${var} NAMES lib${name}.a REQUIRED)
  else()
    find_library(${var} NAMES ${name} REQUIRED)
  endif()
endfunction()
mcr_find_library(MCR_XXHASH xxhash)
mcr_find_library(MCR_LZ4 lz4)
# Static in every build. The shared libarchive brings a dozen libraries along, which each start of the engine would load;
# of the static one only tar is taken. Its writers refer to a function that lies with those of all formats (and so with
# all those libraries) and is called for files that are none of ours: another one, which takes the same, stands in.
find_library(MCR_ARCHIVE NAMES libarchive.a REQUIRED)
find_library(MCR_SODIUM NAMES libsodium.a REQUIRED)
set(MCR_ARCHIVE_OPTIONS "LINKER:--defsym=__archive_write_entry_filetype_unsupported=archive_clear_error")

add_library(mcr_flags INTERFACE)
target_compile_options(mcr_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers)
target_include_directories(mcr_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
if(MCR_WERROR)
  target_compile_options(mcr_flags INTERFACE -Werror)
endif()
if(MCR_SANITIZE)
  target_compile_options(mcr_flags INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  target_link_options(mcr_flags INTERFACE -fsanitize=address,undefined)
endif()
if(MCR_FUZZ)  # clang; every object counts what it executes, the fuzz targets get libFuzzer's main
  target_compile_options(mcr_flags INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer
    -fno-sanitize-recover=undefined -fno-sanitize=function,vptr -g1 -Wno-unknown-warning-option
    $<$<COMPILE_LANGUAGE:CXX>:-include${CMAKE_SOURCE_DIR}/tests/fuzz/source_location_clang14.h>)
  target_link_options(mcr_flags INTERFACE -fsanitize=address,undefined)
endif()
if(MCR_PORTABLE)
  target_link_options(mcr_flags INTERFACE -static-libstdc++ -static-libgcc)
  set(MCR_FMT fmt::fmt-header-only)
  set(MCR_SPDLOG spdlog::spdlog_header_only)
else()
  set(MCR_FMT fmt::fmt)
  set(MCR_SPDLOG spdlog::spdlog)
endif()

# mcr_precompile(<target> [MESSAGES]): the headers that nearly every source reads, parsed once; MESSAGES: the image's too.
# Sources include what they use all the same: without the option they build as well.
set(MCR_STANDARD_HEADERS <algorithm> <array> <chrono> <cstdint> <cstring> <functional> <map> <memory> <optional> <set> <span>
    <string> <string_view> <vector> <fmt/format.h>)
function(mcr_precompile name)
  if(NOT MCR_PRECOMPILE)
    return()
  endif()
  set(headers ${MCR_STANDARD_HEADERS})
  if("MESSAGES" IN_LIST ARGN)
    foreach(stem core facets files inventory mm)
      list(APPEND headers "<images/proto/${stem}.pb.h>")
    endforeach()
  endif()
  target_precompile_headers(${name} PRIVATE ${headers})
endfunction()

# mcr_library(<folder target> DEPS <targets it may include from>): every .cc of the folder.
function(mcr_library name)
  cmake_parse_arguments(ARG "" "" "DEPS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC mcr_flags ${ARG_DEPS})
endfunction()

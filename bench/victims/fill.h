// Memory with content of a kind, in pages of a kind.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// xorshift64: quick, and nothing a page could be guessed from.
static inline uint64_t next_random(uint64_t x) {
  x ^= x << 13, x ^= x >> 7, x ^= x << 17;
  return x;
}

// "random"; "text": half of the bits are always the same, as in numbers and words; "same": all pages alike; "zero":
// pages of zeros that were written to.
static inline void fill(uint64_t* words, size_t count, const char* content, uint64_t seed) {
  uint64_t x = seed | 1;
  const uint64_t mask = strcmp(content, "text") == 0 ? 0x0f0f0f0f0f0f0f0fu : ~(uint64_t)0;
  if (strcmp(content, "zero") == 0) {
    memset(words, 0, count * sizeof *words);
  } else if (strcmp(content, "same") == 0) {
    for (size_t i = 0; i < count; ++i) words[i] = seed * (i % 512 + 1);
  } else {
    for (size_t i = 0; i < count; ++i) words[i] = (x = next_random(x)) & mask;
  }
}

// `bytes` of private anonymous memory at a multiple of 2 MiB; page: "small" (4 KiB, also where the kernel would give
// huge ones unasked) or "huge".
static inline uint64_t* take_memory(size_t bytes, const char* page) {
  const size_t block = (size_t)2 << 20;
  char* memory = mmap(NULL, bytes + block, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) _exit(5);
  char* aligned = (char*)(((uintptr_t)memory + block - 1) / block * block);
  if (aligned != memory) munmap(memory, (size_t)(aligned - memory));
  munmap(aligned + bytes, (size_t)(memory + bytes + block - (aligned + bytes)));
  madvise(aligned, bytes, strcmp(page, "huge") == 0 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  return (uint64_t*)aligned;
}

// Four lanes, so that one pass takes no longer than reading the memory.
static inline uint64_t hash_of_words(const uint64_t* words, size_t count) {
  uint64_t lanes[4] = {1, 2, 3, 4};
  for (size_t i = 0; i + 4 <= count; i += 4)
    for (size_t k = 0; k < 4; ++k) lanes[k] = (lanes[k] ^ words[i + k]) * 0x9e3779b97f4a7c15u;
  return lanes[0] ^ lanes[1] << 1 ^ lanes[2] << 2 ^ lanes[3] << 3;
}

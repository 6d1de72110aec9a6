#pragma once

#include <sys/resource.h>

// Room for so many descriptors; more than the hard limit takes root.
static inline int raise_descriptor_limit(unsigned wanted) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return -1;
  if (limit.rlim_max < wanted) limit.rlim_max = wanted;
  limit.rlim_cur = limit.rlim_max;
  return setrlimit(RLIMIT_NOFILE, &limit);
}

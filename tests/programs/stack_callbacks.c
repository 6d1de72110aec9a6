// stack-callbacks: stands for ever below a function of the C library that calls back.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static __attribute__((noinline)) int stand(int first, int second) {
  if (write(1, "ready\n", 6) != 6) return 3;
  for (;;) pause();
  return first - second;
}

static int compare(const void* a, const void* b) {
  return stand(*(const int*)a, *(const int*)b) + 1;
}

__attribute__((noinline)) int sort_numbers(int* numbers, size_t count) {
  qsort(numbers, count, sizeof *numbers, compare);
  return numbers[0];
}

int main(void) {
  int numbers[] = {3, 1, 2};
  return sort_numbers(numbers, 3) + 1;
}

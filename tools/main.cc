#include "tools/run.h"

int main(int argc, char** argv) {
  return mcr::cli::run({argv + 1, argv + argc});
}

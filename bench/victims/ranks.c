// An MPI program. Each rank has argv[1] MiB of random bytes, of which it sends a piece around the ring at each
// question, adds what has come to it, and tells the hash; rank 0 compares the sum of what all have sent with that of
// what has arrived, and answers with it. Questions and answers go through the files that rank 0 is given by the
// environment. Between questions the ranks look for messages every millisecond.
#include <mpi.h>
#include <time.h>

#include "answer.h"
#include "fill.h"

enum { PIECE = 8192 };  // words

static void open_as(const char* variable, int flags, int number) {
  const char* path = getenv(variable);
  const int fd = path != NULL ? open(path, flags) : -1;
  if (fd < 0 || dup2(fd, number) != number) MPI_Abort(MPI_COMM_WORLD, 5);
  if (fd != number) close(fd);
}

// A barrier that sleeps: the usual one keeps a processor busy.
static void wait_for_all(void) {
  MPI_Request request;
  int done = 0;
  MPI_Ibarrier(MPI_COMM_WORLD, &request);
  for (;;) {
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done) return;
    const struct timespec millisecond = {0, 1000000};
    nanosleep(&millisecond, NULL);
  }
}

static uint64_t round_the_ring(uint64_t* words, size_t count, int rank, int ranks, unsigned question) {
  static uint64_t arrived[PIECE];
  uint64_t* piece = words + (question * (size_t)PIECE) % (count - PIECE);
  const uint64_t sent = hash_of_words(piece, PIECE);
  MPI_Sendrecv(piece, PIECE, MPI_UINT64_T, (rank + 1) % ranks, 0, arrived, PIECE, MPI_UINT64_T,
               (rank + ranks - 1) % ranks, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
  uint64_t mine[2] = {sent, hash_of_words(arrived, PIECE)}, sums[2] = {0, 0};
  MPI_Allreduce(mine, sums, 2, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
  if (sums[0] != sums[1]) wrong("something else has arrived than was sent");
  const uint64_t own = hash_of_words(words, count);
  uint64_t all = 0;
  MPI_Allreduce(&own, &all, 1, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
  return all;
}

int main(int argc, char** argv) {
  int rank = 0, ranks = 1;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  prepare();
  if (rank == 0)
    open_as("MCR_BENCH_QUESTIONS", O_RDWR, STDIN_FILENO),
        open_as("MCR_BENCH_ANSWERS", O_WRONLY | O_APPEND, STDOUT_FILENO);
  const size_t bytes = (size_t)(argc > 1 ? atol(argv[1]) : 16) << 20, count = bytes / sizeof(uint64_t);
  uint64_t* memory = take_memory(bytes, "small");
  fill(memory, count, "random", secret + (uint64_t)rank);
  for (unsigned question = 0;; ++question) {
    const uint64_t all = round_the_ring(memory, count, rank, ranks, question);
    if (rank == 0) answer(all), wait_for_question();
    wait_for_all();
  }
}

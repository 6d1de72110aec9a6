"""Python with numpy: argv[1] MiB of random matrices. At each question it multiplies one of them with the next, as it did
once at its start, compares, and answers with a checksum of all."""

import sys
import zlib

import numpy
import questions

SIZE = 512  # rows and columns of a matrix of 2 MiB

generator = numpy.random.default_rng(int(questions.SECRET, 16))
matrices = [generator.random((SIZE, SIZE)) for _ in range(max(2, int(sys.argv[1]) // 2))]


def product(question):
    return matrices[question % len(matrices)] @ matrices[(question + 1) % len(matrices)]


products = [product(i) for i in range(4)]
question = 0
while True:
    if not numpy.array_equal(product(question % 4), products[question % 4]):
        questions.wrong("a product of two matrices has changed")
    checksum = 0
    for matrix in matrices:
        checksum = zlib.crc32(matrix.data, checksum)
    questions.answer(checksum)
    questions.wait()
    question += 1

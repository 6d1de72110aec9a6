"""A training loop of PyTorch on the CPU. It trains for some steps and notes a checksum of the weights after each, begins
anew with the same seed, and takes one step at each question: the weights must be what they were. Answers with 0."""

import os
import sys
import zlib

os.environ.setdefault("OMP_NUM_THREADS", "2")
import questions
import torch

STEPS, WIDTH = 12, int(sys.argv[1])


def begin():
    torch.manual_seed(int(questions.SECRET, 16) % 2**31)
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.Tanh(), torch.nn.Linear(WIDTH, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return model, optimizer, torch.randn(64, WIDTH), torch.randn(64, 1)


def step(model, optimizer, inputs, targets):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(inputs), targets).backward()
    optimizer.step()
    checksum = 0
    for weights in model.parameters():
        checksum = zlib.crc32(weights.detach().numpy().data, checksum)
    return checksum


torch.set_num_threads(2)
run = begin()
expected = [step(*run) for _ in range(STEPS)]
run = begin()
for number in range(STEPS):
    if step(*run) != expected[number]:
        questions.wrong(f"the weights after step {number} are others")
    questions.answer(0)
    questions.wait()

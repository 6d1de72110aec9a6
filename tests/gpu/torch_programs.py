#!/usr/bin/env python3
"""Programs with PyTorch, whose output is the same in every undisturbed run: torch_programs.py KIND DEVICE STEPS.

training: a loop with an optimiser. inference: a model with random weights. graph: a captured graph, pinned memory, two
streams and events.
"""

import hashlib
import os
import sys

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
import torch  # noqa: E402


def digest(tensor):
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def network(device, width):
    return torch.nn.Sequential(torch.nn.Linear(256, width), torch.nn.GELU(), torch.nn.Linear(width, 256)).to(device)


def training(device, steps):
    net, data = network(device, 1024), torch.randn(64, 256).to(device)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    for step in range(steps):
        optimiser.zero_grad()
        loss = ((net(data) - data) ** 2).mean()
        loss.backward()
        optimiser.step()
        print(step, loss.item().hex(), flush=True)
    print("END", digest(torch.cat([p.flatten() for p in net.parameters()])), flush=True)


def inference(device, steps):
    net, state = network(device, 8192).eval(), torch.randn(16, 256).to(device)
    with torch.inference_mode():
        for step in range(steps):
            state = torch.tanh(net(state) + state)  # each answer is the next question
            print(step, digest(state), flush=True)
    print("END", digest(state), flush=True)


def graph(device, steps):
    pinned, back = torch.empty(1 << 20).pin_memory(), torch.empty(1 << 20).pin_memory()
    given, total = torch.zeros(1 << 20, device=device), torch.zeros(1 << 20, device=device)
    side, ready = torch.cuda.Stream(), torch.cuda.Event()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        total.add_(given * 0.5)  # once, to warm up
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        total.add_(given * 0.5)
    for step in range(steps):
        pinned.fill_(float(step % 7))
        given.copy_(pinned, non_blocking=True)
        captured.replay()
        ready.record()
        with torch.cuda.stream(side):
            side.wait_event(ready)
            back.copy_(total, non_blocking=True)
        side.synchronize()
        print(step, digest(back), flush=True)
    print("END", digest(back), flush=True)


def main():
    kind, device, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.manual_seed(7)
    torch.use_deterministic_algorithms(True)
    {"training": training, "inference": inference, "graph": graph}[kind](device, steps)


if __name__ == "__main__":
    main()

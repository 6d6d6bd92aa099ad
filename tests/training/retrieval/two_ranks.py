"""Two processes that meet over gloo, started by a test; what a model of theirs learns from rows that they share out."""

import traceback

import torch
import torch.distributed as dist


def together(work, folder, *arguments):
    """What two processes return from work(*arguments), in rank order; folder: an empty one, where they meet."""
    context = torch.multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    children = [
        context.Process(target=_child, args=(rank, folder / "meeting", answers, work, arguments)) for rank in range(2)
    ]
    for process in children:
        process.start()
    found = dict(answers.get() for _ in children)
    for process in children:
        process.join()
    for answer in found.values():
        assert not isinstance(answer, str), answer
    return found[0], found[1]


def _child(rank, meeting, answers, work, arguments):
    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
        answers.put((rank, work(*arguments)))
        dist.barrier()
        dist.destroy_process_group()
    except BaseException:
        answers.put((rank, traceback.format_exc()))
        raise

"""Two processes on the CPU: what they make together is what one makes alone."""

import os
import shutil
import socket
import traceback

import pytest
import torch
from tests.sae.training.synthetic import KINDS, settings, synthetic

from saelex.errors import InputError
from saelex.sae.autoencoder import SparseAutoencoder
from saelex.sae.training.buffer import ArrayStates, IterableStates, ShuffleBuffer
from saelex.sae.training.processes import Processes, Share, share_of
from saelex.sae.training.run import train_sae
from saelex.sae.training.trainer import SaeTrainer

pytest.importorskip("accelerate")

STEPS = 12


def together(work, *arguments):
    """What two processes return from work(processes, *arguments), in their order."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    children = [context.Process(target=child, args=(rank, port, answers, work, arguments)) for rank in range(2)]
    for process in children:
        process.start()
    found = dict(answers.get() for _ in children)
    for process in children:
        process.join()
    for answer in found.values():
        assert not isinstance(answer, str), answer
    return found[0], found[1]


def child(rank, port, answers, work, arguments):
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    try:
        processes = Processes.start("cpu")
        assert (processes.rank, processes.count) == (rank, 2)
        answers.put((rank, work(processes, *arguments)))
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    except BaseException:
        answers.put((rank, traceback.format_exc()))
        raise


def state_of(trainer):
    tensors, values = trainer.state()
    return {name: tensor.numpy().copy() for name, tensor in tensors.items()}, values


def stepped(processes, changes):
    """A trainer's state after some steps, each on this process's half of the batch."""
    states = synthetic(64 * STEPS)
    trainer = SaeTrainer(ArrayStates(states), settings(**changes), processes)
    records = [trainer.train_step(batch.chunk(processes.count)[processes.rank]) for batch in states.split(64)]
    return state_of(trainer), records


def every_kind(processes, accumulate):
    changes = {"dead_after_tokens": 200, "log_steps": 1, "normalise_input": True, "accumulate": accumulate}
    return {kind: stepped(processes, {**KINDS[kind], **changes}) for kind in KINDS}


def run(processes, folder, stop=None):
    """A whole run into a folder; with `stop` all processes are killed before that step."""
    train_step = SaeTrainer.train_step

    def stopping(self, batch):
        if self.step == stop:
            raise KeyboardInterrupt
        return train_step(self, batch)

    SaeTrainer.train_step = stopping
    config = settings(
        gate="batch_topk", tokens=64 * 24, checkpoint_steps=10, log_steps=6, dead_after_tokens=500, buffer_tokens=512
    )
    try:
        sae = train_sae(ArrayStates(synthetic(3000), chunk_tokens=100), config, output=folder, processes=processes)
    finally:
        SaeTrainer.train_step = train_step
    return sae.W_enc.detach().numpy().copy(), float(sae.activation.threshold[0])


def everything(processes, folder):
    """All that the tests ask of two processes, since starting them takes long."""
    answers = {"steps": every_kind(processes, 1), "whole": run(processes, folder / "whole")}
    with pytest.raises(KeyboardInterrupt):
        run(processes, folder / "parts", 17)
    answers["checkpoints"] = [path.name for path in (folder / "parts").glob("checkpoint-*")]
    if processes.main:
        shutil.copytree(folder / "parts", folder / "killed")
    torch.distributed.barrier()
    answers["resumed"] = run(processes, folder / "parts")
    with pytest.raises(InputError) as error:
        run(processes, folder / "whole")
    answers["error"] = str(error.value)
    return answers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def answers(folder):
    return together(everything, folder)


@pytest.mark.slow
def test_weights_equal_those_of_one_process_that_saw_both_halves(answers):
    # the statistics are of process 0's share, every second chunk: here all there is is one chunk
    for kind, ((alone, values), records) in every_kind(Processes(), 2).items():
        for answer in answers:
            (tensors, others), other_records = answer["steps"][kind]
            assert tensors.keys() == alone.keys()
            for name, tensor in alone.items():
                torch.testing.assert_close(
                    torch.from_numpy(tensors[name]),
                    torch.from_numpy(tensor),
                    rtol=1e-5,
                    atol=1e-6,
                    msg=f"{kind}: {name}",
                )
            assert others["variance"] == values["variance"] and others["step"] == STEPS
            for ours, expected in zip(other_records, records, strict=True):
                assert ours["fvu"] == pytest.approx(expected["fvu"], rel=1e-4)
                assert ours["l0"] == pytest.approx(expected["l0"])
                assert ours["dead_share"] == expected["dead_share"]


@pytest.mark.slow
def test_a_killed_run_goes_on_where_every_process_was(answers, folder):
    one, two = answers
    for answer in answers:
        for end in ("whole", "resumed"):
            assert (answer[end][0] == one["whole"][0]).all() and answer[end][1] == one["whole"][1]
    assert one["checkpoints"] == two["checkpoints"] == ["checkpoint-10"]
    saved = SparseAutoencoder.load(folder / "parts")
    assert (saved.W_enc.detach().numpy() == one["whole"][0]).all()
    logs = [(folder / name / "metrics.jsonl").read_text().count("\n") for name in ("whole", "parts")]
    assert logs == [4, 4]


@pytest.mark.slow
def test_a_run_of_two_processes_is_not_resumed_by_one(answers, folder):
    with pytest.raises(InputError, match="the checkpoint is of 2 processes, not 1"):
        run(Processes(), folder / "killed")


@pytest.mark.slow
def test_an_error_of_the_main_process_is_everybodys(answers):
    one, two = answers
    assert one["error"] == two["error"] and "holds a finished SAE" in one["error"]


def test_shares_are_the_whole_without_overlap():
    numbers = torch.arange(100.0)[:, None].repeat(1, 3)
    for source in (ArrayStates(numbers, chunk_tokens=7), IterableStates(list(numbers.split(7)))):
        for epoch in (0, 1):
            whole = list(source.chunks(epoch, 0))
            shares = [list(Share(source, Processes(rank, 3)).chunks(epoch, 0)) for rank in range(3)]
            for i, chunk in enumerate(whole):
                assert torch.equal(shares[i % 3][i // 3], chunk)
            assert sum(map(len, shares)) == len(whole)
            later = list(Share(source, Processes(1, 3)).chunks(epoch, 2))
            assert all(torch.equal(a, b) for a, b in zip(later, shares[1][2:], strict=True))
    half = Share(ArrayStates(numbers, chunk_tokens=10), Processes(1, 2))
    assert share_of(half, Processes(0, 2)) is half
    batch = next(iter(ShuffleBuffer(half, batch_tokens=50, capacity=50, seed=0)))
    assert len(set(batch[:, 0].tolist())) == 50


def test_a_batch_that_does_not_split_is_an_error():
    with pytest.raises(InputError, match="does not split into 3 processes' accumulate=1 parts"):
        SaeTrainer(ArrayStates(synthetic(300)), settings(), Processes(0, 3))

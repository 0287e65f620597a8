"""Several processes at once on one store."""

from __future__ import annotations

import itertools
import multiprocessing

from maskstream.pipeline.store import SessionStore, open_store
from tests.pipeline.store.conftest import KEY
from tests.pipeline.store.records import concept, new_session, result

SOURCE = "rtsp://admin:hunter22@camera/live"
NUM_EACH = 20


def test_processes_share_a_session(remote_store: SessionStore, namespace: str) -> None:
    remote_store.create_session(new_session(source=SOURCE))
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        work = [(remote_store.url, namespace, worker) for worker in range(2)]
        done = pool.starmap(prompt_and_publish, work)
    sequences, published = zip(*done, strict=True)
    assert sorted(itertools.chain(*sequences)) == list(range(1, 2 * NUM_EACH + 1))
    entries = remote_store.read_journal("s").entries
    for worker, mine in enumerate(sequences):
        own = [entry for entry in entries if entry.client_id == f"worker {worker}"]
        assert [entry.sequence for entry in own] == mine
        assert [entry.payload["text"] for entry in own] == [str(n) for n in range(NUM_EACH)]
    results = remote_store.read_results("s").entries
    assert len(results) == sum(published)
    indices = [entry.frame_index for entry in results]
    assert indices == sorted(set(indices))


def prompt_and_publish(url: str, namespace: str, worker: int) -> tuple[list[int], int]:
    """Run by each process: sequences of its prompts, and how many results were new."""
    store = open_store(url, namespace, secret_key=KEY)
    assert store.reveal_source("s") == SOURCE
    sequences, num_published = [], 0
    for number in range(NUM_EACH):
        new = concept(str(number), client_id=f"worker {worker}")
        sequences.append(store.append_entry("s", new).sequence)
        num_published += store.publish_result("s", result(number)) is not None
    store.close()
    return sequences, num_published

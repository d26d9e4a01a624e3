"""A query's series as rows of one array."""

import numpy as np

from gpu_rightsizer.observe.queries import BLOCK_SECONDS
from gpu_rightsizer.observe.tracks import BLOCKS, Tracks, key_of

POD = {"signal": "kv|vllm:kv_cache_usage_perc", "namespace": "chat", "pod": "llm-0", "engine": "0"}


def ends(*blocks: int) -> np.ndarray:
    return np.array([(block + 1) * BLOCK_SECONDS for block in blocks], dtype=np.float64)


def test_series_that_share_their_pod_share_what_names_it() -> None:
    other = key_of({**POD, "signal": "waiting|vllm:num_requests_waiting"})
    key = key_of(dict(POD))

    assert key.who is other.who
    assert key.rest is other.rest == (("engine", "0"),)
    assert (key.who.pod, key.who.exported_pod) == ("llm-0", None)


def test_of_copies_of_a_series_the_larger_figure_counts_block_by_block() -> None:
    first, second = np.array([0.25, np.nan, 0.5]), np.array([0.125, 0.75, np.nan])
    answer = [(POD, ends(0, 1, 2), first), (dict(POD), ends(0, 1, 2), second)]

    tracks = Tracks.none().merged(answer, 0, BLOCKS, 0)

    assert tracks[key_of(POD)][:3].tolist() == [0.25, 0.75, 0.5]
    assert len(tracks) == 1


def test_what_was_asked_for_is_replaced_and_what_lies_outside_is_dropped() -> None:
    known = Tracks.none().merged([(POD, ends(0, 1), np.array([0.25, 0.5]))], 0, BLOCKS, 0)

    fresh = known.merged([(POD, ends(1, BLOCKS), np.array([0.75, 1.0]))], 1, BLOCKS, 0)
    gone = known.merged([], 0, BLOCKS, 0)

    assert fresh[key_of(POD)][:2].tolist() == [0.25, 0.75]
    assert np.isnan(fresh[key_of(POD)][2:]).all()
    assert len(gone) == 0
    assert known[key_of(POD)][1] == 0.5


def test_times_of_samples_keep_their_seconds() -> None:
    tracks = Tracks.of_present([(POD, np.array([1.0]), np.array([1_795_632_601.0]))])

    assert tracks[key_of(POD)].tolist() == [1_795_632_601.0]

"""The image's tag, made from what is in the image, as Helm's `--set` reads it."""

import yaml

from testbed.kind.images import _content_tag


def test_no_content_makes_a_tag_that_helm_would_read_as_a_number() -> None:
    """Of 2,000 bare digests about seven are digits alone, and some read as 12e345."""
    tags = [_content_tag({"file": f"content {number}"}, {}, {}) for number in range(2_000)]
    assert all(isinstance(yaml.safe_load(tag), str) for tag in tags)
    assert len(set(tags)) == len(tags)

"""What the API server, or something in front of it, may answer: always a value or one of our three errors."""

from __future__ import annotations

from typing import Any

import pytest
from typing_extensions import override

from gpu_rightsizer.adapters.kube import KubeCluster, _checked
from gpu_rightsizer.ports import Conflict, Rejected, Unavailable, Version

SEEN = Version("InferenceDeployment", "inferencedeployments", "llm", "uid-1", "7", "chat")
POLICY = Version("RightsizingPolicy", "rightsizingpolicies", "team", "uid-2", "9")


@pytest.mark.parametrize("body", [b"[]", b'"ok"', b"null", b"7", b"<html>Log in</html>", b"{"])
def test_a_body_that_is_no_object_is_no_answer(body: bytes) -> None:
    with pytest.raises(Unavailable, match=r"answered GET /x with something that is no JSON object: .+"):
        _checked(200, body, "GET /x")


@pytest.mark.parametrize("body", [b"[]", b'"no"', b"null", b"404 page not found", b'{"message": "no"}', b""])
@pytest.mark.parametrize(("code", "kind"), [(403, Rejected), (409, Conflict)])
def test_an_error_keeps_its_code_whatever_its_body(body: bytes, code: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"^{code} GET /x: "):
        _checked(code, body, "GET /x")


@pytest.mark.parametrize(
    "body", [b"<pre>Authorization: Bearer s3cret</pre>", b'{"message": "you sent Bearer s3cret"}', b'"Bearer s3cret"']
)
@pytest.mark.parametrize(("code", "kind"), [(400, Rejected), (409, Conflict)])
def test_a_proxy_that_echoes_our_token_does_not_get_it_into_words(
    body: bytes, code: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=r"\[redacted\]") as caught:
        _checked(code, body, "GET /x")

    assert "s3cret" not in str(caught.value)


class Answering(KubeCluster):
    """Answers every request with the same body; `sent` are the bodies that came in, by path."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.sent: dict[str, Any] = {}

    @override
    async def request(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """As told."""
        self.sent[f"{method} {path}"] = more.get("body")
        return self.answer


@pytest.mark.parametrize("answer", [{"items": {}}, {"items": "x"}, {}, {"kind": "Status"}, {"items": None}])
async def test_a_list_without_items_is_not_an_empty_one(answer: dict[str, Any]) -> None:
    with pytest.raises(Unavailable, match="something that is no list"):
        await Answering(answer).list_objects("/api/v1/pods")


async def test_an_empty_list_of_metadata_has_null_for_items() -> None:
    listed = Answering({"kind": "PartialObjectMetadataList", "items": None})

    assert await listed.list_objects("/apis/apps/v1/replicasets", metadata_only=True) == []


async def test_who_wrote_which_field_is_let_go() -> None:
    pod = {"metadata": {"name": "llm-0", "managedFields": [{"manager": "kubelet"}]}}

    assert await Answering({"items": [pod]}).list_objects("/api/v1/pods") == [{"metadata": {"name": "llm-0"}}]


async def test_a_list_whose_metadata_is_null_ends_there() -> None:
    assert await Answering({"items": [{"a": 1}], "metadata": None}).list_objects("/api/v1/pods") == [{"a": 1}]


async def test_both_writes_carry_uid_and_version() -> None:
    cluster = Answering({"metadata": {"resourceVersion": "8"}})

    after = await cluster.apply_status(SEEN, {"a": "b"})
    await cluster.apply_annotations(after, {"x": "y"})

    path = "PATCH /apis/gpu-rightsizer.dev/v1alpha1/namespaces/chat/inferencedeployments/llm"
    status, annotations = cluster.sent[f"{path}/status"]["metadata"], cluster.sent[path]["metadata"]
    assert (status["uid"], status["resourceVersion"]) == ("uid-1", "7")
    assert (annotations["uid"], annotations["resourceVersion"]) == ("uid-1", "8")


async def test_what_has_no_namespace_is_written_without_one() -> None:
    cluster = Answering({"metadata": {"resourceVersion": "10"}})

    await cluster.apply_status(POLICY, {})

    ((path, body),) = cluster.sent.items()
    assert path == "PATCH /apis/gpu-rightsizer.dev/v1alpha1/rightsizingpolicies/team/status"
    assert (body["kind"], "namespace" in body["metadata"]) == ("RightsizingPolicy", False)

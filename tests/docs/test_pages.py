"""Every page: links lead somewhere, manifests are accepted, commands and targets exist, nothing is a machine's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpu_rightsizer.api.crd import crd_files
from gpu_rightsizer.api.read import read_inference_deployment, read_instance_class, read_policy
from gpu_rightsizer.cli.main import cli
from tests.docs.pages import PAGES, ROOT, anchors, blocks, links, name

READERS: dict[str, Callable[[Any], object]] = {
    "InferenceDeployment": read_inference_deployment,
    "InstanceClass": read_instance_class,
    "RightsizingPolicy": read_policy,
}
HEREDOC = re.compile(r"<<'?EOF'?\n(.*?)^EOF$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page

        assert there.exists(), f"{name(page)} links to {target}"
        assert there.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(there), f"{name(page)} links to {target}"


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every manifest of one of our kinds on a page, whether in a YAML block or fed to kubectl."""
    for page in PAGES:
        for block in blocks(page):
            texts = [block.text] if block.language == "yaml" else HEREDOC.findall(block.text)
            for text in texts:
                for document in yaml.safe_load_all(text):
                    if isinstance(document, dict) and document.get("apiVersion", "").startswith("gpu-rightsizer.dev/"):
                        yield name(page), document


MANIFESTS = list(manifests())


def test_the_pages_people_start_from_show_manifests() -> None:
    assert {page for page, _ in MANIFESTS} >= {"README.md", "docs/how-to/add-a-model-or-class.md"}


@pytest.mark.parametrize(("page", "manifest"), MANIFESTS, ids=[page for page, _ in MANIFESTS])
def test_a_manifest_on_a_page_is_accepted(page: str, manifest: dict[str, Any]) -> None:
    READERS[manifest["kind"]](manifest)  # raises InvalidSpec, with the field

    assert manifest["metadata"]["name"], page


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_make_target_on_a_page_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    named = set(re.findall(r"(?:`|^|=\w+ )make ([a-z][a-z0-9-]*)", page.read_text(), re.MULTILINE))

    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_command_and_its_options_on_a_page_exist(page: Path) -> None:
    for block in blocks(page):
        for command, rest in re.findall(r"^(?:\$ )?gpu-rightsizer (\w+)((?:[^\n\\|]|\\\n)*)", block.text, re.MULTILINE):
            known = {option for each in cli.commands[command].params for option in each.opts}

            assert set(re.findall(r"--[\w-]+", rest)) <= known, (name(page), command)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_chart_value_that_is_set_on_a_page_exists(page: Path) -> None:
    values = yaml.safe_load((ROOT / "helm/gpu-rightsizer/values.yaml").read_text())
    for block in blocks(page):
        for path in re.findall(r"--set(?:-string)? ([\w.]+)=", block.text):
            here: Any = values
            for key in path.split("."):
                assert key in here, (name(page), path)
                here = here[key]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_resource_or_file_that_kubectl_is_given_on_a_page_exists(page: Path) -> None:
    crds = [yaml.safe_load(text)["spec"] for text in crd_files().values()]
    ours = {f"{each['names']['plural']}.{each['group']}" for each in crds}
    for block in blocks(page):
        assert set(re.findall(r"\b\w+\.gpu-rightsizer\.dev\b", block.text)) <= ours
        for path in re.findall(r"kubectl [^\n]*-f ([\w./-]+)", block.text):
            assert path == "-" or (ROOT / path).exists(), (name(page), path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_page_holds_what_belongs_to_one_machine(page: Path) -> None:
    text = page.read_text()

    assert not re.search(r"(?<![\w.])/(?:work|root|home/\w+)/", text)
    assert "../shared" not in text

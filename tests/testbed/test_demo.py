"""What the demo prints for people who go on by themselves."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from testbed import demo


def test_what_keeps_running_is_told_in_words_to_copy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in ("kubectl", "helm"):
        program = tmp_path / f"of-{name}" / name
        program.parent.mkdir()
        program.touch(mode=0o755)
    monkeypatch.setattr(demo.tools, "program", lambda name: tmp_path / f"of-{name}" / name)
    on = SimpleNamespace(
        cluster=SimpleNamespace(admin_kubeconfig=Path("/tmp/x/admin.kubeconfig")),  # noqa: S108 - a name, nothing is written
        prometheus=SimpleNamespace(url="http://127.0.0.1:9090"),
        log_command=lambda: "tail -f /tmp/x/logs/operator.log",
        detach=lambda: [11, 22],
    )

    demo._keep(demo.Transcript(), on)  # type: ignore[arg-type] # what of a Ground it needs

    told = capsys.readouterr().out
    path = re.search(r" PATH=(\S+):\$PATH", told)
    assert path is not None
    assert all(shutil.which(name, path=path[1]) for name in ("kubectl", "helm"))
    assert "export KUBECONFIG=/tmp/x/admin.kubeconfig " in told
    for line in ("tail -f /tmp/x/logs/operator.log", "http://127.0.0.1:9090", "kill 11 22"):
        assert f"  {line}\n" in told

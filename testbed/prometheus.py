"""A real Prometheus as a local process: history pushed in, live targets scraped, queries for tests."""

import http.client
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias
from urllib.parse import urlencode, urlsplit

import yaml

from testbed import remote_write, tools
from testbed.processes import Process, ProcessDied, Processes, free_ports, remove_tree
from testbed.remote_write import Series

ATTEMPTS = 5
START_SECONDS = 60.0
QUERY_SECONDS = 60.0
SCRAPE_INTERVAL_SECONDS = 15.0
RETENTION = "30d"
OUT_OF_ORDER_WINDOW = "15d"  # lets history be pushed while scrapes go on; else 400 `out of bounds`

Json: TypeAlias = dict[str, Any]  # an answer of Prometheus' HTTP API, by its documentation


class QueryFailed(RuntimeError):
    """Prometheus answered with an error; the message is its own."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of an instant query; `time` in seconds since 1970."""

    labels: Mapping[str, str]
    time: float
    value: float


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets that share labels, "host:port" each."""

    addresses: Sequence[str]
    labels: Mapping[str, str] = field(default_factory=dict)

    def for_file_sd(self) -> Json:
        """The entry in a file_sd file."""
        return {"targets": list(self.addresses), "labels": dict(self.labels)}


@dataclass(slots=True)
class Job:
    """A scrape job; `honor_labels` makes the target's own labels win over ours (no `exported_` prefix)."""

    name: str
    honor_labels: bool = False
    scrape_interval_seconds: float | None = None
    metrics_path: str = "/metrics"
    groups: list[Targets] = field(default_factory=list)
    more: Json = field(default_factory=dict)
    """Further settings of the job as Prometheus' configuration has them, such as metric_relabel_configs."""

    def config(self, folder: Path) -> Json:
        """The entry in scrape_configs; targets come from a file, so that adding some needs no reload."""
        own: Json = {"job_name": self.name, "honor_labels": self.honor_labels, "metrics_path": self.metrics_path}
        if self.scrape_interval_seconds is not None:
            own["scrape_interval"] = _duration(self.scrape_interval_seconds)
            own["scrape_timeout"] = _duration(min(10.0, self.scrape_interval_seconds))
        # Prometheus reads the file, then starts to watch it; what is written in between only the interval catches.
        discovery = {"files": [str(folder / f"{self.name}.json")], "refresh_interval": "1s"}
        return {**own, "file_sd_configs": [discovery], **self.more}


class PrometheusServer:
    """Runs until closed. Lay history down with `push`, then `add_targets`: the live samples join without a gap."""

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        scrape_interval_seconds: float = SCRAPE_INTERVAL_SECONDS,
        flags: Sequence[str] = (),
        data: Path | None = None,
    ) -> None:
        """`host` is the address to listen on (a bridge's, for pods to reach it); `flags` come last on its command.

        `data` is a store's folder that was laid down before and stays; by default a new one, removed at the end.
        """
        self._host, self._interval, self._flags = host, scrape_interval_seconds, tuple(flags)
        tools.program("prometheus")
        self._folder = Path(tempfile.mkdtemp(prefix="gpu-rightsizer-prometheus-"))
        self._data = data or self._folder / "data"
        self._keep = False
        self._jobs: dict[str, Job] = {}
        self.logs = self._folder / "logs"
        self._targets = self._folder / "targets"
        self._targets.mkdir()
        self.config = self._folder / "prometheus.yml"
        self._write_config()
        self.processes = Processes(remove=[self._folder])
        try:
            self._start_on_free_port()
        except BaseException as error:
            self._keep = isinstance(error, Exception)  # not after Ctrl-C
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process and removes its folder; after `keep_logs` the logs stay."""
        self.processes.close()
        if not self._keep:
            remove_tree(self._folder)
            return
        for each in self._folder.iterdir():
            if each != self.logs:
                remove_tree(each)

    def keep_logs(self) -> Path:
        """Asks `close` to leave the logs in place; returns their folder."""
        self._keep = True
        return self.logs

    def detach(self) -> int:
        """Lets it outlive this process; SIGTERM to the returned pid ends it and removes its folder."""
        return self.processes.detach()

    # -- history ------------------------------------------------------------------------------------------------

    def push(self, series: Sequence[Series]) -> int:
        """Remote-writes the series, oldest first, up to 15 days back; returns the number of samples."""
        return remote_write.push(self.url, series)

    # -- scraping -----------------------------------------------------------------------------------------------

    def add_job(self, job: Job) -> None:
        """Adds a scrape job or replaces the one of that name, and reloads; scrapes start within 5 s of it."""
        self._jobs[job.name] = job
        self._write_targets(job)
        self.reload()

    def add_targets(self, job: str, *addresses: str, labels: Mapping[str, str] | None = None) -> None:
        """Adds targets ("host:port") with labels to a job, made with defaults if there is none of that name."""
        known = self._jobs.get(job)
        made = known or Job(job)
        made.groups.append(Targets(addresses, labels or {}))
        if known is None:
            self.add_job(made)
        else:
            self._write_targets(made)

    def remove_targets(self, job: str, *addresses: str) -> None:
        """Takes targets out of a job: their series end with a stale marker, as when an exporter is gone."""
        found = self._jobs[job]
        kept = [Targets([a for a in g.addresses if a not in addresses], g.labels) for g in found.groups]
        found.groups = [group for group in kept if group.addresses]
        self._write_targets(found)

    def reload(self) -> None:
        """Writes the configuration and has it read; raises QueryFailed when Prometheus refuses it."""
        self._write_config()
        self._ask("POST", "/-/reload")

    def targets(self) -> list[Json]:
        """The active targets, with `health`, `lastError` and `labels`."""
        found: list[Json] = self._json("/api/v1/targets?state=active")["data"]["activeTargets"]
        return found

    # -- asking -------------------------------------------------------------------------------------------------

    def query(self, promql: str, *, at_seconds: float | None = None) -> list[Sample]:
        """An instant query, now or at a time in seconds since 1970; a scalar comes as one sample without labels."""
        asked = {"query": promql} if at_seconds is None else {"query": promql, "time": repr(at_seconds)}
        data = self._json(f"/api/v1/query?{urlencode(asked)}")["data"]
        if data["resultType"] == "scalar":
            return [_sample({}, data["result"])]
        return [_sample(row["metric"], row["value"]) for row in data["result"]]

    def query_range(
        self, promql: str, *, start_seconds: float, end_seconds: float, step_seconds: float
    ) -> list[list[Sample]]:
        """A range query: the points of each series."""
        asked = {"query": promql, "start": repr(start_seconds), "end": repr(end_seconds), "step": repr(step_seconds)}
        rows = self._json(f"/api/v1/query_range?{urlencode(asked)}")["data"]["result"]
        return [[_sample(row["metric"], value) for value in row["values"]] for row in rows]

    def raw_samples(self, selector: str, *, seconds: float, at_seconds: float | None = None) -> list[list[Sample]]:
        """The stored samples of the last `seconds`, not interpolated: a range selector as an instant query."""
        asked = {"query": f"{selector}[{math.ceil(seconds)}s]"}
        if at_seconds is not None:
            asked["time"] = repr(at_seconds)
        rows = self._json(f"/api/v1/query?{urlencode(asked)}")["data"]["result"]
        return [[_sample(row["metric"], value) for value in row["values"]] for row in rows]

    # -- inside -------------------------------------------------------------------------------------------------

    def _start_on_free_port(self) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            (port,) = free_ports(1, self._host)
            self.url = f"http://{self._host}:{port}"
            process = self._start(port)
            try:
                self.processes.ready(process, self._is_ready, seconds=START_SECONDS)
            except ProcessDied as died:
                if attempt == ATTEMPTS or not died.port_was_taken:
                    raise
                died.log.unlink()
            else:
                return

    def _start(self, port: int) -> Process:
        flags = (
            f"--config.file={self.config}",
            f"--storage.tsdb.path={self._data}",
            f"--storage.tsdb.retention.time={RETENTION}",
            f"--web.listen-address={self._host}:{port}",
            "--web.enable-lifecycle",
            "--web.enable-remote-write-receiver",
            *self._flags,
        )
        log = self.logs / "prometheus.log"
        return self.processes.start("prometheus", [tools.program("prometheus"), *flags], log=log, cwd=self._folder)

    def _is_ready(self) -> bool:
        try:
            self._ask("GET", "/-/ready")
        except (OSError, http.client.HTTPException, QueryFailed):
            return False
        return True

    def _write_config(self) -> None:
        config = {
            "global": {
                "scrape_interval": _duration(self._interval),
                "scrape_timeout": _duration(min(10.0, self._interval)),
            },
            "storage": {"tsdb": {"out_of_order_time_window": OUT_OF_ORDER_WINDOW}},
            "scrape_configs": [job.config(self._targets) for job in self._jobs.values()],
        }
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    def _write_targets(self, job: Job) -> None:
        path = self._targets / f"{job.name}.json"
        fresh = path.with_suffix(".fresh")
        fresh.write_text(json.dumps([group.for_file_sd() for group in job.groups]))
        fresh.rename(path)  # in one step: Prometheus watches the file

    def _json(self, path: str) -> Json:
        answer: Json = json.loads(self._ask("GET", path))
        return answer

    def _ask(self, method: str, path: str) -> bytes:
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=QUERY_SECONDS)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status >= http.HTTPStatus.MULTIPLE_CHOICES:
            raise QueryFailed(f"{method} {path}: {answer.status} {body.decode(errors='replace')[:1000]}")
        return body


def _sample(labels: Mapping[str, str], value: Sequence[Any]) -> Sample:
    """From `[time, "value"]`, the value being a text that may be NaN or +Inf."""
    return Sample(labels, float(value[0]), float(value[1]))


def _duration(seconds: float) -> str:
    """Prometheus' notation, which knows no fractions."""
    return f"{round(seconds * 1000)}ms"

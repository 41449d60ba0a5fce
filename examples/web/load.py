"""A load generator, with reloads and without: ``python load.py [--reloads 200] [--clients 8]``.

Prints a table of the clients' results; the exit code is 1 if a request failed or an answer mixed versions.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

HERE = Path(__file__).parent
PATIENCE = 30.0  # seconds for one answer, and for a reload to be seen
PATHS = ("/", "/slow")  # in turns


class Seen(NamedTuple):
    """One answer."""

    path: str
    seconds: float
    versions: frozenset[int]
    """The versions that the answer's parts name; empty if the request failed."""
    problem: str


class Clients:
    """Threads that send one request after the other, each thread over its own connection."""

    def __init__(self, address: str, number: int) -> None:
        self._address = urlsplit(address).netloc
        self._seen: list[list[Seen]] = [[] for _ in range(number)]
        self._newest = 0
        self._came = threading.Condition()
        self._is_over = False
        self._threads = [threading.Thread(target=self._ask, args=(seen,)) for seen in self._seen]

    def start(self) -> None:
        """Start the requests."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[Seen]:
        """Stop the requests, and return every answer."""
        self._is_over = True
        for thread in self._threads:
            thread.join()
        return [answer for seen in self._seen for answer in seen]

    def wait_for(self, version: int) -> bool:
        """Wait until an answer has this ``version``."""
        with self._came:
            return self._came.wait_for(lambda: self._newest >= version, PATIENCE)

    def _ask(self, seen: list[Seen]) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=PATIENCE)
        while not self._is_over:
            answer = _get(connection, PATHS[len(seen) % len(PATHS)])
            seen.append(answer)
            if answer.versions and max(answer.versions) > self._newest:
                with self._came:
                    self._newest = max(self._newest, *answer.versions)
                    self._came.notify_all()
        connection.close()


def _get(connection: http.client.HTTPConnection, path: str) -> Seen:
    started = time.perf_counter()
    versions: frozenset[int] = frozenset()
    problem = ""
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status == http.HTTPStatus.OK:
            headers = response.headers["x-versions"].split(",")
            versions = frozenset([*json.loads(body)["versions"], *map(int, headers)])
        else:
            problem = f"{response.status} {body[:200]!r}"
    except (OSError, http.client.HTTPException, ValueError, LookupError, AttributeError) as error:
        problem = repr(error)  # no answer, or an invalid one
        connection.close()  # the next request opens it again
    return Seen(path, time.perf_counter() - started, versions, problem)


@contextmanager
def _server(plugins: Path) -> Iterator[str]:
    command = [sys.executable, str(HERE / "server.py"), "--plugins", str(plugins), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def _reload(plugins: Path, number: int, clients: Clients) -> int:
    """Save this many new versions, each when the previous one has been seen; return how many were seen."""
    for version in range(2, number + 2):
        text = f'"""What the pages say."""\n\nVERSION = {version}\n'
        (plugins / "pages" / "texts.py").write_text(text)
        if not clients.wait_for(version):
            return version - 2
    return number


def _row(title: str, answers: list[Seen], reloads: int, seconds: float) -> str:
    failed = sum(1 for answer in answers if answer.problem)
    mixed = sum(1 for answer in answers if len(answer.versions) > 1)
    cells = [title, str(reloads), str(len(answers)), str(failed), str(mixed), f"{len(answers) / seconds:.0f}"]
    for path in PATHS:
        cuts = statistics.quantiles([answer.seconds for answer in answers if answer.path == path], n=100)
        cells += [f"{cuts[49] * 1000:.1f}", f"{cuts[98] * 1000:.1f}"]
    return f"| {' | '.join(cells)} |"


def measure(reloads: int, clients_number: int) -> tuple[list[str], bool]:
    """Send requests during reloads, then as long without; return the table, and whether all was well."""
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        plugins = Path(shutil.copytree(HERE / "plugins", Path(folder, "plugins")))
        with _server(plugins) as address:
            clients = Clients(address, clients_number)
            clients.start()
            clients.wait_for(1)
            started = time.perf_counter()
            seen = _reload(plugins, reloads, clients)
            seconds = time.perf_counter() - started
            beside = clients.stop()
            clients = Clients(address, clients_number)
            clients.start()
            threading.Event().wait(seconds)
            without = clients.stop()
    answers = beside + without
    is_well = seen == reloads and all(len(answer.versions) == 1 for answer in answers)
    titles = ["run", "reloads", "requests", "failed", "mixed", "a second"]
    titles += [f"{path} {name} ms" for path in PATHS for name in ("p50", "p99")]
    table = [f"| {' | '.join(titles)} |", f"|{'---|' * len(titles)}"]
    table += [_row("with reloads", beside, seen, seconds), _row("without", without, 0, seconds)]
    table += sorted({f"{answer.path}: {answer.problem}" for answer in answers if answer.problem})
    return table, is_well


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--reloads", type=int, default=200)
    options.add_argument("--clients", type=int, default=8)
    given = options.parse_args()
    lines, is_well = measure(given.reloads, given.clients)
    sys.stdout.write("\n".join(lines) + "\n")
    sys.exit(0 if is_well else 1)

"""How many requests a learning step sends to an MLflow server.

Each costs a round trip, and with MLflow's own authentication half a second: the server hashes the
password each time.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from perdure.flows.retrain import retrain
from tests.promises import kit
from tests.tasks.server_kit import Server

MOST = 105
"""101 today; a third of them are uploads of the files of a version, and of figures."""


def test_requests_of_one_learning_step(tmp_path: Path) -> None:
    (tmp_path / "mlflow").mkdir()
    server = Server(tmp_path / "mlflow")
    try:
        server.wait()
        tracking = f'[tracking]\nuri = "{server.uri}"\n'
        root = kit.make(tmp_path / "workspace", rows=60, more=tracking)
        retrain.fn(str(root))
        kit.ingest(root, kit.table(2, 60))
        before = len(server.log.read_text())
        [learned] = retrain.fn(str(root)).learned
        assert learned.version == 2
    finally:
        server.stop()
    sent = re.findall(r'"([A-Z]+ /[^ ?]*)\S* HTTP', server.log.read_text()[before:])
    counts = Counter(re.sub(r"[0-9a-f]{32}", "ID", one) for one in sent)
    assert len(sent) <= MOST, "\n".join(f"{n} {one}" for one, n in counts.most_common())

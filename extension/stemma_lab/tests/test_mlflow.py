"""The MLflow server that the lab links to."""

import asyncio
import sys
import time

from house import House

from stemma_lab import mlflow_server
from stemma_lab.mlflow_server import MlflowServer

# Answers /health after a moment, as MLflow does.
SERVER = """
import http.server, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""


async def test_started_on_demand(house: House, call, monkeypatch) -> None:
    began = []

    def command(port: int) -> list[str]:
        began.append(port)
        return [sys.executable, "-c", SERVER, str(port)]

    monkeypatch.setattr(mlflow_server, "_command", command)
    assert (await call("stemma/mlflow"))[1]["url"] is None
    assert began == []
    status, answer = await call("stemma/mlflow", {})
    assert status == 200
    deadline = time.monotonic() + 60
    while answer["url"] is None:
        assert answer["message"] == "starting"
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
        _, answer = await call("stemma/mlflow")
    assert answer == {"url": f"http://127.0.0.1:{began[0]}", "own": True, "message": ""}
    await call("stemma/mlflow", {})
    assert len(began) == 1


async def test_it_ends_with_the_server(house: House, monkeypatch) -> None:
    monkeypatch.setattr(
        mlflow_server, "_command", lambda port: [sys.executable, "-c", SERVER, str(port)]
    )
    server = MlflowServer("", 0)
    await server.start()
    process = server._own
    server.stop()
    assert process.poll() is not None
    assert (await server.state()).message == "no MLflow server runs yet"


async def test_one_that_fails_says_where_to_look(house: House, monkeypatch) -> None:
    monkeypatch.setattr(mlflow_server, "_command", lambda _port: [sys.executable, "-c", "1/0"])
    server = MlflowServer("", 0)
    await server.start()
    server._own.wait()
    state = await server.state()
    assert state.url is None
    assert "mlflow-server.log" in state.message
    assert "ZeroDivisionError" in (house.runs / "mlflow-server.log").read_text()


async def test_a_given_server_that_does_not_answer(house: House) -> None:
    server = MlflowServer("http://me:secret@127.0.0.1:9/", 0)
    state = await server.start()
    assert state.url is None
    assert "no MLflow server at" in state.message
    assert "secret" not in state.message
    assert server._own is None

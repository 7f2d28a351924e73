"""The server part of Stemma's JupyterLab extension."""

from pathlib import Path

from jupyter_server.extension.application import ExtensionApp
from jupyter_server.serverapp import ServerApp
from traitlets import Float, Int, List, Unicode

from stemma_lab import provenance, routes
from stemma_lab.activity import Activity, register
from stemma_lab.places import Places
from stemma_lab.services import Services


class StemmaLab(ExtensionApp):
    """Tells the lab of papers and runs, and starts them; nothing runs in Jupyter's own process."""

    name = "stemma_lab"
    handlers = routes.handlers + provenance.handlers

    mlflow_url = Unicode(
        "",
        help="Address of a running MLflow server. Empty: MLFLOW_TRACKING_URI if that is a server,"
        " else a server is started on demand.",
    ).tag(config=True)
    mlflow_port = Int(
        0, min=0, max=65535, help="Port of the MLflow server that is started; 0: a free one."
    ).tag(config=True)
    model_roots = List(
        Unicode(),
        help="Folders, besides the runs and the notebooks, in which tests of descent may read"
        " transcripts, models and texts.",
    ).tag(config=True)
    poll_seconds = Float(
        0.25, min=0.05, help="Seconds between two looks at the batches that run, for live progress."
    ).tag(config=True)

    def initialize_settings(self) -> None:
        """Make the services and tell the event bus what our events look like."""
        server = self.serverapp
        assert server is not None
        self.services = Services.make(
            Path(server.root_dir), mlflow_url=self.mlflow_url, mlflow_port=self.mlflow_port
        )
        self.settings["stemma_lab_services"] = self.services
        self.settings[provenance.MODEL_ROOTS] = list(self.model_roots)
        assert server.event_logger is not None
        register(server.event_logger)
        places = Places.of(server.root_dir, self.model_roots)
        self.activity = Activity(server.event_logger, self.poll_seconds, places)

    async def _start_jupyter_server_extension(self, _server: ServerApp) -> None:
        self.activity.start()

    async def stop_extension(self) -> None:
        """End what belongs to the server; runners and runs go on."""
        await self.activity.stop()
        self.services.mlflow.stop()

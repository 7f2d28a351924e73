"""The experiments: one a paper, and one for the batches."""

import time
from typing import TYPE_CHECKING

from stemma import catalog
from stemma.catalog import Paper
from stemma.errors import CatalogError
from stemma.tracking import content, store, views

if TYPE_CHECKING:
    from mlflow import MlflowClient


def get_experiment(client: "MlflowClient", uri: str, slug: str) -> str:
    """Return the id of ``stemma/<slug>``; create it, or restore it if it was deleted."""
    from mlflow.exceptions import MlflowException

    name = content.PREFIX + slug
    found = client.get_experiment_by_name(name)
    if found is None:
        root = store.artifact_root(uri)
        location = None if root is None else (root / slug).as_uri()
        try:
            return _create(client, name, location, slug)
        except MlflowException:
            # Another machine may have been faster; the lock covers this one only.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _create(client: "MlflowClient", name: str, location: str | None, slug: str) -> str:
    paper = _paper(slug)
    tags = {} if slug == content.BATCHES else {"stemma.slug": slug}
    if paper is not None or slug == content.BATCHES:
        tags |= views.view_tag(paper, content.milliseconds(time.time()))
    experiment_id = str(client.create_experiment(name, location, tags))
    # The links need the id.
    client.set_experiment_tag(experiment_id, content.NOTE, _note(experiment_id, slug, paper))
    return experiment_id


def _paper(slug: str) -> Paper | None:
    try:
        return catalog.load(slug)
    except CatalogError:  # the batches, or a run of a paper that has left the catalog
        return None


def _note(experiment_id: str, slug: str, paper: Paper | None) -> str:
    table, charts = views.table_link(experiment_id), views.charts_link(experiment_id)
    if slug == content.BATCHES:
        return f"One run a batch of `stemma run`, with links to its runs.\n\n[All batches]({table})"
    if paper is None:
        return f"{slug} is not in the catalog any more."
    return (
        f"{paper.title} ({paper.year})\n\n"
        f"[Verdicts]({table}) · [claims as charts]({charts})"
        f" · [arXiv:{paper.arxiv}](https://arxiv.org/abs/{paper.arxiv})\n\n{paper.summary}"
    )

"""All that touches MLflow. One process of a batch writes to it: the follower.

Workers and notebooks append to their run's folder; the follower's ``Tracker`` tails it. MLflow is a
view of the folders, and ``sync`` rebuilds it by the same code. Importing this package does not
import MLflow.
"""

from stemma.tracking.store import (
    artifact_root,
    check_reachable,
    environment,
    home_link,
    run_link,
    tracking_uri,
    ui_command,
)
from stemma.tracking.sync import sync
from stemma.tracking.tracker import Tracker

__all__ = [
    "Tracker",
    "artifact_root",
    "check_reachable",
    "environment",
    "home_link",
    "run_link",
    "sync",
    "tracking_uri",
    "ui_command",
]

"""The registry: which versions of each model are wanted, what each worker has of them, and who changed what."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from bento_service.domain.registry import Agreement, Change, Comparison, Deployment, WorkerReport

Transform = Callable[[Deployment | None], Deployment]
"""Takes a model's deployment, or None where there is none, and returns the one to have; it may raise instead."""


class RegistryStore(Protocol):
    """The registry in a database that all workers and replicas share. Thread-safe.

    Every method raises `JournalUnavailableError` where the database cannot be used now.
    """

    def migrate(self) -> None:
        """Bring the database's schema up to date."""

    def revision(self) -> int:
        """Return the revision of the last change, 0 before the first one; cheap enough to ask twice a second."""

    def deployments(self) -> Mapping[str, Deployment]:
        """Return every deployment by its model's name."""

    def change(
        self, name: str, transform: Transform, *, action: str, version: str, actor: str, is_retry: bool = False
    ) -> Deployment:
        """Replace a deployment and write the change down, in one transaction; return the new deployment.

        Changes run one after the other across all processes, so that each sees what the one before left. A deployment
        that stays as it is keeps its revision, unless `is_retry`; where `transform` raises, nothing changes.
        """

    def changes(self, name: str, *, limit: int) -> tuple[Change, ...]:
        """Return the last changes of a model, newest first."""

    def report(self, report: WorkerReport) -> None:
        """Replace what a worker has reported; due again before `REPORT_VALID_S` have passed."""

    def withdraw(self, worker_id: str) -> None:
        """Forget a worker that ends."""

    def workers(self) -> tuple[WorkerReport, ...]:
        """Return what each worker that lives has reported last."""

    def add_comparisons(self, comparisons: Sequence[Comparison]) -> None:
        """Store comparisons of a shadow with the champion."""

    def agreement(self, name: str, version: str, challenger: str) -> Agreement:
        """Return how often two versions agreed, of the comparisons that are kept."""

    def close(self) -> None:
        """Close the connections. The store is not used after."""


REPORT_VALID_S = 10.0
"""A worker that has not reported for this long is taken for dead."""

"""Weights by their id on the Hugging Face hub, ``owner/name`` or ``owner/name@revision``, through its local cache.

``huggingface_hub`` keeps what it fetches (``HF_HOME``) and asks no network under ``HF_HUB_OFFLINE=1``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from geotrap_cli.errors import GeotrapError, UsageError

_ID: Final = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[^@\s]+))?")
_FILE_SUFFIXES: Final = (".safetensors", ".pth", ".bin", ".ckpt")


@dataclass(frozen=True)
class HubId:
    """A repository of weights.

    Attributes:
        repo: ``owner/name``.
        revision: Branch, tag or commit; None: the main branch.
    """

    repo: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubId | None:
        """Return the id that ``text`` is; None where it can only be a path."""
        found = _ID.fullmatch(text)
        if found is None or text.endswith(_FILE_SUFFIXES):
            return None
        return cls(found["repo"], found["revision"])

    def __str__(self) -> str:
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"


class HubFiles:
    """Files of one repository, fetched one by one.

    Args:
        id: The repository.
    """

    def __init__(self, id: HubId) -> None:
        self.id = id
        # The first file that cannot be reached costs many attempts; the others are looked up in the cache alone.
        self._unreachable = False

    def find(self, name: str) -> Path | None:
        """Return a file of the repository; None where it has none of that name, or none that can be had.

        Raises:
            UsageError: There is no such repository or revision, or it is closed to the caller.
            GeotrapError: The hub answers with an error.
        """
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

        try:
            found = hf_hub_download(self.id.repo, name, revision=self.id.revision, local_files_only=self._unreachable)
        except LocalEntryNotFoundError:
            self._unreachable = True
            return None
        except EntryNotFoundError:
            return None
        except HfHubHTTPError as error:
            raise _explained(self.id, error) from error
        return Path(found)

    def first(self, names: Sequence[str]) -> Path | None:
        """Return the first of ``names`` that the repository has; errors as in ``find``."""
        return next((path for name in names if (path := self.find(name)) is not None), None)

    def missing(self, wanted: str) -> UsageError:
        """Return the error for a repository in which nothing fits.

        Args:
            wanted: What would fit.
        """
        if not self._unreachable:
            what = f"{self.id} on the hub holds no weights that fit ({wanted})"
            return UsageError(what, hint="Check model.family and model.preset, or download a file and name its path.")
        hint = "Connect once, unset HF_HUB_OFFLINE, or name a local file or folder."
        what = f"{self.id} is no local path, and no weights that fit ({wanted}) are in the cache of the hub, "
        return UsageError(f"{what}which cannot be reached", hint=hint)


def _explained(id: HubId, error: Exception) -> GeotrapError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        return UsageError(f"{id} on the hub is gated", hint="Ask for access on its page, then run `hf auth login`.")
    if isinstance(error, RevisionNotFoundError):
        return UsageError(f"{id.repo} on the hub has no revision {id.revision}", hint="Name a branch, tag or commit.")
    if isinstance(error, RepositoryNotFoundError):
        hint = "Check the spelling; a private repository needs `hf auth login`."
        return UsageError(f"{id} is neither a local path nor a repository on the hub", hint=hint)
    first = " ".join(str(error).split())[:200]
    return GeotrapError(f"The hub cannot give {id}: {first}", hint="Try again later, or name a local file or folder.")

"""A mapper that remembers nothing: every search is made anew."""

from __future__ import annotations

import pytest

from uarch.files.derived import Store


def forget_mappings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every store of mappings forget what it is given; other derived data stay."""
    recall = Store.recall

    def recall_others(store: Store[object], key: str) -> object | None:
        return None if store.name.endswith("mappings") else recall(store, key)

    monkeypatch.setattr(Store, "recall", recall_others)

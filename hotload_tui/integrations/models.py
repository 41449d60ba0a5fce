"""Mapped classes, which SQLAlchemy and Django register when the class statement runs.

A version of a plugin is imported before the previous one leaves, so its classes must not reach the program's
registry at import. They go into a registry of their own, and the swap publishes them::

    Base = plugin_base(app.Base)          # SQLAlchemy

    class Note(Base): ...

    def register(ctx):
        own_models(ctx, Base)

    with staged_models("notes") as models:          # Django
        class Note(Model): ...

    def register(ctx):
        own_models(ctx, models)
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self, TypeVar, cast

from hotload_tui.core.runtime.context import PluginContext

if TYPE_CHECKING:
    from sqlalchemy import MetaData
    from sqlalchemy.orm import DeclarativeBase

    _Base = TypeVar("_Base", bound=DeclarativeBase)


def own_models(ctx: PluginContext, models: type[DeclarativeBase] | StagedModels) -> None:
    """Publish the models of ``plugin_base`` or ``staged_models`` while this version is live.

    Tables in the database are the task of the program: a reload changes none.

    Raises:
        RegisterError: as ``ctx.own``.

    """
    if isinstance(models, StagedModels):
        label = models.label
        ctx.own(f"models {label}", models.publish, StagedModels.withdraw, replace=models.publish_instead)
    else:
        base, at = models, _metadata_above(models)
        ctx.own(
            f"models of {base.__bases__[0].__module__}.{base.__bases__[0].__qualname__}",
            lambda: _publish(base, at),
            lambda keys: _withdraw(keys, at),
        )
        ctx.on_unload(lambda: _dispose(base))


# ---- SQLAlchemy


def plugin_base(base: type[_Base]) -> type[_Base]:
    """Return a declarative base with the settings and mixins of ``base``, for one version of a plugin.

    Its classes have their own ``MetaData`` and registry. They can name the classes of ``base``
    (``relationship("User")``); a foreign key to a table of ``base`` names the column,
    ``ForeignKey(User.id)``.

    Raises:
        TypeError: ``base`` is no subclass of ``DeclarativeBase`` or ``DeclarativeBaseNoMeta``.

    """
    from sqlalchemy import MetaData
    from sqlalchemy.orm import DeclarativeBase, DeclarativeBaseNoMeta, registry

    kinds: list[type] = [DeclarativeBase, DeclarativeBaseNoMeta]
    kind = next((each for each in kinds if each in base.__mro__), None)
    if kind is None:
        raise TypeError("plugin_base needs a subclass of DeclarativeBase, not a class of declarative_base()")
    above = base.metadata
    classes = {mapper.class_.__name__: mapper.class_ for mapper in base.registry.mappers}
    own = registry(
        metadata=MetaData(schema=above.schema, naming_convention=above.naming_convention),
        class_registry=weakref.WeakValueDictionary(classes),
        type_annotation_map=base.registry.type_annotation_map,
        constructor=base.registry.constructor,
    )
    # A class directly below DeclarativeBase is a new base, which inherits the rest from the program's base.
    return cast(
        "type[_Base]",
        types.new_class(
            "Base", (base, kind), exec_body=lambda names: names.update(registry=own, type_annotation_map=None)
        ),
    )


def _metadata_above(base: type[DeclarativeBase]) -> MetaData:
    """Return the metadata of the program's base."""
    for above in base.__mro__[1:]:
        found = vars(above).get("metadata")
        if found is not None and found is not base.metadata:
            return cast("MetaData", found)
    raise ValueError("own_models needs a base of plugin_base(…)")


def _publish(base: type[DeclarativeBase], at: MetaData) -> list[str]:
    """Copy tables into the program's metadata; return their keys."""
    tables = base.metadata.tables
    for key in tables:
        if key in at.tables:
            raise ValueError(f"the program's MetaData has a table '{key}' already, from other code")
    base.registry.configure(cascade=True)  # finds mistakes in relationships
    for table in tables.values():
        table.to_metadata(at)
    return [*tables]


def _withdraw(keys: list[str], at: MetaData) -> None:
    for key in keys:
        at.remove(at.tables[key])


def _dispose(base: type[DeclarativeBase]) -> None:
    """Remove what SQLAlchemy keeps of classes that no call uses any more."""
    gone = base.registry.mappers
    related = {prop.mapper for mapper in gone if mapper.configured for prop in mapper.relationships}
    base.registry.dispose()
    # SQLAlchemy 2.0 and 2.1 note each relationship in the mapper of the other class, and offer no way back.
    for mapper in related - gone:
        noted: list[object] | None = getattr(mapper, "_dependency_processors", None)
        if noted is not None:
            noted[:] = [each for each in noted if getattr(each, "parent", None) not in gone]


# ---- Django

_PUBLISHED: Final[weakref.WeakSet[type]] = weakref.WeakSet()  # the models of live versions


class StagedModels:
    """The Django models of one version of a plugin, outside Django's registry until they are published."""

    def __init__(self, label: str) -> None:
        self.label = label
        """The ``app_label`` of the models."""
        self.models: dict[str, type] = {}
        """The models by their names in lower case."""
        self._accessors: dict[tuple[type, str], object] = {}
        self._kept: tuple[dict[str, type], dict[tuple[type, str], object]] | None = None

    def __enter__(self) -> Self:
        live = self._live()
        self._kept = live, _accessors(live)
        others = {name: model for name, model in live.items() if model not in _PUBLISHED}
        _registry().all_models[self.label] = others
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._kept is not None
        live, accessors = self._kept
        self._kept = None
        staged = self._live()
        self.models = {name: model for name, model in staged.items() if live.get(name) is not model}
        self._accessors = _accessors(self.models)
        _registry().all_models[self.label] = live
        _set_accessors(self._accessors, accessors)
        _registry().clear_cache()

    def publish(self) -> Self:
        """Put the models into Django's registry; raises ``ValueError`` if it has one of the names."""
        return self.publish_instead(None)

    def publish_instead(self, previous: StagedModels | None) -> Self:
        """Put the models into Django's registry in the place of another version's."""
        live = self._live()
        gone = previous.models if previous else {}
        for name in self.models:
            if name in live and live[name] is not gone.get(name):
                raise ValueError(f"the app '{self.label}' has a model '{name}' already, from other code")
        live.update(self.models)
        for name in gone.keys() - self.models.keys():
            del live[name]
        _PUBLISHED.difference_update(gone.values())
        _PUBLISHED.update(self.models.values())
        _set_accessors(previous._accessors if previous else {}, self._accessors)  # noqa: SLF001 - another one
        _registry().clear_cache()
        return self

    def withdraw(self) -> None:
        """Take the models out of Django's registry."""
        StagedModels(self.label).publish_instead(self)

    def _live(self) -> dict[str, type]:
        return _registry().all_models[self.label]


def staged_models(label: str) -> StagedModels:
    """Return a context in which the Django models of an app label are defined or imported.

    Each model names the label in its ``Meta``. After the block, Django does not know them yet.
    """
    return StagedModels(label)


class _Apps(Protocol):
    """Django's registry, which has no types."""

    all_models: dict[str, dict[str, type]]

    def clear_cache(self) -> None:
        """Forget what was computed from the models."""
        ...


def _registry() -> _Apps:
    from django.apps import apps

    return cast("_Apps", apps)


def _accessors(models: dict[str, type]) -> dict[tuple[type, str], object]:
    """Return the attributes that foreign keys of models have set on other models, such as ``note_set``."""
    found = {}
    for model in models.values():
        for other, name in _relations(model):
            if name in vars(other):
                found[other, name] = vars(other)[name]
    return found


def _relations(model: type) -> Iterator[tuple[type, str]]:
    from django.db.models import ForeignObjectRel

    options = vars(model)["_meta"]
    for field in (*options.local_fields, *options.local_many_to_many):
        relation = field.remote_field
        if isinstance(relation, ForeignObjectRel) and isinstance(relation.model, type):
            yield relation.model, relation.get_accessor_name() or ""


def _set_accessors(previous: dict[tuple[type, str], object], new: dict[tuple[type, str], object]) -> None:
    for other, name in previous.keys() - new.keys():
        delattr(other, name)
    for (other, name), accessor in new.items():
        setattr(other, name, accessor)

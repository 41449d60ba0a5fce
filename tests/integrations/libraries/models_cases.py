from __future__ import annotations

from typing import ClassVar

import pytest
from sqlalchemy import MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, declarative_base, mapped_column

from hotload_tui.core.faults import LEFT_BEHIND
from hotload_tui.core.model import PluginState
from hotload_tui.integrations.models import own_models, plugin_base
from tests.integrations.conftest import Program, django_is_set_up

NOTE = """
from hotload_tui.integrations.models import own_models, plugin_base
from program import Base as ProgramBase, User
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

Base = plugin_base(ProgramBase)

class Note(Base):
    __tablename__ = "{table}"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))
    {more}

def register(ctx):
    own_models(ctx, Base)
    ctx.hook("described", lambda: Note(id=1).describe())
"""


def note(more: str = "pass", table: str = "note") -> str:
    """Return a plugin with a model of SQLAlchemy."""
    return NOTE.format(more=more, table=table)


@pytest.fixture
def metadata(program: Program) -> MetaData:
    """Return the metadata of a program with one model and a base with a method and a naming convention."""

    class Base(DeclarativeBase):
        metadata = MetaData(naming_convention={"pk": "key_of_%(table_name)s"})
        type_annotation_map: ClassVar = {str: String(20)}

        def describe(self) -> str:
            return f"{type(self).__name__} {vars(self)['id']}"

    class User(Base):
        __tablename__ = "user"
        id: Mapped[int] = mapped_column(primary_key=True)

    program.Base, program.User = Base, User
    return Base.metadata


def test_models_share_what_the_programs_base_defines(program: Program, metadata: MetaData) -> None:
    """A plugin's models have the methods, types and naming convention of the program's base."""
    assert program.save(note("text: Mapped[str]")) is PluginState.OK
    assert str(metadata.tables["note"].c.text.type) == "VARCHAR(20)"
    assert program.running.host.call("described") == ["Note 1"]
    assert metadata.tables["note"].primary_key.name == "key_of_note"
    (key,) = metadata.tables["note"].foreign_keys
    assert key.column is metadata.tables["user"].c.id


def test_models_may_be_dataclasses(program: Program) -> None:
    """A base whose models are dataclasses gives the plugin dataclasses, too."""

    class Base(MappedAsDataclass, DeclarativeBase):
        pass

    program.Base = Base
    source = (
        "from hotload_tui.integrations.models import own_models, plugin_base\nfrom program import Base\n"
        "from sqlalchemy.orm import Mapped, mapped_column\n"
        "Base = plugin_base(Base)\n"
        "class Note(Base):\n    __tablename__ = 'note'\n"
        "    id: Mapped[int] = mapped_column(primary_key=True)\n"
        "def register(ctx):\n    own_models(ctx, Base)\n    ctx.hook('note', lambda: repr(Note({})))\n"
    )
    for number in ("1", "id=2"):
        assert program.save(source.format(number)) is PluginState.OK
        assert program.running.host.call("note") == [f"Note(id={number[-1]})"]


def test_a_mistake_in_a_relationship_is_a_fault(program: Program, metadata: MetaData) -> None:
    """SQLAlchemy resolves relationships late; the plugin fails at the swap, and the old models stay."""
    program.save(note("first: Mapped[int | None]"))
    assert program.save(note('user: Mapped[User] = relationship("Usr")')) is PluginState.STALE
    assert "Usr" in program.problem()
    assert "first" in metadata.tables["note"].c


def test_a_table_of_the_program_is_not_replaced(program: Program, metadata: MetaData) -> None:
    """A plugin cannot take a table's name from the program."""
    user = metadata.tables["user"]
    assert program.save(note(table="user")) is PluginState.FAIL
    assert "'user'" in program.problem()
    assert metadata.tables["user"] is user


def test_a_base_of_the_program_is_refused(program: Program, metadata: MetaData) -> None:
    """``own_models`` needs a base of ``plugin_base``: other models are in the program's metadata at once."""
    assert [*metadata.tables] == ["user"]
    with pytest.raises(ValueError, match="plugin_base"):
        own_models(None, program.Base)  # type: ignore[arg-type] # not reached


def test_an_old_base_is_refused() -> None:
    """``plugin_base`` says which bases it takes."""
    with pytest.raises(TypeError, match="DeclarativeBase"):
        plugin_base(declarative_base())


# ---- Django

POLLS = """
from hotload_tui.integrations.models import own_models, staged_models
from program import site

with staged_models("surveys") as staged:
    from .models import {names}

def register(ctx):
    own_models(ctx, staged)
    ctx.own("admin", lambda: site.register(Survey), lambda: site.unregister(Survey))
    ctx.hook("models", lambda: [{names}])
"""

MODELS = """
from django.contrib.auth.models import Group
from django.db import models

class Survey(models.Model):
    groups = models.ManyToManyField(Group)
    class Meta:
        app_label = "surveys"

class Answer(models.Model):
    survey = models.ForeignKey("surveys.Survey", models.CASCADE)
    class Meta:
        app_label = "surveys"
"""


def test_django_models_in_a_file_of_their_own(program: Program) -> None:
    """Models that name each other work from version to version, and leave nothing behind."""
    django_is_set_up()
    from django.apps import apps
    from django.contrib.admin import AdminSite
    from django.contrib.auth.models import Group

    program.site = site = AdminSite()
    both = POLLS.format(names="Survey, Answer")
    for source in (both, f"{both}# edited\n"):
        assert program.save(source, models=MODELS) is PluginState.OK
        (models,) = program.running.host.call("models")
        assert isinstance(models, list)
        survey, answer = models
        assert answer._meta.get_field("survey").remote_field.model is survey  # noqa: SLF001 - Django's name
        assert Group.survey_set.rel.related_model is survey
        assert site.is_registered(survey)
        assert set(apps.all_models["surveys"]) == {"survey", "answer", "survey_groups"}
    one = MODELS.partition("class Answer")[0]
    assert program.save(POLLS.format(names="Survey"), models=one) is PluginState.OK
    assert set(apps.all_models["surveys"]) == {"survey", "survey_groups"}
    program.running.manager.disable("it")
    assert (apps.all_models["surveys"], hasattr(Group, "survey_set")) == ({}, False)


def test_a_model_of_the_program_is_not_replaced(program: Program) -> None:
    """A plugin may add models to an app of the program, but not take the name of one."""
    django_is_set_up()
    from django.apps import apps
    from django.contrib.auth.models import Group

    source = (
        "from django.db import models\n"
        "from hotload_tui.integrations.models import own_models, staged_models\n"
        "with staged_models('auth') as staged:\n"
        "    class {name}(models.Model):\n        class Meta:\n            app_label = 'auth'\n"
        "def register(ctx):\n    own_models(ctx, staged)\n"
    )
    before = {**apps.all_models["auth"]}
    assert program.save(source.format(name="Extra")) is PluginState.OK
    assert apps.get_model("auth", "Extra") in apps.get_models()
    assert program.save(source.format(name="Group")) is PluginState.STALE
    assert apps.get_model("auth", "Group") is Group
    program.running.manager.disable("it")
    assert apps.all_models["auth"] == before
    assert len(apps.get_models()) == len({*apps.get_models()})


PLAIN = """
RELOAD = "replace"
from program import Base, User
from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey(User.id))

def register(ctx): ...
"""


@pytest.mark.usefixtures("metadata")
@pytest.mark.filterwarnings("ignore:This declarative base already contains")
def test_a_model_that_cannot_be_replaced_names_the_way_out(program: Program) -> None:
    """Without the recipe, a replaced version leaves its table behind: the next fault says what to do."""
    assert program.save(PLAIN) is PluginState.OK
    assert program.save(f"{PLAIN}# edited\n") is PluginState.FAIL
    assert LEFT_BEHIND in program.running.fault("it").notes
    assert any(" Table Note in " in line for line in program.running.status("it").left)

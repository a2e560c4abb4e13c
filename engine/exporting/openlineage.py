"""OpenLineage events as values and as JSON: runs, jobs, datasets and the facets that say which column came of which.

Specification 2-0-2 (openlineage.io/spec), with the facets named in `_FACETS`, whose versions are those that were current. A RunEvent says
that a run began or ended; the column lineage of an output names, for each of its fields, the fields of inputs: DIRECT where the value is
made of them, INDIRECT where they only decide about it. Dataclasses of our own and not `openlineage-python`: that brings two HTTP clients
and takes a second to import, to write what is a handful of JSON objects. Not here: which runs there were (`engine.exporting.runs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SPEC = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"

_FACETS: Mapping[str, str] = {
    "columnLineage": "1-2-0/ColumnLineageDatasetFacet",
    "schema": "1-2-0/SchemaDatasetFacet",
    "symlinks": "1-0-1/SymlinksDatasetFacet",
    "tags": "1-0-0/TagsDatasetFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet",
    "jobType": "2-0-4/JobTypeJobFacet",
    "documentation": "1-1-0/DocumentationJobFacet",
    "nominalTime": "1-0-1/NominalTimeRunFacet",
    "errorMessage": "1-0-1/ErrorMessageRunFacet",
    "processing_engine": "1-1-1/ProcessingEngineRunFacet",
}
"""Facets by the key that they have in an event, and where the schema of each is."""

_OURS = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunFacet"
"""A facet of our own is one of its base: nothing else is published about it."""


class State(StrEnum):
    """How far a run is; a run has one START and one of the others."""

    START = "START"
    COMPLETE = "COMPLETE"
    ABORT = "ABORT"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class How:
    """What a field of an input does to one of an output. `masking`: what it was cannot be seen in what became of it."""

    direct: bool
    subtype: str
    description: str = ""
    masking: bool = False

    def as_data(self) -> dict[str, Any]:
        """As the specification has it."""
        kind = "DIRECT" if self.direct else "INDIRECT"
        return {"type": kind, "subtype": self.subtype, "description": self.description, "masking": self.masking}


@dataclass(frozen=True, slots=True)
class Column:
    """A field: its `tags` are what a contract says of it."""

    name: str
    type: str
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """A field of an input: of which dataset."""

    dataset: str
    column: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """An input or output. `elsewhere`: namespace, name and type under which others know it; `version`: the build that made it.

    `lineage`: for each field what it is made of; `whole`: what decides about all of its rows. None: nobody recorded how.
    """

    name: str
    columns: tuple[Column, ...] = ()
    elsewhere: tuple[str, str, str] | None = None
    version: str | None = None
    lineage: Mapping[str, Mapping[Place, tuple[How, ...]]] = field(default_factory=dict)
    whole: Mapping[Place, tuple[How, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """A run that began or ended. `at`: RFC 3339; `run`: a UUID; `own`: facts of the run that no facet of the specification has."""

    state: State
    at: str
    run: str
    job: str
    kind: str
    description: str
    inputs: tuple[Dataset, ...]
    outputs: tuple[Dataset, ...]
    nominal: str | None = None
    error: str | None = None
    own: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes events of one workspace: `namespace` is that of its jobs and datasets, `producer` a URI, `version` that of the program."""

    namespace: str
    producer: str
    version: str

    def event(self, event: Event) -> dict[str, Any]:
        """As JSON values."""
        return {
            "eventType": event.state.value,
            "eventTime": event.at,
            "producer": self.producer,
            "schemaURL": SPEC,
            "run": {"runId": event.run, "facets": self._run(event)},
            "job": {"namespace": self.namespace, "name": event.job, "facets": self._job(event)},
            "inputs": [self._dataset(each) for each in event.inputs],
            "outputs": [self._dataset(each) for each in event.outputs],
        }

    def _run(self, event: Event) -> dict[str, Any]:
        facets = {"processing_engine": {"name": "consentric", "version": self.version}}
        if event.nominal:
            facets["nominalTime"] = {"nominalStartTime": event.nominal}
        if event.error:
            facets["errorMessage"] = {"message": event.error, "programmingLanguage": "PYTHON"}
        own = {"consentric": {"_producer": self.producer, "_schemaURL": _OURS, **event.own}} if event.own else {}
        return self._known(facets) | own

    def _job(self, event: Event) -> dict[str, Any]:
        facets: dict[str, dict[str, Any]] = {
            "jobType": {"processingType": "BATCH", "integration": "CONSENTRIC", "jobType": event.kind},
        }
        if event.description:
            facets["documentation"] = {"description": event.description}
        return self._known(facets)

    def _dataset(self, each: Dataset) -> dict[str, Any]:
        facets: dict[str, dict[str, Any]] = {}
        if each.columns:
            facets["schema"] = {"fields": [{"name": column.name, "type": column.type} for column in each.columns]}
        tags = [(column.name, key, value) for column in each.columns for key, value in column.tags.items()]
        if tags:
            facets["tags"] = {"tags": [{"key": key, "value": value, "source": "CONSENTRIC", "field": name} for name, key, value in tags]}
        if each.elsewhere:
            facets["symlinks"] = {"identifiers": [dict(zip(("namespace", "name", "type"), each.elsewhere, strict=True))]}
        if each.version:
            facets["version"] = {"datasetVersion": each.version}
        if each.lineage:
            fields = {name: {"inputFields": self._inputs(made_of)} for name, made_of in each.lineage.items()}
            facets["columnLineage"] = {"fields": fields, "dataset": self._inputs(each.whole)}
        return {"namespace": self.namespace, "name": each.name, "facets": self._known(facets)}

    def _inputs(self, made_of: Mapping[Place, tuple[How, ...]]) -> list[dict[str, Any]]:
        return [
            {
                "namespace": self.namespace,
                "name": place.dataset,
                "field": place.column,
                "transformations": [how.as_data() for how in hows],
            }
            for place, hows in made_of.items()
        ]

    def _known(self, facets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Each with its producer and schema."""
        where = {key: _FACETS[key] for key in facets}
        return {
            key: {
                "_producer": self.producer,
                "_schemaURL": f"https://openlineage.io/spec/facets/{where[key]}.json#/$defs/{where[key].partition('/')[2]}",
                **facet,
            }
            for key, facet in facets.items()
        }

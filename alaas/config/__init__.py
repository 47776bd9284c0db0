"""Every knob of the service and every parameter of a query.

`load` reads the `Settings` of a process, `parse_parameters` the `QueryParameters` of a
request; `describe` and `json_schema` say what there is to set.
"""

from alaas.config.access import AuthSettings, KeySettings, Scope, TLSSettings
from alaas.config.inputs import (
    Characters,
    Inputs,
    Modality,
    Tokenization,
    Vectors,
    read_inputs,
)
from alaas.config.limits import LimitsSettings
from alaas.config.listeners import Listener
from alaas.config.load import Loaded, load
from alaas.config.model import DEFAULT, DIGEST, DrawsSettings, ModelSettings
from alaas.config.operation import (
    JobsSettings,
    LogSettings,
    MetricsSettings,
    ShutdownSettings,
    SupervisionSettings,
    TracingSettings,
)
from alaas.config.parameters import PushParameters, QueryParameters, parse_push
from alaas.config.parameters import parse as parse_parameters
from alaas.config.preprocessing import Preprocessing
from alaas.config.schema import Knob, describe, json_schema
from alaas.config.tree import (
    ActiveLearningSettings,
    FetchSettings,
    ObjectStoreSettings,
    Settings,
    StoreSettings,
    StrategySettings,
    WorkerSettings,
)

__all__ = [
    "DEFAULT",
    "DIGEST",
    "ActiveLearningSettings",
    "AuthSettings",
    "Characters",
    "DrawsSettings",
    "FetchSettings",
    "Inputs",
    "JobsSettings",
    "KeySettings",
    "Knob",
    "LimitsSettings",
    "Listener",
    "Loaded",
    "LogSettings",
    "MetricsSettings",
    "Modality",
    "ModelSettings",
    "ObjectStoreSettings",
    "Preprocessing",
    "PushParameters",
    "QueryParameters",
    "Scope",
    "Settings",
    "ShutdownSettings",
    "StoreSettings",
    "StrategySettings",
    "SupervisionSettings",
    "TLSSettings",
    "Tokenization",
    "TracingSettings",
    "Vectors",
    "WorkerSettings",
    "describe",
    "json_schema",
    "load",
    "parse_parameters",
    "parse_push",
    "read_inputs",
]

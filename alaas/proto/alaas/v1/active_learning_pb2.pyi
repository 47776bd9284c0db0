from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Item(_message.Message):
    __slots__ = ("id", "uri", "text", "blob", "group")
    ID_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    id: str
    uri: str
    text: str
    blob: bytes
    group: str
    def __init__(self, id: _Optional[str] = ..., uri: _Optional[str] = ..., text: _Optional[str] = ..., blob: _Optional[bytes] = ..., group: _Optional[str] = ...) -> None: ...

class Labelled(_message.Message):
    __slots__ = ("item", "number", "name")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    item: Item
    number: float
    name: str
    def __init__(self, item: _Optional[_Union[Item, _Mapping]] = ..., number: _Optional[float] = ..., name: _Optional[str] = ...) -> None: ...

class Parameters(_message.Message):
    __slots__ = ("budget", "strategy", "params", "seed", "n_drop", "on_item_error", "timeout_s", "model", "labelled", "cache", "pool", "calibrate")
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    N_DROP_FIELD_NUMBER: _ClassVar[int]
    ON_ITEM_ERROR_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LABELLED_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    CALIBRATE_FIELD_NUMBER: _ClassVar[int]
    budget: float
    strategy: str
    params: _struct_pb2.Struct
    seed: int
    n_drop: int
    on_item_error: str
    timeout_s: float
    model: str
    labelled: _containers.RepeatedCompositeFieldContainer[Labelled]
    cache: bool
    pool: str
    calibrate: str
    def __init__(self, budget: _Optional[float] = ..., strategy: _Optional[str] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., seed: _Optional[int] = ..., n_drop: _Optional[int] = ..., on_item_error: _Optional[str] = ..., timeout_s: _Optional[float] = ..., model: _Optional[str] = ..., labelled: _Optional[_Iterable[_Union[Labelled, _Mapping]]] = ..., cache: bool = ..., pool: _Optional[str] = ..., calibrate: _Optional[str] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("parameters", "items")
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    parameters: Parameters
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, parameters: _Optional[_Union[Parameters, _Mapping]] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class QueryPart(_message.Message):
    __slots__ = ("parameters", "items")
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    parameters: Parameters
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, parameters: _Optional[_Union[Parameters, _Mapping]] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class Pick(_message.Message):
    __slots__ = ("id", "rank", "score", "uri", "text")
    ID_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    id: str
    rank: int
    score: float
    uri: str
    text: str
    def __init__(self, id: _Optional[str] = ..., rank: _Optional[int] = ..., score: _Optional[float] = ..., uri: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("id", "stage", "code", "message", "uri")
    ID_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    id: str
    stage: str
    code: str
    message: str
    uri: str
    def __init__(self, id: _Optional[str] = ..., stage: _Optional[str] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., uri: _Optional[str] = ...) -> None: ...

class StageTiming(_message.Message):
    __slots__ = ("busy_s", "items", "wait_s", "bytes", "hits")
    BUSY_S_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    HITS_FIELD_NUMBER: _ClassVar[int]
    busy_s: float
    items: int
    wait_s: float
    bytes: int
    hits: int
    def __init__(self, busy_s: _Optional[float] = ..., items: _Optional[int] = ..., wait_s: _Optional[float] = ..., bytes: _Optional[int] = ..., hits: _Optional[int] = ...) -> None: ...

class Timings(_message.Message):
    __slots__ = ("total_s", "stages", "bottleneck")
    class StagesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: StageTiming
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[StageTiming, _Mapping]] = ...) -> None: ...
    TOTAL_S_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    BOTTLENECK_FIELD_NUMBER: _ClassVar[int]
    total_s: float
    stages: _containers.MessageMap[str, StageTiming]
    bottleneck: str
    def __init__(self, total_s: _Optional[float] = ..., stages: _Optional[_Mapping[str, StageTiming]] = ..., bottleneck: _Optional[str] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("strategy", "params", "seed", "budget", "model", "version", "pool_size", "n_drop", "labelled_size", "calibrate", "calibration")
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    POOL_SIZE_FIELD_NUMBER: _ClassVar[int]
    N_DROP_FIELD_NUMBER: _ClassVar[int]
    LABELLED_SIZE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    strategy: str
    params: _struct_pb2.Struct
    seed: int
    budget: int
    model: str
    version: str
    pool_size: int
    n_drop: int
    labelled_size: int
    calibrate: str
    calibration: _struct_pb2.Struct
    def __init__(self, strategy: _Optional[str] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., seed: _Optional[int] = ..., budget: _Optional[int] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., pool_size: _Optional[int] = ..., n_drop: _Optional[int] = ..., labelled_size: _Optional[int] = ..., calibrate: _Optional[str] = ..., calibration: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class QueryResponse(_message.Message):
    __slots__ = ("picks", "failures", "timings", "receipt", "warnings", "request_id")
    PICKS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    picks: _containers.RepeatedCompositeFieldContainer[Pick]
    failures: _containers.RepeatedCompositeFieldContainer[Failure]
    timings: Timings
    receipt: Receipt
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    request_id: str
    def __init__(self, picks: _Optional[_Iterable[_Union[Pick, _Mapping]]] = ..., failures: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., receipt: _Optional[_Union[Receipt, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("done", "failed", "received", "total")
    DONE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    done: int
    failed: int
    received: int
    total: int
    def __init__(self, done: _Optional[int] = ..., failed: _Optional[int] = ..., received: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class QueryEvent(_message.Message):
    __slots__ = ("progress", "response")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    response: QueryResponse
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., response: _Optional[_Union[QueryResponse, _Mapping]] = ...) -> None: ...

class PushParameters(_message.Message):
    __slots__ = ("pool", "ttl_s", "strategy", "seed", "n_drop", "on_item_error", "timeout_s", "cache", "model")
    POOL_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    N_DROP_FIELD_NUMBER: _ClassVar[int]
    ON_ITEM_ERROR_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_S_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    pool: str
    ttl_s: float
    strategy: str
    seed: int
    n_drop: int
    on_item_error: str
    timeout_s: float
    cache: bool
    model: str
    def __init__(self, pool: _Optional[str] = ..., ttl_s: _Optional[float] = ..., strategy: _Optional[str] = ..., seed: _Optional[int] = ..., n_drop: _Optional[int] = ..., on_item_error: _Optional[str] = ..., timeout_s: _Optional[float] = ..., cache: bool = ..., model: _Optional[str] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("parameters", "items")
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    parameters: PushParameters
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, parameters: _Optional[_Union[PushParameters, _Mapping]] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class PushPart(_message.Message):
    __slots__ = ("parameters", "items")
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    parameters: PushParameters
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, parameters: _Optional[_Union[PushParameters, _Mapping]] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class Shape(_message.Message):
    __slots__ = ("sizes",)
    SIZES_FIELD_NUMBER: _ClassVar[int]
    sizes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, sizes: _Optional[_Iterable[int]] = ...) -> None: ...

class PoolInfo(_message.Message):
    __slots__ = ("name", "items", "views", "space", "model", "created", "expires", "bytes")
    class ViewsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Shape
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Shape, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    SPACE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    items: int
    views: _containers.MessageMap[str, Shape]
    space: str
    model: str
    created: float
    expires: float
    bytes: int
    def __init__(self, name: _Optional[str] = ..., items: _Optional[int] = ..., views: _Optional[_Mapping[str, Shape]] = ..., space: _Optional[str] = ..., model: _Optional[str] = ..., created: _Optional[float] = ..., expires: _Optional[float] = ..., bytes: _Optional[int] = ...) -> None: ...

class PushResponse(_message.Message):
    __slots__ = ("pool", "failures", "timings", "warnings", "request_id")
    POOL_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    pool: PoolInfo
    failures: _containers.RepeatedCompositeFieldContainer[Failure]
    timings: Timings
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    request_id: str
    def __init__(self, pool: _Optional[_Union[PoolInfo, _Mapping]] = ..., failures: _Optional[_Iterable[_Union[Failure, _Mapping]]] = ..., timings: _Optional[_Union[Timings, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class PushEvent(_message.Message):
    __slots__ = ("progress", "response")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    response: PushResponse
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., response: _Optional[_Union[PushResponse, _Mapping]] = ...) -> None: ...

class PoolsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PoolsResponse(_message.Message):
    __slots__ = ("pools",)
    POOLS_FIELD_NUMBER: _ClassVar[int]
    pools: _containers.RepeatedCompositeFieldContainer[PoolInfo]
    def __init__(self, pools: _Optional[_Iterable[_Union[PoolInfo, _Mapping]]] = ...) -> None: ...

class DeletePoolRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeletePoolResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StrategiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Strategy(_message.Message):
    __slots__ = ("name", "aliases", "family", "needs", "cost", "paper", "params", "summary", "labelled", "optional", "use", "scales")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    PAPER_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    LABELLED_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    USE_FIELD_NUMBER: _ClassVar[int]
    SCALES_FIELD_NUMBER: _ClassVar[int]
    name: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    family: str
    needs: _containers.RepeatedScalarFieldContainer[str]
    cost: str
    paper: str
    params: _struct_pb2.Struct
    summary: str
    labelled: _containers.RepeatedScalarFieldContainer[str]
    optional: _containers.RepeatedScalarFieldContainer[str]
    use: str
    scales: bool
    def __init__(self, name: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., family: _Optional[str] = ..., needs: _Optional[_Iterable[str]] = ..., cost: _Optional[str] = ..., paper: _Optional[str] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., summary: _Optional[str] = ..., labelled: _Optional[_Iterable[str]] = ..., optional: _Optional[_Iterable[str]] = ..., use: _Optional[str] = ..., scales: bool = ...) -> None: ...

class StrategiesResponse(_message.Message):
    __slots__ = ("strategies",)
    STRATEGIES_FIELD_NUMBER: _ClassVar[int]
    strategies: _containers.RepeatedCompositeFieldContainer[Strategy]
    def __init__(self, strategies: _Optional[_Iterable[_Union[Strategy, _Mapping]]] = ...) -> None: ...

from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SampleMetadata(_message.Message):
    __slots__ = ("device_id", "captured_at", "source", "prediction_id", "bundle_digest", "label", "confidence", "margin", "outcome", "reason", "value")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    captured_at: float
    source: str
    prediction_id: str
    bundle_digest: str
    label: str
    confidence: float
    margin: float
    outcome: str
    reason: str
    value: float
    def __init__(self, device_id: _Optional[str] = ..., captured_at: _Optional[float] = ..., source: _Optional[str] = ..., prediction_id: _Optional[str] = ..., bundle_digest: _Optional[str] = ..., label: _Optional[str] = ..., confidence: _Optional[float] = ..., margin: _Optional[float] = ..., outcome: _Optional[str] = ..., reason: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class SampleOffer(_message.Message):
    __slots__ = ("digest", "size_bytes", "metadata")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    digest: str
    size_bytes: int
    metadata: SampleMetadata
    def __init__(self, digest: _Optional[str] = ..., size_bytes: _Optional[int] = ..., metadata: _Optional[_Union[SampleMetadata, _Mapping]] = ...) -> None: ...

class OfferRequest(_message.Message):
    __slots__ = ("offers",)
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    offers: _containers.RepeatedCompositeFieldContainer[SampleOffer]
    def __init__(self, offers: _Optional[_Iterable[_Union[SampleOffer, _Mapping]]] = ...) -> None: ...

class OfferResponse(_message.Message):
    __slots__ = ("missing", "known", "refused", "partial", "retry_after_s", "together")
    class RefusedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class PartialEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MISSING_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    TOGETHER_FIELD_NUMBER: _ClassVar[int]
    missing: _containers.RepeatedScalarFieldContainer[str]
    known: _containers.RepeatedScalarFieldContainer[str]
    refused: _containers.ScalarMap[str, str]
    partial: _containers.ScalarMap[str, int]
    retry_after_s: float
    together: bool
    def __init__(self, missing: _Optional[_Iterable[str]] = ..., known: _Optional[_Iterable[str]] = ..., refused: _Optional[_Mapping[str, str]] = ..., partial: _Optional[_Mapping[str, int]] = ..., retry_after_s: _Optional[float] = ..., together: _Optional[bool] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("digest", "offset", "data", "last", "offer", "more")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    offset: int
    data: bytes
    last: bool
    offer: SampleOffer
    more: _containers.RepeatedCompositeFieldContainer[Chunk]
    def __init__(self, digest: _Optional[str] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., last: _Optional[bool] = ..., offer: _Optional[_Union[SampleOffer, _Mapping]] = ..., more: _Optional[_Iterable[_Union[Chunk, _Mapping]]] = ...) -> None: ...

class PushReceipt(_message.Message):
    __slots__ = ("digest", "status", "reason", "more")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    status: str
    reason: str
    more: _containers.RepeatedCompositeFieldContainer[PushReceipt]
    def __init__(self, digest: _Optional[str] = ..., status: _Optional[str] = ..., reason: _Optional[str] = ..., more: _Optional[_Iterable[_Union[PushReceipt, _Mapping]]] = ...) -> None: ...

class PutRequest(_message.Message):
    __slots__ = ("offer", "data")
    OFFER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offer: SampleOffer
    data: bytes
    def __init__(self, offer: _Optional[_Union[SampleOffer, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class Feedback(_message.Message):
    __slots__ = ("kind", "label", "who", "at")
    KIND_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    label: str
    who: str
    at: float
    def __init__(self, kind: _Optional[str] = ..., label: _Optional[str] = ..., who: _Optional[str] = ..., at: _Optional[float] = ...) -> None: ...

class AnnotateRequest(_message.Message):
    __slots__ = ("digest", "feedback")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    digest: str
    feedback: Feedback
    def __init__(self, digest: _Optional[str] = ..., feedback: _Optional[_Union[Feedback, _Mapping]] = ...) -> None: ...

class AnnotateResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckInRequest(_message.Message):
    __slots__ = ("device_id", "software", "bundle_digest", "bundle_version", "outbox_pending", "frames", "accepted", "confirmed", "unknown", "kept", "latency_p50_ms", "last_error", "outbox_bytes", "outbox_parked", "starts", "unclean_starts", "on_trial", "rejected", "clock", "platform", "hours")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_VERSION_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_PENDING_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P50_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_BYTES_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_PARKED_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    UNCLEAN_STARTS_FIELD_NUMBER: _ClassVar[int]
    ON_TRIAL_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    software: str
    bundle_digest: str
    bundle_version: int
    outbox_pending: int
    frames: int
    accepted: int
    confirmed: int
    unknown: int
    kept: int
    latency_p50_ms: float
    last_error: str
    outbox_bytes: int
    outbox_parked: int
    starts: int
    unclean_starts: int
    on_trial: bool
    rejected: _containers.RepeatedScalarFieldContainer[str]
    clock: float
    platform: str
    hours: _containers.RepeatedCompositeFieldContainer[BundleHour]
    def __init__(self, device_id: _Optional[str] = ..., software: _Optional[str] = ..., bundle_digest: _Optional[str] = ..., bundle_version: _Optional[int] = ..., outbox_pending: _Optional[int] = ..., frames: _Optional[int] = ..., accepted: _Optional[int] = ..., confirmed: _Optional[int] = ..., unknown: _Optional[int] = ..., kept: _Optional[int] = ..., latency_p50_ms: _Optional[float] = ..., last_error: _Optional[str] = ..., outbox_bytes: _Optional[int] = ..., outbox_parked: _Optional[int] = ..., starts: _Optional[int] = ..., unclean_starts: _Optional[int] = ..., on_trial: _Optional[bool] = ..., rejected: _Optional[_Iterable[str]] = ..., clock: _Optional[float] = ..., platform: _Optional[str] = ..., hours: _Optional[_Iterable[_Union[BundleHour, _Mapping]]] = ...) -> None: ...

class BundleHour(_message.Message):
    __slots__ = ("bundle_digest", "hour", "run", "frames", "accepted", "confirmed", "unknown", "failed", "kept", "confidence", "classes", "latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "outbox_depth")
    class ClassesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    HOUR_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P50_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P90_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P99_MS_FIELD_NUMBER: _ClassVar[int]
    OUTBOX_DEPTH_FIELD_NUMBER: _ClassVar[int]
    bundle_digest: str
    hour: int
    run: str
    frames: int
    accepted: int
    confirmed: int
    unknown: int
    failed: int
    kept: int
    confidence: _containers.RepeatedScalarFieldContainer[int]
    classes: _containers.ScalarMap[str, int]
    latency_p50_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    outbox_depth: int
    def __init__(self, bundle_digest: _Optional[str] = ..., hour: _Optional[int] = ..., run: _Optional[str] = ..., frames: _Optional[int] = ..., accepted: _Optional[int] = ..., confirmed: _Optional[int] = ..., unknown: _Optional[int] = ..., failed: _Optional[int] = ..., kept: _Optional[int] = ..., confidence: _Optional[_Iterable[int]] = ..., classes: _Optional[_Mapping[str, int]] = ..., latency_p50_ms: _Optional[float] = ..., latency_p90_ms: _Optional[float] = ..., latency_p99_ms: _Optional[float] = ..., outbox_depth: _Optional[int] = ...) -> None: ...

class CheckInResponse(_message.Message):
    __slots__ = ("channel", "bundle_digest", "check_in_s", "update_windows")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CHECK_IN_S_FIELD_NUMBER: _ClassVar[int]
    UPDATE_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    channel: str
    bundle_digest: str
    check_in_s: float
    update_windows: str
    def __init__(self, channel: _Optional[str] = ..., bundle_digest: _Optional[str] = ..., check_in_s: _Optional[float] = ..., update_windows: _Optional[str] = ...) -> None: ...

class EnrollRequest(_message.Message):
    __slots__ = ("code", "device_id", "csr_pem")
    CODE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    code: str
    device_id: str
    csr_pem: bytes
    def __init__(self, code: _Optional[str] = ..., device_id: _Optional[str] = ..., csr_pem: _Optional[bytes] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("csr_pem",)
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    csr_pem: bytes
    def __init__(self, csr_pem: _Optional[bytes] = ...) -> None: ...

class EnrollResponse(_message.Message):
    __slots__ = ("device_id", "certificate_pem", "authority_pem")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_PEM_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    certificate_pem: bytes
    authority_pem: bytes
    def __init__(self, device_id: _Optional[str] = ..., certificate_pem: _Optional[bytes] = ..., authority_pem: _Optional[bytes] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("path", "offset")
    PATH_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    path: str
    offset: int
    def __init__(self, path: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class FetchChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

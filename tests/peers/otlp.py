"""Reads requests of OTLP over HTTP with OpenTelemetry's own definitions, and prints what they come to.

Arguments: files of request bodies, each named after its signal (`traces-N`, `metrics-N`). Prints one line of JSON: how many spans of each name, the
sums of some of their attributes, and the latest value of each counter.
"""

import json
import pathlib
import sys
from collections import Counter

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE


def strict(message, body):
    message.ParseFromString(body)
    # What a definition does not know would come back as it was, in another place.
    assert not unknown(message), message
    return message


def unknown(message):
    copy = type(message)()
    copy.CopyFrom(message)
    copy.DiscardUnknownFields()
    return copy.ByteSize() != message.ByteSize()


names, sums, counters = Counter(), Counter(), {}
ids, parents = set(), []
for path in map(pathlib.Path, sys.argv[1:]):
    body = path.read_bytes()
    if path.name.startswith("traces"):
        for resource in strict(ExportTraceServiceRequest(), body).resource_spans:
            assert any(it.key == "service.name" and it.value.string_value for it in resource.resource.attributes)
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                assert len(span.trace_id) == 16 and len(span.span_id) == 8 and span.name
                assert span.start_time_unix_nano <= span.end_time_unix_nano
                assert span.span_id not in ids
                ids.add(span.span_id)
                parents.append(span.parent_span_id)
                names[span.name] += 1
                for it in span.attributes:
                    if it.value.WhichOneof("value") == "int_value":
                        sums[f"{span.name} {it.key}"] += it.value.int_value
    else:
        for resource in strict(ExportMetricsServiceRequest(), body).resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                assert metric.sum.is_monotonic and metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
                assert metric.unit and metric.description
                for point in metric.sum.data_points:
                    assert point.WhichOneof("value") == "as_int", metric.name
                    labels = "".join(f" {it.value.string_value}" for it in point.attributes)
                    counters[metric.name + labels] = point.as_int
assert all(not parent or parent in ids for parent in parents)
print(json.dumps({"spans": names, "sums": sums, "counters": counters}))

"""A gRPC client that is not ours: grpcio with the published stubs of the plugin protocol.

usage: client.py ADDRESS < PLAN
ADDRESS: HOST:PORT, or unix:PATH (then the authority header is the path, percent-encoded).
PLAN: one JSON object a line; a round with "spec", "invocation_id", "no_connection" and "writes", each a list of steps:
      {"insert": FILE} {"migrate": FILE} (Arrow IPC), {"delete_stale": TABLE} {"delete_record": TABLE} {"sleep": SECONDS}.
prints: one JSON object a round; "init", "write" (a list) and "close", each `OK` or `CODE: text`.
"""

import json
import sys
import time

import grpc
from cloudquery.discovery_v1 import discovery_pb2, discovery_pb2_grpc
from cloudquery.plugin_v3 import plugin_pb2, plugin_pb2_grpc

MAX_MESSAGE_BYTES = 200 * 1024 * 1024


def status(call):
    try:
        call()
        return "OK"
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"


def content(path):
    with open(path, "rb") as file:
        return file.read()


def messages(steps):
    Request = plugin_pb2.Write.Request
    for step in steps:
        (kind, value), = step.items()
        if kind == "insert":
            yield Request(insert=plugin_pb2.Write.MessageInsert(record=content(value)))
        elif kind == "migrate":
            yield Request(migrate_table=plugin_pb2.Write.MessageMigrateTable(table=content(value)))
        elif kind == "delete_stale":
            yield Request(delete=plugin_pb2.Write.MessageDeleteStale(table_name=value, source_name="source"))
        elif kind == "delete_record":
            yield Request(delete_record=plugin_pb2.Write.MessageDeleteRecord(table_name=value))
        elif kind == "sleep":
            time.sleep(value)
        else:
            raise ValueError(f"unknown step {kind}")


def main():
    options = [("grpc.max_send_message_length", MAX_MESSAGE_BYTES), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    with grpc.insecure_channel(sys.argv[1], options) as channel:
        versions = discovery_pb2_grpc.DiscoveryStub(channel).GetVersions(discovery_pb2.GetVersions.Request()).versions
        assert 3 in versions, versions
        plugin = plugin_pb2_grpc.PluginStub(channel)
        for line in sys.stdin:
            plan = json.loads(line)
            request = plugin_pb2.Init.Request(
                spec=json.dumps(plan["spec"]).encode(),
                no_connection=plan.get("no_connection", False),
                invocation_id=plan.get("invocation_id", ""),
            )
            answer = {"init": status(lambda: plugin.Init(request)), "write": [], "close": None}
            if answer["init"] == "OK":
                for steps in plan["writes"]:
                    answer["write"].append(status(lambda: plugin.Write(messages(steps))))
                answer["close"] = status(lambda: plugin.Close(plugin_pb2.Close.Request()))
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

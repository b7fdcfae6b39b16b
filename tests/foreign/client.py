"""A foreign client: Python's stock grpcio places, reads and watches an order over mTLS.

Usage: client.py STUBS ENDPOINT CA CERT KEY SKU
STUBS is a folder with the stubs that grpc_tools.protoc made of proto/. Prints one line per step; exits
non-zero at the first surprise.
"""

import sys
import uuid

import grpc

stubs, endpoint, ca, cert, key, sku = sys.argv[1:]
sys.path.insert(0, stubs)

from google.type import money_pb2  # noqa: E402
from hansa.order.v1 import order_pb2, order_service_pb2, order_service_pb2_grpc  # noqa: E402


def read(path):
    with open(path, "rb") as file:
        return file.read()


credentials = grpc.ssl_channel_credentials(read(ca), read(key), read(cert))
with grpc.secure_channel(endpoint, credentials) as channel:
    orders = order_service_pb2_grpc.OrderServiceStub(channel)
    request = order_service_pb2.PlaceOrderRequest(
        residence_country="DE",
        customer_id="python-1",
        request_id=str(uuid.uuid4()),
        payment_token="tok_approve",
        lines=[
            order_service_pb2.PlaceOrderLine(
                kind=order_pb2.LINE_KIND_STOCK,
                sku=sku,
                quantity=1,
                unit_price=money_pb2.Money(currency_code="EUR", units=2, nanos=550_000_000),
            )
        ],
        personal=order_pb2.PersonalDetails(name="Paula Python", email="paula@example.org"),
    )
    placed = orders.PlaceOrder(request, timeout=20)
    assert placed.order.state == order_pb2.ORDER_STATE_CONFIRMED, placed
    print("placed", placed.order.name)

    again = orders.PlaceOrder(request, timeout=20)
    assert again.replayed and again.order.name == placed.order.name, again
    print("replayed", again.order.name)

    got = orders.GetOrder(order_service_pb2.GetOrderRequest(order=placed.order.name), timeout=20)
    assert got.order.total == money_pb2.Money(currency_code="EUR", units=2, nanos=550_000_000), got
    print("read", got.order.name)

    sequences = []
    watch = order_service_pb2.WatchOrderRequest(order=placed.order.name)
    for item in orders.WatchOrder(watch, timeout=20):
        if item.HasField("event"):
            sequences.append(item.event.sequence)
            if item.event.kind == order_service_pb2.ORDER_EVENT_KIND_CONFIRMED:
                break
    assert sequences == sorted(set(sequences)), sequences
    print("watched", len(sequences), "events")

    request.lines[0].quantity = 0
    request.request_id = str(uuid.uuid4())
    try:
        orders.PlaceOrder(request, timeout=20)
        raise SystemExit("a quantity of 0 was taken")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        print("refused", error.details())

#!/usr/bin/env python3
"""Shares of CPU by stage, from a profile of the nodes with call graphs.

    hansa-bench orders --clients 512 --connections 4 --seconds 22 --warm-up 6 &
    sleep 20
    perf record -e cpu-clock -F 149 --call-graph dwarf,24576 -m 512 -o nodes.data \
        -p "$(pgrep -d, -f 'hansa-bench serve')" -- sleep 5
    perf script -i nodes.data --no-inline -F comm,ip,sym | docs/perf/stages.py

A sample belongs to the first stage below that any of its frames names; most stacks of async code
are cut off by perf, so the order matters and a percent is not exact.
"""
import collections
import re
import sys

STAGES = [
    ("views (sled)", r"ledger::entries|hansa_orders::listing|sled::"),
    ("archive", r"archive::"),
    ("checkpoints", r"hansa_consensus::(checkpoints|keeper|writer)"),
    ("apply: orders", r"OrdersMachine as hansa_consensus::machine::Machine>::apply"),
    ("apply: stock", r"Machine for hansa_ledger::core::inventory"),
    ("apply: money", r"Machine for hansa_ledger::core::payments"),
    ("apply: chain, digests", r"hansa_consensus::replica::Replica>::apply"),
    ("log", r"hansa_wal"),
    ("saga", r"hansa_orders::saga"),
    ("ledger's service", r"hansa_ledger::service"),
    ("orders' service", r"hansa_orders::(service|shell|start|wire)"),
    ("gateway, routing", r"hansa_gateway|region_router"),
    ("layers of a call", r"hansa_node::layers"),
    ("consensus: wire, proposer", r"hansa_consensus"),
    ("openraft", r"openraft"),
    ("HTTP/2, TLS, sockets", r"h2::|hyper|rustls|tonic"),
    ("tokio's scheduler", r"tokio::runtime"),
]


def stacks(lines):
    stack = []
    for line in lines:
        if not line.strip():
            if stack:
                yield stack
            stack = []
        elif line[0].isspace():
            stack.append(line.split(maxsplit=1)[-1])
    if stack:
        yield stack


def stage(stack):
    for name, pattern in STAGES:
        if any(re.search(pattern, frame) for frame in stack):
            return name
    return "else"


counts = collections.Counter(map(stage, stacks(sys.stdin)))
total = sum(counts.values())
for name, count in counts.most_common():
    print(f"{100 * count / total:5.1f} %  {name}")

"""Scenarios for paho-mqtt that are about what version 5 brings."""

import time

from paho.mqtt.packettypes import PacketTypes

from paho_peer import V5, V311, Peer, connected, properties
from scenarios import PATIENCE, equal, expect, main, scenario


@scenario(V5)
def publish_properties(port, version):
    """Each property of a PUBLISH reaches the subscriber, user properties in order."""
    subscriber, publisher = connected(port, version), connected(port, version)
    subscriber.subscribe("props", 1)
    sent = {
        "PayloadFormatIndicator": 1,
        "ContentType": "text/plain; charset=utf-8",
        "ResponseTopic": "reply/to",
        "CorrelationData": bytes(range(256)),
        "UserProperty": [("b", "1"), ("a", "2"), ("b", "3"), ("", "")],
    }
    publisher.publish("props", "ö", 1, MessageExpiryInterval=500, **sent)
    got = subscriber.next().properties
    for name, value in sent.items():
        equal(getattr(got, name), value, name)
    expect(400 <= got.MessageExpiryInterval <= 500, f"the remaining time {got.MessageExpiryInterval}")
    # And again from the retained store, to a subscriber that comes later.
    publisher.publish("props", "ö", 1, retain=True, **sent)
    late = connected(port, version)
    late.subscribe("props", 1)
    got = late.next().properties
    for name, value in sent.items():
        equal(getattr(got, name), value, name)


@scenario(V5)
def will_properties(port, version):
    """A will carries its properties."""
    watcher = connected(port, version)
    watcher.subscribe("will/props", 1)
    sent = {"ContentType": "text/plain", "UserProperty": [("a", "1"), ("a", "2")], "CorrelationData": b"\x00\x01"}
    props = properties(PacketTypes.WILLMESSAGE, ResponseTopic="reply/to", **sent)
    connected(port, version, will=("will/props", "gone", 1, False, props)).drop()
    got = watcher.next().properties
    for name, value in sent.items():
        equal(getattr(got, name), value, name)
    equal(got.ResponseTopic, "reply/to", "ResponseTopic")


@scenario(V5)
def subscription_identifiers(port, version):
    """A message names the subscriptions that it matched."""
    subscriber, publisher = connected(port, version), connected(port, version)
    subscriber.subscribe("ids/#", 1, {"SubscriptionIdentifier": 1})
    subscriber.subscribe("ids/+", 1, {"SubscriptionIdentifier": 268_435_455})
    subscriber.subscribe("mark", 1)
    publisher.publish("ids/x", "", 1)
    publisher.publish("mark", "", 1)
    identifiers = [i for message in subscriber.until("mark") for i in message.properties.SubscriptionIdentifier]
    equal(sorted(identifiers), [1, 268_435_455], "the identifiers")
    # Subscribing anew replaces the identifier.
    subscriber.subscribe("ids/#", 1, {"SubscriptionIdentifier": 3})
    publisher.publish("ids/x/y", "", 1)
    equal(subscriber.next().properties.SubscriptionIdentifier, [3], "the identifier")


@scenario(V5)
def no_local(port, version):
    """A client does not hear itself where it asked not to."""
    peer = connected(port, version)
    peer.subscribe("local/off", 1, noLocal=True)
    peer.subscribe("local/on", 1)
    peer.publish("local/off", "", 1)
    peer.publish("local/on", "", 1)
    equal(peer.next().topic, "local/on", "the topic")
    connected(port, version).publish("local/off", "", 1)
    equal(peer.next().topic, "local/off", "the topic of another's message")


@scenario(V5)
def retain_options(port, version):
    """Retain As Published keeps the flag; Retain Handling says when kept messages are sent."""
    publisher = connected(port, version)
    publisher.publish("opt/kept", "old", 1, retain=True)
    publisher.publish("mark", "x", 1, retain=True)
    for handling, first, second in ((0, 1, 1), (1, 1, 0), (2, 0, 0)):
        subscriber = connected(port, version)
        for times in (first, second):
            subscriber.subscribe("opt/+", 1, retainHandling=handling)
            subscriber.subscribe("mark", 1)
            equal(len(subscriber.until("mark")), times, f"kept messages with Retain Handling {handling}")
        subscriber.disconnect()
    as_published, plain = connected(port, version), connected(port, version)
    as_published.subscribe("opt/+", 1, retainAsPublished=True, retainHandling=2)
    plain.subscribe("opt/+", 1, retainHandling=2)
    for flag in (True, False):
        publisher.publish("opt/new", "x", 1, retain=flag)
        equal(as_published.next().retain, flag, "the flag with Retain As Published")
        equal(plain.next().retain, False, "the flag without")


@scenario(V5)
def receive_maximum(port, version):
    """The broker has no more messages on their way than the client's Receive Maximum allows."""
    subscriber = connected(port, version, manual_ack=True, ReceiveMaximum=3)
    subscriber.subscribe("flow", 1)
    subscriber.subscribe("mark", 0)
    publisher = connected(port, version)
    for number in range(12):
        publisher.publish("flow", str(number), 1)
    publisher.publish("mark", "")
    pending, seen = [], []
    while len(seen) < 12:
        message = subscriber.next()
        if message.topic == "mark":
            continue
        seen.append(message.payload.decode())
        pending.append(message)
        expect(len(pending) <= 3, f"{len(pending)} messages unacknowledged")
        # Only when the window is full, or nothing more can come, is one acknowledged.
        if len(pending) == 3 or len(seen) == 12:
            subscriber.ack(pending.pop(0))
    equal(seen, [str(number) for number in range(12)], "what came")


@scenario(V5)
def topic_alias(port, version):
    """An alias stands for its topic from the client to the broker, and the other way within the client's limit."""
    publisher = connected(port, version)
    limit = getattr(publisher.connack, "TopicAliasMaximum", 0)
    expect(limit >= 2, f"the broker takes {limit} aliases")
    subscriber = connected(port, version, TopicAliasMaximum=2)
    plain = connected(port, version)
    for peer in (subscriber, plain):
        peer.subscribe("alias/#", 1)
    publisher.publish("alias/first", "0", 1, TopicAlias=1)
    publisher.publish("alias/second", "1", 1, TopicAlias=limit)
    for number in range(2, 10):
        publisher.publish("", str(number), 1, TopicAlias=(1, limit)[number % 2])
    publisher.publish("alias/third", "10", 1, TopicAlias=1)
    publisher.publish("", "11", 1, TopicAlias=1)
    wanted = [("alias/first", "alias/second")[number % 2] for number in range(10)] + ["alias/third"] * 2
    for peer in (subscriber, plain):
        messages = [peer.next() for _ in range(12)]
        equal([message.topic for message in messages], wanted, "the topics")
        equal([message.payload.decode() for message in messages], [str(number) for number in range(12)], "the payloads")
    used = set(subscriber.aliases)
    expect(used <= {1, 2}, f"the broker used the aliases {used}")
    equal(plain.aliases, {}, "aliases towards a client that allows none")


@scenario(V5)
def session_expiry(port, version):
    """A session lasts as long as it was asked to, and DISCONNECT can change that."""
    def present(name, **connect):
        peer = Peer(port, version, name, clean=False, **connect)
        result = peer.connect()
        peer.drop()
        return result

    for name, seconds in (("short", 1), ("long", 1000)):
        connected(port, version, name, SessionExpiryInterval=seconds).disconnect()
    connected(port, version, "changed", SessionExpiryInterval=1000).disconnect(SessionExpiryInterval=0)
    connected(port, version, "none", SessionExpiryInterval=0).disconnect()
    time.sleep(3)
    found = {name: present(name) for name in ("short", "long", "changed", "none")}
    equal(found, {"short": False, "long": True, "changed": False, "none": False}, "sessions that were left")


@scenario(V5)
def assigned_client_id(port, version):
    """A client without an id gets one, different from the next, with which it can come back."""
    first, second = connected(port, version, SessionExpiryInterval=1000), connected(port, version)
    name = first.connack.AssignedClientIdentifier
    expect(name and name != second.connack.AssignedClientIdentifier, f"the id {name!r}")
    first.disconnect()
    equal(Peer(port, version, name, clean=False).connect(), True, "the session under the assigned id")


@scenario(V5)
def message_expiry(port, version):
    """What expired is not delivered; the remaining time is told."""
    sleeper = connected(port, version, "expiry", clean=False)
    sleeper.subscribe("fresh/+", 1)
    sleeper.disconnect()
    publisher = connected(port, version)
    for retain in (False, True):
        publisher.publish("fresh/short", "short", 1, retain, MessageExpiryInterval=1)
        publisher.publish("fresh/long", "long", 1, retain, MessageExpiryInterval=100)
    time.sleep(2.5)
    sleeper = connected(port, version, "expiry", clean=False)
    late = connected(port, version)
    late.subscribe("fresh/+", 1)
    for messages in ([sleeper.next(), sleeper.next()], [late.next()]):
        for message in messages:
            equal(message.payload, b"long", "what is left")
            left = message.properties.MessageExpiryInterval
            expect(left <= 98, f"{left} of 100 seconds left")
    for peer in (sleeper, late):
        peer.subscribe("mark")
        publisher.publish("mark", "")
        equal(peer.until("mark"), [], "what came after")


@scenario(V5)
def maximum_packet_size(port, version):
    """A message over the client's limit is left out, and the next one comes."""
    small = connected(port, version, MaximumPacketSize=1000)
    small.subscribe("size", 1)
    publisher = connected(port, version)
    publisher.publish("size", "x" * 2000, 1)
    publisher.publish("size", "fits", 1)
    equal(small.next().payload, b"fits", "the message")


@scenario(V5)
def shared(port, version):
    """Members share the messages; what a lost member had not acknowledged goes to another."""
    publisher = connected(port, version)
    members = [connected(port, version, manual_ack=True) for _ in range(2)]
    for member in members:
        member.subscribe("$share/crew/work/#", 1)
    for number in range(20):
        publisher.publish("work/x", str(number), 1)
    # Both have something and acknowledge nothing; then one is lost.
    seen = [members[0].next(), members[1].next()]
    members[1].drop()
    kept, deadline = {seen[0].payload}, time.monotonic() + PATIENCE
    members[0].ack(seen[0])
    while len(kept) < 20:
        expect(time.monotonic() < deadline, f"only {len(kept)} of 20 reached the remaining member")
        message = members[0].next()
        kept.add(message.payload)
        members[0].ack(message)


@scenario(V5)
def request_response(port, version):
    """A request carries where to answer, and what to answer with."""
    responder, requester = connected(port, version), connected(port, version)
    responder.subscribe("service/+", 1)
    requester.subscribe("answers/me", 1)
    requester.publish("service/double", "21", 1, ResponseTopic="answers/me", CorrelationData=b"\x07")
    request = responder.next()
    responder.publish(
        request.properties.ResponseTopic,
        str(2 * int(request.payload)),
        1,
        CorrelationData=request.properties.CorrelationData,
    )
    answer = requester.next()
    equal((answer.payload, answer.properties.CorrelationData), (b"42", b"\x07"), "the answer")


@scenario(V311, V5)
def limited(port, version):
    """A broker that was configured to offer less says so, and refuses the rest with a reason.

    It allows QoS 1 and a keep alive of 30 s, and neither retained messages nor wildcards, shared subscriptions and identifiers.
    """
    peer = connected(port, version)
    equal(peer.subscribe("limited", 2), 1, "the granted QoS")
    refused = {"limited/+": 0xA2, "$share/crew/limited": 0x9E}
    for topic, reason in refused.items():
        equal(peer.subscribe(topic, 1), reason if version == V5 else 0x80, f"the answer to {topic}")
    if version == V5:
        told = {
            "MaximumQoS": 1,
            "RetainAvailable": 0,
            "WildcardSubscriptionAvailable": 0,
            "SharedSubscriptionAvailable": 0,
            "SubscriptionIdentifierAvailable": 0,
            "ServerKeepAlive": 30,
        }
        equal({name: getattr(peer.connack, name, None) for name in told}, told, "what CONNACK tells")
        equal(peer.subscribe("limited/x", 1, {"SubscriptionIdentifier": 1}), 0xA1, "the answer to an identifier")
    peer.publish("limited", "x", 1)
    equal(peer.next().payload, b"x", "what is allowed")


if __name__ == "__main__":
    main()

"""Scenarios for paho-mqtt, in the versions 3.1, 3.1.1 and 5."""

import queue
import random
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from scenarios import PATIENCE, equal, expect, main, scenario, take

V31, V311, V5 = mqtt.MQTTv31, mqtt.MQTTv311, mqtt.MQTTv5
ALL = (V31, V311, V5)
FOREVER = 0xFFFFFFFF


def properties(packet, **values):
    """Properties of a packet; a list gives a repeated property."""
    result = Properties(packet)
    for name, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            setattr(result, name, item)
    return result


class Peer:
    """A client whose every step waits for the broker's answer."""

    def __init__(self, port, version, name="", clean=True, keepalive=60, will=None, manual_ack=False, **connect):
        self.port, self.version, self.keepalive = port, version, keepalive
        self.messages, self.connacks, self.gone = queue.Queue(), queue.Queue(), queue.Queue()
        self.subacks, self.unsubacks, self.pubacks = queue.Queue(), queue.Queue(), queue.Queue()
        self.aliases = {}
        self.clean = clean
        if version == V5 and not clean:
            connect.setdefault("SessionExpiryInterval", FOREVER)
        self.connect_properties = properties(PacketTypes.CONNECT, **connect) if version == V5 else None
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=name,
            clean_session=None if version == V5 else clean,
            protocol=version,
            manual_ack=manual_ack,
        )
        if will:
            self.client.will_set(*will[:4], properties=will[4] if len(will) > 4 else None)
        self.client.on_connect = lambda _c, _d, flags, code, props: self.connacks.put((flags, code, props))
        self.client.on_message = lambda _c, _d, message: self.messages.put(self.resolve(message))
        self.client.on_subscribe = lambda _c, _d, _mid, codes, _p: self.subacks.put([code.value for code in codes])
        self.client.on_unsubscribe = lambda _c, _d, _mid, codes, _p: self.unsubacks.put([code.value for code in codes])
        self.client.on_publish = lambda _c, _d, _mid, code, _p: self.pubacks.put(code.value)
        self.client.on_disconnect = lambda _c, _d, flags, code, _p: self.gone.put((flags, code))

    def resolve(self, message):
        """Fills in the topic that an alias of the broker's stands for."""
        alias = getattr(message.properties, "TopicAlias", None) if self.version == V5 else None
        if alias is not None:
            if message.topic:
                self.aliases[alias] = message.topic
            else:
                message._topic = self.aliases[alias].encode()
        return message

    def connect(self):
        """Connects; whether the broker had a session."""
        if self.version == V5:
            self.client.connect("127.0.0.1", self.port, self.keepalive, clean_start=self.clean, properties=self.connect_properties)
        else:
            self.client.connect("127.0.0.1", self.port, self.keepalive)
        self.client.loop_start()
        self.flags, code, self.connack = take(self.connacks, "CONNACK")
        equal(code.value, 0, "the answer to CONNECT")
        return self.flags.session_present

    def subscribe(self, topic, qos=0, props=None, **options):
        """Subscribes; the granted QoS or the reason of the refusal."""
        if self.version == V5:
            props = properties(PacketTypes.SUBSCRIBE, **props) if props else None
            self.client.subscribe(topic, options=SubscribeOptions(qos=qos, **options), properties=props)
        else:
            self.client.subscribe(topic, qos)
        return take(self.subacks, "SUBACK")[0]

    def unsubscribe(self, topic):
        self.client.unsubscribe(topic)
        return take(self.unsubacks, "UNSUBACK")

    def publish(self, topic, payload, qos=0, retain=False, **props):
        """Publishes and waits for the last acknowledgement; the reason code."""
        props = properties(PacketTypes.PUBLISH, **props) if props else None
        self.client.publish(topic, payload, qos, retain, properties=props)
        return take(self.pubacks, "the acknowledgement of a PUBLISH")

    def next(self):
        return take(self.messages, "a message")

    def payloads(self, count):
        return [self.next().payload.decode() for _ in range(count)]

    def until(self, topic):
        """The messages before the one of the given topic."""
        before = []
        while (message := self.next()).topic != topic:
            before.append(message)
        return before

    def ack(self, message):
        self.client.ack(message.mid, message.qos)

    def disconnect(self, **props):
        self.client.disconnect(properties=properties(PacketTypes.DISCONNECT, **props) if props else None)
        self.client.loop_stop()

    def drop(self):
        """Closes the connection without DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()


def connected(port, version, name="", **options):
    peer = Peer(port, version, name, **options)
    peer.connect()
    return peer


@scenario(*ALL)
def levels(port, version):
    """Each QoS arrives as the lower of the publisher's and the subscriber's."""
    publisher = connected(port, version)
    for granted in (0, 1, 2):
        subscriber = connected(port, version)
        equal(subscriber.subscribe("levels/#", granted), granted, "the granted QoS")
        for sent in (0, 1, 2):
            publisher.publish(f"levels/{sent}", b"\x00\xff", sent)
            message = subscriber.next()
            got = (message.topic, message.payload, message.qos, message.retain, message.dup)
            equal(got, (f"levels/{sent}", b"\x00\xff", min(sent, granted), False, False), "the message")
        subscriber.disconnect()


@scenario(*ALL)
def burst(port, version):
    """Hundreds of messages, as many on their way as the client allows, arrive once each and in order."""
    subscriber, publisher = connected(port, version), connected(port, version)
    subscriber.subscribe("burst/+", 2)
    for qos in (1, 2):
        for number in range(500):
            publisher.client.publish(f"burst/{qos}", str(number), qos)
        equal(subscriber.payloads(500), [str(number) for number in range(500)], f"QoS {qos}")


@scenario(*ALL)
def retained(port, version):
    """A retained message is kept, replaced and cleared, and flagged only where it is old."""
    publisher = connected(port, version)
    for payload in ("first", "second"):
        publisher.publish(f"kept/{version}", payload, 1, retain=True)
    subscriber = connected(port, version)
    subscriber.subscribe("kept/+", 1)
    message = subscriber.next()
    equal((message.payload, message.retain), (b"second", True), "the kept message")
    publisher.publish(f"kept/{version}", "", 1, retain=True)
    message = subscriber.next()
    equal((message.payload, message.retain), (b"", False), "the message that clears")
    late = connected(port, version)
    late.subscribe("kept/+", 1)
    late.subscribe("mark")
    publisher.publish("mark", "")
    equal(late.until("mark"), [], "what was kept after clearing")


@scenario(*ALL)
def overlapping(port, version):
    """Overlapping filters give a message at the highest of their QoS."""
    subscriber, publisher = connected(port, version), connected(port, version)
    subscriber.subscribe("over/#", 2)
    subscriber.subscribe("over/+", 0)
    subscriber.subscribe("mark", 2)
    publisher.publish("over/x", "x", 2)
    publisher.publish("mark", "", 2)
    levels = [message.qos for message in subscriber.until("mark")]
    expect(2 in levels and len(levels) <= 2, f"delivered with QoS {levels}")


@scenario(*ALL)
def unsubscribing(port, version):
    """Nothing comes after UNSUBACK; the other subscriptions stay."""
    subscriber, publisher = connected(port, version), connected(port, version)
    for topic in ("drop/this", "keep/this"):
        subscriber.subscribe(topic, 1)
    codes = subscriber.unsubscribe("drop/this")
    if version == V5:
        equal(codes, [0], "UNSUBACK")
        equal(subscriber.unsubscribe("never/there"), [17], "UNSUBACK of a filter that nobody subscribed")
    for topic in ("drop/this", "keep/this"):
        publisher.publish(topic, "", 1)
    equal(subscriber.next().topic, "keep/this", "the topic")


@scenario(*ALL)
def wills(port, version):
    """A will follows a lost connection, a missed keep alive and a takeover, and no DISCONNECT."""
    watcher = connected(port, version)
    watcher.subscribe("will/+", 2)

    def testator(name, **options):
        return connected(port, version, f"t-{name}", will=(f"will/{name}", "gone", 2, name == "lost"), **options)

    testator("leaves").disconnect()
    testator("lost").drop()
    message = watcher.next()
    equal((message.topic, message.payload, message.qos, message.retain), ("will/lost", b"gone", 2, False), "the will")
    late = connected(port, version)
    late.subscribe("will/+", 1)
    message = late.next()
    equal((message.topic, message.retain), ("will/lost", True), "the retained will")
    late.publish("will/lost", "", 1, retain=True)
    equal(watcher.next().topic, "will/lost", "the clearing")
    silent = testator("silent", keepalive=1)
    silent.client.loop_stop()
    equal(watcher.next().topic, "will/silent", "the will of the silent client")
    old = testator("taken")
    connected(port, version, "t-taken")
    equal(watcher.next().topic, "will/taken", "the will of the client that was taken over")
    old.client.loop_stop()


@scenario(*ALL)
def offline(port, version):
    """A stored session keeps subscriptions and messages in order; a clean one ends it."""
    name = f"offline{version}"
    sleeper = Peer(port, version, name, clean=False)
    equal(sleeper.connect(), False, "a session before there was one")
    sleeper.subscribe("sleep/#", 2)
    sleeper.disconnect()
    publisher = connected(port, version)
    for number in range(60):
        publisher.publish("sleep/x", str(number), 1 + number % 2)
    # Twice: messages that came and were acknowledged must not come again.
    for _ in range(2):
        sleeper = Peer(port, version, name, clean=False)
        present = sleeper.connect()
        if version != V31:
            equal(present, True, "the stored session")
        numbers = [str(number) for number in range(60)]
        if _ == 0:
            equal(sorted(sleeper.payloads(60), key=int), numbers, "what waited")
        publisher.publish("sleep/live", "x", 1)
        equal(sleeper.next().topic, "sleep/live", "the first message after those that waited")
        sleeper.disconnect()
    equal(connected(port, version, name).flags.session_present, False, "a session after a clean start")
    again = Peer(port, version, name, clean=False)
    equal(again.connect(), False, "a session after the clean one has ended it")
    again.disconnect()


@scenario(*ALL)
def redelivery(port, version):
    """What a lost connection left unacknowledged comes again, in order and marked."""
    name = f"redeliver{version}"
    subscriber = connected(port, version, name, clean=False, manual_ack=True)
    subscriber.subscribe("again", 1)
    publisher = connected(port, version)
    for number in range(4):
        publisher.publish("again", str(number), 1)
    messages = [subscriber.next() for _ in range(4)]
    subscriber.ack(messages[0])
    # The broker has seen the acknowledgement when it answers what follows it.
    subscriber.subscribe("mark")
    subscriber.drop()
    publisher.publish("again", "4", 1)
    subscriber = connected(port, version, name, clean=False, manual_ack=True)
    messages = [subscriber.next() for _ in range(4)]
    equal([message.payload for message in messages], [b"1", b"2", b"3", b"4"], "what comes again")
    equal([message.dup for message in messages], [True, True, True, False], "the marks")
    for message in messages:
        subscriber.ack(message)
    subscriber.disconnect()
    connected(port, version, name).disconnect()


@scenario(*ALL)
def takeover(port, version):
    """A second connection with the same client id ends the first and goes on with its session."""
    name = f"taken{version}"
    first = connected(port, version, name, clean=False)
    first.client.reconnect_delay_set(PATIENCE, PATIENCE)
    first.subscribe("take/over", 1)
    second = Peer(port, version, name, clean=False)
    present = second.connect()
    if version != V31:
        equal(present, True, "the session")
    flags, code = take(first.gone, "the end of the first connection")
    if version == V5:
        equal((flags.is_disconnect_packet_from_server, code.value), (True, 0x8E), "the reason")
    connected(port, version).publish("take/over", "x", 1)
    equal(second.next().payload, b"x", "the message")
    equal(first.messages.qsize(), 0, "messages of the first connection")
    second.disconnect()
    connected(port, version, name).disconnect()
    first.client.loop_stop()


@scenario(*ALL)
def large(port, version):
    """Payloads of a megabyte and of ten arrive unharmed in each QoS, live and from a stored session."""
    sleeper = connected(port, version, "large", clean=False)
    sleeper.subscribe("large/#", 2)
    sleeper.disconnect()
    subscriber, publisher = connected(port, version), connected(port, version)
    subscriber.subscribe("large/#", 2)
    payloads = {f"large/{size}": random.Random(size).randbytes(size) for size in (1_000_000, 10_000_000)}
    for topic, payload in payloads.items():
        for qos in (0, 1, 2):
            publisher.publish(topic, payload, qos)
            message = subscriber.next()
            equal((message.topic, message.qos), (topic, qos), "the message")
            expect(message.payload == payload, f"{topic} with QoS {qos} is not what was sent")
    sleeper = connected(port, version, "large", clean=False)
    for _ in range(4):
        message = sleeper.next()
        expect(message.payload == payloads[message.topic], f"{message.topic} with QoS {message.qos} is not what was stored")
    sleeper.disconnect()
    connected(port, version, "large").disconnect()


@scenario(V311, V5)
def fan(port, version):
    """Many publishers to one subscriber and one publisher to many subscribers."""
    subscribers = [connected(port, version) for _ in range(20)]
    publishers = [connected(port, version) for _ in range(20)]
    for subscriber in subscribers:
        subscriber.subscribe("fan/out", 1)
    subscribers[0].subscribe("fan/in/+", 2)
    for number, publisher in enumerate(publishers):
        for _ in range(5):
            publisher.client.publish(f"fan/in/{number}", str(_), 2)
    seen = {}
    for _ in range(100):
        message = subscribers[0].next()
        seen.setdefault(message.topic, []).append(int(message.payload))
    equal(list(seen.values()), [[0, 1, 2, 3, 4]] * 20, "what came in")
    publishers[0].publish("fan/out", "x", 1)
    for subscriber in subscribers:
        equal(subscriber.next().payload, b"x", "what went out")


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


@scenario(*ALL)
def server_shutdown(port, version):
    """The broker is asked to end while the client is connected; version 5 is told why."""
    peer = connected(port, version)
    peer.client.reconnect_delay_set(PATIENCE, PATIENCE)
    print("connected", flush=True)
    flags, code = take(peer.gone, "the end of the connection")
    if version == V5:
        equal((flags.is_disconnect_packet_from_server, code.value), (True, 0x8B), "the reason")
    peer.client.loop_stop()


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

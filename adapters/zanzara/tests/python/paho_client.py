"""Scenarios for paho-mqtt, in the versions 3.1, 3.1.1 and 5."""

import random

from paho_peer import ALL, V5, V31, V311, Peer, connected
from scenarios import PATIENCE, equal, expect, main, scenario, take


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


if __name__ == "__main__":
    main()

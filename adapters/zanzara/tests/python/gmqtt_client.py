"""Scenarios for gmqtt, in the versions 3.1.1 and 5."""

import asyncio
import functools

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.storage import PersistentStorage

from scenarios import PATIENCE, equal, expect, main, run_and_kill, scenario

ALL = (MQTTv311, MQTTv50)


class Peer:
    """A client whose every step waits for the broker's answer."""

    def __init__(self, port, version, name=None, clean=True, will=None, **connect):
        self.port, self.version = port, version
        self.messages, self.answers, self.gone = asyncio.Queue(), asyncio.Queue(), asyncio.Event()
        self.storage = PersistentStorage()
        if version == MQTTv50 and not clean:
            connect.setdefault("session_expiry_interval", 1000)
        self.client = gmqtt.Client(
            name, clean_session=clean, will_message=will, persistent_storage=self.storage, **connect
        )
        self.client.set_config({"reconnect_retries": 0})
        self.client.on_connect = self.connected
        self.client.on_message = self.receive
        self.client.on_subscribe = lambda _c, _mid, granted, _p: self.answers.put_nowait(granted)
        self.client.on_unsubscribe = lambda _c, _mid, codes: self.answers.put_nowait(codes)
        self.client.on_disconnect = lambda _c, _packet, exc=None: self.gone.set()

    def connected(self, _client, flags, _code, connack):
        self.session_present, self.connack = flags & 1, connack

    def receive(self, _client, topic, payload, qos, properties):
        self.messages.put_nowait((topic, bytes(payload), qos, properties))
        return 0

    async def __aenter__(self):
        async with asyncio.timeout(PATIENCE):
            await self.client.connect("127.0.0.1", self.port, version=self.version)
        return self

    async def __aexit__(self, *_):
        await self.client.disconnect()

    async def subscribe(self, topic, qos=0, **options):
        self.client.subscribe(gmqtt.Subscription(topic, qos, **options))
        return await self.answer()

    async def unsubscribe(self, topic):
        self.client.unsubscribe(topic)
        return await self.answer()

    async def answer(self):
        async with asyncio.timeout(PATIENCE):
            return await self.answers.get()

    async def publish(self, topic, payload, qos=0, **options):
        self.client.publish(topic, payload, qos=qos, **options)
        async with asyncio.timeout(PATIENCE):
            await self.storage.wait_empty()

    async def take(self):
        async with asyncio.timeout(PATIENCE):
            return await self.messages.get()


def run(function):
    """Makes a plain function of a coroutine function."""

    @functools.wraps(function)
    def start(port, version):
        asyncio.run(function(port, version))

    return start


@scenario(*ALL)
@run
async def levels(port, version):
    """Each QoS arrives as the lower of the publisher's and the subscriber's."""
    async with Peer(port, version) as publisher:
        for granted in (0, 1, 2):
            async with Peer(port, version) as subscriber:
                equal(tuple(await subscriber.subscribe("levels/#", granted)), (granted,), "the granted QoS")
                for sent in (0, 1, 2):
                    await publisher.publish(f"levels/{sent}", b"\x00\xff", sent)
                    topic, payload, qos, _ = await subscriber.take()
                    equal((topic, payload, qos), (f"levels/{sent}", b"\x00\xff", min(sent, granted)), "the message")


@scenario(*ALL)
@run
async def burst(port, version):
    """Hundreds of messages arrive once each and in order."""
    async with Peer(port, version) as publisher, Peer(port, version) as subscriber:
        await subscriber.subscribe("burst", 2)
        for qos in (0, 1, 2):
            for number in range(300):
                publisher.client.publish("burst", str(number), qos=qos)
                # This client does not hold itself to a number of unacknowledged messages.
                if number % 10 == 9:
                    await publisher.storage.wait_empty()
            equal([int((await subscriber.take())[1]) for _ in range(300)], list(range(300)), f"QoS {qos}")


@scenario(*ALL)
@run
async def retained(port, version):
    """A retained message is kept, and cleared; unsubscribing is answered."""
    async with Peer(port, version) as publisher:
        await publisher.publish("kept", "old", 1, retain=True)
        async with Peer(port, version) as subscriber:
            await subscriber.subscribe("kept", 1)
            _, payload, _, properties = await subscriber.take()
            equal((payload, properties["retain"]), (b"old", 1), "the kept message")
            await subscriber.unsubscribe("kept")
            await publisher.publish("kept", "", 1, retain=True)
            await subscriber.subscribe("kept", 1)
            await publisher.publish("kept", "live", 1)
            _, payload, _, properties = await subscriber.take()
            equal((payload, properties["retain"]), (b"live", 0), "the first message after clearing")


async def testator(ready, port, version):
    await Peer(port, version, will=gmqtt.Message("will/x", "gone", qos=1)).__aenter__()
    ready("connected")


@scenario(*ALL)
@run
async def will(port, version):
    """The will of a killed process is sent."""
    async with Peer(port, version) as watcher:
        await watcher.subscribe("will/+", 1)
        await asyncio.to_thread(run_and_kill, testator, port, version)
        equal((await watcher.take())[:2], ("will/x", b"gone"), "the will")


async def sleeper(report, port, version):
    peer = await Peer(port, version, "sleeper", clean=False).__aenter__()
    await peer.subscribe("sleep/#", 1)
    report(peer.session_present)


@scenario(*ALL)
@run
async def offline(port, version):
    """Messages wait for a session whose process was killed."""
    equal(await asyncio.to_thread(run_and_kill, sleeper, port, version), 0, "a session before there was one")
    async with Peer(port, version) as publisher:
        for number in range(30):
            await publisher.publish("sleep/x", str(number), 1)
        async with Peer(port, version, "sleeper", clean=False) as peer:
            equal(peer.session_present, 1, "the stored session")
            equal([int((await peer.take())[1]) for _ in range(30)], list(range(30)), "what waited")
    async with Peer(port, version, "sleeper"):
        pass


@scenario(*ALL)
@run
async def takeover(port, version):
    """A second connection with the same client id ends the first."""
    first = await Peer(port, version, "taken").__aenter__()
    async with Peer(port, version, "taken") as second:
        async with asyncio.timeout(PATIENCE):
            await first.gone.wait()
        await second.subscribe("take/over", 1)
        await second.publish("take/over", "x", 1)
        equal((await second.take())[1], b"x", "the message")


@scenario(*ALL)
@run
async def large(port, version):
    """A payload of a megabyte arrives unharmed in each QoS."""
    payload = bytes(range(256)) * 4096
    async with Peer(port, version) as peer:
        await peer.subscribe("large", 2)
        for qos in (0, 1, 2):
            await peer.publish("large", payload, qos)
            expect((await peer.take())[1] == payload, f"QoS {qos}: not what was sent")


@scenario(MQTTv50)
@run
async def property_values(port, version):
    """The properties of a message arrive, and the identifier of the subscription."""
    sent = {
        "content_type": "application/json",
        "response_topic": "reply",
        "correlation_data": b"\x01\x02",
        "user_property": [("a", "1"), ("a", "2")],
        "message_expiry_interval": 500,
        "payload_format_id": 1,
    }
    async with Peer(port, version) as peer:
        await peer.subscribe("props", 1, subscription_identifier=9)
        await peer.publish("props", "{}", 1, **sent)
        got = (await peer.take())[3]
        equal(got["subscription_identifier"], [9], "subscription_identifier")
        expect(400 <= got.pop("message_expiry_interval")[0] <= 500, "the remaining time")
        equal(got["user_property"], sent.pop("user_property"), "user_property")
        sent.pop("message_expiry_interval")
        for name, value in sent.items():
            equal(got[name], [value], name)


@scenario(MQTTv50)
@run
async def subscription_options(port, version):
    """No Local, Retain As Published and Retain Handling."""
    async with Peer(port, version) as peer, Peer(port, version) as other:
        await other.publish("opt/kept", "old", 1, retain=True)
        await peer.subscribe("opt/+", 1, no_local=True, retain_as_published=True, retain_handling_options=2)
        await peer.publish("opt/own", "x", 1)
        await other.publish("opt/other", "x", 1, retain=True)
        topic, _, _, properties = await peer.take()
        equal((topic, properties["retain"]), ("opt/other", 1), "the first message")


@scenario(MQTTv50)
@run
async def topic_alias(port, version):
    """The broker may use aliases within the client's limit, and takes them."""
    async with Peer(port, version) as publisher, Peer(port, version, topic_alias_maximum=2) as subscriber:
        await subscriber.subscribe("alias/#", 1)
        await publisher.publish("alias/a", "0", 1, topic_alias=1)
        for number in range(1, 6):
            await publisher.publish("", str(number), 1, topic_alias=1)
        got = [await subscriber.take() for _ in range(6)]
        equal([(topic, int(payload)) for topic, payload, _, _ in got], [("alias/a", n) for n in range(6)], "what came")


if __name__ == "__main__":
    main()

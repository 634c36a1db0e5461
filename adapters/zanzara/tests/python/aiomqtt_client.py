"""Scenarios for aiomqtt, in the versions 3.1, 3.1.1 and 5."""

import asyncio
import functools

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from scenarios import PATIENCE, equal, expect, main, run_and_kill, scenario

V31, V311, V5 = aiomqtt.ProtocolVersion.V31, aiomqtt.ProtocolVersion.V311, aiomqtt.ProtocolVersion.V5
ALL = (V31, V311, V5)


def properties(packet, **values):
    result = Properties(packet)
    for name, value in values.items():
        setattr(result, name, value)
    return result


def client(port, version, name=None, clean=True, **options):
    if version == V5:
        options["clean_start"] = clean
        if not clean:
            options["properties"] = properties(PacketTypes.CONNECT, SessionExpiryInterval=1000)
    else:
        options["clean_session"] = clean
    return aiomqtt.Client("127.0.0.1", port, identifier=name, protocol=version, timeout=PATIENCE, **options)


async def take(peer, count):
    """The next messages."""
    async with asyncio.timeout(PATIENCE):
        return [await anext(peer.messages) for _ in range(count)]


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
    async with client(port, version) as publisher:
        for granted in (0, 1, 2):
            async with client(port, version) as subscriber:
                await subscriber.subscribe("levels/+", granted)
                for sent in (0, 1, 2):
                    await publisher.publish(f"levels/{sent}", b"\x00\xff", sent)
                    [message] = await take(subscriber, 1)
                    got = (message.topic.value, message.payload, message.qos, message.retain)
                    equal(got, (f"levels/{sent}", b"\x00\xff", min(sent, granted), False), "the message")


@scenario(*ALL)
@run
async def concurrent(port, version):
    """Many tasks that share a client publish at once."""
    async with client(port, version) as publisher, client(port, version) as subscriber:
        await subscriber.subscribe("task/#", 2)
        await asyncio.gather(*(publisher.publish(f"task/{number}", str(number), number % 3) for number in range(200)))
        seen = {int(message.payload) for message in await take(subscriber, 200)}
        equal(seen, set(range(200)), "what came")


@scenario(*ALL)
@run
async def retained(port, version):
    """A retained message is kept, and cleared."""
    async with client(port, version) as publisher:
        await publisher.publish("kept", "old", 1, retain=True)
        async with client(port, version) as subscriber:
            await subscriber.subscribe("kept", 1)
            [message] = await take(subscriber, 1)
            equal((message.payload, message.retain), (b"old", True), "the kept message")
        await publisher.publish("kept", None, 1, retain=True)
        async with client(port, version) as subscriber:
            await subscriber.subscribe("kept", 1)
            await publisher.publish("kept", "live", 1)
            [message] = await take(subscriber, 1)
            equal((message.payload, message.retain), (b"live", False), "the first message after clearing")


async def testator(ready, port, version):
    will = aiomqtt.Will("will/x", "gone", 2)
    async with client(port, version, will=will):
        ready("connected")
        await asyncio.Event().wait()


@scenario(*ALL)
@run
async def will(port, version):
    """The will of a killed process is sent."""
    async with client(port, version) as watcher:
        await watcher.subscribe("will/+", 2)
        await asyncio.to_thread(run_and_kill, testator, port, version)
        [message] = await take(watcher, 1)
        equal((message.topic.value, message.payload, message.qos), ("will/x", b"gone", 2), "the will")


async def sleeper(report, port, version, count):
    async with client(port, version, "sleeper", clean=False) as peer:
        await peer.subscribe("sleep/#", 2)
        report([message.payload for message in await take(peer, count)])
        await asyncio.Event().wait()


@scenario(*ALL)
@run
async def offline(port, version):
    """A session outlives kills of its process: nothing is lost, and with QoS 2 nothing comes twice."""
    async with client(port, version) as publisher:
        await asyncio.to_thread(run_and_kill, sleeper, port, version, 0)
        seen = []
        for start in (0, 30, 60):
            for number in range(start, start + 30):
                await publisher.publish("sleep/x", str(number), 2)
            # More may reach a process than it reports before it is killed; those are gone with it, and only those.
            seen += [int(payload) for payload in await asyncio.to_thread(run_and_kill, sleeper, port, version, 1)]
            expect(len(set(seen)) == len(seen) and seen == sorted(seen), f"repeated or out of order: {seen}")
        await publisher.publish("sleep/x", "90", 2)
        async with client(port, version, "sleeper", clean=False) as peer:
            last = -1
            while last != 90:
                [message] = await take(peer, 1)
                expect(int(message.payload) > max(last, seen[-1]), f"{message.payload} after {last} and {seen}")
                last = int(message.payload)
    async with client(port, version, "sleeper"):
        pass


@scenario(*ALL)
@run
async def large(port, version):
    """A payload of a megabyte arrives unharmed in each QoS."""
    payload = bytes(range(256)) * 4096
    async with client(port, version) as peer:
        await peer.subscribe("large", 2)
        for qos in (0, 1, 2):
            await peer.publish("large", payload, qos)
            [message] = await take(peer, 1)
            expect(message.payload == payload, f"QoS {qos}: not what was sent")


@scenario(V5)
@run
async def shared(port, version):
    """Two members of a group share the messages."""
    async with client(port, version) as publisher, client(port, version) as first, client(port, version) as second:
        for member in (first, second):
            await member.subscribe("$share/crew/work/+", 1)
        for number in range(50):
            await publisher.publish("work/x", str(number), 1)
        seen, counts = set(), [0, 0]

        async def work(index, member):
            async for message in member.messages:
                number = int(message.payload)
                expect(number not in seen, f"{number} came twice")
                seen.add(number)
                counts[index] += 1
                if len(seen) == 50:
                    done.set()

        done = asyncio.Event()
        tasks = [asyncio.create_task(work(index, member)) for index, member in enumerate((first, second))]
        async with asyncio.timeout(PATIENCE):
            await done.wait()
        for task in tasks:
            task.cancel()
        expect(all(counts), f"the shares are {counts}")


@scenario(V5)
@run
async def property_values(port, version):
    """The properties of a message arrive."""
    sent = {
        "ContentType": "application/json",
        "ResponseTopic": "reply",
        "CorrelationData": b"\x01\x02",
        "UserProperty": [("a", "1"), ("a", "2")],
    }
    async with client(port, version) as peer:
        await peer.subscribe("props", 1)
        await peer.publish("props", "{}", 1, properties=properties(PacketTypes.PUBLISH, **sent))
        [message] = await take(peer, 1)
        for name, value in sent.items():
            equal(getattr(message.properties, name), value, name)


if __name__ == "__main__":
    main()

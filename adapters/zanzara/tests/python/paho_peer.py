"""paho-mqtt, wrapped so that every step waits for the broker's answer."""

import os
import queue

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from scenarios import equal, take

V31, V311, V5 = mqtt.MQTTv31, mqtt.MQTTv311, mqtt.MQTTv5
ALL = (V31, V311, V5)
FOREVER = 0xFFFFFFFF

# Another transport than TCP, such as `wss`, and who signed the broker's certificate.
SCHEME = os.environ.get("ZANZARA_TEST_URL", "mqtt://").split(":")[0]
CA = os.environ.get("ZANZARA_TEST_CA")


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
            transport="websockets" if SCHEME in ("ws", "wss") else "tcp",
        )
        if CA:
            self.client.tls_set(ca_certs=CA)
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

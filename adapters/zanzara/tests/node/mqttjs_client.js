// Scenarios for MQTT.js, in the versions 3.1, 3.1.1 and 5.
'use strict'

const { randomFillSync } = require('node:crypto')
const { setTimeout: sleep } = require('node:timers/promises')
const { assert, connected, Inbox, main, numbers, Peer, scenario, soon } = require('./scenarios')

const ALL = [3, 4, 5]

/** Options of a client with a stored session. */
function stored(version, clientId, options = {}) {
  const properties = version === 5 ? { sessionExpiryInterval: 1000, ...options.properties } : undefined
  return { clientId, clean: false, ...options, properties }
}

scenario(ALL, async function levels(port, version) {
  const publisher = await connected(port, version)
  for (const granted of [0, 1, 2]) {
    const subscriber = await connected(port, version)
    const [grant] = await subscriber.subscribe('levels/#', { qos: granted })
    assert.equal(grant.qos, granted)
    for (const sent of [0, 1, 2]) {
      await publisher.publish(`levels/${sent}`, Buffer.from([0, 255]), { qos: sent })
      const { topic, payload, packet } = await subscriber.next()
      const qos = Math.min(sent, granted)
      assert.deepEqual([topic, [...payload], packet.qos, packet.retain, packet.dup], [`levels/${sent}`, [0, 255], qos, false, false])
    }
    await subscriber.end()
  }
})

scenario(ALL, async function burst(port, version) {
  const subscriber = await connected(port, version)
  const publisher = await connected(port, version)
  await subscriber.subscribe('burst/+', { qos: 2 })
  for (const qos of [0, 1, 2]) {
    // MQTT.js sends all it is given; ten at a time stay below what brokers allow a client of an older version.
    for (let start = 0; start < 300; start += 10) {
      const some = numbers(300).slice(start, start + 10)
      await Promise.all(some.map((number) => publisher.publish(`burst/${qos}`, number, { qos })))
    }
    assert.deepEqual(await subscriber.texts(300), numbers(300))
  }
})

scenario(ALL, async function retained(port, version) {
  const publisher = await connected(port, version)
  await publisher.publish('kept', 'first', { qos: 1, retain: true })
  await publisher.publish('kept', 'second', { qos: 1, retain: true })
  const subscriber = await connected(port, version)
  await subscriber.subscribe('kept', { qos: 1 })
  const { payload, packet } = await subscriber.next()
  assert.deepEqual([payload.toString(), packet.retain], ['second', true])
  await publisher.publish('kept', '', { qos: 1, retain: true })
  const late = await connected(port, version)
  await late.subscribe(['kept', 'mark'], { qos: 1 })
  await publisher.publish('mark', '', { qos: 1 })
  assert.deepEqual(await late.until('mark'), [])
})

scenario(ALL, async function unsubscribing(port, version) {
  const subscriber = await connected(port, version)
  const publisher = await connected(port, version)
  await subscriber.subscribe(['drop', 'keep'], { qos: 1 })
  await soon(subscriber.client.unsubscribeAsync('drop'), 'UNSUBACK')
  for (const topic of ['drop', 'keep']) await publisher.publish(topic, '', { qos: 1 })
  assert.equal((await subscriber.next()).topic, 'keep')
})

scenario(ALL, async function wills(port, version) {
  const watcher = await connected(port, version)
  await watcher.subscribe('will/+', { qos: 2 })
  const testator = (name) => connected(port, version, { will: { topic: `will/${name}`, payload: 'gone', qos: 2, retain: false } })
  await (await testator('leaves')).end()
  await (await testator('lost')).drop()
  const { topic, payload, packet } = await watcher.next()
  assert.deepEqual([topic, payload.toString(), packet.qos, packet.retain], ['will/lost', 'gone', 2, false])
})

scenario(ALL, async function offline(port, version) {
  const clientId = `offline${version}`
  const before = await connected(port, version, stored(version, clientId))
  assert.equal(before.connack.sessionPresent, false)
  await before.subscribe('sleep/#', { qos: 2 })
  await before.drop()
  const publisher = await connected(port, version)
  for (const number of numbers(40)) await publisher.publish('sleep/x', number, { qos: 1 + (Number(number) % 2) })
  const after = await connected(port, version, stored(version, clientId))
  if (version > 3) assert.equal(after.connack.sessionPresent, true)
  assert.deepEqual((await after.texts(40)).sort((a, b) => a - b), numbers(40))
  await after.end()
  await (await connected(port, version, { clientId })).end()
})

scenario(ALL, async function takeover(port, version) {
  const clientId = `taken${version}`
  const first = await connected(port, version, stored(version, clientId))
  await first.subscribe('take/over', { qos: 1 })
  const second = await connected(port, version, stored(version, clientId))
  if (version > 3) assert.equal(second.connack.sessionPresent, true)
  await first.closes.take('the end of the first connection')
  if (version === 5) assert.equal((await first.disconnects.take('DISCONNECT')).reasonCode, 0x8e)
  await (await connected(port, version)).publish('take/over', 'x', { qos: 1 })
  assert.equal((await second.next()).payload.toString(), 'x')
  await second.end()
  await (await connected(port, version, { clientId })).end()
})

scenario(ALL, async function large(port, version) {
  const subscriber = await connected(port, version)
  const publisher = await connected(port, version)
  await subscriber.subscribe('large/#', { qos: 2 })
  for (const size of [1_000_000, 10_000_000]) {
    const sent = randomFillSync(Buffer.alloc(size))
    for (const qos of [0, 1, 2]) {
      await publisher.publish(`large/${qos}`, sent, { qos })
      const { payload } = await subscriber.next()
      assert.ok(sent.equals(payload), `${size} bytes with QoS ${qos} are not what was sent`)
    }
  }
})

// The broker is killed and started again between the two lines that this prints: the client must find its way back by itself.
scenario([4], async function reconnecting(port, version) {
  const peer = await connected(port, version, { reconnectPeriod: 50 })
  await peer.subscribe('after/crash', { qos: 1 })
  console.log('subscribed')
  await peer.connects.take('the second CONNACK')
  // MQTT.js subscribes anew on its own; a message of another client shows when that is done.
  const publisher = await connected(port, version)
  let arrived = false
  const message = peer.next().then(() => (arrived = true))
  while (!arrived) {
    await publisher.publish('after/crash', 'x', { qos: 1 })
    await Promise.race([message, sleep(100)])
  }
  console.log('back')
})

scenario([5], async function publish_properties(port, version) {
  const subscriber = await connected(port, version)
  const publisher = await connected(port, version)
  await subscriber.subscribe('props', { qos: 1, properties: { subscriptionIdentifier: 1234 } })
  const sent = {
    payloadFormatIndicator: true,
    contentType: 'text/plain',
    responseTopic: 'reply/to',
    correlationData: Buffer.from([0, 1, 255]),
    userProperties: { single: 'x', several: ['1', '2', '3'] },
  }
  await publisher.publish('props', 'ö', { qos: 1, properties: { messageExpiryInterval: 500, ...sent } })
  const { messageExpiryInterval, subscriptionIdentifier, ...got } = (await subscriber.next()).packet.properties
  assert.deepEqual({ ...got, userProperties: { ...got.userProperties } }, sent)
  assert.ok(messageExpiryInterval >= 400 && messageExpiryInterval <= 500)
  assert.equal(subscriptionIdentifier, 1234)
})

scenario([5], async function will_properties(port, version) {
  const watcher = await connected(port, version)
  await watcher.subscribe('will/props', { qos: 1 })
  const properties = { willDelayInterval: 1, contentType: 'text/plain', userProperties: { a: ['1', '2'] } }
  const will = { topic: 'will/props', payload: 'gone', qos: 1, retain: false, properties }
  await (await connected(port, version, { ...stored(version, 'delayed'), will })).drop()
  const { packet } = await watcher.next()
  assert.equal(packet.properties.contentType, 'text/plain')
  assert.deepEqual({ ...packet.properties.userProperties }, { a: ['1', '2'] })
})

scenario([5], async function subscription_options(port, version) {
  const own = await connected(port, version)
  const other = await connected(port, version)
  await other.publish('opt/kept', 'old', { qos: 1, retain: true })
  await own.subscribe('opt/+', { qos: 1, nl: true, rap: true, rh: 2 })
  await own.publish('opt/own', 'x', { qos: 1 })
  await other.publish('opt/other', 'x', { qos: 1, retain: true })
  const { topic, packet } = await own.next()
  assert.deepEqual([topic, packet.retain], ['opt/other', true])
})

scenario([5], async function topic_alias(port, version) {
  const publisher = await connected(port, version, { autoAssignTopicAlias: true })
  const subscriber = await connected(port, version, { properties: { topicAliasMaximum: 3 } })
  await subscriber.subscribe('alias/#', { qos: 1 })
  const wanted = []
  for (const number of numbers(30)) {
    const topic = `alias/${number % 5}`
    wanted.push([topic, number])
    await publisher.publish(topic, number, { qos: 1 })
  }
  const got = []
  while (got.length < 30) {
    const { topic, payload } = await subscriber.next()
    got.push([topic, payload.toString()])
  }
  assert.deepEqual(got, wanted)
})

scenario([5], async function receive_maximum(port, version) {
  // `handleMessage` delays the acknowledgement: meanwhile no more than the window may arrive.
  const subscriber = new Peer(port, version, { properties: { receiveMaximum: 2 } })
  const held = []
  let most = 0
  subscriber.client.on('packetreceive', (packet) => {
    if (packet.cmd === 'publish' && packet.qos > 0) most = Math.max(most, ++subscriber.open)
  })
  subscriber.open = 0
  subscriber.client.handleMessage = (packet, done) => {
    if (packet.qos === 0) return done()
    held.push(() => {
      subscriber.open -= 1
      done()
    })
    if (subscriber.released) held.shift()()
  }
  await subscriber.connect()
  await subscriber.subscribe('flow', { qos: 1 })
  const publisher = await connected(port, version)
  for (const number of numbers(10)) await publisher.publish('flow', number, { qos: 1 })
  subscriber.released = true
  while (held.length > 0) held.shift()()
  assert.deepEqual(await subscriber.texts(10), numbers(10))
  assert.ok(most <= 2, `${most} messages unacknowledged`)
})

scenario([5], async function sessions(port, version) {
  const first = await connected(port, version, { clientId: '', properties: { sessionExpiryInterval: 1000 } })
  const clientId = first.connack.properties.assignedClientIdentifier
  assert.ok(clientId)
  await first.end()
  const again = await connected(port, version, stored(version, clientId))
  assert.equal(again.connack.sessionPresent, true)
  // DISCONNECT may end the session earlier than CONNECT asked.
  await again.end({ properties: { sessionExpiryInterval: 0 } })
  const last = await connected(port, version, stored(version, clientId))
  assert.equal(last.connack.sessionPresent, false)
})

scenario([5], async function message_expiry(port, version) {
  await (await connected(port, version, stored(version, 'expiry'))).subscribe('fresh', { qos: 1 })
  await (await connected(port, version, stored(version, 'expiry'))).end()
  const publisher = await connected(port, version)
  for (const seconds of [1, 100]) {
    await publisher.publish('fresh', String(seconds), { qos: 1, properties: { messageExpiryInterval: seconds } })
  }
  await sleep(2500)
  const { payload, packet } = await (await connected(port, version, stored(version, 'expiry'))).next()
  assert.equal(payload.toString(), '100')
  assert.ok(packet.properties.messageExpiryInterval <= 98)
})

scenario([5], async function shared(port, version) {
  const arrivals = new Inbox()
  const counts = [0, 0, 0]
  for (const index of counts.keys()) {
    const member = await connected(port, version)
    member.client.on('message', (_topic, payload) => {
      counts[index] += 1
      arrivals.put(payload.toString())
    })
    await member.subscribe('$share/crew/work/#', { qos: 1 })
  }
  const publisher = await connected(port, version)
  for (const number of numbers(60)) await publisher.publish('work/x', number, { qos: 1 })
  const seen = []
  while (seen.length < 60) seen.push(await arrivals.take('a message'))
  assert.deepEqual(seen.sort((a, b) => a - b), numbers(60))
  assert.ok(counts.every((count) => count > 0), `the shares are ${counts}`)
})

scenario([5], async function request_response(port, version) {
  const responder = await connected(port, version)
  const requester = await connected(port, version)
  await responder.subscribe('service', { qos: 1 })
  await requester.subscribe('answers', { qos: 1 })
  const correlationData = Buffer.from([7])
  await requester.publish('service', '21', { qos: 1, properties: { responseTopic: 'answers', correlationData } })
  const request = (await responder.next()).packet.properties
  await responder.publish(request.responseTopic, '42', { qos: 1, properties: { correlationData: request.correlationData } })
  const { payload, packet } = await requester.next()
  assert.equal(payload.toString(), '42')
  assert.deepEqual(packet.properties.correlationData, correlationData)
})

main()

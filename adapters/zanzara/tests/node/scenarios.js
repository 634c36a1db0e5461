// What the scripts beside this one share: a register of scenarios, their command line, and a client whose every step waits.
'use strict'

const assert = require('node:assert/strict')
const { readFileSync } = require('node:fs')
const mqtt = require('mqtt')

// How long anything may take before a scenario gives up. It bounds a failing run and says nothing about speed.
const PATIENCE = 40_000

// Another transport than TCP, such as `wss://127.0.0.1:PORT/mqtt`, and who signed the broker's certificate.
const URL = process.env.ZANZARA_TEST_URL ?? 'mqtt://127.0.0.1:PORT'
const TLS = process.env.ZANZARA_TEST_CA ? { ca: readFileSync(process.env.ZANZARA_TEST_CA) } : {}

const register = new Map()

/** Registers a function under its name, to be called with the broker's port and each of the versions. */
function scenario(versions, run) {
  register.set(run.name, { versions, run })
}

/** `SCRIPT --list` prints the scenarios; `SCRIPT SCENARIO PORT` runs one in each of its versions. */
async function main() {
  const [name, port] = process.argv.slice(2)
  if (name === '--list') {
    console.log([...register.keys()].join('\n'))
    return
  }
  const { versions, run } = register.get(name)
  for (const version of versions) {
    try {
      await run(Number(port), version)
    } catch (error) {
      console.error(`${name} fails in version ${version}`)
      console.error(error)
      process.exit(1)
    }
  }
  process.exit(0)
}

/** Settles like the promise, or fails when that takes too long. */
function soon(promise, what) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come`)), PATIENCE)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

/** Items that are waited for one by one. */
class Inbox {
  items = []
  waiting = []

  put(item) {
    if (this.waiting.length > 0) this.waiting.shift()(item)
    else this.items.push(item)
  }

  take(what) {
    if (this.items.length > 0) return Promise.resolve(this.items.shift())
    return soon(new Promise((resolve) => this.waiting.push(resolve)), what)
  }
}

/** A client of MQTT.js that keeps what arrives until it is asked for. */
class Peer {
  constructor(port, version, options = {}) {
    this.messages = new Inbox()
    this.connects = new Inbox()
    this.disconnects = new Inbox()
    this.closes = new Inbox()
    this.client = mqtt.connect(URL.replace('PORT', port), {
      ...TLS,
      protocolVersion: version,
      protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
      reconnectPeriod: 0,
      connectTimeout: PATIENCE,
      ...options,
    })
    this.client.on('message', (topic, payload, packet) => this.messages.put({ topic, payload, packet }))
    this.client.on('connect', (packet) => this.connects.put(packet))
    this.client.on('disconnect', (packet) => this.disconnects.put(packet))
    this.client.on('close', () => this.closes.put(true))
    this.client.on('error', (error) => console.error(error))
  }

  async connect() {
    this.connack = await this.connects.take('CONNACK')
    return this
  }

  subscribe(topic, options) {
    return soon(this.client.subscribeAsync(topic, options), 'SUBACK')
  }

  publish(topic, payload, options) {
    return soon(this.client.publishAsync(topic, payload, options), 'the acknowledgement of a PUBLISH')
  }

  next() {
    return this.messages.take('a message')
  }

  async texts(count) {
    const texts = []
    while (texts.length < count) texts.push((await this.next()).payload.toString())
    return texts
  }

  /** The messages before the one of the given topic. */
  async until(topic) {
    const before = []
    for (;;) {
      const message = await this.next()
      if (message.topic === topic) return before
      before.push(message)
    }
  }

  end(options) {
    return soon(this.client.endAsync(false, options), 'the end')
  }

  /** Closes the connection without DISCONNECT. */
  async drop() {
    this.client.stream.destroy()
    await this.closes.take('the end of the connection')
  }
}

function connected(port, version, options) {
  return new Peer(port, version, options).connect()
}

/** The numbers below `count` as text. */
function numbers(count) {
  return Array.from({ length: count }, (_, number) => String(number))
}

module.exports = { assert, connected, Inbox, main, numbers, Peer, scenario, soon }

// The programs that a person tries first, in MQTT.js: `seed.js PROGRAM PORT`.
'use strict'

const mqtt = require('mqtt')

const [program, port] = process.argv.slice(2)
const url = `mqtt://127.0.0.1:${port}`

const programs = {
  // Subscribes to a topic and publishes on it.
  demo() {
    const client = mqtt.connect(url)
    client.subscribe('mqtt/demo')
    client.publish('mqtt/demo', 'hello world!')
    client.on('message', (topic, payload) => {
      console.log(`${topic} ${payload}`)
      client.end()
    })
  },

  // Subscribes to a pattern; the message comes from elsewhere.
  pattern() {
    const client = mqtt.connect(url)
    client.subscribe('mqtt/+', () => console.log('subscribed'))
    client.on('message', (topic, payload) => {
      console.log(`${topic} ${payload}`)
      client.end()
    })
  },

  // Publishes and ends.
  publish() {
    const client = mqtt.connect(url)
    client.publish('mqtt/demo', 'hello world!', { qos: 1 }, () => client.end())
  },

  // The first step of offline mode: leaves a subscription behind.
  subscribe() {
    const client = mqtt.connect(url, { clean: false, clientId: 'offline' })
    client.subscribe('mqtt/demo', { qos: 1 }, () => client.end())
  },

  // The third step, after someone has published: connects again and receives.
  receive() {
    const client = mqtt.connect(url, { clean: false, clientId: 'offline' })
    client.on('message', (topic, payload) => {
      console.log(`${topic} ${payload}`)
      client.end()
    })
  },
}

programs[program]()
